"""What the strategies on a Gram matrix share: an answer with its certificate, cosines, and a word on zero gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tinymtl.backend import Array


class Solution(NamedTuple):
    """The weights that solve a strategy's problem, and how far they are from solving it exactly.

    Attributes
    ----------
    weights : (K,) float64 array on the host
    residual : float
        0.0 if they solve it exactly; each strategy says what it measures. NaN if there is no solution.
    """

    weights: Array
    residual: float


def cosines(G: Array) -> tuple[Array, Array]:
    """The gradients' lengths nₖ and C = [gᵢ·gⱼ / (nᵢnⱼ)], with ones on the diagonal also for a zero gradient.

    >>> cosines(np.array([[9.0, 0.0], [0.0, 0.0]]))
    (array([3., 0.]), array([[1., 0.],
           [0., 1.]]))
    """
    n = np.sqrt(G.diagonal())
    divisor = np.where(n > 0.0, n, 1.0)
    C = G / (divisor[:, None] * divisor)
    C.flat[:: len(C) + 1] = 1.0
    return n, C


def each_over(numerator: Array | float, n: Array) -> Array:
    """numerator / nₖ, and 0 for a gradient of length 0."""
    result: Array = np.where(n > 0.0, numerator, 0.0) / np.where(n > 0.0, n, 1.0)
    return result


def say(sentence: str) -> None:
    """A RuntimeWarning that points at the line that called the step; to be called from `weigh`."""
    warnings.warn(sentence, RuntimeWarning, stacklevel=6)


def listed(names: Iterable[str]) -> str:
    """Names of tasks as a sentence lists them: 'a', 'b' and 'c'."""
    *first, last = map(repr, names)
    return f"{', '.join(first)} and {last}" if first else last
