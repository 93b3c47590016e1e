"""The one way to refuse a wrong name or number: what was given, what is expected, and the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np


def shown(value: Any) -> str:
    """What was given, for a sentence: its repr on one line, cut after 80 characters.

    >>> shown(np.eye(2))
    'array([[1., 0.], [0., 1.]])'
    """
    line = " ".join(repr(value).split())
    return line if len(line) <= 80 else line[:79] + "…"


def choose(what: str, given: Any, known: Iterable[str], error: type[Exception] = ValueError) -> str:
    """`given` if it is one of the `known` names; otherwise an error that says which name is meant.

    Parameters
    ----------
    what : str
        What the name is the name of, for the sentence: "task", "data set".
    given : any
    known : names
        In the order in which the sentence lists them.
    error : class, default ValueError

    Examples
    --------
    >>> choose("solver", "frank-wolfe", ["active-set", "frank-wolfe"])
    'frank-wolfe'
    >>> choose("solver", "frankwolfe", ["active-set", "frank-wolfe"])
    Traceback (most recent call last):
    ValueError: unknown solver 'frankwolfe': did you mean 'frank-wolfe'?
    """
    known = list(known)
    if isinstance(given, str) and given in known:
        return given
    raise error(f"unknown {what} {shown(given)}: {did_you_mean(given, known)}")


def did_you_mean(given: Any, known: Iterable[str], otherwise: str | None = None) -> str:
    """The second half of a refusal: the known name that `given` is nearly, else `otherwise` or all the names.

    >>> did_you_mean("WETHER", ["weather", "penguins"])
    "did you mean 'weather'?"
    >>> did_you_mean("cifar", ["weather", "penguins", "attributes"])
    "use 'weather', 'penguins' or 'attributes'"
    """
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(given).lower(), folded, n=1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return otherwise or f"use {listed(folded.values())}"


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["a", "b", "c"])
    "'a', 'b' or 'c'"
    """
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}" if first else last


def whole_number(what: str, given: Any, low: int, high: int | None = None, error: type[Exception] = ValueError) -> int:
    """`given` as an int if it is a whole number from `low` to `high`; otherwise an error that names it.

    >>> whole_number("offset", 4, 0, 8)
    4
    >>> whole_number("seeds", 2.5, 1)
    Traceback (most recent call last):
    ValueError: seeds is 2.5: give a whole number of at least 1
    """
    wanted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    is_whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not is_whole or given < low or (high is not None and given > high):
        raise error(f"{what} is {shown(given)}: give {wanted}")
    return int(given)


def require(what: str, given: Any, kind: Any, wanted: str) -> None:
    """A TypeError unless `given` is an instance of `kind`, a class or several.

    >>> require("data", [1.0], dict, "a MultiTaskData, such as tinymtl.data.load('weather')")
    Traceback (most recent call last):
    TypeError: data is a list: give a MultiTaskData, such as tinymtl.data.load('weather')
    """
    if not isinstance(given, kind):
        is_what = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise TypeError(f"{what} is {is_what}: give {wanted}")


def random_generator(rng: Any, what: str = "rng") -> np.random.Generator:
    """The generator that `rng` is, or the one that starts from it: a whole number of at least 0.

    Whatever else NumPy makes generators of is taken too: a bit generator, a seed sequence, a RandomState, a list of
    whole numbers, None for one that nobody can repeat.

    >>> float(random_generator(3).random()) == float(np.random.default_rng(3).random())
    True
    >>> random_generator("a")
    Traceback (most recent call last):
    TypeError: rng is a str: give a whole number of at least 0, or a numpy.random.Generator
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        return np.random.default_rng(whole_number(what, rng, 0))
    if isinstance(rng, list | tuple) or type(rng) is np.ndarray:
        return np.random.default_rng([whole_number(what, number, 0) for number in rng])
    known = (type(None), np.random.BitGenerator, np.random.SeedSequence, np.random.RandomState)
    # not whatever default_rng takes: NumPy 2.4 ends the whole process for a np.matrix
    require(what, rng, known, "a whole number of at least 0, or a numpy.random.Generator")
    return np.random.default_rng(rng)
