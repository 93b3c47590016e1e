"""Ties: numbers that are equal, or zero, but for rounding.

Another processor adds in another order, so the last bits of a sum are not ours to read. What is shown or decided goes
through these functions wherever two numbers may be equal: the first of equals wins, and what rounding can make of zero
is zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CLOSE = 1e-9  # two numbers count as equal if they differ by less than this part of the larger one


def rounding(dtype: Any = np.float64) -> float:
    """What rounding may leave of a sum that is zero, as a part of its terms: 64 units in the last place.

    >>> rounding("float32") < 1e-5, rounding() < 1e-13
    (True, True)
    """
    return 64 * float(np.finfo(dtype).eps)


def settled(values: Any, noise: Any = None) -> Array:
    """`values` with 0 for all that is not larger than `noise` (any shape that broadcasts).

    `noise` defaults to what rounding leaves next to the largest of the values, in their own dtype.

    >>> settled([1.0, -3e-17, 2e-16])
    array([1., 0., 0.])
    """
    found = _floats(values)
    if noise is None:
        noise = rounding(found.dtype) * _largest(found)
    return np.where(np.abs(found) <= noise, np.zeros((), found.dtype), found)


def first_largest(values: Any, noise: float = 0.0) -> Any:
    """Where the largest value is along the last axis; of equal ones, the first.

    Equal are values that differ by at most `noise`, or by a 10⁻⁹ of the largest magnitude (of float32: 8·10⁻⁶).

    >>> first_largest([0.1 + 0.2, 0.3, 0.3]), first_largest([0.3, 0.1 + 0.2]), first_largest([[1.0, 2.0], [3.0, 0.0]])
    (0, 0, array([1, 0]))
    """
    found = _floats(values)
    within = np.maximum(max(CLOSE, rounding(found.dtype)) * _largest(found), noise)
    at = (found >= found.max(axis=-1, keepdims=True) - within).argmax(axis=-1)
    return int(at) if found.ndim == 1 else at


def first_smallest(values: Any, noise: float = 0.0) -> Any:
    """Where the smallest value is along the last axis; of equal ones, the first, as in `first_largest`."""
    return first_largest(-_floats(values), noise)


def exceeds(a: float, b: float) -> bool:
    """Whether a > b by more than rounding.

    >>> exceeds(0.1 + 0.2, 0.3), exceeds(0.31, 0.3), exceeds(0.0, float("-inf"))
    (False, True, True)
    """
    return a > b and not math.isclose(a, b, rel_tol=CLOSE)


def nudged(value: float) -> float:
    """`value`, away from zero by a 10⁻⁹ of itself: formatted, a half is then rounded up on every machine.

    >>> f"{0.8125:.3f} {nudged(0.8125):.3f} {nudged(0.8125 - 1e-16):.3f}"
    '0.812 0.813 0.813'
    """
    return value * (1 + CLOSE)


def _floats(values: Any) -> Array:
    found: Array = np.asarray(values)
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def _largest(values: Array) -> Array:
    """The largest finite magnitude along the last axis, which stays."""
    return np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=-1, keepdims=True, initial=0.0)
