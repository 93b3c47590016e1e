"""Adjoints of broadcasting, of a matrix product and of tanh; the last two against central differences. Lesson 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Part, Question, Rng, Texts, fixed

Array = np.ndarray[Any, Any]
Shape = list[int] | tuple[int, ...]
TEXTS = Texts.beside(__file__, globals())


def unbroadcast(gradient: Array, shape: Shape) -> Array:
    """`gradient` summed over the axes that broadcasting made from `shape`."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return gradient.sum(axis=axes, keepdims=True)


def _shapes(*pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> Callable[[Rng], list[Case]]:
    """Cases from (shape of the gradient, shape of the operand)."""
    return lambda rng: [Case("unbroadcast", (rng.normal(size=large), list(small))) for large, small in pairs]


UNBROADCAST = Question(
    "unbroadcast",
    "unbroadcast",
    "an array of exactly the given shape",
    (
        Part(
            "axes that were added in front",
            _shapes(((4, 3), (3,)), ((2, 4, 3), (4, 3)), ((2, 3, 4), (4,))),
            2,
            exact=True,
        ),
        Part(
            "axes of size 1 that were stretched",
            _shapes(((4, 3), (4, 1)), ((4, 3), (1, 3)), ((2, 4, 3), (2, 1, 3))),
            2,
            exact=True,
        ),
        Part(
            "both at once, numbers without axes, and nothing to do",
            _shapes(
                ((2, 4, 3), (4, 1)),
                ((2, 4, 3), (1, 3)),
                ((5, 2), (1, 1)),
                ((2, 3), ()),
                ((3, 2), (3, 2)),
                ((4, 1), (1, 1)),
            ),
            1,
            exact=True,
        ),
    ),
    {"unbroadcast": unbroadcast},
    TEXTS.mistakes("unbroadcast", "unbroadcast", "g, shape"),
    **TEXTS.said("unbroadcast"),
)


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


DERIVATIVES = Question(
    "derivatives",
    "matmul and tanh",
    "the pair (gradient for a, gradient for b), or for tanh one array of the shape of a",
    (
        Part("matmul: the gradient for a", _matmuls, 1, item=0),
        Part("matmul: the gradient for b", _matmuls, 1, item=1),
        Part("tanh", _tanhs, 2),
    ),
    {
        "matmul_vjp": _matmul_by_differences,
        "tanh_vjp": lambda gradient, a: _differences(np.tanh, a, gradient),
    },
    (
        *TEXTS.mistakes("matmul", "matmul_vjp", "g, a, b"),
        *TEXTS.mistakes("tanh", "tanh_vjp", "g, a"),
    ),
    **TEXTS.said("derivatives"),
)


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
_MATMUL_CASES = fixed([Case("matmul_backward", arguments) for arguments in _MATRICES])

LESSONS = (
    *TEXTS.by_hand().values(),
    Question(
        "02.unbroadcast",
        "",
        "an array of exactly the given shape",
        (
            Part(
                "unbroadcast",
                fixed([Case("unbroadcast", (_some(*result), before)) for result, before in _PAIRS]),
                exact=True,
            ),
        ),
        {"unbroadcast": lambda g, shape: unbroadcast(g, shape)},
        TEXTS.mistakes("unbroadcast", "unbroadcast", "g, shape"),
        **TEXTS.said("02.unbroadcast"),
    ),
    Question(
        "02.matmul",
        "",
        "the two shares, (share for x, share for y)",
        (
            Part("the share for x", _MATMUL_CASES, item=0, exact=True),
            Part("the share for y", _MATMUL_CASES, item=1, exact=True),
        ),
        {"matmul_backward": lambda g, x, y: (g @ y.T, x.T @ g)},
        TEXTS.mistakes("matmul", "matmul_backward", "g, a, b"),
        **TEXTS.said("02.matmul"),
    ),
)
