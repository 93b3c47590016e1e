"""The heads: K modules run one after another, or K linear layers of one shape as one matrix.

This is the only file that knows about stacking. Both kinds answer the same questions: the losses of some tasks from
Z; every task's gradient at Z, with its head's own, from one sweep; and where a sweep has left the heads' gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from operator import attrgetter, is_
from typing import Any, Protocol

import numpy as np

from tinymtl.autodiff import Tensor, record, sweep
from tinymtl.autodiff.recording import is_recording
from tinymtl.backend import Array, array_module, device_of, to_device
from tinymtl.nn.batch import Batch
from tinymtl.nn.functional import filled, inner_products, sum_rows
from tinymtl.nn.layers import Linear, Sequential
from tinymtl.nn.layout import Layout, flatten, joined
from tinymtl.nn.losses import PER_TASK, binary_cross_entropy_with_logits, loss_of_labelled
from tinymtl.nn.module import output_of

WEIGHT, BIAS = attrgetter("weight"), attrgetter("bias")


class TaskGradients(Protocol):
    """The gradients g₁ … g_K of K losses at one place."""

    def __getitem__(self, k: int) -> Array:
        """gₖ."""

    def gram(self, dtype: Any = None) -> Array:
        """G = [gᵢ·gⱼ], (K, K), where the gradients are: inner products over all elements, the whole batch's.

        In the gradients' own dtype, or formed in `dtype`.
        """

    def combine(self, w: Array) -> Array:
        """Σ wₖ gₖ."""


class DenseGradients:
    """K gradients at Z as they are, each (N, d)."""

    def __init__(self, gradients: Sequence[Array]):
        self.gradients = gradients

    def __getitem__(self, k: int) -> Array:
        return self.gradients[k]

    def gram(self, dtype: Any = None) -> Array:
        """[⟨Dᵢ, Dⱼ⟩]."""
        rows = [g.reshape(-1).astype(dtype or g.dtype, copy=False) for g in self.gradients]
        xp = array_module(rows[0])
        if xp is not np or len(rows) > 4:
            return inner_products(xp.stack(rows))
        # a few inner products cost less than stacking the rows
        products = [[float(a.dot(b)) for b in rows[: i + 1]] for i, a in enumerate(rows)]
        full = [[products[max(i, j)][min(i, j)] for j in range(len(rows))] for i in range(len(rows))]
        return np.array(full, rows[0].dtype)

    def combine(self, w: Array) -> Array:
        """Σ wₖ Dₖ."""
        total = float(w[0]) * self.gradients[0]
        for a, g in zip(w[1:], self.gradients[1:], strict=True):
            total = total + float(a) * g
        return total


class FactoredGradients:
    """The gradients Dₖ = Rₖ Vₖᵀ of linear heads, never formed: Rₖ (N, C) at the logits, Vₖ (d, C) the weights."""

    def __init__(self, at_logits: Array, weight: Array, tasks: int):
        self.at_logits = at_logits  # (N, K·C)
        self.weight = weight  # (d, K·C)
        self.tasks = tasks
        self.outputs = weight.shape[1] // tasks

    def __getitem__(self, k: int) -> Array:
        columns = slice(k * self.outputs, (k + 1) * self.outputs)
        return self.at_logits[:, columns].dot(self.weight[:, columns].T)

    def gram(self, dtype: Any = None) -> Array:
        """⟨Dₖ, Dₗ⟩ = Σ (RₖᵀRₗ) ∘ (VₖᵀVₗ): two small products and a sum over blocks."""
        R, V = (a.astype(dtype or a.dtype, copy=False) for a in (self.at_logits, self.weight))
        inner = R.T.dot(R)
        inner *= V.T.dot(V)
        if self.outputs == 1:
            return inner
        blocks: Array = inner.reshape(self.tasks, self.outputs, self.tasks, self.outputs).sum(axis=(1, 3))
        return blocks

    def combine(self, w: Array) -> Array:
        """Σ wₖ Rₖ Vₖᵀ: one product, with the columns of R scaled."""
        xp = array_module(self.weight)
        scale = xp.asarray(w, dtype=self.weight.dtype).repeat(self.outputs)
        return (self.at_logits * scale).dot(self.weight.T)


class SeparateHeads:
    """Heads of any kind, one after another."""

    leaves: frozenset[Tensor] = frozenset()  # at which a sweep for a step ends, besides the parameters

    def __init__(self, tasks: Sequence[Any], layout: Layout, passes: Any):
        self.tasks, self.layout, self.passes = tasks, layout, passes

    def check_whole(self) -> None:
        """Nothing to see: an exchanged head is found by what a sweep reaches."""

    def losses(self, z: Tensor, batch: Batch, group: Sequence[int]) -> Tensor:
        """The losses (len(group),) of some tasks, in the order of `group`."""
        return self._side_by_side([self._loss(k, z, batch) for k in group])

    def _loss(self, k: int, z: Tensor, batch: Batch) -> Tensor:
        task = self.tasks[k]
        try:
            prediction = output_of("its head", task.head, z)
            loss = loss_of_labelled(task.loss, prediction, batch.targets[k], batch.weights_of(k))
        except (ValueError, TypeError) as error:
            raise type(error)(f"task {task.name!r}: {error}") from error
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise TypeError(f"task {task.name!r}: its loss must return a scalar Tensor, not {loss!r}")
        if not loss.requires_grad and is_recording():
            raise ValueError(
                f"task {task.name!r}: its loss depends on no parameter that is trained (detached, or computed by "
                "NumPy, in the head or in the loss?)"
            )
        return loss if loss.ndim == 0 else loss.reshape(())

    def _side_by_side(self, losses: list[Tensor]) -> Tensor:
        """Scalar losses as one Tensor; a gradient that goes on to one of them is a pass through its head."""
        values = [loss.data for loss in losses]
        if isinstance(values[0], np.ndarray):
            joined: Array = np.array([value.item() for value in values], values[0].dtype)
        else:
            joined = array_module(values[0]).stack(values)

        def vjp(i: int) -> Callable[[Array], Array]:
            def pick(g: Array) -> Array:
                self.passes.head_backwards += sweeps(g, joined)
                return g[..., i]

            return pick

        return record(joined, *[(loss, vjp(i)) for i, loss in enumerate(losses)])

    def task_gradients(self, z: Tensor, batch: Batch) -> tuple[Array, TaskGradients, dict[Tensor, Array]]:
        """Losses, ∇_Z Lₖ, and each ∇_φₖ Lₖ by parameter, of the tasks in the batch: a sweep for each head, cut at Z."""
        xp, (leaf, cut) = array_module(z.data), cut_at(z)
        one = filled(xp, 1, 1.0, cut.dtype)
        values, gradients, own = [], [], {}
        for k in batch.group:
            loss = self.losses(cut, batch, [k])
            found = sweep([loss], [one])
            gradients.append(found.pop(leaf) if leaf in found else xp.zeros_like(leaf.data))
            own.update(found)
            values.append(loss.data)
        return xp.concatenate(values), DenseGradients(gradients), own

    def gradient(self, found: Mapping[Tensor, Array], k: int) -> Array:
        """∇_φₖ as one flat array, from what a sweep found."""
        parameters = self.layout.head_parameters[k]
        return joined(flatten(parameters, found), parameters[0].data) if parameters else np.zeros(0)

    def gradients(self, found: Mapping[Tensor, Array]) -> list[Array]:
        """All heads' gradients as flat arrays, in the order of the model's vector."""
        return [part for parameters in self.layout.head_parameters for part in flatten(parameters, found)]


class StackedHeads:
    """K linear heads of one shape as one matrix: K products of width C become one of width K·C, K losses one.

    `rows` (K, d·C + C) is the heads' part of the model's vector: a row is a head's weight, then its bias.
    """

    def __init__(self, tasks: Sequence[Any], layout: Layout, passes: Any, vector: Array):
        self.tasks, self.layout, self.passes = tasks, layout, passes
        self.separate = SeparateHeads(tasks, layout, passes)
        self.features, self.outputs = layout.head_parameters[0][0].shape
        self.loss = PER_TASK[tasks[0].loss]
        values = vector[layout.trunk.stop :].reshape(len(tasks), -1)
        self.rows = Tensor(values, requires_grad=True)
        self.rows.edges = [edge for k in range(len(tasks)) for edge in self._edges(k)]  # to the heads' own parameters
        self.rows.tick = 0  # their memory is its own
        self.leaves = frozenset([self.rows])
        heads = [_linear(task) for task in tasks]
        self._made_with = (list(tasks), heads, [head.weight for head in heads], [head.bias for head in heads])
        self._index: dict[tuple[int, ...], Array] = {}

    def check_whole(self) -> None:
        """Raise a ValueError if a task or its head's parameters were exchanged since the heads were stacked."""
        tasks, heads, weights, biases = self._made_with
        whole = all(map(is_, self.tasks, tasks)) and len(self.tasks) == len(tasks)
        if whole and all(map(is_, map(WEIGHT, heads), weights)) and all(map(is_, map(BIAS, heads), biases)):
            return
        for task, now, head, weight, bias in zip_longest(tasks, self.tasks, heads, weights, biases):
            if task is not now or head.weight is not weight or head.bias is not bias:
                name = getattr(task or now, "name", now)
                raise ValueError(f"the task {name!r} or its head was exchanged: make the model anew")

    def _edges(self, k: int) -> list[tuple[Tensor, Callable[[Array], Array]]]:
        weight, bias = self.layout.head_parameters[k]
        d, C = self.features, self.outputs
        return [
            (weight, lambda g: g[..., k, : d * C].reshape(*g.shape[:-2], d, C)),
            (bias, lambda g: g[..., k, d * C :]),
        ]

    def _some(self, group: Sequence[int]) -> tuple[Tensor, Array | list[int]]:
        """The rows of several heads as a function of all rows, and the index that picks them."""
        index = list(group) if isinstance(self.rows.data, np.ndarray) else self._on_device(group)
        everyone = self.rows.data

        def scatter(g: Array) -> Array:
            out: Array = array_module(g).zeros_like(everyone)
            out[index] = g  # each task is in the group once
            return out

        return record(everyone[index], (self.rows, scatter)), index

    def _on_device(self, group: Sequence[int]) -> Array:
        key = tuple(group)
        if key not in self._index:  # on a GPU an index is an upload: make each group's once
            if len(self._index) >= 256:
                self._index.clear()
            self._index[key] = to_device(np.array(key), device_of(self.rows.data))
        return self._index[key]

    def stacked_logits(self, z: Tensor, rows: Tensor) -> tuple[Tensor, Array]:
        """The predictions of the heads in `rows` side by side, (N, len(rows)·C), and their weights likewise."""
        logits, weight = stacked_linear(z, rows, self.features)

        def count(g: Array) -> Array:
            self.passes.head_backwards += len(rows.data) * sweeps(g, logits.data)
            return g

        return record(logits.data, (logits, count)), weight

    def losses(self, z: Tensor, batch: Batch, group: Sequence[int]) -> Tensor:
        """The losses (len(group),) of some tasks, in the order of `group`."""
        if len(group) == 1:  # nothing to stack
            return self.separate.losses(z, batch, group)
        group = list(group)
        if group == list(range(len(self.tasks))):
            return self._losses(self.stacked_logits(z, self.rows)[0], batch, group)
        rows, index = self._some(group)
        return self._losses(self.stacked_logits(z, rows)[0], batch, group, index)

    def _losses(self, logits: Tensor, batch: Batch, group: Sequence[int], index: Any = None) -> Tensor:
        """The losses of stacked predictions; `index` picks the columns of their targets where those are."""
        matrix, weights = batch.matrix, batch.weight_matrix
        assert matrix is not None  # `read` makes it for stacked heads
        if index is not None:
            matrix = matrix[:, list(group) if isinstance(matrix, np.ndarray) else index]
            weights = None if weights is None else weights[:, list(group)]
        try:
            return self.loss(logits, matrix, weights)
        except (ValueError, TypeError):
            for i, k in enumerate(group):  # one at a time: the error then names the task at fault
                own = Tensor(logits.data[:, i * self.outputs : (i + 1) * self.outputs])
                try:
                    loss_of_labelled(self.tasks[k].loss, own, batch.targets[k], batch.weights_of(k))
                except (ValueError, TypeError) as error:
                    raise type(error)(f"task {self.tasks[k].name!r}: {error}") from error
            raise

    def task_gradients(self, z: Tensor, batch: Batch) -> tuple[Array, TaskGradients, dict[Tensor, Array]]:
        """Losses, ∇_Z Lₖ as Rₖ Vₖᵀ, and all ∇_φₖ Lₖ by row, of the tasks in the batch: one sweep, cut at Z."""
        group = batch.group
        rows, index = (self.rows, None) if len(group) == len(self.tasks) else self._some(group)
        logits, weight = self.stacked_logits(z.detach(), rows)
        L = self._losses(logits, batch, group, index)
        # column block k of the logits feeds loss k alone, so that one sweep seeded with ones keeps the tasks apart
        seed = filled(array_module(L.data), len(group), 1.0, L.dtype)
        found = sweep([L], [seed], [logits, self.rows], self.leaves)
        return L.data, FactoredGradients(found[logits], weight, len(group)), {self.rows: found[self.rows]}

    def gradient(self, found: Mapping[Tensor, Array], k: int) -> Array:
        """∇_φₖ as one flat array, from what a sweep found."""
        return found[self.rows][k] if self.rows in found else self.separate.gradient(found, k)

    def gradients(self, found: Mapping[Tensor, Array]) -> list[Array]:
        """All heads' gradients as flat arrays, in the order of the model's vector."""
        return [found[self.rows].reshape(-1)] if self.rows in found else self.separate.gradients(found)


