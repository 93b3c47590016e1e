"""SGD and Adam against a slow transcription of PyTorch's documented definitions, and numbers worked by hand."""

import math

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.nn import Parameter

SHAPES = [(3, 2), (4,), (), (0, 3), (1, 1, 2)]
STEPS = 50


def start(rng, dtype=np.float64):
    return [tm.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype) for shape in SHAPES]


def some_gradients(rng):
    """Gradients of different scales, some elements 0 for a while."""

    def one(shape):
        return np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape) * (rng.random(shape) > 0.2))

    return [[one(shape) for shape in SHAPES] for _ in range(STEPS)]


# The algorithm boxes of torch.optim.SGD and torch.optim.Adam (PyTorch 2 documentation), one number at a time.


def torch_sgd(theta, gradients, lr, mu, decay):
    b = None
    for t, g in enumerate(gradients, start=1):
        g = g + decay * theta
        if mu != 0:
            b = mu * b + g if t > 1 else g
            g = b
        theta = theta - lr * g
    return theta


def torch_adam(theta, gradients, lr, betas, eps, decay):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        g = g + decay * theta
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = m / (1 - betas[0] ** t)
        v_hat = v / (1 - betas[1] ** t)
        theta = theta - lr * m_hat / (math.sqrt(v_hat) + eps)
    return theta


def number_by_number(rule, before, gradients, *options):
    """`rule` applied to every element of every array by itself."""
    after = []
    for i, array in enumerate(before):
        out = np.empty_like(array)
        for place in np.ndindex(array.shape):
            out[place] = rule(float(array[place]), [float(g[i][place]) for g in gradients], *options)
        after.append(out)
    return after


def compare(optimizer, rule, *options):
    rng = np.random.default_rng(0)
    parameters, gradients = start(rng), some_gradients(rng)
    before = [p.data.copy() for p in parameters]
    arrays = [p.data for p in parameters]
    state = optimizer.init(parameters)
    for g in gradients:
        for array in g:
            array.flags.writeable = False  # a rule reads gradients
        optimizer.update(parameters, g, state)
    for p, array, expected in zip(
        parameters, arrays, number_by_number(rule, before, gradients, *options), strict=True
    ):
        assert p.data is array  # in place
        np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd_is_pytorchs(momentum, decay):
    compare(tm.SGD(0.05, momentum, decay), torch_sgd, 0.05, momentum, decay)


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.7), 1e-3), ((0.0, 0.0), 1e-8)])
def test_adam_is_pytorchs(betas, eps, decay):
    compare(tm.Adam(0.02, betas, eps, decay), torch_adam, 0.02, betas, eps, decay)


def test_the_defaults_are_pytorchs():
    adam, sgd = tm.Adam(), tm.SGD(0.1)
    assert (adam.lr, adam.betas, adam.eps, adam.weight_decay) == (1e-3, (0.9, 0.999), 1e-8, 0.0)
    assert (sgd.momentum, sgd.weight_decay) == (0.0, 0.0)


# ---------------------------------------------------------------- by hand


def walk(optimizer, gradients, state=None):
    """Where θ = 0 goes, one gradient after another."""
    theta = tm.tensor(np.zeros(1), requires_grad=True)
    state = state or optimizer.init([theta])
    places = []
    for g in gradients:
        optimizer.update([theta], [np.array([float(g)])], state)
        places.append(theta.data[0])
    return np.array(places)


def test_momentum_by_hand():
    # v: 1, 1.5, 1.75; with decay 0.1: g + 0.1 θ
    np.testing.assert_allclose(walk(tm.SGD(0.1, momentum=0.5), [1, 1, 1]), [-0.1, -0.25, -0.425], rtol=1e-14)
    v1 = 1.0
    v2 = 0.5 * v1 + (1 + 0.1 * -0.1)
    expected = [-0.1, -0.1 - 0.1 * v2]
    np.testing.assert_allclose(walk(tm.SGD(0.1, momentum=0.5, weight_decay=0.1), [1, 1]), expected, rtol=1e-14)


@pytest.mark.parametrize("g", [1e-3, 1.0, -5.0, 1e6])
def test_with_a_constant_gradient_every_adam_step_is_lr_times_its_sign(g):
    expected = -0.01 * np.sign(g) * np.arange(1, 101)
    np.testing.assert_allclose(walk(tm.Adam(0.01, eps=0.0), [g] * 100), expected, rtol=1e-12)


