"""DB-MTL: dual-balancing (Lin et al. 2023, arXiv 2308.12029), without its average over steps."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.gram import each_over
from tinymtl.steps.losses import require_positive
from tinymtl.steps.weighted import GradientWeighted


class DBMTL(GradientWeighted):
    """The gradients of log Lₖ, all stretched to the length of the longest (sections 3.1 and 3.2 of 2308.12029), β = 0.

    v = m·Σ uₖ, with uₖ = gₖ/‖gₖ‖ and m = max ‖gₖ‖/Lₖ. v is exactly invariant to the losses' units. With two tasks it
    bisects the angle and no loss rises; with three one may: (−1, 2, 0), (1, −1, −1), (0, 0, 1). A loss that goes to 0
    sends ‖v‖ to infinity. A zero gradient has the weight 0.

    The paper averages the gradients themselves over steps, ĝ ← βĝ + (1 − β)∇log L, which needs more than G: only
    β = 0 is here (LibMTL's β = 0.9 has no bias correction: its first step is a tenth). It writes log(L + 1e-8).
    The heads take the gradients of Lₖ, not those of log Lₖ: with Adam the difference is in the average alone.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    log : bool, default True
        False: of Lₖ itself, m = max ‖gₖ‖.
    eps : float, default 0.0
        Added to each loss; 1e-8 is the authors'.
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [3.0, 0.0]], start=[0.0, 4.0])
    >>> tm.DBMTL(problem, tm.SGD(lr=0.1)).weigh(np.diag([9.0, 16.0]), np.array([3.0, 8.0]))  # v = (1, 1)
    array([0.33333333, 0.25      ])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        log: bool = True,
        eps: float = 0.0,
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        self.log, self.eps = log, eps

    def weigh(self, G: Array, L: Array) -> Array:
        """max(nⱼ/Lⱼ)/nₖ."""
        n = np.sqrt(G.diagonal())
        if not self.log:
            return each_over(float(n.max()), n)
        require_positive(L + self.eps, self.names, "DBMTL takes the logarithm of each loss", ": use log=False")
        return each_over(float((n / (L + self.eps)).max()), n)
