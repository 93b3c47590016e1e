"""The floor with its heads as one matrix: a column block per task, one product and one loss for all.

Linear heads only. With Rₖ the gradient at task k's logits and Vₖ its weight, the gradient at the
representation is Dₖ = Rₖ Vₖᵀ, so ⟨Dₖ, Dₗ⟩ = Σ (RₖᵀRₗ) ∘ (VₖᵀVₗ): MGDA-UB needs no Dₖ at all.
"""

from collections.abc import Callable

import numpy as np

from tests.benchmark.floor import Step
from tests.benchmark.floor_layers import Arrays, memory, trunk_of, views
from tests.benchmark.solvers import gram_of_rows, simplex_weights
from tests.benchmark.workloads import Unsupported, Workload, batch, start


class StackedFloor:
    """Trunk and stacked heads in one flat vector; the weight of all heads is (width, K · C)."""

    def __init__(self, workload: Workload, optimizer: str) -> None:
        self.workload, self.optimizer = workload, optimizer
        initial, data = start(workload), batch(workload)
        self.x, self.logits_per_task = data.x, workload.head[-1]
        weights = np.concatenate([head[0] for head in initial.heads], axis=1)
        biases = np.concatenate([head[1] for head in initial.heads])
        arrays = [*initial.trunk, weights, biases]
        self.values = np.concatenate([array.ravel() for array in arrays])
        self.gradient = np.zeros_like(self.values)
        shapes = [array.shape for array in arrays]
        *self.trunk_values, self.weight, self.bias = views(self.values, shapes)
        *self.trunk_gradients, self.weight_gradient, self.bias_gradient = views(self.gradient, shapes)
        self.trunk_size = sum(array.size for array in initial.trunk)
        self.trunk = trunk_of(workload)
        n, outputs = workload.batch, len(biases)
        self.logits = np.empty((n, outputs), workload.dtype)
        self.ones = np.ones(n, workload.dtype)
        self.at_z = np.empty((n, workload.width), workload.dtype)
        self.targets = data.targets
        self.ones_per_logit = np.ones(self.logits_per_task, workload.dtype)

    def parameters(self) -> Arrays:
        """Trunk, then head after head."""
        c = self.logits_per_task
        heads = []
        for first in range(0, len(self.bias), c):
            heads += [self.weight[:, first : first + c], self.bias[first : first + c]]
        return self.trunk_values + heads

    def _columns(self, tasks: list[int]) -> slice:
        return slice(tasks[0] * self.logits_per_task, (tasks[-1] + 1) * self.logits_per_task)

    def _heads(self, z: np.ndarray, tasks: list[int], scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Losses (K,) and `scale` times the gradients at the logits (N, K · C); the heads' own gradients."""
        where = self._columns(tasks)
        logits = np.dot(z, self.weight[:, where])
        logits += self.bias[where]
        losses = self._binary(logits, tasks, scale) if self.workload.binary else self._classes(logits, tasks, scale)
        np.matmul(z.T, logits, out=self.weight_gradient[:, where])
        np.dot(self.ones, logits, out=self.bias_gradient[where])
        return losses, logits

    def _binary(self, logits: np.ndarray, tasks: list[int], scale: float) -> np.ndarray:
        targets = self.targets[:, tasks[0] : tasks[-1] + 1]
        decay = np.abs(logits)
        np.negative(decay, out=decay)
        np.exp(decay, out=decay)
        np.log1p(decay, out=decay)
        decay += np.maximum(logits, 0)
        decay -= logits * targets
        losses = np.dot(self.ones, decay) / len(logits)
        logits *= 0.5
        np.tanh(logits, out=logits)
        logits += 1.0
        logits *= 0.5
        logits -= targets
        logits *= scale / len(logits)
        return losses

    def _classes(self, logits: np.ndarray, tasks: list[int], scale: float) -> np.ndarray:
        n, c = len(logits), self.logits_per_task
        rows = logits.reshape(n * len(tasks), c)  # one softmax per row: sample-major, then task
        labels = self.targets[:, tasks[0] : tasks[-1] + 1].reshape(-1)
        labels = labels + c * np.arange(len(labels))
        rows -= np.ascontiguousarray(rows.T).max(0)[:, None]
        flat = rows.reshape(-1)
        picked = flat.take(labels)
        np.exp(rows, out=rows)
        total = np.dot(rows, self.ones_per_logit)
        losses = np.dot(self.ones, (np.log(total) - picked).reshape(n, -1)) / n
        factor = scale / n
        rows *= (factor / total)[:, None]
        flat[labels] -= factor
        return losses

    def _gram(self, logits: np.ndarray) -> np.ndarray:
        """⟨Dₖ, Dₗ⟩ for all tasks, from the gradients at the logits and the weights."""
        products = np.dot(logits.T, logits)
        products *= np.dot(self.weight.T, self.weight)
        c = self.logits_per_task
        if c == 1:
            return products
        tasks = self.workload.tasks
        return products.reshape(tasks, c, tasks, c).sum((1, 3))

    def _update(self, where: slice) -> Callable[[], None]:
        rule = memory(where.stop - where.start, self.optimizer, self.workload.dtype)
        values, gradient = self.values[where], self.gradient[where]
        return lambda: rule.update(values, gradient)

    def averaged(self) -> Step:
        """The mean of the losses."""
        tasks = list(range(self.workload.tasks))
        update = self._update(slice(0, self.values.size))

        def step() -> list[float]:
            z = self.trunk.forward(self.x, self.trunk_values)
            losses, at_logits = self._heads(z, tasks, 1.0 / len(tasks))
            np.dot(at_logits, self.weight.T, out=self.at_z)
            self.trunk.backward(self.at_z, self.trunk_values, self.trunk_gradients)
            update()
            return losses.tolist()

        return step

    def mgda_ub(self) -> Step:
        """Min-norm weights from the rank structure; the weighted sum of all Dₖ is one product."""
        tasks = list(range(self.workload.tasks))
        update = self._update(slice(0, self.values.size))

        def step() -> list[float]:
            z = self.trunk.forward(self.x, self.trunk_values)
            losses, at_logits = self._heads(z, tasks, 1.0)
            weights = simplex_weights(self._gram(at_logits))
            at_logits *= np.repeat(weights, self.logits_per_task)
            np.dot(at_logits, self.weight.T, out=self.at_z)
            self.trunk.backward(self.at_z, self.trunk_values, self.trunk_gradients)
            update()
            return losses.tolist()

        return step

    def mgda(self) -> Step:
        """Min-norm weights of the trunk gradients, a trunk sweep per task."""
        tasks = list(range(self.workload.tasks))
        update = self._update(slice(0, self.values.size))
        trunk = self.gradient[: self.trunk_size]
        rows = np.empty((len(tasks), self.trunk_size), self.workload.dtype)
        gradients = [views(row, [array.shape for array in self.trunk_values]) for row in rows]
        columns = [self._columns([k]) for k in tasks]

        def step() -> list[float]:
            z = self.trunk.forward(self.x, self.trunk_values)
            losses, at_logits = self._heads(z, tasks, 1.0)
            for where, row in zip(columns, gradients, strict=True):
                np.dot(at_logits[:, where], self.weight[:, where].T, out=self.at_z)
                self.trunk.backward(self.at_z, self.trunk_values, row)
            weights = simplex_weights(gram_of_rows(rows))
            np.dot(weights, rows, out=trunk)
            update()
            return losses.tolist()

        return step

    def grouped(self) -> Step:
        """Group after group, each with its mean loss, a fresh forward pass and memories of its own."""
        groups = self.workload.groups()
        size, optimizer, dtype = self.trunk_size, self.optimizer, self.workload.dtype
        of_trunk = [self._update(slice(0, size)) for _ in groups]
        wheres = [self._columns(tasks) for tasks in groups]
        of_weights = [memory(self.weight[:, where].size, optimizer, dtype) for where in wheres]
        of_biases = [self._update(self._bias_slice(where)) for where in wheres]

        def step() -> list[float]:
            losses: list[float] = []
            for tasks, where, trunk, weights, biases in zip(
                groups, wheres, of_trunk, of_weights, of_biases, strict=True
            ):
                z = self.trunk.forward(self.x, self.trunk_values)
                found, at_logits = self._heads(z, tasks, 1.0 / len(tasks))
                losses += found.tolist()
                np.dot(at_logits, self.weight[:, where].T, out=self.at_z)
                self.trunk.backward(self.at_z, self.trunk_values, self.trunk_gradients)
                trunk()
                block = self.weight[:, where].ravel()
                weights.update(block, self.weight_gradient[:, where].ravel())
                self.weight[:, where] = block.reshape(len(self.weight), -1)
                biases()
            return losses

        return step

    def _bias_slice(self, where: slice) -> slice:
        first = self.values.size - len(self.bias)
        return slice(first + where.start, first + where.stop)


def build(workload: Workload, strategy: str, optimizer: str) -> tuple[Step, Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if len(workload.head) != 2 or strategy == "alternating":
        raise Unsupported  # one task at a time has nothing to stack
    floor = StackedFloor(workload, optimizer)
    step: Step = getattr(floor, strategy.replace("-", "_"))()
    return step, floor.parameters
