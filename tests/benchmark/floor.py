"""The floor: every strategy in hand-written NumPy, heads one by one, as a plain loop would have them."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from tests.benchmark.floor_layers import Arrays, Head, memory, trunk_of, views
from tests.benchmark.solvers import gram_of_rows, pair_weight, simplex_weights
from tests.benchmark.workloads import LEARNING_RATE, Workload, batch, quadratics, start

Step = Callable[[], list[float]]


class Floor:
    """One flat vector of parameters (trunk, then head after head), one of gradients, and the five steps."""

    def __init__(self, workload: Workload, optimizer: str) -> None:
        self.workload, self.optimizer = workload, optimizer
        initial, data = start(workload), batch(workload)
        self.x = data.x
        blocks = [initial.trunk, *initial.heads]
        self.values = np.concatenate([array.ravel() for block in blocks for array in block])
        self.gradient = np.zeros_like(self.values)
        ends = np.cumsum([sum(array.size for array in block) for block in blocks]).tolist()
        self.slices = [slice(first, last) for first, last in pairwise([0, *ends])]
        shapes = [[array.shape for array in block] for block in blocks]
        cut = list(zip(self.slices, shapes, strict=True))
        self.trunk_values, *self.head_values = (views(self.values[where], shape) for where, shape in cut)
        self.trunk_gradients, *self.head_gradients = (
            views(self.gradient[where], shape) for where, shape in cut
        )
        self.trunk = trunk_of(workload)
        self.heads = [Head(workload, data.targets[:, k]) for k in range(workload.tasks)]
        self.at_z = np.empty((workload.batch, workload.width), workload.dtype)
        self.at_z_of_task = np.empty_like(self.at_z)

    def parameters(self) -> Arrays:
        """Trunk, then head after head."""
        return self.trunk_values + [array for head in self.head_values for array in head]

    def _memory(self, where: slice) -> Callable[[], None]:
        """The update of one slice of the parameters, with a memory of its own."""
        rule = memory(where.stop - where.start, self.optimizer, self.workload.dtype)
        values, gradient = self.values[where], self.gradient[where]
        return lambda: rule.update(values, gradient)

    def _represent(self) -> np.ndarray:
        return self.trunk.forward(self.x, self.trunk_values)

    def _head(self, k: int, z: np.ndarray, scale: float, at_z: np.ndarray) -> float:
        loss = self.heads[k].forward(z, self.head_values[k], scale)
        self.heads[k].backward(z, self.head_values[k], self.head_gradients[k], at_z)
        return loss

    def _heads_summed(self, tasks: list[int], z: np.ndarray, scale: float) -> list[float]:
        """Losses of the tasks; `at_z` holds the sum of their gradients."""
        losses = [self._head(tasks[0], z, scale, self.at_z)]
        for k in tasks[1:]:
            losses.append(self._head(k, z, scale, self.at_z_of_task))
            self.at_z += self.at_z_of_task
        return losses

    def _trunk_backward(self, at_z: np.ndarray, out: Arrays | None = None) -> None:
        self.trunk.backward(at_z, self.trunk_values, self.trunk_gradients if out is None else out)

    def averaged(self) -> Step:
        """The mean of the losses."""
        tasks = list(range(self.workload.tasks))
        update = self._memory(slice(0, self.values.size))

        def step() -> list[float]:
            z = self._represent()
            losses = self._heads_summed(tasks, z, 1.0 / len(tasks))
            self._trunk_backward(self.at_z)
            update()
            return losses

        return step

    def mgda_ub(self) -> Step:
        """Min-norm weights of the gradients at the representation, one trunk sweep."""
        tasks = range(self.workload.tasks)
        update = self._memory(slice(0, self.values.size))
        rows = np.empty((len(tasks), self.at_z.size), self.workload.dtype)
        at_z = [row.reshape(self.at_z.shape) for row in rows]

        def step() -> list[float]:
            z = self._represent()
            losses = [self._head(k, z, 1.0, at_z[k]) for k in tasks]
            weights = simplex_weights(gram_of_rows(rows))
            np.dot(weights, rows, out=self.at_z.reshape(-1))
            self._trunk_backward(self.at_z)
            update()
            return losses

        return step

    def mgda(self) -> Step:
        """Min-norm weights of the trunk gradients, a trunk sweep per task."""
        tasks = range(self.workload.tasks)
        update = self._memory(slice(0, self.values.size))
        trunk = self.gradient[self.slices[0]]
        rows = np.empty((len(tasks), trunk.size), self.workload.dtype)
        shapes = [array.shape for array in self.trunk_values]
        gradients = [views(row, shapes) for row in rows]

        def step() -> list[float]:
            z = self._represent()
            losses = []
            for k in tasks:
                losses.append(self._head(k, z, 1.0, self.at_z))
                self._trunk_backward(self.at_z, gradients[k])
            weights = simplex_weights(gram_of_rows(rows))
            np.dot(weights, rows, out=trunk)
            update()
            return losses

        return step

    def alternating(self) -> Step:
        """Task after task, each with a fresh forward pass and memories of its own."""
        return self._in_turn([[k] for k in range(self.workload.tasks)])

    def grouped(self) -> Step:
        """Group after group, each with its mean loss, a fresh forward pass and memories of its own."""
        return self._in_turn(self.workload.groups())

    def _in_turn(self, groups: list[list[int]]) -> Step:
        of_trunk = [self._memory(self.slices[0]) for _ in groups]
        of_heads = [
            self._memory(slice(self.slices[1 + tasks[0]].start, self.slices[1 + tasks[-1]].stop))
            for tasks in groups
        ]

        def step() -> list[float]:
            losses = []
            for tasks, update_trunk, update_heads in zip(groups, of_trunk, of_heads, strict=True):
                z = self._represent()
                losses += self._heads_summed(tasks, z, 1.0 / len(tasks))
                self._trunk_backward(self.at_z)
                update_trunk()
                update_heads()
            return losses

        return step


def quadratic_floor(workload: Workload, strategy: str) -> tuple[Step, Callable[[], Arrays]]:
    """The strategies on two quadratics, where θ itself is the representation."""
    bowls = quadratics(workload)
    tasks = list(zip(bowls.curvatures, bowls.centers, strict=True))
    theta = start(workload).trunk[0].copy()
    rate = LEARNING_RATE["plain"]

    def evaluate() -> tuple[list[float], Arrays]:
        losses, gradients = [], []
        for curvature, center in tasks:
            away = theta - center
            gradient = curvature.dot(away)
            losses.append(0.5 * float(away.dot(gradient)))
            gradients.append(gradient)
        return losses, gradients

    def averaged() -> list[float]:
        nonlocal theta
        losses, (first, second) = evaluate()
        theta -= (0.5 * rate) * (first + second)
        return losses

    def mgda() -> list[float]:
        nonlocal theta
        losses, (first, second) = evaluate()
        product = float(first.dot(second))
        weight = pair_weight(float(first.dot(first)), product, float(second.dot(second)))
        theta -= (rate * weight) * first
        theta -= (rate * (1.0 - weight)) * second
        return losses

    def alternating() -> list[float]:
        nonlocal theta
        losses = []
        for curvature, center in tasks:
            away = theta - center
            gradient = curvature.dot(away)
            losses.append(0.5 * float(away.dot(gradient)))
            theta -= rate * gradient
        return losses

    steps = {"averaged": averaged, "mgda-ub": mgda, "mgda": mgda, "alternating": alternating}
    return steps[strategy], lambda: [theta]


def build(workload: Workload, strategy: str, optimizer: str) -> tuple[Step, Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if workload.kind == "quadratics":
        return quadratic_floor(workload, strategy)
    floor = Floor(workload, optimizer)
    step: Step = getattr(floor, strategy.replace("-", "_"))()
    return step, floor.parameters
