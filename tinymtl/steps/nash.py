"""Nash-MTL (Navon et al. 2022, arXiv 2202.01017) and FairGrad (Ban & Ji 2024, arXiv 2402.15638): one family."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.hull import min_norm
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.gram import Solution, cosines, listed, say
from tinymtl.steps.weighted import GradientWeighted


class FairGrad(GradientWeighted):
    """The α-fair direction v = Σ αₖgₖ, with (Gα)ₖ = αₖ^(−1/a) for every task (section 4.2 of Ban & Ji 2024).

    a = 1 is Nash-MTL. The ends of the family are not those that the paper states: a → 0 is `DualProj`'s direction
    (αₖ^(−1/a) becomes a wall at α ≥ 1), and a → ∞ is MGDA's direction with the inverse length, p/‖p‖².

    Since gₖ·v = αₖ^(−1/a) > 0, no loss rises to first order. v has no zero: for a ≥ 1 its length does not fall
    with the gradients' (for a > 1 it grows), so that a fixed learning rate does not settle.
    There is no solution at a Pareto-stationary point: then a warning says so and the trunk stays where it is.
    A task with a zero gradient takes no part: weight 0, and a warning.

    The authors and LibMTL use SciPy's least squares from α = 1/K. Here the strictly convex ½αᵀGα − Σφ(αₖ),
    φ′(α) = α^(−1/a), is minimised by damped Newton steps, scaled so that orthogonal gradients take none.
    `report.min_norm` is a `Solution`; its residual is max |(Gα)ₖ αₖ^(1/a) − 1|, for a < 1 max |(Gα)ₖ^a αₖ − 1|.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    a : float, default 1.0
        The authors' scripts all use 2. Below 0.1 and above 10 many gradients of very different lengths may not be
        solved: a warning says so, and the residual is in the report.
    at : "θ" (default, the paper) or "Z"
        At Z the promise holds for Z.
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [3.0, 0.0]], start=[0.0, 4.0])
    >>> tm.FairGrad(problem, tm.SGD(lr=0.1)).weigh(np.diag([9.0, 16.0]), np.ones(2)).weights  # orthogonal: 1/‖gₖ‖
    array([0.33333333, 0.25      ])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        a: float = 1.0,
        max_norm: float | None = None,
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        if not 0.0 < a < np.inf:
            raise ValueError(f"a is {a}: give a positive number, such as 1 (Nash-MTL) or 2")
        if max_norm is not None and not 0.0 < max_norm < np.inf:
            raise ValueError(f"max_norm is {max_norm}: give a positive number, or None")
        self.a, self.max_norm = float(a), np.inf if max_norm is None else max_norm

    def weigh(self, G: Array, L: Array) -> Solution:
        """α > 0 with (Gα)ₖ = αₖ^(−1/a)."""
        names, (n, C) = self.names, cosines(G)
        for k in (n == 0.0).nonzero()[0]:
            say(f"task {names[k]!r} has a zero gradient: {type(self).__name__} gives it the weight 0")
        alpha, moving = np.zeros(len(n)), n.nonzero()[0]
        if not moving.size:
            return Solution(alpha, np.nan)
        C = C[np.ix_(moving, moving)]
        alpha[moving], residual = _fair(n[moving], C, self.a)
        if residual > 1e-6:
            nearest = min_norm(gram=C)
            if nearest.squared_norm <= 8 * len(n) * np.finfo(self.model.vector.dtype).eps:
                tasks = listed(names[k] for k in moving[nearest.weights > 1e-8])
                say(f"the gradients of {tasks} cancel: a Pareto-stationary point, where {type(self).__name__} has no "
                    "solution; the trunk stays where it is")
                return Solution(np.zeros(len(n)), np.nan)
            say(f"{type(self).__name__} could not solve its equation to six digits: see report.min_norm.residual")
        length = float(np.sqrt(max(float(alpha @ G @ alpha), 0.0)))
        return Solution(alpha if length <= self.max_norm else alpha * (self.max_norm / length), residual)


def _fair(n: Array, C: Array, a: float) -> tuple[Array, float]:
    """α for gradients of lengths n > 0 and cosines C, and the residual.

    α = b·n^(−2a/(1+a)), where b is the minimum of ½bᵀMb − Σ pₖφ(bₖ): M is scaled so that its diagonal is p.
    """
    root = n ** ((1 - a) / (1 + a))
    M, p = C * (root[:, None] * root), root * root

    def value(b: Array) -> float:
        phi = np.log(b) if a == 1.0 else b ** (1 - 1 / a) / (1 - 1 / a)
        return float(0.5 * b @ M @ b - p @ phi)

    best = b = np.full(len(n), min(1.0, float(p.sum() / max(abs(M.sum()), 1e-300)) ** (a / (1 + a))))
    residual, since = np.inf, 0
    with np.errstate(all="ignore"):  # beyond what floats can do, a residual that is not small says so
        for _ in range(150):
            Mb, barrier = M @ b, p * b ** (-1 / a)
            found = float(abs((Mb / barrier) ** min(a, 1.0) - 1).max()) if Mb.min() > 0 else np.inf
            best, residual, since = (b, found, 0) if found < residual else (best, residual, since + 1)
            try:
                step = np.linalg.solve(M + np.diag(barrier / (a * b)), barrier - Mb)
            except np.linalg.LinAlgError:  # b has grown without end
                break
            decrease = float((barrier - Mb) @ step)  # Newton's, squared
            if residual < 1e-14 or (since >= 3 and decrease < 1e-12 * p.sum()):
                break
            length = min(1.0, 0.95 / max(float((-step / b).max()), 1e-300))  # b stays positive
            enough = value(b) + 1e-14 * abs(value(b))
            while length > 1e-10 and not value(b + length * step) <= enough - 1e-4 * length * decrease:
                length /= 2
            b = b + length * step
    return best * n ** (-2 * a / (1 + a)), residual


class NashMTL(FairGrad):
    """Nash-MTL: the Nash bargaining solution, α > 0 with (Gα)ₖ = 1/αₖ (Claim 3.1 of Navon et al. 2022).

    v = Σ αₖgₖ maximises Σ log(gₖ·v) in a ball. Its length is √K whatever the gradients are, and v does not change
    if a loss is multiplied by a number: only the angles count. It exists unless the point is Pareto-stationary;
    that the gradients are independent, as the paper assumes, is not needed. Towards a Pareto-stationary point
    α → ∞ while ‖v‖ = √K: with a fixed learning rate the steps never shrink. All else is as in `FairGrad`.

    The authors' code, LibMTL and TorchJD run up to 20 rounds of CVXPY from α = 1, which give up silently: with
    gradients (−1, 2, 0), (1, −1, −1), (0, 0, 1) they return α = 1 and loss 2 rises. They also clip ‖v‖.

    Parameters
    ----------
    model, optimizer, at, head_weighting
        As in `FairGrad`.
    max_norm : float, optional
        Shorten v to at most this length, as the authors' code does with 1.0: then v is 1/√K of the paper's.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [3.0, 0.0]], start=[0.0, 4.0])
    >>> tm.NashMTL(problem, tm.SGD(lr=0.1)).weigh(np.diag([9.0, 16.0]), np.ones(2)).weights  # orthogonal: 1/‖gₖ‖
    array([0.33333333, 0.25      ])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        max_norm: float | None = None,
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, 1.0, max_norm, at, head_weighting)
