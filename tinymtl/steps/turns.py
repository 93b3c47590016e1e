"""The template for strategies that take turns: several updates per minibatch, each from a part of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymtl.backend import array_module
from tinymtl.nn.functional import filled
from tinymtl.steps.step import Step, Update, Updates, head_memory, require_finite_gradient


class Turns(Step):
    """One group of tasks after another on the same minibatch, each with its own forward, backward and update.

    A strategy says who moves together, in which order, and whose memory the trunk's update uses. A head has a memory
    of its own, whoever moves the trunk, and is not touched in the turns of others. A task without a label in a batch
    is left out of its group, and a group without one of its turn.

    Cost: a trunk forward per group, a trunk backward per owner, K head backwards.
    """

    equivariant = False
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
        for whole in self.groups():
            owners = self.owners(whole)
            if len(self.group) < len(model.tasks):  # the others have no label here
                owners = {owner: [k for k in tasks if k in self.group] for owner, tasks in owners.items()}
                owners = {owner: tasks for owner, tasks in owners.items() if tasks}
                if not owners:
                    continue
            group = [k for tasks in owners.values() for k in tasks]
            now = Update(group=group)
            now.Z = Z = self.represent(batch)
            L = [model.losses(Z, batch, tasks) for tasks in owners.values()]
            xp = array_module(L[0].data)
            now.losses = L[0].data if len(L) == 1 else xp.concatenate([loss.data for loss in L])
            self.require_finite(now.losses, group=group)
            yield "forward", now

            weight = 1 / len(group) if self.reduction == "mean" else 1.0
            now.weights = filled(np, len(group), weight, np.float64)
            turn = []  # of each owner, the trunk's and its heads': memory's name, part of the vector, gradient
            for (owner, tasks), loss in zip(owners.items(), L, strict=True):
                found = model.sweep(loss, filled(xp, loss.size, weight, loss.dtype))
                moves = [(f"trunk of {owner}" if owner else "trunk", trunk, model.flatten_trunk(found))]
                moves += [(head_memory(model, k), model.layout.heads[k], model.flatten_head(found, k)) for k in tasks]
                for _, _, part in moves:
                    require_finite_gradient(part)
                turn.append(moves)
            gradients = [moves[0][2] for moves in turn]
            now.v = gradients[0] if len(gradients) == 1 else xp.stack(gradients).sum(axis=0)
            yield "gradient", now

            # all gradients were taken at the same θ: if there are several owners, their updates add up
            for moves in turn:
                self.move(*moves)
            now.memory = [memory for moves in turn for memory, _, part in moves if part.size]
            yield "update", now
