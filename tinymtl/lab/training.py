"""The training loop: minibatches, validation, early stop, checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tinymtl.backend import Array, array_module, device_of, to_device, to_host
from tinymtl.checks import random_generator, require, whole_number
from tinymtl.data import MultiTaskData, Split
from tinymtl.files import held
from tinymtl.lab import checkpoint as checkpoints
from tinymtl.lab.evaluation import evaluate, metric_of, target_of
from tinymtl.lab.history import History
from tinymtl.lab.measure import task_gradients
from tinymtl.lab.metrics import conflicting_pairs, cosines, raised_tasks
from tinymtl.lab.progress import progress_bar
from tinymtl.lab.statistics import defined_mean
from tinymtl.steps.step import Step, StepReport
from tinymtl.ties import exceeds


def fit(
    step: Step,
    data: MultiTaskData,
    epochs: int,
    *,
    batch_size: int = 64,
    rng: int | np.random.Generator = 0,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    evaluate_every: int = 1,
    measure_every: int | None = None,
    progress: bool | None = None,
) -> History:
    """Train a step's model on the training part of a data set; the model is changed in place.

    Every epoch visits all rows once, in a random order; the last minibatch may be smaller. The model's tasks may
    be some of the data's; a row without a label for any of them is left out. The data move to the model's device once.

    Parameters
    ----------
    step : Step
        A strategy, such as `tinymtl.MGDA(model, optimizer)`.
    data : MultiTaskData
    epochs : int
        Epochs in all; after a resume, those of the checkpoint are counted.
    batch_size : int, default 64
    rng : int or numpy Generator, default 0
        Draws the order of the rows. Two runs with the same number see the same minibatches.
    patience : int, optional
        Stop once this many epochs have passed without a larger mean (over tasks) validation metric. Then, and also
        if all epochs were run, the model keeps the parameters of the best epoch. By default those of the last.
    checkpoint : path, optional
        An .npz file that is replaced after every epoch, in one step: parameters, optimizer
        memories, random states, history. Nothing in it is unpickled.
    resume : bool, default False
        Go on from `checkpoint` if that file exists; the result is bit-identical to that of an uninterrupted run.
        Make the step as before: another strategy, optimizer, data set or option is refused.
    evaluate_every : int, default 1
        Look at the validation part after every so many epochs, and after the last one.
    measure_every : int, optional
        Look at the task gradients at the trunk before the first step and every so many steps from then on, for
        `History.conflicting_share`. It costs a forward and K backwards each time, and does not change the run.
    progress : bool, optional
        Show a progress bar (on stderr). By default only on a terminal.

    Returns
    -------
    History

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C: a script must not take a half-trained network for a trained one. The checkpoint holds the last
        complete epoch, and `resume=True` goes on from there.
    ValueError
        For a bad option, a task that the data do not have or that has no label in the training part, a validation
        part without any label, a damaged checkpoint or one of another run.
    OSError
        If the checkpoint cannot be written, or exists and `resume` is False; or if another run is writing it.

    Examples
    --------
    >>> import tinymtl as tm
    >>> data = tm.data.load("attributes")
    >>> model = tm.lab.build(data, trunk=[16])
    >>> history = fit(tm.Averaged(model, tm.Adam(lr=0.01)), data, epochs=2)
    >>> history.epochs, sum(history.trunk_forwards)  # 1097 rows are 18 minibatches of 64
    (2, 36)
    """
    require("step", step, Step, "a strategy, such as tinymtl.MGDA(model, optimizer)")
    require("data", data, MultiTaskData, "a MultiTaskData, such as tinymtl.data.load('weather')")
    model = step.model
    epochs = whole_number("epochs", epochs, 1)
    options = {"batch_size": batch_size, "evaluate_every": evaluate_every}
    options |= {"patience": patience} if patience is not None else {}
    options |= {"measure_every": measure_every} if measure_every is not None else {}
    options = {name: whole_number(name, value, 1) for name, value in options.items()}
    for task in model.tasks:
        metric_of(task)
    for split in (data.train, data.validation):
        for task_name in model.task_names:
            target_of(split, task_name)
    _check_labels(data, model.task_names)
    device = device_of(model.vector.data)
    data = data.to(device)
    rng = random_generator(rng)
    state = checkpoints.Progress(History(list(model.task_names)), None, rng)
    path = None if checkpoint is None else Path(checkpoint)
    settings = {} if path is None else checkpoints.settings_of(step, data, **options)
    if path is None and resume:
        raise ValueError("resume=True needs to know from where: give checkpoint=")
    if path is not None:
        checkpoints.check_place(path, resume)
    with nullcontext() if path is None else held(path):
        if path is not None and path.exists():
            state = checkpoints.load(path, step, rng, settings)

        history = state.history
        rows = _rows_with_a_label(data.train, model.task_names)
        minibatches = -(-len(rows) // batch_size)
        bar = progress_bar(epochs * minibatches, history.epochs * minibatches, "step", progress)
        saved = history.epochs if path is not None and path.exists() else None
        try:
            if path is not None and saved is None:
                checkpoints.save(path, step, state, settings)
                saved = 0
            while history.epochs < epochs and not history.stopped_early:
                order = rows[rng.permutation(len(rows))]
                _train_epoch(step, data.train, order, batch_size, measure_every, history, bar.update)
                step.end_epoch()
                if history.epochs % evaluate_every == 0 or history.epochs == epochs:
                    _validate(state, step, data.validation, patience)
                    bar.set_postfix_str(f"validation {defined_mean(history.validation_metrics[-1]):.3f}")
                if path is not None:
                    checkpoints.save(path, step, state, settings)
                    saved = history.epochs
        except KeyboardInterrupt as interrupt:
            where = "there is no checkpoint" if path is None else f"{path} was not written yet"
            if saved is not None:
                where = f"{path} holds {saved} of them: resume=True goes on from there"
            interrupt.add_note(f"tinymtl.lab.fit was interrupted after {history.epochs} complete epochs; {where}")
            raise
        finally:
            bar.close()
        if state.best is not None:
            model.load_state(state.best)
        return history


def _train_epoch(
    step: Step,
    split: Split,
    order: Array,
    batch_size: int,
    measure_every: int | None,
    history: History,
    tick: Callable[[], Any],
) -> None:
    """One pass over the rows in `order`; what happened is added to `history` at its end."""
    x, targets = split.x, _targets(split, step.model.task_names)
    any_column = next(iter(targets.values())) if isinstance(targets, dict) else targets
    at_x, at_targets = (to_device(order, device_of(a)) for a in (x, any_column))  # targets with gaps are on the host
    counter = history.epochs * -(-len(order) // batch_size)
    reports: list[StepReport] = []
    measurements: list[tuple[int, int, float, int]] = []
    measuring = 0.0
    started = time.perf_counter()
    for start in range(0, len(order), batch_size):
        rows = at_targets[start : start + batch_size]
        y = {name: t[rows] for name, t in targets.items()} if isinstance(targets, dict) else targets[rows]
        batch = x[at_x[start : start + batch_size]], y
        counter += 1
        if measure_every is None or (counter - 1) % measure_every:
            reports.append(step(*batch))
        else:
            before = time.perf_counter()
            gradients = task_gradients(step.model, *batch)
            theta = step.model.vector.data[step.model.layout.trunk].copy()
            measuring += time.perf_counter() - before
            reports.append(step(*batch))
            before = time.perf_counter()
            moved = theta - step.model.vector.data[step.model.layout.trunk]
            measurements.append((counter, *_measure(gradients, moved)))
            measuring += time.perf_counter() - before
        tick()
    sizes = [min(batch_size, len(order) - start) for start in range(0, len(order), batch_size)]
    losses = _mean_over_labels(reports, sizes)  # on a GPU this waits for it
    history.seconds.append(time.perf_counter() - started - measuring)
    history.train_losses.append(losses.astype(float).tolist())
    history.trunk_forwards.append(sum(report.trunk_forwards for report in reports))
    history.trunk_backwards.append(sum(report.trunk_backwards for report in reports))
    history.head_backwards.append(sum(report.head_backwards for report in reports))
    for number, pairs, cosine, raised in measurements:
        history.measured.append(number)
        history.conflicting_pairs.append(pairs)
        history.smallest_cosine.append(cosine)
        history.raised_tasks.append(raised)


def _measure(gradients: Array, v: Array) -> tuple[int, float, int]:
    """Conflicting pairs, the smallest cosine, and the number of tasks whose loss v raises to first order."""
    gradients, v = to_host(gradients), to_host(v)
    angles = cosines(gradients)[np.triu_indices(len(gradients), 1)]
    return conflicting_pairs(gradients), float(angles.min(initial=1.0)), raised_tasks(gradients, v)


def _validate(state: checkpoints.Progress, step: Step, split: Split, patience: int | None) -> None:
    """Look at the validation part; keep the parameters if they are the best so far; decide whether to stop."""
    history = state.history
    scores = evaluate(step.model, split).values()
    history.evaluated.append(history.epochs)
    history.validation_losses.append([score["loss"] for score in scores])
    history.validation_metrics.append([score["metric"] for score in scores])
    metrics = np.array(history.validation_metrics)
    seen = metrics[:, ~np.isnan(metrics).all(axis=0)]  # not: a task without a label, or whose R² is not defined
    means = np.nan_to_num(seen.sum(axis=1) / (seen.shape[1] or 1), nan=-np.inf).tolist()
    if history.best_epoch is None or exceeds(means[-1], means[history.evaluated.index(history.best_epoch)]):
        history.best_epoch = history.epochs
        if patience is not None:
            state.best = step.model.state()
    elif patience is not None:
        history.stopped_early = history.epochs - history.best_epoch >= patience


def _targets(split: Split, names: list[str]) -> Any:
    """The targets of the model's tasks: one (N, K) array if all are of one kind, otherwise a dict."""
    columns = {name: split.targets[name] for name in names}
    kinds = {(task.kind, task.outputs) for task in split.tasks if task.name in columns}
    if len(kinds) > 1:
        return columns
    first, *_ = columns.values()
    return array_module(first).stack(list(columns.values()), axis=1)


