"""Optimizers as rules. A rule's memory is a separate value: keep one, or one per task, or one per group.

    memory = optimizer.init(parameters)
    optimizer.update(parameters, gradients, memory)

The rules equal PyTorch's optimizers of the same name. They share two settings:

`lr` is a number, or a function of the update's number t, 1 for the first: `tm.SGD(lr=lambda t: 0.1 / t)`. Every memory
counts its own updates, so with a memory per task t is how often that task has moved.

`clip_norm` scales the gradients of one `update` by min(1, clip_norm / (‖g‖ + 1e-6)), ‖g‖ over all of them together,
before anything else is done with them, as PyTorch's clip_grad_norm_. In a strategy this is one gradient of the whole
model or, if tasks or groups take turns, of one turn: of the trunk and the heads that move in it, though each has a
memory of its own. If several memories of the trunk take part in a turn, each with its own tasks, they are clipped
apart, as optimizers of their own would be.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from operator import isub
from typing import Any, Protocol

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.autodiff.tensor import clock
from tinymtl.backend import Array, array_module
from tinymtl.checks import shown
from tinymtl.kernels import Call, at_once, fused_later

#: A learning rate: a number, or a function of the update's number t = 1, 2, … that returns one.
Rate = float | Callable[[int], float]


@dataclass
class SGDMemory:
    """The velocity of each parameter (empty without momentum), and the number of updates so far."""

    velocity: list[Array]
    t: int = 0

    def copy(self) -> SGDMemory:
        """A memory that shares no array with this one."""
        return SGDMemory([v.copy() for v in self.velocity], self.t)


@dataclass
class AdamMemory:
    """First and second moment of each parameter, and the number of updates so far."""

    m: list[Array]
    v: list[Array]
    t: int = 0

    def copy(self) -> AdamMemory:
        """A memory that shares no array with this one."""
        return AdamMemory([m.copy() for m in self.m], [v.copy() for v in self.v], self.t)


class Optimizer(Protocol):
    """A rule that can make a memory and apply one update with it."""

    def init(self, parameters: Sequence[Tensor]) -> Any:
        """A fresh memory for these parameters: a dataclass of numbers and lists of arrays, as a checkpoint keeps it."""

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Array], memory: Any) -> None:
        """Change the parameters and the memory in place."""


class SGD:
    """Stochastic gradient descent: g ← g + weight_decay·p, v ← momentum·v + g, p ← p − lr·v.

    Parameters
    ----------
    lr : float, or a function of the update's number t = 1, 2, … that returns one
    momentum : float in [0, 1), default 0.0
    weight_decay : float, default 0.0
    clip_norm : float, optional
        The largest norm that the gradients of one update may have together; by default they are taken as they are.

    Examples
    --------
    >>> import tinymtl as tm
    >>> p = tm.tensor([1.0], requires_grad=True)
    >>> sgd = tm.SGD(lr=lambda t: 0.1 / t)
    >>> memory = sgd.init([p])
    >>> for _ in range(2):  # 1 → 1 − 0.1·2 → 0.8 − 0.05·1.6
    ...     sgd.update([p], [p.data * 2], memory)
    >>> p.data
    array([0.72], dtype=float32)
    """

    def __init__(self, lr: Rate, momentum: float = 0.0, weight_decay: float = 0.0, clip_norm: float | None = None):
        self.lr = _rate(lr)
        self.momentum = _number("momentum", momentum, below=1.0)
        self.weight_decay = _number("weight_decay", weight_decay)
        self.clip_norm = _clip_norm(clip_norm)

    def init(self, parameters: Sequence[Tensor]) -> SGDMemory:
        """A memory at rest."""
        _check_parameters(parameters)
        if self.momentum == 0.0:
            return SGDMemory([])
        return SGDMemory([array_module(p.data).zeros_like(p.data) for p in parameters])

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Array], memory: SGDMemory) -> None:
        """One step in place.

        Raises a ValueError, before anything moves, for shapes or counts that differ and for a learning rate that is
        negative or not finite; a TypeError for one that is not a number.
        """
        _check_fit(parameters, gradients, memory, SGDMemory, ("velocity",) if self.momentum else ())
        lr = rate_at(self.lr, memory.t + 1) if callable(self.lr) else self.lr
        if self.clip_norm is not None:
            gradients = clipped(gradients, self.clip_norm)
        calls: list[Call] = [(setattr, memory, "t", memory.t + 1)]
        for i, (parameter, g) in enumerate(zip(parameters, gradients, strict=True)):
            p, parameter.tick = parameter.data, next(clock)
            if self.momentum:
                calls += sgd(p, g, memory.velocity[i], lr, self.momentum, self.weight_decay)
            else:
                change = lr * (g + self.weight_decay * p if self.weight_decay else g)
                calls.append((isub, p, change))
        at_once(calls)

    def __repr__(self) -> str:
        return _repr(self, momentum=self.momentum, weight_decay=self.weight_decay)


class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1), with weight decay added to the gradient.

    m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², p ← p − lr · (m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + eps).

    Parameters
    ----------
    lr : float, or a function of the update's number t = 1, 2, … that returns one; default 1e-3
    betas : pair of floats, default (0.9, 0.999)
    eps : float, default 1e-8
    weight_decay : float, default 0.0
    clip_norm : float, optional
        The largest norm that the gradients of one update may have together; by default they are taken as they are.

    Examples
    --------
    >>> import tinymtl as tm
    >>> p = tm.tensor([1.0], requires_grad=True)
    >>> adam = tm.Adam(lr=0.1)
    >>> adam.update([p], [p.data * 2], adam.init([p]))  # the first step has length lr, whatever the gradient's
    >>> p.data
    array([0.9], dtype=float32)
    """

    _decoupled = False  # whether weight decay shrinks the parameters by itself, or is a part of the gradient

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ):
        self.lr = _rate(lr)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"betas must be a pair of numbers in [0, 1); got {shown(betas)}")
        self.betas = (_number("betas[0]", betas[0], below=1.0), _number("betas[1]", betas[1], below=1.0))
        self.eps = _number("eps", eps)
        self.weight_decay = _number("weight_decay", weight_decay)
        self.clip_norm = _clip_norm(clip_norm)

    def init(self, parameters: Sequence[Tensor]) -> AdamMemory:
        """A memory at rest."""
        _check_parameters(parameters)
        zeros = [array_module(p.data).zeros_like(p.data) for p in parameters]
        return AdamMemory(zeros, [z.copy() for z in zeros])

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Array], memory: AdamMemory) -> None:
        """One step in place.

        Raises a ValueError, before anything moves, for shapes or counts that differ and for a learning rate that is
        negative or not finite; a TypeError for one that is not a number; on the host a FloatingPointError for a
        gradient whose square is not finite: v would be infinite from then on, and the parameter would never move again.
        """
        _check_fit(parameters, gradients, memory, AdamMemory, ("m", "v"))
        lr = rate_at(self.lr, memory.t + 1) if callable(self.lr) else self.lr
        if self.clip_norm is not None:
            gradients = clipped(gradients, self.clip_norm)
        _check_squares(gradients)
        t = memory.t + 1
        beta1, beta2 = self.betas
        step_size = lr / (1.0 - beta1**t)
        correction = 1.0 / math.sqrt(1.0 - beta2**t)
        decay, kept = (0.0, 1.0 - lr * self.weight_decay) if self._decoupled else (self.weight_decay, 1.0)
        betas = (beta1, beta2, 1.0 - beta1, 1.0 - beta2)
        calls: list[Call] = [(setattr, memory, "t", t)]
        for parameter, g, m, v in zip(parameters, gradients, memory.m, memory.v, strict=True):
            parameter.tick = next(clock)
            calls += adam(parameter.data, g, m, v, *betas, step_size, correction, self.eps, decay, kept)
        at_once(calls)

    def __repr__(self) -> str:
        return _repr(self, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2): the gradient knows nothing of it.

    p ← (1 − lr·weight_decay)·p, then Adam's step. As in PyTorch, and unlike the paper, the decay is multiplied by the
    whole learning rate: a rate that falls lets both fall.

    Parameters
    ----------
    lr, betas, eps, clip_norm
        As for `Adam`.
    weight_decay : float, default 0.01

    Examples
    --------
    >>> import tinymtl as tm
    >>> p = tm.tensor([1.0], requires_grad=True)
    >>> adamw = tm.AdamW(lr=0.5, weight_decay=0.5)
    >>> adamw.update([p], [p.data * 2], adamw.init([p]))  # 1 → 0.75 · 1 − 0.5
    >>> p.data
    array([0.25], dtype=float32)
    """

    _decoupled = True

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
    ):
        super().__init__(lr, betas, eps, weight_decay, clip_norm)


# What the rules share


def rate_at(lr: Callable[[int], float], t: int) -> float:
    """The learning rate of update t, from a function.

    Raises
    ------
    ValueError, TypeError
        For a rate that is negative or not finite; for one that is not a number.
    """
    return _number(f"the learning rate of update {t}", lr(t))


def clipped_together(rule: Optimizer, gradients: Sequence[Array]) -> tuple[Optimizer, Sequence[Array]]:
    """The rule, and the parts of one gradient, for updates one by one: if it clips, clipped, and a rule that does not.

    They are clipped by their joint norm: an update by itself would clip its part by that part's norm alone.
    """
    if len(gradients) < 2 or not isinstance(rule, SGD | Adam) or rule.clip_norm is None:
        return rule, gradients
    plain = copy.copy(rule)
    plain.clip_norm = None
    return plain, clipped(gradients, rule.clip_norm)


def clipped(gradients: Sequence[Array], clip_norm: float) -> list[Array]:
    """The gradients times min(1, clip_norm / (‖g‖ + 1e-6)), ‖g‖ over all of them together.

    Squares are added up in float64. On a GPU the factor stays there, in eight small launches: nobody waits for it.

    Raises
    ------
    FloatingPointError
        If the norm is not finite (on a GPU nobody looks).
    """
    if not gradients:
        return []
    xp = array_module(gradients[0])
    doubles = [g.astype(np.float64, copy=False) for g in gradients]
    first, *rest = [xp.vdot(g, g) for g in doubles]
    norm = xp.sqrt(sum(rest, first))
    if xp is np and not math.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradients is {norm}, which clip_norm cannot scale; nothing moved")
    factor = xp.minimum(1.0, clip_norm / (norm + 1e-6))
    return [g * factor.astype(g.dtype) for g in gradients]


#: The rules above: their updates check everything before they change anything.
RULES = (SGD, Adam, AdamW)
#: What they remember, which can be copied as a whole.
RULE_MEMORIES = (SGDMemory, AdamMemory)


# The rules on one array, in place: as the calls (function, what it is given, where to) that make the change. An update
# makes them at once: a Ctrl-C finds parameters and memory both as they were, or both moved. On a GPU each is one
# launch.


@fused_later
def sgd(p: Array, g: Array, v: Array, lr: float, momentum: float, weight_decay: float) -> list[Call]:
    """v ← momentum·v + g, p ← p − lr·v."""
    if weight_decay:
        g = g + weight_decay * p
    change = np.empty_like(p)
    return [
        (np.multiply, v, momentum, v),
        (np.add, v, g, v),
        (np.multiply, v, lr, change),
        (np.subtract, p, change, p),
    ]


@fused_later
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
    kept: float,
) -> list[Call]:
    """Both moments and the step; `step_size` is lr/(1 − β₁ᵗ), `correction` 1/√(1 − β₂ᵗ).

    Weight decay is added to the gradient; what decoupled decay leaves of p is `kept`.
    """
    if weight_decay:
        g = g + weight_decay * p
    scratch = np.empty_like(p)
    return [
        (np.multiply, g, one_minus_beta1, scratch),  # m ← β₁m + (1 − β₁)g
        (np.multiply, m, beta1, m),
        (np.add, m, scratch, m),
        (np.multiply, g, g, scratch),  # v ← β₂v + (1 − β₂)g²
        (np.multiply, scratch, one_minus_beta2, scratch),
        (np.multiply, v, beta2, v),
        (np.add, v, scratch, v),
        (np.sqrt, v, scratch),  # p ← kept·p − step_size · m / (√v·correction + eps)
        (np.multiply, scratch, correction, scratch),
        (np.add, scratch, eps, scratch),
        (np.divide, m, scratch, scratch),
        (np.multiply, scratch, step_size, scratch),
        *([(np.multiply, p, kept, p)] if kept != 1.0 else []),
        (np.subtract, p, scratch, p),
    ]


def _number(name: str, value: Any, below: float = math.inf) -> float:
    """`value` as a float; refused unless it is a number, 0 or more and less than `below`."""
    range_ = "a finite number, 0 or more" if below == math.inf else f"a number in [0, {below:g})"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be {range_}; got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be {range_}; got a number that is too large for a float") from None
    if not 0.0 <= number < below:
        raise ValueError(f"{name} must be {range_}; got {shown(value)}")
    return number


def _rate(lr: Any) -> Rate:
    return lr if callable(lr) else _number("lr", lr)


def _clip_norm(clip_norm: Any) -> float | None:
    if clip_norm is not None and _number("clip_norm", clip_norm) == 0.0:
        raise ValueError("clip_norm=0 would stop every update: give a number above 0, or None for no clipping")
    return None if clip_norm is None else float(clip_norm)


def _repr(rule: SGD | Adam, **settings: Any) -> str:
    lr = _name(rule.lr) if callable(rule.lr) else rule.lr
    clip = "" if rule.clip_norm is None else f", clip_norm={rule.clip_norm}"
    return f"{type(rule).__name__}(lr={lr}, {', '.join(f'{k}={v}' for k, v in settings.items())}{clip})"


def _name(function: Any) -> str:
    """What a function is called: the same in another process, as a checkpoint compares it, so never an address."""
    if isinstance(function, functools.partial):
        options = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in function.keywords.items())]
        return f"partial({', '.join([_name(function.func), *options])})"
    if hasattr(function, "__name__"):
        return str(function.__name__)
    cls = type(function)
    return f"{cls.__name__}()" if cls.__repr__ is object.__repr__ else repr(function)


def _check_squares(gradients: Sequence[Array]) -> None:
    for i, g in enumerate(gradients):
        if not isinstance(g, np.ndarray):  # on a GPU a look would make every update wait
            return
        if math.isfinite(np.vdot(g, g)):  # unlike dot it warns of no overflow
            continue
        largest = float(abs(g).max())
        if not largest <= math.sqrt(np.finfo(g.dtype).max):
            raise FloatingPointError(
                f"gradient {i} reaches {largest:.3g}, whose square is too large for {g.dtype}: Adam's second moment "
                "would be infinite and the parameter never move again; nothing moved. Scale the loss, or set clip_norm"
            )


def _check_parameters(parameters: Any) -> None:
    if not isinstance(parameters, (list, tuple)):  # noqa: UP038  (half the time of list | tuple)
        raise TypeError(f"parameters must be a list of tensors, not a {type(parameters).__name__}")
    for parameter in parameters:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"parameters must be a list of tensors, not a list with a {type(parameter).__name__}")


def _check_fit(
    parameters: Sequence[Tensor], gradients: Sequence[Array], memory: Any, kind: type, names: Sequence[str]
) -> None:
    """Whether parameters, gradients and the lists of arrays of a memory that are called `names` go together."""
    _check_parameters(parameters)
    if not isinstance(memory, kind):
        raise TypeError(f"the memory must be what this rule's init(parameters) returns, not a {type(memory).__name__}")
    count = len(parameters)
    if len(gradients) != count:
        raise ValueError(f"{count} parameters need as many gradients, {len(gradients)} given")
    memories = [getattr(memory, name) for name in names]
    fits = [len(arrays) for arrays in memories] == [count] * len(names)
    for i, parameter in enumerate(parameters):
        p, g = parameter.data, gradients[i]
        if isinstance(p, np.generic):  # what NumPy makes of `w.data - 0.1 * g` for a 0-d w
            p = parameter.data = np.asarray(p)
        shape, dtype = p.shape, p.dtype
        if not hasattr(g, "shape"):
            raise TypeError(f"gradient {i} must be an array, not a {type(g).__name__}")
        if g.shape != shape:
            raise ValueError(f"parameter {i} has shape {shape}, its gradient {g.shape}")
        for arrays in memories if fits else ():
            a = arrays[i]
            fits = fits and type(a) is type(p) and a.shape == shape and a.dtype == dtype
    if not fits:
        raise ValueError(
            "this memory was made for other parameters: make one for these with init(parameters); "
            "after model.to, make the step anew"
        )
