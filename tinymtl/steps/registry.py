"""The registry: every strategy by name. `compare`, the plots, `walk` and the README's table read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.alternating import Alternating
from tinymtl.steps.averaged import Averaged
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.step import Step


@dataclass(frozen=True)
class Strategy:
    """A strategy: how to make its step, what to call it, and its three answers.

    Attributes
    ----------
    label : str
        What tables and figures call it.
    make : callable
        (model, optimizer, rng) → Step; without rng if `draws` is False.
    moves, weighed, memory : str
        Who moves together, how it is weighed, whose memory the trunk's update uses.
    cost : str
        Of a step: f and b for a forward and a backward pass through the trunk, h both for a head.
    draws : bool, default False
        Whether it draws random numbers.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.5])
    >>> tm.STRATEGIES["mgda"](problem, tm.SGD(lr=0.1))().weights
    array([0.75, 0.25])
    """

    label: str
    make: Callable[..., Step]
    moves: str
    weighed: str
    memory: str
    cost: str
    draws: bool = False

    def __call__(
        self, model: SharedBottom, optimizer: Optimizer, rng: int | np.random.Generator = 0, **options: Any
    ) -> Step:
        """The strategy's step for a model and an optimizer; `options` are those of its class."""
        return self.make(model, optimizer, **({"rng": rng} if self.draws else {}), **options)


def _shared(model: SharedBottom, optimizer: Optimizer, **options: Any) -> Step:
    return Alternating(model, optimizer, moments="shared", **options)


def _grouped(model: SharedBottom, optimizer: Optimizer, group_size: int | None = None, **options: Any) -> Step:
    """By default groups of half the tasks."""
    return RandomGrouped(model, optimizer, group_size or max(1, len(model.tasks) // 2), **options)


#: name → how to make it, what to call it and its three answers.
STRATEGIES: dict[str, Strategy] = {
    "averaged": Strategy("averaged", Averaged, "all", "1/K", "one", "f + b + K·h"),
    "mgda": Strategy("MGDA", MGDA, "all", "min-norm of ∇_θ Lₖ", "one", "f + K·b + K·h"),
    "mgda-ub": Strategy("MGDA-UB", MGDAUB, "all", "min-norm of ∇_Z Lₖ", "one", "f + b + K·h"),
    "alternating-shared": Strategy("alternating (shared)", _shared, "one at a time", "1", "one", "K·(f + b + h)"),
    "alternating": Strategy(
        "alternating (per task)", Alternating, "one at a time", "1", "one per task", "K·(f + b + h)"
    ),
    "grouped": Strategy(
        "random groups", _grouped, "random groups of s", "1/s", "one per group", "⌈K/s⌉·(f + b) + K·h", draws=True
    ),
}