def _check_labels(data: MultiTaskData, names: Sequence[str]) -> None:
    for name in names:
        if not data.train.labelled[name]:
            raise ValueError(f"task {name!r} has no label in the training part of {data.name}: leave the task out")
    if not any(data.validation.labelled[name] for name in names):
        raise ValueError(f"the validation part of {data.name} has no label for any of {', '.join(names)}")


def _rows_with_a_label(split: Split, names: Sequence[str]) -> Array:
    """The numbers of the rows that teach something, in order."""
    if any(split.labelled[name] == len(split) for name in names):
        return np.arange(len(split))
    return np.flatnonzero(np.any([~np.isnan(split.targets[name]) for name in names], axis=0))


def _mean_over_labels(reports: Sequence[StepReport], sizes: Sequence[int]) -> Array:
    """Each task's loss over an epoch: the mean over its labelled rows."""
    losses = np.array([report.losses for report in reports])
    if all(report.labelled is None for report in reports):
        return np.average(losses, axis=0, weights=sizes)
    everyone = [[size] * losses.shape[1] for size in sizes]
    counts = np.array([report.labelled or rows for report, rows in zip(reports, everyone, strict=True)])
    total: Array = np.where(counts > 0, losses * counts, 0.0).sum(axis=0) / counts.sum(axis=0)
    return total
