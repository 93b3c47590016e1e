"""One real step, watched: what it computed, and what it did to every loss.

The step runs as in a plain call. While it runs, only copies are taken: of its stages' values, of the parameters,
and of the model. Once it has ended, those copies of the model (twins, in float64) are run instead of the model:
each replays the moment before a turn and the moment after it, with the random numbers that the step drew. So
nothing that is measured here can change what is trained.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from dataclasses import fields
from typing import Any
from urllib.parse import unquote

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module, device_of, is_array, to_device, to_host
from tinymtl.checks import require
from tinymtl.hull import MinNorm
from tinymtl.nn import training
from tinymtl.nn.batch import Batch
from tinymtl.nn.heads import cut_at
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import SGD
from tinymtl.steps import Stage, Step, StepReport, Update
from tinymtl.steps.step import is_optimizers
from tinymtl.ties import CLOSE, rounding
from tinymtl.tracing.record import Turn
from tinymtl.tracing.result import Trace


def trace(step: Step, x: Any = None, targets: Any = None) -> Trace:
    r"""Run one step, and say everything about it.

    The parameters, the optimizer's memory, the random generators and the pass counts end as after `step(x, targets)`,
    bit for bit. The measurement takes K more trunk backwards per turn, and copies of the model for every turn.

    Parameters
    ----------
    step : any strategy, one of your own as well
    x, targets : as for calling the step; None for an analytic problem

    Returns
    -------
    Trace
        Plain data, with a table (`repr`), a table and a picture (in a notebook), `.explain()` and `.to_dict()`.

    Raises
    ------
    As the step does. A model that cannot be copied is refused with a TypeError before the step begins.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> seen = tm.trace(tm.MGDA(problem, tm.SGD(lr=0.1)))
    >>> seen.turns[0].gram  # of the gradients (2, 2) and (0, −1)
    array([[ 8., -2.],
           [-2.,  1.]])
    >>> seen.turns[0].predicted * 130  # −η gₖ·v = −0.1 · 4/13 for both
    array([-4., -4.])
    >>> print(seen.explain().replace(". ", ".\n"))
    loss 1 and loss 2 pull 135° apart, with lengths 2.828 and 1.
    The averaged step would raise loss 2 (ḡ·g = −0.5).
    α = 3/13 and 10/13 lowers both equally (gₖ·v = 4/13): loss 1 fell by 19/650 and loss 2 fell by 19/650.
    """
    require("step", step, Step, "a strategy, such as tinymtl.MGDA(model, optimizer)")
    stages = traced_stages(step, x, targets)
    try:
        while True:
            next(stages)
    except StopIteration as end:
        traced: Trace = end.value
        return traced


def traced_stages(step: Step, x: Any = None, targets: Any = None) -> Generator[Stage, None, Trace]:
    """`step.stages(x, targets)`, with the Trace as the generator's return value."""
    model = step.model
    batch = model.read(x, targets)
    here, names = batch.group, list(model.task_names)  # a task without a label has no part in the step
    watched: list[_Turn] = []
    stages = step.stages(x, targets)
    watch = _Turn(step)
    while True:
        try:
            stage = next(stages)
        except StopIteration as end:
            report: StepReport = end.value
            break
        yield stage
        if stage.name == "update":  # a turn ends here
            watch.end(step, stage.update)
            watched.append(watch)
            watch = _Turn(step)
    batch = _in_float64(batch)
    with np.errstate(over="ignore", invalid="ignore"):  # a step that was far too long may send a loss to infinity
        turns = [watch.measure(batch) for watch in watched]
    return Trace(
        strategy=type(step).__name__,
        optimizer=repr(step.optimizer),
        learning_rate=_plain_learning_rate(step),
        task_names=[names[k] for k in here],
        labelled=None if batch.labelled is None else dict(zip(names, batch.labelled, strict=True)),
        x_shape=None if batch.x is None else tuple(batch.x.shape),
        dtype=str(model.vector.dtype),
        heads_have_parameters=model.layout.size > model.layout.trunk.stop,
        losses=report.losses[here].astype(np.float64),
        weights=None if report.weights is None else np.array(report.weights, dtype=np.float64)[here],
        min_norm=report.min_norm if isinstance(report.min_norm, MinNorm) else None,
        trunk_forwards=report.trunk_forwards,
        trunk_backwards=report.trunk_backwards,
        head_backwards=report.head_backwards,
        turns=turns,
        notes=[note for watch, turn in zip(watched, turns, strict=True) for note in watch.notes(turn)],
    )


