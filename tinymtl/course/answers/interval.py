"""The 95 % confidence interval of a mean paired difference, and what may be said from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Reply
from tinymtl.course.marking import close
from tinymtl.lab.statistics import t_quantile
from tinymtl.ties import exceeds

Rng = np.random.Generator
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
    return t_975(n - 1)


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
            _interval(_standard_error, t_975),
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