def why_separate(tasks: Sequence[Any]) -> str | None:
    """None if the heads can be stacked, otherwise the reason, for `repr(model)`.

    >>> import tinymtl as tm
    >>> why_separate([tm.Task("a", tm.nn.Linear(3, 2), tm.cross_entropy)])
    'there is only one'
    """
    if len(tasks) < 2:
        return "there is only one"
    first = _linear(tasks[0])
    for task in tasks:
        head = _linear(task)
        if type(head) is not Linear:
            kind = "a subclass of Linear" if isinstance(head, Linear) else f"a {type(head).__name__}, not a Linear"
            return f"the head of {task.name!r} is {kind}"
        if task.loss is not tasks[0].loss:
            return f"{task.name!r} has another loss than {tasks[0].name!r}"
        if head.weight.shape != first.weight.shape:
            return f"{task.name!r} maps {head.weight.shape}, {tasks[0].name!r} {first.weight.shape}"
    if tasks[0].loss not in PER_TASK:
        named = getattr(tasks[0].loss, "__name__", type(tasks[0].loss).__name__)
        return f"the loss {named} has no form for several tasks at once"
    if tasks[0].loss is binary_cross_entropy_with_logits and first.weight.shape[1] != 1:
        return "a binary head of several outputs"
    return None


def _linear(task: Any) -> Any:
    head = task.head
    return head.layers[0] if type(head) is Sequential and len(head.layers) == 1 else head


