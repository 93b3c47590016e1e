"""SDMGrad: direction-oriented multi-objective learning (Xiao et al. 2023, arXiv 2305.18409)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.hull import MinNorm, min_norm
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import GradientWeighted


class SDMGrad(GradientWeighted):
    """MGDA whose weights have a floor: αₖ ≥ λ/(K(1 + λ)) (equation 6 of 2305.18409, written otherwise).

    The paper: w = argmin ‖g_w + λg₀‖² over the simplex, v = (g_w + λg₀)/(1 + λ). That is the shortest v = Σ αₖgₖ
    with α = (w + λ/K)/(1 + λ): exactly MGDA's, unless one of its weights is below the floor. If the floor binds a
    loss may rise: (10, 0), (−1, 0.1). λ = 0 is MGDA, λ → ∞ the mean. A finished task does not freeze it.

    The paper draws three independent batches per step, two for w and one for v; here all are the one batch. The
    authors' code and LibMTL take 20 steps of SGD for w, which do not converge. `report.min_norm` is a `MinNorm`
    whose gap is over the weights that the floor admits.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    lam : float, default 0.3
        λ.
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> tm.SDMGrad(problem, tm.SGD(lr=0.1))().weights * 13  # gradients (2, 2) and (0, −1): as MGDA
    array([ 3., 10.])
    """

    def __init__(
        self, model: SharedBottom, optimizer: Optimizer, lam: float = 0.3, at: str = "θ", head_weighting: str = "own"
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        if not 0.0 <= lam < np.inf:
            raise ValueError(f"lam is {lam}: give 0 or a positive number, such as 0.3")
        self.lam = float(lam)

    def weigh(self, G: Array, L: Array) -> MinNorm:
        """α = argmin ‖Σ αₖgₖ‖² over the part of the simplex with αₖ ≥ λ/(K(1 + λ))."""
        return min_norm(gram=G, floor=self.lam / (len(G) * (1.0 + self.lam)))
