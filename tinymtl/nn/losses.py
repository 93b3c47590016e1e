"""Loss functions: means over all elements, each one operation with its gradient worked out by hand.

`cross_entropy` and `binary_cross_entropy_with_logits` also come for K tasks at once, whose predictions stand side
by side in one matrix: one pass over it instead of K.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor, record
from tinymtl.autodiff.ops import operand
from tinymtl.backend import Array, array_module, device_of, is_array, to_device
from tinymtl.kernels import fused
from tinymtl.nn.functional import filled, sum_rows


def cross_entropy(logits: Tensor, labels: Any) -> Tensor:
    """−(1/N) Σₙ ln softmax(logitsₙ)[labelₙ].

    Parameters
    ----------
    logits : Tensor, shape (N, C)
    labels : integer array, shape (N,) or (N, 1), values 0 … C − 1

    Raises
    ------
    ValueError, TypeError
        For an empty batch, shapes that do not fit, labels that are no integers or (on the host) out of range.

    Examples
    --------
    >>> import tinymtl as tm
    >>> round(tm.cross_entropy(tm.tensor([[0.0, 0.0]]), [1]).item(), 6)  # ln 2
    0.693147
    """
    values = operand(logits)
    labels = _constant(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(f"cross_entropy takes logits (N, C) and labels (N,); got {values.shape} and {labels.shape}")
    losses, gradient = _cross_entropy(values[:, None, :], labels[:, None])
    gradient = gradient[:, 0, :]
    return record(losses[0], (logits, lambda g: _scaled(gradient, g)))


def cross_entropy_per_task(logits: Tensor, labels: Array) -> Tensor:
    """K cross-entropies at once: logits (N, K·C), task by task, and labels (N, K) → losses (K,)."""
    values = logits.data
    rows, tasks = labels.shape
    losses, gradient = _cross_entropy(values.reshape(rows, tasks, -1), labels)
    return record(
        losses,
        (logits, lambda g: (gradient * g[..., None, :, None]).reshape(g.shape[:-1] + values.shape)),
    )


def _cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Losses (K,) of logits (N, K, C) and labels (N, K), and their gradients at the logits (N, K, C)."""
    xp = array_module(logits)
    rows, _, classes = logits.shape
    if rows == 0:
        raise ValueError("cross_entropy of an empty batch is not defined")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, these are {labels.dtype}")
    if isinstance(labels, np.ndarray):  # on a GPU a look at the labels would make every step wait
        _check_range(labels, classes)
    labels = xp.ascontiguousarray(_beside(labels, logits), dtype=np.int64)
    losses, gradient = xp.empty(labels.shape, logits.dtype), xp.empty(logits.shape, logits.dtype)
    softmax_cross_entropy(losses, gradient, xp.ascontiguousarray(logits), labels, 1.0 / rows)
    return sum_rows(losses), gradient


@fused
def softmax_cross_entropy(losses: Array, gradient: Array, logits: Array, labels: Array, scale: float) -> None:
    """Write −scale · ln softmax(logits)[label] (N, K) and its gradient (N, K, C)."""
    classes = logits.shape[-1]
    x, p = logits.reshape(-1, classes), gradient.reshape(-1, classes)
    largest = np.ascontiguousarray(x.T).max(axis=0)  # along short rows, NumPy's max takes six times as long
    np.subtract(x, largest[:, None], out=p)
    chosen = labels.reshape(-1) + np.arange(0, p.size, classes)
    np.negative(p.reshape(-1)[chosen].reshape(losses.shape), out=losses)
    np.exp(p, out=p)
    total = p.dot(filled(np, classes, 1.0, p.dtype))
    losses += np.log(total).reshape(losses.shape)
    losses *= scale
    p *= (scale / total)[:, None]
    p.reshape(-1)[chosen] -= scale  # every row is chosen once, so that this needs no add.at


def _check_range(labels: Array, classes: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels must lie in 0 … {classes - 1} for {classes} classes; found {low if low < 0 else high}"
        )


def binary_cross_entropy_with_logits(logits: Tensor, targets: Any) -> Tensor:
    """Mean of −t ln σ(x) − (1 − t) ln(1 − σ(x)), computed without overflow for any x.

    Parameters
    ----------
    logits : Tensor, shape (N,) or (N, 1) or any other
    targets : array of the same shape (or (N,) for logits (N, 1)), values in [0, 1]

    Examples
    --------
    >>> import tinymtl as tm
    >>> round(tm.binary_cross_entropy_with_logits(tm.tensor([0.0, 0.0]), [0, 1]).item(), 6)  # ln 2
    0.693147
    """
    x, t = _pair("binary_cross_entropy_with_logits", logits, targets)
    losses, gradient = _binary_cross_entropy(x, t, 1.0 / x.size)
    return record(losses.sum(), (logits, lambda g: _scaled(gradient, g)))


