"""What every strategy shares: stages, the report, one memory, and the promise that bad input moves nothing."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.autodiff.recording import is_recording, mode
from tinymtl.backend import Array, array_module, keep_freed_memory, to_host
from tinymtl.checks import require, shown
from tinymtl.hull import MinNorm
from tinymtl.nn.heads import TaskGradients
from tinymtl.nn.mode import is_training, training
from tinymtl.nn.shared_bottom import BeforeForward, Passes, SharedBottom
from tinymtl.optim import RULE_MEMORIES, RULES, Optimizer, clipped_together
from tinymtl.steps.memory import arrays_in, from_arrays, kept, put_back, step_in_path, to_arrays


@dataclass(slots=True)
class Update:
    """One update of the parameters, and all that led to it: filled from top to bottom while the step runs.

    Attributes
    ----------
    group : list of int
        The tasks whose losses make it, in the order of all that follows: none that has no label in this batch.
    Z : Tensor (N, d)
        The representation.
    losses : array (len(group),)
    at : "θ" or "Z"
        Where gradients are weighed: at the trunk's parameters, or at the representation.
    gradients : TaskGradients
        The gₖ that are weighed: `[k]`, `.gram()`, `.combine(w)`. None for a strategy that weighs losses alone.
    gram : array (K, K)
        G = [gᵢ·gⱼ], in float64 on the host.
    weights : array (len(group),)
        Of every task's gradient in v.
    solution : MinNorm or None
        The weights' certificate, from a strategy that has one.
    v : array (P,)
        What the optimizer is given for the trunk: flat, in the order of the parameters.
    memory : list of str
        The parts of `step.memory` that the optimizer used.
    """

    group: list[int]
    Z: Any = None
    losses: Any = None
    at: str = "θ"
    gradients: TaskGradients | None = None
    gram: Array | None = None
    weights: Any = None
    solution: Any = None
    v: Any = None
    memory: Sequence[str] | None = None


class Stage(NamedTuple):
    """One named stage of a step, and the update as far as it has come."""

    name: str
    update: Update

    @property
    def values(self) -> dict[str, Any]:
        """What is known by now, by name."""
        known = {field.name: getattr(self.update, field.name) for field in fields(Update)}
        return {name: value for name, value in known.items() if value is not None}


class StepReport:
    """What one step did.

    Attributes
    ----------
    losses : array (K,)
        In task order, on the host; each loss as seen just before its own update. NaN for a task that had no label.
    weights : array (K,) or None
        The weight of each task in the trunk's update; None for a step of several updates. NaN for a task that had no
        label: it took no part.
    labelled : list of K int, or None
        How many rows of the batch were labelled for each task; None if all were.
    min_norm : MinNorm or None
        The solution of the min-norm problem with its certificate.
    trunk_forwards, trunk_backwards, head_backwards : int
        Passes measured while the step ran.
    """

    def __init__(
        self,
        losses: Array,
        passes: Passes,
        weights: Array | None = None,
        min_norm: MinNorm | None = None,
        labelled: Sequence[int] | None = None,
    ):
        self._losses = losses
        self._weights = weights
        self.min_norm = min_norm
        self.labelled = None if labelled is None else list(labelled)
        self.trunk_forwards = passes.trunk_forwards
        self.trunk_backwards = passes.trunk_backwards
        self.head_backwards = passes.head_backwards

    @property
    def losses(self) -> Array:
        """The losses (K,) on the host; on a GPU, reading them waits for the device and checks that they are finite."""
        losses = to_host(self._losses)
        if losses is not self._losses:
            good = np.isfinite(losses) | (np.array(self.labelled or 1) == 0)
            if good.all():
                return losses
            task = int(np.argmin(good))
            raise FloatingPointError(f"the loss of task {task} is {losses[task]}: go back to an earlier checkpoint")
        return losses

    @property
    def weights(self) -> Array | None:
        """The weights (K,) on the host, or None."""
        return None if self._weights is None else to_host(self._weights)

    def __repr__(self) -> str:
        losses = np.array2string(self.losses, precision=4, separator=", ")
        weights = (
            "" if self.weights is None else f", weights={np.array2string(self.weights, precision=4, separator=', ')}"
        )
        return (
            f"StepReport(losses={losses}{weights}, trunk_forwards={self.trunk_forwards}, "
            f"trunk_backwards={self.trunk_backwards}, head_backwards={self.head_backwards})"
        )


Updates = Iterator[tuple[str, Update]]


class Step:
    """A training strategy bound to a model and an optimizer rule.

    To write one, start from a template: `GradientWeighted` (weights from the gradients' inner products),
    `LossWeighted` (weights from the losses) or `Turns` (several updates per minibatch). Only a strategy that none of
    them fits writes `updates` itself:

    - `updates(batch)` is the algorithm from top to bottom. It yields (name, update) after each stage, with an `Update`
      that it fills on the way; the stage named "update" ends one, and there the parameters have moved.
    - Parameters are moved by `self.move` alone, which keeps the optimizer's memories.
    - Whatever the next step depends on besides the model stands in `self.memory`, a dict: generators, averages,
      learned weights. Checkpoints, traces and the undo of a refused step read it and nothing else.

    In return a strategy gets, without a line of its own: stages, the report with its pass counts, errors that name
    the task if a loss or a gradient is not finite, and the promise that a step that fails has changed nothing.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    """

    #: Whether it claims that the order in which the tasks are given changes nothing.
    equivariant = True
    one_update = True  #: Whether all tasks move together, once per minibatch.

    def __init__(self, model: SharedBottom, optimizer: Optimizer):
        if not isinstance(model, SharedBottom):
            raise TypeError(f"a step's model is a SharedBottom or an analytic problem, not {type(model).__name__}")
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                "a step's optimizer is a rule such as tinymtl.Adam(lr=1e-3), with init and update, "
                f"not {shown(optimizer)}"
            )
        self.model = model
        self.optimizer = optimizer
        self.memory: dict[str, Any] = {}
        #: The tasks that take part in this step, in order: all, but for those without a label in the batch.
        self.group = list(range(len(model.tasks)))
        # a rule of ours makes its update at once: copies to go back to are made only if something may fail afterwards
        ours = type(self).updates.__module__.startswith(f"{__package__}.")
        self._copies = not (self.one_update and ours and type(optimizer) in RULES)
        self._run: _Run | None = None  # while a step runs
        keep_freed_memory()

    def updates(self, batch: Any) -> Updates:
        """The algorithm: yield (stage's name, update) on the way through each update."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it updates: write updates(self, batch)")

    def stages(self, x: Any = None, targets: Any = None) -> Generator[Stage, None, StepReport]:
        """Run one step, pausing after each named stage; the generator's return value is the StepReport.

        A generator that is left before its end has updated what it has passed.
        """
        run = _Run(self)
        try:
            for name, update in _undisturbed(run.updates(x, targets)):
                yield Stage(name, update)
                if name == "update":
                    run.done.append(update)
        except GeneratorExit:
            raise
        except BaseException:
            run.restore()
            raise
        finally:
            run.end()
        return self._report(run)

    def _report(self, run: _Run) -> StepReport:
        tasks, passes = len(self.model.tasks), self.model.passes.since(run.passes)
        if not self.one_update:
            losses = _in_task_order([(update.group, update.losses) for update in run.done], tasks)
            return StepReport(losses, passes, labelled=run.labelled)
        (update,) = run.done
        losses, weights = update.losses, update.weights
        if len(update.group) < tasks:
            losses = _in_task_order([(update.group, losses)], tasks)
            weights = None if weights is None else _in_task_order([(update.group, weights)], tasks)
        return StepReport(losses, passes, weights, update.solution, run.labelled)

    def __call__(self, x: Any = None, targets: Any = None) -> StepReport:
        """Run one step.

        Parameters
        ----------
        x : array, shape (N, …); None for an analytic problem
        targets : {task: array}, or one array (N, K) with a column per task; None for an analytic problem

        Returns
        -------
        StepReport

        Raises
        ------
        ValueError, TypeError
            For input that does not fit the model.
        FloatingPointError
            For a loss or gradient that is not finite; for a loss it names the task. In every case nothing has moved.
            On a GPU only strategies that weigh gradients look before the update; with others `report.losses` does,
            when it is read.
        """
        run = _Run(self)
        try:
            with np.errstate(all="ignore"):  # a number that is not finite gets an error, with the task's name
                for name, update in run.updates(x, targets):  # the same algorithm as `stages`, without a pause
                    if name == "update":
                        run.done.append(update)
        except BaseException:
            run.restore()
            raise
        finally:
            run.end()
        return self._report(run)

    def end_epoch(self) -> None:
        """What the strategy does at the end of an epoch; most do nothing. `tinymtl.lab.fit` calls it."""

    # ------------------------------------------------------------ what the templates use

    def move(self, *moves: tuple[str, slice, Array], still: Sequence[slice] = ()) -> None:
        """Let the optimizer update parts of the model's vector: (its memory's name, the part, the gradient) for each.

        The parts are those of one gradient: a rule with `clip_norm` takes the norm of all of them together. What
        lies in `still`, and every parameter that requires no gradient, stays as it is, and so does what the memory
        keeps of it: a momentum or a weight decay would move it though its gradient is 0.
        """
        if self.model.frozen or still:
            self._move_but([*self.model.frozen, *still], moves)
            return
        if len(moves) == 1:
            self._update(self.optimizer, *moves[0])
            return
        rule, gradients = clipped_together(self.optimizer, [gradient for _, _, gradient in moves])
        for (memory, part, _), gradient in zip(moves, gradients, strict=True):
            self._update(rule, memory, part, gradient)

    def _update(self, rule: Optimizer, memory: str, part: slice, gradient: Array) -> None:
        if not gradient.size:  # a trunk or a head without parameters has no memory
            return
        vector = self.model.vector
        values = vector if gradient.size == vector.size else Tensor(vector.data[part])
        if self._copies and self._run is not None:
            self._run.keep(memory)
        if memory not in self.memory:
            self.memory[memory] = self.optimizer.init([values])
        rule.update([values], [gradient], self.memory[memory])

    def _move_but(self, still: Sequence[slice], moves: Sequence[tuple[str, slice, Array]]) -> None:
        """`move`, with some places of the vector put back afterwards."""
        inside, gradients = [_overlaps(still, part) for _, part, _ in moves], []
        for (_, _, gradient), stays in zip(moves, inside, strict=True):
            gradients.append(gradient.copy() if stays else gradient)
            for place in stays:
                gradients[-1][place] = 0
        rule, clipped = clipped_together(self.optimizer, gradients)
        for (memory, part, _), gradient, stays in zip(moves, clipped, inside, strict=True):
            if self._run is not None:
                self._run.keep(memory)
            values = self.model.vector.data[part]
            before = {path: [a[place].copy() for place in stays] for path, a in self._alike(memory, values)}
            self._update(rule, memory, part, gradient)
            for path, array in self._alike(memory, values):
                for i, place in enumerate(stays):
                    array[place] = before[path][i] if path in before else 0  # new memories begin at rest

    def _alike(self, memory: str, values: Array) -> list[tuple[str, Array]]:
        """The parameters and every array of a memory that lies like them."""
        found = [(path, a) for path, a in arrays_in(self.memory.get(memory), memory) if a.shape == values.shape]
        return [*found, ("the parameters", values)]

    def move_all(self, gradient: Array, group: Sequence[int]) -> None:
        """`move` of all parameters at once; the heads of tasks that are not in `group` stay."""
        heads = self.model.layout.heads
        absent = () if len(group) == len(heads) else [part for k, part in enumerate(heads) if k not in group]
        self.move(("all", slice(0, gradient.size), gradient), still=absent)

    def require_trunk(self, why: str, instead: str) -> None:
        """Raise a ValueError if the trunk has no parameters for the tasks to share."""
        if not self.model.layout.trunk.stop:
            raise ValueError(f"{why}, but this trunk has no parameters: {instead}")

    @property
    def names(self) -> list[str]:
        """The names of the tasks that take part in this step."""
        names = self.model.task_names
        return names if len(self.group) == len(names) else [names[k] for k in self.group]

    def require_finite(self, values: Array, what: str = "loss", group: Sequence[int] | None = None) -> None:
        """Raise a FloatingPointError that names the task whose loss (or other number) is NaN or infinite.

        The values are of the tasks in `group`, by default of all in this step. Only on the host: looking at a number
        on a GPU would make every step wait for it. There `StepReport.losses` looks, when it is read.
        """
        if not isinstance(values, np.ndarray) or math.isfinite(sum(numbers := values.tolist())):
            return
        for task, number in zip(self.group if group is None else group, numbers, strict=True):
            if not math.isfinite(number):
                raise FloatingPointError(
                    f"task {self.model.task_names[task]!r}: its {what} is {number}; nothing was updated. "
                    "Look for NaN or huge values in the batch, or lower the learning rate"
                )

    def represent(self, batch: Any) -> Tensor:
        """Z; a ValueError if the trunk has parameters but Z does not depend on them."""
        model = self.model
        z = model.represent(batch.x)
        if not z.requires_grad and any(p.requires_grad for p in model.layout.trunk_parameters):
            raise ValueError(
                "the trunk's output depends on none of its parameters (detached, or computed by NumPy?): "
                "it would not learn; nothing was updated"
            )
        return z

    # ------------------------------------------------------------ the memory in a file

    def state(self) -> dict[str, Array]:
        """The memory as named host arrays, for a checkpoint: all that the next step needs besides the model's."""
        parts = [(step_in_path(name), part) for name, part in self.memory.items()]
        return {path: array for name, part in parts for path, array in to_arrays(part, name)}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on from what `state` returned, for a step made with the same arguments.

        Raises a ValueError, before anything changes, if `state` does not fit this step.
        """
        require("the state of a step", state, Mapping, "what step.state() returned")
        odd_keys = [key for key in state if not isinstance(key, str)]
        if odd_keys:
            raise TypeError(f"the state of a step has names, not {shown(odd_keys[0])}")
        names = list(dict.fromkeys(unquote(path.split("/")[0]) for path in state))
        new = [name for name in names if name not in self.memory]
        odd = [name for name in self.memory if name not in names] + [name for name in new if not is_optimizers(name)]
        if odd:
            raise ValueError(f"the saved memory is another step's: {odd[0]!r} is in only one of the two")
        fresh = {name: self._fresh(name) for name in new}
        memory = self.memory | fresh
        saved = {name: from_arrays(memory[name], state, step_in_path(name)) for name in names}
        self.memory |= fresh
        for name, part in saved.items():
            self.memory[name] = put_back(self.memory[name], part)

    def _fresh(self, name: str) -> Any:
        """A new memory of the optimizer for the part that the name tells."""
        vector, layout = self.model.vector.data, self.model.layout
        parts = {head_memory(self.model, k): part for k, part in enumerate(layout.heads)}
        parts["all"] = slice(0, layout.size)
        part = layout.trunk if name.startswith("trunk") else parts.get(name)
        if part is None:
            raise ValueError(f"the saved memory is another step's: {name!r} is in only one of the two")
        return self.optimizer.init([Tensor(vector[part])])


def _in_task_order(parts: Sequence[tuple[Sequence[int], Any]], tasks: int) -> Any:
    """Numbers of groups of tasks as one array (K,): NaN for a task that is in none."""
    first = parts[0][1]
    xp = array_module(first)
    seen = {k: values[i : i + 1] for group, values in parts for i, k in enumerate(group)}
    unseen = xp.full(1, np.nan, first.dtype) if len(seen) < tasks else None
    return xp.concatenate([seen.get(k, unseen) for k in range(tasks)])


def head_memory(model: SharedBottom, task: int) -> str:
    """The name of the optimizer's memory for one head."""
    return f"head of {model.task_names[task]}"


def _overlaps(places: Sequence[slice], part: slice) -> list[slice]:
    """What of `places` lies in `part`, counted from its start."""
    cut = [(max(p.start, part.start), min(p.stop, part.stop)) for p in places] if places else []
    return [slice(start - part.start, stop - part.start) for start, stop in cut if start < stop]


def is_optimizers(name: str) -> bool:
    """Whether a part of a step's memory, by its name, is the optimizer's."""
    return name == "all" or name.startswith(("trunk", "head of "))


def require_finite_gradient(gradient: Array) -> None:
    """Raise a FloatingPointError if a flat gradient on the host holds a NaN or an infinity."""
    if not isinstance(gradient, np.ndarray):
        return
    if not math.isfinite(float(gradient.dot(gradient))) and not np.isfinite(gradient).all():
        raise FloatingPointError(
            "the gradient of a finite loss is not finite (a sqrt or log at 0?); nothing was updated"
        )


def _undisturbed(updates: Updates) -> Updates:
    """`updates`, run as in a call of the step: NumPy says nothing of a number that is not finite, the step does."""
    while True:
        with np.errstate(all="ignore"):
            try:
                stage = next(updates)
            except StopIteration:
                return
        yield stage


def _in_training(updates: Updates) -> Updates:
    """`updates`, run in training mode; whoever asks for them keeps the mode that they are in."""
    while True:
        with training():
            try:
                stage = next(updates)
            except StopIteration:
                return
        yield stage


class _Run(BeforeForward):
    """One run of a step: its updates so far, and what a failure goes back to."""

    def __init__(self, step: Step):
        if not is_recording():
            raise ValueError("a training step needs gradients, but this is a no_grad block: call it outside")
        step.model.check_whole()
        super().__init__(step.model)
        self.step = step
        self.done: list[Update] = []
        self.names = list(step.memory)
        self.t, self.recording = self._time(), mode.recording
        self.vector: Array | None = None
        self.parts: dict[str, Any] = {}
        for name, part in step.memory.items():
            if type(part) not in RULE_MEMORIES and not is_optimizers(name):
                self.parts[name] = kept(part)
        step._run = self

    def updates(self, x: Any, targets: Any) -> Updates:
        """The strategy's updates on this batch, in training."""
        step = self.step
        batch = step.model.read(x, targets)
        step.group, self.labelled = batch.group, batch.labelled
        updates = step.updates(batch)
        return updates if is_training() else _in_training(updates)

    def keep(self, memory: str) -> None:
        """Copy what an update is about to change."""
        step = self.step
        if self.vector is None:
            self.vector = step.model.vector.data.copy()
        if memory in self.names and memory not in self.parts:
            part = step.memory[memory]
            self.parts[memory] = part.copy() if isinstance(part, RULE_MEMORIES) else kept(part)

    def _time(self) -> int:
        """How many updates the memory of all parameters has seen."""
        return getattr(self.step.memory.get("all"), "t", 0)

    def restore(self) -> None:
        """Put everything back; but without copies the step is done once its update is, and a Ctrl-C comes after it."""
        try:
            self._put_back()
        except BaseException:  # a Ctrl-C in the middle
            self._put_back()
            raise

    def _put_back(self) -> None:
        mode.recording = self.recording  # a Ctrl-C just when a no_grad ends would leave it on
        if self.vector is None and self._time() != self.t:
            return
        super().restore()
        step, model = self.step, self.model
        if self.vector is not None:
            model.vector.data[...] = self.vector
        for name in [name for name in step.memory if name not in self.names]:
            del step.memory[name]
        for name, saved in self.parts.items():
            step.memory[name] = saved if isinstance(saved, RULE_MEMORIES) else put_back(step.memory[name], saved)

    def end(self) -> None:
        """No update after this belongs to this run."""
        if self.step._run is self:
            self.step._run = None
