"""Plain values: what may cross between the grader and a student's process, as JSON.

Numbers, booleans, short strings, None, lists, sets, dicts with string keys, and arrays of numbers; a fraction
crosses as its number, a range or a deque as its list. Nothing else has a spelling here, so an object with clever
methods cannot cross: only its plain value can, or nothing.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import ItemsView, KeysView, ValuesView
from decimal import Decimal
from numbers import Rational
from typing import Any

import numpy as np

LARGEST = 200_000  # numbers and items in one value
LONGEST_TEXT = 10_000  # characters in one string
DEEPEST = 8  # lists and dicts inside one another
MOST_AXES = 16  # of an array
LONGEST_LINE = 8_000_000  # characters of JSON in one message

LISTS = (list, tuple, range, deque, KeysView, ValuesView, ItemsView)
KINDS = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}  # NumPy's letter for a dtype → what it crosses as


class Unordered(tuple[Any, ...]):
    """The items of a set, whose order means nothing; a set itself could not hold lists."""


class NotPlain(Exception):
    """A value that has no plain spelling; `code` is one of "large", "deep", "kind"; `detail` names the kind."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def encode(value: Any) -> Any:
    """`value` as something that JSON can spell; arrays keep their shape and their kind of number.

    Raises
    ------
    NotPlain
        For an object of another class, an array of Python objects, or a value that is too large.

    Examples
    --------
    >>> from fractions import Fraction
    >>> encode((1, np.float32(0.5), Fraction(3, 4), np.eye(2)))
    [1, 0.5, 0.75, {'array': [1.0, 0.0, 0.0, 1.0], 'shape': [2, 2], 'dtype': 'float64'}]
    """
    return _encode(value, DEEPEST, [LARGEST])


def _encode(value: Any, depth: int, room: list[int]) -> Any:
    room[0] -= 1  # one counter for the whole value, so that nesting cannot get around the limit
    if room[0] < 0:
        raise NotPlain("large")
    if type(value) is int or type(value) is float:  # nearly always
        return value
    if depth < 0:
        raise NotPlain("deep")
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, Rational | Decimal):
        try:
            return float(value)
        except OverflowError:
            raise NotPlain("large") from None
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise NotPlain("large")
        return str(value)
    if isinstance(value, set | frozenset | Unordered):
        return {"set": _encode(list(value), depth, room)}
    if type(value).__name__ == "MinNorm":  # the whole result, where its weights are meant
        raise NotPlain("kind", "MinNorm")
    if isinstance(value, LISTS):
        if len(value) > room[0]:
            raise NotPlain("large")
        return [_encode(item, depth - 1, room) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise NotPlain("kind", "dict")
        return {str(key): _encode(item, depth - 1, room) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        if value.ndim > MOST_AXES:
            raise NotPlain("deep")
        if value.size > room[0]:  # asked before the numbers are touched: a broadcast view can be as large as it likes
            raise NotPlain("large")
        if value.dtype.kind in "UO":  # words, fractions
            return _encode(value.tolist(), depth, room)
        if value.dtype.kind not in KINDS:
            raise NotPlain("kind", "ndarray")
        room[0] -= value.size
        numbers = np.array(value, dtype=KINDS[value.dtype.kind], subok=False)
        return {"array": numbers.ravel().tolist(), "shape": list(numbers.shape), "dtype": numbers.dtype.name}
    if type(value).__name__ == "Tensor" and isinstance(getattr(value, "data", None), np.ndarray):
        return _encode(value.data, depth, room)
    raise NotPlain("kind", type(value).__name__)


def decode(spelled: Any) -> Any:
    """The value that `encode` spelled; raises ValueError where the spelling is not one of its own.

    Examples
    --------
    >>> decode({"array": [1.0, 2.0], "shape": [2, 1], "dtype": "float64"})
    array([[1.],
           [2.]])
    """
    if isinstance(spelled, list):
        return [decode(item) for item in spelled]
    if not isinstance(spelled, dict):
        return spelled
    if set(spelled) == {"set"} and isinstance(spelled["set"], list):
        return Unordered(decode(item) for item in spelled["set"])
    if set(spelled) != {"array", "shape", "dtype"}:
        return {key: decode(item) for key, item in spelled.items()}
    numbers, shape, dtype = spelled["array"], spelled["shape"], spelled["dtype"]
    if not (isinstance(numbers, list) and all(isinstance(number, bool | int | float) for number in numbers)):
        raise ValueError("an array whose items are not numbers")
    if not (isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)):
        raise ValueError("an array without a shape")
    if dtype not in KINDS.values():
        raise ValueError("an array of an unknown dtype")
    try:
        return np.array(numbers, dtype=dtype).reshape(shape)
    except (OverflowError, TypeError) as problem:
        raise ValueError("numbers that do not fit their array") from problem


def received(spelled: Any, depth: int = DEEPEST + 1) -> Any:
    """`decode` for a spelling from outside: a ValueError also if it is nested deeper than `encode` ever spells.

    >>> received([[[[[[[[[[[1]]]]]]]]]]])
    Traceback (most recent call last):
    ...
    ValueError: lists inside lists without end
    """

    def measure(item: Any, left: int) -> None:
        if left < 0 or (isinstance(item, dict) and len(item.get("shape") or ()) > MOST_AXES):
            raise ValueError("lists inside lists without end")
        for inner in item if isinstance(item, list) else item.values() if isinstance(item, dict) else ():
            if isinstance(inner, list | dict):
                measure(inner, left - 1)

    try:
        measure(spelled, depth)
        return decode(spelled)
    except (TypeError, AttributeError, OverflowError, KeyError, IndexError, RecursionError) as problem:
        raise ValueError("not the spelling of a value") from problem


def loads(text: str | bytes, items: int = LARGEST + 10_000) -> Any:
    """JSON from an untrusted source; every way in which it can be malformed, or too much, is a ValueError.

    What it would become is bounded before it is read: text of 8 MB can spell 4 million dicts, which take 1 GB.

    >>> loads('{"value": [1, NaN]}')
    {'value': [1, nan]}
    >>> loads("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: a message that is nested too deeply
    >>> loads("[" + "{}," * 1_000_000 + "0]")
    Traceback (most recent call last):
    ...
    ValueError: a message of too many items
    """
    found = text.encode(errors="replace") if isinstance(text, str) else text
    if sum(found.count(mark) for mark in (b",", b"[", b"{")) > items:
        raise ValueError("a message of too many items")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("a message that is nested too deeply") from None


def printable(text: Any, most: int = 200) -> str:
    """Text that came from outside, as one line without control characters, fit for a terminal, a table and a page.

    >>> printable("two\\n lines \\x1b[2K and half a \\ud800 letter")
    'two lines \ufffd[2K and half a \ufffd letter'
    """
    line = " ".join(str(text)[: 4 * most].split())
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
