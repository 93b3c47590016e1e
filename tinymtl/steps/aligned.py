"""Aligned-MTL (Senushkin et al. 2023, arXiv 2305.19000)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinymtl.arrays import as_doubles
from tinymtl.backend import Array
from tinymtl.checks import choose, shown
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import GradientWeighted


class Alignment(NamedTuple):
    """The weights of the gradients, and the rank of the gradients that was used: a cut that makes v jump."""

    weights: Array
    rank: int


class AlignedMTL(GradientWeighted):
    """The weighted mean of the gradients after all their singular values are made equal (equation 12 of 2305.19000).

    With G = VΛVᵀ, α = σ V Λ^(−1/2) Vᵀw: the orthogonal matrix nearest to the gradients, times their least singular
    value σ. Weights w are 1/K, or the task weights that the paper presets.

    It promises little: ‖v‖ ≤ σ‖w‖. With (3, 1), (−1, 0) loss 2 rises. v → 0 whenever the gradients become dependent,
    also if they agree, (1, 0) and (1, ε), and jumps to (1, 0) at ε = 0, where the rank is 1: `report.min_norm` is an
    `Alignment`, with the rank. So it does not converge to the optimum of Σ wₖLₖ, as the abstract says: two
    quadratics with centres (0, 0), (4, 0), from (1, 3), end at (1.600, 0), not at (2, 0).

    The authors' code has w = 1 and the three `scale`s; LibMTL's calls a function that torch has removed.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    weights : K numbers, optional
        w, default 1/K each; 1 each is the authors' code.
    scale : "min" (default, the paper), "median" or "rmse"
        σ: of the singular values not 0, the least, the median, or the root of the mean square.
    at : "θ" (default) or "Z" (the authors' upper-bound form)
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [3.0, 0.0]], start=[0.0, 4.0])
    >>> tm.AlignedMTL(problem, tm.SGD(lr=0.1)).weigh(np.diag([9.0, 16.0]), np.ones(2)).weights  # v = (3/2, 3/2)
    array([0.5  , 0.375])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        weights: Sequence[float] | Array | None = None,
        scale: str = "min",
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        K = len(model.tasks)
        self.weights = None if weights is None else np.array(as_doubles(weights, "the array of weights"))
        if self.weights is not None and (self.weights.shape != (K,) or not np.isfinite(self.weights).all()):
            raise ValueError(f"weights must be {K} finite numbers, one per task, got {shown(weights)}")
        self.scale = choose("scale", scale, ("min", "median", "rmse"))

    def weigh(self, G: Array, L: Array) -> Alignment:
        """σ V Λ^(−1/2) Vᵀw."""
        V, singular = _singular(G)
        kept = singular**2 > len(G) * np.finfo(self.model.vector.dtype).eps * singular.max() ** 2
        if not kept.any():
            return Alignment(np.zeros(len(G)), 0)
        singular, V = singular[kept], V[:, kept]
        rmse = np.sqrt((singular**2).mean())
        sigma = {"min": singular.min(), "median": np.median(singular), "rmse": rmse}[self.scale]
        w = np.full(len(G), 1 / len(G)) if self.weights is None else self.weights[self.group]
        return Alignment(V @ (w @ V * (sigma / singular)), int(kept.sum()))


def _singular(G: Array) -> tuple[Array, Array]:
    """The matrix V (K, K) and the singular values σ (K,) of gradients with G = V diag(σ²) Vᵀ.

    From G's Cholesky factor if it has one: eigenvalues of G keep half the digits of a small σ.
    """
    try:
        V, singular, _ = np.linalg.svd(np.linalg.cholesky(G))
    except np.linalg.LinAlgError:  # dependent gradients
        eigenvalues, V = np.linalg.eigh(G)
        singular = np.sqrt(np.maximum(eigenvalues, 0.0))
    return V, singular
