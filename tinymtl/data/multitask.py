"""What a multi-task data set is: rows, one target per task and row, three parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tinymtl.arrays import as_numbers, cast, check_same_rows, columns, marked_missing, without_gaps
from tinymtl.backend import Array, array_module, device_of, to_device
from tinymtl.checks import did_you_mean, random_generator, require, whole_number
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
    missing
        A target that means "not labelled", such as −1, beside NaN, None and a mask, which always do.

    Examples
    --------
    >>> TaskSpec("species", "classes", 3)
    TaskSpec(name='species', kind='classes', outputs=3, scale=None, missing=None)
    """

    name: str
    kind: str
    outputs: int
    scale: Scale | None = None
    missing: float | None = None

    def __post_init__(self) -> None:
        require("the name of a task", self.name, str, "text")
        if self.missing is not None:
            require(f"missing of task {self.name!r}", self.missing, Real, "a number, such as -1")
        if self.kind not in KINDS:
            raise ValueError(f"task {self.name!r} has kind {self.kind!r}: {did_you_mean(self.kind, KINDS)}")
        if self.kind == "classes":
            whole_number(f"outputs of task {self.name!r} (its number of classes)", self.outputs, 2)
        elif self.outputs != 1:
            raise ValueError(f"task {self.name!r} is {self.kind} with outputs={self.outputs!r}: give 1")


