"""A comparison in words and in files: the table, the sentence about noise, results.csv and results.json."""

from __future__ import annotations

import contextlib
import io
import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymtl.files import replacing
from tinymtl.lab.runs import MEASURE_EVERY
from tinymtl.lab.statistics import Interval, t_quantile
from tinymtl.lab.strategies import SINGLE, label_of

if TYPE_CHECKING:
    from tinymtl.lab.comparison import Comparison
    from tinymtl.lab.runs import Result

WIDTH = 100
FILES = ("results.csv", "results.json", "comparison.png")

# ------------------------------------------------------------ text


def table(comparison: Comparison, data: str) -> str:
    """One data set's table: a row per strategy. More than two tasks are shown by their mean and the worst one."""
    facts = comparison.data[data]
    few = len(facts.tasks) <= 2
    columns = [task.name for task in facts.tasks] if few else ["mean of tasks", "worst task"]
    rows = [["", *columns, "Δ single, %", "conflict", "passes", "s"]]
    for strategy in comparison.strategies(data):
        results = comparison.of(data, strategy)
        scores = comparison.metrics(data, strategy)
        if few:
            cells = [_spread(column, 3) for column in scores.T]
        else:
            worst = int(scores.mean(axis=0).argmin())
            cells = [_spread(scores.mean(axis=1), 3), f"{scores[:, worst].mean():.3f} {facts.tasks[worst].name}"]
        rows.append(
            [
                label_of(strategy),
                *cells,
                "reference" if strategy == SINGLE else _spread(comparison.deltas(data, strategy), 1, sign="+"),
                "-" if strategy == SINGLE else _conflict(results, few),
                comparison.passes(data, strategy),
                f"{np.mean([result.seconds for result in results]):.1f}",
            ]
        )
    return "\n\n".join([_head(comparison, data), _aligned(rows)])


def _spread(values: Any, digits: int, sign: str = "") -> str:
    """Mean ± standard deviation over seeds; the mean alone for one seed."""
    mean = f"{np.mean(values):{sign}z.{digits}f}"  # z: never "-0.0"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def _conflict(results: list[Result], two_tasks: bool) -> str:
    """The share of conflicting steps; with more than two tasks also that of conflicting pairs."""
    steps = 100 * float(np.mean([result.conflicting_share for result in results]))
    if two_tasks:
        return f"{steps:.0f} %"
    return f"{steps:.0f}/{100 * float(np.mean([result.conflicting_pairs_share for result in results])):.0f} %"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join(lines)


