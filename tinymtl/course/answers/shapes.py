"""Adjoints of broadcasting, of a matrix product and of tanh; the last two against central differences. Lesson 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Mistake, Part, Question, Rng, function, variables

Array = np.ndarray[Any, Any]
Shape = list[int] | tuple[int, ...]


def unbroadcast(gradient: Array, shape: Shape) -> Array:
    """`gradient` summed over the axes that broadcasting made from `shape`."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return gradient.sum(axis=axes, keepdims=True)


def _stretched(gradient: Array, shape: Shape) -> tuple[int, ...]:
    """The axes of `gradient` that stand for an axis of size 1, where both have as many axes."""
    return tuple(i for i, size in enumerate(shape[: gradient.ndim]) if size == 1)


def _front_only(gradient: Array, shape: Shape) -> Array:
    return gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))


def _ones_only(gradient: Array, shape: Shape) -> Array:
    return gradient.sum(axis=_stretched(gradient, shape), keepdims=True)


def _squeezed(gradient: Array, shape: Shape) -> Array:
    result = unbroadcast(gradient, shape)
    return result.reshape([size for size in shape if size != 1]) if gradient.shape != tuple(shape) else result


def _always_squeezed(gradient: Array, shape: Shape) -> Array:
    return unbroadcast(gradient, shape).reshape([size for size in shape if size != 1])


def _mean(gradient: Array, shape: Shape) -> Array:
    return unbroadcast(gradient, shape) * (np.prod(shape) / gradient.size)


def _first_slice(gradient: Array, shape: Shape) -> Array:
    gradient = gradient[(0,) * (gradient.ndim - len(shape))]
    return gradient[tuple(slice(0, 1) if size == 1 else slice(None) for size in shape)]


def _last_axes(gradient: Array, shape: Shape) -> Array:
    """Sums the surplus axes at the end instead of those in front."""
    return gradient.sum(axis=tuple(range(len(shape), gradient.ndim)))


_BROADCASTING: dict[str, list[Callable[[Array, Shape], Any]]] = {
    "an axis of size 1 has vanished: sum with keepdims=True, so that (4, 1) stays (4, 1)": [
        _squeezed,
        _always_squeezed,
    ],
    "axes of size 1 are left stretched: axes that were added in front are not the only ones": [_front_only],
    "axes that were added in front are still there: stretched axes are not the only ones": [_ones_only],
    "this averages over the copies: each of them acts on the loss, so what they send back is added": [_mean],
    "one copy is picked: each of them acts on the loss, so what they send back is added": [_first_slice],
    "everything is returned as it came: what was repeated has to be summed": [lambda g, shape: g],
    "the first axis is always summed, and no other: the shape says which axes were repeated": [
        lambda g, shape: g.sum(axis=0)
    ],
    "all axes are summed: only those that broadcasting repeated should be": [lambda g, shape: g.sum()],
    "the surplus axes are summed at the end; NumPy adds them in front": [_last_axes],
    "the shape is right, but nothing is summed: the numbers are taken from the front": [
        lambda g, shape: np.resize(g, shape)
    ],
    "this has ones in it: the gradient that arrives is summed, not the number of copies": [
        lambda g, shape: unbroadcast(np.ones_like(g), shape)
    ],
}


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
    tuple(Mistake(hint, "unbroadcast", model) for hint, models in _BROADCASTING.items() for model in models),
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


_MATMUL: dict[str, list[Callable[[Array, Array, Array], Any]]] = {
    "the two gradients are exchanged: the first argument's comes first": [lambda g, a, b: (a.T @ g, g @ b.T)],
    "a factor is not transposed: going back takes the other way through the matrix": [
        lambda g, a, b: _either(lambda: g @ b, lambda: a @ g)
    ],
    "the incoming gradient is on the wrong side of the product": [
        lambda g, a, b: _either(lambda: b.T @ g, lambda: g @ a.T),
        lambda g, a, b: _either(lambda: b @ g, lambda: g @ a),
    ],
    "both are transposed: each gradient has the shape of its argument": [lambda g, a, b: (b @ g.T, g.T @ a)],
    "the incoming gradient is left out: it is passed through the slope": [
        lambda g, a, b: (np.ones_like(g) @ b.T, a.T @ np.ones_like(g)),
        lambda g, a, b: (b.T, a.T),
        lambda g, a, b: (b, a),
    ],
    "this is divided by the number of rows: a product has no mean in it": [
        lambda g, a, b: (g @ b.T / len(g), a.T @ g / len(g))
    ],
    "this is the rule for numbers, entry by entry: write the shapes below each other": [
        lambda g, a, b: _either(lambda: g * b, lambda: g * a)
    ],
}
_TANH: dict[str, Callable[[Array, Array], Any]] = {
    "tanh: the derivative is 1 − tanh(a)², not 1 − a²": lambda g, a: g * (1 - a**2),
    "tanh: the square is missing in 1 − tanh(a)²": lambda g, a: g * (1 - np.tanh(a)),
    "tanh: the incoming gradient is missing": lambda g, a: 1 - np.tanh(a) ** 2,
    "tanh: this is the gradient times tanh(a) itself, not times its derivative": lambda g, a: g * np.tanh(a),
    "tanh: the sign in the derivative is minus: it is largest at 0, where it is 1": lambda g, a: (
        g * (1 + np.tanh(a) ** 2)
    ),
    "tanh: this is −tanh(a)²; the 1 is missing": lambda g, a: -g * np.tanh(a) ** 2,
    "tanh: the argument is already a, not tanh(a): the derivative needs tanh(a)² once, not twice": lambda g, a: (
        g * (1 - np.tanh(np.tanh(a)) ** 2)
    ),
    "tanh: the derivative is taken at the incoming gradient: it belongs at a": lambda g, a: a * (1 - np.tanh(g) ** 2),
    "tanh: this is the derivative of the sigmoid": lambda g, a: g / (1 + np.exp(-a)) * (1 - 1 / (1 + np.exp(-a))),
    "tanh: the gradient is squared as well": lambda g, a: g * (1 - np.tanh(a) ** 2) * g,
    "tanh: 1/cosh(a) has to be squared": lambda g, a: g / np.cosh(a),
    "tanh: added where it should be multiplied": lambda g, a: g + 1 - np.tanh(a) ** 2,
    "tanh: this is the result summed up; one gradient for each entry is asked for": lambda g, a: np.sum(
        g * (1 - np.tanh(a) ** 2)
    ),
}


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
        *(Mistake(f"matmul: {hint}", "matmul_vjp", model) for hint, models in _MATMUL.items() for model in models),
        *(Mistake(hint, "tanh_vjp", model) for hint, model in _TANH.items()),
    ),
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


