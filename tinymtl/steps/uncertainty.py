"""Uncertainty weighting (Kendall, Gal & Cipolla 2018, arXiv 1705.07115), which is also IMTL-L (Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import LossWeighted


class UncertaintyWeighting(LossWeighted):
    """Every task learns its noise: Σ aₖe^(−sₖ)Lₖ + sₖ/2 descends in θ and in sₖ = log σₖ² (section 3.2 of 1705.07115).

    wₖ = aₖe^(−sₖ), with a = ½ for a regression and 1 for a classification. If L stays, sₖ rests at log 2aₖLₖ, where
    every wₖLₖ is ½: the direction is then that of Σ log Lₖ, whatever the losses' units are. On the way there it is
    not, and nothing keeps a loss from rising. A loss that goes to 0 sends its weight to infinity, and one below 0
    leaves the sum without a lower bound. A loss of hundreds makes s overshoot: it rises by lr·a·L, and falls by lr/2.

    The paper's s are parameters of the network's optimizer; here they descend by plain SGD with `lr`, which no weight
    decay reaches. TorchJD and LibMTL have a = ½ for every loss, LibMTL starts at s = −½.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    classification : names of tasks, default none
        Those with a = 1.
    start : float, default 0.0
        Of s.
    lr : float, default 0.025
        Of s.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[4.0])
    >>> step = tm.UncertaintyWeighting(problem, tm.SGD(lr=0.1))
    >>> step().weights, step.memory["s"]  # losses 8 and 4.5: s moves by 0.025·(4 − ½) and 0.025·(2.25 − ½)
    (array([0.5, 0.5]), array([0.0875 , 0.04375]))
    """

    on_host, learns_after = True, False
    factor = 1.0  # of the whole sum

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        classification: Iterable[str] = (),
        start: float = 0.0,
        lr: float = 0.025,
    ):
        super().__init__(model, optimizer)
        if not (np.isfinite(start) and 0.0 < lr < np.inf):
            raise ValueError(f"start is {start} and lr is {lr}: give a finite start and a positive lr")
        classes = {choose("classification task", name, model.task_names) for name in classification}
        self.a, self.lr = np.array([1.0 if name in classes else 0.5 for name in model.task_names]), lr
        self.memory["s"] = np.full(len(model.tasks), float(start))

    def weigh(self, L: Array) -> Array:
        """aₖe^(−sₖ)."""
        w: Array = self.factor * self.a[self.group] * np.exp(-self.memory["s"][self.group])
        return w

    def learn(self, L: Array, w: Array) -> None:
        """s descends: ∂/∂sₖ = ½ − wₖLₖ."""
        self.memory["s"][self.group] -= self.lr * (self.factor / 2 - w * L)


class IMTLL(UncertaintyWeighting):
    """IMTL-L (Liu et al. 2021, ICLR), which is uncertainty weighting, twice.

    Σ e^(sₖ)Lₖ − sₖ is, with s for −s, twice the sum of `UncertaintyWeighting` with a = ½: the same path for half of its
    `lr`, and twice its weights. It is here for its name.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[4.0])
    >>> step = tm.IMTLL(problem, tm.SGD(lr=0.1), lr=0.0125)
    >>> step().weights, step.memory["s"]
    (array([1., 1.]), array([0.0875 , 0.04375]))
    """

    factor = 2.0
