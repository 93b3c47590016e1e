"""What may stand for an array: all that a user hands in passes `as_numbers`, which uses it rightly or refuses it.

Lists, NumPy and CuPy arrays of any layout, masked arrays and the tables of pandas, polars and their like are
understood; text, dates, complex numbers, units, sparse matrices and objects get one sentence each. None of those
libraries is imported here: a table is known by its methods.
"""

from __future__ import annotations

import decimal
import math
import numbers
from typing import Any

import numpy as np

from tinymtl.backend import Array, array_module, is_array


def as_numbers(values: Any, what: str = "the input", gaps: bool = False) -> Array:
    """`values` as a plain array of real numbers in the machine's byte order: the array itself if it is one.

    Parameters
    ----------
    values : array, list, number, or a table such as a pandas DataFrame
    what : str
        What the values are, for the sentence of a refusal.
    gaps : bool, default False
        Whether values may be missing: masked, None or NA. They are NaN in the result, which then is float64.

    Raises
    ------
    TypeError
        For anything but real numbers.
    ValueError
        For rows of different lengths, and for missing values unless `gaps`. (NaN is a number here.)

    Examples
    --------
    >>> as_numbers(np.ma.masked_equal([1, -1, 2], -1), gaps=True)
    array([ 1., nan,  2.])
    >>> as_numbers([["1"], ["2"]], "x")
    Traceback (most recent call last):
    TypeError: x holds text (<U1): give real numbers
    """
    if type(values) is np.ndarray or (is_array(values) and array_module(values) is not np):
        array = values
    elif isinstance(values, np.ma.MaskedArray):
        array = _unmasked(values, what, gaps)
    else:
        array = _read(values, what)
    dtype = array.dtype
    if dtype.kind in "fiub":
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
    if dtype.kind == "O":
        return _from_objects(array, what, gaps)
    raise TypeError(f"{what} holds {_KINDS.get(dtype.kind, 'records')} ({dtype}): give real numbers{_advice(dtype)}")


_KINDS = {"c": "complex numbers", "M": "dates", "m": "durations", "U": "text", "S": "text", "T": "text"}


def _advice(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "c":
        return ", such as .real and .imag as columns of their own"
    if dtype.kind in "Mm":
        return ", such as the days since a first day"
    return f"; its fields are {', '.join(dtype.names)}" if dtype.names else ""


def _read(values: Any, what: str) -> Array:
    """Whatever is no plain array yet as an array of any dtype."""
    kind = type(values).__name__
    if hasattr(values, "toarray"):
        raise TypeError(f"{what} is sparse ({kind}): give {what.split()[-1].rstrip(':')}.toarray()")
    if hasattr(values, "to_numpy"):  # a table or a column of one
        array = np.asarray(values.to_numpy())
    elif hasattr(values, "magnitude") or (isinstance(values, np.ndarray) and hasattr(values, "unit")):
        array = None
    else:
        try:
            array = np.asarray(values)
        except Exception as error:  # each library has errors of its own: ragged lists, a gradient that would be lost
            if "inhomogeneous" in str(error):
                raise ValueError(f"{what} is ragged: give rows of one length") from error
            raise TypeError(f"{what} cannot be read as an array ({kind}): {error}") from error
    if array is None or (array.dtype.kind in "fiub" and getattr(values, "units", None) is not None):
        raise TypeError(f"{what} has a unit ({kind}): give the bare numbers, in one unit throughout")
    return array


def _unmasked(values: Any, what: str, gaps: bool) -> Array:
    mask = np.ma.getmaskarray(values)
    if values.dtype.kind not in "fiub" or not mask.any():
        return np.asarray(values.data)
    if not gaps:
        raise ValueError(f"{what} has masked cells: fill them, or leave their rows out")
    return np.asarray(values.astype(np.float64).filled(np.nan))


def _from_objects(array: Array, what: str, gaps: bool) -> Array:
    """An array of Python's objects as float64: numbers, and where `gaps` allows it None and pandas' NA as NaN."""
    found = np.empty(array.shape)
    for index, value in np.ndenumerate(array):
        if isinstance(value, numbers.Real | np.bool_ | decimal.Decimal):
            try:
                found[index] = float(value)
            except OverflowError as error:
                raise ValueError(f"{what} holds a number that is too large for float64") from error
        elif array.ndim and (value is None or type(value).__name__ == "NAType"):
            if not gaps:
                raise ValueError(f"{what} has no value at {list(index)}: fill it, or leave its row out")
            found[index] = np.nan
        elif array.ndim == 0:
            raise TypeError(f"{what} is a {type(value).__name__}: give an array of real numbers")
        else:
            raise TypeError(f"{what} holds a {type(value).__name__} at {list(index)}: give real numbers")
    return found


def cast(array: Array, dtype: Any, what: str = "the input") -> Array:
    """`array` as floats of `dtype`, the array itself if it is that already.

    Raises
    ------
    ValueError
        On the host, for a finite number that `dtype` cannot hold, and for integers that it cannot tell from their
        neighbours. (On a GPU a look at the values would make every step wait: they become infinite there.)

    Examples
    --------
    >>> cast(np.array([1e300]), np.float32, "x")
    Traceback (most recent call last):
    ValueError: x holds 1e+300, which is too large for float32: scale it, or use float64 throughout
    """
    if array.dtype == dtype:
        return array
    dtype = np.dtype(dtype)
    if not isinstance(array, np.ndarray):
        return array.astype(dtype)
    if array.dtype.kind in "iu" and array.dtype.itemsize >= 4 and array.size:
        exact = 2 ** (np.finfo(dtype).nmant + 1)
        largest = max(int(array.max()), -int(array.min()))
        if largest > exact:
            raise ValueError(
                f"{what} holds the whole number {largest}, and {dtype} is exact up to {exact} only: "
                "scale it, or give it as floats"
            )
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype)
    except FloatingPointError as error:
        size = np.abs(array)
        too_large = float(size[np.isfinite(size) & (size > np.finfo(dtype).max)].max())
        raise ValueError(
            f"{what} holds {too_large:g}, which is too large for {dtype}: scale it, or use float64 throughout"
        ) from error


