"""The tensor itself: making one, reading it, and one clear sentence for each misuse."""

import numpy as np
import pytest

from tinymtl.autodiff import Tensor, grad, ops
from tinymtl.autodiff.tensor import tensor


def leaf(values):
    return tensor(np.array(values, dtype=np.float64), requires_grad=True)


# ---------------------------------------------------------------- making and reading


def test_a_tensor_holds_a_copy():
    array = np.array([1.0, 2.0])
    x = tensor(array)
    y = tensor(x)
    array[0] = 9.0
    assert (x.data.tolist(), y.data.tolist()) == ([1.0, 2.0], [1.0, 2.0])
    assert not np.shares_memory(x.data, y.data)


def test_attributes():
    x = tensor([[1, 2, 3], [4, 5, 6]], requires_grad=True)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float32, 2)
    assert (x.grad, x.requires_grad, tensor(1.0).requires_grad) == (None, True, False)
    assert x.T.shape == (3, 2)
    assert x.numpy() is x.data
    constant = x.detach()
    assert np.asarray(constant).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.asarray(constant, dtype=np.float64).dtype == np.float64
    assert repr(tensor([1.0, 2.5])) == "tensor([1. , 2.5], dtype=float32)"
    assert repr(leaf(2.0)) == "tensor(2., dtype=float64, requires_grad=True)"


def test_numbers_out():
    x = leaf([[2.5]])
    assert (x.item(), type(x.item()), bool(x), bool(leaf(0.0))) == (2.5, float, True, False)
    assert (float(x.detach()), int(x.detach())) == (2.5, 2)
    pair = tensor([1.0, 2.0])
    for bad in (pair.item, lambda: float(pair), lambda: int(pair), lambda: bool(pair)):
        with pytest.raises(ValueError):
            bad()


def test_iteration_is_over_rows_and_keeps_the_graph():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    assert grad(first.sum() + 10 * second.sum(), [x])[0].tolist() == [[1, 1], [10, 10]]
    with pytest.raises(TypeError):
        list(leaf(1.0))


def test_detach_shares_values_and_stops_gradients():
    x = leaf([1.0, 2.0])
    y = x * x
    z = y.detach()
    assert np.shares_memory(z.data, y.data)
    assert (z.requires_grad, list(z.edges)) == (False, [])
    assert grad((z * x).sum(), [x])[0].tolist() == [1.0, 4.0]


def test_equality_is_element_by_element_and_keys_are_identities():
    x, y = leaf([1.0, 2.0]), leaf([1.0, 3.0])
    assert [(x == y).tolist(), (x != y).tolist(), (x == 1).tolist()] == [[True, False], [False, True], [True, False]]
    assert ops.where(x == 1, x, 0.0).data.tolist() == [1.0, 0.0]
    assert (np.array([1.0, 2.0]) == x).tolist() == [True, True]
    assert len({x, y, leaf([1.0, 2.0]), x}) == 3
    assert {x: "x", y: "y"}[y] == "y"
    with pytest.raises(ValueError, match="ambiguous"):
        x in [y, x]  # noqa: B015  (a list compares with ==: use a set)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("abc", r"a tensor holds text \(<U3\): give real numbers"),
        (None, "a tensor is a NoneType: give an array of real numbers"),
        (1j, r"a tensor holds complex numbers \(complex128\): give real numbers, such as .real and .imag"),
        ([1, "a"], "a tensor holds text"),
        ({"a": 1}, "a tensor is a dict"),
        (np.array(["2020-01-01"], "M8[D]"), r"holds dates \(datetime64\[D\]\)"),
    ],
)
def test_what_is_no_real_number_is_refused(values, message):
    with pytest.raises(TypeError, match=message):
        tensor(values)


@pytest.mark.parametrize("dtype", ["int64", bool, "complex64", np.uint8])
def test_a_dtype_that_is_no_float_is_refused(dtype):
    with pytest.raises(TypeError, match=r"float such as 'float32' or 'float64', not "):
        tensor([1, 2], dtype=dtype)


