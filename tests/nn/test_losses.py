"""Losses against closed forms worked by hand, their plain compositions, and bad input."""

import numpy as np
import pytest

from tests import exact
from tinymtl.autodiff import grad, ops
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss
from tinymtl.nn.losses import binary_cross_entropy_per_task, cross_entropy_per_task, loss_of_labelled

LOSSES = [cross_entropy, binary_cross_entropy_with_logits, mse_loss, l1_loss]


def value_and_gradient(loss, prediction, target):
    x = tensor(np.array(prediction, dtype=np.float64), requires_grad=True)
    out = loss(x, target)
    return out.item(), grad(out, x)[0]


# ---------------------------------------------------------------- by hand


def test_cross_entropy_by_hand():
    # softmax (1, 2, 5)/8 and (1, 1, 2)/4
    logits = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]])
    value, g = value_and_gradient(cross_entropy, logits, [1, 2])
    assert value == pytest.approx((np.log(4) + np.log(2)) / 2, abs=1e-14)
    expected = [[1 / 16, -6 / 16, 5 / 16], [1 / 8, 1 / 8, -2 / 8]]  # (softmax − onehot) / N
    np.testing.assert_allclose(g, expected, atol=1e-15)


def test_cross_entropys_gradient_is_softmax_minus_onehot():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 7)) * 3, rng.integers(0, 7, 50)
    value, g = value_and_gradient(cross_entropy, logits, labels)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert value == pytest.approx(-np.log(p[np.arange(50), labels]).mean(), abs=1e-13)
    np.testing.assert_allclose(g, (p - np.eye(7)[labels]) / 50, atol=1e-15)
    np.testing.assert_allclose(g.sum(1), 0, atol=1e-16)


def test_cross_entropy_is_its_composition():
    rng = np.random.default_rng(1)
    logits, labels = rng.standard_normal((20, 5)), rng.integers(0, 5, 20)

    def plain(x, labels):
        return -ops.log_softmax(x)[np.arange(20), labels].mean()

    value, g = value_and_gradient(cross_entropy, logits, labels)
    plain_value, plain_g = value_and_gradient(plain, logits, labels)
    assert value == pytest.approx(plain_value, abs=1e-14)
    np.testing.assert_allclose(g, plain_g, atol=1e-15)


def test_binary_cross_entropy_by_hand():
    # σ = 3/4, 1/4 and ½
    value, g = value_and_gradient(binary_cross_entropy_with_logits, np.log([3.0, 1 / 3, 1.0]), [1, 1, 0.25])
    assert value == pytest.approx((np.log(4 / 3) + np.log(4) + np.log(2)) / 3, abs=1e-14)
    np.testing.assert_allclose(g, np.array([-0.25, -0.75, 0.25]) / 3, atol=1e-15)  # (σ − t) / N


def test_binary_cross_entropy_is_its_composition():
    rng = np.random.default_rng(2)
    logits, targets = rng.standard_normal((20, 3)), rng.random((20, 3))

    def plain(x, t):
        p = ops.sigmoid(x)
        return -(t * ops.log(p) + (1 - t) * ops.log(1 - p)).mean()

    value, g = value_and_gradient(binary_cross_entropy_with_logits, logits, targets)
    plain_value, plain_g = value_and_gradient(plain, logits, targets)
    assert value == pytest.approx(plain_value, abs=1e-14)
    np.testing.assert_allclose(g, plain_g, atol=1e-15)


