"""The run log of a small comparison: what it must look like, whether the comparison is fair, and its figure.

A log is a list of rows, one per training run and split:

    {"method": str, "seed": int, "split": "validation" or "test", "lr": float,
     "minibatches": int, "trunk_passes": int, "metric": float from 0 to 1}

"validation" rows are the runs over the grid of learning rates; "test" rows the final runs at the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np

from tinymtl.course.answers.interval import paired_interval, verdict
from tinymtl.course.assignment import Case, Property, Question, Reply
from tinymtl.course.marking import close
from tinymtl.ties import exceeds, nudged

Rng = np.random.Generator
Row = dict[str, Any]

COLUMNS: dict[str, Callable[[Any], bool]] = {
    "method": lambda value: isinstance(value, str) and bool(value.strip()),
    "seed": lambda value: type(value) is int,
    "split": lambda value: value in ("validation", "test"),
    "lr": lambda value: isinstance(value, float) and 0 < value < float("inf"),
    "minibatches": lambda value: type(value) is int and value > 0,
    "trunk_passes": lambda value: type(value) is int and value > 0,
    "metric": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1,
}
LONGEST = 5000  # rows


def well_formed(log: Any) -> TypeGuard[list[Row]]:
    """Whether `log` is a list of rows with exactly these columns, of at least two methods and both splits."""
    return (
        isinstance(log, list)
        and 0 < len(log) <= LONGEST
        and all(
            isinstance(row, dict)
            and row.keys() == COLUMNS.keys()
            and all(fits(row[name]) for name, fits in COLUMNS.items())
            for row in log
        )
        and len({row["method"] for row in log}) >= 2
        and all(
            {row["method"] for row in log if row["split"] == split} == {row["method"] for row in log}
            for split in ("validation", "test")
        )
    )


def _by_method(log: list[Row], split: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in log:
        if row["split"] == split:
            found.setdefault(row["method"], []).append(row)
    return found


def equal_budget(log: list[Row]) -> bool:
    """Every run of every method got the same number of minibatches."""
    return len({row["minibatches"] for row in log}) == 1


def same_grid(log: list[Row]) -> bool:
    """Every method was tried at the same learning rates, two or more, with the same seeds, each once."""
    tried = [sorted((row["lr"], row["seed"]) for row in rows) for rows in _by_method(log, "validation").values()]
    return (
        all(runs == tried[0] for runs in tried)
        and len(set(tried[0])) == len(tried[0])
        and len({lr for lr, _ in tried[0]}) >= 2
    )


def paired_seeds(log: list[Row]) -> bool:
    """Every method's final runs have the same seeds, five or more, each once."""
    seeds = [sorted(row["seed"] for row in rows) for rows in _by_method(log, "test").values()]
    return all(used == seeds[0] for used in seeds) and len(set(seeds[0])) == len(seeds[0]) >= 5


def chosen_on_validation(log: list[Row]) -> bool:
    """Every method's final runs are at one learning rate: the one with the best mean on validation."""
    final = _by_method(log, "test")
    for method, rows in _by_method(log, "validation").items():
        metrics: dict[float, list[float]] = {}
        for row in rows:
            metrics.setdefault(row["lr"], []).append(row["metric"])
        means = {lr: float(np.mean(values)) for lr, values in metrics.items()}
        used = {row["lr"] for row in final[method]}
        if len(used) != 1 or exceeds(max(means.values()), means.get(used.pop(), -1.0)):
            return False
    return True


def _logged(rule: Callable[[list[Row]], bool]) -> Callable[[list[Case], list[Reply], list[Reply]], bool]:
    return lambda cases, replies, expected: well_formed(replies[0].value) and rule(replies[0].value)


def _saved_log(rng: Rng) -> list[Case]:
    return [Case("run_log", saved=True)]


LOG = Question(
    "log",
    "The run log: equal budget, paired seeds",
    "a list of rows with exactly the seven columns of the table, for at least two methods and both splits",
    (
        Property("the same number of minibatches in every run", 2, _saved_log, _logged(equal_budget)),
        Property("the same grid of two or more learning rates for every method", 1, _saved_log, _logged(same_grid)),
        Property("the same five or more seeds for every method's final runs", 2, _saved_log, _logged(paired_seeds)),
        Property("learning rates chosen on validation, reported on test", 1, _saved_log, _logged(chosen_on_validation)),
    ),
    {"run_log": []},
)


# The figure, described by the function that draws it


