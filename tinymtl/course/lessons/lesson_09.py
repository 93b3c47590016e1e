"""Checks of lesson 9: a fair comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinymtl.course.lessons.checks import Check, choice, function, numbers
from tinymtl.ties import first_largest

Row = Mapping[str, Any]
Log = list[Row]


def _log(metrics: Mapping[tuple[str, float, str], Sequence[float]]) -> Log:
    """A run log: a row for each method, learning rate and split, and each seed."""
    return [
        {"method": method, "lr": lr, "split": split, "seed": seed, "metric": metric}
        for (method, lr, split), found in metrics.items()
        for seed, metric in enumerate(found)
    ]


LOGS = (
    _log(
        {
            # one lucky seed at 0.001; the best on test is another one still; each method has a best of its own
            ("a", 0.001, "validation"): (0.99, 0.50, 0.52),
            ("a", 0.01, "validation"): (0.80, 0.78, 0.79),
            ("a", 0.1, "validation"): (0.70, 0.71, 0.72),
            ("b", 0.001, "validation"): (0.50, 0.51, 0.52),
            ("b", 0.01, "validation"): (0.70, 0.71, 0.69),
            ("b", 0.1, "validation"): (0.82, 0.60, 0.80),
            ("a", 0.1, "test"): (0.95, 0.96, 0.97),
            ("b", 0.001, "test"): (0.95, 0.96, 0.97),
        }
    ),
    _log(
        {
            ("averaged", 0.003, "validation"): (0.71, 0.72),
            ("averaged", 0.03, "validation"): (0.74, 0.70),
            ("averaged", 0.003, "test"): (0.60, 0.61),
            ("averaged", 0.03, "test"): (0.62, 0.63),
        }
    ),
)


def _best(log: Log, score: Callable[[Sequence[float]], Any]) -> dict[str, float]:
    """For each method, the learning rate whose metrics have the largest `score`; of equal ones, the first tried."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in log:
        found.setdefault(row["method"], {}).setdefault(row["lr"], []).append(row["metric"])
    best = {method: first_largest([score(metrics) for metrics in rates.values()]) for method, rates in found.items()}
    return {method: list(rates)[best[method]] for method, rates in found.items()}


def _on(log: Log, split: str) -> Log:
    return [row for row in log if row["split"] == split]


def _one_for_all(log: Log) -> dict[str, float]:
    (rate,) = _best([{**row, "method": "all"} for row in _on(log, "validation")], np.mean).values()
    return dict.fromkeys((row["method"] for row in log), rate)


CHECKS: dict[str, Check] = {
    "09.interval": numbers(
        (0.010, 0.0158, 0.0196),
        praise="mean 0.010, s = 0.0158, half-width 2.776 · 0.0158 / √5 = 0.0196",
        look="s² is the sum of the squared deviations from the mean, divided by n − 1; the half-width is t·s/√n",
        mistakes={
            "s is divided by n; the mean was computed from the same five numbers, so divide by n − 1 = 4": (
                0.010,
                0.01414,
                0.01756,
            ),
            "1.96 belongs to a known s; with five differences t is 2.776": (0.010, 0.01581, 0.01386),
            "s is right; the mean of n differences scatters less than one of them, by √n": (0.010, 0.01581, 0.0439),
            "s is a root: this is s², 0.00025": (0.010, 0.00025, 0.00031),
        },
        tolerance=1e-2,
    ),
    "09.verdict": choice(
        "no difference shown",
        praise="0 is inside, so are 0.02 and −0.005: the data do not say which",
        mistakes={
            "the mean is above 0, but the interval goes down to −0.010: other seeds may well say the opposite": (
                "b is better"
            ),
            "the interval holds 0, and it also holds 0.03: not to see a difference is not to see that there is none": (
                "they are equal"
            ),
        },
    ),
    "09.choose": function(
        lambda log: _best(_on(log, "validation"), np.mean),
        [(log,) for log in LOGS],
        praise="for every method the learning rate with the best mean over the seeds, on validation alone",
        look="return a dictionary {method: learning rate}",
        mistakes={
            "the test rows had a part in it: they are for the end, when everything is chosen": (
                lambda log: _best(log, np.mean)
            ),
            "you chose on test: then test is no longer a test": lambda log: _best(_on(log, "test"), np.mean),
            "the best single run is mostly luck: take the mean over the seeds first": (
                lambda log: _best(_on(log, "validation"), max)
            ),
            "each method has a best learning rate of its own": _one_for_all,
        },
    ),
}
