"""DWA: dynamic weight average (Liu, Johns & Davison 2019, arXiv 1803.10704)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.losses import require_positive, softmax
from tinymtl.steps.weighted import LossWeighted


class DWA(LossWeighted):
    """A task whose loss has fallen less over the last two epochs gets more weight (equation 7 of 1803.10704).

    w = K·softmax(r/T), with rₖ the last epoch's mean loss over that of the epoch before; r = 1, and w = 1, until there
    are two. No loss's unit counts, but its offset does. Weights stay near 1: for two tasks within tanh(|r₁ − r₂|/2T).
    A slow task is pulled up however small its loss is; nothing keeps a loss from rising.

    It must be told where an epoch ends: `tinymtl.lab.fit` does it, a loop of one's own calls `step.end_epoch()`; one
    that never does trains with w = 1. LibMTL and TorchJD do the same.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    temperature : float, default 2.0
        T; ∞ makes all weights equal.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 0.1], [[0.0], [0.0]], start=[1.0])
    >>> step = tm.DWA(problem, tm.SGD(lr=0.5))
    >>> for epoch in range(3):
    ...     report = step()
    ...     step.end_epoch()
    >>> report.weights, step().weights  # one parameter: both losses fall alike
    (array([1., 1.]), array([1., 1.]))
    """

    on_host, learns_after = True, False

    def __init__(self, model: SharedBottom, optimizer: Optimizer, temperature: float = 2.0):
        super().__init__(model, optimizer)
        if not temperature > 0.0:
            raise ValueError(f"temperature is {temperature}: give a positive number, such as 2")
        self.temperature, K = temperature, len(model.tasks)
        self.memory |= {"sum": np.zeros(K), "count": np.zeros(K)}
        self.memory |= {"last epoch": np.full(K, np.nan), "epoch before": np.full(K, np.nan)}

    def weigh(self, L: Array) -> Array:
        """K·softmax(r/T)."""
        last, before = (self.memory[name][self.group] for name in ("last epoch", "epoch before"))
        unknown = np.isnan(before)
        before = np.where(unknown, 1.0, before)
        require_positive(before, self.names, "DWA divides by the mean loss of an epoch")
        rate = np.where(unknown, 1.0, last) / before
        return len(L) * softmax(rate / self.temperature)

    def learn(self, L: Array, w: Array) -> None:
        """The epoch's mean goes on."""
        self.memory["sum"][self.group] += L
        self.memory["count"][self.group] += 1

    def end_epoch(self) -> None:
        """The epoch's means are kept; a task without a label in all of it keeps what it had."""
        total, count, last = (self.memory[name] for name in ("sum", "count", "last epoch"))
        seen = count > 0
        self.memory["epoch before"][seen] = last[seen]
        last[seen] = total[seen] / count[seen]
        total[:] = count[:] = 0
