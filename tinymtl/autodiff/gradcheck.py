"""Is a gradient right? Compare one number that both sides can compute: a projection of the Jacobian.

For a function f with Jacobian J, a random direction t in its inputs and a random direction u in its output,
u·(J t) is a central difference of u·f along t, and (Jᵀu)·t needs one reverse sweep. The two agree up to
truncation, which falls as h², and round-off, which grows as 1/h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymtl.arrays import as_numbers
from tinymtl.autodiff.tensor import Tensor, grad
from tinymtl.backend import array_module, to_host
from tinymtl.checks import random_generator


def gradient_error(
    function: Callable[..., Tensor],
    inputs: Sequence[Any],
    step: float = 1e-5,
    leading: tuple[int, ...] = (),
    rng: int | np.random.Generator = 0,
) -> float:
    """The relative difference between a sweep's gradient and a central difference, along random directions.

    Parameters
    ----------
    function : callable
        Takes one Tensor per input and returns a Tensor of any shape, the same for the same inputs.
    inputs : sequence of arrays or Tensors
        Where to check, in float64. A transposed view stays a view.
    step : float, default 1e-5
        The h of (f(x + h t) − f(x − h t)) / 2h.
    leading : tuple of int, default ()
        Extra leading axes for the seed: that many random output directions u in one sweep.
    rng : int or Generator, default 0
        Draws the directions.

    Returns
    -------
    float
        max over the directions u of |u·(J t) − (Jᵀu)·t| / max(1, |u·(J t)|); 0.0 where there is no direction.

    Examples
    --------
    >>> gradient_error(lambda x: x * x, [np.array([1.0, -2.0, 3.0])]) < 1e-9
    True
    """
    rng = random_generator(rng)
    arrays = [x.data if isinstance(x, Tensor) else as_numbers(x, "an input") for x in inputs]
    if not arrays:
        raise ValueError("there is no input to check the gradient at")
    for i, array in enumerate(arrays):
        if array.dtype != np.float64:
            raise TypeError(f"input {i} is {array.dtype}: check gradients in float64, where round-off is small")
    xp = array_module(arrays[0])
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    output = function(*leaves)
    t = [xp.asarray(rng.standard_normal(array.shape)) for array in arrays]
    u = xp.asarray(rng.standard_normal(leading + output.shape))
    gradients = grad(output, leaves, [u])
    ahead = function(*(Tensor(a + step * d) for a, d in zip(arrays, t, strict=True))).data
    behind = function(*(Tensor(a - step * d) for a, d in zip(arrays, t, strict=True))).data
    axes = tuple(range(-output.ndim, 0))
    along_t = to_host((u * ((ahead - behind) / (2 * step))).sum(axis=axes))
    swept = np.zeros(leading)
    for gradient, array, direction in zip(gradients, arrays, t, strict=True):
        if gradient.shape != leading + array.shape:
            raise AssertionError(f"gradient of shape {gradient.shape} for an input of shape {array.shape}")
        swept = swept + to_host((gradient * direction).sum(axis=tuple(range(-array.ndim, 0))))
    if along_t.size == 0:
        return 0.0
    return float(np.max(np.abs(along_t - swept) / np.maximum(1.0, np.abs(along_t))))


def check_gradient(
    function: Callable[..., Tensor],
    inputs: Sequence[Any],
    step: float = 1e-5,
    tolerance: float = 1e-7,
    leading: tuple[int, ...] = (),
    rng: int | np.random.Generator = 0,
) -> float:
    """`gradient_error`, which it returns; raises AssertionError where that is above `tolerance`.

    Examples
    --------
    >>> check_gradient(lambda x: (x * x).sum(), [np.ones(3)]) < 1e-7
    True
    """
    error = gradient_error(function, inputs, step, leading, rng)
    if not error <= tolerance:
        raise AssertionError(
            f"the gradient differs from a central difference by {error:.1e} (allowed: {tolerance:.0e})"
        )
    return error
