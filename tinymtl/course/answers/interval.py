"""The 95 % confidence interval of a mean paired difference, and what may be said from it. Lesson 9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Mistake, Part, Question, Rng, variables
from tinymtl.lab.statistics import t_quantile
from tinymtl.ties import exceeds

Array = np.ndarray[Any, Any]

TABLE = 1e-4  # the four digits of the table: the exact t is as right, and that of n degrees of freedom is far off


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


def _verdicts(rng: Rng) -> list[Case]:
    cases = []
    for sign in (1, -1):
        for factor in (0.3, 0.7, 0.95, 1.05, 1.6, 3.0):
            mean = float(sign * rng.uniform(0.01, 0.02))
            cases.append(Case("verdict", (mean, abs(mean) * factor)))
    return [cases[i] for i in rng.permutation(len(cases))]


def _interval(spread: Callable[[Array, Array], float], t: Callable[[int], float]) -> Callable[[Array, Array], Any]:
    return lambda a, b: (float((a - b).mean()), float(t(len(a)) * spread(a, b)))


def _standard_error(a: Array, b: Array) -> float:
    return float((a - b).std(ddof=1) / len(a) ** 0.5)


def _student(n: int) -> float:
    return t_975(n - 1)


def _welch(a: Array, b: Array) -> float:
    return float(((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5)


def _of_n(a: Array, b: Array) -> float:
    return float((a - b).std() / len(a) ** 0.5)


def _single(a: Array, b: Array) -> float:
    return float((a - b).std(ddof=1))


_HALF_WIDTHS: dict[str, list[Callable[[Array, Array], Any]]] = {
    "the interval is for two independent samples: pair the runs by seed and use the differences": [
        _interval(_welch, _student),
        _interval(_welch, lambda n: t_975(2 * n - 2)),
        _interval(_welch, lambda n: 1.96),
    ],
    "1.96 is for very many pairs: with a few, use Student's t": [
        _interval(_standard_error, lambda n: 1.96),
        _interval(_standard_error, lambda n: 2.0),
    ],
    "the standard deviation divides by n; estimated from a sample it divides by n − 1 (ddof=1)": [
        _interval(_of_n, _student)
    ],
    "the standard deviation divides by n, and 1.96 is for very many pairs": [_interval(_of_n, lambda n: 1.96)],
    "this is the spread of single runs: the mean of n pairs is √n times as certain": [
        _interval(_single, _student),
        _interval(lambda a, b: float((a - b).std()), _student),
        _interval(_single, lambda n: 1.96),
    ],
    "the standard deviation is divided by n, not by √n": [_interval(lambda a, b: _single(a, b) / len(a), _student)],
    "the standard deviation is divided by √(n − 1): it already knows that the mean was estimated": [
        _interval(lambda a, b: _single(a, b) / (len(a) - 1) ** 0.5, _student)
    ],
    "the factor t is missing: this is one standard error": [
        _interval(_standard_error, lambda n: 1.0),
        _interval(_of_n, lambda n: 1.0),
    ],
    "this is the standard deviation alone: t and √n are missing": [_interval(_single, lambda n: 1.0)],
    "t is taken for n degrees of freedom: n pairs leave n − 1": [_interval(_standard_error, t_975)],
    "t is taken for n − 2 degrees of freedom: n pairs leave n − 1": [
        _interval(_standard_error, lambda n: t_975(n - 2))
    ],
    "t is always that of five pairs: it depends on n": [_interval(_standard_error, lambda n: t_975(4))],
    "this is the whole width: half of it is asked for": [_interval(_standard_error, lambda n: 2 * _student(n))],
    "this is the variance: the root is missing": [
        _interval(lambda a, b: float((a - b).var(ddof=1) / len(a) ** 0.5), _student),
        _interval(lambda a, b: float((a - b).var(ddof=1) / len(a)), _student),
    ],
    "these are the two ends of the interval; mean and half width are asked for": [
        lambda a, b: (paired_interval(a, b)[0] - paired_interval(a, b)[1], sum(paired_interval(a, b)))
    ],
    "this is the spread of one method's metrics: that of the differences is asked for": [
        _interval(lambda a, b: float(a.std(ddof=1) / len(a) ** 0.5), _student),
        _interval(lambda a, b: float(b.std(ddof=1) / len(b) ** 0.5), _student),
    ],
    "the half width is negative": [lambda a, b: (paired_interval(a, b)[0], -paired_interval(a, b)[1])],
    "the upper end of the interval: its distance from the mean is asked for": [
        lambda a, b: (paired_interval(a, b)[0], sum(paired_interval(a, b)))
    ],
    "the differences are taken without their sign": [
        _interval(lambda a, b: float(np.abs(a - b).std(ddof=1) / len(a) ** 0.5), _student)
    ],
}
_MEANS: dict[str, Callable[[Array, Array], Any]] = {
    "the difference is b − a: a − b is asked for": lambda a, b: paired_interval(b, a),
    "this is the median of the differences: their mean is asked for": lambda a, b: (
        float(np.median(a - b)),
        paired_interval(a, b)[1],
    ),
    "this is the sum of the differences: divide by n": lambda a, b: (float((a - b).sum()), paired_interval(a, b)[1]),
    "this divides by n − 1: a mean divides by n": lambda a, b: (
        float((a - b).sum() / (len(a) - 1)),
        paired_interval(a, b)[1],
    ),
    "the differences are taken without their sign": lambda a, b: (
        float(np.abs(a - b).mean()),
        paired_interval(a, b)[1],
    ),
    "this is the mean of a alone: that of a − b is asked for": lambda a, b: (float(a.mean()), paired_interval(a, b)[1]),
    "this is the lower end of the interval: the mean is asked for": lambda a, b: (
        paired_interval(a, b)[0] - paired_interval(a, b)[1],
        paired_interval(a, b)[1],
    ),
    "mean and half width are exchanged": lambda a, b: paired_interval(a, b)[::-1],
    "this is a ratio of means: a difference is asked for": lambda a, b: (
        float(a.mean() / b.mean() - 1),
        paired_interval(a, b)[1],
    ),
}
_SAID: dict[str, Callable[[float, float], str]] = {
    "only one direction is looked at": lambda m, h: "a is higher" if m > h else "no difference shown",
    "only the other direction is looked at": lambda m, h: "b is higher" if m < -h else "no difference shown",
    "a and b are exchanged": lambda m, h: verdict(-m, h),
    "the interval is not looked at: the larger mean wins": lambda m, h: "a is higher" if m > 0 else "b is higher",
    "no difference is shown whatever the numbers are": lambda m, h: "no difference shown",
    "the sign of the mean is lost: where b is higher this says a": lambda m, h: (
        "a is higher" if abs(m) > h else "no difference shown"
    ),
    "the other way round: a difference is shown when the interval does *not* contain 0": lambda m, h: (
        "no difference shown" if abs(m) > h else "a is higher" if m > 0 else "b is higher"
    ),
    "half of the half width is looked at": lambda m, h: verdict(m, h / 2),
    "twice the half width is looked at": lambda m, h: verdict(m, 2 * h),
    "a mean below 0 is always called a difference: the lower end is not looked at": lambda m, h: (
        "a is higher" if m > h else "b is higher" if m < 0 else "no difference shown"
    ),
    "a mean above 0 is always called a difference: the upper end is not looked at": lambda m, h: (
        "b is higher" if m < -h else "a is higher" if m > 0 else "no difference shown"
    ),
}

INTERVAL = Question(
    "interval",
    "The interval of a paired difference",
    "the pair (mean difference, half width), and for verdict one of the three sentences",
    (
        Part("the mean difference", _pairs, 1, item=0),
        Part("the half width of the interval", _pairs, 3, item=1, tolerance=TABLE),
        Part("the verdict, on both sides of zero", _verdicts, 1),
    ),
    {"paired_interval": paired_interval, "verdict": verdict},
    (
        *(Mistake(hint, "paired_interval", model) for hint, models in _HALF_WIDTHS.items() for model in models),
        *(Mistake(hint, "paired_interval", model) for hint, model in _MEANS.items()),
        *(Mistake(hint, "verdict", model) for hint, model in _SAID.items()),
    ),
)


# ------------------------------------------------------------ lesson 9

_BY_HAND = variables(
    "09.interval",
    {"mean": "0.05 / 5", "s": "(0.0010 / 4) ** (1 / 2)", "half_width": "2.776 * s / 5 ** (1 / 2)"},
    {
        "mean": {
            "this is the sum: divide it by 5": 0.05,
            "a mean divides by n = 5; it is s² that divides by n − 1": 0.0125,
            "one of the five is negative": [0.014, 0.012],
        },
        "s": {
            "s² is divided by n; the mean was computed from the same five numbers, so divide by n − 1 = 4": [
                "0.0002 ** 0.5",
            ],
            "s is a root: this is s²": [0.00025, 0.0002],
            "the differences were not taken from their mean: subtract 0.010 first": [
                "(0.0015 / 4) ** 0.5",
                "(0.0015 / 5) ** 0.5",
            ],
            "divide by n − 1 before the root is taken": "0.0010 ** 0.5",
            "this is the mean distance from the mean, without squares": [0.012, 0.015],
        },
        "half_width": {
            "1.96 belongs to a known s; with five differences t is 2.776": "1.96 * s / 5 ** 0.5",
            "the mean of n differences scatters less than one of them, by √n": "2.776 * s",
            "divide by √5, not by √4: the n − 1 is already in s": "2.776 * s / 2",
            "divide by √5, not by 5": "2.776 * s / 5",
            "this is the whole width: half of it was asked for": "2 * 2.776 * s / 5 ** 0.5",
            "the factor t is missing: this is one standard error": "s / 5 ** 0.5",
            "2.571 is t for five degrees of freedom: five differences leave four": "2.571 * s / 5 ** 0.5",
            "2.132 is t of a 90 % interval": "2.132 * s / 5 ** 0.5",
            "this is the upper end of the interval; its distance from the mean counts": "mean + 2.776 * s / 5 ** 0.5",
        },
    },
    tolerance=5e-3,
    hints=(
        "how far do the five scatter around their mean, and how far does their *mean* scatter?",
        "s² is the sum of the squared deviations from the mean, divided by n − 1; the half-width is t·s/√n",
        "the squared deviations are 0.0001, 0.0004, 0.0004, 0 and 0.0001; half_width = 2.776·s/√5",
    ),
    praise="mean 0.010, s = 0.0158, half-width 2.776 · 0.0158 / √5 = 0.0196",
)

_VERDICT = variables(
    "09.verdict",
    {"verdict": "'no difference shown'"},
    {
        "verdict": {
            "the mean is above 0, but the interval goes down to −0.0096: other seeds may well say the opposite": (
                "'b is better'"
            ),
            "the interval holds 0, but it also holds 0.029: not to see a difference is not to see that there is none": (
                "'they are equal'"
            ),
        }
    },
    praise="0 is inside, so are 0.02 and −0.005: the data do not say which",
)

LESSONS = (_BY_HAND, _VERDICT)