class _Turn:
    """The copies that are taken of one turn, and what is measured on them afterwards."""

    def __init__(self, step: Step):
        self.twin = _twin(step.model)
        self.before = to_host(step.model.vector.data).astype(np.float64)
        self.rounding = rounding(step.model.vector.dtype)
        self.memory: dict[str, Array] | None = step.state()

    def end(self, step: Step, update: Update) -> None:
        """Take what the update says, and the parameters and the memory that it left."""
        names, trunk = step.names, step.model.layout.trunk
        for part in ("losses", "weights", *(["v"] if trunk.stop else [])):
            if getattr(update, part) is None:
                raise ValueError(f"{type(step).__name__} leaves {part} of its Update open: a trace shows what is in it")
        self.here = list(step.group)  # all that follows is of these tasks alone
        self.group = [self.here.index(k) for k in update.group]
        self.losses = to_host(update.losses).astype(np.float64)
        self.weights = np.zeros(len(names))
        self.weights[self.group] = to_host(update.weights)
        self.v = to_host(update.v).astype(np.float64) if trunk.stop else np.zeros(0)
        self.space = update.at if trunk.stop else "Z"
        self.gram = None
        if update.gram is not None and len(self.group) == len(names):
            self.gram = np.zeros((len(names), len(names)))
            self.gram[np.ix_(self.group, self.group)] = update.gram
        self.label = _label([names[k] for k in sorted(self.group)], len(names), update, self.rounding)
        self.after = to_host(step.model.vector.data).astype(np.float64)
        self.touched, self.memory = _changed(self.memory or {}, step.state()), None

    def measure(self, batch: Batch) -> Turn:
        """Losses and gradients as they were before the turn, and the losses after it."""
        twin = self.twin
        # dropout masks of heads that share a generator come in the order of the step's own forwards
        first = [self.here[i] for i in self.group]
        order = [*first, *(k for k in self.here if k not in first)]
        afterwards = _twin(twin)
        losses, at_z, at_theta, at_heads = _gradients(twin, batch, order)
        afterwards.vector.data[...] = to_device(self.after, device_of(afterwards.vector.data))
        _, _, moved = _forward(afterwards, batch, order)
        after = np.array([moved[k].item() for k in self.here])

        before, change = self.before, self.after - self.before
        trunk, heads = twin.layout.trunk, [twin.layout.heads[k] for k in self.here]
        # rounding moves a loss itself, and every parameter that the update has left
        terms = ((at_theta * before[trunk]) ** 2).sum(axis=1)
        terms += [((h * before[part]) ** 2).sum() for h, part in zip(at_heads, heads, strict=True)]
        largest = np.fmax(abs(losses), np.where(np.isfinite(after), abs(after), 0.0))
        noise = (rounding() * largest + self.rounding * np.sqrt(terms)) / 4
        return Turn(
            group=self.group,
            weights=self.weights,
            label=self.label,
            losses=losses,
            space=self.space,
            gram_z=at_z @ at_z.T,
            gram_theta=at_theta @ at_theta.T,
            gram_of_step=self.gram,
            v_z=self.weights @ at_z,
            v=self.v,
            descent=at_theta @ self.v,
            predicted_trunk=at_theta @ change[trunk],
            predicted_head=np.array([h @ change[part] for h, part in zip(at_heads, heads, strict=True)]),
            actual=after - losses,
            memories=self.touched,
            noise=noise,
            rounding=self.rounding,
        )

    def notes(self, turn: Turn) -> list[str]:
        """Whether the twin gave the step's own losses again."""
        near = float(np.sqrt(self.rounding / 64))
        return [
            f"task {self.twin.task_names[self.here[k]]!r}: the step saw the loss {own:.6g}, the copy that is measured "
            f"{turn.losses[k]:.6g}: a module or a loss draws random numbers or keeps a state that is not copied with it"
            for k, own in zip(self.group, self.losses.tolist(), strict=True)
            if not math.isclose(own, float(turn.losses[k]), rel_tol=near, abs_tol=near)
        ]