def test_adam_is_free_of_the_gradients_scale():
    gradients = np.random.default_rng(0).standard_normal(60)
    places = walk(tm.Adam(0.01, eps=0.0), gradients)
    np.testing.assert_array_equal(walk(tm.Adam(0.01, eps=0.0), gradients * 1024), places)  # a power of two: every bit
    np.testing.assert_allclose(walk(tm.Adam(0.01), gradients * 1000), walk(tm.Adam(0.01), gradients), atol=1e-8)


def test_shared_moments_by_hand():
    """Gradients 100 and −1 in turn, one memory: the second task is not heard on its own turn."""
    places = walk(tm.Adam(0.1, eps=0.0), [100, -1] * 20)
    np.testing.assert_allclose(places[[0, 1, 2, 5]], [-0.1, -0.166258, -0.247650, -0.457394], atol=5e-7)
    second_turns = np.diff(places)[::2]
    by_hand = -0.1 * ((0.9 * 100 - 1) / 1.9) / np.sqrt((0.999 * 100**2 + 1) / 1.999)
    np.testing.assert_allclose(second_turns, by_hand, rtol=1e-11)


def test_a_memory_per_task_by_hand():
    theta = tm.tensor(np.zeros(1), requires_grad=True)
    adam = tm.Adam(0.1, eps=0.0)
    memories = [adam.init([theta]), adam.init([theta])]
    places = []
    for turn in range(6):
        adam.update([theta], [np.array([100.0, -1.0])[turn % 2 : turn % 2 + 1]], memories[turn % 2])
        places.append(theta.data[0])
    np.testing.assert_allclose(places, [-0.1, 0, -0.1, 0, -0.1, 0], atol=1e-15)
    assert [m.t for m in memories] == [3, 3]


# ---------------------------------------------------------------- memories are values


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1, momentum=0.9), tm.Adam(0.1)])
def test_a_copy_shares_nothing_and_goes_on_alike(optimizer):
    rng = np.random.default_rng(0)
    parameters, gradients = start(rng), some_gradients(rng)
    state = optimizer.init(parameters)
    optimizer.update(parameters, gradients[0], state)
    twins = [tm.tensor(p.data, requires_grad=True) for p in parameters]
    copy = state.copy()
    for name, value in vars(state).items():
        for a, b in zip(value, getattr(copy, name), strict=True) if isinstance(value, list) else []:
            assert not np.shares_memory(a, b)
    for g in gradients[1:5]:
        optimizer.update(parameters, g, state)
    for g in gradients[1:5]:
        optimizer.update(twins, g, copy)  # the first run has not touched the copy
    for p, q in zip(parameters, twins, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_two_memories_of_one_rule_are_independent():
    adam = tm.Adam(0.1)
    alone = walk(adam, [1, -2, 3, -4])
    theta = tm.tensor(np.zeros(1), requires_grad=True)
    mine, others = adam.init([theta]), adam.init([theta])
    places = []
    for g in (1.0, -2.0, 3.0, -4.0):
        adam.update([theta], [np.array([g])], mine)
        places.append(theta.data[0])
        kept = theta.data.copy()
        adam.update([theta], [np.array([1000.0])], others)
        theta.data[:] = kept
    np.testing.assert_array_equal(places, alone)


def test_a_memory_at_rest():
    parameters = start(np.random.default_rng(0))
    assert tm.SGD(0.1).init(parameters).velocity == []
    for memory in (tm.SGD(0.1, momentum=0.5).init(parameters).velocity, *vars(tm.Adam().init(parameters)).values()):
        if memory == 0:  # Adam's t
            continue
        assert [a.shape for a in memory] == SHAPES
        assert not any(a.any() for a in memory)
    state = tm.Adam().init(parameters)
    assert not any(np.shares_memory(m, v) for m, v in zip(state.m, state.v, strict=True))


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1), tm.SGD(0.1, 0.9, 0.01), tm.Adam(0.1, weight_decay=0.01)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gradient_dtype", [np.float32, np.float64])
def test_dtypes_are_the_parameters(optimizer, dtype, gradient_dtype):
    rng = np.random.default_rng(0)
    parameters = start(rng, dtype)
    state = optimizer.init(parameters)
    for g in some_gradients(rng)[:3]:
        optimizer.update(parameters, [a.astype(gradient_dtype) for a in g], state)
    arrays = [p.data for p in parameters] + [a for v in vars(state).values() if isinstance(v, list) for a in v]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}


