"""Random task grouping: alternating steps over random groups of tasks (Pascal et al. 2021, arXiv 2109.11678)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.checks import choose, whole_number
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.step import (
    Stage,
    Stages,
    Step,
    StepReport,
    Undo,
    join,
    require_finite,
    require_finite_gradients,
    require_trunk_parameters,
    weighted_gradients,
)


def random_partition(tasks: int, group_size: int, rng: np.random.Generator) -> list[list[int]]:
    """Split 0 … tasks−1 at random into ⌈tasks/size⌉ groups; the last one drawn may be smaller.

    Groups are sorted inside and by their first task, which changes no partition, only the order of visits.

    Examples
    --------
    >>> random_partition(5, 2, np.random.default_rng(0))
    [[0, 3], [1], [2, 4]]
    """
    drawn = rng.permutation(tasks).tolist()
    return sorted(sorted(drawn[i : i + group_size]) for i in range(0, tasks, group_size))


class RandomGrouped(Step):
    """One group of tasks after another on the same minibatch: alternating steps on each group's mean loss.

    As in the authors' code of Pascal et al. (2021), the partition is drawn once per run; their group loss is the
    sum (`reduction="sum"`). Group size K is the averaged step and group size 1 the alternating one, bit for bit.
    Cost: ⌈K/s⌉ trunk forwards and backwards, and K head passes.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    group_size : int, 1 … K
    redraw : "run" (default: one partition, drawn now) or "step" (a new one per minibatch)
    moments : "per-group" (default), "per-task" or "shared"
        Whose memory a group's turn uses for the trunk. Groups redrawn at each step have no memory of their own:
        there "per-group" keeps one memory per task, and as with "per-task" every task of the group updates its own
        memory with its part of the group's gradient and the sum of their updates is applied (one trunk backward
        per task). "shared": one memory for the trunk, one for each head.
    reduction : "mean" (default) or "sum"
        A group's loss.
    rng : int or numpy Generator, default 0
        Draws the partitions.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0] * 4, [[1.0], [2.0], [3.0], [4.0]], start=[0.0])
    >>> step = tm.RandomGrouped(problem, tm.SGD(lr=0.1), group_size=2)
    >>> step.groups
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
        self.rng = np.random.default_rng(rng)
        self.groups = random_partition(tasks, self.group_size, self.rng)
        self.trunk_memory: list[Any] = []
        if self.moments == "per-group":
            self.own_memories = [optimizer.init(model.blocks(group)) for group in self.groups]
        elif self.moments == "per-task":
            self.own_memories = [optimizer.init(model.blocks([k])) for k in range(tasks)]
        else:
            require_trunk_parameters(model, "moments='shared' is one memory for the trunk", "use moments='per-task'")
            self.trunk_memory = [optimizer.init([model.trunk_block.vector])]
            self.own_memories = [optimizer.init(model.head_vectors([k])) for k in range(tasks)]

    def stages(self, x: Any, targets: Any) -> Stages:
        """For each group in turn: forward, gradient, update."""
        model = self.model
        before = model.passes.copy()
        batch = model.read(x, targets)
        if self.redraw == "step":
            self.groups = random_partition(len(model.tasks), self.group_size, self.rng)
        seen: list[Any] = [None] * len(model.tasks)
        undo = Undo(model)
        try:
            for i, group in enumerate(self.groups):
                z = model.represent(batch.x)
                parts = [[k] for k in group] if self.moments == "per-task" else [group]  # one sweep each
                losses = [model.losses(z, batch, part) for part in parts]
                for part, values in zip(parts, losses, strict=True):
                    require_finite(values.data, [model.task_names[k] for k in part])
                    for j, k in enumerate(part):
                        seen[k] = values.data[j : j + 1]
                yield Stage("forward", {"group": group, "Z": z.data, "losses": [seen[k] for k in group]})

                weight = 1 / len(group) if self.reduction == "mean" else 1.0
                gradients = [
                    weighted_gradients(model, values, model.constant([weight] * len(part)), part)
                    for part, values in zip(parts, losses, strict=True)
                ]
                yield Stage("gradient", {"group": group, "gradients": gradients})
                for gradient in gradients:
                    require_finite_gradients(gradient)

                self._update(i, group, gradients, undo)
                yield Stage("update", {"group": group, "memory": self.moments})
        except (Exception, KeyboardInterrupt):
            undo.restore()
            raise
        return StepReport(join(seen), model.passes.since(before))

    def _update(self, i: int, group: list[int], gradients: list[list[Any]], undo: Undo) -> None:
        model, memories = self.model, self.own_memories
        if self.moments == "per-group":
            undo.remember(memories, i)
            self.optimizer.update(model.blocks(group), gradients[0], memories[i])
        elif self.moments == "per-task":
            for k, gradient in zip(group, gradients, strict=True):  # all taken at the same θ: their updates add up
                undo.remember(memories, k)
                self.optimizer.update(model.blocks([k]), gradient, memories[k])
        else:
            undo.remember(self.trunk_memory, 0)
            self.optimizer.update([model.trunk_block.vector], gradients[0][:1], self.trunk_memory[0])
            for k, head in zip(group, model.split_heads(gradients[0][1:], group), strict=True):
                undo.remember(memories, k)
                self.optimizer.update(model.head_vectors([k]), head, memories[k])

    def memories(self) -> dict[str, Any]:
        """One memory per group or task, and with shared moments the trunk's."""
        named = {f"own {i}": memory for i, memory in enumerate(self.own_memories)}
        if self.moments == "shared":
            named["trunk"] = self.trunk_memory[0]
        return named
