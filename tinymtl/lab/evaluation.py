"""How good a network is on one part of a data set: each task's loss and metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from tinymtl.arrays import marked_missing, without_gaps
from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module, to_host
from tinymtl.checks import did_you_mean, require
from tinymtl.data import Split
from tinymtl.lab.measure import undisturbed
from tinymtl.lab.metrics import UndefinedMetric, accuracy, r2
from tinymtl.nn.losses import binary_cross_entropy_with_logits, cross_entropy, l1_loss, loss_of_labelled, mse_loss
from tinymtl.nn.mode import evaluating
from tinymtl.nn.shared_bottom import SharedBottom, Task


class Score(TypedDict):
    """A task's loss, its metric (larger is better), and the number of labelled rows that both are taken over."""

    loss: float
    metric: float
    labelled: int


#: What a task is judged by if it names no metric of its own.
METRICS: dict[Callable[..., Tensor], Callable[[Array, Array], float]] = {
    cross_entropy: accuracy,
    binary_cross_entropy_with_logits: accuracy,
    mse_loss: r2,
    l1_loss: r2,
}


def metric_of(task: Task) -> Callable[[Array, Array], float]:
    """A task's metric: its own, or accuracy for the two cross-entropies and R² for mse_loss and l1_loss."""
    metric = task.metric or METRICS.get(task.loss)
    if metric is None:
        raise ValueError(f"task {task.name!r} has a loss of its own and no metric: give Task(…, metric=…)")
    return metric


def evaluate(model: SharedBottom, split: Split, rows_at_once: int = 1000) -> dict[str, Score]:
    """Each task's loss and metric on a part of a data set, over the rows that are labelled for it.

    Nothing of the model changes: no parameter, buffer, pass count or random state. Modules are in evaluation: dropout
    is off, batch normalisation takes its running values.

    Parameters
    ----------
    model : SharedBottom
        Its tasks may be some of the data's.
    split : Split
    rows_at_once : int, default 1000
        How many rows are predicted at a time: a large part need not fit into memory at once.

    Returns
    -------
    dict
        {task: {"loss": mean loss over the labelled rows, "metric": larger is better, "labelled": their number}}, in
        the model's order. Loss and metric are NaN for a task without a label; R² also if all its labels are equal.

    Raises
    ------
    ValueError
        For a task that the data do not have, or one with a loss of its own and no metric.

    Examples
    --------
    >>> import tinymtl as tm
    >>> data = tm.data.load("attributes")
    >>> scores = evaluate(tm.lab.build(data, trunk=[8]), data.validation)
    >>> sorted(scores["even"])
    ['labelled', 'loss', 'metric']
    """
    require("model", model, SharedBottom, "a SharedBottom")
    require("split", split, Split, "a part of a data set, such as data.test")
    metrics = [metric_of(task) for task in model.tasks]
    targets = {task.name: _with_gaps(task, target_of(split, task.name)) for task in model.tasks}
    parts: dict[str, list[Array]] = {name: [] for name in targets}
    with undisturbed(model), evaluating(), np.errstate(all="ignore"):  # of a diverged network: infinite, no warning
        for start in range(0, len(split), rows_at_once):
            for name, prediction in model.predict(split.x[start : start + rows_at_once]).items():
                parts[name].append(prediction)
        scores: dict[str, Score] = {}
        for task, metric in zip(model.tasks, metrics, strict=True):
            prediction = array_module(parts[task.name][0]).concatenate(parts[task.name])
            target, there = targets[task.name]
            scores[task.name] = _score(task, metric, prediction, target, there)
    return scores


def _with_gaps(task: Task, target: Array) -> tuple[Array, Array | None]:
    """A task's targets with 0 where they are missing, and a mask of those that are there (None: all)."""
    if task.missing is not None:
        target = marked_missing(to_host(target), task.missing)
    return without_gaps(target)


def _score(
    task: Task, metric: Callable[[Array, Array], float], prediction: Array, target: Array, there: Array | None
) -> Score:
    count = len(target) if there is None else int(there.sum())
    if not count:
        return {"loss": math.nan, "metric": math.nan, "labelled": 0}
    loss = loss_of_labelled(task.loss, Tensor(prediction), target, there).item()
    prediction, target = to_host(prediction), to_host(target)
    if there is not None:
        prediction, target = prediction[there], target[there]
    try:
        value = float(metric(prediction, target))
    except UndefinedMetric:
        value = math.nan
    return {"loss": loss, "metric": value, "labelled": count}


def target_of(split: Split, name: str) -> Any:
    """The targets of one task; a ValueError for a task that the data do not have."""
    if name not in split.targets:
        hint = did_you_mean(name, split.targets, otherwise=f"its tasks are {', '.join(split.targets)}")
        raise ValueError(f"the model's task {name!r} is not in the data: {hint}")
    return split.targets[name]
