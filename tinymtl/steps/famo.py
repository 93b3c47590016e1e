"""FAMO: fast adaptive multitask optimization (Liu et al. 2023, arXiv 2306.03792)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import BeforeForward, SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.losses import losses_again, require_positive, softmax
from tinymtl.steps.step import Updates
from tinymtl.steps.weighted import LossWeighted


class FAMO(LossWeighted):
    """Weights learn from what the step did to each loss, so that all log Lₖ fall alike (Algorithm 1 of 2306.03792).

    z = softmax(ξ) and wₖ ∝ zₖ/Lₖ, Σ wₖ = 1. After the update a second forward of the same batch, with the same random
    masks, gives δₖ = log Lₖ − log Lₖ′, and ξₖ ← ξₖ − β(zₖ(δₖ − Σ zⱼδⱼ) + γξₖ): who fell more gets less. If the
    gradients stay, and γ = 0, z comes to rest where MGDA's weights of the ∇log Lₖ are, for one backward pass.

    At a given ξ the direction does not change if a loss is multiplied by a number; but the length does, and ξ learns
    from what a step of that length did. Nothing keeps a loss from rising. A loss of 0 or less has no logarithm: before
    or after the update it is refused, and nothing has moved.

    The authors' code moves ξ by Adam (`rule="adam"`), draws new masks for the second forward, and clips ‖v‖ at 1, as
    a rule with `clip_norm=1.0` does; LibMTL has γ = 0.001.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        Of the parameters.
    lr : float, default 0.025
        The β of ξ.
    gamma : float, default 0.01
        γ ≥ 0.
    rule : "plain" (default, the paper) or "adam"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[3.0])
    >>> step = tm.FAMO(problem, tm.SGD(lr=0.1))
    >>> report = step()  # losses 4.5 and 2
    >>> report.weights, report.trunk_forwards
    (array([0.30769231, 0.69230769]), 2)
    """

    on_host = True

    def __init__(
        self, model: SharedBottom, optimizer: Optimizer, lr: float = 0.025, gamma: float = 0.01, rule: str = "plain"
    ):
        super().__init__(model, optimizer)
        if not (0.0 < lr < np.inf and 0.0 <= gamma < np.inf):
            raise ValueError(f"lr is {lr} and gamma is {gamma}: give a positive lr, and a gamma of 0 or more")
        self.lr, self.gamma, self.rule = lr, gamma, choose("rule", rule, ("plain", "adam"))
        names = ("xi",) if rule == "plain" else ("xi", "m", "v", "t")
        self.memory |= {name: np.zeros(len(model.tasks)) for name in names}

    def updates(self, batch: Any) -> Updates:
        """forward, gradient, update; the batch is kept for a second forward."""
        self._batch, self._before = batch, BeforeForward(self.model)
        yield from super().updates(batch)

    def weigh(self, L: Array) -> Array:
        """zₖ/Lₖ, over their sum."""
        require_positive(L, self.names, "FAMO takes the logarithm of each loss")
        w = softmax(self.memory["xi"][self.group]) / L
        scaled: Array = w / w.sum()
        return scaled

    def learn(self, L: Array, w: Array) -> None:
        """δ, from a second forward."""
        after = losses_again(self.model, self._batch, self._before)
        del self._batch, self._before
        require_positive(after, self.names, "FAMO takes the logarithm of each loss after the update")
        self.learn_from(np.log(L) - np.log(after))

    def learn_from(self, delta: Array) -> None:
        """ξ descends, for losses whose logarithms have fallen by δ."""
        group, xi = self.group, self.memory["xi"]
        z = softmax(xi[group])
        g = z * (delta - z @ delta) + self.gamma * xi[group]
        if self.rule == "adam":
            m, v, t = (self.memory[name] for name in "mvt")
            t[group] += 1
            m[group] += 0.1 * (g - m[group])
            v[group] += 0.001 * (g * g - v[group])
            g = m[group] / (1 - 0.9 ** t[group]) / (np.sqrt(v[group] / (1 - 0.999 ** t[group])) + 1e-8)
        xi[group] -= self.lr * g