def figure_data(log: list[Row]) -> dict[str, Any]:
    """What the figure shows: labels, and every number in it."""
    final = _by_method(log, "test")
    methods = sorted(final)
    metrics = {
        method: [row["metric"] for row in sorted(final[method], key=lambda row: row["seed"])] for method in methods
    }
    difference, half_width = paired_interval(np.array(metrics[methods[0]]), np.array(metrics[methods[1]]))
    return {
        "title": "",
        "x_label": "",
        "y_label": "",
        "methods": methods,
        "means": [float(np.mean(metrics[method])) for method in methods],
        "pairs": len(metrics[methods[0]]),
        "difference": difference,
        "half_width": half_width,
    }


def _example_log(rng: Rng, pairs: int) -> list[Row]:
    """A log of two methods whose rows are in no order, as rows of a real one may be."""
    rows = []
    for method, level, lr in (("mgda-ub", 0.80, 0.01), ("averaged", 0.81, 0.003)):
        for seed in range(pairs):
            base = {"method": method, "minibatches": 400, "trunk_passes": 400}
            rows.append(
                {**base, "seed": seed, "split": "test", "lr": lr, "metric": level + 0.02 * float(rng.uniform(-1, 1))}
            )
        for other in (0.003, 0.01):
            rows.append(
                {**base, "seed": 100, "split": "validation", "lr": other, "metric": float(rng.uniform(0.5, 0.9))}
            )
    return [rows[i] for i in rng.permutation(len(rows))]


def _figures(rng: Rng) -> list[Case]:
    return [Case("figure_data", (_example_log(rng, pairs),)) for pairs in (5, 8)]


def _has_labels(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    def text(value: Any) -> bool:
        return isinstance(value, str) and len(value.strip()) >= 3

    return all(
        isinstance(reply.value, dict)
        and all(text(reply.value.get(name)) for name in ("title", "x_label", "y_label"))
        and "(" in reply.value["y_label"].rstrip(")")
        and reply.value["y_label"].rstrip().endswith(")")
        for reply in replies
    )


def _shows(*names: str) -> Callable[[list[Case], list[Reply], list[Reply]], bool]:
    return lambda cases, replies, expected: all(
        isinstance(reply.value, dict)
        and all(name in reply.value and close(reply.value[name], right.value[name]) for name in names)
        for reply, right in zip(replies, expected, strict=True)
    )


def _with(**changes: Callable[[list[Row], dict[str, Any]], Any]) -> Callable[[list[Row]], dict[str, Any]]:
    """The right figure with some of its numbers made another way."""

    def model(log: list[Row]) -> dict[str, Any]:
        figure = figure_data(log)
        return {**figure, **{name: make(log, figure) for name, make in changes.items()}}

    return model


FIGURE = Question(
    "figure",
    "The figure, as plain values",
    "a dict with the keys title, x_label, y_label, methods, means, pairs, difference and half_width",
    (
        Property("a title and two axis labels, the metric's with its unit in brackets", 1, _figures, _has_labels),
        Property(
            "methods, their mean test metrics and the number of pairs", 1, _figures, _shows("methods", "means", "pairs")
        ),
        Property(
            "the mean paired difference and the half width of its interval",
            1,
            _figures,
            _shows("difference", "half_width"),
        ),
    ),
    {"figure_data": figure_data},
)


def evidence(replies: list[list[list[Reply]]]) -> dict[str, Any]:
    """The student's own study in numbers, beside the written questions: per pair of methods the interval.

    `replies` are those of the assignment's questions; the log's is the first one's.
    """
    log = replies[0][0][0].value if replies else None
    if not well_formed(log) or not paired_seeds(log):
        return {"comparison": "the run log has no paired final runs to compare"}
    final = _by_method(log, "test")
    methods = sorted(final)
    metrics = {m: np.array([row["metric"] for row in sorted(final[m], key=lambda row: row["seed"])]) for m in methods}
    found: dict[str, Any] = {
        "pairs": len(metrics[methods[0]]),
        "mean": {m: round(nudged(float(metrics[m].mean())), 6) for m in methods},
    }
    for other in methods[1:]:
        difference, half_width = paired_interval(metrics[methods[0]], metrics[other])
        found[f"{methods[0]} minus {other}"] = {
            "difference": round(nudged(difference), 6),
            "half_width_95": round(nudged(half_width), 6),
            "includes_zero": verdict(difference, half_width) == "no difference shown",
        }
    return found
