"""Layers that bring their input to mean 0 and variance 1: over each row's features, or over each feature's rows."""

from __future__ import annotations

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module
from tinymtl.checks import whole_number
from tinymtl.nn import functional
from tinymtl.nn.mode import is_training
from tinymtl.nn.module import Module
from tinymtl.nn.parameters import Buffer, Parameter


class LayerNorm(Module):
    """Each row's features to mean 0 and variance 1, times weight, plus bias (Ba, Kiros & Hinton 2016).

    The same in training and in evaluation, and for a batch of one row.

    Parameters
    ----------
    features : int
        The length of the last axis; weight starts at 1 and bias at 0, both (features,).
    eps : float, default 1e-5
        Added to the variance.

    Examples
    --------
    >>> LayerNorm(2)(np.array([[1.0, 3.0], [5.0, -5.0]])).data.round(3)
    array([[-1.,  1.],
           [ 1., -1.]])
    """

    def __init__(self, features: int, eps: float = 1e-5):
        features = whole_number("features", features, 1)
        self.eps = eps
        self.weight = Parameter(np.ones(features, np.float32))
        self.bias = Parameter(np.zeros(features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, features) → the same."""
        if x.ndim == 0 or x.shape[-1] != self.weight.size:
            raise ValueError(f"a LayerNorm of {self.weight.size} features got an input of shape {x.shape}")
        z, _, _ = functional.normalize(x, (-1,), self.eps)
        return z * self.weight + self.bias


class _BatchNorm(Module):
    expected: dict[int, str]  # number of axes: the shape, as a message names it

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        channels = whole_number("channels", channels, 1)
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum is a batch's share in the running mean, a number from 0 to 1; got {momentum}")
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.running_mean = Buffer(np.zeros(channels, np.float32))
        self.running_var = Buffer(np.ones(channels, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as x."""
        name, channels = type(self).__name__, self.weight.size
        if x.ndim not in self.expected or x.shape[1] != channels:
            shapes = " or ".join(self.expected.values())
            raise ValueError(f"a {name} of {channels} channels got an input of shape {x.shape}; expected {shapes}")
        column = (channels, *[1] * (x.ndim - 2))  # a channel's numbers, against (N, C, …)
        if is_training():
            count = x.size // channels
            if count < 2:
                raise ValueError(
                    f"{name} got an input of shape {x.shape} in training, {count} value per channel, which has no "
                    "variance: give minibatches of two rows or more (does batch_size leave one row over?)"
                )
            axes = tuple(axis for axis in range(-x.ndim, 0) if axis != 1 - x.ndim)
            x, mean, variance = functional.normalize(x, axes, self.eps)
            self._follow(self.running_mean, mean)
            self._follow(self.running_var, variance * (count / (count - 1)))
        else:
            mean, variance = self.running_mean.data, self.running_var.data
            scale = 1.0 / array_module(variance).sqrt(variance + self.eps)
            x = (x - mean.reshape(column)) * scale.reshape(column)
        return x * self.weight.reshape(column) + self.bias.reshape(column)

    def _follow(self, running: Buffer, batch: Array) -> None:
        seen = batch.reshape(-1).astype(running.data.dtype, copy=False)
        running.data = (1.0 - self.momentum) * running.data + self.momentum * seen


class BatchNorm1d(_BatchNorm):
    """Each channel to mean 0 and variance 1 over the batch, times weight, plus bias (Ioffe & Szegedy 2015).

    In training by the batch's own mean and variance, which move the running ones: running ← (1 − momentum)·running +
    momentum·batch's, the variance unbiased (n − 1), as in PyTorch. In evaluation (`model.predict`,
    `tinymtl.lab.evaluate`, `tinymtl.nn.evaluating()`) by the running ones.

    The running mean and variance move at every forward in training. Alternating and grouped steps make one forward
    per turn, so there one minibatch moves a trunk's running values as often as there are turns.

    Parameters
    ----------
    channels : int
        The length of axis 1; weight starts at 1 and bias at 0, both (channels,).
    eps : float, default 1e-5
        Added to the variance.
    momentum : float in [0, 1], default 0.1

    Raises
    ------
    ValueError
        In training, for a batch with one value per channel: it has no variance.

    Examples
    --------
    >>> norm = BatchNorm1d(1, momentum=0.5)
    >>> norm(np.array([[1.0], [3.0]])).data.round(3).ravel()
    array([-1.,  1.])
    >>> norm.running_mean, norm.running_var  # (0 + 2) / 2 and (1 + 2) / 2
    (Buffer([1.]), Buffer([1.5]))
    """

    expected = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for images: each channel of (N, C, H, W) over the batch, rows and columns.

    Parameters and behaviour are those of `BatchNorm1d`.

    Examples
    --------
    >>> BatchNorm2d(3)(np.ones((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    """

    expected = {4: "(N, C, H, W)"}
