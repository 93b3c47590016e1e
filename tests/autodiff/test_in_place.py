"""Changes in place: augmented assignment, and arrays that change between forward and backward."""

import threading

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.autodiff import checking, grad, no_grad, ops
from tinymtl.autodiff.tensor import tensor
from tinymtl.optim import SGD, Adam


def leaf(values):
    return tensor(np.array(values, dtype=np.float64), requires_grad=True)


# ---------------------------------------------------------------- augmented assignment

AUGMENTED = {
    "+=": (lambda t, x: t.__iadd__(x), [4.0, 5.0]),
    "-=": (lambda t, x: t.__isub__(x), [-2.0, -1.0]),
    "*=": (lambda t, x: t.__imul__(x), [3.0, 6.0]),
    "/=": (lambda t, x: t.__itruediv__(x), [1 / 3, 2 / 3]),
    "**=": (lambda t, x: t.__ipow__(x), [1.0, 8.0]),
}


@pytest.mark.parametrize(("change", "right"), AUGMENTED.values(), ids=AUGMENTED)
def test_under_no_grad_a_parameter_moves_in_place(change, right):
    for x in (3.0, np.array([3.0, 3.0]), tensor(3.0), leaf([3.0, 3.0])):
        p = leaf([1.0, 2.0])
        array = p.data
        with no_grad():
            assert change(p, x) is p
        assert p.data is array
        np.testing.assert_allclose(array, right, rtol=1e-15)


@pytest.mark.parametrize(("change", "right"), AUGMENTED.values(), ids=AUGMENTED)
def test_while_recording_a_parameter_is_not_replaced_behind_its_name(change, right):
    p = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match=r"under tm.no_grad\(\) it changes in place"):
        change(p, 3.0)
    assert p.data.tolist() == [1.0, 2.0]


def test_the_loop_that_everybody_writes():
    parameters = [leaf([1.0, 2.0]), leaf(3.0)]
    (ops.sum(parameters[0] * parameters[0]) + parameters[1] ** 2).backward()
    with no_grad():
        for p in parameters:
            p -= 0.1 * p.grad
    np.testing.assert_allclose(parameters[0].data, [0.8, 1.6], rtol=1e-15)
    np.testing.assert_allclose(parameters[1].data, 2.4, rtol=1e-15)
    assert isinstance(parameters[1].data, np.ndarray)


def test_a_models_parameter_stays_a_view_of_its_vector():
    model = tm.SharedBottom(tm.nn.MLP([3, 2]), [tm.Task("a", tm.nn.Linear(2, 1), tm.mse_loss)])
    weight = model.shared_parameters()[0]
    before = model.vector.data.copy()
    with no_grad():
        weight += np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(model.vector.data[:6], before[:6] + 1)
    np.testing.assert_array_equal(model.vector.data[6:], before[6:])


def test_other_tensors_are_replaced_and_keep_their_graph():
    x, constant = leaf([1.0, 2.0]), tensor([1.0, 1.0], dtype="float64")
    total = name = x * 1.0
    total += x
    total *= constant
    assert grad(total.sum(), x)[0].tolist() == [2.0, 2.0]
    assert name.data.tolist() == [1.0, 2.0]
    other = constant
    other += x
    assert (constant.data.tolist(), other.requires_grad) == ([1.0, 1.0], True)


def test_a_shape_that_does_not_fit_changes_nothing():
    p = leaf([1.0, 2.0])
    with no_grad(), pytest.raises(ValueError):
        p -= np.ones((3, 2))
    assert p.data.tolist() == [1.0, 2.0]


# ---------------------------------------------------------------- changed between forward and backward


@pytest.mark.parametrize("rule", [SGD(0.25), SGD(0.25, momentum=0.5), Adam(0.25)])
def test_a_parameter_that_an_optimizer_moved_is_noticed(rule):
    w = leaf([2.0])
    first, second = w * w, 3.0 * w * w
    rule.update([w], grad(first, w), rule.init([w]))
    with pytest.raises(RuntimeError, match=r"changed after a forward pass .* run the forward pass again"):
        grad(second, w)
    with pytest.raises(RuntimeError, match="changed after a forward pass"):
        second.backward()
    assert w.grad is None
    again = 3.0 * w * w
    np.testing.assert_allclose(grad(again, w)[0], 6.0 * w.data)


def test_so_is_one_that_moved_by_hand():
    w = leaf([2.0])
    y = w * w
    with no_grad():
        w -= 1.0
    with pytest.raises(RuntimeError, match="changed after a forward pass"):
        grad(y, w)


def test_an_update_of_one_parameter_leaves_the_others_graphs_alone():
    w, u = leaf([2.0]), leaf([5.0])
    y, z = w * w, u * u
    SGD(0.1).update([w], [np.ones(1)], SGD(0.1).init([w]))
    assert grad(z, u)[0].tolist() == [10.0]
    with pytest.raises(RuntimeError):
        grad(y + z, [w, u])


