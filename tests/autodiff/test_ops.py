"""Every operation against NumPy (value), a central difference (gradient) and the rules that vjps obey.

`TABLE` has a row for every operation and every situation. An operation without its rows fails the first test.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinymtl.autodiff import Tensor, check_gradient, grad, ops
from tinymtl.autodiff.tensor import tensor


class Row(NamedTuple):
    call: Callable[..., Tensor]  # takes tensors
    reference: Callable[..., Any]  # takes arrays
    inputs: tuple[np.ndarray, ...]


def signed(shape, shift=0.0):
    """Distinct numbers of both signs, none within 0.1 of 0 or, for two shifts 0.2 apart, of one another's."""
    size = int(np.prod(shape))
    order = np.random.default_rng(size).permutation(size)
    return ((order - size // 2 + 0.3) * 0.4 + shift).reshape(shape)


def positive(shape, shift=0.0):
    size = int(np.prod(shape))
    return (0.8 + 0.1 * np.random.default_rng(size + 1).permutation(size) + shift).reshape(shape)


def turned(make):
    """Like `make`, but the result is a transposed view: its memory is in the other order."""

    def view(shape, *shift):
        return make(shape[::-1], *shift).T

    return view


MASK = np.array([[True, False, True, False], [False, False, True, True], [True, True, False, False]])
PAIRS = {
    "plain": ((3, 4), (3, 4)),
    "broadcast left": ((1, 4), (3, 4)),
    "broadcast right": ((3, 4), (3, 1)),
    "broadcast both": ((3, 1), (1, 4)),
    "axes added left": ((4,), (2, 3, 4)),
    "axes added right": ((2, 3, 4), (3, 1)),
    "axes added both": ((2, 1, 4), (3, 1)),
    "a one-element axis in both": ((1, 3), (2, 1, 1)),
    "0-d": ((), ()),
    "0-d left": ((), (3, 4)),
    "0-d right": ((3, 4), ()),
    "empty": ((0, 4), (0, 4)),
    "empty left": ((0, 4), (1, 4)),
    "empty right": ((4,), (0, 4)),
}


def binary(call, reference, left=signed, right=signed):
    rows = {name: Row(call, reference, (left(a), right(b, 0.2))) for name, (a, b) in PAIRS.items()}
    rows["transposed view"] = Row(call, reference, (turned(left)((3, 4)), turned(right)((3, 4), 0.2)))
    rows["transposed view, broadcast"] = Row(call, reference, (turned(left)((3, 4)), turned(right)((3, 1), 0.2)))
    return rows


def unary(call, reference, make=signed, plain=(3, 4), **more):
    """The four situations of a function of one tensor, and `more` as (call, reference, shape)."""
    rows = {
        "plain": Row(call, reference, (make(plain),)),
        "0-d": Row(call, reference, (make(()),)),
        "empty": Row(call, reference, (make((0, 4)),)),
        "transposed view": Row(call, reference, (turned(make)(plain),)),
    }
    for name, (other_call, other_reference, shape) in more.items():
        rows[name.replace("_", " ")] = Row(other_call, other_reference, (make(shape),))
    return rows


def softmax_by_numpy(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def along(op, reference):
    """Rows for softmax and log_softmax: another axis, the first of three."""
    rows = unary(
        op,
        reference,
        axis_0=(lambda x: op(x, axis=0), lambda x: reference(x, 0), (3, 4)),
        the_middle_of_three=(lambda x: op(x, 1), lambda x: reference(x, 1), (2, 3, 4)),
        from_the_end=(lambda x: op(x, -3), lambda x: reference(x, -3), (2, 3, 4)),
    )
    del rows["0-d"]  # there is no axis to normalise along
    return rows


def reduction(op, method, reference, over_none=True):
    """Rows for a reduction; `over_none` where the result over no elements is defined."""
    axes = {
        "axis_0": {"axis": 0},
        "last_axis": {"axis": -1},
        "middle_axis": {"axis": 1},
        "middle_axis_kept": {"axis": 1, "keepdims": True},
        "all_kept": {"keepdims": True},
    }
    if op is not ops.max:
        axes |= {"two_axes": {"axis": (0, 2)}, "two_axes_kept": {"axis": (-1, 0), "keepdims": True}}
    more = {
        name: (lambda x, o=o: op(x, **o), lambda x, o=o: reference(x, **o), (2, 3, 4)) for name, o in axes.items()
    }
    more["as_a_method"] = (lambda x: method(x, axis=1), lambda x: reference(x, axis=1), (2, 3, 4))
    rows = unary(op, reference, **more)
    rows["empty"] = Row(lambda x: op(x, axis=1), lambda x: reference(x, axis=1), (np.zeros((0, 4)),))
    if over_none:
        rows["over no elements"] = Row(lambda x: op(x, axis=0), lambda x: reference(x, axis=0), (np.zeros((0, 4)),))
    return rows


def indexed(index, shape=(3, 4)):
    return lambda x: x[index], lambda x: x[index], shape


def joined(op, reference):
    return {
        "plain": Row(lambda a, b: op([a, b]), lambda a, b: reference([a, b]), (signed((3, 4)), positive((3, 4)))),
        "last axis": Row(
            lambda a, b: op([a, b], axis=-1),
            lambda a, b: reference([a, b], axis=-1),
            (signed((3, 4)), positive((3, 4))),
        ),
        "the middle of three": Row(
            lambda a, b, c: op([a, b, c], axis=1),
            lambda a, b, c: reference([a, b, c], axis=1),
            (signed((2, 3, 4)), positive((2, 3, 4)), signed((2, 3, 4), 0.2)),
        ),
        "one twice": Row(lambda a: op([a, a]), lambda a: reference([a, a]), (signed((3, 4)),)),
        "alone": Row(lambda a: op([a]), lambda a: reference([a]), (signed((3, 4)),)),
        "empty": Row(lambda a, b: op([a, b]), lambda a, b: reference([a, b]), (np.zeros((0, 4)), np.zeros((0, 4)))),
        "transposed view": Row(
            lambda a, b: op([a, b], 1),
            lambda a, b: reference([a, b], 1),
            (turned(signed)((3, 4)), turned(positive)((3, 4))),
        ),
    }


def product(left, right):
    return Row(ops.matmul, np.matmul, (signed(left), signed(right, 0.2)))


TABLE: dict[str, dict[str, Row]] = {
    "add": binary(ops.add, np.add),
    "sub": binary(ops.sub, np.subtract),
    "mul": binary(ops.mul, np.multiply),
    "div": binary(ops.div, np.divide, signed, positive),
    "power": binary(ops.power, np.power, positive, signed)
    | unary(
        lambda x: x**2,
        np.square,
        cube=(lambda x: x**3, lambda x: x * x * x, (3, 4)),
        one=(lambda x: x**1, np.positive, (3, 4)),
        zero=(lambda x: x**0, np.ones_like, (3, 4)),
        of_a_number=(lambda x: 2.0**x, np.exp2, (3, 4)),
        by_an_array=(
            lambda x: x ** np.array([0, 1, 2, 3]),
            lambda x: np.stack([np.ones(3), x[:, 1], x[:, 2] ** 2, x[:, 3] ** 3], 1),
            (3, 4),
        ),
    )
    | {"inverse": Row(lambda x: x**-1, np.reciprocal, (positive((3, 4)),))},
    "maximum": binary(ops.maximum, np.maximum)
    | {
        "with a number": Row(lambda x: ops.maximum(x, 0.5), lambda x: np.maximum(x, 0.5), (signed((3, 4)),)),
        "of a number": Row(lambda x: ops.maximum(0.5, x), lambda x: np.maximum(0.5, x), (signed((3, 4)),)),
    },
    "where": binary(lambda a, b: ops.where(True, a, b), lambda a, b: a + 0 * b)
    | binary(lambda a, b: ops.where(False, a, b), lambda a, b: b + 0 * a)
    | {
        f"{name}, mask": Row(
            lambda a, b: ops.where(MASK, a, b), lambda a, b: np.where(MASK, a, b), (signed(left), signed(right, 0.2))
        )
        for name, (left, right) in PAIRS.items()
        if "empty" not in name and "in both" not in name
    }
    | {
        "the mask is broadcast": Row(
            lambda a, b: ops.where(MASK[:, :1], a, b),
            lambda a, b: np.where(MASK[:, :1], a, b),
            (signed((2, 1, 1)), signed((4,), 0.2)),
        ),
        "a list as condition": Row(
            lambda a, b: ops.where([True, False, True, False], a, b),
            lambda a, b: np.where([True, False, True, False], a, b),
            (signed((3, 4)), signed((3, 4), 0.2)),
        ),
        "a tensor as condition": Row(
            lambda a, b: ops.where(Tensor(MASK * 1.0), a, b),
            lambda a, b: np.where(MASK, a, b),
            (signed((3, 4)), signed((3, 4), 0.2)),
        ),
        "integers as condition": Row(
            lambda a, b: ops.where(MASK * 2, a, b),
            lambda a, b: np.where(MASK, a, b),
            (signed((3, 4)), signed((3, 4), 0.2)),
        ),
    },
    "matmul": {
        "plain": product((3, 4), (4, 2)),
        "broadcast left": product((3, 4), (5, 4, 2)),
        "broadcast right": product((5, 3, 4), (4, 2)),
        "broadcast both": product((2, 1, 3, 4), (5, 4, 2)),
        "a stack of one": product((1, 3, 4), (5, 4, 2)),
        "stacks": product((5, 3, 4), (5, 4, 2)),
        "vector by vector": product((4,), (4,)),
        "vector by matrix": product((4,), (4, 2)),
        "matrix by vector": product((3, 4), (4,)),
        "vector by stack": product((4,), (5, 4, 2)),
        "stack by vector": product((2, 5, 3, 4), (4,)),
        "empty": product((0, 4), (4, 2)),
        "empty, right": product((3, 4), (4, 0)),
        "over no elements": product((3, 0), (0, 2)),
        "vectors of no elements": product((0,), (0,)),
        "transposed view": Row(ops.matmul, np.matmul, (turned(signed)((3, 4)), turned(signed)((4, 2), 0.2))),
        "a matrix and its transpose": Row(lambda a: a @ a.T, lambda a: a @ a.T, (signed((3, 4)),)),
    },
    "neg": unary(ops.neg, np.negative),
    "exp": unary(ops.exp, np.exp),
    "log": unary(ops.log, np.log, positive),
    "sqrt": unary(ops.sqrt, np.sqrt, positive),
    "tanh": unary(ops.tanh, np.tanh),
    "sigmoid": unary(ops.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "log_sigmoid": unary(ops.log_sigmoid, lambda x: -np.log(1 + np.exp(-x))),
    "relu": unary(ops.relu, lambda x: np.where(x > 0, x, 0)),
    "softmax": along(ops.softmax, softmax_by_numpy),
    "log_softmax": along(ops.log_softmax, lambda x, axis=-1: np.log(softmax_by_numpy(x, axis))),
    "sum": reduction(ops.sum, Tensor.sum, np.sum),
    "mean": reduction(ops.mean, Tensor.mean, np.mean, over_none=False),
    "max": reduction(ops.max, Tensor.max, np.max, over_none=False),
    "reshape": unary(
        lambda x: ops.reshape(x, -1),
        lambda x: x.reshape(-1),
        several=(lambda x: x.reshape(2, 6), lambda x: x.reshape(2, 6), (3, 4)),
        a_tuple=(lambda x: x.reshape((2, -1, 2)), lambda x: x.reshape(2, 3, 2), (3, 4)),
        to_0d=(lambda x: x.reshape(()), lambda x: x.reshape(()), (1, 1)),
        an_empty_one=(lambda x: x.reshape(2, 0), lambda x: x.reshape(2, 0), (0, 4)),
    ),
    "transpose": unary(
        ops.transpose,
        np.transpose,
        axes=(lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(2, 0, 1), (2, 3, 4)),
        a_tuple=(lambda x: x.transpose((1, 2, 0)), lambda x: x.transpose(1, 2, 0), (2, 3, 4)),
        a_list_from_the_end=(lambda x: x.transpose([-1, 0, -2]), lambda x: x.transpose(2, 0, 1), (2, 3, 4)),
        three_axes=(lambda x: x.T, lambda x: x.T, (2, 3, 4)),
    ),
    "getitem": unary(
        lambda x: x[...],
        lambda x: x[...],
        integer=indexed(1),
        negative=indexed(-1),
        numpy_integer=indexed((np.int64(1), 2)),
        one_element=indexed((2, 3)),
        slices=indexed((slice(1, 3), slice(0, 4, 2))),
        backwards=indexed((slice(None, None, -1),)),
        new_axis=indexed((None, slice(None), None, 1)),
        ellipsis=indexed((Ellipsis, 0), (2, 3, 4)),
        nothing=indexed(slice(2, 2)),
        rows_twice=indexed([0, 2, 0, 0]),
        an_array=indexed(np.array([[0, 1], [1, 1]])),
        pairs_twice=indexed((np.array([0, 2, 0]), np.array([1, 3, 1]))),
        slice_and_array=indexed((slice(None), np.array([3, 0, 3]))),
        mask=indexed(MASK),
        mask_of_rows=indexed(np.array([True, False, True])),
        empty_mask=indexed(np.zeros((3, 4), bool)),
        true=indexed(np.bool_(True), ()),
    ),
    "concatenate": joined(ops.concatenate, np.concatenate)
    | {
        "different lengths": Row(
            lambda a, b, c: ops.concatenate([a, b, c], 1),
            lambda a, b, c: np.concatenate([a, b, c], 1),
            (signed((2, 3)), signed((2, 1), 0.2), signed((2, 0))),
        ),
    },
    "stack": joined(ops.stack, np.stack)
    | {"0-d": Row(lambda a, b: ops.stack([a, b]), lambda a, b: np.stack([a, b]), (signed(()), positive(())))},
}

ROWS = [pytest.param(row, id=f"{op}: {name}") for op, rows in TABLE.items() for name, row in rows.items()]
every_row = pytest.mark.parametrize("row", ROWS)


def is_operation(name, function):
    """An operation is a public function of ops.py that returns a Tensor."""
    return (
        not name.startswith("_")
        and function.__module__ == ops.__name__
        and function.__annotations__.get("return") == "Tensor"
    )


def test_every_operation_has_its_rows():
    operations = {name: f for name, f in inspect.getmembers(ops, inspect.isfunction) if is_operation(name, f)}
    assert set(TABLE) == set(operations)
    for name, function in operations.items():
        situations = {"plain", "0-d", "empty", "transposed view"}
        if {"a", "b"} <= set(inspect.signature(function).parameters):
            situations |= {"broadcast left", "broadcast right", "broadcast both"}
        if name in ("matmul", "softmax", "log_softmax", "concatenate"):  # these need an axis: see the next test
            situations.remove("0-d")
        assert situations <= set(TABLE[name]), name


@pytest.mark.parametrize(
    "call", [lambda x: x @ x, ops.softmax, ops.log_softmax, lambda x: ops.concatenate([x, x])], ids=str
)
def test_what_needs_an_axis_refuses_a_0d_tensor(call):
    with pytest.raises(ValueError, match=r"0 axes|dimensions"):
        call(tensor(1.0))


@every_row
def test_value(row):
    result = row.call(*(tensor(x) for x in row.inputs))
    expected = np.asarray(row.reference(*row.inputs))
    assert isinstance(result.data, np.ndarray)
    assert (result.shape, result.dtype) == (expected.shape, np.float64)
    np.testing.assert_allclose(result.data, expected, rtol=1e-13, atol=1e-14)


@every_row
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)], ids=["one seed", "K seeds", "two leading axes"])
def test_gradient(row, leading):
    check_gradient(row.call, row.inputs, step=5e-6, tolerance=1e-8, leading=leading, rng=1)


@every_row
def test_k_seeds_in_one_sweep_are_k_sweeps(row):
    leaves = [tensor(x, requires_grad=True) for x in row.inputs]
    out = row.call(*leaves)
    seeds = np.random.default_rng(2).standard_normal((3, *out.shape))
    together = grad(out, leaves, [seeds])
    for k, seed in enumerate(seeds):
        for all_k, one in zip(together, grad(out, leaves, [seed]), strict=True):
            np.testing.assert_allclose(all_k[k], one, rtol=1e-13, atol=1e-14)


@every_row
def test_float32_in_value_and_gradient(row):
    leaves = [tensor(x, requires_grad=True, dtype="float32") for x in row.inputs]
    out = row.call(*leaves)
    assert out.dtype == np.float32
    for leading in ((), (3,)):
        gradients = grad(out, leaves, [np.ones(leading + out.shape, np.float32)])
        assert [(g.shape, g.dtype) for g in gradients] == [(leading + x.shape, np.float32) for x in leaves]


def edges_of(output, leaves):
    """Every (tensor, vjp) pair between an operation's output and its leaves."""
    todo, found = [output], []
    while todo:
        node = todo.pop()
        for parent, vjp in node.edges:
            found.append((node, vjp))
            if parent not in set(leaves):  # a set compares by identity
                todo.append(parent)
    return found


@every_row
def test_a_vjp_writes_nowhere_and_returns_no_saved_array(row):
    leaves = [tensor(x, requires_grad=True) for x in row.inputs]
    out = row.call(*leaves)
    for array in (out.data, *(leaf.data for leaf in leaves)):
        array.flags.writeable = False
    for node, vjp in edges_of(out, leaves):
        g = np.random.default_rng(3).standard_normal((2, *node.shape))
        kept = g.copy()
        g.flags.writeable = False
        first = vjp(g)
        for saved in (out, node, *leaves):
            assert not np.shares_memory(first, saved.data)
        first = first.copy()
        np.testing.assert_array_equal(vjp(g), first)
        np.testing.assert_array_equal(g, kept)


# ---------------------------------------------------------------- at the kinks, and where a formula could go wrong


def at(call, *values):
    leaves = [tensor(np.array(v, dtype=np.float64), requires_grad=True) for v in values]
    out = call(*leaves)
    return out.data, *grad(out, leaves, [np.ones(out.shape)])


def test_equal_maxima_share_the_gradient_and_the_first_of_equal_elements_takes_it():
    z, gx, gy = at(ops.maximum, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert (z.tolist(), gx.tolist(), gy.tolist()) == ([3, 2, 3], [0, 0.5, 1], [1, 0.5, 0])
    z, g = at(lambda x: x.max(axis=1), [[5.0, 5.0], [1.0, 5.0]])
    assert (z.tolist(), g.tolist()) == ([5, 5], [[1, 0], [0, 1]])
    z, g = at(lambda x: x.max(), [[1.0, 5.0], [5.0, 5.0]])
    assert (z.tolist(), g.tolist()) == (5, [[0, 1], [0, 0]])


def test_relu_at_zero_has_slope_zero():
    z, g = at(ops.relu, [-1.0, 0.0, 2.0])
    assert (z.tolist(), g.tolist()) == ([0, 0, 2], [0, 0, 1])


def test_powers_of_zero():
    z, g = at(lambda x: x**0, [0.0, 2.0])
    assert (z.tolist(), g.tolist()) == ([1, 1], [0, 0])
    z, g = at(lambda x: x ** np.array([0.0, 1.0, 2.0]), [0.0, 0.0, 0.0])
    assert (z.tolist(), g.tolist()) == ([1, 0, 0], [0, 1, 0])
    z, gx, gy = at(ops.power, [0.0, 2.0], [2.0, 3.0])
    np.testing.assert_allclose(gy, [0, 8 * np.log(2)], rtol=1e-15)
    assert gx.tolist() == [0, 12]


@pytest.mark.parametrize("size", [1000.0, -1000.0])
def test_no_overflow_at_a_thousand(size):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        z, g = at(ops.sigmoid, [size])
        assert (z.tolist(), g.tolist()) == ([float(size > 0)], [0.0])
        z, g = at(ops.softmax, [size, 0.0])
        assert z.tolist() == [float(size > 0), float(size < 0)]
        z, g = at(ops.log_softmax, [size, 0.0])
        assert z.tolist() == [min(size, 0.0), min(-size, 0.0)]
        assert g.tolist() == ([-1, 1] if size > 0 else [1, -1])  # 1 − 2 softmax


def test_softmax_and_log_softmax_by_hand():
    x = np.log([[1.0, 2.0, 5.0]])  # softmax (1, 2, 5)/8
    z, g = at(lambda x: ops.softmax(x)[:, 2], x)
    np.testing.assert_allclose(z, [5 / 8], rtol=1e-14)
    np.testing.assert_allclose(g, [[-5 / 64, -10 / 64, 15 / 64]], rtol=1e-13)  # pᵢ (δᵢ₂ − p₂)
    z, g = at(lambda x: ops.log_softmax(x)[:, 0], x)
    np.testing.assert_allclose(z, [-np.log(8)], rtol=1e-14)
    np.testing.assert_allclose(g, [[7 / 8, -2 / 8, -5 / 8]], rtol=1e-14)  # δᵢ₀ − pᵢ


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ((), ()),
        ((), (3,)),
        ((1,), (3,)),
        ((3,), (3,)),
        ((3,), (2, 3)),
        ((1,), (2, 3)),
        ((2, 1), (2, 3)),
        ((1, 3), (2, 3)),
        ((1, 1), (4, 2, 3)),
        ((4, 1, 3), (4, 2, 3)),
        ((2, 1), (4, 2, 3)),
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("leading", [(), (5,), (3,), (2, 2)])
def test_unbroadcast_is_the_adjoint_of_broadcasting(small, large, leading):
    rng = np.random.default_rng(4)
    x, g = rng.standard_normal(small), rng.standard_normal(leading + large)
    back = ops.unbroadcast(g, small, len(large))
    assert back.shape == leading + small
    for place in np.ndindex(leading):
        assert np.vdot(back[place], x) == pytest.approx(np.vdot(g[place], np.broadcast_to(x, large)), abs=1e-12)


# ---------------------------------------------------------------- refusals


def test_the_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"mean of no elements \(shape \(0, 4\), axis 0\)"):
        ops.mean(tensor(np.zeros((0, 4))), axis=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(axis=2),
        lambda x: x.mean(axis=-3),
        lambda x: x.max(axis=2),
        lambda x: ops.softmax(x, 5),
        lambda x: x.transpose(0, 2),
        lambda x: ops.concatenate([x, x], 2),
        lambda x: ops.stack([x, x], 3),
    ],
)
def test_an_axis_that_does_not_exist_is_named(call):
    with pytest.raises(ValueError, match=r"axis -?\d does not exist in a tensor with [23] axes"):
        call(tensor(np.ones((3, 4))))


@pytest.mark.parametrize("join", [ops.concatenate, ops.stack])
def test_joining_nothing_is_refused(join):
    with pytest.raises(ValueError, match="nothing to join"):
        join([])


def test_a_tensor_is_no_index():
    x = tensor(np.ones((3, 4)))
    with pytest.raises(TypeError, match=r"use its \.data"):
        x[tensor([0.0])]
    with pytest.raises(TypeError, match=r"use its \.data"):
        x[0, tensor([0.0])]
