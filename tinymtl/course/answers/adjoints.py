"""Adjoints of broadcasting, of a matrix product and of tanh; the last two against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Reply
from tinymtl.course.marking import close

Rng = np.random.Generator
Array = np.ndarray[Any, Any]


def unbroadcast(gradient: Array, shape: list[int]) -> Array:
    """`gradient` summed over the axes that broadcasting made from `shape`."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return gradient.sum(axis=axes, keepdims=True)


def _leading_only(gradient: Array, shape: list[int]) -> Array:
    return gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))


def _squeezed(gradient: Array, shape: list[int]) -> Array:
    result = unbroadcast(gradient, shape)
    return result.reshape([size for size in shape if size != 1]) if gradient.shape != tuple(shape) else result


def _mean(gradient: Array, shape: list[int]) -> Array:
    return unbroadcast(gradient, shape) * (np.prod(shape) / gradient.size)


def _first_slice(gradient: Array, shape: list[int]) -> Array:
    gradient = gradient[(0,) * (gradient.ndim - len(shape))]
    return gradient[tuple(slice(0, 1) if size == 1 else slice(None) for size in shape)]


def _shapes(*pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> Callable[[Rng], list[Case]]:
    """Cases from (shape of the gradient, shape of the operand)."""
    return lambda rng: [Case("unbroadcast", (rng.normal(size=large), list(small))) for large, small in pairs]


UNBROADCAST = Question(
    "unbroadcast",
    "unbroadcast",
    "an array of exactly the given shape",
    (
        Property("axes that were added in front", 2, _shapes(((4, 3), (3,)), ((2, 4, 3), (4, 3)), ((2, 3, 4), (4,)))),
        Property(
            "axes of size 1 that were stretched", 2, _shapes(((4, 3), (4, 1)), ((4, 3), (1, 3)), ((2, 4, 3), (2, 1, 3)))
        ),
        Property(
            "both at once, numbers without axes, and nothing to do",
            1,
            _shapes(
                ((2, 4, 3), (4, 1)),
                ((2, 4, 3), (1, 3)),
                ((5, 2), (1, 1)),
                ((2, 3), ()),
                ((3, 2), (3, 2)),
                ((4, 1), (1, 1)),
            ),
        ),
    ),
    {"unbroadcast": unbroadcast},
    (
        Mistake("axes of size 1 lose their place: the result needs exactly the given shape", "unbroadcast", _squeezed),
        Mistake(
            "only the axes added in front are summed, not those stretched from size 1", "unbroadcast", _leading_only
        ),
        Mistake(
            "the copies are averaged: each of them acts on the loss, so their gradients add up", "unbroadcast", _mean
        ),
        Mistake(
            "one copy is picked: each of them acts on the loss, so their gradients add up", "unbroadcast", _first_slice
        ),
    ),
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


def _part(number: int) -> Callable[[list[Case], list[Reply], list[Reply]], bool]:
    """Whether one of the two gradients is right."""

    def holds(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
        return all(
            isinstance(reply.value, list) and len(reply.value) == 2 and close(reply.value[number], right.value[number])
            for reply, right in zip(replies, expected, strict=True)
        )

    return holds


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
        Property("matmul: the gradient for a", 1, _matmuls, _part(0)),
        Property("matmul: the gradient for b", 1, _matmuls, _part(1)),
        Property("tanh", 2, _tanhs),
    ),
    {
        "matmul_vjp": _matmul_by_differences,
        "tanh_vjp": lambda gradient, a: _differences(np.tanh, a, gradient),
    },
    (
        Mistake("matmul: b (or a) is not transposed", "matmul_vjp", lambda g, a, b: (g @ b, a @ g)),
        Mistake("matmul: the two gradients are swapped", "matmul_vjp", lambda g, a, b: (a.T @ g, g @ b.T)),
        Mistake("matmul: the incoming gradient is on the wrong side", "matmul_vjp", lambda g, a, b: (b.T @ g, g @ a.T)),
        Mistake("tanh: the derivative is 1 − tanh(a)², not 1 − a²", "tanh_vjp", lambda g, a: g * (1 - a**2)),
        Mistake("tanh: the square is missing in 1 − tanh(a)²", "tanh_vjp", lambda g, a: g * (1 - np.tanh(a))),
        Mistake("tanh: the incoming gradient is missing", "tanh_vjp", lambda g, a: 1 - np.tanh(a) ** 2),
    ),
)
