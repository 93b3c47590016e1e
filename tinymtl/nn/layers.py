"""Layers: modules that hold parameters and map one Tensor to another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor, ops
from tinymtl.checks import random_generator, require, shown, whole_number
from tinymtl.nn import functional
from tinymtl.nn.module import Module
from tinymtl.nn.parameters import Parameter

Rng = int | np.random.Generator


def stream(rng: Rng | None, *kind: Any) -> np.random.Generator:
    """The generator of a layer: that of `rng`, or for None the next one for layers of this kind.

    The n-th layer of one class and size that a process makes without `rng` draws from the n-th stream, the first
    one as with `rng=0`. So equal layers differ, and a program that runs again starts with the same weights.

    >>> one, two = stream(None, "doctest", 3), stream(None, "doctest", 3)
    >>> float(one.random()) == float(np.random.default_rng(0).random()), float(two.random()) != float(one.random())
    (True, True)
    """
    if rng is not None:
        return random_generator(rng)
    made = next(_made.setdefault(kind, itertools.count()))
    return np.random.default_rng([0, made] if made else 0)


_made: dict[tuple[Any, ...], Iterator[int]] = {}


def _uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Parameter:
    return Parameter(rng.uniform(-bound, bound, shape).astype(np.float32))


def _probability(p: Any) -> float:
    if not isinstance(p, Real) or not 0.0 <= float(p) < 1.0:
        raise ValueError(f"a dropout probability lies in [0, 1), got {shown(p)}")
    return float(p)


class Linear(Module):
    """x W + b, for the last axis of x; any axes may stand before it.

    Parameters
    ----------
    in_features, out_features : int
    rng : int or numpy Generator, default the next stream for layers of this class and size (see `stream`)
        Draws weight (in, out) and bias (out,) uniformly from ±1/√in.

    Examples
    --------
    >>> Linear(3, 2)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, rng: Rng | None = None):
        in_features = whole_number("in_features", in_features, 1)
        out_features = whole_number("out_features", out_features, 1)
        rng = stream(rng, type(self), in_features, out_features)
        bound = 1.0 / np.sqrt(in_features)
        self.weight = _uniform(rng, bound, (in_features, out_features))
        self.bias = _uniform(rng, bound, (out_features,))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, in) → (…, out)."""
        return functional.linear(x, self.weight, self.bias)


class Conv2d(Module):
    """A convolution with a square kernel (cross-correlation, as everywhere in the field).

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    stride : int, default 1
    padding : int, default 0
        Rows and columns of zeros added on each side.
    rng : int or numpy Generator, default the next stream for layers of this class and size (see `stream`)
        Draws weight (out, in, k, k) and bias (out,) uniformly from ±1/√(in·k²).

    Examples
    --------
    >>> Conv2d(1, 4, 3, stride=2, padding=1)(np.ones((5, 1, 8, 8), np.float32)).shape
    (5, 4, 4, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        rng: Rng | None = None,
    ):
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size, "stride": stride}
        for name, size in sizes.items():
            whole_number(name, size, 1)
        whole_number("padding", padding, 0)
        rng = stream(rng, type(self), in_channels, out_channels, kernel_size)
        bound = 1.0 / np.sqrt(in_channels * kernel_size**2)
        self.weight = _uniform(rng, bound, (out_channels, in_channels, kernel_size, kernel_size))
        self.bias = _uniform(rng, bound, (out_channels,))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in, H, W) → (N, out, H', W'), H' = (H + 2·padding − k) // stride + 1."""
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class MaxPool2d(Module):
    """The largest element of each size × size window.

    >>> MaxPool2d(2)(np.ones((5, 1, 8, 8), np.float32)).shape
    (5, 1, 4, 4)
    """

    def __init__(self, size: int):
        self.size = whole_number("size", size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) → (N, C, H // size, W // size)."""
        return functional.max_pool2d(x, self.size)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return ops.relu(x)


class Flatten(Module):
    """(N, …) → (N, everything else)."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, …) → (N, F)."""
        return functional.flatten(x)


class Dropout(Module):
    """In training, zero each element with probability p and scale the rest by 1/(1 − p); in evaluation, nothing.

    `model.predict` evaluates; a plain call trains, but in `tinymtl.nn.evaluating()`.

    Parameters
    ----------
    p : float in [0, 1)
    rng : int or numpy Generator, default the next stream for layers of this class and size (see `stream`)
        Draws the masks, one per forward.
    """

    def __init__(self, p: float, rng: Rng | None = None):
        self.p, self.rng = _probability(p), stream(rng, type(self))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return functional.dropout(x, self.p, self.rng)


class Sequential(Module):
    """Modules one after another.

    >>> Sequential(Linear(3, 4), ReLU(), Linear(4, 2))(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(self, *layers: Module):
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        """The last module's output."""
        for layer in self.layers:
            x = layer(x)
        return x


class MLP(Module):
    """Linear and ReLU after every layer, the last one too: a trunk.

    Parameters
    ----------
    sizes : sequence of int
        Features in, then the width of each layer.
    rng : int or numpy Generator, default 0

    Examples
    --------
    >>> MLP([144, 64, 64])(np.ones((5, 144), np.float32)).shape
    (5, 64)
    """

    def __init__(self, sizes: Sequence[int], rng: Rng = 0):
        require("sizes", sizes, (list, tuple, np.ndarray), "a list such as [144, 64, 64]")
        if len(sizes) < 2:
            raise ValueError(f"an MLP needs at least two sizes (features in, width), got {list(sizes)}")
        rng = random_generator(rng)
        self.layers = [Linear(a, b, rng) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, sizes[0]) → (N, sizes[-1])."""
        for layer in self.layers:
            x = functional.linear(x, layer.weight, layer.bias, relu=True)
        return x


class LeNet(Module):
    """The trunk that Sener & Koltun (2018) train on MultiMNIST.

    Convolution 5×5 to 10 channels, max-pool 2, ReLU; convolution 5×5 to 20 channels, (channel dropout,) max-pool 2,
    ReLU; linear to `hidden`, ReLU.

    Parameters
    ----------
    image_size : int, default 28
    in_channels : int, default 1
    hidden : int, default 50
        The width of the representation.
    dropout : float, default 0.0
        Probability with which a channel of the second convolution is dropped (the authors' code: 0.5).
    rng : int or numpy Generator, default 0

    Examples
    --------
    >>> LeNet()(np.ones((5, 1, 28, 28), np.float32)).shape
    (5, 50)
    """

    def __init__(
        self, image_size: int = 28, in_channels: int = 1, hidden: int = 50, dropout: float = 0.0, rng: Rng = 0
    ):
        dropout = _probability(dropout)
        side = ((image_size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"LeNet needs images of at least 16 × 16 pixels, got {image_size}")
        self.rng = random_generator(rng)
        self.dropout = dropout
        self.conv1 = Conv2d(in_channels, 10, 5, rng=self.rng)
        self.conv2 = Conv2d(10, 20, 5, rng=self.rng)
        self.linear = Linear(20 * side * side, hidden, self.rng)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, image_size, image_size) → (N, hidden)."""
        x = functional.conv_pool2d(x, self.conv1.weight, self.conv1.bias)
        x = functional.conv_pool2d(x, self.conv2.weight, self.conv2.bias)
        # a dropped channel is 0 and a kept one scaled up, and neither pool nor ReLU minds which of them comes first
        x = functional.dropout(x, self.dropout, self.rng, channels=True)
        return functional.linear(functional.flatten(x), self.linear.weight, self.linear.bias, relu=True)
