"""STCH: smooth Tchebycheff scalarization (Lin et al. 2024, arXiv 2402.19078)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.averaged import read_weights
from tinymtl.steps.losses import require_positive, softmax
from tinymtl.steps.weighted import LossWeighted

WARM_UP = 5  # epochs of the authors' code: the last one's mean losses are its nadir


class STCH(LossWeighted):
    """One step on a smooth maximum of the losses, μ log Σ exp(λₖ(Lₖ − zₖ)/μ).

    wₖ = λₖ·softmax(λ(L − z)/μ)ₖ. μ → 0 trains the worst loss alone (Tchebycheff), μ → ∞ the sum of λₖLₖ. All weights
    are positive: a stationary point is Pareto-stationary, and unlike with a fixed sum every Pareto point is one for
    some λ, also where the front is concave. Units count: a loss that is large because of its unit is the worst one.
    Nothing keeps another loss from rising.

    The authors' code for networks (and LibMTL) is `scale="log"`, μ = 1: K·μ·log Σ exp(log(Lₖ/nadirₖ)/μ), after five
    epochs of Σ log Lₖ, whose last one's mean losses are the nadir. With μ = 1 that is the direction of the plain
    sum Σ Lₖ/nadirₖ: its maximum is smooth for μ < 1 alone. It must be told where an epoch ends, as `DWA`.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    mu : float, default 0.1
    weights : sequence of K numbers, or {task: number}, default all equal
        λ; they are divided by their sum.
    ideal : {task: number}, default 0 for every task
        z, the losses that are hoped for.
    scale : "none" (default, the paper), "first" or "log"
        "first" divides each loss by that of the first minibatch: then no unit counts. "log" has neither λ nor z.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[2.0])
    >>> tm.STCH(problem, tm.SGD(lr=0.1), mu=0.5)().weights  # losses 2 and ½
    array([0.40878724, 0.09121276])
    """

    on_host, learns_after = True, False

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        mu: float = 0.1,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
        scale: str = "none",
    ):
        super().__init__(model, optimizer)
        if not 0.0 < mu < np.inf:
            raise ValueError(f"mu is {mu}: give a positive number, such as 0.1")
        self.mu, self.scale = mu, choose("scale", scale, ("none", "first", "log"))
        if scale == "log" and (weights is not None or ideal is not None):
            raise ValueError("scale='log' is the authors' code, which has neither weights nor ideal")
        hoped = {choose("task in ideal", name, model.task_names): float(z) for name, z in (ideal or {}).items()}
        self.weights = read_weights(model, weights)
        self.ideal = np.array([hoped.get(name, 0.0) for name in model.task_names])
        self.equivariant = weights is None or isinstance(weights, Mapping)
        self.memory |= {"epoch": 1, "sum": np.zeros(len(model.tasks)), "count": np.zeros(len(model.tasks))}

    def weigh(self, L: Array) -> Array:
        """The gradient of the smooth maximum in L."""
        group, K = self.group, len(L)
        total, count = (self.memory[name][group] for name in ("sum", "count"))
        unit = np.where(count > 0, total, L) / np.maximum(count, 1.0) if self.scale != "none" else np.ones(K)
        if self.scale == "first":
            require_positive(unit, self.names, "STCH with scale='first' divides by each first loss")
        if self.scale == "log":
            require_positive(L, self.names, "STCH with scale='log' takes the logarithm of each loss")
            return 1.0 / L if self.memory["epoch"] <= WARM_UP else K * softmax(np.log(L / unit) / self.mu) / L
        lam = self.weights[group] / (self.weights[group].sum() or 1.0)
        w: Array = lam / unit * softmax(lam * (L / unit - self.ideal[group]) / self.mu)
        return w

    def learn(self, L: Array, w: Array) -> None:
        """The unit of each loss: the first one, or the mean over the warm-up's last epoch."""
        if self.scale == "none":
            return
        group, count = self.group, self.memory["count"]
        counts = count[group] == 0 if self.scale == "first" else self.memory["epoch"] == WARM_UP
        self.memory["sum"][group] += counts * L
        count[group] += counts

    def end_epoch(self) -> None:
        """The warm-up goes on."""
        self.memory["epoch"] += 1
