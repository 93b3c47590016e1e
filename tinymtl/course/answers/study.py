"""The run log of a small comparison: what it must look like, whether the comparison is fair, and its figure. Lesson 9.

A log is a list of rows, one per training run and split:

    {"method": str, "seed": int, "split": "validation" or "test", "lr": float,
     "minibatches": int, "trunk_passes": int, "metric": float from 0 to 1}

"validation" rows are the runs over the grid of learning rates; "test" rows the final runs at the chosen one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinymtl.course.answers.interval import paired_interval, t_975, verdict  # noqa: F401 (study.toml uses t_975)
from tinymtl.course.comparing import described
from tinymtl.course.question import Case, Problem, Reply, Rng
from tinymtl.course.topic import questions
from tinymtl.ties import exceeds, first_largest, first_smallest, nudged

Row = Mapping[str, Any]
Log = list[Row]


def _whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


#: For every column what it should be, and whether a value is.
COLUMNS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "method": ("a text", lambda value: isinstance(value, str) and bool(value.strip())),
    "seed": ("a whole number", _whole),
    "split": ('"validation" or "test"', lambda value: isinstance(value, str) and value in ("validation", "test")),
    "lr": ("a number above 0", lambda value: type(value) in (float, int) and 0 < value < float("inf")),
    "minibatches": ("a whole number above 0", lambda value: _whole(value) and value > 0),
    "trunk_passes": ("a whole number above 0", lambda value: _whole(value) and value > 0),
    "metric": ("a fraction from 0 to 1", lambda value: type(value) in (float, int) and 0 <= value <= 1),
}
LONGEST = 5000  # rows


def form_problem(log: Any) -> str:
    """What keeps `log` from being a list of rows with exactly these columns, of two methods or more and both splits.

    >>> form_problem([{"method": "a"}])
    "row 0 has no 'seed', 'split', 'lr', 'minibatches', 'trunk_passes', 'metric'"
    """
    if not isinstance(log, list):
        return f"the run log should be a list of rows; it is {described(log)}"
    if not log:
        return "the run log is empty: run the cell that fills it, and save the notebook with its output"
    if len(log) > LONGEST:
        return f"the run log has {len(log)} rows, more than {LONGEST}"
    for number, row in enumerate(log):
        if not isinstance(row, dict):
            return f"row {number} should be a dict, as train gives it back"
        if missing := [name for name in COLUMNS if name not in row]:
            return f"row {number} has no {', '.join(map(repr, missing))}"
        if len(row) > len(COLUMNS):
            return f"row {number} has columns beside the seven of the table"
        for name, (wanted, fits) in COLUMNS.items():
            if not fits(row[name]):
                return f"the {name!r} of row {number} should be {wanted}; it is {row[name]!r:.30}"
    methods = {row["method"] for row in log}
    if len(methods) < 2:
        return "the run log has one method only: a comparison takes two"
    for split in ("validation", "test"):
        if absent := methods - {row["method"] for row in log if row["split"] == split}:
            return f"{_names(absent)}: no rows on {split!r}"
    return ""


def _names(values: Any) -> str:
    """Some values as text: what the notebook has on show may be repeated, but not at length."""
    text = ", ".join((f"{one:g}" if type(one) is float else str(one))[:30] for one in sorted(values)[:6])
    return text + (" …" if len(values) > 6 else "")


def _by_method(log: Sequence[Row], split: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in log:
        if row["split"] == split:
            found.setdefault(row["method"], []).append(row)
    return found


def _differing(found: Mapping[str, Any]) -> str:
    """The first two methods whose values differ, with these values."""
    first, *others = found
    other = next(method for method in others if found[method] != found[first])
    return f"{first[:30]} has {_names(found[first])} and {other[:30]} {_names(found[other])}"


def budget_problem(log: Log) -> str:
    """ "" if every run of every method got the same number of minibatches."""
    found = {row["minibatches"] for row in log}
    if len(found) == 1:
        return ""
    tuning, final = ({row["minibatches"] for row in log if row["split"] == s} for s in ("validation", "test"))
    if len(tuning) == len(final) == 1:
        return (
            f"the runs that choose the learning rate have {_names(tuning)} minibatches, the final ones {_names(final)}"
        )
    return f"the runs have {_names(found)} minibatches: one number for all is asked for"


def grid_problem(log: Log) -> str:
    """ "" if every method was tried at the same learning rates, two or more, with the same seeds, each once."""
    rows = _by_method(log, "validation")
    rates = {method: sorted({row["lr"] for row in runs}) for method, runs in rows.items()}
    tried = {method: Counter((row["lr"], row["seed"]) for row in runs) for method, runs in rows.items()}
    if len({tuple(found) for found in rates.values()}) > 1:
        return f"the learning rates differ: {_differing(rates)}"
    if len(next(iter(rates.values()))) < 2:
        return "only one learning rate is tried: a choice takes two"
    if any(max(runs.values()) > 1 for runs in tried.values()):
        return "a learning rate and a seed are tried twice: each combination once"
    if len({frozenset(runs) for runs in tried.values()}) > 1:
        return (
            "the methods are tuned with different seeds: each combination of learning rate and seed, for every method"
        )
    return ""


def seeds_problem(log: Log) -> str:
    """ "" if every method's final runs have the same seeds, five or more, each once."""
    seeds = {method: sorted(row["seed"] for row in rows) for method, rows in _by_method(log, "test").items()}
    if any(len(set(found)) < len(found) for found in seeds.values()):
        return "a method has two final runs of one seed"
    if len({tuple(found) for found in seeds.values()}) > 1:
        return f"the seeds of the final runs differ: {_differing(seeds)}"
    count = len(next(iter(seeds.values())))
    return "" if count >= 5 else f"five seeds or more are asked for, not {count}"