def _head(comparison: Comparison, data: str) -> str:
    run = comparison.of(data, SINGLE)[0].run
    facts = comparison.data[data]
    trunk = run.trunk if isinstance(run.trunk, str) else "-".join(str(width) for width in run.trunk)
    metrics = sorted({"R²" if task.kind == "regression" else "accuracy" for task in facts.tasks})
    measure = " and ".join(metrics)
    minibatches = -(-facts.train_rows // run.batch_size)
    lines = [
        f"{data}: {len(facts.tasks)} tasks, trunk {trunk}, a linear head per task. Adam, learning rate {run.lr:g}, "
        f"{run.epochs} epoch{'s' * (run.epochs > 1)} of {minibatches} minibatches of {run.batch_size} for every "
        f"strategy. {measure[0].upper()}{measure[1:]} on {facts.test_rows} test rows."
    ]
    if "grouped" in comparison.strategies(data):
        lines.append(f"Random groups of {run.group_size} tasks.")
    return textwrap.fill(" ".join(lines + comparison.notes.get(data, [])), WIDTH)


def legend(comparison: Comparison) -> str:
    """How to read the tables."""
    seeds = {result.run.seed for result in comparison.results}
    regression = any(task.kind == "regression" for facts in comparison.data.values() for task in facts.tasks)
    ways = [
        "How to read this.",
        f"Mean ± standard deviation over {len(seeds)} seeds." if len(seeds) > 1 else "One seed.",
        "A seed draws the initial weights and the order of the minibatches, the same for every strategy; the data "
        "stay. Tested are the parameters of the epoch that was best on validation.",
        "Δ single: mean relative change of the tasks against single-task nets of the same seed; positive is better."
        + " Regression tasks enter by their loss." * regression,
        "conflict: share of steps in which at least one pair of task gradients has a negative inner product (after "
        f"the slash: share of pairs); gradients of the trunk's parameters, every {MEASURE_EVERY}th step looked at.",
        "passes: trunk forwards + backwards per minibatch. s: seconds in training steps.",
        "alternating: one Adam memory of the trunk (shared) or one for each task (per task).",
        "Alternating and grouped steps update the trunk several times per minibatch, the others once.",
    ]
    if len(seeds) > 1:
        ways.append(
            f"Noise: 95 % t intervals of differences paired by seed, not corrected for their number; with n = "
            f"{len(seeds)} the factor is t = {t_quantile(len(seeds) - 1):.1f}. Inside the noise means that these "
            "seeds cannot tell, not that the strategies are equal."
        )
    return textwrap.fill(" ".join(ways), WIDTH)


def noise(comparison: Comparison, data: str) -> str:
    """Which differences are inside the noise of the seeds, by 95 % t intervals of paired differences."""
    strategies = comparison.strategies(data)
    if len(comparison.of(data, SINGLE)) == 1:
        return "Noise: one seed says nothing about noise; run at least three (five are better)."
    sentences = []
    for reference, name in ((SINGLE, "single-task nets"), ("averaged", "the averaged loss")):
        others = [strategy for strategy in strategies if strategy not in (SINGLE, reference)]
        if reference in strategies and others:
            found = {label_of(other): comparison.difference(data, other, reference) for other in others}
            sentences.append(noise_sentence(found, name))
    return textwrap.fill(" ".join(["Noise, in points of Δ.", *sentences]), WIDTH)


def noise_sentence(differences: dict[str, Interval], reference: str) -> str:
    """Which differences from a reference are inside the noise (their interval holds 0), and which outside.

    >>> noise_sentence({"MGDA": Interval(0.2, 1.5), "MGDA-UB": Interval(-3.0, 1.0)}, "the averaged loss")
    'Against the averaged loss, inside the noise: MGDA +0.2 ± 1.5; outside: MGDA-UB -3.0 ± 1.0 (worse).'
    """
    inside, outside = [], []
    for label, interval in differences.items():
        text = f"{label} {interval.mean:+z.1f}"
        text += "" if interval.half_width is None else f" ± {interval.half_width:.1f}"
        if interval.holds_zero:
            inside.append(text)
        else:
            outside.append(f"{text} ({'better' if interval.mean > 0 else 'worse'})")
    if not outside:
        return f"Against {reference}, every difference is inside the noise: {', '.join(inside)}."
    if not inside:
        return f"Against {reference}, every difference is outside the noise: {', '.join(outside)}."
    return f"Against {reference}, inside the noise: {', '.join(inside)}; outside: {', '.join(outside)}."


# ------------------------------------------------------------ files


def csv_text(comparison: Comparison) -> str:
    """results.csv: a line per data set, strategy, seed and task; what belongs to a run stands in each of its lines."""
    import csv

    rows: list[list[Any]] = [
        ["data", "strategy", "seed", "task", "metric", "value", "loss"]
        + ["delta_percent", "conflicting_share", "raising_share", "trunk_forwards", "trunk_backwards", "seconds"]
    ]
    for data, facts in comparison.data.items():
        for strategy in comparison.strategies(data):
            deltas = comparison.deltas(data, strategy)
            for result, delta in zip(comparison.of(data, strategy), deltas, strict=True):
                of_run = [delta, result.conflicting_share, result.raising_share]
                of_run += [result.trunk_forwards, result.trunk_backwards, round(result.seconds, 3)]
                for task in facts.tasks:
                    score = result.test[task.name]
                    metric = "R2" if task.kind == "regression" else "accuracy"
                    key = [data, strategy, result.run.seed, task.name, metric]
                    rows.append([*key, score["metric"], score["loss"], *of_run])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def json_text(comparison: Comparison) -> str:
    """results.json: every run with all its settings, what came of it, and the versions it was made with."""
    import platform

    import tinymtl

    summary = {
        data: {
            strategy: {
                "metrics": comparison.metrics(data, strategy).mean(axis=0).tolist(),
                "delta_percent": comparison.deltas(data, strategy).tolist(),
                "against_single": _interval(comparison.difference(data, strategy, SINGLE)),
                "against_averaged": _interval(comparison.difference(data, strategy, "averaged"))
                if "averaged" in comparison.strategies(data)
                else None,
            }
            for strategy in comparison.strategies(data)
        }
        for data in comparison.data
    }
    content = {
        "how to repeat a run": "tinymtl.lab.execute(tinymtl.lab.Run(**entry['run'])) for an entry of 'runs'",
        "versions": {"tinymtl": tinymtl.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}",
        "tasks": {data: [task.name for task in facts.tasks] for data, facts in comparison.data.items()},
        "notes": comparison.notes,
        "summary": summary,
        "runs": [result.to_dict() for result in comparison.results],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"mean": interval.mean, "half_width_95": interval.half_width}


def save(comparison: Comparison, out: str | os.PathLike[str]) -> list[str]:
    """Write the three files into `out` (made if need be): all are whole before one takes its place."""
    folder = Path(out)
    picture = io.BytesIO()
    comparison.figure().savefig(picture, format="png", dpi=150)
    contents = [csv_text(comparison).encode(), json_text(comparison).encode(), picture.getvalue()]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in FILES]
    with contextlib.ExitStack() as stack:  # a failure in the block leaves all three old files
        for path, content in zip(paths, contents, strict=True):
            file = stack.enter_context(replacing(path))
            file.write(content)
            file.flush()
    return [str(path) for path in paths]


def check_out(out: str | os.PathLike[str]) -> None:
    """Raise an OSError, before any time is spent, where the three files could not be written into `out`."""
    from tempfile import TemporaryDirectory

    folder = Path(out)
    existing = [folder, *folder.absolute().parents]
    place = next(path for path in existing if path.exists())
    if not place.is_dir():
        raise NotADirectoryError(f"the results cannot go to {out}: {place} is a file, give a directory")
    try:
        with TemporaryDirectory(dir=place):  # the permission bits alone do not tell
            pass
    except OSError as error:
        raise type(error)(f"the results cannot go to {out}: {place} cannot be written to ({error.strerror})") from error
    for name in FILES:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"the results cannot go to {out}: {folder / name} is a directory")
