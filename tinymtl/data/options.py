"""Checks of the options that the loaders share."""

from __future__ import annotations

from typing import Any

import numpy as np


def whole_number(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int where it is a whole number in low … high; otherwise a ValueError that names it.

    >>> whole_number("offset", 4, 0, 8)
    4
    """
    wanted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        raise ValueError(f"{name} is {value!r}: give {wanted}")
    return int(value)
