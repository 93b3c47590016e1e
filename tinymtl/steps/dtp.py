"""DTP: dynamic task prioritization (Guo et al. 2018, ECCV)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import LossWeighted


class DTP(LossWeighted):
    """A task that goes badly comes first: the focal loss of how well each task does.

    wₖ = −(1 − κₖ)^γ log κₖ, with κₖ in (0, 1] a running mean of a performance indicator, such as accuracy. A solved
    task, κ = 1, has the weight 0: if it is forgotten it comes back only once it has failed. κ → 0 has no bound. The
    weights' sum falls as the tasks succeed. Nothing keeps a loss from rising.

    An indicator is no loss: give `kpi`, or take e^(−L), which for a cross-entropy is the geometric mean of the
    probabilities that the labels get. The paper's second factor, between the examples of a task, is its loss's affair.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    kpi : callable, optional
        L (K,) → the tasks' indicators now (K,), each above 0 and up to 1; default e^(−L). K counts `step.group`.
    gamma : float, default 1.0
        γ ≥ 0: how little a task counts that does well.
    rate : float, default 0.1
        0 < rate ≤ 1: of a new indicator in the running mean. The first minibatch begins it.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[2.0])
    >>> tm.DTP(problem, tm.SGD(lr=0.1), kpi=lambda L: [0.5, 0.9])().weights
    array([0.34657359, 0.01053605])
    """

    on_host, learns_after = True, False

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        kpi: Callable[[Array], Any] | None = None,
        gamma: float = 1.0,
        rate: float = 0.1,
    ):
        super().__init__(model, optimizer)
        if not (0.0 <= gamma < np.inf and 0.0 < rate <= 1.0):
            raise ValueError(f"gamma is {gamma} and rate is {rate}: give a gamma of 0 or more, and 0 < rate ≤ 1")
        self.kpi, self.gamma, self.rate = kpi, gamma, rate
        self.memory["kpi"] = np.full(len(model.tasks), np.nan)

    def _with(self, L: Array) -> Array:
        """The running means once this minibatch is among them."""
        now = np.exp(-L) if self.kpi is None else np.asarray(self.kpi(L), dtype=np.float64)
        if now.shape != L.shape:
            raise ValueError(f"kpi must return {len(L)} numbers, one per task in self.group; it returned {now.shape}")
        for name, value in zip(self.names, now.tolist(), strict=True):
            if not 0.0 < value <= 1.0:
                raise ValueError(f"DTP takes indicators above 0 and up to 1, but that of task {name!r} is {value}")
        known = self.memory["kpi"][self.group]
        return np.where(np.isnan(known), now, known + self.rate * (now - known))

    def weigh(self, L: Array) -> Array:
        """−(1 − κₖ)^γ log κₖ, this minibatch's indicators among those counted."""
        self._kpi = self._with(L)
        w: Array = (1.0 - self._kpi) ** self.gamma * abs(np.log(self._kpi))
        return w

    def learn(self, L: Array, w: Array) -> None:
        """The indicators are kept."""
        self.memory["kpi"][self.group] = self._kpi
