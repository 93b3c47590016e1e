"""Layers: modules that hold parameters and map one Tensor to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from tinymtl.autodiff import Tensor, ops
from tinymtl.backend import device_of, to_device, to_host
from tinymtl.nn import functional
from tinymtl.nn.parameters import Parameter, float_dtype

Rng = int | np.random.Generator


class Module:
    """Something with parameters that maps an input to an output: subclasses write `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        """The output for the input `x`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it maps its input: write forward(self, x)")

    def __call__(self, x: Any) -> Tensor:
        """`forward(x)`, for a Tensor or an array."""
        return self.forward(x if isinstance(x, Tensor) else Tensor(ops.operand(x)))

    def parameters(self) -> Iterator[Parameter]:
        """The parameters in the order in which the attributes were set: weight, bias, weight, bias …"""
        for value in vars(self).values():
            yield from _parameters_of(value)

    def generators(self) -> Iterator[np.random.Generator]:
        """The random generators that draw this module's masks: what a checkpoint keeps besides the parameters."""
        for value in vars(self).values():
            yield from _generators_of(value)

    def to(self, dtype: Any = None, device: str | None = None) -> Self:
        """Change the parameters' dtype ("float32", "float64") or device ("cpu", "cuda") in place; returns self."""
        if dtype is not None:
            dtype = float_dtype(dtype)
        for p in self.parameters():
            if p.bound:  # its values would be copied back into the vector, in the vector's dtype
                raise ValueError("this module is part of a SharedBottom: call `to` of the whole model")
            p.data = to_device(to_host(p.data).astype(dtype or p.dtype), device or device_of(p.data))
        return self


def _parameters_of(value: Any) -> Iterator[Parameter]:
    if isinstance(value, Parameter):
        yield value
    elif isinstance(value, Module):
        yield from value.parameters()
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parameters_of(item)


def _generators_of(value: Any) -> Iterator[np.random.Generator]:
    if isinstance(value, np.random.Generator):
        yield value
    elif isinstance(value, Module):
        yield from value.generators()
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _generators_of(item)


def _uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Parameter:
    return Parameter(rng.uniform(-bound, bound, shape).astype(np.float32))


class Linear(Module):
    """x W + b.

    Parameters
    ----------
    in_features, out_features : int
    rng : int or numpy Generator, default 0
        Draws weight (in, out) and bias (out,) uniformly from ±1/√in.

    Examples
    --------
    >>> Linear(3, 2)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, rng: Rng = 0):
        rng = np.random.default_rng(rng)
        bound = 1.0 / np.sqrt(in_features)
        self.weight = _uniform(rng, bound, (in_features, out_features))
        self.bias = _uniform(rng, bound, (out_features,))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in) → (N, out)."""
        return functional.linear(x, self.weight, self.bias)


class Conv2d(Module):
    """A convolution with a square kernel (cross-correlation, as everywhere in the field).

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    stride : int, default 1
    padding : int, default 0
        Rows and columns of zeros added on each side.
    rng : int or numpy Generator, default 0
        Draws weight (out, in, k, k) and bias (out,) uniformly from ±1/√(in·k²).

    Examples
    --------
    >>> Conv2d(1, 4, 3, stride=2, padding=1)(np.ones((5, 1, 8, 8), np.float32)).shape
    (5, 4, 4, 4)
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, rng: Rng = 0
    ):
        rng = np.random.default_rng(rng)
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
        self.size = size

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
    """Zero each element with probability p and scale the rest by 1/(1 − p); under `no_grad` it does nothing.

    Parameters
    ----------
    p : float in [0, 1)
    rng : int or numpy Generator, default 0
        Draws the masks, one per forward.
    """

    def __init__(self, p: float, rng: Rng = 0):
        if not 0.0 <= p < 1.0:
            raise ValueError(f"a dropout probability lies in [0, 1), got {p}")
        self.p, self.rng = p, np.random.default_rng(rng)

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
        if len(sizes) < 2:
            raise ValueError(f"an MLP needs at least two sizes (features in, width), got {list(sizes)}")
        rng = np.random.default_rng(rng)
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
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"a dropout probability lies in [0, 1), got {dropout}")
        side = ((image_size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"LeNet needs images of at least 16 × 16 pixels, got {image_size}")
        self.rng = np.random.default_rng(rng)
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
