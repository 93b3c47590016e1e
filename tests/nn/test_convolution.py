"""Convolution, max-pooling and the two in one, against loops that follow the definitions."""

import itertools

import numpy as np
import pytest

from tinymtl.nn import strips
from tinymtl.nn.convolution import conv2d, conv_pool2d, max_pool2d


def conv2d_by_loops(x, weight, bias, stride=1, padding=0):
    """y and the function g -> (gx, gweight, gbias), one multiplication after the other's definition."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[-1]
    height, width = ((side - k) // stride + 1 for side in x.shape[2:])

    def windows():
        for p, q in itertools.product(range(height), range(width)):
            yield p, q, (..., slice(p * stride, p * stride + k), slice(q * stride, q * stride + k))

    y = np.empty((len(x), len(weight), height, width))
    for p, q, window in windows():
        y[:, :, p, q] = np.einsum("ncij,ocij->no", x[window], weight) + bias

    def backward(g):
        gx, gweight = np.zeros_like(x), np.zeros_like(weight)
        for p, q, window in windows():
            gx[window] += np.einsum("no,ocij->ncij", g[:, :, p, q], weight)
            gweight += np.einsum("no,ncij->ocij", g[:, :, p, q], x[window])
        inner = slice(padding, -padding or None)
        return gx[:, :, inner, inner], gweight, g.sum((0, 2, 3))

    return y, backward


def max_pool2d_by_loops(x, size):
    """y and the function g -> gx, element by element."""
    shape = (*x.shape[:2], x.shape[2] // size, x.shape[3] // size)
    y, winners = np.empty(shape), {}
    for n, c, p, q in np.ndindex(shape):
        inside = itertools.product(range(p * size, (p + 1) * size), range(q * size, (q + 1) * size))
        winners[n, c, p, q] = max(((n, c, i, j) for i, j in inside), key=lambda at: x[at])  # max keeps the first
        y[n, c, p, q] = x[winners[n, c, p, q]]

    def backward(g):
        gx = np.zeros(x.shape)
        for at, winner in winners.items():
            gx[winner] = g[at]
        return gx

    return y, backward


def conv_pool2d_by_loops(x, weight, bias):
    """relu(max_pool2d(conv2d)), with the gradient of the ReLU 0 at 0."""
    products, through_conv = conv2d_by_loops(x, weight, bias)
    pooled, through_pool = max_pool2d_by_loops(products, 2)
    return np.maximum(pooled, 0), lambda g: through_conv(through_pool(np.where(pooled > 0, g, 0.0)))


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


def example(batch, channels, height, width, channels_out, k, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels, height, width))
    return x, rng.standard_normal((channels_out, channels, k, k)), rng.standard_normal(channels_out)


# batch, channels, height, width, channels_out, k, stride, padding
CONVOLUTIONS = [
    (2, 3, 7, 6, 4, 3, 1, 0),
    (1, 1, 5, 5, 1, 5, 1, 0),  # a single output
    (1, 3, 6, 7, 2, 2, 1, 0),
    (3, 1, 8, 9, 2, 3, 2, 0),  # the last column has no part in the output
    (2, 2, 7, 8, 3, 3, 2, 1),
    (2, 2, 6, 5, 3, 4, 3, 2),
    (2, 3, 4, 5, 2, 1, 1, 0),
    (2, 3, 5, 6, 2, 1, 2, 1),
    (2, 2, 3, 3, 2, 5, 1, 1),  # a kernel larger than the input, but not than the padded one
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv2d_equals_the_loops(case):
    *sizes, stride, padding = case
    x, weight, bias = example(*sizes)
    expected, backward = conv2d_by_loops(x, weight, bias, stride, padding)
    y, *vjps = conv2d(x, weight, bias, stride, padding)
    assert_close(y, expected)
    g = np.random.default_rng(1).standard_normal(y.shape)
    for vjp, gradient in zip(vjps, backward(g), strict=True):
        assert_close(vjp(g), gradient)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv2d_vjps_are_the_adjoints(case):
    """<g, J d> = <Jᵀ g, d>, with J d by the convolution itself, which is linear in x, weight and bias."""
    *sizes, stride, padding = case
    x, weight, bias = example(*sizes)
    y, vjp_x, vjp_weight, vjp_bias = conv2d(x, weight, bias, stride, padding)
    rng = np.random.default_rng(2)
    g, dx, dweight, dbias = (rng.standard_normal(a.shape) for a in (y, x, weight, bias))
    along_x = conv2d(dx, weight, 0 * bias, stride, padding)[0]
    along_the_rest = conv2d(x, dweight, dbias, stride, padding)[0]
    assert (g * along_x).sum() == pytest.approx((vjp_x(g) * dx).sum(), rel=1e-11, abs=1e-11)
    expected = (vjp_weight(g) * dweight).sum() + (vjp_bias(g) * dbias).sum()
    assert (g * along_the_rest).sum() == pytest.approx(expected, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("height, width, size", [(6, 4, 2), (7, 9, 2), (7, 8, 3), (4, 4, 4), (3, 2, 1), (18, 17, 17)])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool2d_equals_the_loops(height, width, size, ties):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 2, height, width))
    if ties:
        x = np.round(x)
    expected, backward = max_pool2d_by_loops(x, size)
    y, vjp_x = max_pool2d(x, size)
    np.testing.assert_array_equal(y, expected)
    g = rng.standard_normal(y.shape)
    np.testing.assert_array_equal(vjp_x(g), backward(g))


def test_max_pool2d_finds_a_winner_at_every_place_of_a_large_window():
    """17 × 17 places do not fit into eight bits."""
    x = np.eye(289).reshape(289, 1, 17, 17)
    y, vjp_x = max_pool2d(x, 17)
    np.testing.assert_array_equal(vjp_x(np.ones_like(y)), x)


# batch, channels, height, width, channels_out, k
FUSED = [(3, 2, 9, 8, 4, 3), (2, 3, 6, 6, 2, 5), (1, 1, 7, 9, 3, 2), (2, 1, 10, 5, 2, 4), (2, 2, 5, 4, 3, 1)]


@pytest.mark.parametrize("sizes", FUSED, ids=str)
@pytest.mark.parametrize("ties", [False, True])
def test_conv_pool2d_equals_the_loops(sizes, ties):
    x, weight, bias = example(*sizes)
    if ties:  # small integers: exact sums, so that windows tie, and results are exactly 0
        x, weight, bias = np.round(x / 2), np.round(weight / 2), np.round(bias)
    expected, backward = conv_pool2d_by_loops(x, weight, bias)
    y, *vjps = conv_pool2d(x, weight, bias)
    assert_close(y, expected)
    g = np.random.default_rng(4).standard_normal(y.shape)
    for vjp, gradient in zip(vjps, backward(g), strict=True):
        assert_close(vjp(g), gradient)


@pytest.mark.parametrize("ties", [False, True])
def test_conv_pool2d_equals_its_plain_composition(ties):
    x, weight, bias = example(5, 3, 13, 12, 6, 5)
    if ties:
        x, weight, bias = np.round(x / 2), np.round(weight / 2), np.round(bias)
    products, *through_conv = conv2d(x, weight, bias)
    pooled, through_pool = max_pool2d(products, 2)
    y, *vjps = conv_pool2d(x, weight, bias)
    np.testing.assert_allclose(y, np.maximum(pooled, 0), rtol=1e-14, atol=1e-14)
    g = np.random.default_rng(5).standard_normal(y.shape)
    g_products = through_pool(g * (pooled > 0))
    for vjp, plain in zip(vjps, through_conv, strict=True):
        np.testing.assert_allclose(vjp(g), plain(g_products), rtol=1e-13, atol=1e-13)
    if ties:
        assert (pooled == 0).any()
        corners = np.array([products[:, :, i:8:2, j:8:2] for i in (0, 1) for j in (0, 1)])
        assert ((corners == corners.max(0)).sum(0) > 1).any()


def test_conv_pool2d_passes_nothing_at_exactly_zero():
    x, weight = np.zeros((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    y, *vjps = conv_pool2d(x, weight, np.zeros(1))
    assert y.item() == 0
    for vjp in vjps:
        assert not vjp(np.ones_like(y)).any()


def test_a_tie_goes_to_the_first_in_row_major_order():
    """Upper right and lower left hold the same maximum: the row decides before the column."""
    x = np.array([[[[0.0, 5.0], [5.0, 5.0]]]])
    expected = [[[[0.0, 1.0], [0.0, 0.0]]]]
    y, vjp_x = max_pool2d(x, 2)
    np.testing.assert_array_equal(vjp_x(np.ones_like(y)), expected)
    y, vjp_x, _, _ = conv_pool2d(x, np.ones((1, 1, 1, 1)), np.zeros(1))
    np.testing.assert_array_equal(vjp_x(np.ones_like(y)), expected)


FUNCTIONS = {
    "conv2d": lambda x, weight, bias: conv2d(x, weight, bias, 2, 1),
    "max_pool2d": lambda x, weight, bias: max_pool2d(x, 2),
    "conv_pool2d": conv_pool2d,
}
EACH_FUNCTION = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@EACH_FUNCTION
def test_leading_axes_of_g_pass_through_every_vjp(function):
    x, weight, bias = example(3, 2, 8, 9, 4, 3)
    y, *vjps = function(x, weight, bias)
    g = np.random.default_rng(6).standard_normal((2, 3, *y.shape))
    for vjp in vjps:
        result = vjp(g)
        assert result.shape[:2] == (2, 3)
        for index in np.ndindex(2, 3):
            assert_close(result[index], vjp(g[index]))


@EACH_FUNCTION
def test_vjps_may_be_repeated_and_write_into_nothing(function):
    x, weight, bias = example(3, 2, 8, 9, 4, 3)
    kept = [a.copy() for a in (x, weight, bias)]
    y, *vjps = function(x, weight, bias)
    kept_y = y.copy()
    g = np.random.default_rng(7).standard_normal(y.shape)
    kept_g = g.copy()
    first = [vjp(g) for vjp in vjps]
    expected = [a.copy() for a in first]
    for a in first:
        a[...] = np.nan  # the caller owns what it got
    for vjp, a in zip(vjps, expected, strict=True):
        np.testing.assert_array_equal(vjp(2 * g), 2 * a)
        np.testing.assert_array_equal(vjp(g), a)
    for a, b in zip([x, weight, bias, y, g], [*kept, kept_y, kept_g], strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_FUNCTION
def test_two_forwards_of_one_layer_live_side_by_side(function):
    x, weight, bias = example(3, 2, 8, 9, 4, 3)
    other, _, _ = example(3, 2, 8, 9, 4, 3, seed=8)
    y, *vjps = function(x, weight, bias)
    g = np.random.default_rng(9).standard_normal(y.shape)
    kept_y, expected = y.copy(), [vjp(g) for vjp in vjps]
    other_y, *other_vjps = function(other, weight, bias)
    other_expected = [vjp(g) for vjp in other_vjps]
    for vjp, other_vjp, a, b in zip(vjps, other_vjps, expected, other_expected, strict=True):
        np.testing.assert_array_equal(vjp(g), a)
        np.testing.assert_array_equal(other_vjp(g), b)
    np.testing.assert_array_equal(y, kept_y)
    assert (other_y != y).any()


@EACH_FUNCTION
def test_any_memory_order_of_x_and_g_gives_the_same(function):
    x, weight, bias = example(3, 2, 8, 9, 4, 3)
    y, *vjps = function(x, weight, bias)
    g = np.random.default_rng(10).standard_normal(y.shape)
    for order in itertools.permutations(range(4)):
        wider = np.empty([2 * x.shape[axis] for axis in order]).transpose(np.argsort(order))
        strided = wider[:3, ::-2, ::2, 9:]
        strided[...] = x
        same_y, *same_vjps = function(strided, weight, bias)
        np.testing.assert_array_equal(same_y, y)
        reordered_g = np.ascontiguousarray(g.transpose(order)).transpose(np.argsort(order))
        for vjp, same_vjp in zip(vjps, same_vjps, strict=True):
            assert_close(same_vjp(reordered_g), vjp(g))


@EACH_FUNCTION
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_result_keeps_the_dtype(function, dtype):
    x, weight, bias = (a.astype(dtype) for a in example(3, 2, 8, 9, 4, 3))
    y, *vjps = function(x, weight, bias)
    assert y.dtype == dtype
    g = np.ones_like(y)
    assert [vjp(g).dtype for vjp in vjps] == [dtype] * len(vjps)
    assert [vjp(np.stack([g, g])).dtype for vjp in vjps] == [dtype] * len(vjps)


def test_float32_agrees_with_float64():
    x, weight, bias = example(64, 4, 12, 12, 5, 5)
    y, *vjps = conv_pool2d(x, weight, bias)
    single, *single_vjps = conv_pool2d(*(a.astype(np.float32) for a in (x, weight, bias)))
    np.testing.assert_allclose(single, y, atol=1e-4)
    g = np.random.default_rng(11).standard_normal(y.shape)
    for vjp, single_vjp in zip(vjps, single_vjps, strict=True):
        np.testing.assert_allclose(single_vjp(g.astype(np.float32)), vjp(g), atol=2e-3)


@EACH_FUNCTION
def test_results_hold_the_batch_last_in_memory(function):
    """So that the next convolution copies nothing, and elementwise operations in between change nothing."""
    y, *vjps = function(*example(3, 2, 8, 9, 4, 3))
    for result in (y, np.maximum(y, 0) * 2, max_pool2d(y, 1)[0]):
        assert np.shares_memory(strips.batch_last(result), result)
    if function is not FUNCTIONS["conv2d"]:  # which cuts its padding off
        gx = vjps[0](np.ones_like(y))
        assert np.shares_memory(strips.batch_last(gx), gx)


def test_a_pool_of_one_returns_memory_of_its_own():
    x = strips.batch_first(np.random.default_rng(12).standard_normal((3, 3, 2, 2)))
    assert not np.shares_memory(max_pool2d(x, 1)[0], x)


@pytest.mark.parametrize("bytes_of_a_group", [1, 4000, 12000])
@pytest.mark.parametrize("multiplications", [500, 1 << 19])
def test_groups_of_rows_and_parts_of_the_batch_change_nothing(monkeypatch, bytes_of_a_group, multiplications):
    x, weight, bias = example(70, 1, 11, 10, 2, 3)
    functions = [lambda: conv2d(x, weight, bias, 2, 1), lambda: conv_pool2d(x, weight, bias)]
    whole = []
    for function in functions:
        y, *vjps = function()
        whole.append([y, *(vjp(y) for vjp in vjps)])
    monkeypatch.setattr(strips, "_CPU_GROUP", bytes_of_a_group)
    monkeypatch.setattr(strips, "_SMALL_PRODUCT", multiplications)
    for function, expected in zip(functions, whole, strict=True):
        y, *vjps = function()
        for a, b in zip([y, *(vjp(y) for vjp in vjps)], expected, strict=True):
            assert_close(a, b)


def test_the_split_of_rows_and_batch_is_as_described():
    """Otherwise the test above would compare a thing with itself."""
    x, weight, _ = example(70, 1, 11, 10, 2, 3)
    rows = strips.StripConvolution(x, weight, pool=2)
    assert rows.groups() == [slice(0, 4)]
    windows = np.empty((1, 1, 9, 70))
    assert strips._batch_parts(1 << 12, windows) == [slice(0, 128)]
    assert strips._batch_parts(1 << 14, windows) == [slice(0, 32), slice(32, 64), slice(64, 96)]
    assert strips._batch_parts(1 << 19, windows) == [slice(None)]  # a large product is better taken whole


@pytest.mark.parametrize("padding, pool, side", [(0, 1, 2), (1, 1, 0), (0, 2, 3)])
def test_a_kernel_that_does_not_fit_is_named(padding, pool, side):
    x, weight, bias = np.zeros((2, 1, side, 9)), np.zeros((1, 1, 3, 3)), np.zeros(1)
    with pytest.raises(ValueError, match=rf"\(2, 1, {side}, 9\) is too small for a 3 × 3 kernel"):
        _ = conv2d(x, weight, bias, 1, padding) if pool == 1 else conv_pool2d(x, weight, bias)
