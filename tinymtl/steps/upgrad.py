"""UPGrad and DualProj: projections on the cone in which no loss rises (Quinton & Rey 2024, arXiv 2406.16232)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.gram import Solution, cosines
from tinymtl.steps.weighted import GradientWeighted


class UPGrad(GradientWeighted):
    """The mean of the K gradients, each projected on the dual cone {d: gₖ·d ≥ 0 for all k} (section 3 of 2406.16232).

    As a mean of vectors of the cone v is in it: to first order no loss rises, whatever the rank of the gradients.
    Weights are at least 1/K, so that v = 0 only at Pareto-stationary points, and v grows linearly with each
    gradient's length. It is the only strategy here that keeps all three. For two tasks it is half of `PCGrad`.

    TorchJD and LibMTL solve the projections on G/tr G + 1e-4·I, where short gradients count for nothing: (100, 0)
    and (−1, 0.1) give a v that raises loss 2. Here the rows are scaled to length 1 (the cone does not change) and
    the complementarity is solved exactly; `report.min_norm` is a `Solution`, whose residual, max |min(z, Cv)|, is
    that of the projections, for gradients of length 1.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    ridge : float, default 0.0
        What is added to the diagonal of G/tr G; 1e-4 is what TorchJD and LibMTL do.
    at : "θ" (default, the paper) or "Z"
        At Z the promise holds for Z.
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> tm.UPGrad(problem, tm.SGD(lr=0.1))().weights  # gradients (2, 2) and (0, −1): v = (5/4, −1/4)
    array([0.625, 1.5  ])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        ridge: float = 0.0,
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        if not 0.0 <= ridge < np.inf:
            raise ValueError(f"ridge is {ridge}: give 0 or a positive number, such as 1e-4")
        self.ridge = ridge

    def rows(self, K: int) -> Array:
        """What is projected, as weights of the gradients: a row for each; v is their sum."""
        return np.eye(K) / K

    def weigh(self, G: Array, L: Array) -> Solution:
        """w = Σ (u + z) over the rows u, with 0 ≤ z ⟂ G(u + z) ≥ 0."""
        if self.ridge and G.trace() > 0.0:
            G = G / G.trace() + self.ridge * np.eye(len(G))
        projected, residual = projections(G, self.rows(len(G)))
        return Solution(projected.sum(axis=0), residual)


class DualProj(UPGrad):
    """The mean gradient, projected on the dual cone {d: gₖ·d ≥ 0 for all k} (section 3 of 2406.16232; Lopez-Paz 2017).

    The nearest direction to the mean in which no loss rises; the mean itself if it raises none. ‖v‖ ≤ ‖g₀‖, weights
    are at least 1/K, and v = 0 only at Pareto-stationary points; but v is not linear in a gradient's length.
    All else is as in `UPGrad`.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> tm.DualProj(problem, tm.SGD(lr=0.1))().weights  # gradients (2, 2) and (0, −1): v = (1, 0)
    array([0.5, 1. ])
    """

    def rows(self, K: int) -> Array:
        """The mean."""
        return np.full((1, K), 1.0 / K)


def projections(G: Array, U: Array) -> tuple[Array, float]:
    """The projection of every Σ uₖgₖ on the dual cone of the gₖ, as weights of them, and the residual."""
    n, C = cosines(G)
    n = np.where(n > 0.0, n, 1.0)
    size = (U * n).max(axis=1, keepdims=True)
    found, residual = _on_the_cone(C, U * n / size)  # the cone of gₖ/nₖ is the same, and nothing is short or long
    return found * size / n, residual


def _on_the_cone(C: Array, U: Array) -> tuple[Array, float]:
    """The rows U + Z with 0 ≤ Z ⟂ (U + Z)C ≥ 0, and the residual max |min(Z, (U + Z)C)|.

    A row is a combination of vectors with inner products C, which U + Z projects on their dual cone. All rows at once
    by block principal pivoting (Júdice & Pires 1994): solve with the free z's alone, let all that have the wrong sign
    change sides; if their number does not fall for three rounds, the last alone, which ends in any case (Murty 1974).
    """
    K, free = len(C), np.zeros(U.shape, dtype=bool)
    A = C + 4 * K * np.finfo(float).eps * np.eye(K)  # dependent gradients make C singular
    fewest, patience = np.full(len(U), K + 1), np.full(len(U), 3)
    Z, pull = np.zeros_like(U), U @ C
    for _ in range(20 * K + 20):
        slack = pull + Z @ C
        wrong = np.where(free, Z < 0.0, slack < -1e-15 * K)
        count = wrong.sum(axis=1)
        if not count.any():
            break
        fewer = count < fewest
        patience = np.where(fewer, 3, patience - 1)
        fewest = np.where(fewer, count, fewest)
        last = K - 1 - wrong[:, ::-1].argmax(axis=1)
        alone = wrong & (np.arange(K) == last[:, None])
        free ^= np.where((patience >= 0)[:, None], wrong, alone)
        both = free[:, :, None] & free[:, None, :]
        Z = np.linalg.solve(np.where(both, A, np.eye(K)), np.where(free, -pull, 0.0)[:, :, None])[:, :, 0]
    Z = np.maximum(Z, 0.0)
    return U + Z, float(abs(np.minimum(Z, pull + Z @ C)).max())