def test_parameters_of_a_model_are_updated_in_its_vector():
    model = tm.SharedBottom(tm.nn.MLP([3, 2]), [tm.Task("a", tm.nn.Linear(2, 2), tm.cross_entropy)])
    before = model.vector.data.copy()
    parameters = [p for p in model.shared_parameters() if isinstance(p, Parameter)]
    sgd = tm.SGD(0.5)
    sgd.update(parameters, [np.ones(p.shape, np.float32) for p in parameters], sgd.init(parameters))
    np.testing.assert_array_equal(model.vector.data[:8], before[:8] - np.float32(0.5))
    np.testing.assert_array_equal(model.vector.data[8:], before[8:])
    adam = tm.Adam(0.5, eps=0.0)
    adam.update([model.vector], [np.ones(14, np.float32)], adam.init([model.vector]))
    np.testing.assert_allclose(model.shared_parameters()[1].data, before[6:8] - 1.0, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1), tm.SGD(0.1, momentum=0.9), tm.Adam(0.1, eps=0.0)])
def test_a_single_number_learns_even_where_numpy_made_it_a_scalar(optimizer):
    w = tm.tensor(1.0, requires_grad=True, dtype="float64")
    w.data = w.data - 0.25
    assert isinstance(w.data, np.generic)
    optimizer.update([w], [np.array(1.0)], optimizer.init([w]))
    assert w.item() == pytest.approx(0.65, abs=1e-15)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1), tm.SGD(0.1, momentum=0.9), tm.Adam(0.1)])
@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([np.ones(2)], "2 parameters need as many gradients, 1 given"),
        ([np.ones(2), np.ones(3), np.ones(3)], "2 parameters need as many gradients, 3 given"),
        ([np.ones(2), np.ones((3, 1))], r"parameter 1 has shape \(3,\), its gradient \(3, 1\)"),
        ([np.ones(2), np.ones(1)], r"parameter 1 has shape \(3,\), its gradient \(1,\)"),
        ([np.ones(2), np.ones(())], r"parameter 1 has shape \(3,\), its gradient \(\)"),
    ],
)
def test_gradients_that_do_not_fit_move_nothing(optimizer, gradients, message):
    parameters = [tm.tensor(np.zeros(2), requires_grad=True), tm.tensor(np.zeros(3), requires_grad=True)]
    state = optimizer.init(parameters)
    with pytest.raises(ValueError, match=message):
        optimizer.update(parameters, gradients, state)
    unmoved(parameters, state)


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1, momentum=0.9), tm.Adam(0.1)])
@pytest.mark.parametrize("shapes", [[(2,)], [(2,), (3,), (3,)], [(2,), (3, 1)], [(2,), (1,)], [(3,), (2,)]])
def test_anothers_memory_moves_nothing(optimizer, shapes):
    parameters = [tm.tensor(np.zeros(2), requires_grad=True), tm.tensor(np.zeros(3), requires_grad=True)]
    state = optimizer.init([tm.tensor(np.zeros(s), requires_grad=True) for s in shapes])
    with pytest.raises(ValueError, match=r"this memory was made for other parameters: .* init\(parameters\)"):
        optimizer.update(parameters, [np.ones(2), np.ones(3)], state)
    unmoved(parameters, state)


def unmoved(parameters, state):
    assert not any(p.data.any() for p in parameters)
    for value in vars(state).values():
        assert value == 0 if isinstance(value, int) else not any(a.any() for a in value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tm.SGD(-0.1), "lr must be a finite number, 0 or more; got -0.1"),
        (lambda: tm.SGD(float("nan")), "lr must be a finite number, 0 or more; got nan"),
        (lambda: tm.SGD(0.1, momentum=-1), "momentum must be .* got -1"),
        (lambda: tm.SGD(0.1, weight_decay=float("inf")), "weight_decay must be .* got inf"),
        (lambda: tm.Adam(-1.0), "lr must be .* got -1.0"),
        (lambda: tm.Adam(eps=-1e-8), "eps must be .* got -1e-08"),
        (lambda: tm.Adam(weight_decay=-1.0), "weight_decay must be .* got -1.0"),
        (lambda: tm.Adam(betas=(1.0, 0.9)), r"Adam's betas lie in \[0, 1\), got \(1.0, 0.9\)"),
        (lambda: tm.Adam(betas=(0.9, -0.1)), r"Adam's betas lie in \[0, 1\), got \(0.9, -0.1\)"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_repr_says_how_to_make_it():
    for text in (
        "SGD(lr=0.1, momentum=0.9, weight_decay=0.0)",
        "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)",
    ):
        assert repr(eval(f"tm.{text}")) == text


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1, momentum=0.9), tm.Adam(0.1)])
def test_a_memory_of_another_dtype_moves_nothing(optimizer):
    parameters = [tm.tensor(np.zeros(2), requires_grad=True)]
    state = optimizer.init([tm.tensor([0.0, 0.0], requires_grad=True)])
    with pytest.raises(ValueError, match=r"after model.to, make the step anew"):
        optimizer.update(parameters, [np.ones(2)], state)
    unmoved(parameters, state)
