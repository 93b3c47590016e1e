"""Optimizers as rules. A rule's memory is a separate value: keep one, or one per task, or one per group.

    state = optimizer.init(parameters)
    optimizer.update(parameters, gradients, state)

Both rules equal PyTorch's optimizers of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module
from tinymtl.kernels import fused


@dataclass
class SGDState:
    """The velocity of each parameter (empty without momentum)."""

    velocity: list[Array]

    def copy(self) -> SGDState:
        """A memory that shares no array with this one."""
        return SGDState([v.copy() for v in self.velocity])


@dataclass
class AdamState:
    """First and second moment of each parameter, and the number of updates so far."""

    m: list[Array]
    v: list[Array]
    t: int = 0

    def copy(self) -> AdamState:
        """A memory that shares no array with this one."""
        return AdamState([m.copy() for m in self.m], [v.copy() for v in self.v], self.t)


class Optimizer(Protocol):
    """A rule that can make a memory and apply one update with it."""

    def init(self, parameters: Sequence[Tensor]) -> Any:
        """A fresh memory for these parameters: a dataclass of numbers and lists of arrays, as a checkpoint keeps it."""

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Array], state: Any) -> None:
        """Change the parameters and the memory in place."""


class SGD:
    """Stochastic gradient descent: g ← g + weight_decay·p, v ← momentum·v + g, p ← p − lr·v.

    Parameters
    ----------
    lr : float
    momentum, weight_decay : float, default 0.0

    Examples
    --------
    >>> import tinymtl as tm
    >>> p = tm.tensor([1.0], requires_grad=True)
    >>> sgd = tm.SGD(lr=0.1)
    >>> sgd.update([p], [p.data * 2], sgd.init([p]))
    >>> p.data
    array([0.8], dtype=float32)
    """

    def __init__(self, lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        _check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.lr, self.momentum, self.weight_decay = float(lr), float(momentum), float(weight_decay)

    def init(self, parameters: Sequence[Tensor]) -> SGDState:
        """A memory at rest."""
        if self.momentum == 0.0:
            return SGDState([])
        return SGDState([array_module(p.data).zeros_like(p.data) for p in parameters])

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Array], state: SGDState) -> None:
        """One step in place. Raises ValueError, before anything moves, where shapes or counts differ."""
        _check_shapes(parameters, gradients, *([state.velocity] if self.momentum else []))
        for i, (parameter, g) in enumerate(zip(parameters, gradients, strict=True)):
            p = parameter.data
            if self.momentum:
                sgd(p, g, state.velocity[i], self.lr, self.momentum, self.weight_decay)
            else:
                p -= self.lr * (g + self.weight_decay * p if self.weight_decay else g)

    def __repr__(self) -> str:
        return f"SGD(lr={self.lr}, momentum={self.momentum}, weight_decay={self.weight_decay})"


class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1), with weight decay added to the gradient.

    m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², p ← p − lr · (m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + eps).

    Parameters
    ----------
    lr : float, default 1e-3
    betas : pair of floats, default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 0.0

    Examples
    --------
    >>> import tinymtl as tm
    >>> p = tm.tensor([1.0], requires_grad=True)
    >>> adam = tm.Adam(lr=0.1)
    >>> adam.update([p], [p.data * 2], adam.init([p]))  # the first step has length lr, whatever the gradient's
    >>> p.data
    array([0.9], dtype=float32)
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        _check(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"Adam's betas lie in [0, 1), got {betas}")
        self.lr, self.eps, self.weight_decay = float(lr), float(eps), float(weight_decay)
        self.betas = (float(betas[0]), float(betas[1]))

    def init(self, parameters: Sequence[Tensor]) -> AdamState:
        """A memory at rest."""
        zeros = [array_module(p.data).zeros_like(p.data) for p in parameters]
        return AdamState(zeros, [z.copy() for z in zeros])

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Array], state: AdamState) -> None:
        """One step in place. Raises ValueError, before anything moves, where shapes or counts differ."""
        _check_shapes(parameters, gradients, state.m, state.v)
        beta1, beta2 = self.betas
        state.t += 1
        step_size = self.lr / (1.0 - beta1**state.t)
        correction = 1.0 / math.sqrt(1.0 - beta2**state.t)
        for parameter, g, m, v in zip(parameters, gradients, state.m, state.v, strict=True):
            betas = (beta1, beta2, 1.0 - beta1, 1.0 - beta2)
            adam(parameter.data, g, m, v, *betas, step_size, correction, self.eps, self.weight_decay)

    def __repr__(self) -> str:
        return f"Adam(lr={self.lr}, betas={self.betas}, eps={self.eps}, weight_decay={self.weight_decay})"


# The two rules on one array, in place. On a GPU each is one launch.


@fused
def sgd(p: Array, g: Array, v: Array, lr: float, momentum: float, weight_decay: float) -> None:
    """v ← momentum·v + g, p ← p − lr·v."""
    if weight_decay:
        g = g + weight_decay * p
    v *= momentum
    v += g
    p -= lr * v


@fused
def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    beta1: float,
    beta2: float,
    one_minus_beta1: float,
    one_minus_beta2: float,
    step_size: float,
    correction: float,
    eps: float,
    weight_decay: float,
) -> None:
    """Both moments and the step; `step_size` is lr/(1 − β₁ᵗ), `correction` 1/√(1 − β₂ᵗ)."""
    if weight_decay:
        g = g + weight_decay * p
    scratch = np.empty_like(p)  # not `one_minus_beta1 * g`: of a 0-d array NumPy makes a scalar
    np.multiply(g, one_minus_beta1, out=scratch)
    m *= beta1
    m += scratch
    np.multiply(g, g, out=scratch)
    scratch *= one_minus_beta2
    v *= beta2
    v += scratch
    np.sqrt(v, out=scratch)
    scratch *= correction
    scratch += eps
    np.divide(m, scratch, out=scratch)
    scratch *= step_size
    p -= scratch


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (value >= 0.0 and math.isfinite(value)):
            raise ValueError(f"{name} must be a finite number, 0 or more; got {value}")


def _check_shapes(parameters: Sequence[Tensor], gradients: Sequence[Array], *memories: Sequence[Array]) -> None:
    if len(parameters) != len(gradients):
        raise ValueError(f"{len(parameters)} parameters need as many gradients, {len(gradients)} given")
    for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        if isinstance(parameter.data, np.generic):  # what NumPy makes of `w.data - 0.1 * g` for a 0-d w
            parameter.data = np.asarray(parameter.data)
        if parameter.data.shape != gradient.shape:
            raise ValueError(f"parameter {i} has shape {parameter.data.shape}, its gradient {gradient.shape}")
    for memory in memories:
        if [(type(a), a.shape, a.dtype) for a in memory] != [
            (type(p.data), p.data.shape, p.data.dtype) for p in parameters
        ]:
            raise ValueError(
                "this memory was made for other parameters: make one for these with init(parameters); "
                "after model.to, make the step anew"
            )
