"""A strategy as a function: from gradients and losses to v, without a model and without a training run."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor, record
from tinymtl.backend import Array
from tinymtl.hull import MinNorm, min_norm
from tinymtl.optim import SGD
from tinymtl.problems import AnalyticProblem, Quadratics
from tinymtl.steps import GradientWeighted, LossWeighted, Step
from tinymtl.steps.memory import kept, put_back

STEPS, RATE = 1000, 1e-4  #: Of a past: how many steps of SGD, in two epochs, and their learning rate.
TINY = 1e-6  #: A v that is shorter than this part of Σ |wₖ|‖gₖ‖ is 0: that is rounding.


@dataclass(frozen=True, eq=False)
class Point:
    """Where a strategy is asked.

    Attributes
    ----------
    gradients : (K, n) array
        ∇_θ Lₖ; for a strategy that weighs the representation's gradients ∇_Z Lₖ.
    losses : (K,) array
    trunk : (n, m) array, optional
        ∂Z/∂θ, for such a strategy: then ∇_θ Lₖ is `gradients @ trunk`.
    past : Point, optional
        Where a strategy that remembers has learned before, in 1,000 steps of SGD on that point's Lₖ + gₖ·θ; by default
        this is its first step.
    """

    gradients: Array
    losses: Array
    trunk: Array | None = None
    past: Point | None = None

    @property
    def was_there(self) -> bool:
        """Whether the past was at the same gradients and losses."""
        past = self.past
        return past is not None and all(
            np.array_equal(now, then) for now, then in ((self.gradients, past.gradients), (self.losses, past.losses))
        )

    def take(self, tasks: list[int]) -> Point:
        """The same with these tasks, in this order, now and before."""
        past = self.past and self.past.take(tasks)
        return replace(self, gradients=self.gradients[tasks], losses=self.losses[tasks], past=past)

    def times(self, factors: Any, losses: Any = 1.0) -> Point:
        """Gradients times a factor for each task, and losses, now and before."""
        past = self.past and self.past.times(factors, losses)
        factors = np.broadcast_to(factors, len(self.losses))
        return replace(self, gradients=self.gradients * factors[:, None], losses=self.losses * losses, past=past)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a strategy answers at a point: its weights (K,) and v = Σ wₖgₖ, with g (K, m) the gradients at θ."""

    at: Point
    g: Array
    weights: Array
    v: Array

    @functools.cached_property
    def nearest(self) -> MinNorm:
        """The shortest vector p of the hull of the gₖ: how far the point is from being Pareto-stationary."""
        return min_norm(self.g)

    @property
    def is_stationary(self) -> bool:
        """Whether p = 0."""
        return self.nearest.squared_norm <= (TINY * lengths(self.g).max()) ** 2


