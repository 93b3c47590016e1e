"""Random task grouping: alternating steps over random groups of tasks (Pascal et al. 2021, arXiv 2109.11678)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinymtl.checks import choose, random_generator, whole_number
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.turns import Turns


def random_partition(tasks: int, group_size: int, rng: np.random.Generator) -> list[list[int]]:
    """Split 0 … tasks−1 at random into ⌈tasks/size⌉ groups, in the order drawn; the last one may be smaller.

    Groups are sorted inside, which changes nothing but the order of their sums.

    Examples
    --------
    >>> random_partition(5, 2, np.random.default_rng(0))
    [[2, 4], [0, 3], [1]]
    """
    drawn = rng.permutation(tasks).tolist()
    return [sorted(drawn[i : i + group_size]) for i in range(0, tasks, group_size)]


class RandomGrouped(Turns):
    """One group of tasks after another on the same minibatch: alternating steps on each group's mean loss.

    As in the authors' code of Pascal et al. (2021), the partition is drawn once per run; their group loss is the
    sum (`reduction="sum"`). Group size K is the averaged step and group size 1 the alternating one, bit for bit.
    Cost: ⌈K/s⌉ trunk forwards and backwards, and K head passes.

    One group of all K tasks with `moments="per-task", reduction="sum"` and Adam is AdaTask (Yang et al. 2023, arXiv
    2211.15055), which `tm.STRATEGIES["adatask"]` makes: each task moves each coordinate by up to lr, so that tasks
    vote, whatever their gradients' sizes are. Its first step counts signs: with two tasks no loss rises, with three
    one may.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    group_size : int, 1 … K
    redraw : "run" (default: one partition, drawn now) or "step" (a new one per minibatch)
        A partition drawn once is visited in the order of its groups' first tasks, one drawn at each step in the
        order drawn: there a fixed order would let the first tasks always go first.
    moments : "per-group" (default), "per-task" or "shared"
        Whose memory a group's turn uses for the trunk. Groups redrawn at each step have no memory of their own:
        there "per-group" keeps one memory per task, and as with "per-task" every task of the group updates its own
        memory with its part of the group's gradient and the sum of their updates is applied (one trunk backward
        per task). "shared": one memory for the trunk. A head always has its own.
    reduction : "mean" (default) or "sum"
        A group's loss.
    rng : int or numpy Generator, default 0
        Draws the partitions.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0] * 4, [[1.0], [2.0], [3.0], [4.0]], start=[0.0])
    >>> step = tm.RandomGrouped(problem, tm.SGD(lr=0.1), group_size=2)
    >>> step.memory["partition"]
    [[0, 2], [1, 3]]
    >>> step().trunk_forwards
    2
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        group_size: int,
        redraw: str = "run",
        moments: str = "per-group",
        reduction: str = "mean",
        rng: int | np.random.Generator = 0,
    ):
        super().__init__(model, optimizer)
        tasks = len(model.tasks)
        self.group_size = whole_number("group_size", group_size, 1, tasks)
        self.redraw = choose("redraw", redraw, ("run", "step"))
        moments = choose("moments", moments, ("per-group", "per-task", "shared"))
        self.moments = "per-task" if moments == "per-group" and redraw == "step" else moments
        self.reduction = choose("reduction", reduction, ("mean", "sum"))
        if moments == "shared":
            self.require_trunk("moments='shared' is one memory for the trunk", "use moments='per-task'")
        draws = random_generator(rng)
        if redraw == "step":
            self.memory |= {"rng": draws, "partition": []}
        else:
            self.memory["partition"] = sorted(random_partition(tasks, self.group_size, draws))

    def groups(self) -> list[list[int]]:
        """The partition: this run's, or a new one."""
        if self.redraw == "step":
            self.memory["partition"] = random_partition(len(self.model.tasks), self.group_size, self.memory["rng"])
        partition: list[list[int]] = self.memory["partition"]
        return partition

    def owners(self, group: Sequence[int]) -> dict[str, Sequence[int]]:
        """The group, each of its tasks, or one memory for all."""
        names = self.model.task_names
        if self.moments == "per-task":
            return {names[k]: [k] for k in group}
        return {"" if self.moments == "shared" else "{" + ", ".join(names[k] for k in group) + "}": group}
