"""Alternating independent steps, one optimizer memory per task (Pascal et al. 2021, arXiv 2109.11678)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.checks import choose
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


class Alternating(Step):
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
        self.rng = np.random.default_rng(rng)
        tasks = range(len(model.tasks))
        if moments == "per-task":
            self.task_memories = [optimizer.init(model.blocks([k])) for k in tasks]
        else:
            require_trunk_parameters(model, "moments='shared' is one memory for the trunk", "use moments='per-task'")
            self.trunk_memory = [optimizer.init([model.trunk_block.vector])]
            self.task_memories = [optimizer.init(model.head_vectors([k])) for k in tasks]

    def stages(self, x: Any, targets: Any) -> Stages:
        """For each task in turn: forward, gradient, update."""
        model = self.model
        before = model.passes.copy()
        batch = model.read(x, targets)
        order = range(len(model.tasks)) if self.order == "fixed" else self.rng.permutation(len(model.tasks)).tolist()
        seen: list[Any] = [None] * len(model.tasks)
        undo = Undo(model)
        try:
            for k in order:
                z = model.represent(batch.x)
                loss = model.losses(z, batch, [k])
                yield Stage("forward", {"task": k, "Z": z.data, "losses": loss.data})
                require_finite(loss.data, [model.task_names[k]])
                seen[k] = loss.data

                gradients = weighted_gradients(model, loss, model.constant([1.0]), [k])
                yield Stage("gradient", {"task": k, "gradients": gradients})
                require_finite_gradients(gradients)

                self._update(k, gradients, undo)
                yield Stage("update", {"task": k, "memory": model.task_names[k]})
        except (Exception, KeyboardInterrupt):
            undo.restore()
            raise
        return StepReport(join(seen), model.passes.since(before))

    def _update(self, k: int, gradients: list[Any], undo: Undo) -> None:
        undo.remember(self.task_memories, k)
        if self.moments == "per-task":
            self.optimizer.update(self.model.blocks([k]), gradients, self.task_memories[k])
        else:
            undo.remember(self.trunk_memory, 0)
            self.optimizer.update([self.model.trunk_block.vector], gradients[:1], self.trunk_memory[0])
            self.optimizer.update(self.model.head_vectors([k]), gradients[1:], self.task_memories[k])

    def memories(self) -> dict[str, Any]:
        """One memory per task, and with shared moments the trunk's."""
        named = {f"task {k}": memory for k, memory in enumerate(self.task_memories)}
        if self.moments == "shared":
            named["trunk"] = self.trunk_memory[0]
        return named
