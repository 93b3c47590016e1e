"""Alternating independent steps, one optimizer memory per task (Pascal et al. 2021, arXiv 2109.11678)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinymtl.checks import choose, random_generator
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.turns import Turns


class Alternating(Turns):
    """One task after another on the same minibatch, each with its own forward, backward, update and memory.

        for k in order:
            Lₖ = lossₖ(headₖ(trunk(x)))      with the parameters that the task before has just moved
            update θ and φₖ with ∇Lₖ, by task k's own optimizer memory

    As in the authors' code of Pascal et al. (2021); the order is fixed there too. A parameter that a loss does
    not reach is not touched: other heads stay as they are during task k's turn.

    Cost: K trunk forwards, K trunk backwards, and with `moments="per-task"` K memories of the trunk's size.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    moments : "per-task" (default, the paper's contribution) or "shared"
        A complete memory (moments and step count) per task; or one for the trunk that all tasks write to, and one
        for each head.
    order : "fixed" (default: 0 … K−1) or "shuffled" (a permutation drawn per minibatch)
    rng : int or numpy Generator, default 0
        Draws the permutations.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.0])
    >>> report = tm.Alternating(problem, tm.SGD(lr=0.1))()  # 0 → 0.1 → −0.01
    >>> problem.theta.data, report.losses, report.trunk_forwards
    (array([-0.01]), array([0.5  , 0.605]), 2)
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        moments: str = "per-task",
        order: str = "fixed",
        rng: int | np.random.Generator = 0,
    ):
        super().__init__(model, optimizer)
        self.moments = choose("moments", moments, ("per-task", "shared"))
        self.order = choose("order", order, ("fixed", "shuffled"))
        if moments == "shared":
            self.require_trunk("moments='shared' is one memory for the trunk", "use moments='per-task'")
        if order == "shuffled":
            self.memory["rng"] = random_generator(rng)

    def groups(self) -> Sequence[list[int]]:
        """One task at a time."""
        tasks = len(self.model.tasks)
        order = range(tasks) if self.order == "fixed" else self.memory["rng"].permutation(tasks).tolist()
        return [[k] for k in order]

    def owners(self, group: Sequence[int]) -> dict[str, Sequence[int]]:
        """The task itself, or one memory for all."""
        return {"" if self.moments == "shared" else self.model.task_names[group[0]]: group}