def choice_problem(log: Log) -> str:
    """ "" if every method's final runs are at one learning rate: one with the best mean on validation."""
    final = _by_method(log, "test")
    for method, rows in _by_method(log, "validation").items():
        metrics: dict[float, list[float]] = {}
        for row in rows:
            metrics.setdefault(row["lr"], []).append(row["metric"])
        means = {lr: float(np.mean(values)) for lr, values in metrics.items()}
        used = {row["lr"] for row in final[method]}
        if len(used) > 1:
            return f"{method[:30]} has final runs at {_names(used)}: one learning rate is chosen"
        (rate,) = used
        if rate not in means:
            return f"{method[:30]} was not tried at {rate} on validation, the learning rate of its final runs"
        if exceeds(max(means.values()), means[rate]):
            best = max(means, key=lambda lr: means[lr])
            return f"{method[:30]} has its best mean on validation at {best}, and its final runs are at {rate}"
    return ""


def _of_the_log(rule: Callable[[Log], str]) -> Problem:
    return lambda case, reply, right: form_problem(reply.value) or rule(reply.value)


def _saved_log(rng: Rng) -> list[Case]:
    return [Case("run_log", saved=True)]


# The figure, described by the function that draws it


def figure_data(log: Log) -> dict[str, Any]:
    """What the figure shows: labels, and every number in it."""
    final = _by_method(log, "test")
    methods = sorted(final)
    metrics = {m: [row["metric"] for row in sorted(final[m], key=lambda row: row["seed"])] for m in methods}
    difference, half_width = paired_interval(np.array(metrics[methods[0]]), np.array(metrics[methods[1]]))
    return {
        "title": "Averaged and MGDA-UB",
        "x_label": "method",
        "y_label": "accuracy (fraction)",
        "methods": methods,
        "means": [float(np.mean(metrics[method])) for method in methods],
        "pairs": len(metrics[methods[0]]),
        "difference": difference,
        "half_width": half_width,
    }


