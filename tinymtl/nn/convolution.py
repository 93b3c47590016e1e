"""Convolution and max-pooling on plain arrays: each function returns its result and one vjp per argument.

**Layout.** Every array is (N, C, H, W) in meaning, but its memory holds the batch last: results are views
`.transpose(3, 2, 0, 1)` of contiguous (H, W, C, N) arrays. As with PyTorch's channels_last, the strides alone
carry this: elementwise operations keep it, and the next convolution takes its input as it lies (an input
in any other order is copied once). With the batch last every copy moves long runs, and every matrix product
has the batch as its long dimension. `strips` does the products.

**Convolution, pool and ReLU as one.** `conv_pool2d` takes two rows of products at a time, and the maximum before
they leave the cache. Only the winner of each 2 × 2 window is kept, and the vjps put g back in its place:

    two rows of products, in the cache         written to memory
        a  b │ a  b │ …                         y = relu(max(a, b, c, d) + bias)
        c  d │ c  d │ …                         winner: 1, 2, 3 or 4 for a … d; 0 where y = 0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinymtl.backend import Array, array_module
from tinymtl.nn.strips import Fill, StripConvolution, batch_first, batch_last

#: The vector-Jacobian product of one argument: takes g of the result's shape, or (K, …) of them stacked.
Vjp = Callable[[Array], Array]


def conv2d(x: Array, weight: Array, bias: Array, stride: int = 1, padding: int = 0) -> tuple[Array, Vjp, Vjp, Vjp]:
    """Cross-correlation of x with the kernels, plus bias.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    weight : array, shape (O, C, k, k)
    bias : array, shape (O,)
    stride : int, default 1
    padding : int, default 0
        Zeros added on each of the four sides.

    Returns
    -------
    y : array, shape (N, O, H', W') with H' = (H + 2·padding − k) // stride + 1
    vjp_x, vjp_weight, vjp_bias : functions
        Each maps g, shaped like y or (K, …) of them stacked, to a fresh array. They may be called any number
        of times, in any order.

    Raises
    ------
    ValueError
        Where the kernel is larger than the padded input.

    Examples
    --------
    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> y, vjp_x, vjp_weight, vjp_bias = conv2d(x, weight, np.zeros(1))
    >>> y[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    >>> vjp_x(np.ones((1, 1, 2, 2)))[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    rows = StripConvolution(x, weight, stride, padding)
    y = rows.xp.empty((rows.count, *rows.products), rows.dtype)
    for group, products in rows.outputs():
        rows.xp.add(products, bias[:, None], out=y[group])

    def gradient_rows(g: Array) -> Fill:
        g = batch_last(g)

        def fill(group: slice, out: Array) -> None:
            out[...] = g[group]

        return fill

    return (
        batch_first(y),
        _over_leading_axes(lambda g: rows.input_gradient(gradient_rows(g))),
        _over_leading_axes(lambda g: rows.weight_gradient(gradient_rows(g))),
        lambda g: g.sum((-4, -2, -1)),
    )


def max_pool2d(x: Array, size: int) -> tuple[Array, Vjp]:
    """The largest element of each size × size window of x; windows do not overlap.

    Of equal elements the first in row-major order is the winner and gets the whole gradient. Rows and columns
    that do not fill a window are left out, and get none.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    size : int

    Returns
    -------
    y : array, shape (N, C, H // size, W // size)
    vjp_x : function
        As in `conv2d`.

    Examples
    --------
    >>> y, vjp_x = max_pool2d(np.array([[[[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]]]]), 2)
    >>> y[0, 0], vjp_x(np.ones_like(y))[0, 0]
    (array([[5., 2.]]), array([[0., 1., 1., 0.],
           [0., 0., 0., 0.]]))
    """
    xp = array_module(x)
    y, winner = _first_maximum(_window_elements(batch_last(x), size))
    shape, dtype = x.shape, x.dtype

    def vjp_x(g: Array) -> Array:
        g = batch_last(g)
        gx = xp.zeros((*shape[2:], shape[1], shape[0]), dtype)
        for index, elements in enumerate(_window_elements(gx, size)):
            xp.multiply(g, winner == index, out=elements)
        return batch_first(gx)

    return batch_first(y), _over_leading_axes(vjp_x)


def conv_pool2d(x: Array, weight: Array, bias: Array) -> tuple[Array, Vjp, Vjp, Vjp]:
    """relu(max_pool2d(conv2d(x, weight, bias), 2)) in one pass (see the module's second picture).

    The winner of a window is the first of its largest products in row-major order, before the bias is added
    (sums may round to a tie where the products differ). Where the result is not above 0 no gradient passes.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    weight : array, shape (O, C, k, k)
    bias : array, shape (O,)

    Returns
    -------
    y : array, shape (N, O, (H − k + 1) // 2, (W − k + 1) // 2)
    vjp_x, vjp_weight, vjp_bias : functions
        As in `conv2d`.

    Raises
    ------
    ValueError
        Where the convolution's result is smaller than 2 × 2.

    Examples
    --------
    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> y, vjp_x, vjp_weight, vjp_bias = conv_pool2d(x, weight, np.full(1, 0.5))
    >>> y[0, 0], vjp_weight(np.ones_like(y))[0, 0]
    (array([[24.5]]), array([[4., 5.],
           [7., 8.]]))
    """
    rows = StripConvolution(x, weight, pool=2)
    xp, (width, channels, batch) = rows.xp, rows.products
    y = xp.empty((rows.count, width // 2, channels, batch), rows.dtype)
    winner = xp.empty(y.shape, np.uint8)
    for group, products in rows.outputs():
        largest, index = _first_maximum(_window_elements(products, 2))
        largest += bias[:, None]  # the same for all four, so after the maximum
        xp.maximum(largest, 0, out=y[group])
        index += 1
        xp.multiply(index, largest > 0, out=winner[group])

    def routed_rows(g: Array) -> Fill:
        g = batch_last(g)

        def fill(group: slice, out: Array) -> None:
            for index, elements in enumerate(_window_elements(out, 2), 1):
                xp.multiply(g[group], winner[group] == index, out=elements)

        return fill

    def vjp_bias(g: Array) -> Array:
        g = batch_last(g)
        total = xp.zeros((channels, batch), rows.dtype)
        for group in rows.groups():
            total += (g[group] * (winner[group] > 0)).sum((0, 1))
        return total.sum(1)

    return (
        batch_first(y),
        _over_leading_axes(lambda g: rows.input_gradient(routed_rows(g))),
        _over_leading_axes(lambda g: rows.weight_gradient(routed_rows(g))),
        _over_leading_axes(vjp_bias),
    )


def _window_elements(x: Array, size: int) -> list[Array]:
    """The elements of the size × size windows of x (H, W, …), in row-major order: size² views (H', W', …)."""
    height, width = x.shape[0] // size * size, x.shape[1] // size * size
    return [x[row:height:size, column:width:size] for row in range(size) for column in range(size)]


def _first_maximum(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """The elementwise maximum of the arrays, and the index of the first array that attains it."""
    xp = array_module(arrays[0])
    largest = arrays[0].copy()
    winner = xp.zeros(largest.shape, np.uint8 if len(arrays) <= 256 else np.int32)
    for index, array in enumerate(arrays[1:], 1):
        # a later array wins only where it is larger, and its index is then larger than all before
        xp.maximum(winner, (array > largest).astype(winner.dtype) * index, out=winner)
        xp.maximum(largest, array, out=largest)
    return largest, winner


def _over_leading_axes(vjp: Vjp) -> Vjp:
    """The vjp of a four-dimensional g, made to take leading axes as well."""

    def over(g: Array) -> Array:
        return vjp(g) if g.ndim == 4 else array_module(g).stack([over(part) for part in g])

    return over
