"""NGDiff: normalised gradient difference (Bu et al. 2024, arXiv 2410.22086), and the sum of unit gradients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.gram import each_over
from tinymtl.steps.weighted import GradientWeighted


class NGDiff(GradientWeighted):
    """v = Σ ±gₖ/‖gₖ‖: plus for a task that is learned, minus for one that is forgotten (equation 7 of 2410.22086).

    The paper unlearns: it retains R and forgets F, v = g_R/‖g_R‖ − g_F/‖g_F‖, and then g_R·v ≥ 0 ≥ g_F·v. It stops
    where the two gradients are parallel, which may be a minimum of neither.
    With nothing to forget (the default) it is the sum of the unit gradients: for two tasks the bisector of their angle,
    and no loss rises; with three one may: (−1, 2, 0), (1, −1, −1), (0, 0, 1).

    v does not change if a loss is multiplied by a number. ‖v‖ does not fall near an optimum: the learning rate has to.
    A zero gradient has the weight 0. The paper sets the learning rate by GeN.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    forget : names of tasks, default none
        The tasks whose losses are to rise.
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [3.0, 0.0]], start=[0.0, 4.0])
    >>> tm.NGDiff(problem, tm.SGD(lr=0.1), forget=["loss 2"]).weigh(np.diag([9.0, 16.0]), np.ones(2))
    array([ 0.33333333, -0.25      ])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        forget: Iterable[str] = (),
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        forgotten = {choose("task to forget", name, model.task_names) for name in forget}
        self.signs = np.array([-1.0 if name in forgotten else 1.0 for name in model.task_names])

    def weigh(self, G: Array, L: Array) -> Array:
        """±1/nₖ."""
        return each_over(self.signs[self.group], np.sqrt(G.diagonal()))
