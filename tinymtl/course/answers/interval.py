"""The 95 % confidence interval of a mean paired difference, and what may be said from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Reply
from tinymtl.course.marking import close
from tinymtl.ties import exceeds

Rng = np.random.Generator
Array = np.ndarray[Any, Any]

#: The 0.975 quantile of Student's t by degrees of freedom, 1 … 30; the notebook hands out the same table.
T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


def paired_interval(a: Array, b: Array) -> tuple[float, float]:
    """Mean of a − b and the half width of its 95 % interval, for runs that share a seed at each position.

    >>> mean, half_width = paired_interval(np.array([0.02, -0.01, 0.03, 0.01, 0.0]), np.zeros(5))
    >>> round(mean, 3), round(half_width, 4)
    (0.01, 0.0196)
    """
    difference = np.asarray(a) - np.asarray(b)
    n = len(difference)
    t = T_975[n - 2] if n - 2 < len(T_975) else 1.96  # beyond 31 pairs a log's evidence is near the normal
    return float(difference.mean()), float(t * difference.std(ddof=1) / n**0.5)


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
        cases.append(Case("paired_interval", (by_seed + rng.normal(0.01, 0.01, size=n), by_seed)))
    return cases


def _item(number: int) -> Callable[[list[Case], list[Reply], list[Reply]], bool]:
    return lambda cases, replies, expected: all(
        isinstance(reply.value, list) and len(reply.value) == 2 and close(reply.value[number], right.value[number])
        for reply, right in zip(replies, expected, strict=True)
    )


def _verdicts(rng: Rng) -> list[Case]:
    cases = []
    for sign in (1, -1):
        mean = float(sign * rng.uniform(0.01, 0.02))
        cases += [Case("verdict", (mean, abs(mean) * factor)) for factor in (0.5, 0.9, 1.1, 3.0)]
    return cases


def _interval(
    spread: Callable[[Array, Array], float], t: Callable[[int], float]
) -> Callable[[Array, Array], tuple[float, float]]:
    return lambda a, b: (float((a - b).mean()), float(t(len(a)) * spread(a, b)))


def _standard_error(a: Array, b: Array) -> float:
    return float((a - b).std(ddof=1) / len(a) ** 0.5)


def _student(n: int) -> float:
    return T_975[n - 2]


INTERVAL = Question(
    "interval",
    "The interval of a paired difference",
    "the pair (mean difference, half width), and for verdict one of the three sentences",
    (
        Property("the mean difference", 1, _pairs, _item(0)),
        Property("the half width of the interval", 3, _pairs, _item(1)),
        Property("the verdict, on both sides of zero", 1, _verdicts),
    ),
    {"paired_interval": paired_interval, "verdict": verdict},
    (
        Mistake(
            "the interval is for two independent samples: pair the runs by seed and use the differences",
            "paired_interval",
            _interval(lambda a, b: float(((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5), _student),
        ),
        Mistake(
            "1.96 is for very many pairs: with a few, use Student's t",
            "paired_interval",
            _interval(_standard_error, lambda n: 1.96),
        ),
        Mistake(
            "the standard deviation divides by n; estimated from a sample it divides by n − 1",
            "paired_interval",
            _interval(lambda a, b: float((a - b).std() / len(a) ** 0.5), _student),
        ),
        Mistake(
            "this is the spread of single runs: the mean of n pairs is √n times as certain",
            "paired_interval",
            _interval(lambda a, b: float((a - b).std(ddof=1)), _student),
        ),
        Mistake(
            "the factor t is missing: this is one standard error",
            "paired_interval",
            _interval(_standard_error, lambda n: 1.0),
        ),
        Mistake(
            "t is taken for n degrees of freedom: n pairs leave n − 1",
            "paired_interval",
            _interval(_standard_error, lambda n: T_975[n - 1]),
        ),
        Mistake(
            "this is the whole width: half of it is asked for",
            "paired_interval",
            _interval(_standard_error, lambda n: 2 * _student(n)),
        ),
        Mistake("the difference is b − a: a − b is asked for", "paired_interval", lambda a, b: paired_interval(b, a)),
        Mistake(
            "only one direction is looked at", "verdict", lambda m, h: "a is higher" if m > h else "no difference shown"
        ),
        Mistake("a and b are exchanged", "verdict", lambda m, h: verdict(-m, h)),
        Mistake(
            "the interval is not looked at: the larger mean wins",
            "verdict",
            lambda m, h: "a is higher" if m > 0 else "b is higher",
        ),
    ),
)
