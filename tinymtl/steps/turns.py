"""The template for strategies that take turns: several updates per minibatch, each from a part of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymtl.backend import Array, array_module
from tinymtl.nn.functional import filled
from tinymtl.steps.step import Step, Update, Updates, head_memory, require_finite, require_finite_gradient


class Turns(Step):
    """One group of tasks after another on the same minibatch, each with its own forward, backward and update.

    A strategy says who moves together, in which order, and whose memory the trunk's update uses. A head has a memory
    of its own, whoever moves the trunk, and is not touched in the turns of others.

    Cost: a trunk forward per group, a trunk backward per owner, K head backwards.
    """

    one_update = False
    reduction = "sum"  #: A group's loss is the "sum" of its tasks' losses, or their "mean".

    def groups(self) -> Sequence[Sequence[int]]:
        """Who moves together, in order: lists of tasks."""
        raise NotImplementedError(f"{type(self).__name__} does not say who moves together: write groups(self)")

    def owners(self, group: Sequence[int]) -> dict[str, Sequence[int]]:
        """Whose memory the trunk's update uses, and which tasks make its gradient: {owner: tasks}, a sweep for each.

        The owner's name, a task's or a group's, becomes that of the memory. "" is one memory for all turns.
        """
        name = type(self).__name__
        raise NotImplementedError(f"{name} does not say whose memory a turn uses: write owners(self, group)")

    def updates(self, batch: Any) -> Updates:
        """For each group in turn: forward, gradient, update."""
        model, trunk = self.model, self.model.layout.trunk
        for group in self.groups():
            owners = self.owners(group)
            now = Update(group=[k for tasks in owners.values() for k in tasks])
            now.Z = Z = self.represent(batch)
            L = [model.losses(Z, batch, tasks) for tasks in owners.values()]
            xp = array_module(L[0].data)
            now.losses = L[0].data if len(L) == 1 else xp.concatenate([loss.data for loss in L])
            require_finite(now.losses, [model.task_names[k] for k in now.group])
            yield "forward", now

            weight = 1 / len(group) if self.reduction == "mean" else 1.0
            now.weights = np.full(len(now.group), weight)
            gradients: list[Array] = []
            heads: dict[int, Array] = {}
            for tasks, loss in zip(owners.values(), L, strict=True):
                found = model.sweep(loss, filled(xp, loss.size, weight, loss.dtype))
                gradients.append(model.flatten_trunk(found))
                heads |= {k: model.flatten_head(found, k) for k in tasks}
            for gradient in (*gradients, *heads.values()):
                require_finite_gradient(gradient)
            now.v = gradients[0] if len(gradients) == 1 else xp.stack(gradients).sum(axis=0)
            yield "gradient", now

            # all gradients were taken at the same θ: if there are several owners, their updates add up
            names = [f"trunk of {owner}" if owner else "trunk" for owner in owners]
            moves = [(name, trunk, gradient) for name, gradient in zip(names, gradients, strict=True)]
            moves += [(head_memory(model, k), model.layout.heads[k], g) for k, g in heads.items()]
            moves = [move for move in moves if move[2].size]
            for memory, part, gradient in moves:
                self.move(memory, [part], [gradient])
            now.memory = [memory for memory, _, _ in moves]
            yield "update", now
