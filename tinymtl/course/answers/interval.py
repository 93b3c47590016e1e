"""The 95 % confidence interval of a mean paired difference, and what may be said from it. Lesson 9."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.course.question import Case, Rng
from tinymtl.course.topic import questions
from tinymtl.lab.statistics import t_quantile
from tinymtl.ties import exceeds

Array = np.ndarray[Any, Any]


def paired_interval(a: Array, b: Array) -> tuple[float, float]:
    """Mean of a − b and the half width of its 95 % interval, for runs that share a seed at each position.

    >>> mean, half_width = paired_interval(np.array([0.02, -0.01, 0.03, 0.01, 0.0]), np.zeros(5))
    >>> round(mean, 3), round(half_width, 4)
    (0.01, 0.0196)
    """
    difference = np.asarray(a) - np.asarray(b)
    n = len(difference)
    return float(difference.mean()), float(t_975(n - 1) * difference.std(ddof=1) / n**0.5)


def t_975(degrees_of_freedom: int) -> float:
    """The 0.975 quantile of Student's t with four digits, as the notebook's table has it for 1 … 30."""
    return round(t_quantile(degrees_of_freedom), 4)


def verdict(mean: float, half_width: float) -> str:
    """What the interval allows to say about a and b."""
    if not exceeds(abs(mean), half_width):
        return "no difference shown"
    return "a is higher" if mean > 0 else "b is higher"


def _pairs(rng: Rng) -> list[Case]:
    """Metrics of 5 to 12 seeds: the seed moves both methods more than the methods differ."""
    cases = []
    for n in (5, 6, 8, 12):
        by_seed = rng.normal(0.8, 0.05, size=n)
        difference = np.zeros(n)
        while difference.min() > -0.002 or difference.mean() < 0.002:  # a few have the other sign
            difference = rng.normal(0.01, 0.01, size=n)
        other = by_seed + difference
        cases.append(Case("paired_interval", (by_seed, other) if n % 4 else (other, by_seed)))  # a is higher twice
    return cases


def _verdicts(rng: Rng) -> list[Case]:
    cases = []
    for sign in (1, -1):
        for factor in (0.3, 0.7, 0.95, 1.05, 1.6, 3.0):
            mean = float(sign * rng.uniform(0.01, 0.02))
            cases.append(Case("verdict", (mean, abs(mean) * factor)))
    return [cases[i] for i in rng.permutation(len(cases))]


def _interval(spread: float, t: float, a: Array, b: Array) -> tuple[float, float]:
    return float((a - b).mean()), float(t * spread)


def _standard_error(a: Array, b: Array, ddof: int = 1) -> float:
    return float((a - b).std(ddof=ddof) / len(a) ** 0.5)


def _welch(a: Array, b: Array) -> float:
    return float(((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5)


QUESTIONS = questions(__file__, globals())
