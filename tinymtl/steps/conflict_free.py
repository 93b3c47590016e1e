"""ConFIG: conflict-free inverse gradients (Liu et al. 2024, arXiv 2408.11104), and what IMTL-G makes of them."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.steps.gram import cosines, each_over, say
from tinymtl.steps.weighted import GradientWeighted


class ConFIG(GradientWeighted):
    """The direction û that has the same cosine with every gradient, as long as the gradients along it together.

    v = (Σ gₖ·û) û with û = U⁺1 / ‖U⁺1‖ and U's rows uₖ = gₖ/‖gₖ‖ (equations 2 and 3 of 2408.11104).

    If the gradients are independent, no loss rises, û does not change if a loss is multiplied by a number, and v
    is linear in each gradient's length. If they are dependent a loss may rise, although the paper says none does:
    with (−1, 0), (−1, −3), (0, 1), (0, 1), g₂·v = −0.18. For two tasks v = ½(‖g₁‖ + ‖g₂‖)(u₁ + u₂). A zero gradient
    has the weight 0; û = 0 (a Pareto-stationary point) stops the trunk, with a warning.

    IMTL-G (Liu et al., ICLR 2021) asks for the same equal cosines and Σαₖ = 1: it divides these weights by their
    sum, which is negative for independent (9, 0, 0), (0, 9, 0), (2, 2, 1), where no two conflict: then *every* loss
    rises. Multiply loss 3 by 3 and the sign is back. For two tasks both are safe.

    The pseudo-inverse is the paper's and TorchJD's, here of the matrix of cosines: eigenvalues below K·eps are cut.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [3.0, 0.0]], start=[0.0, 4.0])
    >>> tm.ConFIG(problem, tm.SGD(lr=0.1)).weigh(np.diag([9.0, 16.0]), np.ones(2))  # lengths 3 and 4: 7/2 each
    array([1.16666667, 0.875     ])
    """

    def weigh(self, G: Array, L: Array) -> Array:
        """α = C⁺1/n · (Σ gₖ·û) / ‖U⁺1‖."""
        n, C = cosines(G)
        moving = n > 0.0
        eigenvalues, V = np.linalg.eigh(C * np.outer(moving, moving))
        kept = eigenvalues > 4 * len(n) * np.finfo(self.model.vector.dtype).eps
        along = moving @ V[:, kept]
        y = V[:, kept] @ (along / eigenvalues[kept])  # C⁺1: U⁺1 = Σ yₖuₖ
        reached = V[:, kept] @ along  # uₖ·U⁺1, all 1 at full rank
        squared = float(y @ reached)  # ‖U⁺1‖²
        if not squared > 1e-12:
            say("ConFIG: the unit gradients add up to nothing (a Pareto-stationary point); the trunk stays where it is")
            return np.zeros(len(n))
        return each_over(y, n) * float(n @ reached) / squared