def stacked_linear(z: Tensor, rows: Tensor, features: int) -> tuple[Tensor, Array]:
    """Z Vₖ + cₖ for several heads side by side, and the weights Vₖ side by side.

    Shapes: z (N, features), rows (K, features·C + C) with a head's weight and bias in each row
    → (N, K·C), (features, K·C).
    """
    values, matrix = z.data, rows.data
    if values.ndim != 2 or values.shape[1] != features:
        raise ValueError(f"linear heads for {features} features got Z of shape {values.shape}")
    tasks = len(matrix)
    outputs = matrix.shape[1] // (features + 1)
    weights, biases = matrix[:, :-outputs], matrix[:, -outputs:]
    weight = weights.reshape(tasks, features, -1).swapaxes(0, 1).reshape(features, -1)
    out = values.dot(weight)
    by_task = out.reshape(len(out), tasks, -1)
    by_task += biases

    def vjp_rows(g: Array) -> Array:
        leading = g.shape[:-2]
        by_feature = values.T.dot(g) if g.ndim == 2 else values.T @ g
        weights = by_feature.reshape(*leading, features, tasks, -1).swapaxes(-3, -2)
        biases = sum_rows(g).reshape(*leading, tasks, -1)
        xp = array_module(g)
        # in the order of the heads' own memory: for heads of one output the joined parts may be in the other
        rows: Array = xp.ascontiguousarray(xp.concatenate([weights.reshape(*leading, tasks, -1), biases], axis=-1))
        return rows

    return record(out, (z, lambda g: g.dot(weight.T)), (rows, vjp_rows)), weight


def cut_at(z: Tensor) -> tuple[Tensor, Tensor]:
    """A leaf with the values of `z`, where a sweep ends, and what a head is given of it.

    That is not the leaf itself, for it may be changed by `z += …` in the head, as any computed tensor.
    """
    leaf = Tensor(z.data, requires_grad=True)
    return leaf, leaf.reshape(z.shape)


def sweeps(g: Array, value: Array) -> int:
    """How many gradients `g` stacks in front of the axes of `value`."""
    return math.prod(g.shape[: g.ndim - value.ndim])
