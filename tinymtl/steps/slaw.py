"""SLAW: scaled loss approximate weighting (Crawshaw & Košecká 2021, arXiv 2109.08218)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import LossWeighted


class SLAW(LossWeighted):
    """A task's weight is one over the spread of its recent losses (Algorithm 1 of 2109.08218).

    σₖ is the standard deviation of the losses seen so far, then of about the last 1/(1 − β); wₖ ∝ 1/σₖ, Σ wₖ = K. No
    loss's unit or offset counts.

    The paper reads σₖ as a multiple of ‖gₖ‖, which holds if noise moves θ. If training does, Lₖ falls along a line of
    slope (Gw)ₖ, and the weights come to rest at wₖ·|(Gw)ₖ| = const: those of `NashMTL`, without a gradient. But the
    sign is lost: a loss that rises counts as one that falls, and with three tasks it may rise for ever. A loss
    that stays where it is takes all the weight.

    The authors keep means of L and L², whose difference cancels for large losses; here the variance is updated itself
    (Welford 1962). A task seen once has the weight 1.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    beta : float, default 0.99
        0 ≤ β < 1: the plain mean over the first 1/(1 − β) minibatches, then an exponential one.
    eps : float, default 1e-5
        The least σ.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 9.0], [[0.0], [0.0]], start=[1.0])  # one loss is 9 times the other
    >>> step = tm.SLAW(problem, tm.SGD(lr=0.01))
    >>> step().weights, step().weights
    (array([1., 1.]), array([1.8, 0.2]))
    """

    on_host, learns_after = True, False

    def __init__(self, model: SharedBottom, optimizer: Optimizer, beta: float = 0.99, eps: float = 1e-5):
        super().__init__(model, optimizer)
        if not (0.0 <= beta < 1.0 and 0.0 < eps < np.inf):
            raise ValueError(f"beta is {beta} and eps is {eps}: give 0 ≤ beta < 1 and a positive eps")
        self.beta, self.eps = beta, eps
        self.memory["seen"] = np.zeros((3, len(model.tasks)))  # count, mean and variance of each loss

    def _with(self, L: Array) -> Array:
        """Count, mean and variance (3, K) once this minibatch's losses are among those seen."""
        count, mean, variance = self.memory["seen"][:, self.group]
        count = count + 1.0
        rate, away = np.maximum(1.0 / count, 1.0 - self.beta), L - mean
        return np.array([count, mean + rate * away, (1.0 - rate) * (variance + rate * away * away)])

    def weigh(self, L: Array) -> Array:
        """K·σₖ⁻¹ / Σ σⱼ⁻¹."""
        count, _, variance = self._with(L)
        w, known = np.ones(len(L)), count > 1.0
        if known.any():
            inverse = 1.0 / np.maximum(np.sqrt(variance[known]), self.eps)
            w[known] = known.sum() * inverse / inverse.sum()
        return w

    def learn(self, L: Array, w: Array) -> None:
        """Mean and variance go on."""
        self.memory["seen"][:, self.group] = self._with(L)
