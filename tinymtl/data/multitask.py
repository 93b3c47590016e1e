"""What a multi-task data set is: rows, one target per task and row, three parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.backend import Array, array_module, device_of, to_device
from tinymtl.checks import did_you_mean, whole_number
from tinymtl.data.scale import Scale

KINDS = ("classes", "binary", "regression")


@dataclass(frozen=True)
class TaskSpec:
    """What one task predicts; enough to choose its head and its loss.

    Attributes
    ----------
    name
        The task's name, the key of its targets.
    kind
        "classes": int64 labels 0 … outputs − 1. "binary": float32 targets 0 or 1.
        "regression": float32 targets.
    outputs
        Numbers that a head puts out per row: the number of classes, or 1.
    scale
        Regression only: how the targets were standardised, None where they were not.

    Examples
    --------
    >>> TaskSpec("species", "classes", 3)
    TaskSpec(name='species', kind='classes', outputs=3, scale=None)
    """

    name: str
    kind: str
    outputs: int
    scale: Scale | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"task {self.name!r} has kind {self.kind!r}: {did_you_mean(self.kind, KINDS)}")
        if self.kind == "classes":
            whole_number(f"outputs of task {self.name!r} (its number of classes)", self.outputs, 2)
        elif self.outputs != 1:
            raise ValueError(f"task {self.name!r} is {self.kind} with outputs={self.outputs!r}: give 1")


class Split:
    """One part of a data set: N rows, and N targets for each task.

    Everything is checked here, once and on the host, so that a training step need not.

    Parameters
    ----------
    x
        Inputs (N, features), or images (N, channels, height, width); kept as float32.
    targets
        {task name: N targets}, one entry per task, in any order.
    tasks
        The tasks, in order.

    Attributes
    ----------
    x : array
        The inputs, float32.
    targets : dict[str, array]
        (N,) per task, in task order: int64 for "classes", float32 for the other kinds.
    tasks : list[TaskSpec]
        As given.

    Raises
    ------
    ValueError
        For no rows, an input that is not finite, missing or unknown tasks, a number of targets other than N,
        labels out of range, or a target that is not finite. The sentence names the task and the first
        row at fault.

    Examples
    --------
    >>> tasks = [TaskSpec("digit", "classes", 10), TaskSpec("even", "binary", 1)]
    >>> split = Split(np.zeros((3, 64)), {"digit": [4, 7, 2], "even": [1, 0, 1]}, tasks)
    >>> split
    Split(3 rows, x (3, 64), targets digit, even)
    >>> Split(np.zeros((3, 64)), {"digit": [4, 10, 2], "even": [1, 0, 1]}, tasks)
    Traceback (most recent call last):
    ValueError: task 'digit': row 1 has label 10, expected 0 to 9 (10 classes)
    """

    def __init__(self, x: Any, targets: Mapping[str, Any], tasks: Sequence[TaskSpec]) -> None:
        self.tasks = list(tasks)
        self.x: Array = np.asarray(x, dtype=np.float32)
        if self.x.ndim < 2 or self.x.size == 0:
            raise ValueError(f"x has shape {self.x.shape}: give (N, features) or images, N at least 1")
        finite = np.isfinite(self.x).reshape(len(self.x), -1).all(axis=1)
        if not finite.all():
            raise ValueError(f"the features of row {int(finite.argmin())} hold a NaN or an infinite value")
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the tasks are named {names}: give one task or more, each with its own name")
        if set(targets) != set(names):
            raise ValueError(f"targets are given for {sorted(targets)}, but the tasks are {sorted(names)}")
        self.targets: dict[str, Array] = {
            task.name: _checked_targets(task, targets[task.name], len(self.x)) for task in self.tasks
        }

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows, x {self.x.shape}, targets {', '.join(self.targets)})"

    def matrix(self) -> Array:
        """The targets as one (N, K) array, a column per task in task order.

        Only for tasks of one kind and one number of outputs; otherwise a ValueError.

        Examples
        --------
        >>> tasks = [TaskSpec("left", "classes", 10), TaskSpec("right", "classes", 10)]
        >>> Split(np.zeros((2, 4)), {"left": [1, 2], "right": [3, 4]}, tasks).matrix()
        array([[1, 3],
               [2, 4]])
        """
        if len({(task.kind, task.outputs) for task in self.tasks}) > 1:
            mixed = ", ".join(f"{task.name} ({task.kind}, {task.outputs})" for task in self.tasks)
            raise ValueError(f"the tasks differ in kind or outputs, so use .targets instead: {mixed}")
        columns: Array = array_module(self.x).stack(list(self.targets.values()), axis=1)
        return columns

    def batches(self, size: int, rng: int | np.random.Generator) -> Iterator[tuple[Array, dict[str, Array]]]:
        """One pass over all rows in a random order, as minibatches (x, targets).

        Every row comes once; the last batch is smaller where `size` does not divide N.

        Parameters
        ----------
        size
            Rows per batch, at least 1; more than N gives one batch of all rows.
        rng
            A generator, from which each call draws one permutation (on the host, so that a run on a GPU
            sees the same order), or an int, which gives the same order at every call.

        Examples
        --------
        >>> split = Split(np.arange(5.0)[:, None], {"t": np.arange(5.0)}, [TaskSpec("t", "regression", 1)])
        >>> [targets["t"].tolist() for x, targets in split.batches(2, rng=0)]
        [[2.0, 4.0], [3.0, 0.0], [1.0]]
        """
        size = whole_number("the batch size", size, 1)
        order = to_device(np.random.default_rng(rng).permutation(len(self)), device_of(self.x))
        return self._gathered(order, size)

    def _gathered(self, order: Array, size: int) -> Iterator[tuple[Array, dict[str, Array]]]:
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield self.x[rows], {name: column[rows] for name, column in self.targets.items()}

    def to(self, device: str) -> Split:
        """The same rows with their arrays on `device`, "cpu" or "cuda"; this split stays as it is."""
        moved = copy(self)
        moved.x = to_device(self.x, device)
        moved.targets = {name: to_device(column, device) for name, column in self.targets.items()}
        return moved


class MultiTaskData:
    """A data set for multi-task learning: the tasks, and a training, a validation and a test part.

    Attributes
    ----------
    name : str
        Its name.
    train, validation, test : Split
        The parts; `len(data.train)` is the number of rows.
    tasks : list[TaskSpec]
        The tasks, in the order of every split's targets.
    features : int
        Numbers per input row (of an image: channels × height × width).
    input_shape : tuple[int, ...]
        The shape of one input, such as (144,) or (1, 28, 28).
    feature_names : tuple[str, ...]
        One name per feature; empty where the features are pixels.
    feature_scale : Scale or None
        How the features were standardised; None where they were not.
    citation : str
        Whom to cite, and the licence.

    Examples
    --------
    >>> tasks = [TaskSpec("sign", "binary", 1)]
    >>> part = Split([[1.0], [-1.0]], {"sign": [1, 0]}, tasks)
    >>> MultiTaskData("signs", part, part, part)
    MultiTaskData 'signs': 1 task, inputs (1,)
      rows  2 train, 2 validation, 2 test
      task  sign: binary
    """

    def __init__(
        self,
        name: str,
        train: Split,
        validation: Split,
        test: Split,
        *,
        citation: str = "",
        feature_names: Sequence[str] = (),
        feature_scale: Scale | None = None,
    ) -> None:
        self.name = name
        self.train, self.validation, self.test = train, validation, test
        self.tasks = train.tasks
        self.input_shape: tuple[int, ...] = train.x.shape[1:]
        self.features = math.prod(self.input_shape)
        self.feature_names = tuple(feature_names)
        self.feature_scale = feature_scale
        self.citation = citation
        for part, split in (("validation", validation), ("test", test)):
            if split.tasks != self.tasks:
                raise ValueError(f"{name}: the {part} part has other tasks than the training part")
            if split.x.shape[1:] != self.input_shape:
                shapes = f"{split.x.shape[1:]}, those of the training part {self.input_shape}"
                raise ValueError(f"{name}: the inputs of the {part} part have shape {shapes}")
        if self.feature_names and len(self.feature_names) != self.features:
            raise ValueError(f"{name}: {len(self.feature_names)} feature names for {self.features} features")

    def __repr__(self) -> str:
        plural = "task" if len(self.tasks) == 1 else "tasks"
        lines = [
            f"MultiTaskData {self.name!r}: {len(self.tasks)} {plural}, inputs {self.input_shape}",
            f"  rows  {len(self.train)} train, {len(self.validation)} validation, {len(self.test)} test",
        ]
        for task in self.tasks:
            detail = f"{task.outputs} classes" if task.kind == "classes" else task.kind
            unit = f", {task.scale.unit}" if task.scale is not None and task.scale.unit else ""
            lines.append(f"  task  {task.name}: {detail}{unit}")
        return "\n".join(lines)

    def to(self, device: str) -> MultiTaskData:
        """The same data with every array on `device`, "cpu" or "cuda"; this object stays as it is."""
        moved = copy(self)
        moved.train, moved.validation, moved.test = (
            split.to(device) for split in (self.train, self.validation, self.test)
        )
        return moved


def _checked_targets(task: TaskSpec, values: Any, rows: int) -> Array:
    """The targets of one task as (rows,) int64 or float32, or a ValueError that names the task."""
    array = np.asarray(values)
    if array.shape != (rows,):
        raise ValueError(f"task {task.name!r}: targets have shape {array.shape}, expected ({rows},)")
    if task.kind == "classes":
        if array.dtype.kind not in "iu":
            raise ValueError(f"task {task.name!r}: labels are {array.dtype}, expected whole numbers")
        good = (array >= 0) & (array < task.outputs)
        wanted = f"label {{}}, expected 0 to {task.outputs - 1} ({task.outputs} classes)"
    elif array.dtype.kind not in "fiub":
        raise ValueError(f"task {task.name!r}: targets are {array.dtype}, expected numbers")
    elif task.kind == "binary":
        good = (array == 0) | (array == 1)
        wanted = "target {}, expected 0 or 1"
    else:
        good = np.isfinite(array)
        wanted = "target {}, expected a finite number"
    if not good.all():
        row = int(good.argmin())
        raise ValueError(f"task {task.name!r}: row {row} has {wanted.format(array[row])}")
    return array.astype(np.int64 if task.kind == "classes" else np.float32)