LESSONS = (
    variables(
        "02.by_hand",
        {"to_row": (9, 12), "to_column": (3, 7, 11), "to_number": 21},
        {
            "to_row": {
                "row and column are exchanged: an array of shape (2,) is repeated for every row, so each of its two "
                "numbers collects one column": (3, 7),
                "these are means: every use sends back a share, and shares are added": (3, 4),
                "these count the copies, as if g were all ones": (3, 3),
                "this is the first row alone: all three rows used these numbers": (1, 2),
            },
            "to_column": {
                "row and column are exchanged: an array of shape (3, 1) is repeated for every column, so each of its "
                "three numbers collects one row": (9, 12, 0),
                "these are means: every use sends back a share, and shares are added": (1.5, 3.5, 5.5),
                "these count the copies, as if g were all ones": (2, 2, 2),
                "this is the first column alone: both columns used these numbers": (1, 3, 5),
            },
            "to_number": {
                "this is a mean: every use sends back a share, and shares are added": 3.5,
                "this counts the copies, as if g were all ones": 6,
                "one number is used in all six places, so it collects all six": [9, 12, 11],
            },
        },
        hints=(
            "colour the places of g that one number was copied to",
            "every copy sends back its share: add up the coloured places",
            "shape (2,): one sum down each column; shape (3, 1): one sum along each row; shape (): the sum of all",
        ),
        praise="each is the sum over what was repeated",
    ),
    function(
        "02.unbroadcast",
        "unbroadcast",
        lambda g, shape: unbroadcast(g, shape),
        [(_some(*result), before) for result, before in _PAIRS],
        "an array of exactly the given shape",
        _BROADCASTING,
        exact=True,
        hints=(
            "compare the shape of your result with the shape before broadcasting",
            "first sum away the axes in front, as many as g has more; then sum every axis of size 1, and keep it",
            "g.sum(axis=tuple(range(g.ndim - len(shape)))), then the same over the axes of size 1 with keepdims=True",
        ),
        praise="all 12 pairs of shapes: axes added in front, axes of size 1 stretched, both, and neither",
    ),
    function(
        "02.matmul",
        "matmul_backward",
        lambda g, x, y: (g @ y.T, x.T @ g),
        [
            (_some(2, 4), _some(2, 3), _some(3, 4)),
            (_some(1, 2), _some(1, 5), _some(5, 2)),
            (_some(2, 2), _some(2, 2) + 1, _some(2, 2) * 2),
        ],
        "the two shares, (share for x, share for y)",
        _MATMUL,
        items={"the share for x": 0, "the share for y": 1},
        exact=True,
        hints=(
            "write the shapes of g, y and yᵀ below each other: which product has the shape of x?",
            "x is (n, m), g is (n, p) and y is (m, p): multiply g by what is p × m, on the side where the p's meet",
            "z = x y, so the share for x is g yᵀ, and the share for y is xᵀ g",
        ),
        praise="g yᵀ has the shape of x, and xᵀ g that of y",
    ),
    variables(
        "02.step",
        {"best_h": "(3 * 2**-53) ** (1 / 3)"},
        {
            "best_h": {
                "that is the square root of u, the best step of the one-sided difference (f(x + h) − f(x)) / h, whose "
                "truncation falls only as h": "2**-26.5",
                "this is u: round-off u/h would be 1 there. If you typed (3*u)**1/3: Python takes powers first, so the "
                "exponent needs brackets, ** (1/3)": "2**-53",
                "almost: this is about the cube root of u, and a factor 3 is missing under the root": "2**(-53 / 3)",
                "this is h³: take its cube root": "3 * 2**-53",
                "this is for float32, whose u is 2⁻²⁴": "(3 * 2**-24) ** (1 / 3)",
                "this is the square root of 3u: the derivative gives h³, not h²": "(3 * 2**-53) ** 0.5",
                "the right order of magnitude; one digit is asked for": 1e-5,
            }
        },
        tolerance=0.27,  # one digit; and who takes 2⁻⁵² for u is right as well
        hints=(
            "one error grows with h and the other with 1/h: at the best h neither can be made smaller for free",
            "differentiate h²/6 + u/h with respect to h, and set that to 0",
            "h/3 − u/h² = 0, so h³ = 3u",
        ),
        praise="h³ = 3u; the figure below has its minimum near there",
    ),
)
