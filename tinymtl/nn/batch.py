"""What goes into a model: a minibatch, checked and brought to the model's dtype and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module, device_of, is_array, to_device, to_host
from tinymtl.checks import did_you_mean


@dataclass
class Batch:
    """A minibatch as the model takes it: an array per task, and where heads are stacked all of them as one `matrix`."""

    x: Any
    targets: Sequence[Any]
    matrix: Array | None = None


def read_batch(x: Any, targets: Any, names: Sequence[str], like: Array, stacked: bool) -> Batch:
    """Check a minibatch for a model with tasks `names` and parameters `like`; see `SharedBottom.read`."""
    x = as_input(x, like)
    rows = len(x.data)
    if rows == 0:
        raise ValueError(f"the batch is empty: x has shape {x.shape}")
    if isinstance(targets, Mapping):
        _check_names(targets, names)
        columns = [_as_target(targets[name], like) for name in names]
    else:
        matrix = _as_target(targets, like)
        if matrix.ndim != 2 or matrix.shape[1] != len(names):
            raise ValueError(
                f"targets are a dict {{task: array}} or one array (N, {len(names)}) with a column per task; "
                f"got an array of shape {matrix.shape}"
            )
        columns = [matrix[:, k] for k in range(len(names))]
        if len(matrix) != rows:
            raise ValueError(f"task {names[0]!r}: targets of shape {columns[0].shape} for a batch of {rows} rows")
        return Batch(x, columns, matrix)
    for name, column in zip(names, columns, strict=True):
        if column.ndim == 0 or len(column) != rows or (stacked and column.size != rows):
            raise ValueError(f"task {name!r}: targets of shape {column.shape} for a batch of {rows} rows")
    if not stacked:
        return Batch(x, columns)
    return Batch(x, columns, array_module(columns[0]).stack([column.reshape(rows) for column in columns], axis=1))


def as_input(x: Any, like: Array) -> Tensor:
    """`x` as a Tensor of the dtype and on the device of `like`."""
    values: Array = x.data if isinstance(x, Tensor) else x if is_array(x) else np.asarray(x, like.dtype)
    if values.ndim == 0:
        raise ValueError("x has no rows: expected an array of shape (N, …)")
    if like.size or values.dtype.kind != "f":  # a model without parameters takes any float as it is
        values = values.astype(like.dtype, copy=False)
    if type(values) is not type(like):
        values = to_device(values, device_of(like))
    return x if isinstance(x, Tensor) and values is x.data else Tensor(values)


def _as_target(target: Any, like: Array) -> Array:
    values: Array = target.data if isinstance(target, Tensor) else target
    if not is_array(values):
        return np.asarray(values)
    # host targets stay on the host: the loss checks their range there, once, and then uploads them
    return to_host(values) if isinstance(like, np.ndarray) else values


def _check_names(given: Mapping[str, Any], names: Sequence[str]) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"targets name an unknown task {unknown[0]!r}: {did_you_mean(unknown[0], names)}")
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"targets miss the task {missing[0]!r}: give an array for each of {list(names)}")
