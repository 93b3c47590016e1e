"""float32 stays float32 in value and gradient next to whatever is no tensor; float64 works end to end."""

import operator

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.autodiff import Tensor, grad, ops
from tinymtl.autodiff.tensor import tensor

FLOATS = [np.float32, np.float64]
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, ops.maximum]
PARTNERS = {
    "a Python float": 0.1,
    "a Python int": 3,
    "a Python bool": True,
    "np.float64": np.float64(0.1),
    "np.float32": np.float32(0.1),
    "np.float16": np.float16(0.5),
    "np.int64": np.int64(3),
    "np.uint8": np.uint8(3),
    "np.bool_": np.bool_(True),
    "integers": np.array([1, 2, 3]),
    "bytes": np.array([1, 2, 3], np.uint8),
    "a 0-d integer": np.array(3),
    "a mask": np.array([True, False, True]),
    "a list of floats": [0.1, 0.2, 0.3],
    "a list of ints": [1, 2, 3],
    "a nested list": [[1], [2]],
}


def leaf(values, dtype):
    return tensor(np.array(values), requires_grad=True, dtype=dtype)


def value_and_gradient(out, x):
    (g,) = grad(out, [x], [np.ones(out.shape, np.float64)])  # the seed takes on the output's dtype
    return out.data, g


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)
@pytest.mark.parametrize("operation", OPERATORS)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_partner_that_is_no_tensor_changes_no_dtype(operation, partner, dtype):
    x = leaf([1.5, 2.5, 0.5], dtype)
    for out in (operation(x, partner), operation(partner, x)):
        assert isinstance(out, Tensor)
        value, g = value_and_gradient(out, x)
        assert (value.dtype, g.dtype, g.shape) == (dtype, dtype, (3,))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)
def test_nor_in_where_and_when_joined(partner, dtype):
    x = leaf([1.5, 2.5, 0.5], dtype)
    outs = [ops.where([True, False, True], x, partner), ops.where([True, False, True], partner, x)]
    if np.shape(partner) == (3,):
        outs += [f([a, b]) for f in (ops.concatenate, ops.stack) for a, b in ((x, partner), (partner, x))]
    if np.shape(partner) == ():
        outs += [ops.stack([x[0], partner]), ops.stack([partner, x[0]])]
    for out in outs:
        value, g = value_and_gradient(out, x)
        assert (value.dtype, g.dtype, g.shape) == (dtype, dtype, (3,))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("partner", [np.arange(3), [1, 2, 3], np.ones((3, 3), int), np.ones((3, 3), bool)], ids=str)
def test_nor_in_a_product_of_matrices(partner, dtype):
    for shape in ((3,), (3, 3)):
        x = leaf(np.full(shape, 0.5), dtype)
        for out in (x @ partner, partner @ x):
            value, g = value_and_gradient(out, x)
            assert (value.dtype, g.dtype, g.shape) == (dtype, dtype, shape)


def test_in_float64_numbers_and_lists_keep_all_their_digits():
    x = leaf([1.0, 1.0], np.float64)
    for partner in (0.1, np.float64(0.1), [0.1, 0.1], np.array([0.1, 0.1])):
        assert (x * partner).data.tolist() == [0.1, 0.1]
        assert ops.where([False, False], x, partner).data.tolist() == [0.1, 0.1]
    assert ops.concatenate([x, [0.1, 0.1]]).data.tolist() == [1.0, 1.0, 0.1, 0.1]
    assert ops.stack([x, [0.1, 0.1]]).data.tolist() == [[1.0, 1.0], [0.1, 0.1]]
    assert ops.stack([x[0], 0.1]).data.tolist() == [1.0, 0.1]
    assert (x @ [0.1, 0.0]).item() == ([0.0, 0.1] @ x).item() == 0.1


def test_array_times_tensor_is_a_tensor():
    x = leaf([1.0, 2.0], np.float64)
    array = np.array([3.0, 4.0])
    results = [array * x, array + x, array - x, array / x, array**x, array @ x, np.float64(3.0) * x, np.int64(3) - x]
    assert all(isinstance(out, Tensor) and out.requires_grad for out in results)
    assert [out.data.tolist() for out in results[:3]] == [[3.0, 8.0], [4.0, 6.0], [2.0, 2.0]]
    assert results[5].item() == 11.0
    assert results[7].data.tolist() == [2.0, 1.0]
    assert (array > x).tolist() == [True, True]
    assert (x >= array).tolist() == [False, False]
    assert [(f(x, x[0])).tolist() for f in (operator.lt, operator.le, operator.gt, operator.ge)] == [
        [False, False],
        [True, False],
        [False, True],
        [True, True],
    ]