def binary_cross_entropy_per_task(logits: Tensor, targets: Array) -> Tensor:
    """K binary cross-entropies at once: logits (N, K) and targets (N, K) → losses (K,)."""
    x, t = _pair("binary_cross_entropy_per_task", logits, targets)
    losses, gradient = _binary_cross_entropy(x, t, 1.0 / len(x))
    return record(sum_rows(losses), (logits, lambda g: gradient * g[..., None, :]))


def _binary_cross_entropy(x: Array, t: Array, scale: float) -> tuple[Array, Array]:
    """The elements' losses and their derivatives, both times `scale`."""
    xp = array_module(x)
    if isinstance(t, np.ndarray) and (t.min() < 0 or t.max() > 1):  # a NaN gets its own error, in the loss
        raise ValueError(f"binary targets must lie in [0, 1]; found {float(t.min() if t.min() < 0 else t.max())}")
    t = _beside(t, x)
    losses, gradient = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype)
    # asarray, for ascontiguousarray would make a 0-d array one-dimensional
    binary_cross_entropy(losses, gradient, xp.asarray(x, order="C"), xp.asarray(t, order="C"), scale)
    return losses, gradient


@fused
def binary_cross_entropy(losses: Array, gradient: Array, x: Array, t: Array, scale: float) -> None:
    """Write scale · (([x > 0] − t) x + ln(1 + e^−|x|)) and its derivative scale · (σ(x) − t).

    With s = e^−|x|/(1 + e^−|x|), σ(x) − t is [x > 0] − t − s right of 0 and − t + s left of it: for t in {0, 1}
    nothing cancels, and both tails keep every digit.
    """
    signed = np.greater(x, 0, out=np.empty_like(x), casting="unsafe")
    np.subtract(signed, t, out=gradient)  # 1 − t right of 0, −t left of it
    e = np.abs(x, out=np.empty_like(x))
    np.negative(e, out=e)
    np.exp(e, out=e)
    np.log1p(e, out=losses)
    signed -= 0.5
    signed *= e
    e += 1.0
    signed /= e  # s / 2, with the sign of x
    try:
        with np.errstate(invalid="raise"):
            np.multiply(gradient, x, out=e)
    except FloatingPointError:  # 0 · ∞: a logit that is infinite and right costs nothing
        e[np.isinf(x) & (gradient == 0)] = 0.0
    losses += e
    losses *= scale
    signed *= 2.0
    gradient -= signed
    gradient *= scale


def mse_loss(prediction: Tensor, target: Any) -> Tensor:
    """Mean of (prediction − target)².

    Shapes: equal, or prediction (N, 1) and target (N,).

    Examples
    --------
    >>> import tinymtl as tm
    >>> tm.mse_loss(tm.tensor([1.0, 3.0]), [1.0, 1.0]).item()
    2.0
    """
    p, t = _pair("mse_loss", prediction, target)
    d = p - _beside(t, p)
    return record((d * d).mean(), (prediction, lambda g: _scaled(d * (2.0 / d.size), g)))


def l1_loss(prediction: Tensor, target: Any) -> Tensor:
    """Mean of |prediction − target|; the derivative at 0 is taken as 0.

    Examples
    --------
    >>> import tinymtl as tm
    >>> tm.l1_loss(tm.tensor([1.0, 3.0]), [1.0, 1.0]).item()
    1.0
    """
    p, t = _pair("l1_loss", prediction, target)
    d = p - _beside(t, p)
    return record(abs(d).mean(), (prediction, lambda g: _scaled(array_module(d).sign(d) * (1.0 / d.size), g)))


#: The losses that can be taken of several tasks' predictions in one matrix.
PER_TASK: dict[Callable[..., Tensor], Callable[[Tensor, Array], Tensor]] = {
    cross_entropy: cross_entropy_per_task,
    binary_cross_entropy_with_logits: binary_cross_entropy_per_task,
}


def _scaled(gradient: Array, g: Array) -> Array:
    """gradient · g for a scalar loss's g of shape (…)."""
    return gradient * g if g.ndim == 0 else gradient * g.reshape(g.shape + (1,) * gradient.ndim)


def _constant(target: Any) -> Array:
    if isinstance(target, Tensor):
        if target.requires_grad:
            raise ValueError("the target of a loss is a constant, but this one requires a gradient: detach() it")
        return target.data
    return target if is_array(target) else np.asarray(target)


def _beside(target: Array, prediction: Array) -> Array:
    """`target` on the device of the prediction."""
    return target if type(target) is type(prediction) else to_device(target, device_of(prediction))


def _pair(name: str, prediction: Tensor, target: Any) -> tuple[Array, Array]:
    p = operand(prediction)
    t = _constant(target)
    if p.size == 0:
        raise ValueError(f"{name} of an empty batch is not defined")
    if t.shape != p.shape:
        if p.shape != (*t.shape, 1):  # anything else would broadcast to a matrix of all pairs, silently
            raise ValueError(f"{name}: a prediction of shape {p.shape} and a target of shape {t.shape} do not match")
        t = t.reshape(p.shape)
    return p, t if t.dtype == p.dtype else t.astype(p.dtype)
