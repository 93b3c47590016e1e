"""GLS: the geometric mean of the losses (Chennupati et al. 2019, arXiv 1904.08492)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.steps.losses import require_positive
from tinymtl.steps.weighted import LossWeighted


class GLS(LossWeighted):
    """One step on the geometric mean (Π Lₖ)^(1/K).

    wₖ = GLS/(K·Lₖ), so that every wₖLₖ is the same. The direction is that of Σ log Lₖ: it does not change if a loss is
    multiplied by a number, though the length does. It is where `UncertaintyWeighting` arrives. Nothing keeps a loss
    from rising, and a loss that goes to 0 gets all the weight: one that is 0 is refused.

    LibMTL multiplies the losses, which ends at 0 for 40 losses of 1e-9; here it is exp(mean(log L)).

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[2.0])
    >>> tm.GLS(problem, tm.SGD(lr=0.1))().weights  # losses 2 and ½: their geometric mean is 1
    array([0.25, 1.  ])
    """

    on_host = True

    def weigh(self, L: Array) -> Array:
        """GLS/(K·Lₖ)."""
        require_positive(L, self.names, "GLS takes the logarithm of each loss")
        w: Array = np.exp(np.log(L).mean()) / (len(L) * L)
        return w