HIDDEN = {  # changes that only a checksum sees
    "a buffer": lambda w, buffer: buffer.__setitem__(slice(None), 100.0),
    "the values of a leaf": lambda w, buffer: w.data.__setitem__(0, 7.0),
}
OPERATIONS = {
    "mul": lambda w, b: w * tm.Tensor(b),
    "div": lambda w, b: (w / tm.Tensor(b)) * w,
    "matmul": lambda w, b: (w @ tm.Tensor(b)) * w,
    "linear": lambda w, b: tm.nn.functional.linear(tm.Tensor(b[None]), w.reshape(2, 1)) * w[0],
    "exp, then mul": lambda w, b: ops.exp(w) * tm.Tensor(b) * w,
}


@pytest.mark.parametrize("change", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_checking_notices_any_other_change(operation, change):
    w, buffer = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    with checking():
        y = operation(w, buffer).sum()
    assert np.isfinite(grad(y, w)[0]).all()  # nothing has changed yet
    change(w, buffer)
    with pytest.raises(RuntimeError, match="an array was changed"):
        grad(y, w)


def test_checking_lets_a_change_pass_that_no_gradient_needs():
    w, buffer = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    with checking():
        y = (w - tm.Tensor(buffer)).sum()
    buffer[:] = 100.0
    assert grad(y, w)[0].tolist() == [1.0, 1.0]


def test_checking_gives_the_same_gradients_of_a_whole_network():
    def gradients():
        model = tm.SharedBottom(
            tm.nn.LeNet(16, rng=0), [tm.Task(n, tm.nn.Linear(50, 3, rng=1), tm.cross_entropy) for n in "ab"]
        )
        x, y = np.random.default_rng(0).standard_normal((4, 1, 16, 16)), {"a": [0, 1, 2, 0], "b": [1, 1, 2, 0]}
        for strategy in (tm.Averaged, tm.MGDA, tm.MGDAUB, tm.Alternating):
            strategy(model, tm.Adam(0.01))(x, y)
        return model.vector.data

    plain = gradients()
    with checking():
        np.testing.assert_array_equal(gradients(), plain)


def test_checking_and_no_grad_in_each_other():
    w = leaf([1.0])
    with checking():
        with no_grad():
            assert not (w * w).requires_grad
        with no_grad(), checking():
            assert not (w * w).requires_grad
        y = w * w
    w.data[0] = 5.0
    with pytest.raises(RuntimeError):
        grad(y, w)
    z = w * w  # not checked any more
    w.data[0] = 6.0
    assert grad(z, w)[0].tolist() == [12.0]


def test_checking_is_a_decorator_and_of_one_thread():
    w = leaf([1.0])

    @checking()
    def squared():
        return w * w

    y, unchecked = squared(), []
    with checking():
        thread = threading.Thread(target=lambda: unchecked.append(w * w))
        thread.start()
        thread.join(10)
    w.data[0] = 5.0
    assert grad(unchecked[0], w)[0].tolist() == [10.0]
    with pytest.raises(RuntimeError):
        grad(y, w)


class _InPlace(tm.nn.Module):
    """A head, or a trunk, that is written with augmented assignment."""

    def __init__(self, features, outputs):
        self.linear = tm.nn.Linear(features, outputs, rng=1)

    def forward(self, x):
        x *= 2.0
        x += 1.0
        return self.linear(x)


@pytest.mark.parametrize("strategy", [tm.Averaged, tm.MGDA, tm.MGDAUB, tm.Alternating])
def test_a_head_may_change_its_name_for_z(strategy):
    def vector(head):
        tasks = [tm.Task(n, head(), tm.mse_loss) for n in "ab"]
        model = tm.SharedBottom(tm.nn.Sequential(_InPlace(3, 4)), tasks)
        x = np.ones((5, 3), np.float32)
        strategy(model, tm.SGD(0.1))(x, {"a": np.zeros(5), "b": np.ones(5)})
        assert (x == 1).all()  # nor is the batch changed
        return model.vector.data

    class Plain(_InPlace):
        def forward(self, x):
            return self.linear(2.0 * x + 1.0)

    np.testing.assert_array_equal(vector(lambda: _InPlace(4, 1)), vector(lambda: Plain(4, 1)))


def test_stacked_heads_may_be_updated_by_hand():
    tasks = [tm.Task(n, tm.nn.Linear(4, 3, rng=k), tm.cross_entropy) for k, n in enumerate("ab")]
    model = tm.SharedBottom(tm.nn.MLP([3, 4]), tasks)
    x, y = np.ones((5, 3), np.float32), {"a": [0, 1, 2, 0, 1], "b": [0, 0, 2, 0, 1]}
    parameters = [*model.shared_parameters(), *model.task_parameters("a")]
    sgd = SGD(0.1)
    losses = []
    for _ in range(3):
        loss = model.losses(model.represent(x), model.read(x, y))[0]
        sgd.update(parameters, grad(loss, parameters), sgd.init(parameters))
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]
    with pytest.raises(RuntimeError, match="changed after a forward pass"):
        grad(loss, parameters)