class Rule:
    """A strategy, asked at points.

    One that draws is asked for its mean: `PCGrad` over all orders of the tasks, `RLW` over all orders of its numbers.

    Parameters
    ----------
    make : callable
        (model, optimizer) → step, such as an entry of `tinymtl.STRATEGIES` or a class.

    Examples
    --------
    >>> import tinymtl as tm
    >>> answer = Rule(tm.MGDA)(Point(np.array([[2.0, 2.0], [0.0, -1.0]]), np.ones(2)))
    >>> answer.weights * 13, answer.v * 13
    (array([ 3., 10.]), array([ 6., -4.]))
    """

    def __init__(self, make: Callable[..., Step]):
        self.make = make
        self._steps: dict[int, tuple[Step, dict[str, Any]]] = {}
        self._pasts: dict[Any, dict[str, Any]] = {}
        step, memory = self._step(2)
        #: Whether all tasks move together along one v: what the properties are about.
        self.has_v = isinstance(step, GradientWeighted | LossWeighted)
        self.at_z = isinstance(step, GradientWeighted) and step.at == "Z"
        self.draws, self.remembers = "rng" in step.memory, bool(memory)
        self.reads_losses = self.has_v and self._reads_losses()

    def __call__(self, at: Point) -> Answer:
        """Ask it; a FloatingPointError for weights that are not finite."""
        K = len(at.losses)
        orders = itertools.permutations(range(K)) if self.draws else [range(K)]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            w = np.mean([self._weights(at, list(order)) for order in orders], axis=0)
        if not np.isfinite(w).all():
            raise FloatingPointError(f"the weights are {w}")
        g = at.gradients if at.trunk is None else at.gradients @ at.trunk
        v, n = w @ g, lengths(g)
        if v @ v <= max(TINY * (abs(w) @ n), TINY**2 * n.max()) ** 2:
            v = np.zeros_like(v)
        return Answer(at, g, w, v)

    def _weights(self, at: Point, order: list[int]) -> Array:
        step, memory = self._step(len(order))
        if at.past is not None:
            memory = self._learned(at.past, order)
        step.memory.update({name: put_back(step.memory.get(name), part) for name, part in memory.items()})
        if self.draws:
            step.memory["rng"] = _InOrder(*order)
        found = step.weigh(at.losses) if isinstance(step, LossWeighted) else step.weigh(  # type: ignore[attr-defined]
            at.gradients @ at.gradients.T, at.losses
        )
        return np.array(getattr(found, "weights", found), dtype=np.float64)

    def _step(self, K: int) -> tuple[Step, dict[str, Any]]:
        """A step for K tasks, and its memory at the start."""
        if K not in self._steps:
            step = self.make(_Lines(K), SGD(lr=RATE))
            memory = {name: kept(part) for name, part in step.memory.items() if name != "rng"}
            self._steps[K] = step, memory
        return self._steps[K]

    def _learned(self, past: Point, order: list[int]) -> dict[str, Any]:
        """What the memory is after the past's steps."""
        key = past.gradients.tobytes(), past.losses.tobytes(), *order
        if key not in self._pasts:
            lines = _Lines(len(order))
            step = self.make(lines, SGD(lr=RATE))
            if self.draws:
                step.memory["rng"] = _InOrder(*order)
            lines.begin(past.gradients, past.losses)
            for number in range(STEPS):
                step()
                if 2 * number + 2 in (STEPS, 2 * STEPS):
                    step.end_epoch()
            self._pasts[key] = {name: kept(step.memory[name]) for name in self._step(len(order))[1]}
        return self._pasts[key]

    def _reads_losses(self) -> bool:
        J = np.eye(2)
        pair = [self(Point(J, np.array(losses))).weights for losses in ([1.0, 1.0], [3.0, 2.0])]
        return bool((pair[0] != pair[1]).any())


def lengths(g: Array) -> Array:
    """The rows' lengths."""
    found: Array = np.sqrt((g * g).sum(axis=1))
    return found


@functools.cache
class _InOrder(np.random.Generator):
    """A generator whose draws are known: a permutation is the order given, numbers are 0, 1, … in that order."""

    def __init__(self, *order: int):
        super().__init__(np.random.PCG64(0))
        self.order = order

    def permutation(self, *_: Any) -> Any:
        return self.order

    def standard_normal(self, *_: Any, **__: Any) -> Any:
        return np.array(self.order, dtype=np.float64)

    dirichlet = standard_normal


class _Lines(AnalyticProblem):
    """Lₖ + gₖ·θ: K linear losses, whose gradients and constants can be changed between steps."""

    def __init__(self, K: int):
        parts = Quadratics([1.0] * K, np.zeros((K, 4)), np.zeros(4))
        self.gradients, self.constants = np.zeros((K, 4)), np.ones(K)
        heads = [task.head for task in parts.tasks]
        super().__init__(parts.trunk, parts.theta, heads, [self._line(k) for k in range(K)])

    def begin(self, gradients: Array, losses: Array) -> None:
        """Go back to θ = 0, with these gradients, of at most four numbers each."""
        self.gradients[:] = 0.0
        self.gradients[:, : gradients.shape[1]], self.constants = gradients, losses
        self.theta.data[:] = 0.0

    def _line(self, k: int) -> Callable[[Tensor], Tensor]:
        def loss(theta: Tensor) -> Tensor:
            g, value = self.gradients[k], self.constants[k] + self.gradients[k] @ theta.data
            return record(value, (theta, lambda seed: g * seed[..., None] if seed.ndim else g * seed))

        return loss
