"""The shared-bottom network: one trunk that every task reads, and a head for each task."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from operator import attrgetter
from typing import Any, Self

import numpy as np

from tinymtl.arrays import as_numbers
from tinymtl.autodiff import Tensor, no_grad, record, sweep
from tinymtl.backend import Array, device_of, to_device, to_host
from tinymtl.checks import choose, require
from tinymtl.files import load_arrays, save_arrays
from tinymtl.nn.batch import Batch, as_input, read_batch
from tinymtl.nn.heads import SeparateHeads, StackedHeads, TaskGradients, sweeps, why_separate
from tinymtl.nn.layout import Layout, flatten, joined
from tinymtl.nn.mode import evaluating
from tinymtl.nn.module import Module, held, output_of
from tinymtl.nn.parameters import Buffer, Parameter, float_dtype


@dataclass(frozen=True)
class Task:
    """One task: what it is called, how it reads the representation, and what it minimises.

    Parameters
    ----------
    name : str
    head : Module
        Maps Z (N, d) to a prediction.
    loss : callable
        (prediction, target) → scalar Tensor, such as `tinymtl.cross_entropy`. A loss of your own gets only the
        rows that are labelled.
    metric : callable, optional
        (prediction, target), arrays on the host → float, larger is better. By default the laboratory takes
        accuracy for the two cross-entropies and R² for mse_loss and l1_loss.
    missing : number, optional
        A target that means "not labelled", such as −1. NaN, None and a mask always do.
    """

    name: str
    head: Module
    loss: Callable[[Tensor, Any], Tensor]
    metric: Callable[[Array, Array], float] | None = None
    missing: float | None = None

    def __post_init__(self) -> None:
        require("the name of a task", self.name, str, "text")
        require(f"the head of task {self.name!r}", self.head, Module, "a module, such as tinymtl.nn.Linear(64, 10)")
        require(f"the loss of task {self.name!r}", self.loss, Callable, "a function such as tinymtl.cross_entropy")
        if self.metric is not None:
            require(f"the metric of task {self.name!r}", self.metric, Callable, "a function such as tinymtl.lab.r2")
        if self.missing is not None:
            require(f"missing of task {self.name!r}", self.missing, Real, "a number, such as -1")


@dataclass
class Passes:
    """How often each part of a network was run: counted where it happens, by the operations themselves."""

    trunk_forwards: int = 0
    trunk_backwards: int = 0
    head_backwards: int = 0

    def now(self) -> tuple[int, int, int]:
        """The counts as they stand, in the order of the attributes."""
        return self.trunk_forwards, self.trunk_backwards, self.head_backwards

    def since(self, earlier: tuple[int, int, int]) -> Passes:
        """What has been added since `earlier`, which `now` told."""
        forwards, backwards, heads = earlier
        return Passes(self.trunk_forwards - forwards, self.trunk_backwards - backwards, self.head_backwards - heads)

    def restore(self, earlier: tuple[int, int, int]) -> None:
        """Count on from `earlier`."""
        self.trunk_forwards, self.trunk_backwards, self.head_backwards = earlier


class BeforeForward:
    """What a forward changes besides computing Z: a model's pass counts, random generators and buffers, as they are."""

    def __init__(self, model: SharedBottom):
        self.model = model
        self.passes = model.passes.now()
        self.generators: list[tuple[np.random.Generator, Any]] = []
        self.buffers: list[tuple[Buffer, Array]] = []
        if model.generators or model.buffers:
            model.find_state()
            self.generators = [(g, g.bit_generator.state) for g in model.generators]
            self.buffers = [(b, b.data.copy()) for b in model.buffers.values()]

    def restore(self) -> None:
        """Put them back."""
        self.model.passes.restore(self.passes)
        for generator, state in self.generators:
            generator.bit_generator.state = state
        for buffer, values in self.buffers:
            buffer.data = values