# ---------------------------------------------------------------- item assignment


def test_item_assignment_on_a_tracked_tensor_is_refused_and_changes_nothing():
    x = leaf([1.0, 2.0])
    for tracked in (x, x * 2):
        before = tracked.data.copy()
        with pytest.raises(TypeError, match=r"stack or concatenate.*where"):
            tracked[0] = 5.0
        np.testing.assert_array_equal(tracked.data, before)


def test_item_assignment_on_a_constant_works():
    x = tensor([1.0, 2.0, 3.0])
    x[0] = 5
    x[1:] = tensor([6.0, 7.0])
    assert x.data.tolist() == [5.0, 6.0, 7.0]


# ---------------------------------------------------------------- seeds


def test_seeds():
    x = leaf([1.0, 2.0])
    y = x * x
    assert grad(y, x, [np.array([1.0, 10.0])])[0].tolist() == [2.0, 40.0]
    assert grad(y, x, np.array([1.0, 10.0]))[0].tolist() == [2.0, 40.0]  # a single seed may stand alone
    assert grad(y, x, tensor([1.0, 10.0]))[0].tolist() == [2.0, 40.0]
    assert grad(y, x, [[1, 10]])[0].tolist() == [2.0, 40.0]
    for number in (3, 3.0, np.float32(3.0), np.float64(3.0), np.int64(3)):
        assert grad(y.sum(), x, number)[0].tolist() == [6.0, 12.0]
    y.backward([1.0, 10.0])
    assert x.grad.tolist() == [2.0, 40.0]
    assert grad([y, x], x, [np.ones(2), np.full(2, 5.0)])[0].tolist() == [7.0, 9.0]


def test_leading_axes_of_seeds():
    x = leaf([1.0, 2.0])
    y, s = x * x, x.sum()
    (g,) = grad(y, x, [np.eye(2)])
    assert g.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    (g,) = grad([y, s], x, [np.eye(2), np.array([100.0, 200.0])])
    assert g.tolist() == [[102.0, 100.0], [200.0, 204.0]]
    (g,) = grad(y, x, [np.zeros((4, 0, 2))])
    assert g.shape == (4, 0, 2)


def test_a_one_element_output_needs_no_seed():
    x = leaf([[3.0]])
    assert grad(x * x, x)[0].tolist() == [[6.0]]
    (x * x).backward()
    assert x.grad.tolist() == [[6.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, x: grad(y, x), r"shape \(2,\) is not a scalar: give a seed of that shape"),
        (lambda y, x: y.backward(), r"shape \(2,\) is not a scalar: give a seed of that shape"),
        (lambda y, x: grad(y, x, [np.ones(3)]), r"seed of shape \(3,\) does not fit an output of shape \(2,\)"),
        (lambda y, x: grad(y, x, [1.0]), r"seed of shape \(\) does not fit an output of shape \(2,\)"),
        (lambda y, x: y.backward(np.ones((2, 1))), r"seed of shape \(2, 1\) does not fit"),
        (lambda y, x: y.backward(np.ones((3, 2))), r"one seed of shape \(2,\), not \(3, 2\); `grad` takes several"),
        (lambda y, x: y.sum().backward(np.ones(2)), r"one seed of shape \(\), not \(2,\)"),
        (lambda y, x: grad([y, y], x, [np.ones(2)]), "2 outputs need as many seeds, 1 given"),
        (lambda y, x: grad(y, x, [np.ones(2), np.ones(2)]), "1 outputs need as many seeds, 2 given"),
        (lambda y, x: grad([y, y], x, [np.ones(2), np.ones((3, 2))]), r"leading axes differ.*\[\(\), \(3,\)\]"),
    ],
)
def test_a_seed_that_does_not_fit(call, message):
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=message):
        call(x * x, x)
    assert x.grad is None


