"""What every strategy shares: stages, the report, and the promise that bad input moves no parameter."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from tinymtl.autodiff import Tensor, sweep
from tinymtl.backend import Array, array_module, keep_freed_memory, to_device, to_host
from tinymtl.hull import MinNorm
from tinymtl.nn.shared_bottom import Passes, SharedBottom
from tinymtl.optim import Optimizer


class Stage(NamedTuple):
    """One named stage of a step and the values that it has just computed."""

    name: str
    values: dict[str, Any]


class StepReport:
    """What one step did.

    Attributes
    ----------
    losses : array (K,)
        In task order, on the host; each loss as seen just before its own update.
    weights : array (K,) or None
        The weight of each task in the trunk's update; None where each task (or group) makes its own.
    min_norm : MinNorm or None
        The solution of the min-norm problem with its certificate.
    trunk_forwards, trunk_backwards, head_backwards : int
        Passes measured while the step ran.
    """

    def __init__(self, losses: Array, passes: Passes, weights: Array | None = None, min_norm: MinNorm | None = None):
        self._losses = losses
        self.weights = weights
        self.min_norm = min_norm
        self.trunk_forwards = passes.trunk_forwards
        self.trunk_backwards = passes.trunk_backwards
        self.head_backwards = passes.head_backwards

    @property
    def losses(self) -> Array:
        """The losses (K,) on the host; on a GPU, reading them waits for the device and checks that they are finite."""
        losses = to_host(self._losses)
        if losses is not self._losses and not np.isfinite(losses).all():
            task = int(np.argmin(np.isfinite(losses)))
            raise FloatingPointError(f"the loss of task {task} is {losses[task]}: go back to an earlier checkpoint")
        return losses

    def __repr__(self) -> str:
        losses = np.array2string(self.losses, precision=4, separator=", ")
        weights = (
            "" if self.weights is None else f", weights={np.array2string(self.weights, precision=4, separator=', ')}"
        )
        return (
            f"StepReport(losses={losses}{weights}, trunk_forwards={self.trunk_forwards}, "
            f"trunk_backwards={self.trunk_backwards}, head_backwards={self.head_backwards})"
        )


Stages = Generator[Stage, None, StepReport]


class Step:
    """A training strategy bound to a model and an optimizer rule.

    Subclasses write `stages`, the algorithm from top to bottom; calling the step runs it to its end.
    """

    def __init__(self, model: SharedBottom, optimizer: Optimizer):
        self.model = model
        self.optimizer = optimizer
        keep_freed_memory()

    def stages(self, x: Any, targets: Any) -> Stages:
        """Run one step, pausing after each named stage; the generator's return value is the StepReport."""
        raise NotImplementedError

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
            On a GPU only MGDA and MGDA-UB look before the update; elsewhere `report.losses` does, when it is read.
        """
        stages = self.stages(x, targets)
        try:
            with np.errstate(all="ignore"):  # a number that is not finite gets an error below, with the task's name
                while True:
                    next(stages)
        except StopIteration as end:
            report: StepReport = end.value
            return report

    # The optimizer memories, by name: what a checkpoint must hold besides the parameters.

    def memories(self) -> dict[str, Any]:
        """The optimizer memories of this strategy, by name."""
        raise NotImplementedError

    def state(self) -> dict[str, Array]:
        """Everything that the next step depends on besides the parameters, as host arrays for a checkpoint."""
        arrays: dict[str, Array] = {}
        for name, memory in self.memories().items():
            for field in fields(memory):
                value = getattr(memory, field.name)
                if isinstance(value, list):
                    arrays |= {f"{name}/{field.name}/{i}": np.array(to_host(a)) for i, a in enumerate(value)}
                else:
                    arrays[f"{name}/{field.name}"] = np.array(value)
        if hasattr(self, "rng"):
            arrays["rng"] = np.array(json.dumps(self.rng.bit_generator.state))
        return arrays

    def load_state(self, state: dict[str, Array]) -> None:
        """Go on from what `state` returned, for a step made with the same arguments.

        Raises a ValueError, before anything changes, where `state` does not fit this step.
        """
        own = self.state()
        if set(own) != set(state):
            odd = sorted(set(own) ^ set(state))[0]
            raise ValueError(f"the saved state is another step's: {odd!r} is in only one of the two")
        for key, value in own.items():
            if key != "rng" and state[key].shape != value.shape:
                raise ValueError(f"{key!r} was saved with shape {state[key].shape}, this step has {value.shape}")
        for name, memory in self.memories().items():
            for field in fields(memory):
                value = getattr(memory, field.name)
                if isinstance(value, list):
                    for i, a in enumerate(value):
                        a[...] = to_device(
                            state[f"{name}/{field.name}/{i}"], "cpu" if isinstance(a, np.ndarray) else "cuda"
                        )
                else:
                    setattr(memory, field.name, state[f"{name}/{field.name}"].item())
        if hasattr(self, "rng"):
            self.rng.bit_generator.state = json.loads(str(state["rng"]))


class Undo:
    """The way back for a step that updates several times: if one part fails, none has happened."""

    def __init__(self, model: SharedBottom):
        self._vector = model.vector.data
        self._before = self._vector.copy()
        self._memories: list[tuple[Any, Any, Any]] = []

    def remember(self, memories: Any, key: Any) -> None:
        """Keep a copy of `memories[key]`, which is about to change."""
        memory = memories[key]
        self._memories.append((memories, key, memory.copy() if hasattr(memory, "copy") else copy.deepcopy(memory)))

    def restore(self) -> None:
        """Put parameters and memories back."""
        self._vector[...] = self._before
        for memories, key, memory in reversed(self._memories):
            memories[key] = memory


def weighted_gradients(
    model: SharedBottom, losses: Tensor, weights: Array, group: Sequence[int] | None = None
) -> list[Array]:
    """∇ Σ wₖ Lₖ for the trunk and the heads of `group`, one flat array for each of `model.blocks(group)`."""
    return model.flatten(sweep([losses], [weights]), group)


def join(parts: Sequence[Array]) -> Array:
    """The losses of several turns, in task order, as one array."""
    joined: Array = array_module(parts[0]).concatenate(parts)
    return joined


def require_finite(losses: Array, names: Sequence[str], what: str = "loss") -> None:
    """Raise a FloatingPointError that names the task whose loss (or other number) is NaN or infinite.

    Only on the host: looking at a number on a GPU would make every step wait for it. There `StepReport.losses`
    looks, when it is read.
    """
    if not isinstance(losses, np.ndarray):
        return
    values = losses.tolist()
    if math.isfinite(sum(values)):
        return
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value):
            raise FloatingPointError(
                f"task {name!r}: its {what} is {value}; nothing was updated. "
                "Look for NaN or huge values in the batch, or lower the learning rate"
            )


def require_finite_gradients(gradients: Iterable[Array]) -> None:
    """Raise a FloatingPointError where a flat gradient on the host holds a NaN or an infinity."""
    for gradient in gradients:
        if not isinstance(gradient, np.ndarray):
            return
        g = gradient.reshape(-1)
        if not math.isfinite(float(g.dot(g))) and not np.isfinite(g).all():
            raise FloatingPointError(
                "the gradient of a finite loss is not finite (a sqrt or log at 0?); nothing was updated"
            )


def require_trunk_parameters(model: SharedBottom, why: str, instead: str) -> None:
    """Raise a ValueError where the trunk has no parameters for the tasks to share."""
    if not model.trunk_block.size:
        raise ValueError(f"{why}, but this trunk has no parameters: {instead}")
