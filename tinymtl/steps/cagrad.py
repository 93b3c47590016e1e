"""CAGrad: conflict-averse gradient descent (Liu et al. 2021, arXiv 2110.14048)."""

from __future__ import annotations

import math

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.hull import min_norm
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.gram import Solution
from tinymtl.steps.upgrad import projections
from tinymtl.steps.weighted import GradientWeighted


class CAGrad(GradientWeighted):
    """The direction near the mean gradient g₀ that serves the worst-served task best (equation 2 of 2110.14048).

    max over v of minₖ gₖ·v, subject to ‖v − g₀‖ ≤ c‖g₀‖. With the dual's w on the simplex, which minimises
    g_w·g₀ + c‖g₀‖‖g_w‖, it is v = g₀ + (c‖g₀‖/‖g_w‖) g_w. c = 0 is the mean; c → ∞ turns v to MGDA's direction.

    For c < 1 only a zero of g₀ stops it, but a loss may rise, also at the usual c = 0.4: with gradients (2, 2) and
    (0, −1), g₂·v = −0.053. For c ≥ 1 none rises.

    The authors' CVXPY or SciPy solvers put 1e-8 to 1e-4 under the roots and divide v by 1 + c² (nyuv2, LibMTL) or
    1 + c (their toy). Here v = s·p with the min-norm point p where that is exact; else w is piecewise linear in
    ℓ, as the min-norm weights of the rows gₖ + ℓg₀, and ‖g_w‖ = ℓc‖g₀‖ gives ℓ. `report.min_norm` is a `Solution`;
    its residual is the duality gap. If g_w = 0, many v serve the
    worst-served task alike (not at all): then v is the one nearest to g₀, that of `DualProj`.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    c : float, default 0.4
    rescale : "none" (default, the paper), "1+c²" or "1+c"
        What v is divided by.
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> tm.CAGrad(problem, tm.SGD(lr=0.1))().weights  # gradients (2, 2) and (0, −1)
    array([0.5      , 0.9472136])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        c: float = 0.4,
        rescale: str = "none",
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        if not 0.0 <= c < np.inf:
            raise ValueError(f"c is {c}: give 0 or a positive number, such as 0.4")
        self.c, self.rescale = float(c), choose("rescale", rescale, ("none", "1+c²", "1+c"))

    def weigh(self, G: Array, L: Array) -> Solution:
        """1/K + (c‖g₀‖/‖g_w‖) w, and the duality gap."""
        K, dot = len(G), G.mean(axis=1)  # gₖ·g₀
        radius = self.c * math.sqrt(max(float(dot.mean()), 0.0))  # c‖g₀‖
        nearest = min_norm(gram=G)

        s = self._along(nearest.squared_norm, float(dot.mean())) if self._is_long(G, nearest.weights) else 0.0
        if s * nearest.weights.min() * K > 1.0:
            alpha = s * nearest.weights
            w = (alpha - 1 / K) / (s - 1.0)
        elif radius == 0.0:
            w, alpha = nearest.weights, np.full(K, 1 / K)
        else:
            w = _dual(G, dot, radius, nearest.weights)
            if self._is_long(G, w):
                alpha = 1 / K + radius / math.sqrt(float(w @ G @ w)) * w
            else:
                alpha = projections(G, np.full((1, K), 1 / K))[0][0]
        bound = float(w @ dot) + radius * math.sqrt(max(float(w @ G @ w), 0.0))
        gap = max(bound - float((G @ alpha).min()), 0.0)
        return Solution(alpha / {"none": 1.0, "1+c²": 1.0 + self.c**2, "1+c": 1.0 + self.c}[self.rescale], gap)

    def _along(self, p: float, g0: float) -> float:
        """The s of v = s·p, on the border of the ball, if v is along the min-norm point p; from ‖p‖² and ‖g₀‖²."""
        inside = 1.0 - (1.0 - self.c**2) * g0 / p
        return 1.0 + math.sqrt(inside) if inside >= 0.0 else 0.0

    def _is_long(self, G: Array, w: Array) -> bool:
        """Whether g_w is more than the rounding of its parts."""
        rounding = 4 * len(G) * float(np.finfo(self.model.vector.dtype).eps)
        return float(w @ G @ w) > rounding * float(w @ np.sqrt(G.diagonal())) ** 2


def _dual(G: Array, dot: Array, radius: float, w: Array) -> Array:
    """w on the simplex that minimises g_w·g₀ + radius·‖g_w‖; `w` are the min-norm weights, those of ℓ = 0."""
    g0 = float(dot.mean())

    def weights(ell: float) -> Array:  # of the nearest point of the rows gₖ + ℓg₀
        return min_norm(gram=G + ell * (dot[:, None] + dot) + ell * ell * g0).weights

    low, high = 0.0, math.sqrt(float(G.diagonal().max())) / radius
    w_low, w_high = w, weights(high)
    for _ in range(100):
        if ((w_low > 0.0) == (w_high > 0.0)).all():
            break
        middle = (low + high) / 2
        w = weights(middle)
        if float(w @ G @ w) >= (middle * radius) ** 2:
            low, w_low = middle, w
        else:
            high, w_high = middle, w
    # With one support w is linear in between: the root of ‖g_w‖² − (ℓ·radius)², a quadratic in t = ℓ − low.
    slope = (w_high - w_low) / (high - low)
    start = float(w_low @ G @ w_low) - (low * radius) ** 2
    half = float(w_low @ G @ slope) - low * radius**2
    root = math.sqrt(max(half * half - (float(slope @ G @ slope) - radius**2) * start, 0.0))
    t = min(start / (root - half), high - low) if start > 0.0 and root > half else 0.0
    return w_low + t * slope
