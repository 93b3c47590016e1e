"""GradNorm (Chen et al. 2018, arXiv 1711.02257), in the form whose weights stay positive."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.losses import require_positive
from tinymtl.steps.weighted import GradientWeighted


class GradNorm(GradientWeighted):
    """Weights are learned so that slow tasks get long gradients (equation 2 of 1711.02257).

    They descend on Σ |wₖnₖ − tₖ|, where nₖ = ‖gₖ‖, tₖ = mean(w·n)·rₖᵃ is held constant, and rₖ is Lₖ/Lₖ(0) over the
    mean of these; Σ wₖ = K. The first minibatch gives Lₖ(0). If Σ rₖᵃ = K, as for a = 0 (equal lengths), it rests at
    wₖ ∝ rₖᵃ/nₖ, whatever the losses' units are; else no w makes all terms 0, and it rests where one of them is.

    The paper's additive form (`form="additive"`) may make weights negative: with lengths 100 and 1, three steps lead to
    (−6.06, 8.06). By default w = K·softmax(u) and u descends, as in LibMTL: weights stay positive. Signs of
    differences never settle: w jitters by about lr·n. Nothing keeps a loss from rising.

    The paper measures nₖ at the last shared layer, LibMTL at all shared parameters, as here; at Z it is the
    representation's gradient, for one backward pass. LibMTL keeps w = 1 for an epoch whose mean losses are L(0).

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        Of the parameters; w descends by plain SGD with `lr`.
    a : float, default 1.5
        How strongly a slow task is pulled up; 0 makes all lengths equal.
    lr : float, default 0.025
    form : "softmax" (default) or "additive" (the paper)
    at : "θ" (default) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> step = tm.GradNorm(problem, tm.SGD(lr=0.1))
    >>> step().weights, step().weights  # the weights of a step are those that the steps before it learned
    (array([1., 1.]), array([0.95218116, 1.04781884]))
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        a: float = 1.5,
        lr: float = 0.025,
        form: str = "softmax",
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        if not (np.isfinite(a) and 0.0 < lr < np.inf):
            raise ValueError(f"a is {a} and lr is {lr}: give a finite a and a positive lr")
        self.a, self.lr, self.form = a, lr, choose("form", form, ("softmax", "additive"))
        K = len(model.tasks)
        self.memory |= {"w": np.ones(K), "first losses": np.full(K, np.nan)}

    def weigh(self, G: Array, L: Array) -> Array:
        """w as it is; then w learns."""
        n, group = np.sqrt(G.diagonal()), self.group
        first = self.memory["first losses"]
        start = np.where(np.isnan(first[group]), L, first[group])
        require_positive(start, self.names, "GradNorm divides by each first loss")
        first[group] = start
        w = self.memory["w"][group]
        rate = L / start
        target = (w * n).mean() * (rate / rate.mean()) ** self.a
        slope = np.sign(w * n - target) * n
        if self.form == "additive":
            new = w - self.lr * slope
        else:  # wₖ = K e^uₖ / Σ e^uⱼ: ∂/∂uₖ = wₖ(slopeₖ − Σ wⱼslopeⱼ/K)
            step = -self.lr * w * (slope - (w @ slope) / w.sum())
            new = w * np.exp(step - step.max())
        self.memory["w"][group] = new * (w.sum() / new.sum())
        return w