def _example_log(rng: Rng, pairs: int, level: float) -> Log:
    """A log of two methods whose rows are in no order, as rows of a real one may be."""
    rows = []
    for method, usual, lr in (("mgda-ub", 0.80, 0.01), ("averaged", level, 0.003)):
        for seed in range(pairs):
            base = {"method": method, "minibatches": 400, "trunk_passes": 400}
            rows.append(
                {**base, "seed": seed, "split": "test", "lr": lr, "metric": usual + 0.02 * float(rng.uniform(-1, 1))}
            )
        for other in (0.003, 0.01):
            rows.append(
                {**base, "seed": 100, "split": "validation", "lr": other, "metric": float(rng.uniform(0.5, 0.9))}
            )
    while True:
        mixed = [rows[i] for i in rng.permutation(len(rows))]
        if list(_by_method(mixed, "test")) == ["mgda-ub", "averaged"]:  # not sorted by name
            return mixed


def _figures(rng: Rng) -> list[Case]:
    return [Case("figure_data", (_example_log(rng, *pair),)) for pair in ((5, 0.82), (8, 0.77))]


KEYS = ("title", "x_label", "y_label", "methods", "means", "pairs", "difference", "half_width")
_AS_DICT = f"a dict with the keys {', '.join(KEYS[:-1])} and {KEYS[-1]}"


def _label_problem(case: Case, reply: Reply, right: Reply) -> str:
    if not isinstance(reply.value, dict):
        return f"figure_data gives back {described(reply.value)}; asked for: {_AS_DICT}"
    for name in ("title", "x_label", "y_label"):
        if name not in reply.value:
            return f"the key {name!r} is missing"
        if not isinstance(reply.value[name], str) or len(reply.value[name].strip()) < 3:
            return f"the {name!r} should be a text of three letters or more"
    label = reply.value["y_label"].strip()
    unit = label[label.rfind("(") + 1 : -1].strip() if label.endswith(")") and "(" in label else ""
    return (
        ""
        if unit
        else 'the label of the metric\'s axis (y_label) should end with its unit in brackets, as "(fraction)"'
    )


def _metrics(log: Log, split: str, column: str = "seed") -> dict[str, list[float]]:
    found = _by_method(log, split)
    return {m: [row["metric"] for row in sorted(found[m], key=lambda row: row[column])] for m in sorted(found)}


def _unsorted(log: Log) -> float:
    by_row = {m: [row["metric"] for row in rows] for m, rows in _by_method(log, "test").items()}
    first, second = (np.array(by_row[method]) for method in sorted(by_row))
    return paired_interval(first, second)[1]


def _differences(log: Log) -> np.ndarray[Any, Any]:
    first, second = _metrics(log, "test").values()
    return np.subtract(first, second)


def _spread(log: Log) -> float:
    return float(_differences(log).std(ddof=1))


def _half_width(log: Log, factor: float = 1.0) -> float:
    return factor * float(figure_data(log)["half_width"])


def _independent(log: Log) -> float:
    runs = list(_metrics(log, "test").values())
    error = np.sqrt(sum(np.var(found, ddof=1) / len(found) for found in runs))
    return float(_half_width(log) / _spread(log) * len(runs[0]) ** 0.5 * error)


def _with(name: str, make: Callable[[Log], Any]) -> Callable[[Log], dict[str, Any]]:
    """The right figure with one of its values made another way."""
    return lambda log: {**figure_data(log), name: make(log)}


def evidence(replies: list[list[list[Reply]]]) -> dict[str, Any]:
    """The student's own study in numbers, beside the written questions: per pair of methods the interval.

    `replies` are those of the assignment's questions; the log's is the first one's.
    """
    log: Any = replies[0][0][0].value if replies else None
    if form_problem(log) or seeds_problem(log):
        return {"comparison": "the run log has no paired final runs to compare"}
    metrics = {method: np.array(found) for method, found in _metrics(log, "test").items()}
    first, *others = metrics
    found: dict[str, Any] = {
        "pairs": len(metrics[first]),
        "mean": {m: round(nudged(float(metrics[m].mean())), 6) for m in metrics},
    }
    for other in others:
        difference, half_width = paired_interval(metrics[first], metrics[other])
        found[f"{first} minus {other}"] = {
            "difference": round(nudged(difference), 6),
            "half_width_95": round(nudged(half_width), 6),
            "includes_zero": verdict(difference, half_width) == "no difference shown",
        }
    return found


