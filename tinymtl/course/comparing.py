"""Whether a value is the expected one, and what can be seen of one that is not: its kind, its shape, a sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tinymtl.course.worker.values import Unordered

Array = np.ndarray[Any, Any]


def close(value: Any, expected: Any, tolerance: float = 1e-6, exact: bool = False) -> bool:
    """Whether a plain value is the expected one.

    Numbers have to agree to `tolerance` times the largest number beside them (or 1e-9); a list, a tuple and an
    array of the same numbers are the same thing, and so is, unless `exact`, a column for a row or a list of one
    number for the number. "3/13" is a number; a bool is none; NaN and infinity agree with nothing. 0 and 1 may
    stand for False and True. Words agree in capitals or not.

    >>> close(np.array([[1.0], [2.0]]), [1, 2]), close("3/13", 3 / 13), close(float("nan"), float("nan"))
    (True, True, False)
    """
    if expected is None or value is None:
        return value is expected
    if isinstance(expected, bool):
        plain = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        return isinstance(plain, bool | int | float) and plain == expected
    if isinstance(expected, str):
        return isinstance(value, str) and value.strip().lower() == expected.lower()
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(close(value[key], expected[key], tolerance) for key in expected)
        )
    right, given = numbers(expected), numbers(value)
    if right is not None:
        given = None if given is None else _fitted(given, right.shape, exact)
        if given is None or not np.isfinite(given).all():
            return False
        largest = float(np.abs(right).max(initial=0.0))
        room = max(tolerance * largest, 1e-9 if tolerance <= 1e-6 or largest == 0 else 0.0)
        return bool((np.abs(given - right) <= room).all())
    return (
        isinstance(value, list | tuple)
        and not isinstance(value, Unordered)
        and len(value) == len(expected)
        and all(close(one, other, tolerance, exact) for one, other in zip(value, expected, strict=True))
    )


def numbers(value: Any) -> Array | None:
    """`value` as an array of floats, or None if it is not numbers in a rectangular arrangement.

    >>> numbers([[1, 2], [3, 4]]).shape, numbers([[1, 2], [3]]), numbers(True), numbers("1/4")
    ((2, 2), None, None, array(0.25))
    """
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind in "iuf" else None
    if isinstance(value, str):
        try:
            return np.asarray(float(Fraction(value.replace(" ", ""))))
        except (ValueError, ArithmeticError):
            return None
    if isinstance(value, bool | Unordered) or not isinstance(value, int | float | list | tuple):
        return None
    try:
        if not isinstance(value, list | tuple) or all(type(item) in (float, int) for item in value):
            return np.array(value, dtype=np.float64)
    except OverflowError:  # an int beyond every float
        return None
    parts = [numbers(item) for item in value]
    if any(part is None or part.shape != parts[0].shape or part.ndim > 8 for part in parts):  # type: ignore[union-attr]
        return None
    return np.stack(parts)  # type: ignore[arg-type]


def _fitted(given: Array, shape: tuple[int, ...], exact: bool) -> Array | None:
    if given.shape == shape:
        return given
    return given.reshape(shape) if not exact and len(shape) <= 1 and given.size == np.prod(shape, dtype=int) else None


def item_of(value: Any, item: Any) -> Any:
    """One item of what a function returned, None if it has none; for `item` None the value itself."""
    if item is None:
        return value
    if isinstance(item, str):
        return value.get(item) if isinstance(value, dict) else None
    if isinstance(value, Unordered) or not isinstance(value, list | tuple | np.ndarray):
        return None
    return value[item] if getattr(value, "ndim", 1) and item < len(value) else None


def amount(shape: tuple[int, ...]) -> str:
    """How many numbers, in words."""
    if len(shape) < 2:
        return "one number" if shape == () else f"{shape[0]} number" + "s" * (shape[0] != 1)
    return f"an array of shape {shape}"


def described(value: Any) -> str:
    """What a plain value is, in words.

    >>> described([1, 2]), described("abc"), described([[1], [2, 3]]), described(None)
    ('2 numbers', 'a text', 'a list of 2 items', 'None')
    """
    found = numbers(value)
    if isinstance(value, str):
        return "a text"
    if value is None or isinstance(value, bool):
        return str(value)
    if found is not None:
        return amount(found.shape) if found.size else "an empty list"
    if isinstance(value, Unordered):
        return "a set, which has no order"
    if isinstance(value, int):
        return "a number beyond every float"
    return "a dict" if isinstance(value, dict) else f"a list of {len(value)} items"


def misfit(value: Any, expected: Any, exact: bool = False) -> str:
    """What a value is if it is no candidate for the expected one, by its kind or its shape; else ""."""
    right, given = numbers(expected), numbers(value)
    if right is not None and not isinstance(expected, str):
        fits = given is not None and _fitted(given, right.shape, exact) is not None
    elif isinstance(expected, dict | list | tuple):
        kinds = dict if isinstance(expected, dict) else (list, tuple, np.ndarray)
        fits = isinstance(value, kinds) and (not isinstance(value, Unordered) or any(map(_listed, expected)))
    elif isinstance(expected, bool):
        fits = isinstance(value, bool) or (given is not None and given.size == 1 and binary(value))
    else:
        fits = isinstance(value, str)
    if fits:
        return ""
    if given is None and right is not None and right.ndim and isinstance(value, list) and len(value) == len(right):
        for place, one in enumerate(value):  # the right length: which of the items is it?
            if numbers(one) is None or numbers(one).shape != right.shape[1:]:  # type: ignore[union-attr]
                return f"{described(value)}, of which item {place} is {described(one)}"
    return described(value)


# ------------------------------------------------------------ what is nearly right

Relations = Sequence[tuple[str, Callable[[Array], Array]]]


def _places(digits: int) -> Callable[[Array], Array]:
    return lambda e: np.round(e, digits)


#: What all numbers may be, as a function of the right ones.
RELATIONS: Relations = (
    ("right up to the sign", lambda e: -e),
    ("every number is twice the right one", lambda e: 2 * e),
    ("every number is half of the right one", lambda e: e / 2),
    ("the numbers are right, but the array is transposed", lambda e: e.T if e.ndim == 2 else e),
    ("the numbers are right, but in reverse order", lambda e: e[::-1] if e.ndim else e),
    *(("the numbers are right, but rounded: give all their digits", _places(digits)) for digits in range(1, 6)),
)
NUMBER_RELATIONS: Relations = (
    *(pair for pair in RELATIONS if "number is" not in pair[0]),
    ("this is the right number upside down: 1 divided by it", lambda e: 1 / e if (e != 0).all() else e),
    ("the digits are right, but the decimal point is not", lambda e: 10 * e),
    ("the digits are right, but the decimal point is not", lambda e: e / 10),
    ("this is in per cent: give the number itself", lambda e: 100 * e if (np.abs(e) <= 1).all() else e),
    ("this is the square of what is asked for", lambda e: e**2 if (e != np.round(e)).any() else e),
    ("this is the root of what is asked for", lambda e: e**0.5 if (e != np.round(e)).any() and (e >= 0).all() else e),
)


def relates(relation: Callable[[Array], Array], pairs: Sequence[tuple[Array, Array]], tolerance: float) -> bool:
    """Whether in all (given, right) pairs a relation holds, and in some of them says more than that they are equal."""
    changed = False
    for given, right in pairs:
        expected = relation(right)
        if expected.shape != given.shape or not close(given, expected, tolerance, exact=True):
            return False
        changed = changed or not close(expected, right, tolerance)
    return changed


def rounded(given: Array, expected: Array) -> bool:
    """Whether every number is the expected one, rounded or cut to two digits (or to one, if it has more than three).

    >>> rounded(np.array(0.31), np.array(4 / 13)), rounded(np.array(30.0), np.array(28.0))
    (True, False)
    """

    def fits(x: float, e: float) -> bool:
        if e == round(e) or x == 0:
            return x == e
        short = float(f"{e:.2e}") == e
        for digits in (1,) if short else (0, 1):
            step = 10.0 ** (int(np.floor(np.log10(abs(e)))) - digits)
            if any(abs(x - step * whole) < 1e-9 * step for whole in (np.floor(e / step), np.ceil(e / step))):
                return bool(digits or abs(x - e) <= step / 2)  # one digit has to be rounded, not cut
        return bool(abs(x - e) <= 5e-3 * abs(e))

    if given.size != expected.size:
        return False
    given, expected = given.ravel(), expected.ravel()
    common = given.size > 1 and any((given == np.round(expected, digits)).all() for digits in (1, 2))
    return common or all(map(fits, given.tolist(), expected.tolist()))


def typed(given: Array, wrong: Any, tolerance: float) -> bool:
    """Whether somebody who has `wrong` would type `given`: to three digits, but nobody types 1 for 0.998."""
    if not close(given, wrong, tolerance):
        return False
    small = (given == np.round(given)) & (np.abs(given) < 10)
    return bool(np.allclose(np.where(small, given, 0), np.where(small, np.reshape(wrong, given.shape), 0)))


def right_components(given: Array | None, expected: Array | None, tolerance: float) -> str:
    """Which of several numbers are right, if some are."""
    if given is None or expected is None or expected.ndim != 1 or given.size != expected.size:
        return ""
    fits = np.flatnonzero(np.abs(given.ravel() - expected) <= tolerance * np.abs(expected).max())
    return (
        f"{listed([_ORDINALS[i] for i in fits])} number{'s are' if len(fits) > 1 else ' is'} right" if len(fits) else ""
    )


def binary(value: Any) -> bool:
    """Whether a value is made of zeros and ones."""
    found = numbers(value)
    return found is not None and bool(np.minimum(np.abs(found), np.abs(found - 1)).max(initial=0.0) < 1e-9)


def counted(value: Any) -> bool:
    """Whether there is no fraction in a value, by its type."""
    if isinstance(value, list | tuple):
        return all(map(counted, value)) and not any(isinstance(one, str) for one in value)  # names agree by no chance
    return value.dtype.kind != "f" if isinstance(value, np.ndarray) else not isinstance(value, float | dict)


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


def operand(value: Any) -> Any:
    """A value as formulas compute with it: a float, an array, or a word as it is."""
    found = numbers(value)
    return value if found is None else found if found.ndim else float(found)


def finite(value: Any) -> bool:
    """False for NaN or infinity anywhere among numbers."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    found = numbers(value)
    if found is not None:
        return bool(np.isfinite(found).all())
    return all(map(finite, value)) if isinstance(value, list | tuple) else True


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


_ORDINALS = [f"the {word}" for word in ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]]
