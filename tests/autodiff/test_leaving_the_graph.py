"""NumPy and Python take no values of a tensor behind the graph's back: an operation that records, or one sentence."""

import copy
import math
import pickle
import statistics

import numpy as np
import pytest

from tinymtl.autodiff import grad, no_grad, ops
from tinymtl.autodiff.tensor import Tensor, tensor
from tinymtl.nn.parameters import Parameter


def leaf(values):
    return tensor(np.array(values, dtype=np.float64), requires_grad=True)


def assign(t):
    array = np.zeros(2)
    array[0] = t[0]


def assign_slice(t):
    np.zeros(2)[:] = t


def add_to_an_array(t):
    array = np.zeros(2)
    array += t


def assign_to_a_constant(t):
    constant = tensor([0.0, 0.0])
    constant[0] = t[0]


#: Programs that would lose the gradient at t, a tensor of two elements.
LOSE_IT = {
    "np.asarray": np.asarray,
    "np.array of a list": lambda t: np.array([t[0], t[1]]),
    "np.clip": lambda t: np.clip(t, 0.0, 1.0),
    "np.where": lambda t: np.where([True, False], t, 0.0),
    "np.stack": lambda t: np.stack([t, t]),
    "np.concatenate": lambda t: np.concatenate([t, t]),
    "np.dot": lambda t: np.dot(t, np.eye(2)),
    "np.sort": np.sort,
    "np.linalg.norm": np.linalg.norm,
    "np.einsum": lambda t: np.einsum("i,i->", t, t),
    "np.polyval": lambda t: np.polyval([1.0, 2.0], t.sum()),
    "np.sin": np.sin,
    "np.add.reduce": np.add.reduce,
    "np.multiply.outer": lambda t: np.multiply.outer(t, t),
    "np.exp, out=": lambda t: np.exp(t, out=np.zeros(2)),
    "array += t": add_to_an_array,
    "array[i] = t": assign,
    "array[:] = t": assign_slice,
    "constant[i] = t": assign_to_a_constant,
    "tm.tensor(t)": tensor,
    "tm.tensor([t, t])": lambda t: tensor([t[0], t[1]]),
    "t * [t, t]": lambda t: t * [t[0], t[1]],
    "tm.exp([t, t])": lambda t: ops.exp([t[0], t[1]]),
    "float": lambda t: float(t[0]),
    "int": lambda t: int(t[0]),
    "complex": lambda t: complex(t[0]),
    "math.exp": lambda t: math.exp(t[0]),
    "math.floor": lambda t: math.floor(t[0]),
    "math.fsum": math.fsum,
    "statistics.fmean": statistics.fmean,
    "parameter.data = t": lambda t: setattr(Parameter(np.zeros(2)), "data", t),
}
KEEP_IT = {
    "np.exp": (np.exp, [math.e, math.e**2]),
    "np.tanh": (np.tanh, [1 - math.tanh(1) ** 2, 1 - math.tanh(2) ** 2]),
    "np.negative": (np.negative, [-1.0, -1.0]),
    "np.maximum": (lambda t: np.maximum(t, 1.5), [0.0, 1.0]),
    "np.multiply": (lambda t: np.multiply(np.array([3.0, 4.0]), t), [3.0, 4.0]),
    "np.subtract": (lambda t: np.subtract(5.0, t), [-1.0, -1.0]),
    "np.divide": (lambda t: np.divide(t, 2.0), [0.5, 0.5]),
    "np.power": (lambda t: np.power(t, 3), [3.0, 12.0]),
    "np.matmul": (lambda t: np.matmul(np.array([[1.0, 2.0], [3.0, 4.0]]), t), [4.0, 6.0]),
    "array * t": (lambda t: np.array([3.0, 4.0]) * t, [3.0, 4.0]),
    "np.float64 * t": (lambda t: np.float64(3.0) * t, [3.0, 3.0]),
    "max": (lambda t: max(t[0], t[1]), [0.0, 1.0]),
    "sum": (lambda t: sum(t), [1.0, 1.0]),
    "total += t": (lambda t: add_up(0.0, t), [2.0, 2.0]),
}


def add_up(total, t):
    for part in (t, t):
        total += part
    return total


def sentence(error):
    """Everything that is read in the traceback: NumPy's own error, and the one that it came from."""
    return f"{error} {error.__cause__}"


@pytest.mark.parametrize("computed", [False, True], ids=["a leaf", "a computed tensor"])
@pytest.mark.parametrize("program", LOSE_IT.values(), ids=LOSE_IT)
def test_what_would_lose_the_gradient_is_refused_and_names_the_way_out(program, computed):
    t = leaf([1.0, 2.0])
    with pytest.raises((TypeError, ValueError)) as caught:
        program(t * 1.0 if computed else t)
    assert "tm.stack" in sentence(caught.value)
    assert ".detach()" in sentence(caught.value)
    assert t.data.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("program", "right"), KEEP_IT.values(), ids=KEEP_IT)
def test_what_can_be_recorded_is(program, right):
    t = leaf([1.0, 2.0])
    np.testing.assert_allclose(grad(program(t).sum(), t)[0], right, rtol=1e-15)


@pytest.mark.parametrize("program", LOSE_IT.values(), ids=LOSE_IT)
def test_constants_are_taken_freely(program):
    program(tensor([0.5, 0.25]))
    program(leaf([0.5, 0.25]).detach())
    with no_grad():
        program(leaf([0.5, 0.25]))


def test_conditions_have_no_gradient_to_lose():
    t = leaf([1.0, np.nan])
    assert np.isfinite(t).tolist() == [True, False]
    assert (np.array([0.0, 0.0]) < t).tolist() == [True, False]
    assert (np.array([1.0, 1.0]) == t).tolist() == [True, False]
    assert np.greater(t, 0.5).tolist() == [True, False]


def test_numbers_and_text_are_explicit():
    t = leaf([[2.5]])
    assert (t.item(), t.numpy().tolist(), bool(t > 2)) == (2.5, [[2.5]], True)
    assert f"{t:.2f} {t.sum():g}" == "2.50 2.5"
    assert f"{t}" == repr(t) == "tensor([[2.5]], dtype=float64, requires_grad=True)"


def test_a_copy_of_a_computed_tensor_is_refused():
    t = leaf([1.0, 2.0])
    for duplicate in (copy.deepcopy, copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match=r"copy its \.detach\(\)"):
            duplicate(t * 2)
        duplicate(t)
    twin = copy.deepcopy(t)
    assert isinstance(twin, Tensor)
    assert grad((twin * twin).sum(), twin)[0].tolist() == [2.0, 4.0]
    assert copy.deepcopy((t * 2).detach()).data.tolist() == [2.0, 4.0]