# ---------------------------------------------------------------- misuse of grad and backward


def test_the_gradient_of_a_constant_is_refused():
    x, c = leaf([1.0]), tensor([1.0])
    with pytest.raises(ValueError, match=r"this one is a constant .*no_grad.*double backward is not supported"):
        c.backward()
    with pytest.raises(ValueError, match=r"input 1 does not require a gradient: make it with requires_grad=True"):
        grad(x * c, [x, c])


def test_double_backward_is_refused_by_name():
    x = leaf([3.0])
    (g,) = grad(x * x * x, x)
    assert isinstance(g, np.ndarray)
    with pytest.raises(TypeError, match=r"must be a Tensor.*not ndarray.*double backward is not supported"):
        grad(g, x)
    with pytest.raises(ValueError, match="double backward is not supported"):
        (tensor(g) * 2.0).backward()


@pytest.mark.parametrize("bad", [3.0, "x", None, [1.0], np.ones(2), {}])
def test_what_is_no_tensor_is_named(bad):
    x = leaf([1.0])
    with pytest.raises(TypeError, match=f"outputs must be a Tensor or a list of Tensors, not {type(bad).__name__}"):
        grad(bad, x)
    with pytest.raises(TypeError, match=f"inputs must be a Tensor or a list of Tensors, not {type(bad).__name__}"):
        grad(x, bad)


def test_shapes_that_do_not_fit_are_numpys_to_refuse():
    x, y = leaf([1.0, 2.0]), leaf([1.0, 2.0, 3.0])
    for call in (lambda: x + y, lambda: x @ y, lambda: ops.stack([x, y]), lambda: x.reshape(3)):
        with pytest.raises(ValueError):
            call()


def test_data_may_be_assigned():
    x = leaf([1.0, 2.0])
    x.data = x.data - 0.5
    assert grad((x * x).sum(), x)[0].tolist() == [1.0, 3.0]
    w = leaf(2.0)
    w.data = w.data - 0.5  # NumPy makes this a scalar, not a 0-d array
    assert isinstance(w * w, Tensor)
    assert (w * w).item() == 2.25
    assert grad(ops.maximum(w, 1.0) * w + ops.where(True, w, 0.0), w) == [4.0]


@pytest.mark.parametrize("values", [[1.0, 2.0], 3.0, None, "x", {"a": 1}])
def test_the_class_itself_takes_arrays_alone(values):
    with pytest.raises(TypeError, match=r"a Tensor holds an array, not a .*: use tm\.tensor\(values\)"):
        Tensor(values)


@pytest.mark.parametrize("odd", ["a", 1.5, {0}, np.array([0.5]), np.array(["a"]), object()])
def test_what_is_no_index_is_a_type_error_and_one_out_of_range_an_index_error(odd):
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="index with integers, slices or arrays of integers or booleans, not "):
        x[odd]
    with pytest.raises(IndexError):
        x[2]


@pytest.mark.parametrize("operation", [lambda x: x @ 2.0, lambda x: 2 @ x, lambda x: x @ np.float32(2.0)])
def test_a_matrix_product_with_a_number_is_refused(operation):
    with pytest.raises(TypeError, match=r"to multiply by a number, use \*"):
        operation(leaf([1.0, 2.0]))


@pytest.mark.parametrize("operation", [lambda x, n: x + n, lambda x, n: n * x, lambda x, n: x**n, ops.maximum])
def test_a_number_that_no_float_can_hold_is_a_value_error(operation):
    with pytest.raises(ValueError, match="whole number of 1329 bits is too large"):
        operation(leaf([1.0, 2.0]), 10**400)


@pytest.mark.parametrize("odd", [1j, np.complex64(1j), "3", np.str_("3"), None, np.datetime64("2020-01-01")])
def test_what_is_no_real_number_is_no_operand(odd):
    with pytest.raises(TypeError):
        leaf([1.0, 2.0]) * odd
