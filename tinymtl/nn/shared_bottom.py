"""The shared-bottom network: one trunk that every task reads, and a head for each task."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tinymtl.autodiff import Tensor, no_grad, record
from tinymtl.backend import Array, array_module, device_of, to_device, to_host
from tinymtl.checks import choose
from tinymtl.files import load_arrays, save_arrays
from tinymtl.nn.batch import Batch, as_input, read_batch
from tinymtl.nn.losses import PER_TASK, loss_of_labelled
from tinymtl.nn.mode import evaluating
from tinymtl.nn.module import Module
from tinymtl.nn.parameters import Block, Parameter, float_dtype, pack
from tinymtl.nn.stacked_heads import stackable, stacked_linear


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


@dataclass
class Passes:
    """How often each part of a network was run: counted where it happens, by the operations themselves."""

    trunk_forwards: int = 0
    trunk_backwards: int = 0
    head_backwards: int = 0

    def since(self, earlier: Passes) -> Passes:
        """What has been added since `earlier`, a copy made then."""
        return Passes(
            self.trunk_forwards - earlier.trunk_forwards,
            self.trunk_backwards - earlier.trunk_backwards,
            self.head_backwards - earlier.head_backwards,
        )

    def copy(self) -> Passes:
        """The counts as they stand."""
        return Passes(self.trunk_forwards, self.trunk_backwards, self.head_backwards)


class SharedBottom:
    """A trunk and K heads. Its parameters are views of one flat vector per block: the trunk, then each head.

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
        self.trunk = trunk
        self.tasks = list(tasks)
        if not self.tasks:
            raise ValueError("a SharedBottom needs at least one task")
        self.task_names = [task.name for task in self.tasks]
        if len(set(self.task_names)) < len(self.tasks):
            raise ValueError(f"task names must be different, got {self.task_names}")
        self.trunk_block = Block(trunk.parameters())
        self.head_blocks = [Block(task.head.parameters()) for task in self.tasks]
        parameters = [p for block in self._blocks() for p in block.parameters]
        if len(set(parameters)) < len(parameters):
            raise ValueError("a parameter belongs to one block only: the trunk and the heads must not share any")
        self.passes = Passes()
        linear = stackable([t.head for t in self.tasks], [t.loss for t in self.tasks])
        self.stacked = linear is not None
        self._features = linear[0].weight.shape[0] if linear else 0
        #: All heads' parameters as one leaf: a row a head where heads are stacked, else one flat vector.
        self.heads = Tensor(np.empty(0, np.float32), requires_grad=True)
        dtype = np.result_type(*(p.dtype for p in parameters)) if parameters else np.float32
        device = device_of(parameters[0].data) if parameters else "cpu"
        self._pack(dtype, device)

    def _blocks(self) -> list[Block]:
        return [self.trunk_block, *self.head_blocks]

    def _pack(self, dtype: Any, device: str) -> None:
        whole = pack(self._blocks(), dtype, device)
        heads = whole[self.trunk_block.size :]
        self.heads.data = heads.reshape(len(self.tasks), -1) if self.stacked else heads
        self._row_cache: dict[tuple[int, ...], Array] = {}
        self._constants: dict[tuple[float, ...], Array] = {}
        #: Every parameter of the model, trunk first, as one vector.
        self.vector = Tensor(whole, requires_grad=True)

    # ------------------------------------------------------------ running it

    def represent(self, x: Any) -> Tensor:
        """The trunk: Z, shape (N, d). Counted as a trunk forward, and each sweep through it as a trunk backward."""
        if x is not None:  # None: an analytic problem's
            x = as_input(x, self.vector.data)
        self.passes.trunk_forwards += 1
        z = self.trunk(x)

        def count(g: Array) -> Array:
            self.passes.trunk_backwards += _sweeps(g, z.data)
            return g

        return record(z.data, (z, count))

    def losses(self, z: Tensor, batch: Batch, group: Sequence[int] | None = None) -> Tensor:
        """The losses (len(group),) of the tasks in `group` (all by default), in that order, from Z.

        Here and below a group of all tasks is in task order: it stands for the model as a whole.
        """
        if group is None:
            group = range(len(self.tasks))
        if self.stacked and len(group) > 1:
            return self.losses_from_logits(self.stacked_logits(z, self.heads_of(group))[0], batch, group)
        return self._side_by_side([self._task_loss(k, z, batch) for k in group])

    def _task_loss(self, k: int, z: Tensor, batch: Batch) -> Tensor:
        task = self.tasks[k]
        try:
            loss = loss_of_labelled(task.loss, task.head(z), batch.targets[k], batch.weights_of(k))
        except (ValueError, TypeError) as error:
            raise type(error)(f"task {task.name!r}: {error}") from error
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise TypeError(f"task {task.name!r}: its loss must return a scalar Tensor, not {loss!r}")
        return loss if loss.ndim == 0 else loss.reshape(())

    def _side_by_side(self, losses: list[Tensor]) -> Tensor:
        """Scalar losses as one Tensor (K,); a gradient that goes on to one of them is a pass through its head."""
        values = [loss.data for loss in losses]
        if isinstance(values[0], np.ndarray):
            joined: Array = np.array([value.item() for value in values], values[0].dtype)
        else:
            joined = array_module(values[0]).stack(values)

        def vjp(k: int) -> Callable[[Array], Array]:
            def pick(g: Array) -> Array:
                self.passes.head_backwards += _sweeps(g, joined)
                return g[..., k]

            return pick

        return record(joined, *[(loss, vjp(k)) for k, loss in enumerate(losses)])

    # Stacked heads: the same network, with K small products as one (nn/stacked_heads.py)

    def heads_of(self, group: Sequence[int]) -> Tensor:
        """The stacked parameters (len(group), n) of a group of tasks, as a function of all of them."""
        if len(group) == len(self.tasks):
            return self.heads
        rows, everyone = self._rows(group), self.heads.data

        def vjp(g: Array) -> Array:
            out: Array = array_module(g).zeros_like(everyone)
            out[rows] = g  # each task is in the group once
            return out

        return record(everyone[rows], (self.heads, vjp))

    def _rows(self, group: Sequence[int]) -> Array:
        key = tuple(group)
        if key not in self._row_cache:  # on a GPU an index is an upload: make each group's once
            self._row_cache[key] = to_device(np.array(key), device_of(self.vector.data))
        return self._row_cache[key]

    def stacked_logits(self, z: Tensor, heads: Tensor) -> tuple[Tensor, Array]:
        """The predictions of several stacked heads side by side, (N, len(heads)·C), and their weights likewise."""
        logits, weight = stacked_linear(z, heads, self._features)

        def count(g: Array) -> Array:
            self.passes.head_backwards += len(heads.data) * _sweeps(g, logits.data)
            return g

        return record(logits.data, (logits, count)), weight

    def losses_from_logits(self, logits: Tensor, batch: Batch, group: Sequence[int]) -> Tensor:
        """The losses of stacked predictions."""
        assert batch.matrix is not None  # `read` makes it wherever heads are stacked
        matrix, weights = batch.matrix, batch.weight_matrix
        if len(group) < len(self.tasks):
            matrix = matrix[:, list(group) if isinstance(matrix, np.ndarray) else self._rows(group)]
            weights = None if weights is None else weights[:, list(group)]
        try:
            return PER_TASK[self.tasks[0].loss](logits, matrix, weights)
        except (ValueError, TypeError):
            width = logits.shape[1] // len(group)
            for i, k in enumerate(group):  # one at a time: the error then names the task at fault
                try:
                    prediction = Tensor(logits.data[:, i * width : (i + 1) * width])
                    loss_of_labelled(self.tasks[k].loss, prediction, batch.targets[k], batch.weights_of(k))
                except (ValueError, TypeError) as error:
                    raise type(error)(f"task {self.task_names[k]!r}: {error}") from error
            raise

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
            z = self.trunk(as_input(x, self.vector.data))
            return {task.name: task.head(z).data for task in self.tasks}

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
        markers = [task.missing for task in self.tasks]
        missing = None if markers.count(None) == len(markers) else markers
        return read_batch(x, targets, self.task_names, self.vector.data, self.stacked, missing)

    # ------------------------------------------------------------ parameters

    def blocks(self, group: Sequence[int] | None = None) -> list[Tensor]:
        """The flat vectors that a step on `group` (all tasks by default) updates: the trunk, then the heads.

        For all tasks the heads are one vector; blocks without parameters are left out.
        """
        if group is None or len(group) == len(self.tasks):
            vectors = [self.trunk_block.vector, self.heads]
        else:
            vectors = [self.trunk_block.vector, *(self.head_blocks[k].vector for k in group)]
        return [vector for vector in vectors if vector.data.size]

    def flatten(self, gradients: Mapping[Tensor, Array], group: Sequence[int] | None = None) -> list[Array]:
        """A sweep's gradients as flat arrays, one for each of `blocks(group)`."""
        everyone = group is None or len(group) == len(self.tasks)
        group = range(len(self.tasks)) if group is None else group
        flat = [self.trunk_block.flatten(gradients)] if self.trunk_block.size else []
        return flat + self.flatten_heads(gradients, group, everyone)

    def flatten_heads(self, gradients: Mapping[Tensor, Array], group: Sequence[int], together: bool) -> list[Array]:
        """The heads' part of `flatten`: one array for all heads `together`, or one per task of the group."""
        if not self.heads.data.size:
            return []
        if self.heads in gradients:
            rows = gradients[self.heads]
            return [rows] if together else [rows[k] for k in group]
        parts = [self.head_blocks[k].flatten(gradients) for k in group if self.head_blocks[k].size]
        if not together:
            return parts
        return [array_module(parts[0]).concatenate(parts).reshape(self.heads.shape)]

    def head_vectors(self, group: Sequence[int]) -> list[Tensor]:
        """The flat vectors of the heads of `group`, one each; heads without parameters are left out."""
        return [self.head_blocks[k].vector for k in group if self.head_blocks[k].size]

    def split_heads(self, heads: list[Array], group: Sequence[int]) -> list[list[Array]]:
        """The heads' part of `flatten(…, group)` as one list per task, as `head_vectors([k])` has it."""
        sizes = [self.head_blocks[k].size for k in group]
        if heads and len(group) == len(self.tasks):
            flat = heads[0].reshape(-1)
            ends = np.cumsum(sizes).tolist()
            heads = [flat[end - size : end] for size, end in zip(sizes, ends, strict=True) if size]
        parts = iter(heads)
        return [[next(parts)] if size else [] for size in sizes]

    def constant(self, values: Sequence[float]) -> Array:
        """An array of the model's dtype on the model's device, made once for the same values."""
        key = tuple(values)
        if key not in self._constants:
            like = self.vector.data
            self._constants[key] = to_device(np.array(key, dtype=like.dtype), device_of(like))
        return self._constants[key]

    def shared_parameters(self) -> list[Parameter]:
        """The trunk's parameters: weight, bias, weight, bias …"""
        return list(self.trunk_block.parameters)

    def task_parameters(self, name: str) -> list[Parameter]:
        """The parameters of one task's head."""
        choose("task", name, self.task_names, KeyError)
        return list(self.head_blocks[self.task_names.index(name)].parameters)

    def to(self, dtype: Any = None, device: str | None = None) -> Self:
        """Change the dtype ("float32", "float64") or the device ("cpu", "cuda") of all parameters, in place.

        Returns the model. Optimizer memories made before hold the old dtype and device: make steps after this.
        """
        like = self.vector.data
        self._pack(float_dtype(dtype) if dtype is not None else like.dtype, device or device_of(like))
        return self

    # ------------------------------------------------------------ files

    def state(self) -> dict[str, Array]:
        """A copy of every parameter on the host: "trunk/0", "trunk/1", "heads/left/0" …"""
        return {key: np.array(to_host(p.data)) for key, p in self._named()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take every parameter's values from `state`, which must have just this model's keys and shapes."""
        named = dict(self._named())
        if set(named) != set(state):
            odd = sorted(set(named) ^ set(state))[0]
            raise ValueError(f"the saved parameters are another network's: {odd!r} is in only one of the two")
        for key, parameter in named.items():
            if state[key].shape != parameter.shape:
                raise ValueError(f"{key!r} was saved with shape {state[key].shape}, this model has {parameter.shape}")
            if state[key].dtype.kind != "f":
                raise ValueError(f"{key!r} was saved as {state[key].dtype}, parameters are floats")
        for key, parameter in named.items():
            parameter.data = state[key]

    def _named(self) -> list[tuple[str, Parameter]]:
        named = [(f"trunk/{i}", p) for i, p in enumerate(self.trunk_block.parameters)]
        for name, block in zip(self.task_names, self.head_blocks, strict=True):
            named += [(f"heads/{name}/{i}", p) for i, p in enumerate(block.parameters)]
        return named

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all parameters to `path`, an .npz file (never pickle): written beside it, then renamed."""
        save_arrays(path, self.state())

    @classmethod
    def load(cls, path: str | os.PathLike[str], trunk: Module, tasks: Sequence[Task]) -> Self:
        """`SharedBottom(trunk, tasks)` with the parameters that `save` wrote to `path`.

        Raises
        ------
        ValueError
            Where the file is damaged or holds another network.
        """
        model = cls(trunk, tasks)
        arrays = load_arrays(path)
        model.to(dtype=next(iter(arrays.values())).dtype if arrays else None)
        model.load_state(arrays)
        return model


def _sweeps(g: Array, value: Array) -> int:
    """How many gradients `g` stacks in front of the axes of `value`."""
    return math.prod(g.shape[: g.ndim - value.ndim])
