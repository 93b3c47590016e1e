"""The gradients of all K losses at the representation, from one sweep over the heads.

Both MGDA and MGDA-UB begin here: cut the graph at Z, let every head deliver its own gradient ∇_φₖ Lₖ and
Dₖ = ∇_Z Lₖ, shape (N, d). What follows needs three things of the Dₖ: one of them, their Gram matrix, and a
weighted sum. For linear heads all three come from factors, Dₖ = Rₖ Vₖᵀ, without forming K matrices of size N × d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinymtl.autodiff import Tensor, sweep
from tinymtl.backend import Array, array_module
from tinymtl.hull import gram_matrix
from tinymtl.nn.batch import Batch
from tinymtl.nn.shared_bottom import SharedBottom


class DenseGradients:
    """K gradients as they are."""

    def __init__(self, gradients: Sequence[Array]):
        self.gradients = gradients

    def __getitem__(self, k: int) -> Array:
        return self.gradients[k]

    def gram(self) -> Array:
        """G (K, K), the inner products over all elements: the whole batch, not its mean."""
        rows = [g.reshape(-1) for g in self.gradients]
        if array_module(rows[0]) is not np or len(rows) > 4:
            return gram_matrix(rows)
        # a few inner products cost less than stacking the rows
        products = [[float(a.dot(b)) for b in rows[: i + 1]] for i, a in enumerate(rows)]
        return np.array([[products[max(i, j)][min(i, j)] for j in range(len(rows))] for i in range(len(rows))])

    def weighted_sum(self, alpha: Array) -> Array:
        """Σ αₖ Dₖ."""
        total = float(alpha[0]) * self.gradients[0]
        for a, g in zip(alpha[1:], self.gradients[1:], strict=True):
            total = total + float(a) * g
        return total


class LinearHeadGradients:
    """The gradients Dₖ = Rₖ Vₖᵀ of linear heads: Rₖ (N, C) at the logits, Vₖ (d, C) the weights."""

    def __init__(self, at_logits: Array, weight: Array, tasks: int):
        self.at_logits = at_logits  # (N, K·C)
        self.weight = weight  # (d, K·C)
        self.tasks = tasks
        self.outputs = weight.shape[1] // tasks

    def __getitem__(self, k: int) -> Array:
        columns = slice(k * self.outputs, (k + 1) * self.outputs)
        return self.at_logits[:, columns].dot(self.weight[:, columns].T)

    def gram(self) -> Array:
        """⟨Dₖ, Dₗ⟩ = Σ (RₖᵀRₗ) ∘ (VₖᵀVₗ): two small products and a sum over blocks."""
        inner = self.at_logits.T.dot(self.at_logits)
        inner *= self.weight.T.dot(self.weight)
        if self.outputs == 1:
            return inner
        blocks: Array = inner.reshape(self.tasks, self.outputs, self.tasks, self.outputs).sum(axis=(1, 3))
        return blocks

    def weighted_sum(self, alpha: Array) -> Array:
        """Σ αₖ Rₖ Vₖᵀ: one product, with the columns of R scaled."""
        xp = array_module(self.weight)
        scale = xp.asarray(alpha, dtype=self.weight.dtype).repeat(self.outputs)
        return (self.at_logits * scale).dot(self.weight.T)


@dataclass
class HeadSweep:
    """What one sweep over the heads delivers."""

    losses: Array  # (K,)
    own: list[Array]  # ∇_φₖ Lₖ, unweighted, as `model.blocks()` has the heads
    at_z: DenseGradients | LinearHeadGradients


def sweep_heads(model: SharedBottom, z: Tensor, batch: Batch) -> HeadSweep:
    """Losses, every head's own gradient, and the K gradients at the representation `z`, where the graph is cut."""
    everyone = range(len(model.tasks))
    cut = z.detach()
    if model.stacked:
        logits, weight = model.stacked_logits(cut, model.heads)
        losses = model.losses_from_logits(logits, batch, everyone)
        # column block k of the logits feeds loss k alone, so that one sweep seeded with ones keeps tasks apart
        found = sweep([losses], [model.constant([1.0] * len(everyone))], [logits, model.heads])
        at_z: DenseGradients | LinearHeadGradients = LinearHeadGradients(found[logits], weight, len(everyone))
        return HeadSweep(losses.data, model.flatten_heads(found, everyone, True), at_z)
    cut.requires_grad = True
    xp, one = array_module(cut.data), model.constant([1.0])
    own: dict[Tensor, Array] = {}
    values, gradients = [], []
    for k in everyone:
        loss = model.losses(cut, batch, [k])
        found = sweep([loss], [one])
        gradients.append(found.pop(cut) if cut in found else xp.zeros_like(cut.data))
        own.update(found)
        values.append(loss.data)
    return HeadSweep(xp.concatenate(values), model.flatten_heads(own, everyone, True), DenseGradients(gradients))