def test_float_arrays_keep_their_dtype_and_everything_else_becomes_float32():
    kept = [np.ones(2, np.float16), np.ones(2, np.float32), np.ones(2), np.float64(1.0), np.float32(1.0)]
    assert [tensor(v).dtype for v in kept] == [v.dtype for v in kept]
    others = [1, 1.5, True, [1.5], [[1], [2]], np.arange(3), np.ones(2, bool), np.int64(3), [np.float64(1.5)]]
    assert [tensor(v).dtype for v in others] == [np.float32] * len(others)
    assert tensor([1.5], dtype="float64").dtype == np.float64
    assert tensor(np.ones(2), dtype=np.float32).dtype == np.float32
    assert [f(np.arange(1, 3)).dtype for f in (ops.exp, ops.relu, ops.sum, ops.softmax)] == [np.float32] * 4
    assert [f([1, 2]).dtype for f in (ops.log, ops.neg, ops.mean)] == [np.float32] * 3


@pytest.mark.parametrize("dtype", FLOATS)
def test_end_to_end(dtype):
    x, y = leaf(np.eye(3) + 0.5, dtype), leaf([1.0, 2.0, 3.0], dtype)
    mask = np.array([1, 0, 1])
    h = ops.tanh(x @ y * np.float64(0.1) + 1) * mask / np.int64(2)
    out = (h**2).mean() + ops.softmax(x).max() * 0.5 + ops.sqrt(ops.stack([h.sum(), 2.0])).sum()
    assert out.dtype == dtype
    assert [g.dtype for g in grad(out, [x, y])] == [dtype, dtype]
    out.backward()
    assert (x.grad.dtype, y.grad.dtype) == (dtype, dtype)


def test_a_float64_array_is_a_request_for_float64():
    x = leaf([1.0, 2.0], np.float32)
    assert (x * np.array([0.1, 0.2])).dtype == np.float64
    assert (tensor([1.0]) + tensor([1.0], dtype="float64")).dtype == np.float64


# ---------------------------------------------------------------- float16, and several dtypes in one graph


def test_reductions_of_float16():
    ones = tensor(np.ones((1000, 100), np.float16), requires_grad=True)
    for z in (ones.mean(), ones.mean(axis=0), ones.mean(axis=0, keepdims=True)):
        assert z.dtype == np.float16
        assert (z.data == 1.0).all()
    assert grad(ones.mean(), ones)[0].dtype == np.float16
    np.testing.assert_allclose(grad(ones.mean(), ones)[0], 1e-5, rtol=5e-3)  # to a step of 6e-8
    wide = tensor(np.full(70_000, 2.0**-10, np.float16))
    assert ops.softmax(wide).data.sum(dtype=np.float32) == pytest.approx(1.0, rel=2e-2)
    assert np.isfinite(ops.log_softmax(wide).data).all()


@pytest.mark.parametrize("loss", [tm.cross_entropy, tm.binary_cross_entropy_with_logits, tm.mse_loss, tm.l1_loss])
def test_losses_of_float16(loss):
    rng = np.random.default_rng(0)
    shape = (70_000, 3) if loss is tm.cross_entropy else (70_000,)
    values, target = (300 * rng.standard_normal(shape)).astype(np.float16), rng.integers(0, 2, 70_000)
    half, full = tensor(values, requires_grad=True), tensor(values.astype(np.float64), requires_grad=True)
    assert loss(half, target).item() == pytest.approx(loss(full, target).item(), rel=1e-5)
    g = grad(loss(half, target), half)[0]
    assert g.dtype == np.float16
    np.testing.assert_allclose(g, grad(loss(full, target), full)[0], rtol=1e-3, atol=6e-8)


def test_a_gradient_has_the_dtype_of_its_tensor():
    half, single = leaf([1.0, 2.0], np.float16), leaf([1.0, 2.0], np.float32)
    double = np.array([0.1, 0.2])
    out = (half * single).sum() + (single * double).sum() + ops.stack([half, single]).mean()
    assert out.dtype == np.float64
    assert [g.dtype for g in grad(out, [half, single])] == [np.float16, np.float32]
    assert grad((single * double) * single, single, [np.eye(2)])[0].dtype == np.float32
    out.backward()
    out2 = (single * double).sum()
    out2.backward()
    assert (half.grad.dtype, single.grad.dtype) == (np.float16, np.float32)
    np.testing.assert_allclose(single.grad, [1.45, 2.65], rtol=1e-6)
