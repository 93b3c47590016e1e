"""The results of several strategies on several data sets, and what they say."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.data import MultiTaskData, TaskSpec
from tinymtl.lab import report
from tinymtl.lab.metrics import mean_delta
from tinymtl.lab.runs import Result
from tinymtl.lab.statistics import Interval, mean_interval
from tinymtl.lab.strategies import SINGLE, STRATEGIES


@dataclass(frozen=True)
class DataFacts:
    """What the report says about a data set."""

    name: str
    tasks: list[TaskSpec]
    train_rows: int
    validation_rows: int
    test_rows: int

    @classmethod
    def of(cls, data: MultiTaskData) -> DataFacts:
        """The facts of a loaded data set."""
        return cls(data.name, data.tasks, len(data.train), len(data.validation), len(data.test))


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
    """

    results: list[Result]
    data: dict[str, DataFacts]
    notes: dict[str, list[str]] = field(default_factory=dict)

    def of(self, data: str, strategy: str) -> list[Result]:
        """The results of one strategy on one data set, by seed."""
        found = [r for r in self.results if r.run.data == data and r.run.strategy == strategy]
        return sorted(found, key=lambda result: result.run.seed)

    def strategies(self, data: str) -> list[str]:
        """The strategies that ran on a data set, the single-task nets first."""
        present = {result.run.strategy for result in self.results if result.run.data == data}
        return [name for name in (SINGLE, *STRATEGIES) if name in present]

    def metrics(self, data: str, strategy: str, what: str = "metric") -> Array:
        """Each task's "metric" (or "loss") on the test part, (seeds, K)."""
        names = [task.name for task in self.data[data].tasks]
        return np.array([[r.test[name][what] for name in names] for r in self.of(data, strategy)])  # type: ignore[literal-required]

    def deltas(self, data: str, strategy: str) -> Array:
        """Δ against the single-task nets of the same seed, in per cent, (seeds,); positive is better.

        Classification tasks enter by their accuracy, regression tasks by their loss (an R² may be near 0, and
        nothing should be divided by it).
        """
        lower = [task.kind == "regression" for task in self.data[data].tasks]

        def values(name: str) -> Array:
            return np.where(lower, self.metrics(data, name, "loss"), self.metrics(data, name))

        pairs = zip(values(strategy), values(SINGLE), strict=True)
        return np.array([100 * mean_delta(mine, single, lower) for mine, single in pairs])

    def passes(self, data: str, strategy: str) -> str:
        """Trunk passes per minibatch, as counted: "1+2" is one forward and two backwards."""
        result = self.of(data, strategy)[0]
        minibatches = result.run.epochs * -(-self.data[data].train_rows // result.run.batch_size)
        return f"{result.trunk_forwards / minibatches:g}+{result.trunk_backwards / minibatches:g}"

    def difference(self, data: str, strategy: str, reference: str) -> Interval:
        """The mean difference in Δ between two strategies, paired by seed, with its 95 % interval; points of Δ."""
        return mean_interval(self.deltas(data, strategy) - self.deltas(data, reference))

    def table(self, data: str) -> str:
        """One data set's table, at most 100 columns wide."""
        return report.table(self, data)

    def noise(self, data: str) -> str:
        """Which differences on one data set are inside the noise of the seeds."""
        return report.noise(self, data)

    def figure(self) -> Any:
        """The comparison as a Matplotlib figure."""
        from tinymtl.lab.plots import comparison_figure

        return comparison_figure(self)

    def save(self, out: str | os.PathLike[str]) -> list[str]:
        """Write results.csv, results.json and comparison.png into the directory `out`; returns their paths."""
        return report.save(self, out)

    def __str__(self) -> str:
        parts = [f"{self.table(name)}\n\n{self.noise(name)}" for name in self.data]
        return "\n\n\n".join([*parts, report.legend(self)])

    __repr__ = __str__
