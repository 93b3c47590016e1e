"""What goes into a model: a minibatch, checked and brought to the model's dtype and device.

A target that is NaN, masked or None is missing: that row is not labelled for that task. The batch then has weights,
1 where there is a label and 0 where there is none, and counts the labels of each task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.arrays import as_numbers, cast, check_same_rows, columns, marked_missing, without_gaps
from tinymtl.autodiff import Tensor, record
from tinymtl.backend import Array, array_module, device_of, to_device, to_host
from tinymtl.checks import did_you_mean


@dataclass
class Batch:
    """A minibatch as the model takes it: an array per task, and where heads are stacked all of them as one `matrix`.

    Where labels are missing the targets are 0 and the weights are 0.
    """

    x: Any
    targets: Sequence[Any]
    group: list[int]  # the tasks that have a label in this batch, in order
    matrix: Array | None = None
    weights: Sequence[Array | None] | None = None  # per task, of its targets' shape; None: all are labelled
    weight_matrix: Array | None = None  # the same beside `matrix`
    labelled: Sequence[int] | None = None  # per task, how many rows have a label; None: all rows, for every task

    def weights_of(self, k: int) -> Array | None:
        """The weights of task k's targets; None if all its rows are labelled."""
        return None if self.weights is None else self.weights[k]


def read_batch(
    x: Any,
    targets: Any,
    names: Sequence[str],
    like: Array,
    stacked: bool,
    missing: Sequence[float | None] | None = None,
) -> Batch:
    """Check a minibatch for a model with tasks `names` and parameters `like`; see `SharedBottom.read`.

    `missing` has for each task the number that stands for no label, or None; it is None if no task has one.
    """
    given, x = x, as_input(x, like)
    rows = len(x.data)
    if rows == 0:
        raise ValueError(f"the batch is empty: x has shape {x.shape}")
    by_name = targets if isinstance(targets, Mapping) else columns(targets)
    if by_name is None:
        matrix = _as_target(targets, like, "the array of targets")
        if matrix.ndim != 2 or matrix.shape[1] != len(names):
            raise ValueError(
                f"targets are a dict {{task: array}} or one array (N, {len(names)}) with a column per task; "
                f"got an array of shape {matrix.shape}"
            )
        each = list(matrix.T)
        if len(matrix) != rows:
            raise ValueError(f"task {names[0]!r}: targets of shape {each[0].shape} for a batch of {rows} rows")
    else:
        _check_names(by_name, names)
        matrix, each = None, []
        a_table = type(given) is not np.ndarray
        for name in names:
            column = _as_target(by_name[name], like, f"task {name!r}: the target")
            if column.ndim == 0 or len(column) != rows or (stacked and column.size != rows):
                raise ValueError(f"task {name!r}: targets of shape {column.shape} for a batch of {rows} rows")
            if a_table:
                check_same_rows(given, by_name[name], f"task {name!r}: the target")
            each.append(column)
    if missing is not None:
        each = [_marked(*task) for task in zip(names, each, missing, strict=True)]
        matrix = None
    if matrix is None and stacked:
        matrix = array_module(each[0]).concatenate([column.reshape(rows, 1) for column in each], axis=1)
        each = list(matrix.T)
    return _with_weights(Batch(x, each, list(range(len(names))), matrix), like)


def _with_weights(batch: Batch, like: Array) -> Batch:
    """The same batch; if labels are missing, with 0 in their place, and with weights."""
    if batch.matrix is not None:
        matrix, there = without_gaps(batch.matrix)
        if there is None:
            return batch
        batch.matrix, batch.weight_matrix = matrix, there.astype(like.dtype)
        batch.targets, batch.weights = list(matrix.T), list(batch.weight_matrix.T)
        labelled = there.sum(axis=0).tolist()
    else:
        pairs = [without_gaps(target) for target in batch.targets]
        if all(there is None for _, there in pairs):
            return batch
        batch.targets = [target for target, _ in pairs]
        batch.weights = [None if there is None else there.astype(like.dtype) for _, there in pairs]
        labelled = [len(target) if there is None else _rows_in(there) for target, there in pairs]
    if not any(labelled):
        raise ValueError("no task has a label in this batch: leave its rows out")
    batch.labelled, batch.group = labelled, [k for k, count in enumerate(labelled) if count]
    return batch


def _rows_in(there: Array) -> int:
    return int(there.reshape(len(there), -1).any(axis=1).sum())


def as_input(x: Any, like: Array) -> Tensor:
    """`x` as a Tensor of the dtype and on the device of `like`; the gradient of one that requires it goes on to it."""
    given: Array = x.data if isinstance(x, Tensor) else as_numbers(x, "x")
    if given.ndim == 0:
        raise ValueError("x has no rows: expected an array of shape (N, …)")
    values = given
    if like.size or values.dtype.kind != "f":  # a model without parameters takes any float as it is
        values = cast(values, like.dtype, "x")
    if type(values) is not type(like):
        values = to_device(values, device_of(like))
    if not isinstance(x, Tensor):
        return Tensor(values)
    return x if values is given else record(values, (x, lambda g: to_device(g, device_of(given)).astype(given.dtype)))


def _as_target(target: Any, like: Array, what: str) -> Array:
    if isinstance(target, Tensor):
        if target.requires_grad:
            raise ValueError(f"{what} requires a gradient, but a target is a constant: detach() it")
        target = target.data
    values = as_numbers(target, what, gaps=True)
    # host targets stay on the host: the loss checks their range there, once, and then uploads them
    return values if type(values) is type(like) or not isinstance(like, np.ndarray) else to_host(values)


def _marked(name: str, column: Array, marker: float | None) -> Array:
    """`column` with NaN where it holds the task's number for "not labelled"."""
    if marker is None:
        return column
    if not isinstance(column, np.ndarray):
        raise ValueError(
            f"task {name!r} has missing={marker:g}, and its targets lie on the GPU: give them on the host, "
            "for a step has to know which tasks are labelled"
        )
    return marked_missing(column, marker)


def _check_names(given: Iterable[Any], names: Sequence[str]) -> None:
    if list(given) == names:  # as it is most of the time
        return
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"targets name an unknown task {unknown[0]!r}: {did_you_mean(unknown[0], names)}")
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"targets miss the task {missing[0]!r}: give an array for each of {list(names)}")