class SharedBottom:
    """A trunk and K heads. Its parameters are views of one flat vector: the trunk, then head after head.

    Parameters
    ----------
    trunk : Module
        Maps x to the representation Z, shape (N, d).
    tasks : list of Task
        At least one; their names are different.

    Raises
    ------
    ValueError
        Without tasks, for a name given twice, or where two blocks share a parameter.

    Examples
    --------
    >>> import tinymtl as tm
    >>> model = tm.SharedBottom(tm.nn.MLP([4, 8]), [
    ...     tm.Task("left", tm.nn.Linear(8, 3), tm.cross_entropy),
    ...     tm.Task("right", tm.nn.Linear(8, 3, rng=1), tm.cross_entropy),
    ... ])
    >>> {name: p.shape for name, p in model.predict(np.zeros((5, 4))).items()}
    {'left': (5, 3), 'right': (5, 3)}
    """

    def __init__(self, trunk: Module, tasks: Sequence[Task]):
        if not isinstance(trunk, Module):
            raise TypeError(f"a SharedBottom's trunk is a Module, not {type(trunk).__name__}")
        self.trunk = trunk
        self.tasks = list(tasks)
        if not self.tasks:
            raise ValueError("a SharedBottom needs at least one task")
        for task in self.tasks:
            if not isinstance(task, Task):
                raise TypeError(f"the tasks of a SharedBottom are tinymtl.Task objects, not {type(task).__name__}")
        self.task_names = [task.name for task in self.tasks]
        if len(set(self.task_names)) < len(self.tasks):
            raise ValueError(f"task names must be different, got {self.task_names}")
        self.passes = Passes()
        self._lay_out()

    def _lay_out(self, dtype: Any = None, device: str | None = None) -> None:
        """Put all parameters into one vector, in their common dtype and on the first one's device by default."""
        self.layout = Layout(list(self.trunk.parameters()), [list(task.head.parameters()) for task in self.tasks])
        parameters = self.layout.parameters
        if len(set(parameters)) < len(parameters):
            seen: dict[Parameter, str] = {}
            for key, parameter in self._named():
                if parameter in seen:
                    raise ValueError(
                        f"{seen[parameter]} and {key} are one parameter: the trunk and the heads must not share any, "
                        "since each has an optimizer memory of its own"
                    )
                seen[parameter] = key
        if parameters:
            dtype = dtype or np.result_type(*(p.dtype for p in parameters))
            device = device or device_of(parameters[0].data)
        #: Every parameter of the model, trunk first, as one vector.
        self.vector = Tensor(self.layout.pack(dtype or np.float32, device or "cpu"), requires_grad=True)
        self.separate_because = why_separate(self.tasks)
        markers = [task.missing for task in self.tasks]
        self._missing = None if markers.count(None) == len(markers) else markers
        self.heads: StackedHeads | SeparateHeads = (
            StackedHeads(self.tasks, self.layout, self.passes, self.vector.data)
            if self.separate_because is None
            else SeparateHeads(self.tasks, self.layout, self.passes)
        )
        self.frozen: list[slice] = []
        self._known = self.heads.leaves.union(parameters)
        self.find_state()
        for buffer in self.buffers.values():
            buffer.to(self.vector.dtype, device_of(self.vector.data))

    def find_state(self) -> None:
        """Find the modules' random generators and buffers, again if a module may have been exchanged."""
        self.generators = [g for _, module in self._modules() for g in module.generators()]
        #: What the modules keep but do not learn, by path: "trunk/layers.1.running_mean".
        self.buffers = {f"{name}/{path}": b for name, module in self._modules() for path, b in held(module, Buffer)}

    def _modules(self) -> list[tuple[str, Module]]:
        return [("trunk", self.trunk), *((f"heads/{task.name}", task.head) for task in self.tasks)]

    def __repr__(self) -> str:
        heads = "stacked" if self.separate_because is None else f"separate, because {self.separate_because}"
        tasks = ", ".join(self.task_names)
        return (
            f"SharedBottom(trunk: {type(self.trunk).__name__}, {self.layout.trunk.stop:,} parameters; "
            f"{len(self.tasks)} tasks: {tasks}; heads: {heads})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # these are made again: a copy has a vector of its own
        derived = ("layout", "vector", "heads", "generators", "buffers", "_known")
        return {key: value for key, value in vars(self).items() if key not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lay_out()

    def __copy__(self) -> Self:
        """The same parameters, in the same vector: both train them."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        return other

    # ------------------------------------------------------------ running it

    def represent(self, x: Any) -> Tensor:
        """The trunk: Z, shape (N, d). Counted as a trunk forward, and each sweep through it as a trunk backward."""
        if x is not None:  # None: an analytic problem's
            x = as_input(x, self.vector.data)
        self.passes.trunk_forwards += 1
        z = output_of("the trunk", self.trunk, x)

        def count(g: Array) -> Array:
            self.passes.trunk_backwards += sweeps(g, z.data)
            return g

        return record(z.data, (z, count))

    def losses(self, z: Tensor, batch: Batch, group: Sequence[int] | None = None) -> Tensor:
        """The losses (len(group),) of the tasks in `group`, in that order, from Z.

        By default of all tasks, or if labels are missing of those that have one in this batch: `batch.group`.
        """
        return self.heads.losses(z, batch, batch.group if group is None else group)

    def task_gradients(self, z: Tensor, batch: Batch) -> tuple[Array, TaskGradients, dict[Tensor, Array]]:
        """The losses L, the gradients Dₖ = ∇_Z Lₖ, and every head's own ∇_φₖ Lₖ, from sweeps cut at Z.

        L and D are those of the tasks in `batch.group`, in that order: of all, unless one has no label in this batch.
        The heads' gradients are those that a sweep finds: what `flatten` takes.
        """
        return self.heads.task_gradients(z, batch)

    def predict(self, x: Any) -> dict[str, Array]:
        """Every task's prediction (what its head returns), in evaluation and without recording a graph.

        Parameters
        ----------
        x : array, shape (N, …)

        Returns
        -------
        dict of arrays, in task order
        """
        with evaluating(), no_grad():
            z = output_of("the trunk", self.trunk, as_input(x, self.vector.data))
            return {task.name: output_of(f"task {task.name!r}", task.head, z).data for task in self.tasks}

    # ------------------------------------------------------------ what goes in

    def read(self, x: Any, targets: Any) -> Batch:
        """Check a minibatch and bring it to the model's dtype and device.

        Parameters
        ----------
        x : array, shape (N, …)
        targets : {task: array}, or one array (N, K) with a column per task, or a table with a column of each name
            NaN (on the host), None, masked or the task's `missing` where there is no label.

        Raises
        ------
        ValueError
            For an empty batch, an unknown or missing task, or a number of rows that differs from x's.
        """
        stacked = self.separate_because is None
        return read_batch(x, targets, self.task_names, self.vector.data, stacked, self._missing)

    # ------------------------------------------------------------ parameters and gradients

    def check_whole(self) -> None:
        """Look at every parameter before a step: whether it is still the model's, and whether it is to be trained.

        Raises a ValueError if one was exchanged since the model was made, or belongs to another model now.
        """
        layout, parameters = self.layout, self.layout.parameters
        trained = all(map(attrgetter("requires_grad"), parameters))
        if list(map(attrgetter("owner"), parameters)).count(layout) < len(parameters):
            lost = next(parameter for parameter in parameters if parameter.owner is not layout)
            raise ValueError(
                f"the parameter {self._path_of(lost)} belongs to another SharedBottom by now: "
                "train that one, or give each model modules of its own"
            )
        self.heads.check_whole()
        #: Where parameters stand that require no gradient: no step touches them.
        self.frozen = [] if trained else layout.frozen()
        if not trained and not any(p.requires_grad for p in layout.trunk_parameters):
            for name, head in zip(self.task_names, layout.head_parameters, strict=True):
                if not any(p.requires_grad for p in head):
                    raise ValueError(
                        f"task {name!r}: its loss reaches no parameter that is trained, since the trunk and its head "
                        "are frozen: set requires_grad = True, or leave the task out"
                    )

    def _path_of(self, parameter: Parameter) -> str:
        return next((key for key, known in self._named() if known is parameter), f"of shape {parameter.shape}")

    def sweep(self, outputs: Tensor, seed: Array) -> dict[Tensor, Array]:
        """The gradients of `outputs`, weighted by `seed`, at every parameter they reach; what `flatten` takes.

        A ValueError if they reach a parameter that is not the model's: it would never be trained.
        """
        found = sweep([outputs], [seed], (), self.heads.leaves)
        for leaf in found if not self._known.issuperset(found) else ():
            if isinstance(leaf, Parameter) and leaf.owner is not self.layout:
                raise ValueError(
                    f"the losses depend on a parameter of shape {leaf.shape} that is not among the model's: a module "
                    "must hold its layers in attributes (also in lists, tuples, dicts), from the start; nothing moved"
                )
        return found

    def flatten(self, found: Mapping[Tensor, Array]) -> Array:
        """A sweep's gradients as one array that lies like `vector`; 0 for parameters that it did not reach."""
        parts = flatten(self.layout.trunk_parameters, found) + self.heads.gradients(found)
        return joined(parts, self.vector.data)

    def flatten_trunk(self, found: Mapping[Tensor, Array]) -> Array:
        """The trunk's part of `flatten`."""
        return joined(flatten(self.layout.trunk_parameters, found), self.vector.data)

    def flatten_head(self, found: Mapping[Tensor, Array], task: int) -> Array:
        """One head's part of `flatten`."""
        return self.heads.gradient(found, task)

    def shared_parameters(self) -> list[Parameter]:
        """The trunk's parameters: weight, bias, weight, bias …"""
        return list(self.layout.trunk_parameters)

    def task_parameters(self, name: str) -> list[Parameter]:
        """The parameters of one task's head."""
        choose("task", name, self.task_names, KeyError)
        return list(self.layout.head_parameters[self.task_names.index(name)])

    def to(self, dtype: Any = None, device: str | None = None) -> Self:
        """Change the dtype ("float32", "float64") or the device ("cpu", "cuda") of parameters and buffers, in place.

        Returns the model. Optimizer memories made before hold the old dtype and device: make steps after this.
        """
        like = self.vector.data
        self._lay_out(float_dtype(dtype) if dtype is not None else like.dtype, device or device_of(like))
        return self

    # ------------------------------------------------------------ files

    def state(self) -> dict[str, Array]:
        """A copy of every parameter and buffer on the host.

        Both are called by their path in the modules: "trunk/layers.0.weight", "heads/left/bias",
        "trunk/layers.1.running_mean".
        """
        return {key: np.array(to_host(kept.data)) for key, kept in self._kept().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take all values from `state`, which must have just this model's keys and shapes."""
        require("the state of a model", state, Mapping, "what model.state() returned")
        state = {key: v if type(v) is np.ndarray else as_numbers(v, repr(key)) for key, v in state.items()}
        kept, state = self._kept(), self._by_name(state)
        if set(kept) != set(state):
            odd = sorted(set(kept) ^ set(state))[0]
            raise ValueError(f"the saved parameters are another network's: {odd!r} is in only one of the two")
        for key, own in kept.items():
            if state[key].shape != own.data.shape:
                raise ValueError(f"{key!r} was saved with shape {state[key].shape}, this model has {own.data.shape}")
            if state[key].dtype.kind != own.data.dtype.kind:
                raise ValueError(f"{key!r} was saved as {state[key].dtype}, this model has {own.data.dtype}")
        for key, own in kept.items():
            own.data = to_device(np.array(to_host(state[key]), own.data.dtype), device_of(own.data))

    def _kept(self) -> dict[str, Parameter | Buffer]:
        self.find_state()
        return dict(self._named()) | self.buffers

    def _named(self) -> list[tuple[str, Parameter]]:
        blocks = [("trunk", self.trunk), *((f"heads/{task.name}", task.head) for task in self.tasks)]
        return [(f"{block}/{path}", p) for block, module in blocks for path, p in held(module, Parameter)]

    def _by_name(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """`state` with names for the positions ("trunk/0", "heads/left/1") that files of version 0.1 have."""
        counts = {"trunk": self.layout.trunk_parameters} | {
            f"heads/{name}": head for name, head in zip(self.task_names, self.layout.head_parameters, strict=True)
        }
        positions = [f"{block}/{i}" for block, parameters in counts.items() for i in range(len(parameters))]
        if not positions or not set(positions) <= set(state):
            return state
        names = dict(zip(positions, [name for name, _ in self._named()], strict=True))
        return {names.get(key, key): value for key, value in state.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all parameters and buffers to `path`, an .npz file (never pickle): written beside it, then renamed."""
        save_arrays(path, self.state())

    @classmethod
    def load(cls, path: str | os.PathLike[str], trunk: Module, tasks: Sequence[Task]) -> Self:
        """`SharedBottom(trunk, tasks)` with the parameters and buffers that `save` wrote to `path`.

        Raises
        ------
        ValueError
            If the file is damaged or holds another network; a TypeError for one that holds text.
        """
        model = cls(trunk, tasks)
        arrays = load_arrays(path)
        model.to(dtype=next((array.dtype for array in arrays.values() if array.dtype.kind == "f"), None))
        model.load_state(arrays)
        return model