class Split:
    """One part of a data set: N rows, and N targets for each task.

    Everything is checked here, once and on the host, so that a training step need not. All of it is copied: what
    happens to the arrays later does not reach the data.

    Parameters
    ----------
    x
        Inputs (N, features), or images (N, channels, height, width); kept as float32. Of a DataFrame the names of the
        columns are kept as well.
    targets
        {task name: N targets}, one entry per task, in any order; or a table with such columns. NaN, None, masked or
        the task's `missing` where a row is not labelled for a task.
    tasks
        The tasks, in order.

    Attributes
    ----------
    x : array
        The inputs, float32.
    targets : dict[str, array]
        (N,) per task, in task order: int64 for "classes", float32 for the other kinds, and for classes of which some
        are missing. A missing target is NaN.
    labelled : dict[str, int]
        How many rows are labelled, per task.
    tasks : list[TaskSpec]
        As given.
    columns : tuple of str
        The names of x's columns; empty if it had none.

    Raises
    ------
    ValueError, TypeError
        For no rows, an input that is not finite, missing or unknown tasks, a number of targets other than N,
        labels out of range, an infinite target, or anything that is not a real number. The sentence names the task
        and the first row at fault.

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
        require("tasks", tasks, (list, tuple), "a list of TaskSpec")
        for task in tasks:
            require("a task of a Split", task, TaskSpec, "a TaskSpec, such as TaskSpec('digit', 'classes', 10)")
        self.tasks = list(tasks)
        self.x: Array = np.array(cast(as_numbers(x, "x"), np.float32, "x"))
        self.columns = tuple(map(str, columns(x) or ()))
        if self.x.ndim < 2 or self.x.size == 0:
            raise ValueError(f"x has shape {self.x.shape}: give (N, features) or images, N at least 1")
        finite = np.isfinite(self.x).reshape(len(self.x), -1).all(axis=1)
        if not finite.all():
            raise ValueError(f"the features of row {int(finite.argmin())} hold a NaN or an infinite value")
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the tasks are named {names}: give one task or more, each with its own name")
        by_name = targets if isinstance(targets, Mapping) else columns(targets)
        if by_name is None:
            raise TypeError(f"targets are a dict {{task: N targets}} or a table, not a {type(targets).__name__}")
        if set(by_name) != set(names):
            given = sorted(map(str, by_name))
            raise ValueError(f"targets are given for {given}, but the tasks are {sorted(names)}")
        self.targets: dict[str, Array] = {}
        self.labelled: dict[str, int] = {}
        for task in self.tasks:
            check_same_rows(x, by_name[task.name], f"task {task.name!r}: the target")
            column = _checked_targets(task, by_name[task.name], len(self.x))
            self.targets[task.name] = column
            self.labelled[task.name] = len(column) - int((column != column).sum())

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        gaps = {name: f" ({count} labelled)" for name, count in self.labelled.items() if count < len(self)}
        targets = ", ".join(f"{name}{gaps.get(name, '')}" for name in self.targets)
        return f"Split({len(self)} rows, x {self.x.shape}, targets {targets})"

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
        each = list(self.targets.values())
        matrix: Array = array_module(each[0]).stack(each, axis=1)
        return matrix

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
        order = random_generator(rng).permutation(len(self))
        return self._gathered(order, size)

    def _gathered(self, order: Array, size: int) -> Iterator[tuple[Array, dict[str, Array]]]:
        inputs = to_device(order, device_of(self.x))
        targets = to_device(order, device_of(self.targets[self.tasks[0].name]))
        for start in range(0, len(order), size):
            rows = targets[start : start + size]
            batch = {name: column[rows] for name, column in self.targets.items()}
            yield self.x[inputs[start : start + size]], batch

    def to(self, device: str) -> Split:
        """The same rows with their arrays on `device`, "cpu" or "cuda"; this split stays as it is.

        If labels are missing, the targets stay on the host: a step has to know which tasks are labelled, and on a
        GPU it would have to wait for the answer.
        """
        moved = copy(self)
        moved.x = to_device(self.x, device)
        if min(self.labelled.values()) == len(self):
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
        One name per feature, by default those of the training part's columns; empty where the features are pixels.
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
        for part, split in (("train", train), ("validation", validation), ("test", test)):
            require(part, split, Split, "a Split")
        self.name = name
        self.train, self.validation, self.test = train, validation, test
        self.tasks = train.tasks
        self.input_shape: tuple[int, ...] = train.x.shape[1:]
        self.features = math.prod(self.input_shape)
        self.feature_names = tuple(feature_names) or train.columns
        self.feature_scale = feature_scale
        self.citation = citation
        for part, split in (("validation", validation), ("test", test)):
            if split.tasks != self.tasks:
                raise ValueError(f"{name}: the {part} part has other tasks than the training part")
            if split.columns != train.columns:
                named = f"{list(split.columns)}, those of the training part {list(train.columns)}"
                raise ValueError(f"{name}: the columns of the {part} part are {named}")
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
            count = self.train.labelled[task.name]
            gaps = f", {count} of {len(self.train)} labelled" if count < len(self.train) else ""
            lines.append(f"  task  {task.name}: {detail}{unit}{gaps}")
        return "\n".join(lines)

    def to(self, device: str) -> MultiTaskData:
        """The same data with every array on `device`, "cpu" or "cuda"; this object stays as it is."""
        moved = copy(self)
        moved.train, moved.validation, moved.test = (
            split.to(device) for split in (self.train, self.validation, self.test)
        )
        return moved


def _checked_targets(task: TaskSpec, values: Any, rows: int) -> Array:
    """The targets of one task as (rows,) int64 or float32, or an error that names the task. Missing ones are NaN."""
    what = f"task {task.name!r}: the target"
    array = as_numbers(values, what, gaps=True)
    if array.shape != (rows,):
        raise ValueError(f"task {task.name!r}: targets have shape {array.shape}, expected ({rows},)")
    if task.missing is not None:
        array = marked_missing(array, task.missing)
    filled, there = without_gaps(array)
    if task.kind == "classes":
        good = (filled >= 0) & (filled < task.outputs) & (filled == np.floor(filled))
        wanted = f"label {{:g}}, expected 0 to {task.outputs - 1} ({task.outputs} classes)"
    elif task.kind == "binary":
        good = (filled == 0) | (filled == 1)
        wanted = "target {:g}, expected 0 or 1"
    else:
        good = np.isfinite(filled)
        wanted = "target {:g}, expected a finite number"
    if not good.all():
        row = int(good.argmin())
        raise ValueError(f"task {task.name!r}: row {row} has {wanted.format(filled[row])}")
    dtype = np.int64 if task.kind == "classes" and there is None else np.float32
    checked = filled.astype(np.int64) if dtype is np.int64 else cast(filled, dtype, what).copy()
    if there is not None:
        checked[~there] = np.nan
    return checked
