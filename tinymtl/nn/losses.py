"""Loss functions: means over all elements, each one operation with its gradient worked out by hand.

A target that is missing (NaN, masked or None) is left out of the mean, and so is one whose weight is 0.

`cross_entropy` and `binary_cross_entropy_with_logits` also come for K tasks at once, whose predictions stand side
by side in one matrix: one pass over it instead of K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.arrays import as_numbers, cast, without_gaps
from tinymtl.autodiff import Tensor, record
from tinymtl.autodiff.ops import operand, wide
from tinymtl.backend import Array, array_module, device_of, to_device
from tinymtl.kernels import fused
from tinymtl.nn.functional import filled, sum_rows

NOTHING = "nothing is labelled: a mean needs one target at least"


def cross_entropy(logits: Tensor, labels: Any, weights: Any = None) -> Tensor:
    """−Σₙ wₙ ln softmax(logitsₙ)[labelₙ] / Σₙ wₙ: the mean over the rows that are labelled.

    Parameters
    ----------
    logits : Tensor, shape (N, C)
    labels : whole numbers 0 … C − 1, shape (N,) or (N, 1)
        NaN (on the host), masked or None where there is no label.
    weights : array of the labels' shape, default 1 for every label
        wₙ ≥ 0. What stands at a weight of 0 is not looked at.

    Raises
    ------
    ValueError, TypeError
        For an empty batch, no label at all, shapes that do not fit, labels that are not whole numbers or (on the
        host) out of range.

    Examples
    --------
    >>> import tinymtl as tm
    >>> logits = tm.tensor([[0.0, 0.0], [5.0, 0.0]])
    >>> round(tm.cross_entropy(logits, [1, np.nan]).item(), 6)  # ln 2
    0.693147
    """
    values = wide(operand(logits))
    labels, weights = _labelled("cross_entropy", labels, weights)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels, weights = labels[:, 0], None if weights is None else weights[:, 0]
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(f"cross_entropy takes logits (N, C) and labels (N,); got {values.shape} and {labels.shape}")
    weights = None if weights is None else weights[:, None]
    losses, gradient = _cross_entropy(values[:, None, :], labels[:, None], weights)
    gradient = gradient[:, 0, :]
    return record(losses[0], (logits, lambda g: _scaled(gradient, g)))


def cross_entropy_per_task(logits: Tensor, labels: Array, weights: Array | None = None) -> Tensor:
    """K cross-entropies at once: logits (N, K·C), task by task, labels and weights (N, K) → losses (K,)."""
    values = logits.data
    rows, tasks = labels.shape
    losses, gradient = _cross_entropy(values.reshape(rows, tasks, -1), labels, weights)
    return record(
        losses,
        (logits, lambda g: (gradient * g[..., None, :, None]).reshape(g.shape[:-1] + values.shape)),
    )


def _cross_entropy(logits: Array, labels: Array, weights: Array | None) -> tuple[Array, Array]:
    """Losses (K,) of logits (N, K, C), labels and weights (N, K), and their gradients at the logits (N, K, C)."""
    xp = array_module(logits)
    rows, _, classes = logits.shape
    if rows == 0:
        raise ValueError("cross_entropy of an empty batch is not defined")
    on_host = isinstance(labels, np.ndarray)  # on a GPU a look at the labels would make every step wait
    if on_host:
        _check_labels(labels, classes)
    elif labels.dtype.kind == "f":
        raise TypeError(f"labels must be integers, these are {labels.dtype}")
    labels = xp.ascontiguousarray(_beside(labels, logits), dtype=np.int64)
    losses, gradient = xp.empty(labels.shape, logits.dtype), xp.empty(logits.shape, logits.dtype)
    scale = filled(xp, (), 1.0 / rows, logits.dtype) if weights is None else _shares(weights, logits, per_column=True)
    softmax_cross_entropy(losses, gradient, xp.ascontiguousarray(logits), labels, scale)
    return sum_rows(losses), gradient


@fused
def softmax_cross_entropy(losses: Array, gradient: Array, logits: Array, labels: Array, scale: Array) -> None:
    """Write −scale · ln softmax(logits)[label] (N, K) and its gradient (N, K, C); scale is () or (N, K).

    With e = exp(x − max x) the total is e_label + Σ_others e. Its logarithm is taken of total − 1, and the gradient at
    the label is −Σ_others e / total: a label that is right by far keeps every digit of both.
    """
    classes = logits.shape[-1]
    x, p = logits.reshape(-1, classes), gradient.reshape(-1, classes)
    largest = np.ascontiguousarray(x.T).max(axis=0)  # along short rows, NumPy's max takes six times as long
    np.subtract(x, largest[:, None], out=p)
    flat, chosen = p.reshape(-1), labels.reshape(-1) + np.arange(0, p.size, classes)
    np.negative(flat[chosen].reshape(losses.shape), out=losses)
    np.exp(p, out=p)
    own = flat[chosen]
    flat[chosen] = 0.0
    others = p.dot(filled(np, classes, 1.0, p.dtype))
    share = scale.reshape(-1) / (others + own)
    own -= 1.0
    own += others  # the total − 1
    losses += np.log1p(own).reshape(losses.shape)
    losses *= scale
    p *= share[:, None]
    share *= others
    flat[chosen] = -share


def _check_labels(labels: Array, classes: int) -> None:
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        odd = low if low < 0 else high
        hint = "; if it means not labelled, say so: Task(…, missing=-1)" if odd == -1 else ""
        raise ValueError(f"labels must lie in 0 … {classes - 1} for {classes} classes; found {odd}{hint}")
    if labels.dtype.kind == "f" and (labels % 1).any():  # whole floats are what a gap makes of a column of integers
        odd = labels[labels % 1 != 0].flat[0]
        raise TypeError(f"labels must be integers, these are {labels.dtype}, such as {odd:g}")


def binary_cross_entropy_with_logits(logits: Tensor, targets: Any, weights: Any = None) -> Tensor:
    """Weighted mean of −t ln σ(x) − (1 − t) ln(1 − σ(x)), computed without overflow for any x.

    Parameters
    ----------
    logits : Tensor, shape (N,) or (N, 1) or any other
    targets : array of the same shape (or (N,) for logits (N, 1)), values in [0, 1]
        NaN (on the host), masked or None where there is no label.
    weights : array of the targets' shape, default 1 for every label

    Examples
    --------
    >>> import tinymtl as tm
    >>> round(tm.binary_cross_entropy_with_logits(tm.tensor([0.0, 0.0]), [0, 1]).item(), 6)  # ln 2
    0.693147
    """
    x, t, scale = _pair("binary_cross_entropy_with_logits", logits, targets, weights)
    scale = filled(array_module(x), (), 1.0 / x.size, x.dtype) if scale is None else scale
    losses, gradient = _binary_cross_entropy(x, t, scale)
    return record(losses.sum(), (logits, lambda g: _scaled(gradient, g)))


def binary_cross_entropy_per_task(logits: Tensor, targets: Array, weights: Array | None = None) -> Tensor:
    """K binary cross-entropies at once: logits, targets and weights (N, K) → losses (K,)."""
    x = logits.data
    if targets.shape != x.shape:
        raise ValueError(f"binary_cross_entropy_per_task: logits {x.shape} and targets {targets.shape} do not match")
    t = cast(targets, x.dtype)
    scale = filled(array_module(x), (), 1.0 / len(x), x.dtype) if weights is None else _shares(weights, x, True)
    losses, gradient = _binary_cross_entropy(x, t, scale)
    return record(sum_rows(losses), (logits, lambda g: gradient * g[..., None, :]))


def _binary_cross_entropy(x: Array, t: Array, scale: Array) -> tuple[Array, Array]:
    """The elements' losses and their derivatives, both times `scale`, of shape () or x's."""
    xp = array_module(x)
    if isinstance(t, np.ndarray) and (t.min() < 0 or t.max() > 1):  # a NaN gets its own error, in the loss
        raise ValueError(f"binary targets must lie in [0, 1]; found {float(t.min() if t.min() < 0 else t.max())}")
    t = _beside(t, x)
    losses, gradient = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype)
    # asarray, for ascontiguousarray would make a 0-d array one-dimensional
    binary_cross_entropy(losses, gradient, xp.asarray(x, order="C"), xp.asarray(t, order="C"), scale)
    return losses, gradient


@fused
def binary_cross_entropy(losses: Array, gradient: Array, x: Array, t: Array, scale: Array) -> None:
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


def mse_loss(prediction: Tensor, target: Any, weights: Any = None) -> Tensor:
    """Weighted mean of (prediction − target)².

    Shapes: equal, or prediction (N, 1) and target (N,); weights as the target, 1 by default. A target that is NaN
    (on the host), masked or None is left out.

    Examples
    --------
    >>> import tinymtl as tm
    >>> tm.mse_loss(tm.tensor([1.0, 3.0, 9.0]), [1.0, 1.0, None]).item()
    2.0
    """
    p, t, scale = _pair("mse_loss", prediction, target, weights)
    d = p - _beside(t, p)
    if scale is None:
        return record((d * d).mean(), (prediction, lambda g: _scaled(d * (2.0 / d.size), g)))
    d = array_module(d).where(scale > 0, d, 0)  # 0 · ∞ is not 0
    return record((scale * d * d).sum(), (prediction, lambda g: _scaled(2.0 * scale * d, g)))


def l1_loss(prediction: Tensor, target: Any, weights: Any = None) -> Tensor:
    """Weighted mean of |prediction − target|, shapes and missing targets as for `mse_loss`; slope 0 at 0.

    Examples
    --------
    >>> import tinymtl as tm
    >>> tm.l1_loss(tm.tensor([1.0, 3.0]), [1.0, 1.0], weights=[1, 3]).item()
    1.5
    """
    p, t, scale = _pair("l1_loss", prediction, target, weights)
    d = p - _beside(t, p)
    xp = array_module(d)
    if scale is None:
        return record(abs(d).mean(), (prediction, lambda g: _scaled(xp.sign(d) * (1.0 / d.size), g)))
    d = xp.where(scale > 0, d, 0)
    return record((scale * abs(d)).sum(), (prediction, lambda g: _scaled(scale * xp.sign(d), g)))


#: The losses that can be taken of several tasks' predictions in one matrix.
PER_TASK: dict[Callable[..., Tensor], Callable[[Tensor, Array, Array | None], Tensor]] = {
    cross_entropy: cross_entropy_per_task,
    binary_cross_entropy_with_logits: binary_cross_entropy_per_task,
}


def _scaled(gradient: Array, g: Array) -> Array:
    """gradient · g for a scalar loss's g of shape (…)."""
    return gradient * g if g.ndim == 0 else gradient * g.reshape(g.shape + (1,) * gradient.ndim)


