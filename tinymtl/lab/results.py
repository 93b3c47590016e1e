"""The results of several strategies on several data sets: the numbers, the tables, the files."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tinymtl
from tinymtl.backend import Array
from tinymtl.data import MultiTaskData, TaskSpec
from tinymtl.files import write
from tinymtl.lab import plots, report
from tinymtl.lab.checkpoint import digest_of
from tinymtl.lab.metrics import mean_delta
from tinymtl.lab.run_log import FILE, without_nan
from tinymtl.lab.runs import Failure, Result
from tinymtl.lab.statistics import Interval, defined_mean, mean_interval
from tinymtl.lab.strategies import SINGLE, label_of
from tinymtl.steps import STRATEGIES
from tinymtl.text import ruled
from tinymtl.ties import CLOSE, first_smallest, nudged, settled

FILES = ("results.csv", "results.json", "comparison.png")


@dataclass(frozen=True)
class DataFacts:
    """What the report says about a data set.

    Raises
    ------
    ValueError
        From `of`, if a task has no label in one of the parts: it could be neither trained nor compared.
    """

    name: str
    tasks: list[TaskSpec]
    train_rows: int
    validation_rows: int
    test_rows: int
    #: {task: labelled rows of the three parts}, of the tasks that are not labelled in all rows.
    gaps: dict[str, list[int]] = field(default_factory=dict)
    digest: str = ""  #: of the contents and the split

    @classmethod
    def of(cls, data: MultiTaskData) -> DataFacts:
        """The facts of a loaded data set."""
        parts = {"training": data.train, "validation": data.validation, "test": data.test}
        gaps = {}
        for name in data.train.targets:
            counts = {part: split.labelled[name] for part, split in parts.items()}
            for part, count in counts.items():
                if not count:
                    raise ValueError(f"{data.name}: task {name!r} has no label in the {part} part: leave the task out")
            if any(count < len(parts[part]) for part, count in counts.items()):
                gaps[name] = list(counts.values())
        return cls(data.name, data.tasks, len(data.train), len(data.validation), len(data.test), gaps, digest_of(data))


@dataclass
class Comparison:
    """What `tinymtl.lab.compare` returns; `print` shows a table and a sentence per data set.

    Attributes
    ----------
    results : list[Result]
        Every run with its outcome.
    data : dict[str, DataFacts]
    notes : dict[str, list[str]]
        For each data set what was left out, and why.
    failures : list[Failure]
        The runs that came to nothing; tables and files hold the others.
    """

    results: list[Result]
    data: dict[str, DataFacts]
    notes: dict[str, list[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    # ------------------------------------------------------------ the numbers

    def of(self, data: str, strategy: str) -> list[Result]:
        """The results of one strategy on one data set, by seed."""
        found = [r for r in self.results if r.run.data == data and r.run.strategy == strategy]
        return sorted(found, key=lambda result: result.run.seed)

    def strategies(self, data: str) -> list[str]:
        """The strategies that ran on a data set: the single-task nets, those of the registry, one's own."""
        present = dict.fromkeys(result.run.strategy for result in self.results if result.run.data == data)
        return [name for name in dict.fromkeys((SINGLE, *STRATEGIES, *present)) if name in present]

    def metrics(self, data: str, strategy: str, what: str = "metric") -> Array:
        """Each task's "metric" (or "loss") on the test part, (seeds, K)."""
        names = [task.name for task in self.data[data].tasks]
        rows = [[r.test[name][what] for name in names] for r in self.of(data, strategy)]  # type: ignore[literal-required]
        return np.array(rows).reshape(-1, len(names))

    def deltas(self, data: str, strategy: str) -> Array:
        """Δ against the single-task nets of the same seed, in per cent, (seeds,); positive is better.

        NaN for a seed without single-task nets, or of which one has a metric of 0: nothing is divided by that.
        Classification tasks enter by their accuracy, regression tasks by their loss (an R² may be near 0, and
        nothing should be divided by it).
        """
        lower = [task.kind == "regression" for task in self.data[data].tasks]

        def values(name: str) -> Array:
            return np.where(lower, self.metrics(data, name, "loss"), self.metrics(data, name))

        single = {r.run.seed: row for r, row in zip(self.of(data, SINGLE), values(SINGLE), strict=True) if row.all()}
        return np.array(
            [
                100 * mean_delta(mine, single[result.run.seed], lower) if result.run.seed in single else np.nan
                for result, mine in zip(self.of(data, strategy), values(strategy), strict=True)
            ]
        )

    def passes(self, data: str, strategy: str) -> str:
        """Trunk passes per minibatch, as counted: "1+2" is one forward and two backwards."""
        result = self.of(data, strategy)[0]
        minibatches = result.run.epochs * -(-self.data[data].train_rows // result.run.batch_size)
        return f"{result.trunk_forwards / minibatches:g}+{result.trunk_backwards / minibatches:g}"

    def difference(self, data: str, strategy: str, reference: str) -> Interval:
        """The mean difference in Δ between two strategies, paired by seed, with its 95 % interval; points of Δ.

        Over the seeds for which both are defined; NaN if there are none.
        """
        by_seed = [
            dict(zip([result.run.seed for result in self.of(data, name)], self.deltas(data, name), strict=True))
            for name in (strategy, reference)
        ]
        both = [seed for seed in by_seed[0] if seed in by_seed[1]]
        ours, theirs = (np.array([found[seed] for seed in both]) for found in by_seed)
        defined = ~np.isnan(ours - theirs)
        if not defined.any():
            return Interval(float("nan"), None)
        ours, theirs = ours[defined], theirs[defined]
        return mean_interval(settled(ours - theirs, CLOSE * np.maximum(1.0, np.maximum(abs(ours), abs(theirs)))))

    # ------------------------------------------------------------ in words

    def table(self, data: str) -> str:
        """One data set's table, a row per strategy, at most 100 columns wide.

        More than two tasks are shown by their mean and the worst one.
        """
        tasks = self.data[data].tasks
        few = len(tasks) <= 2
        columns = [task.name for task in tasks] if few else ["mean of tasks", "worst task"]
        rows = [["", *columns, "Δ single, %", "conflict", "passes", "s"]]
        for strategy in self.strategies(data):
            results, scores = self.of(data, strategy), self.metrics(data, strategy)
            if few:
                cells = [report.spread(column, 3) for column in scores.T]
            else:
                of_tasks = defined_mean(scores)
                worst = first_smallest(np.where(np.isnan(of_tasks), np.inf, of_tasks))
                least = "-" if np.isnan(of_tasks).all() else f"{nudged(of_tasks[worst]):.3f} {tasks[worst].name}"
                cells = [report.spread(defined_mean(scores, axis=1), 3), least]
            if strategy == SINGLE:
                cells += ["reference", "-"]
            else:
                cells += [report.spread(self.deltas(data, strategy), 1, sign="+"), report.conflict(results, few)]
            seconds = float(np.mean([result.seconds for result in results]))
            rows.append([label_of(strategy), *cells, self.passes(data, strategy), f"{seconds:.1f}"])
        return f"{self._head(data)}\n\n{ruled(rows)}"

    def _head(self, data: str) -> str:
        run, facts = next(result.run for result in self.results if result.run.data == data), self.data[data]
        trunk = run.trunk if isinstance(run.trunk, str) else "-".join(str(width) for width in run.trunk)
        metrics = " and ".join(sorted({"R²" if task.kind == "regression" else "accuracy" for task in facts.tasks}))
        lines = [
            f"{data}: {len(facts.tasks)} tasks, trunk {trunk}, a linear head per task. Adam, learning rate "
            f"{run.lr:g}, {run.epochs} epoch{'s' * (run.epochs > 1)} of {-(-facts.train_rows // run.batch_size)} "
            f"minibatches of {run.batch_size} for every strategy. {metrics[0].upper()}{metrics[1:]} on "
            f"{facts.test_rows} test rows."
        ]
        if facts.gaps:
            counts = [f"{name} {train} and {test}" for name, (train, _, test) in facts.gaps.items()]
            total = f"{facts.train_rows} training and {facts.test_rows} test rows"
            lines.append(f"Labelled are, of {total}: {', '.join(counts)}; loss and metric are over these.")
        if "grouped" in self.strategies(data):
            lines.append(f"Random groups of {run.group_size} tasks.")
        return "\n".join([report.filled(*lines, *self.notes.get(data, [])), *self._lacks(data)])

    def _lacks(self, data: str) -> list[str]:
        """A line for everything in a data set's table that is not there."""
        lines = [f"Failed: {failure}" for failure in self.failures if failure.run.data == data]
        results = [result for result in self.results if result.run.data == data]
        for task in self.data[data].tasks:
            if any(np.isnan(result.test[task.name]["metric"]) for result in results):
                lines.append(f"The metric of {task.name} is not defined on these test rows (R² of equal targets).")
        names = [name for name in self.strategies(data) if name != SINGLE]
        without = {
            r.run.seed
            for name in names
            for r, d in zip(self.of(data, name), self.deltas(data, name), strict=True)
            if np.isnan(d)
        }
        if without:
            seeds = ", ".join(map(str, sorted(without)))
            lines.append(f"Δ is not defined for seed {seeds}: a single-task net has metric or loss 0, or has failed.")
        return [report.filled(line) for line in lines]

    def noise(self, data: str) -> str:
        """Which differences on one data set are inside the noise of the seeds, by their 95 % t intervals."""
        strategies = self.strategies(data)
        if len({result.run.seed for result in self.results if result.run.data == data}) == 1:
            return "Noise: one seed says nothing about noise; run at least three (five are better)."
        sentences = ["Noise, in points of Δ."]
        for reference, name in ((SINGLE, "single-task nets"), ("averaged", "the averaged loss")):
            others = [strategy for strategy in strategies if strategy not in (SINGLE, reference)]
            if others and (reference in strategies or reference == SINGLE):  # single-task nets may all have failed
                found = {label_of(other): self.difference(data, other, reference) for other in others}
                found = {label: interval for label, interval in found.items() if not np.isnan(interval.mean)}
                sentences += [report.noise_sentence(found, name)] if found else [f"Against {name}: not defined."]
        return report.filled(*sentences)

    def __str__(self) -> str:
        parts = [f"{self.table(name)}\n\n{self.noise(name)}" for name in self._present]
        parts += [
            "\n".join([f"{name}: no run was finished.", *map(str, (f for f in self.failures if f.run.data == name))])
            for name in self.data
            if name not in self._present
        ]
        seeds = {result.run.seed for result in self.results}
        regression = any(task.kind == "regression" for facts in self.data.values() for task in facts.tasks)
        return "\n\n\n".join([*parts, report.legend(len(seeds), regression)])

    __repr__ = __str__

    @property
    def _present(self) -> list[str]:
        """The data sets of which at least one run was finished."""
        there = {result.run.data for result in self.results}
        return [name for name in self.data if name in there]

    # ------------------------------------------------------------ in a picture

    def figure(self) -> Any:
        """A Matplotlib figure: for each data set a row, Δ on the left and the tasks one by one on the right."""
        from matplotlib.figure import Figure  # here, since it takes long to import
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        shown = {data: [name for name in self.strategies(data) if name != SINGLE] for data in self._present}
        heights = [max(4.4, 1.0 + 0.5 * len(names)) for names in shown.values()]
        markers = max(len(names) * len(self.data[data].tasks) for data, names in shown.items())
        width = max(7.0, 0.09 * markers)  # of the tasks, in inches: a marker needs its place
        figure = Figure(figsize=(6 + width, 0.8 + sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        axes = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[6, width], height_ratios=heights)
        for (left, right), (data, names) in zip(axes, shown.items(), strict=True):
            tasks, single = self.data[data].tasks, self.metrics(data, SINGLE)
            plots.deltas(
                left, {name: self.deltas(data, name) for name in names}, {n: self.passes(data, n) for n in names}
            )
            plots.task_metrics(right, tasks, {name: self.metrics(data, name) for name in names}, single)
            title = plots.plain(data)
            left.set_title(f"{title} ({len(tasks)} tasks): all tasks together", fontsize=plots.FONT + 1)
            right.set_title(f"{title}: task by task", fontsize=plots.FONT + 1)
        seeds = len({result.run.seed for result in self.results})
        figure.suptitle(
            f"Dashed: single-task nets. Left: mean, its 95 % t interval, and {seeds} seeds as dots. "
            "Right: mean and range of the seeds.\nPasses: trunk forwards + backwards per minibatch.",
            fontsize=plots.FONT,
        )
        return figure

    # ------------------------------------------------------------ in files

    def save(self, out: str | os.PathLike[str]) -> list[str]:
        """Write results.csv, results.json and comparison.png into the directory `out`, which is made if need be.

        Returns the paths of those that were written, the picture last. Each is whole before it takes its place; one
        that cannot be made or written leaves the old file as it was, and costs a warning, not the others. An OSError if
        none could be written.
        """
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        written: list[str] = []
        makes: list[Callable[[], str | bytes]] = [self.to_csv, self.to_json, self._picture]
        for name, make in zip(FILES, makes, strict=True):
            try:
                written.append(str(write(folder / name, make())))
            except Exception as error:  # of a picture: whatever Matplotlib and its settings raise
                warnings.warn(f"{folder / name} was not written: {' '.join(str(error).split())}", stacklevel=2)
        if not written:
            raise OSError(f"no results could be written to {folder}")
        return written

    def _picture(self) -> bytes:
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png", dpi=150)
        return picture.getvalue()

    def to_csv(self) -> str:
        """A line per data set, strategy, seed and task; what belongs to a run stands in each of its lines."""
        rows: list[list[Any]] = [
            ["data", "strategy", "seed", "task", "metric", "value", "loss", "labelled"]
            + ["delta_percent", "conflicting_share", "raising_share", "trunk_forwards", "trunk_backwards", "seconds"]
        ]
        for data, facts in self.data.items():
            for strategy in self.strategies(data):
                deltas = self.deltas(data, strategy)
                for result, delta in zip(self.of(data, strategy), deltas, strict=True):
                    of_run = [delta, result.conflicting_share, result.raising_share]
                    of_run += [result.trunk_forwards, result.trunk_backwards, round(result.seconds, 3)]
                    for task in facts.tasks:
                        score = result.test[task.name]
                        metric = "R2" if task.kind == "regression" else "accuracy"
                        key = [data, strategy, result.run.seed, task.name, metric]
                        rows.append([*key, score["metric"], score["loss"], score["labelled"], *of_run])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            ["" if isinstance(cell, float) and np.isnan(cell) else cell for cell in row] for row in rows
        )
        return text.getvalue()

    def to_json(self) -> str:
        """Every run with all its settings, what came of it, and the versions that it was made with."""
        content = {
            "how to repeat a run": "tinymtl.lab.execute(tinymtl.lab.Run(**entry['run'])) for an entry of 'runs'; with "
            "make= for a strategy of your own, data= for a data set of your own",
            "versions": {"tinymtl": tinymtl.__version__, "numpy": np.__version__, "python": platform.python_version()},
            "machine": f"{platform.system()} {platform.machine()}",
            "tasks": {data: [task.name for task in facts.tasks] for data, facts in self.data.items()},
            "gaps": {data: facts.gaps for data, facts in self.data.items() if facts.gaps},
            "notes": self.notes,
            "summary": {
                data: {strategy: self._summary(data, strategy) for strategy in self.strategies(data)}
                for data in self.data
            },
            "failures": [{"run": asdict(failure.run), "error": str(failure)} for failure in self.failures],
            "runs": [result.to_dict() for result in self.results],
        }
        return json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n"

    def _summary(self, data: str, strategy: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "metrics": defined_mean(self.metrics(data, strategy)).tolist(),
            "delta_percent": self.deltas(data, strategy).tolist(),
        }
        for key, reference in (("against_single", SINGLE), ("against_averaged", "averaged")):
            found[key] = None
            if reference in self.strategies(data):
                interval = self.difference(data, strategy, reference)
                found[key] = {"mean": interval.mean, "half_width_95": interval.half_width}
        return found


def check_out(out: str | os.PathLike[str]) -> None:
    """Raise an OSError, before any time is spent, if the three files could not be written into `out`."""
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
    for name in (*FILES, FILE):
        if (folder / name).is_dir():
            raise IsADirectoryError(f"the results cannot go to {out}: {folder / name} is a directory")
