"""MGDA and MGDA-UB: the min-norm step (Sener & Koltun 2018, arXiv 1810.04650)."""

from __future__ import annotations

import warnings

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.hull import MinNorm, min_norm, normalized_gram
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import GradientWeighted


class MGDA(GradientWeighted):
    """The min-norm step on the trunk's gradients gₖ = ∇_θ Lₖ: K backward passes through the trunk.

    Solve min ‖Σ αₖgₖ‖² over the simplex (equation 3 of Sener & Koltun 2018), then step along v = Σ αₖgₖ. If v ≠ 0,
    gₖ·v ≥ ‖v‖² for every task: to first order no loss rises. If v = 0 the point is Pareto-stationary.

    The heads take their own, unweighted gradients, as in Algorithm 2; the authors' code weights them by αₖ
    (`head_weighting="alpha"`). Their two-task solver answers 0.999 and 0.001 in the clamped cases, ours 1 and 0.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        With one memory for all parameters; v is what it is given as the trunk's gradient.
    normalize : "none" (default, the paper), "l2", "loss" or "loss+"
        Solve for α on gₖ/‖gₖ‖, gₖ/Lₖ or gₖ/(Lₖ‖gₖ‖); α is applied to the raw gₖ.
        `report.min_norm` is then of the normalised gradients, and the raw v need not descend on every loss.
    head_weighting : "own" (default, the paper) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> report = tm.MGDA(problem, tm.SGD(lr=1.0))()  # gradients (2, 2) and (0, -1)
    >>> report.weights * 13
    array([ 3., 10.])
    """

    def __init__(self, model: SharedBottom, optimizer: Optimizer, normalize: str = "none", head_weighting: str = "own"):
        super().__init__(model, optimizer, head_weighting=head_weighting)
        self.normalize = choose("normalize", normalize, ("none", "l2", "loss", "loss+"))

    def weigh(self, G: Array, L: Array) -> MinNorm:
        """α = argmin ‖Σ αₖ gₖ‖² over the simplex."""
        for k, square in enumerate(G.diagonal().tolist()):
            if square == 0.0:
                warnings.warn(
                    f"task {self.names[k]!r} has a zero gradient: the min-norm point is 0 and no task moves the trunk",
                    RuntimeWarning,
                    stacklevel=5,
                )
        return min_norm(gram=G if self.normalize == "none" else normalized_gram(G, L, self.normalize))


class MGDAUB(MGDA):
    """MGDA on the representation's gradients gₖ = ∇_Z Lₖ: one backward pass through the trunk.

    Algorithm 2 with the upper bound of section 3.3 of Sener & Koltun 2018: ‖Σ αₖ∇_θLₖ‖² ≤ ‖∂Z/∂θ‖² ‖Σ αₖ∇_ZLₖ‖², so
    minimise the second factor, whose gradients every head delivers without touching the trunk. Z is the whole
    batch, N·d numbers, stacked and not averaged over the batch.

    What it guarantees is descent on every loss as a function of Z. That this carries over to θ (the paper's
    Theorem 1(b)) fails in general: with J = [[1, 0], [2, 1]] and ∇_Z L = (1, 1), (1, −1) the second loss rises.
    `tinymtl.trace` therefore measures gₖ·v.

    The authors' code runs the trunk twice and draws dropout masks twice; here the graph is cut at Z and the trunk
    runs once. Parameters and the other differences are those of MGDA.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> report = tm.MGDAUB(problem, tm.SGD(lr=1.0))()  # here Z = θ: the same α as MGDA's
    >>> report.weights * 13
    array([ 3., 10.])
    >>> report.trunk_backwards
    1
    """

    at = "Z"
