"""What is timed: networks, data and initial weights, as plain arrays that every side starts from."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

STRATEGIES = ("averaged", "mgda-ub", "mgda", "alternating", "grouped")
KERNEL = 5  # LeNet's convolutions are 5 x 5, each followed by 2 x 2 max-pooling
LENET_CHANNELS = (1, 10, 20)


class Unsupported(Exception):
    """A side has no form of this workload or strategy: the cell of the table stays empty."""


@dataclass(frozen=True)
class Workload:
    """A network, its tasks and the sizes of everything.

    `trunk` lists the widths of an MLP with ReLU after every layer; for LeNet (`image` > 0) it is the
    width of the representation alone; for the quadratics it is the number of parameters. `head` lists
    the widths from the representation to the logits, with ReLU between layers; one logit means a binary
    task (binary cross-entropy), more mean classes (cross-entropy).
    """

    name: str
    title: str
    tasks: int
    trunk: tuple[int, ...]
    head: tuple[int, ...] = ()
    image: int = 0
    batch: int = 256
    group_size: int = 0
    strategies: tuple[str, ...] = STRATEGIES[:4]
    optimizers: tuple[str, ...] = ("sgd",)
    dtype: str = "float32"

    @property
    def kind(self) -> str:
        """One of "mlp", "lenet", "quadratics"."""
        if not self.head:
            return "quadratics"
        return "lenet" if self.image else "mlp"

    @property
    def width(self) -> int:
        """Width of the representation."""
        return self.trunk[-1]

    @property
    def binary(self) -> bool:
        """Whether every task has one logit and targets 0 or 1."""
        return self.head[-1] == 1

    @property
    def flat_image(self) -> int:
        """Number of features that LeNet's second pooling hands to its linear layer."""
        side = self.image
        for _ in LENET_CHANNELS[1:]:
            side = (side - KERNEL + 1) // 2
        return LENET_CHANNELS[-1] * side * side

    def trunk_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the trunk's parameters in order: weight, bias, weight, bias …."""
        if self.kind == "quadratics":
            return [self.trunk]
        if self.kind == "mlp":
            return linear_shapes(self.trunk)
        shapes: list[tuple[int, ...]] = []
        for inputs, outputs in pairwise(LENET_CHANNELS):
            shapes += [(outputs, inputs, KERNEL, KERNEL), (outputs,)]
        return shapes + linear_shapes((self.flat_image, self.width))

    def groups(self) -> list[list[int]]:
        """The partition of the tasks that the grouped step uses, the same at every step."""
        size = self.group_size
        return [list(range(first, min(first + size, self.tasks))) for first in range(0, self.tasks, size)]


class Start(NamedTuple):
    """Initial parameters: the trunk's arrays, and one list of arrays per head."""

    trunk: list[np.ndarray]
    heads: list[list[np.ndarray]]


class Batch(NamedTuple):
    """One minibatch: inputs, and targets with a column per task."""

    x: np.ndarray
    targets: np.ndarray


class Quadratics(NamedTuple):
    """fₖ(θ) = ½ (θ − cₖ)ᵀ Hₖ (θ − cₖ): curvatures (K, d, d), centers (K, d)."""

    curvatures: np.ndarray
    centers: np.ndarray


def linear_shapes(widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of the weights (in, out) and biases (out,) of a chain of linear layers."""
    shapes: list[tuple[int, ...]] = []
    for inputs, outputs in pairwise(widths):
        shapes += [(inputs, outputs), (outputs,)]
    return shapes


def start(workload: Workload) -> Start:
    """Seeded initial parameters; biases are not zero, so that a wrong bias gradient shows."""
    rng = np.random.default_rng(1)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        if workload.kind == "quadratics":
            return np.array([2.0, -1.5], workload.dtype)
        if len(shape) == 1:
            scale = 0.05
        else:  # He's scale; the fan-in of a linear weight (in, out) is its first axis
            fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
            scale = (2.0 / fan_in) ** 0.5
        return (scale * rng.standard_normal(shape)).astype(workload.dtype)

    trunk = [draw(shape) for shape in workload.trunk_shapes()]
    heads = [[draw(shape) for shape in linear_shapes(workload.head)] for _ in range(workload.tasks)]
    return Start(trunk, heads)


def batch(workload: Workload) -> Batch:
    """Seeded inputs (N, features) or (N, 1, side, side), and targets (N, K): labels, or 0 and 1 as floats."""
    rng = np.random.default_rng(2)
    n, side = workload.batch, workload.image
    shape = (n, LENET_CHANNELS[0], side, side) if workload.kind == "lenet" else (n, workload.trunk[0])
    x = rng.standard_normal(shape).astype(workload.dtype)
    if workload.binary:
        return Batch(x, rng.integers(0, 2, (n, workload.tasks)).astype(workload.dtype))
    return Batch(x, rng.integers(0, workload.head[-1], (n, workload.tasks)))


def quadratics(workload: Workload) -> Quadratics:
    """Two bowls of different shape whose gradients conflict."""
    curvatures = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.6, -0.2], [-0.2, 1.2]]], workload.dtype)
    centers = np.array([[-1.0, 0.5], [1.0, 1.0]], workload.dtype)
    return Quadratics(curvatures, centers)


WORKLOADS = {
    "W1": Workload(
        "W1", "trunk 144-256-128, 2 heads of 10", 2, (144, 256, 128), (128, 10), optimizers=("sgd", "adam")
    ),
    "W2": Workload(
        "W2", "trunk 64-128-128, 40 binary heads", 40, (64, 128, 128), (128, 1),
        group_size=10, strategies=STRATEGIES,
    ),  # fmt: skip
    "W3": Workload("W3", "LeNet on 36 x 36, 2 heads 50-50-10", 2, (50,), (50, 50, 10), image=36),
    "W4": Workload("W4", "two quadratics in two parameters", 2, (2,), optimizers=("plain",)),
}

LEARNING_RATE = {"sgd": 0.01, "adam": 1e-3, "plain": 0.1}
MOMENTUM = {"sgd": 0.9, "plain": 0.0}
BETAS = (0.9, 0.999)
EPSILON = 1e-8
