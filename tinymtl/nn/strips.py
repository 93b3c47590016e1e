"""Convolution by strips: the products of a convolution and the gradients of its factors, some rows at a time.

The k input rows that one row of outputs needs are copied side by side into a *strip* (W, k, C, N). In a strip each
window, k columns, is one contiguous matrix (k·k·C, N), so a row of outputs is one batched product of the
weight, as a matrix (O, k·k·C), with overlapping views of its strip. This copies k times less than im2col, and
what it needs at a time fits the cache, so that no large array is written but the result:

                 w = 0   1   2   3   4   …
    strip       │ · │ · │ · │ · │ · │       each cell: k rows × C channels × N images, contiguous
    window q=0  ╰───────────╯               k = 3, stride 1
    window q=1      ╰───────────╯

The weight's gradient is a product with the same windows. The input's is the same idea once more: a row of
output gradients, with zeros around it (and between them, where the stride is not 1), is a strip whose windows
meet the flipped weight: a transposed convolution along the row. The input rows that come out are added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from tinymtl.backend import Array, array_module

#: Writes the gradients of a group of rows of products into the array given.
Fill = Callable[[slice, Array], None]

# Rows are taken together as long as each array that they need stays below this many bytes.
_CPU_GROUP = 1 << 20  # a core's second-level cache
_GPU_GROUP = 1 << 28

# Below this many multiplications OpenBLAS keeps a product on one thread, and where it has AVX-512 also skips the
# repacking of its factors. A row makes many products of about that size. Splitting their batch to stay below
# gains 1.4× in LeNet's second layer on one thread, and two threads need not meet at every product.
_SMALL_PRODUCT = 1 << 19


class StripConvolution:
    """The products of a convolution, a group of rows at a time, and the gradients of its two factors.

    A group is a slice of the `count` rows that the result has once `pool` rows of products make one row of it;
    the group's products are shaped (pool · rows, width, O, N), their last three dimensions `products`.
    """

    def __init__(self, x: Array, weight: Array, stride: int = 1, padding: int = 0, pool: int = 1) -> None:
        self.xp = array_module(x)
        self.dtype = self.xp.result_type(x.dtype, weight.dtype)
        self.x = batch_last(x).astype(self.dtype, copy=False)
        if padding:
            batch, channels, height, width = x.shape
            framed = self.xp.zeros((height + 2 * padding, width + 2 * padding, channels, batch), self.dtype)
            framed[padding:-padding, padding:-padding] = self.x
            self.x = framed
        self.kernels = self.xp.ascontiguousarray(weight.transpose(0, 3, 2, 1)).astype(self.dtype, copy=False)
        self.k, self.stride, self.padding, self.pool = weight.shape[-1], stride, padding, pool
        height, width = ((side - self.k) // stride + 1 for side in self.x.shape[:2])
        self.count = height // pool
        self.products = (width // pool * pool, len(weight), len(x))
        if self.count < 1 or self.products[0] < 1:
            pooled = f" followed by a {pool} × {pool} pool" if pool > 1 else ""
            raise ValueError(f"an input of shape {x.shape} is too small for a {self.k} × {self.k} kernel{pooled}")

    def outputs(self) -> Iterator[tuple[slice, Array]]:
        """Each group with its products, in an array that the next group overwrites."""
        matrix = self.kernels.reshape(len(self.kernels), -1)
        out = self._group_buffer(self.products)
        for group, windows in self._windows():
            yield group, self._multiply(matrix, windows, out[: len(windows)])

    def weight_gradient(self, fill: Fill) -> Array:
        """The weight's gradient, (O, C, k, k), from the products' gradients."""
        buffer = self._group_buffer(self.products)
        total = self.xp.zeros((self.kernels[0].size, len(self.kernels)), self.dtype)
        for group, windows in self._windows():
            g = buffer[: len(windows)]
            fill(group, g)
            for part in _batch_parts(total.size, windows):
                total += (windows[..., part] @ g[..., part].swapaxes(-1, -2)).sum((0, 1))
        return total.T.reshape(self.kernels.shape).transpose(0, 3, 2, 1)

    def input_gradient(self, fill: Fill) -> Array:
        """The input's gradient, (N, C, H, W), from the products' gradients."""
        k, stride = self.k, self.stride
        _, _, channels, batch = self.x.shape
        flipped = self.kernels[:, ::-1].transpose(2, 3, 1, 0).reshape(k * channels, -1)
        reach = (self.products[0] - 1) * stride + k  # the columns of x that have a part in the products
        spread = self._group_buffer((reach + k - 1, *self.products[1:]))
        spread[...] = 0
        among_zeros = spread[:, k - 1 : reach : stride]
        windows = _windows_along(spread, reach, 1, k)
        strips = self._group_buffer((reach, k * channels, batch))
        gx = self.xp.zeros(self.x.shape, self.dtype)
        for group in self.groups():
            first, size = group.start * self.pool * stride, (group.stop - group.start) * self.pool
            fill(group, among_zeros[:size])
            self._multiply(flipped, windows[:size], strips[:size])
            for row in range(k):
                rows = slice(first + row, first + row + (size - 1) * stride + 1, stride)
                gx[rows, :reach] += strips[:size, :, row * channels : (row + 1) * channels]
        if self.padding:
            gx = gx[self.padding : -self.padding, self.padding : -self.padding]
        return batch_first(gx)

    def _multiply(self, matrix: Array, windows: Array, out: Array) -> Array:
        for part in _batch_parts(matrix.size, windows):
            self.xp.matmul(matrix, windows[..., part], out=out[..., part])
        return out

    def _windows(self) -> Iterator[tuple[slice, Array]]:
        """Each group with the windows of its strips, (pool · rows, width, k·k·C, N)."""
        _, width, channels, batch = self.x.shape
        down, along, *inner = self.x.strides
        source = self.xp.lib.stride_tricks.as_strided(
            self.x,
            (self.count * self.pool, width, self.k, channels, batch),
            (down * self.stride, along, down, *inner),
        )
        strips = self._group_buffer(source.shape[1:])
        windows = _windows_along(strips, self.products[0], self.stride, self.k)
        for group in self.groups():
            size = (group.stop - group.start) * self.pool
            strips[:size] = source[group.start * self.pool : group.stop * self.pool]
            yield group, windows[:size]

    def groups(self) -> list[slice]:
        """The rows of the result, in groups whose arrays fit the cache."""
        _, width, channels, batch = self.x.shape
        strip = width * self.k * channels * batch
        largest = max(strip, math.prod(self.products), self.products[0] * self.kernels.size)
        limit = _CPU_GROUP if self.xp is np else _GPU_GROUP
        size = max(1, limit // (max(1, largest) * self.dtype.itemsize * self.pool))
        return [slice(first, min(first + size, self.count)) for first in range(0, self.count, size)]

    def _group_buffer(self, shape: tuple[int, ...]) -> Array:
        """Memory for one array of `shape` per row of products of a group."""
        return self.xp.empty((self.groups()[0].stop * self.pool, *shape), self.dtype)


def _windows_along(strips: Array, count: int, step: int, columns: int) -> Array:
    """Overlapping views of strips (rows, W, …, N), `columns` wide, every `step`: (rows, count, columns·…, N)."""
    rows, along, *_, number, image = strips.strides
    shape = (len(strips), count, columns * math.prod(strips.shape[2:-1]), strips.shape[-1])
    return array_module(strips).lib.stride_tricks.as_strided(strips, shape, (rows, step * along, number, image))


def _batch_parts(numbers: int, windows: Array) -> list[slice]:
    """The batch in parts, so that their products with a matrix of so many numbers stay small; a GPU takes it whole."""
    batch = windows.shape[-1]
    images = _SMALL_PRODUCT // numbers // 32 * 32 if isinstance(windows, np.ndarray) else 0
    return [slice(first, first + images) for first in range(0, batch, images)] if images else [slice(None)]


def batch_last(x: Array) -> Array:
    """(N, C, H, W) as a contiguous (H, W, C, N): x's own memory where it lies like that already."""
    return array_module(x).ascontiguousarray(x.transpose(2, 3, 1, 0))


def batch_first(x: Array) -> Array:
    """(H, W, C, N) as an (N, C, H, W) view."""
    return x.transpose(3, 2, 0, 1)
