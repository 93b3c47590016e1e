"""How sure one can be of a mean over a few seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tinymtl.arrays import as_doubles
from tinymtl.ties import exceeds


def defined_mean(values: Any, axis: int = 0) -> Any:
    """The mean of the numbers that are defined; NaN if there are none.

    >>> defined_mean([[1.0, float("nan")], [3.0, float("nan")]]).tolist()
    [2.0, nan]
    """
    values = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values)
    total, count = np.where(there, values, 0.0).sum(axis=axis), there.sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class Interval(NamedTuple):
    """A mean and the half-width of its 95 % confidence interval; the half-width is None for a single value."""

    mean: float
    half_width: float | None

    @property
    def holds_zero(self) -> bool:
        """Whether the data leave open which sign the mean has: always so for a single value."""
        return self.half_width is None or not exceeds(abs(self.mean), self.half_width)


@cache
def t_quantile(degrees_of_freedom: int, confidence: float = 0.95) -> float:
    """The t with P(|T| ≤ t) = confidence for Student's distribution.

    With T = √ν·tan φ the probability is 2c·∫₀^φ cos^(ν−1), c = Γ((ν+1)/2) / (√π Γ(ν/2)): integrated by Simpson's
    rule and solved for φ by bisection.

    >>> [round(t_quantile(n), 3) for n in (1, 2, 4, 30)]
    [12.706, 4.303, 2.776, 2.042]
    """
    nu = degrees_of_freedom
    if nu < 1:
        raise ValueError(f"Student's t needs at least one degree of freedom, got {nu}")
    scale = 2 * math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(math.pi)
    simpson = np.array([1.0, *([4.0, 2.0] * 999), 4.0, 1.0]) / 6000  # 2000 intervals on 0 … 1

    def probability(phi: float) -> float:
        return scale * phi * float(simpson @ np.cos(np.linspace(0, phi, 2001)) ** (nu - 1))

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return math.sqrt(nu) * math.tan(low)


def mean_interval(values: Sequence[float] | Any) -> Interval:
    """The mean of n values with its 95 % confidence interval, mean ± t·s/√n.

    The values are taken as independent draws of one normal distribution. For a comparison of two strategies give
    the differences, seed by seed: what a seed does to both then cancels.

    Examples
    --------
    >>> found = mean_interval([0.02, -0.01, 0.03, 0.01, 0.0])
    >>> round(found.mean, 4), round(found.half_width, 4), found.holds_zero
    (0.01, 0.0196, True)
    """
    x = as_doubles(values, "the array of values")
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"a mean is taken over a list of numbers, got shape {x.shape}")
    if x.size == 1:
        return Interval(float(x[0]), None)
    return Interval(float(x.mean()), t_quantile(x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size))