def as_doubles(values: Any, what: str = "the input", gaps: bool = False) -> Array:
    """`values` as float64: `as_numbers`, then `cast`.

    >>> as_doubles([1, 2])
    array([1., 2.])
    """
    return cast(as_numbers(values, what, gaps), np.float64, what)


def without_gaps(array: Array) -> tuple[Array, Array | None]:
    """`array` with 0 in place of NaN, and a mask of what was there; (array, None) if nothing is missing.

    Looks at floats on the host alone: on a GPU it would have to wait for the device.

    >>> without_gaps(np.array([1.0, np.nan]))
    (array([1., 0.]), array([ True, False]))
    """
    if array.dtype.kind != "f" or not isinstance(array, np.ndarray) or not array.size:
        return array, None
    flat = array.ravel(order="K")
    if math.isfinite(np.vdot(flat, flat)):  # NaN if any value is; a tenth of the cost of a look at each
        return array, None
    present = ~np.isnan(array)
    if present.all():  # infinite, or too large to be squared
        return array, None
    return np.where(present, array, array.dtype.type(0)), present


def marked_missing(array: Array, marker: float) -> Array:
    """`array` with NaN in place of `marker`, the number that stands for no value; itself if there is none.

    >>> marked_missing(np.array([2, -1]), -1)
    array([ 2., nan])
    """
    missing = array == marker
    return np.where(missing, np.nan, array) if missing.any() else array


def columns(table: Any) -> dict[Any, Any] | None:
    """The columns of a table by name: of a DataFrame, a named Series or a structured array; None for anything else.

    >>> columns(np.zeros(2, [("a", "f4"), ("b", "i8")]))
    {'a': array([0., 0.], dtype=float32), 'b': array([0, 0])}
    """
    if isinstance(table, np.ndarray):
        return {name: table[name] for name in table.dtype.names} if table.dtype.names else None
    if not hasattr(table, "to_numpy"):
        return None
    if not hasattr(table, "columns"):
        name = getattr(table, "name", None)
        return {name: table} if isinstance(name, str) else None
    names = list(table.columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"the table has two columns {twice[0]!r}: give each a name of its own")
    return {name: table[name] for name in names}


def check_same_rows(x: Any, target: Any, what: str) -> None:
    """A ValueError if `x` and `target` are tables whose row labels differ: pandas would align them by label."""
    here, there = getattr(x, "index", None), getattr(target, "index", None)
    if here is None or there is None or not hasattr(here, "equals") or len(here) != len(there):
        return
    if not here.equals(there):
        raise ValueError(
            f"{what} has other row labels than x, or the same ones in another order: "
            "bring both into one order, or give .to_numpy()"
        )