# ------------------------------------------------------------ lesson 9: choose


def _log(metrics: Mapping[str, Sequence[float]]) -> Log:
    """A run log from "method lr split": a row for each of them and each seed, whose metrics are given."""
    log: Log = []
    for run, found in metrics.items():
        method, lr, split = run.split()
        row = {"method": method, "lr": float(lr), "split": split}
        log += [{**row, "seed": seed, "metric": metric} for seed, metric in enumerate(found)]
    return log


def _best(log: Log, score: Callable[[Sequence[float]], Any], largest: bool = True) -> dict[str, float]:
    """For each method, the learning rate whose metrics have the largest `score`; of equal ones, the first tried."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in log:
        found.setdefault(row["method"], {}).setdefault(row["lr"], []).append(row["metric"])
    pick = first_largest if largest else first_smallest
    best = {method: pick([score(metrics) for metrics in rates.values()]) for method, rates in found.items()}
    return {method: list(rates)[best[method]] for method, rates in found.items()}


def _on(log: Log, *splits: str) -> Log:
    return [row for row in log if row["split"] in splits]


def _one_for_all(log: Log) -> dict[str, float]:
    (rate,) = _best([{**row, "method": "all"} for row in _on(log, "validation")], np.mean).values()
    return dict.fromkeys((row["method"] for row in log), rate)


def _mean(log: Log) -> dict[str, float]:
    return _best(_on(log, "validation"), np.mean)


#: What lesson 9 chooses from: for every "method learning-rate split" the metrics of its seeds.
LOGS: dict[str, dict[str, list[float]]] = {
    "a log of two methods, a and b, with one lucky seed": {
        "a 0.001 validation": [0.75, 0.99, 0.25],
        "a 0.01 validation": [0.69, 0.8, 0.88],
        "a 0.1 validation": [0.7, 0.71, 0.72],
        "b 0.001 validation": [0.5, 0.51, 0.52],
        "b 0.01 validation": [0.7, 0.71, 0.69],
        "b 0.1 validation": [0.6, 0.82, 0.8],
        "a 0.1 test": [0.95, 0.96, 0.97],
        "b 0.001 test": [0.95, 0.96, 0.97],
    },
    "a log with rows of the training set": {
        "averaged 0.003 validation": [0.71, 0.72],
        "averaged 0.03 validation": [0.74, 0.7],
        "averaged 0.1 validation": [0.66, 0.6],
        "averaged 0.003 test": [0.6, 0.61],
        "averaged 0.03 test": [0.62, 0.63],
        "averaged 0.1 train": [0.99, 0.99],
        "averaged 0.003 train": [0.8, 0.8],
    },
    "a log in which mean and median disagree": {
        "mgda 0.01 validation": [0.4, 0.7, 0.71, 0.72, 0.41],
        "mgda 0.1 validation": [0.64, 0.65, 0.66, 0.65, 0.65],
        "mgda 0.3 validation": [0.6, 0.61, 0.62, 0.61, 0.61],
    },
    "a log with more seeds at some learning rates than at others": {
        "ub 0.001 validation": [0.6, 0.62, 0.61, 0.63, 0.6],
        "ub 0.01 validation": [0.7, 0.72],
        "ub 0.1 validation": [0.69, 0.68, 0.7],
    },
}


def _logs(rng: Rng) -> list[Case]:
    return [Case("choose", (_log(log),), shown=said) for said, log in LOGS.items()]


QUESTIONS = questions(__file__, globals())
