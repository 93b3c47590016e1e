"""Adjoints of broadcasting, of a matrix product and of tanh; the last two against central differences. Lesson 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Rng, fixed
from tinymtl.course.topic import questions

Array = np.ndarray[Any, Any]
Shape = list[int] | tuple[int, ...]


def unbroadcast(gradient: Array, shape: Shape) -> Array:
    """`gradient` summed over the axes that broadcasting made from `shape`."""
    return _over(gradient, shape, np.sum, np.sum)


def _over(gradient: Array, shape: Shape, added: Callable[..., Array], stretched: Callable[..., Array]) -> Array:
    """The axes that were added in front, and those of size 1 that were stretched, each brought together in a way."""
    gradient = added(gradient, axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return stretched(gradient, axis=axes, keepdims=True)


def _shapes(*pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> Callable[[Rng], list[Case]]:
    """Cases from (shape of the gradient, shape of the operand)."""
    return lambda rng: [Case("unbroadcast", (rng.normal(size=large), list(small))) for large, small in pairs]


STEP = 1e-6


def _differences(function: Callable[[Array], Array], at: Array, gradient: Array) -> Array:
    """⟨gradient, function⟩ differentiated entry by entry at `at`, by central differences."""
    result = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = STEP
        result[index] = np.sum(gradient * (function(at + step) - function(at - step))) / (2 * STEP)
    return result


def _matmul_by_differences(gradient: Array, a: Array, b: Array) -> list[Array]:
    return [_differences(lambda x: x @ b, a, gradient), _differences(lambda x: a @ x, b, gradient)]


def _either(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """Two results of which one may not exist: a wrong product fits some shapes only."""
    results = []
    for make in (first, second):
        try:
            results.append(make())
        except ValueError:
            results.append(None)
    return results[0], results[1]


def _matmuls(rng: Rng) -> list[Case]:
    sizes = [(3, 3, 3), (2, 3, 4), (1, 4, 2), (4, 2, 1)]
    return [
        Case("matmul_vjp", (rng.normal(size=(n, m)), rng.normal(size=(n, k)), rng.normal(size=(k, m))))
        for n, k, m in sizes
    ]


def _tanhs(rng: Rng) -> list[Case]:
    return [Case("tanh_vjp", (rng.normal(size=shape), rng.normal(size=shape))) for shape in ((5,), (3, 4), (2, 2))]


# Lesson 2

_PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((4, 3), (4, 3)),  # nothing was repeated
    ((4, 3), (3,)),
    ((4, 3), (1, 3)),
    ((4, 3), (4, 1)),
    ((4, 3), (1, 1)),
    ((4, 3), ()),
    ((1, 3), (3,)),
    ((2, 4, 3), (4, 3)),
    ((2, 4, 3), (4, 1)),
    ((2, 4, 3), (1, 4, 1)),
    ((2, 4, 3), (1,)),
    ((5,), (1,)),
)


def _some(*shape: int) -> Array:
    """Numbers no two sums of which are alike."""
    return np.sqrt(np.arange(1.0, 1.0 + np.prod(shape, dtype=int))).reshape(shape)


_MATRICES = (
    (_some(2, 4), _some(2, 3), _some(3, 4)),
    (_some(1, 2), _some(1, 5), _some(5, 2)),
    (_some(2, 2), _some(2, 2) + 1, _some(2, 2) * 2),
)
_products = fixed([Case("matmul_backward", arguments) for arguments in _MATRICES])

QUESTIONS = questions(__file__, globals())