def _twin(model: SharedBottom) -> SharedBottom:
    """A copy in float64 that shares nothing with `model`: its own parameters, its own random generators."""
    try:
        return copy.deepcopy(model).to("float64")
    except Exception as error:
        raise TypeError(
            f"tracing measures on a copy of the model, and this one cannot be copied ({error}); "
            "look for open files, locks or generators among its modules"
        ) from error


def _in_float64(part: Any) -> Any:
    """A batch as the step read it, or a part of one, in the dtype of the twins."""
    if isinstance(part, Batch):
        return Batch(*(_in_float64(getattr(part, field.name)) for field in fields(Batch)))
    if isinstance(part, Tensor):
        return Tensor(_in_float64(part.data))
    if isinstance(part, list):
        return [_in_float64(item) for item in part]
    return part.astype(np.float64) if is_array(part) and part.dtype.kind == "f" else part


def _forward(model: SharedBottom, batch: Batch, order: list[int]) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Z, a leaf with its values, and every loss from there, in training as the step's own forward."""
    with training():
        z = model.represent(batch.x)
        leaf, cut = cut_at(z)
        return z, leaf, {k: model.losses(cut, batch, [k]) for k in order}


def _gradients(model: SharedBottom, batch: Batch, order: list[int]) -> tuple[Array, Array, Array, list[Array]]:
    """Losses (K,), ∇_Z Lₖ (K, size of Z), ∇_θ Lₖ (K, size of θ) and each ∇_φₖ Lₖ, on the host, of the tasks in `order`.

    The forwards run in that order; what is returned is in task order.
    """
    z, leaf, losses = _forward(model, batch, order)
    tasks, xp = sorted(order), array_module(z.data)
    values = np.array([losses[k].item() for k in tasks], dtype=np.float64)
    at_z, at_theta = np.zeros((len(tasks), z.size)), np.zeros((len(tasks), model.layout.trunk.stop))
    at_heads = []
    for i, k in enumerate(tasks):
        found = model.sweep(losses[k], xp.ones_like(losses[k].data))
        at_heads.append(to_host(model.flatten_head(found, k)).astype(np.float64))
        if leaf in found:
            at_z[i] = to_host(found[leaf]).reshape(-1)
            at_theta[i] = to_host(model.flatten_trunk(model.sweep(z, found[leaf])))
    return values, at_z, at_theta, at_heads


def _label(group: list[str], tasks: int, update: Update, rounding: float) -> str:
    """How to call an update: by whose turn it is, or by the weights if all tasks have part in it."""
    if len(group) < tasks:
        return f"task {group[0]} only" if len(group) == 1 else "group {" + ", ".join(group) + "}"
    if isinstance(update.solution, MinNorm):
        return "α"
    weights = to_host(update.weights)
    return "uniform" if np.ptp(weights) <= max(CLOSE, rounding) * abs(weights).max() else "weighted"


def _changed(before: dict[str, Array], after: dict[str, Array]) -> list[str]:
    """The parts of a step's memory that changed, by name. An optimizer's are told by its arrays, not by its count."""
    changed: dict[str, None] = {}
    for path, array in after.items():
        name = unquote(path.split("/")[0])
        counts = is_optimizers(name) and (path.endswith("/t") or array.dtype.kind == "U")
        if not counts and (path not in before or not np.array_equal(before[path], array)):
            changed[name] = None
    return list(changed)


def _plain_learning_rate(step: Step) -> float | None:
    """η if the optimizer moves θ by exactly −η v: plain SGD with a fixed learning rate. Otherwise None."""
    rule = step.optimizer
    if type(rule) is not SGD or rule.momentum or rule.weight_decay or rule.clip_norm is not None:
        return None
    return None if callable(rule.lr) else rule.lr
