"""Checks of lesson 2: tensors and shapes."""

from __future__ import annotations

import numpy as np

from tinymtl.autodiff.ops import unbroadcast
from tinymtl.backend import Array
from tinymtl.course.lessons.checks import Check, function, numbers

SHAPES = [
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
]


def _some(shape: tuple[int, ...]) -> Array:
    """Numbers no two sums of which are alike."""
    return np.sqrt(np.arange(1.0, 1.0 + np.prod(shape, dtype=int))).reshape(shape)


def _added(g: Array, shape: tuple[int, ...]) -> Array:
    summed: Array = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return summed


def _stretched(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis, size in enumerate(shape) if size == 1)


def _without_keepdims(g: Array, shape: tuple[int, ...]) -> Array:
    summed: Array = _added(g, shape).sum(axis=_stretched(shape))
    return summed


def _only_stretched(g: Array, shape: tuple[int, ...]) -> Array:
    axes = tuple(axis for axis in _stretched(shape) if axis < g.ndim)
    summed: Array = g.sum(axis=axes, keepdims=True) if len(shape) == g.ndim else g
    return summed


def _mean(g: Array, shape: tuple[int, ...]) -> Array:
    share: Array = unbroadcast(g, shape)
    return share * share.size / g.size


CHECKS: dict[str, Check] = {
    "02.by_hand": numbers(
        (9, 12, 3, 7, 11, 21),
        praise="each is the sum over what was repeated",
        look="colour the places of g that one number was copied to; its gradient is their sum",
        mistakes={
            "row and column are exchanged: an array of shape (2,) is repeated for every row, so its two numbers "
            "collect one column each": (3, 7, 9, 12, 0, 21),
            "these are means: every use sends back a share, and shares are added": (3, 4, 1.5, 3.5, 5.5, 3.5),
        },
    ),
    "02.unbroadcast": function(
        lambda g, shape: unbroadcast(g, shape),
        [(_some(result), before) for result, before in SHAPES],
        praise="all 12 pairs of shapes: axes added in front, axes of size 1 stretched, both, and neither",
        look="compare the shape of your result with the shape before broadcasting",
        mistakes={
            "axes of size 1 are left stretched: axes that were added in front are not the only ones": _added,
            "axes that were added in front are still there: only stretched axes are summed": _only_stretched,
            "an axis of size 1 has vanished: sum with keepdims=True, so that (4, 1) stays (4, 1)": _without_keepdims,
            "this averages over what was repeated: every use sends back a share, and shares are added": _mean,
            "everything is returned as it came: what was repeated has to be summed": lambda g, shape: g,
        },
    ),
    "02.matmul": function(
        lambda g, x, y: (g @ y.T, x.T @ g),
        [
            (_some((2, 2)), _some((2, 2)) + 1, _some((2, 2)) * 2),
            (_some((2, 4)), _some((2, 3)), _some((3, 4))),
            (_some((1, 2)), _some((1, 5)), _some((5, 2))),
        ],
        praise="g yᵀ has the shape of x, and xᵀ g that of y",
        look="write the shapes of g, y and yᵀ side by side: which product has the shape of x?",
        mistakes={
            "the two are exchanged: the share for x comes first": lambda g, x, y: (x.T @ g, g @ y.T),
            "both are transposed: the share for x has the shape of x": lambda g, x, y: (y @ g.T, g.T @ x),
            "you left out g: a share is the gradient at z, passed through the slope": lambda g, x, y: (
                np.ones_like(g) @ y.T,
                x.T @ np.ones_like(g),
            ),
        },
    ),
    "02.step": numbers(
        (3 * 2.0**-53) ** (1 / 3),
        praise="h³ = 3u; the figure below has its minimum near there",
        look="differentiate h²/6 + u/h with respect to h, and set that to 0",
        mistakes={
            "that is the square root of u, the best step of the one-sided difference (f(x + h) − f(x)) / h, whose "
            "truncation falls only as h": 2.0**-26.5,
            "a step as small as u leaves nothing but round-off: u/h would be 1": 2.0**-53,
            "almost: u is a number near 10⁻¹⁶, and you took its cube root without the factor 3": 2.0 ** (-53 / 3),
        },
        tolerance=0.27,  # one digit; and who takes 2⁻⁵² for u is right as well
    ),
}
