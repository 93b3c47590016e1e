"""Numbers that say how well the tasks were learned, and how much they were at odds. All of them work on the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymtl.arrays import as_doubles, as_numbers, without_gaps
from tinymtl.backend import Array, array_module, is_array, to_host
from tinymtl.hull import fetch_gram
from tinymtl.ties import first_largest, rounding, settled

# ------------------------------------------------------------ predictions


class UndefinedMetric(ValueError):
    """A metric that has no value for these targets, such as R² if all of them are equal."""


def labelled_rows(prediction: Any, target: Any) -> tuple[Array, Array]:
    """Both on the host, without the rows whose target is missing."""
    prediction = as_numbers(to_host(prediction), "the prediction")
    target, there = without_gaps(as_numbers(to_host(target) if is_array(target) else target, "the target", gaps=True))
    if prediction.ndim == 0 or target.ndim == 0 or len(prediction) != len(target):
        raise ValueError(f"a prediction of shape {prediction.shape} for targets of shape {target.shape}")
    if there is None:
        return prediction, target
    rows = there.reshape(len(there), -1).all(axis=1)
    return prediction[rows], target[rows]


def accuracy(prediction: Array, target: Array) -> float:
    """The share of rows that are predicted right; larger is better.

    Parameters
    ----------
    prediction : (N, C) logits of C ≥ 2 classes, or (N,) or (N, 1) logits of a yes-or-no task
        The largest logit is the predicted class, of equal ones the first; a positive logit means yes.
    target : (N,) labels 0 … C − 1, or 0 and 1
        A row of which it is missing (NaN, None or masked) does not count; without any the accuracy is NaN.

    Examples
    --------
    >>> accuracy(np.array([[0.1, 2.0], [3.0, 0.0], [5.0, 1.0]]), np.array([1, 1, np.nan]))
    0.5
    >>> accuracy(np.array([-1.0, 2.0, 0.5]), np.array([0, 1, 1]))
    1.0
    """
    prediction, target = labelled_rows(prediction, target)
    if not len(target):
        return math.nan
    if prediction.ndim == 2 and prediction.shape[1] > 1:
        right = first_largest(prediction) == target
    else:
        right = (prediction.reshape(-1) > 0) == (target.reshape(-1) > 0.5)
    return float(right.mean())


def r2(prediction: Array, target: Array) -> float:
    """R² = 1 − Σ(target − prediction)² / Σ(target − mean target)²: 1 is perfect, 0 as good as the mean.

    Parameters
    ----------
    prediction : (N,) or (N, 1)
    target : (N,)
        A row of which it is missing (NaN, None or masked) does not count; without any R² is NaN.

    Raises
    ------
    UndefinedMetric (a ValueError)
        If all targets are equal: R² is not defined then.

    Examples
    --------
    >>> r2(np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    0.5
    """
    prediction, target = (a.astype(np.float64).reshape(-1) for a in labelled_rows(prediction, target))
    if not len(target):
        return math.nan
    around = target - target.mean()
    total = float((around**2).sum())
    if not settled(around, rounding() * np.abs(target).max()).any():
        raise UndefinedMetric(f"R² is not defined: all {len(target)} targets are {target[0]:g}; give the task a metric")
    return 1.0 - float(((target - prediction) ** 2).sum()) / total


def mean_delta(values: Any, single: Any, lower_is_better: Sequence[bool] | None = None) -> float:
    """Δ = (1/K) Σ (−1)^lₖ (Mₖ − Mₖ^single) / Mₖ^single: positive is better than the single-task nets.

    The usual summary of multi-task results (Maninis et al. 2019, arXiv 1904.08918), as a fraction:
    0.01 means that the tasks are 1 % better on average.

    Parameters
    ----------
    values, single : K numbers
        Each task's metric with the multi-task network, and with a network of its own.
    lower_is_better : K booleans, default all False
        lₖ: True for errors and losses, False for accuracies.

    Raises
    ------
    ValueError
        If a reference is 0 or the counts differ.

    Examples
    --------
    >>> round(mean_delta([0.88, 0.9], [0.8, 0.9]), 9)  # one task 10 % better
    0.05
    >>> round(mean_delta([2.2], [2.0], lower_is_better=[True]), 9)  # an error 10 % larger
    -0.1
    """
    m, reference = as_doubles(values, "the array of metrics"), as_doubles(single, "the array of references")
    lower = np.zeros(m.shape, bool) if lower_is_better is None else np.asarray(lower_is_better, bool)
    if m.ndim != 1 or not m.shape == reference.shape == lower.shape or m.size == 0:
        raise ValueError(f"mean_delta takes K numbers each, got shapes {m.shape}, {reference.shape}, {lower.shape}")
    if (reference == 0).any():
        raise ValueError("mean_delta divides by the single-task metric, and one of them is 0")
    return float(np.mean(np.where(lower, -1.0, 1.0) * (m - reference) / reference))


# ------------------------------------------------------------ gradients


def cosines(gradients: Array) -> Array:
    """The cosines (K, K) of the angles between K task gradients (K, n).

    With a zero gradient, which has no direction, the cosine is given as 0.

    Examples
    --------
    >>> cosines(np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
    array([[ 1., -1.,  0.],
           [-1.,  1.,  0.],
           [ 0.,  0.,  0.]])
    """
    gram, _ = fetch_gram(gradients)  # whose unit a cosine does not have
    lengths = np.sqrt(np.diagonal(gram))
    products = np.outer(lengths, lengths)
    return np.divide(gram, products, out=np.zeros_like(gram), where=products > 0)


def conflicting_pairs(gradients: Array) -> int:
    """How many of the K(K−1)/2 pairs of task gradients (K, n) have a negative inner product, by more than rounding.

    >>> conflicting_pairs(np.array([[2.0, 2.0], [0.0, -1.0], [1.0, 1.0]]))
    2
    """
    return int((np.triu(cosines(gradients), 1) < -rounding(gradients.dtype)).sum())


def raised_tasks(gradients: Array, v: Array) -> int:
    """How many of the tasks have a loss that rises along −v to first order: gₖ·v < 0 by more than rounding.

    >>> raised_tasks(np.array([[2.0, 2.0], [0.0, -1.0], [1.0, -1.0]]), np.array([1.0, 1.0]))
    1
    """
    gradients, v = to_host(gradients), to_host(v)
    noise = rounding(gradients.dtype) * np.linalg.norm(gradients, axis=1) * np.linalg.norm(v)
    return int((inner_products(gradients, v) < -noise).sum())


def inner_products(gradients: Array, v: Array) -> Array:
    """gₖ·v (K,) for task gradients (K, n) and a direction v (n,): a step along −v lowers Lₖ if gₖ·v > 0.

    For a strategy's v = Σ wₖgₖ pass `weights @ gradients`; to judge what an optimizer made of it, pass the
    parameters before the step minus those after it.

    Examples
    --------
    >>> inner_products(np.array([[2.0, 2.0], [0.0, -1.0]]), np.array([6.0, -4.0]) / 13) * 13
    array([4., 4.])
    """
    along: Array = to_host(gradients @ array_module(gradients).asarray(v)).astype(np.float64)
    return along