#: The losses that take weights.
BUILT_IN = (cross_entropy, binary_cross_entropy_with_logits, mse_loss, l1_loss)


def loss_of_labelled(loss: Callable[..., Tensor], prediction: Tensor, target: Array, weights: Array | None) -> Tensor:
    """A task's loss over what is labelled: one of the four above takes the weights, any other gets the labelled rows.

    Parameters
    ----------
    loss : callable
    prediction : Tensor, shape (N, …)
    target : array, shape (N, …)
        On the host, where one of the four checks it, or on the prediction's device, where any other gets it.
    weights : array of the target's shape, 1 where there is a label and 0 where there is none; None: all are there

    Raises
    ------
    ValueError
        If nothing is labelled, or if a row is labelled in part and the loss is not one of the four.
    """
    if loss in BUILT_IN:
        return loss(prediction, target) if weights is None else loss(prediction, target, weights)
    if weights is not None:
        share = weights.reshape(len(weights), -1).mean(axis=1)
        (rows,) = (share == 1).nonzero()
        if not share.any():
            raise ValueError(NOTHING)
        if len(rows) < (share > 0).sum():
            raise ValueError("a row is labelled in part; a loss of your own gets whole rows: label all of it, or none")
        prediction, target = prediction[rows], target[rows]
    if target is None:  # an analytic problem's
        return loss(prediction, None)
    return loss(prediction, _beside(target, prediction.data) if isinstance(prediction, Tensor) else target)


