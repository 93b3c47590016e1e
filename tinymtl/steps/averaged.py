"""The averaged loss: what everybody does first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinymtl.arrays import as_doubles
from tinymtl.backend import Array
from tinymtl.checks import choose, shown
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import LossWeighted


class Averaged(LossWeighted):
    """One forward, one backward of the mean loss, one update: linear scalarisation.

    With weights w the loss is Σ wₖLₖ / Σ wₖ. Pascal et al. (2021, arXiv 2109.11678) compare against this; their
    code adds the losses instead, which is `reduction="sum"`: Σ wₖLₖ. For random weights see `RLW`.
    Cost: one trunk forward, one trunk backward.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        With one memory for all parameters.
    weights : sequence of K numbers, or {task: number}, default all equal
    reduction : "mean" (default) or "sum"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 3.0], [[0.0], [1.0]], start=[1.0])
    >>> tm.Averaged(problem, tm.SGD(lr=0.5))().losses
    array([0.5, 0. ])
    >>> problem.theta.data
    array([0.75])
    """

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        reduction: str = "mean",
    ):
        super().__init__(model, optimizer)
        w = read_weights(model, weights)
        self.reduction = choose("reduction", reduction, ("mean", "sum"))
        self.weights = w / w.sum() if reduction == "mean" else w
        self.equivariant = weights is None or isinstance(weights, Mapping)  # else they go by the tasks' places

    def weigh(self, L: Array) -> Array:
        """wₖ / Σ wₖ, or wₖ; the sum is over the tasks that have a label in this batch."""
        if len(L) == len(self.weights):
            return self.weights
        w = self.weights[self.group]
        return w / w.sum() if self.reduction == "mean" and w.any() else w


def read_weights(model: SharedBottom, weights: Sequence[float] | Mapping[str, float] | None) -> np.ndarray:
    """Weights (K,) as they are given, checked; 1 for every task by default."""
    if weights is None:
        return np.ones(len(model.tasks))
    if isinstance(weights, Mapping):
        if set(weights) != set(model.task_names):
            raise ValueError(f"weights are for the tasks {model.task_names}, given for {list(weights)}")
        weights = [weights[name] for name in model.task_names]
    w = as_doubles(weights, "the array of weights")
    if w.shape != (len(model.tasks),) or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        count = len(model.tasks)
        raise ValueError(f"weights are {count} finite numbers, none negative and not all 0; got {shown(weights)}")
    return w
