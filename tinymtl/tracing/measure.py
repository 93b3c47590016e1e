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
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module, device_of, to_device, to_host
from tinymtl.nn import training
from tinymtl.nn.batch import Batch
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import SGD
from tinymtl.steps import Stage, Step, StepReport, Update
from tinymtl.ties import rounding
from tinymtl.tracing.record import Turn
from tinymtl.tracing.result import Trace


def trace(step: Step, x: Any = None, targets: Any = None) -> Trace:
    r"""Run one step, and say everything about it.

    The parameters, the optimizer's memory, the random generators and the pass counts end as after `step(x, targets)`,
    bit for bit. The measurement takes K more trunk backwards per turn, and copies of the model for every turn.

    Parameters
    ----------
    step : any strategy
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
    watched: list[_Watched] = []
    stages = step.stages(x, targets)
    watch = _Watched(step)
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
            watch = _Watched(step)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a step that was far too long may send a loss to infinity
        turns = [watch.measure(batch) for watch in watched]
    return Trace(
        strategy=type(step).__name__,
        optimizer=repr(step.optimizer),
        learning_rate=_plain_learning_rate(step),
        task_names=list(model.task_names),
        x_shape=None if batch.x is None else tuple(batch.x.shape),
        dtype=str(model.vector.dtype),
        heads_have_parameters=model.layout.size > model.layout.trunk.stop,
        losses=report.losses.astype(np.float64),
        weights=None if report.weights is None else np.array(report.weights, dtype=np.float64),
        min_norm=report.min_norm,
        trunk_forwards=report.trunk_forwards,
        trunk_backwards=report.trunk_backwards,
        head_backwards=report.head_backwards,
        turns=turns,
        notes=_notes(model, report, turns),
    )


class _Watched:
    """The copies that are taken of one turn, and what is measured on them afterwards."""

    def __init__(self, step: Step):
        self.twin = _twin(step.model)
        self.before = to_host(step.model.vector.data).astype(np.float64)
        self.rounding = rounding(step.model.vector.dtype)

    def end(self, step: Step, update: Update) -> None:
        """Take what the update says, and the parameters that it left."""
        names = step.model.task_names
        self.group = list(update.group)
        self.weights = np.zeros(len(names))
        self.weights[self.group] = to_host(update.weights)
        self.label = _label(step, update, self.weights)
        self.v = to_host(update.v).astype(np.float64)
        self.gram = None if update.gram is None else np.array(update.gram)
        self.space = update.at if self.v.size else "Z"
        self.after = to_host(step.model.vector.data).astype(np.float64)
        self.touched = list(update.memory or [])

    def measure(self, batch: Batch) -> Turn:
        """Losses and gradients as they were before the turn, and the losses after it."""
        twin = self.twin
        tasks = range(len(twin.tasks))
        # dropout masks of heads that share a generator come in the order of the step's own forwards
        order = [*self.group, *(k for k in tasks if k not in self.group)]
        afterwards = _twin(twin)
        losses, at_z, at_theta, at_heads = _gradients(twin, batch, order)
        afterwards.vector.data[...] = to_device(self.after, device_of(afterwards.vector.data))
        _, _, moved = _forward(afterwards, batch, order)
        after = np.array([moved[k].item() for k in tasks])

        before, change = self.before, self.after - self.before
        trunk, heads = twin.layout.trunk, twin.layout.heads
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


def _twin(model: SharedBottom) -> SharedBottom:
    """A copy in float64 that shares nothing with `model`: its own parameters, its own random generators."""
    try:
        return copy.deepcopy(model).to("float64")
    except Exception as error:
        raise TypeError(
            f"tracing measures on a copy of the model, and this one cannot be copied ({error}); "
            "look for open files, locks or generators among its modules"
        ) from error


def _forward(model: SharedBottom, batch: Batch, order: list[int]) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Z, Z as a leaf of its own, and every loss from there, in training as the step's own forward."""
    if batch.x is not None:
        batch = model.read(batch.x, dict(zip(model.task_names, batch.targets, strict=True)))
    with training():
        z = model.represent(batch.x)
        cut = z.detach()
        cut.requires_grad = True
        return z, cut, {k: model.losses(cut, batch, [k]) for k in order}


def _gradients(
    model: SharedBottom, batch: Batch, order: list[int]
) -> tuple[Array, Array, Array, list[Array]]:
    """Losses (K,), ∇_Z Lₖ (K, size of Z), ∇_θ Lₖ (K, size of θ) and each ∇_φₖ Lₖ, on the host."""
    z, cut, losses = _forward(model, batch, order)
    tasks = range(len(model.tasks))
    xp = array_module(z.data)
    at_z = np.zeros((len(tasks), z.size))
    at_theta = np.zeros((len(tasks), model.layout.trunk.stop))
    at_heads = []
    for k in tasks:
        found = model.sweep(losses[k], xp.ones_like(losses[k].data))
        at_heads.append(to_host(model.flatten_head(found, k)).astype(np.float64))
        if cut in found:
            at_z[k] = to_host(found[cut]).reshape(-1)
            at_theta[k] = to_host(model.flatten_trunk(model.sweep(z, found[cut])))
    return np.array([losses[k].item() for k in tasks]), at_z, at_theta, at_heads


def _label(step: Step, update: Update, weights: Array) -> str:
    """How to call an update's weights."""
    names = step.model.task_names
    if not step.one_update:
        group = ", ".join(names[k] for k in sorted(update.group))
        return f"task {group} only" if len(update.group) == 1 else "group {" + group + "}"
    if update.solution is not None:
        return "α"
    return "uniform" if (weights == weights[0]).all() else "weighted"


def _plain_learning_rate(step: Step) -> float | None:
    """η if the optimizer moves θ by exactly −η v: plain SGD with a fixed learning rate. Otherwise None."""
    rule = step.optimizer
    if not isinstance(rule, SGD) or rule.momentum or rule.weight_decay or rule.clip_norm is not None:
        return None
    return None if callable(rule.lr) else rule.lr


def _notes(model: SharedBottom, report: StepReport, turns: list[Turn]) -> list[str]:
    """Whether the twins gave the step's own losses again."""
    rounding = float(np.finfo(model.vector.dtype).eps) ** 0.5
    notes = []
    for turn in turns:
        for k in turn.group:
            own, again = float(report.losses[k]), float(turn.losses[k])
            if not math.isclose(own, again, rel_tol=rounding, abs_tol=rounding):
                notes.append(
                    f"task {model.task_names[k]!r}: the step saw the loss {own:.6g}, the copy that is measured "
                    f"{again:.6g}: a module or a loss draws random numbers or keeps a state that is not copied with it"
                )
    return notes