def _labelled(name: str, target: Any, weights: Any) -> tuple[Array, Array | None]:
    """The target, 0 where it is missing or does not count, and the weights; no weights if all count alike."""
    if isinstance(target, Tensor):
        if target.requires_grad:
            raise ValueError("the target of a loss is a constant, but this one requires a gradient: detach() it")
        target = target.data
    target, there = without_gaps(as_numbers(target, f"{name}: the target", gaps=True))
    if weights is None:
        return target, there
    weights = as_numbers(weights.data if isinstance(weights, Tensor) else weights, f"{name}: the array of weights")
    if weights.shape != target.shape:
        raise ValueError(f"{name}: weights of shape {weights.shape} for a target of shape {target.shape}")
    if isinstance(weights, np.ndarray) and weights.size and not 0 <= weights.min() <= weights.max() < math.inf:
        raise ValueError(f"{name}: weights are finite numbers of at least 0")
    weights = _beside(weights, target)
    weights = weights if there is None else weights * there
    return array_module(target).where(weights > 0, target, 0), weights


def _shares(weights: Array, like: Array, per_column: bool = False) -> Array:
    """The weights over their sum (or over that of their column), beside `like`; a ValueError if nothing counts."""
    total = weights.sum(axis=0 if per_column else None)
    if isinstance(weights, np.ndarray) and weights.size and not total.all():
        raise ValueError(NOTHING)
    return array_module(like).ascontiguousarray(_beside((weights / total).astype(like.dtype), like))


def _beside(target: Array, prediction: Array) -> Array:
    """`target` on the device of the prediction."""
    return target if type(target) is type(prediction) else to_device(target, device_of(prediction))


def _pair(name: str, prediction: Tensor, target: Any, weights: Any) -> tuple[Array, Array, Array | None]:
    """The prediction, and the target and the shares of its cells in the mean (None: all alike) in its shape."""
    p = wide(operand(prediction))
    t, weights = _labelled(name, target, weights)
    if p.size == 0:
        raise ValueError(f"{name} of an empty batch is not defined")
    if t.shape != p.shape:
        if p.shape != (*t.shape, 1):  # anything else would broadcast to a matrix of all pairs, silently
            raise ValueError(f"{name}: a prediction of shape {p.shape} and a target of shape {t.shape} do not match")
        t = t.reshape(p.shape)
    t = cast(t, p.dtype, f"{name}: the target")
    return p, t, None if weights is None else _shares(weights, p).reshape(p.shape)
