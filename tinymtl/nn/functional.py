"""Operations that layers are made of. Each fused one equals its plain composition; tests/nn holds them to it."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

import tinymtl.nn.convolution as convolution
from tinymtl.autodiff import Tensor, record
from tinymtl.autodiff.ops import operand
from tinymtl.backend import Array, array_module, device_of, to_device
from tinymtl.kernels import fused
from tinymtl.nn.mode import is_training


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """x W + b, and its ReLU if asked: the affine map of a layer as one operation.

    Parameters
    ----------
    x : Tensor, shape (…, in)
    weight : Tensor, shape (in, out)
    bias : Tensor, shape (out,), optional
    relu : bool, default False
        Whether to return max(x W + b, 0).

    Returns
    -------
    Tensor, shape (…, out)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    values, w = operand(x), weight.data
    if values.ndim == 0 or values.shape[-1] != w.shape[0]:
        raise ValueError(f"a linear layer for {w.shape[0]} features got an input of shape {values.shape}")
    if values.ndim != 2:
        rows = x.reshape(math.prod(values.shape[:-1]), w.shape[0])
        return linear(rows, weight, bias, relu).reshape(*values.shape[:-1], w.shape[1])
    z = values.dot(w)
    if bias is not None:
        add_bias(z, bias.data, int(relu))  # in place: the vjps below do not need the values before the ReLU
    elif relu:
        array_module(z).maximum(z, 0, out=z)
    affine = record(
        z,
        (x, lambda g: g.dot(w.T)),  # dot, not matmul: matmul has no BLAS path for a one-column weight
        (weight, lambda g: values.T.dot(g) if g.ndim == 2 else values.T @ g),
        (bias, sum_rows),
    )
    if not relu:
        return affine

    def vjp_relu(g: Array) -> Array:
        out = array_module(g).empty_like(g)
        relu_gradient(out, g, z)
        return out

    return record(z, (affine, vjp_relu))


@fused
def add_bias(z: Array, bias: Array, relu: int) -> None:
    """z ← z + b, and its ReLU if `relu`."""
    z += bias
    if relu:
        np.maximum(z, filled(np, z.shape, 0.0, z.dtype), out=z)  # against a number it takes three times as long


@fused
def relu_gradient(out: Array, g: Array, z: Array) -> None:
    """Let `out` be g where z > 0, else 0. Leading axes of g pass through."""
    np.greater(z, 0, out=out, casting="unsafe")  # as numbers: a product with booleans takes twice as long
    out *= g


def sum_rows(g: Array) -> Array:
    """Σₙ gₙ for g (…, N, out) as a product with a row of ones, which is faster than a sum over a leading axis."""
    ones = filled(array_module(g), g.shape[-2], 1.0, g.dtype)
    return ones.dot(g) if g.ndim == 2 else ones @ g


def inner_products(rows: Array) -> Array:
    """G = [gᵢ·gⱼ] (K, K) of K rows (K, n), on their device and in their dtype."""
    K, n = rows.shape
    if array_module(rows) is not np or K > 16 or n < 2000:
        return rows @ rows.T
    # Few long rows: matrix-vector products, upper triangle only, are up to five times faster than rows @ rows.T.
    gram = np.empty((K, K), rows.dtype)
    for k in range(K):
        gram[k, k:] = gram[k:, k] = rows[k:] @ rows[k]
    return gram


@functools.lru_cache(maxsize=64)
def filled(xp: ModuleType, shape: int | tuple[int, ...], value: float, dtype: np.dtype[Any]) -> Array:
    """A constant array, made once and then shared: read it only. On a GPU even making one is a kernel launch."""
    constant: Array = xp.full(shape, value, dtype)
    return constant


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Cross-correlation of x (N, C, H, W) with weight (O, C, k, k), plus bias (O,); zeros around the border.

    Returns a Tensor (N, O, H', W') with H' = (H + 2·padding − k) // stride + 1.
    """
    values = operand(x)
    k = weight.shape[-1]
    if values.ndim != 4 or values.shape[1] != weight.shape[1]:
        raise ValueError(f"a convolution of {weight.shape[1]} channels got an input of shape {values.shape}")
    if min(values.shape[2:]) + 2 * padding < k:
        raise ValueError(f"a {k}×{k} kernel does not fit an input of shape {values.shape} with padding {padding}")
    z, vjp_x, vjp_weight, vjp_bias = convolution.conv2d(values, weight.data, bias.data, stride, padding)
    return record(z, (x, vjp_x), (weight, vjp_weight), (bias, vjp_bias))


def conv_pool2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(max_pool2d(conv2d(x, weight, bias), 2)) as one operation, which never writes the convolution's result."""
    values = operand(x)
    k = weight.shape[-1]
    if values.ndim != 4 or values.shape[1] != weight.shape[1] or min(values.shape[2:]) <= k:
        raise ValueError(
            f"a {k}×{k} convolution of {weight.shape[1]} channels and a 2×2 pool got an input of shape {values.shape}"
        )
    z, vjp_x, vjp_weight, vjp_bias = convolution.conv_pool2d(values, weight.data, bias.data)
    return record(z, (x, vjp_x), (weight, vjp_weight), (bias, vjp_bias))


def max_pool2d(x: Tensor, size: int) -> Tensor:
    """The largest element of each size × size window of x (N, C, H, W); the first of equal ones gets the gradient.

    Rows and columns that do not fill a window are left out: (N, C, H // size, W // size).
    """
    values = operand(x)
    if values.ndim != 4:
        raise ValueError(f"max-pooling got an input of shape {values.shape}; expected (N, C, H, W)")
    if min(values.shape[2:]) < size:
        raise ValueError(f"a {size}×{size} window does not fit an input of shape {values.shape}")
    z, vjp_x = convolution.max_pool2d(values, size)
    return record(z, (x, vjp_x))


def dropout(x: Tensor, p: float, rng: np.random.Generator, channels: bool = False) -> Tensor:
    """Zero each element (or with `channels` each whole channel) with probability p and scale the rest by 1/(1 − p).

    The mask is drawn on the host: CPU and GPU see the same one. In evaluation (nn/mode.py) nothing is dropped.
    """
    if p == 0.0 or not is_training():
        return x
    values = operand(x)
    shape = values.shape[:2] + (1,) * (values.ndim - 2) if channels else values.shape
    kept = rng.random(shape, dtype=np.float32) >= p
    mask = to_device((kept * (1.0 / (1.0 - p))).astype(values.dtype), device_of(values))
    return record(values * mask, (x, lambda g: g * mask))


def normalize(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Array, Array]:
    """(x − mean) / √(variance + eps) over `axes`, counted from the end; also the mean and the (biased) variance.

    The two are arrays, with axes of length 1 for those that were averaged.
    """
    values = operand(x)
    mean = values.mean(axis=axes, keepdims=True)
    centred = values - mean
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    scale = 1.0 / array_module(values).sqrt(variance + eps)
    z = centred * scale

    def vjp(g: Array) -> Array:
        along_z = (g * z).mean(axis=axes, keepdims=True)
        out: Array = scale * (g - g.mean(axis=axes, keepdims=True) - z * along_z)
        return out

    return record(z, (x, vjp)), mean, variance


def flatten(x: Any) -> Tensor:
    """(N, …) → (N, everything else)."""
    tensor = x if isinstance(x, Tensor) else Tensor(operand(x))
    return tensor.reshape(tensor.shape[0], math.prod(tensor.shape[1:]))
