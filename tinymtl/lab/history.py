"""What happened in a training run, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose


@dataclass
class History:
    """The course of one training run. All lists are of plain numbers: `to_dict` can be written as JSON.

    Attributes
    ----------
    tasks : list[str]
        The tasks, in the order of every row below.
    train_losses : (epochs, K)
        Mean over the epoch's labelled rows of each task's loss, as the steps saw it: with the parameters of that
        moment.
    trunk_forwards, trunk_backwards, head_backwards : (epochs,)
        Passes in each epoch, counted where they happen; measuring and evaluating are not counted.
    seconds : (epochs,)
        Time in training steps; measuring, evaluating and writing checkpoints are not counted.
    evaluated : (evaluations,)
        The epochs (1 is the first) after which the validation part was looked at.
    validation_losses, validation_metrics : (evaluations, K)
        Over the labelled rows; NaN for a task that has none there.
    best_epoch : int or None
        The evaluated epoch with the largest mean validation metric; the earliest of several.
    stopped_early : bool
        Whether `patience` ran out.
    measured, conflicting_pairs, smallest_cosine, raised_tasks : (measurements,)
        With `measure_every`: the number of the step (1 is the first); how many pairs of task gradients at the
        trunk had a negative inner product before it; the smallest cosine among the pairs; and how many tasks
        have gₖ·v < 0, where v is the trunk's parameters before the step minus those after it.
    """

    tasks: list[str]
    train_losses: list[list[float]] = field(default_factory=list)
    trunk_forwards: list[int] = field(default_factory=list)
    trunk_backwards: list[int] = field(default_factory=list)
    head_backwards: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    validation_losses: list[list[float]] = field(default_factory=list)
    validation_metrics: list[list[float]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False
    measured: list[int] = field(default_factory=list)
    conflicting_pairs: list[int] = field(default_factory=list)
    smallest_cosine: list[float] = field(default_factory=list)
    raised_tasks: list[int] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs were completed."""
        return len(self.train_losses)

    @property
    def conflicting_share(self) -> float | None:
        """The share of measured steps in which at least one pair of task gradients has a negative inner product.

        The gradients are those of the trunk's parameters on the step's own minibatch, before the step. The more
        tasks, the more pairs: compare this between strategies, not between data sets. None without measurements.
        """
        return float(np.mean(np.array(self.conflicting_pairs) > 0)) if self.measured else None

    @property
    def conflicting_pairs_share(self) -> float | None:
        """The share of pairs, over the measured steps, whose inner product is negative; None without any pair."""
        pairs = len(self.tasks) * (len(self.tasks) - 1) // 2
        return float(np.mean(self.conflicting_pairs)) / pairs if self.measured and pairs else None

    @property
    def raising_share(self) -> float | None:
        """The share of measured steps that, to first order, raised at least one task's loss; None without any."""
        return float(np.mean(np.array(self.raised_tasks) > 0)) if self.measured else None

    def curve(self, quantity: str, task: str) -> tuple[Array, Array]:
        """One task's learning curve: epochs, and "train_losses", "validation_losses" or "validation_metrics"."""
        choose("curve", quantity, ("train_losses", "validation_losses", "validation_metrics"))
        choose("task", task, self.tasks)
        epochs = np.arange(1, self.epochs + 1) if quantity == "train_losses" else np.array(self.evaluated, int)
        rows = np.array(getattr(self, quantity), dtype=np.float64).reshape(-1, len(self.tasks))
        return epochs, rows[:, self.tasks.index(task)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """What `to_dict` returned; a ValueError for anything else."""
        fresh = cls([])
        if not isinstance(values, dict) or set(values) != set(fresh.to_dict()):
            raise ValueError("its history has not the parts of a tinymtl.lab.History")
        for name, value in values.items():
            own = getattr(fresh, name)
            fits = isinstance(value, type(own)) if own is not None else value is None or isinstance(value, int)
            if not fits or (isinstance(value, list) and not _is_numbers(value, name)):
                raise ValueError(f"its history's {name} is {str(value)[:60]}")
        return cls(**values)

    def __repr__(self) -> str:
        best = "" if self.best_epoch is None else f", best epoch {self.best_epoch}"
        early = ", stopped early" if self.stopped_early else ""
        return f"History({self.epochs} epochs of {', '.join(self.tasks)}{best}{early}, {sum(self.seconds):.1f} s)"


def _is_numbers(values: list[Any], name: str) -> bool:
    """Whether a list is what a history's part of that name holds: names, numbers, or rows of numbers."""
    kind: Any = str if name == "tasks" else int | float
    flat = [item for value in values for item in (value if isinstance(value, list) and name != "tasks" else [value])]
    return all(isinstance(item, kind) for item in flat)