def test_two_classes_are_one_logit():
    x = np.array([0.3, -2.0, 1.7])
    labels = np.array([1, 0, 0])
    binary, g = value_and_gradient(binary_cross_entropy_with_logits, x, labels)
    two, h = value_and_gradient(cross_entropy, np.stack([0 * x, x], 1), labels)
    assert binary == pytest.approx(two, abs=1e-15)
    np.testing.assert_allclose(g, h[:, 1], atol=1e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_overflow_and_no_warning_at_a_thousand(dtype):
    logits = tensor(np.array([1000.0, -1000.0, 1000.0, -1000.0]), requires_grad=True, dtype=dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = binary_cross_entropy_with_logits(logits, [1, 0, 0, 1])
        (g,) = grad(out, logits)
        assert out.item() == 500.0  # (0 + 0 + 1000 + 1000) / 4
        assert g.tolist() == [0.0, 0.0, 0.25, -0.25]
        rows = tensor(np.array([[1000.0, 0.0, -1000.0]] * 3), requires_grad=True, dtype=dtype)
        out = cross_entropy(rows, [0, 1, 2])
        (g,) = grad(out, rows)
        assert out.item() == 1000.0  # (0 + 1000 + 2000) / 3
        np.testing.assert_allclose(g * 3, [[0, 0, 0], [1, -1, 0], [1, 0, -1]], rtol=1e-6)


def test_mse_and_l1_by_hand():
    value, g = value_and_gradient(mse_loss, [[1.0, 2.0], [3.0, 4.0]], [[1.0, 4.0], [0.0, 4.0]])
    assert value == 13 / 4
    np.testing.assert_allclose(g, [[0, -1.0], [1.5, 0]], atol=1e-16)  # 2 (p − t) / 4
    value, g = value_and_gradient(l1_loss, [[1.0, 2.0], [3.0, 4.0]], [[1.0, 4.0], [0.0, 4.0]])
    assert value == 5 / 4
    np.testing.assert_allclose(g, [[0, -0.25], [0.25, 0]], atol=1e-16)  # sign / 4, and 0 where they are equal


def test_mse_and_l1_are_their_compositions():
    rng = np.random.default_rng(3)
    p, t = rng.standard_normal((2, 30))
    for loss, plain in (
        (mse_loss, lambda x, t: ((x - t) ** 2).mean()),
        (l1_loss, lambda x, t: ops.maximum(x - t, t - x).mean()),
    ):
        value, g = value_and_gradient(loss, p, t)
        plain_value, plain_g = value_and_gradient(plain, p, t)
        assert value == pytest.approx(plain_value, abs=1e-15)
        np.testing.assert_allclose(g, plain_g, atol=1e-16)


# ---------------------------------------------------------------- K tasks at once


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize("classes", [2, 4])
def test_cross_entropy_per_task_is_k_cross_entropies(tasks, classes):
    rng = np.random.default_rng(4)
    logits, labels = rng.standard_normal((9, tasks * classes)), rng.integers(0, classes, (9, tasks))
    x = tensor(logits, requires_grad=True)
    together = cross_entropy_per_task(x, labels)
    separate = [
        cross_entropy(x[:, k * classes : (k + 1) * classes], np.ascontiguousarray(labels[:, k])) for k in range(tasks)
    ]
    np.testing.assert_allclose(together.data, [loss.item() for loss in separate], rtol=1e-14)
    weights = rng.standard_normal(tasks)
    (g,) = grad(together, x, [weights])
    (h,) = grad(separate, x, list(weights))
    np.testing.assert_allclose(g, h, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_binary_cross_entropy_per_task_is_k_of_them(tasks):
    rng = np.random.default_rng(5)
    x, targets = tensor(rng.standard_normal((9, tasks)), requires_grad=True), rng.random((9, tasks))
    together = binary_cross_entropy_per_task(x, targets)
    separate = [binary_cross_entropy_with_logits(x[:, k : k + 1], targets[:, k]) for k in range(tasks)]
    np.testing.assert_allclose(together.data, [loss.item() for loss in separate], rtol=1e-14)
    weights = rng.standard_normal(tasks)
    (g,) = grad(together, x, [weights])
    (h,) = grad(separate, x, list(weights))
    np.testing.assert_allclose(g, h, rtol=1e-13, atol=1e-16)


# ---------------------------------------------------------------- what they take


def test_targets_of_any_kind():
    x = tensor(np.array([[0.5, -1.0], [2.0, 0.0]]), requires_grad=True)
    expected = cross_entropy(x, np.array([1, 0])).item()
    for labels in ([1, 0], (1, 0), [[1], [0]], *(np.array([1, 0], d) for d in ("i1", "u1", "i8", "u8", "?", "f2"))):
        assert cross_entropy(x, labels).item() == expected
    column = tensor(np.array([[0.5], [2.0]]), requires_grad=True)
    for loss in (binary_cross_entropy_with_logits, mse_loss, l1_loss):
        expected = loss(column, np.array([[1.0], [0.0]])).item()
        for targets in ([1, 0], [[1], [0]], np.array([True, False]), np.float32([1, 0]), tensor([1.0, 0.0])):
            out = loss(column, targets)
            assert (out.item(), out.dtype, grad(out, column)[0].shape) == (expected, np.float64, (2, 1))


def test_predictions_may_be_plain_arrays():
    assert cross_entropy(np.zeros((3, 2)), [0, 1, 0]).item() == pytest.approx(np.log(2))
    assert binary_cross_entropy_with_logits(np.zeros(3), [0, 1, 0]).item() == pytest.approx(np.log(2))
    assert (mse_loss([1.0, 3.0], [0, 0]).item(), l1_loss([1, 3], [0, 0]).item()) == (5.0, 2.0)


def test_a_single_number_has_a_loss():
    value, g = value_and_gradient(binary_cross_entropy_with_logits, 0.0, 1)
    assert (value, g.tolist()) == (pytest.approx(np.log(2), abs=1e-15), -0.5)
    assert value_and_gradient(mse_loss, 3.0, 1) == (4.0, 4.0)
    assert value_and_gradient(l1_loss, 3.0, 1) == (2.0, 1.0)


def test_targets_are_left_alone():
    x = tensor(np.random.default_rng(6).standard_normal((4, 3)), requires_grad=True)
    for loss, target in ((cross_entropy, np.array([0, 1, 2, 0])), (mse_loss, np.ones((4, 3)))):
        before = target.copy()
        target.flags.writeable = False
        x.data.flags.writeable = False
        grad(loss(x, target), x)
        np.testing.assert_array_equal(target, before)


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        ((2, 3), [0, 3], ValueError, r"labels must lie in 0 … 2 for 3 classes; found 3"),
        ((2, 3), [0, -1], ValueError, r"labels must lie in 0 … 2 for 3 classes; found -1"),
        ((2, 3), [0.0, 0.5], TypeError, "labels must be integers, these are float64, such as 0.5"),
        ((2, 3), [0.0, np.inf], ValueError, r"labels must lie in 0 … 2 for 3 classes; found inf"),
        ((2, 3), [-0.5, 1.0], ValueError, r"labels must lie in 0 … 2 for 3 classes; found -0.5"),
        ((2, 3), [0, 1, 2], ValueError, r"takes logits \(N, C\) and labels \(N,\); got \(2, 3\) and \(3,\)"),
        ((2, 3), [[0, 1], [1, 2]], ValueError, r"got \(2, 3\) and \(2, 2\)"),
        ((2, 3), 1, ValueError, r"got \(2, 3\) and \(\)"),
        ((3,), [0, 1, 2], ValueError, r"got \(3,\) and \(3,\)"),
        ((0, 3), np.zeros(0, int), ValueError, "cross_entropy of an empty batch is not defined"),
    ],
)
def test_labels_that_cannot_be(logits, labels, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(tensor(np.zeros(logits)), labels)


@pytest.mark.parametrize("targets", [[0.5, 1.1], [-0.1, 0.5], [0, 2]])
def test_binary_targets_that_cannot_be(targets):
    odd = next(t for t in targets if not 0 <= t <= 1)
    with pytest.raises(ValueError, match=rf"binary targets must lie in \[0, 1\]; found {float(odd)}"):
        binary_cross_entropy_with_logits(tensor(np.zeros(2)), targets)


@pytest.mark.parametrize("loss", [binary_cross_entropy_with_logits, mse_loss, l1_loss])
@pytest.mark.parametrize(
    ("prediction", "target"),
    [((3,), (3, 1)), ((3, 2), (3,)), ((3, 1), (1, 3)), ((3,), ()), ((3, 1), (2,)), ((3,), (2,))],
)
def test_shapes_that_would_broadcast_are_refused(loss, prediction, target):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: a prediction of shape .* do not match"):
        loss(tensor(np.zeros(prediction)), np.zeros(target))


@pytest.mark.parametrize("loss", [binary_cross_entropy_with_logits, mse_loss, l1_loss])
def test_an_empty_batch_is_refused(loss):
    with pytest.raises(ValueError, match=f"{loss.__name__} of an empty batch is not defined"):
        loss(tensor(np.zeros((0, 2))), np.zeros((0, 2)))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_target_that_wants_a_gradient_is_refused(loss):
    with pytest.raises(ValueError, match=r"target of a loss is a constant.*detach\(\) it"):
        loss(tensor(np.zeros((2, 2))), tensor(np.zeros((2, 2)), requires_grad=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_constants_is_a_constant(loss):
    target = np.array([0, 1]) if loss is cross_entropy else np.zeros((2, 3))
    out = loss(tensor(np.zeros((2, 3))), target)
    assert (out.shape, out.requires_grad) == ((), False)


# ---------------------------------------------------------------- the last digits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("error")
def test_binary_cross_entropy_is_exact_in_both_tails(dtype):
    points = exact.points(dtype)
    x = tensor(points, requires_grad=True)

    def found(target):  # each element's loss by itself, so that no sum hides it
        losses = binary_cross_entropy_per_task(x.reshape(1, -1), np.full((1, len(points)), target, dtype))
        return losses.data, grad(losses.sum(), x)[0]

    losses, gradient = found(0)
    assert exact.ulps(losses, [-exact.log_sigmoid(-p) for p in points]) < 4
    assert exact.ulps(gradient, [exact.sigmoid(p) for p in points]) < 4
    losses, gradient = found(1)
    assert exact.ulps(losses, [-exact.log_sigmoid(p) for p in points]) < 4
    assert exact.ulps(gradient, [-exact.sigmoid(-p) for p in points]) < 4
    losses, _ = found(0.25)
    right = [-exact.log_sigmoid(p) / 4 - 3 * exact.log_sigmoid(-p) / 4 for p in points]
    assert exact.ulps(losses, right) < 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("label", [0, 1])
def test_cross_entropy_is_exact_in_both_tails(dtype, label):
    """Of two classes: a label that is right by p has the loss ln(1 + e^−p)."""
    points = exact.points(dtype)
    points = points[np.isfinite(points)]
    logits = np.stack([points, np.zeros_like(points)] if label == 0 else [np.zeros_like(points), points], axis=1)
    x = tensor(logits.reshape(1, -1), requires_grad=True)  # every row a task, so that no mean hides it
    losses = cross_entropy_per_task(x, np.full((1, len(points)), label))
    gradient = grad(losses.sum(), x)[0].reshape(-1, 2)
    assert exact.ulps(losses.data, [-exact.log_sigmoid(p) for p in points]) < 4
    assert exact.ulps(gradient[:, label], [-exact.sigmoid(-p) for p in points]) < 4
    assert exact.ulps(gradient[:, 1 - label], [exact.sigmoid(-p) for p in points]) < 4


def test_an_infinite_logit_of_a_missing_number_is_not_hidden():
    losses = binary_cross_entropy_per_task(tensor([[np.inf, -np.inf, np.nan, 0.0]]), np.array([[1.0, 1.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(losses.data[:3], [0.0, np.inf, np.nan])


# ---------------------------------------------------------------- what is not labelled does not count


def masked(target):
    """Row 1 is missing, in each of the ways to say so."""
    gone = np.isnan(target)
    yield target
    yield target.astype(np.float32)
    yield np.ma.masked_array(np.where(gone, 7, target).astype(int), gone)
    yield [None if value != value else value for value in target.tolist()]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_missing_target_is_left_out_of_value_and_gradient(loss):
    rng = np.random.default_rng(7)
    prediction = rng.standard_normal((5, 3) if loss is cross_entropy else (5,))
    target = np.array([1.0, np.nan, 0.0, 1.0, np.nan])
    value, g = value_and_gradient(loss, prediction[[0, 2, 3]], np.array([1, 0, 1]))
    for given in masked(target):
        found, h = value_and_gradient(loss, prediction, given)
        assert found == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(h[[0, 2, 3]], g, rtol=1e-13, atol=1e-16)
        assert not h[[1, 4]].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_make_a_weighted_mean(loss):
    rng = np.random.default_rng(8)
    prediction = rng.standard_normal((4, 3) if loss is cross_entropy else (4,))
    target, weights = np.array([1, 0, 1, 1]), np.array([0.5, 2.0, 0.0, 1.5])
    value, g = value_and_gradient(lambda p, t: loss(p, t, weights), prediction, target)
    parts = [value_and_gradient(loss, prediction[n : n + 1], target[n : n + 1]) for n in range(4)]
    assert value == pytest.approx(sum(w * part for w, (part, _) in zip(weights, parts, strict=True)) / 4, rel=1e-14)
    for n, (_, h) in enumerate(parts):
        np.testing.assert_allclose(g[n], weights[n] / 4 * h[0], rtol=1e-13, atol=1e-16)
    equal, h = value_and_gradient(lambda p, t: loss(p, t, np.full(4, 0.3)), prediction, target)
    plain, g = value_and_gradient(loss, prediction, target)
    assert equal == pytest.approx(plain, rel=1e-14)
    np.testing.assert_allclose(h, g, rtol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_stands_at_a_weight_of_0_is_not_looked_at(loss):
    prediction = np.array([[0.5, -1.0], [1e200, 2.0]]) if loss is cross_entropy else np.array([0.5, 1e200])
    value, _ = value_and_gradient(loss, prediction[:1], [1])
    for odd in (-1, 99, np.nan, np.inf):
        found, g = value_and_gradient(lambda p, t: loss(p, t, [1, 0]), prediction, [1, odd])
        assert found == pytest.approx(value, rel=1e-14)
        assert np.isfinite(g).all() and not g[1].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_that_cannot_be(loss):
    x = tensor(np.zeros((2, 2) if loss is cross_entropy else 2))
    for weights, message in (
        ([1, -1], "weights are finite numbers of at least 0"),
        ([1, np.inf], "weights are finite"),
        ([1, np.nan], "weights are finite"),
        ([1, 1, 1], r"weights of shape \(3,\) for a target of shape \(2,\)"),
        ([0, 0], "nothing is labelled"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(x, [0, 1], weights)
    with pytest.raises(ValueError, match="nothing is labelled"):
        loss(x, [np.nan, None])
    with pytest.raises(TypeError, match=f"{loss.__name__}: the array of weights holds text"):
        loss(x, [0, 1], ["1", "2"])


def test_a_column_of_targets_may_have_gaps():
    column = tensor(np.array([[0.5], [2.0], [3.0]]), requires_grad=True)
    out = mse_loss(column, [[1.0], [np.nan], [1.0]])
    assert out.item() == (0.25 + 4.0) / 2
    assert grad(out, column)[0].tolist() == [[-0.5], [0.0], [2.0]]
    labels = cross_entropy(tensor(np.zeros((3, 2))), [[1], [None], [0]])
    assert labels.item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("together", [cross_entropy_per_task, binary_cross_entropy_per_task])
def test_per_task_weights_are_each_tasks_own(together):
    rng = np.random.default_rng(9)
    one, width = (cross_entropy, 3) if together is cross_entropy_per_task else (binary_cross_entropy_with_logits, 1)
    x = tensor(rng.standard_normal((6, 4 * width)), requires_grad=True)
    targets = rng.integers(0, 2, (6, 4))
    weights = rng.random((6, 4)) * (rng.random((6, 4)) < 0.6)
    weights[0] = 1.0
    losses = together(x, targets, weights)
    columns = [x[:, k * width : (k + 1) * width] for k in range(4)]
    separate = [one(columns[k], targets[:, k], weights[:, k]) for k in range(4)]
    np.testing.assert_allclose(losses.data, [loss.item() for loss in separate], rtol=1e-13)
    seeds = rng.standard_normal(4)
    np.testing.assert_allclose(
        grad(losses, x, [seeds])[0], grad(separate, x, list(seeds))[0], rtol=1e-12, atol=1e-16
    )
    weights[:, 2] = 0.0
    with pytest.raises(ValueError, match="nothing is labelled"):
        together(x, targets, weights)


def test_a_loss_of_ones_own_gets_the_labelled_rows():
    got = []

    def own(prediction, target):
        got.append((prediction.data.tolist(), target.tolist()))
        return (prediction * prediction).mean()

    p = tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    out = loss_of_labelled(own, p, np.array([5.0, 0.0, 7.0]), np.array([1.0, 0.0, 1.0]))
    assert got == [([[0.0, 1.0], [4.0, 5.0]], [5.0, 7.0])]
    assert grad(out, p)[0].tolist() == [[0.0, 0.5], [0.0, 0.0], [2.0, 2.5]]
    with pytest.raises(ValueError, match="nothing is labelled"):
        loss_of_labelled(own, p, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="a row is labelled in part"):
        loss_of_labelled(own, p, np.zeros((3, 2)), np.array([[1.0, 1], [1, 0], [0, 0]]))
    whole = np.array([[1.0, 1], [0, 0], [1, 1]])
    loss_of_labelled(own, p, np.ones((3, 2)), whole)
    assert got[-1][1] == [[1.0, 1.0], [1.0, 1.0]]
    in_part = np.array([[1.0, 1], [1, 0], [0, 0]])
    assert loss_of_labelled(mse_loss, p, np.zeros((3, 2)), in_part).item() == pytest.approx(5 / 3)
