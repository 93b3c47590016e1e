"""SGD, Adam and AdamW against a slow transcription of PyTorch's documented definitions, and numbers worked by hand."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.nn import Parameter
from tinymtl.optim import clipped, clipped_together

SHAPES = [(3, 2), (4,), (), (0, 3), (1, 1, 2)]
STEPS = 50


def start(rng, dtype=np.float64):
    return [tm.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype) for shape in SHAPES]


def some_gradients(rng):
    """Gradients of different scales, some elements 0 for a while."""

    def one(shape):
        return np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape) * (rng.random(shape) > 0.2))

    return [[one(shape) for shape in SHAPES] for _ in range(STEPS)]


# The algorithm boxes of torch.optim.SGD, Adam and AdamW (PyTorch 2 documentation), one number at a time.


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


def torch_adamw(theta, gradients, lr, betas, eps, decay):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        rate = lr(t) if callable(lr) else lr
        theta = theta - rate * decay * theta
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = m / (1 - betas[0] ** t)
        v_hat = v / (1 - betas[1] ** t)
        theta = theta - rate * m_hat / (math.sqrt(v_hat) + eps)
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
    for p, array, expected in zip(parameters, arrays, number_by_number(rule, before, gradients, *options), strict=True):
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


@pytest.mark.parametrize("decay", [0.0, 0.01, 2.0])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.7), 1e-3)])
def test_adamw_is_pytorchs(betas, eps, decay):
    compare(tm.AdamW(0.02, betas, eps, decay), torch_adamw, 0.02, betas, eps, decay)


def test_adamw_decays_by_the_rate_of_the_update():
    betas = (0.9, 0.999)
    compare(tm.AdamW(falling, weight_decay=0.5), torch_adamw, falling, betas, 1e-8, 0.5)


def test_the_optimizers_of_pytorch_itself():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(20), rng.standard_normal((30, 20)) * 10.0 ** rng.integers(-3, 3, (30, 20))
    for options in ({"lr": 0.02}, {"lr": 0.02, "weight_decay": 0.3, "betas": (0.5, 0.7), "eps": 1e-3}):
        for ours, theirs in ((tm.Adam, torch.optim.Adam), (tm.AdamW, torch.optim.AdamW)):
            p, q = tm.tensor(start), torch.tensor(start, requires_grad=True)
            rule, other = ours(**options, clip_norm=5.0), theirs([q], **options)
            memory = rule.init([p])
            for g in gradients:
                rule.update([p], [g], memory)
                q.grad = torch.tensor(g)
                torch.nn.utils.clip_grad_norm_([q], 5.0)
                other.step()
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_the_defaults_are_pytorchs():
    adam, sgd, adamw = tm.Adam(), tm.SGD(0.1), tm.AdamW()
    assert (adam.lr, adam.betas, adam.eps, adam.weight_decay) == (1e-3, (0.9, 0.999), 1e-8, 0.0)
    assert (adamw.lr, adamw.betas, adamw.eps, adamw.weight_decay) == (1e-3, (0.9, 0.999), 1e-8, 0.01)
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


# ---------------------------------------------------------------- a learning rate that changes


def falling(t):
    return 0.1 / t


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}])
def test_sgd_takes_the_rate_of_each_update(options):
    gradients = [3.0, -1.0, 2.0, 0.5]
    theta, v, expected = 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        v = options.get("momentum", 0.0) * v + g
        theta -= 0.1 / t * v
        expected.append(theta)
    np.testing.assert_allclose(walk(tm.SGD(falling, **options), gradients), expected, rtol=1e-14)


@pytest.mark.parametrize("make", [tm.SGD, lambda lr: tm.SGD(lr, momentum=0.9), tm.Adam, tm.AdamW])
def test_the_function_is_asked_once_per_update_for_1_2_3(make):
    asked = []

    def rate(t):
        asked.append(t)
        return 0.01

    places = walk(make(rate), [1, -2, 3])
    assert asked == [1, 2, 3]
    np.testing.assert_array_equal(places, walk(make(0.01), [1, -2, 3]))  # a constant function is the number


@pytest.mark.parametrize("make", [tm.SGD, tm.Adam, tm.AdamW])
def test_every_memory_counts_its_own_updates(make):
    theta, rule = tm.tensor(np.zeros(1), requires_grad=True), make(falling)
    memories = [rule.init([theta]) for _ in range(2)]
    for which in (0, 1, 1):
        rule.update([theta], [np.ones(1)], memories[which])
    assert [m.t for m in memories] == [1, 2]
    copy = memories[1].copy()
    assert copy.t == 2
    before = theta.data.copy()
    rule.update([theta], [np.zeros(1) if make is tm.SGD else np.ones(1)], copy)
    assert (copy.t, memories[1].t) == (3, 2)
    if make is tm.Adam:  # with a constant gradient Adam's step is the rate: 0.1 / 3
        np.testing.assert_allclose(before - theta.data, 0.1 / 3, rtol=1e-7)


@pytest.mark.parametrize(
    "rule",
    [tm.SGD(0.1), tm.SGD(0.1, momentum=0.9), tm.Adam(0.1), tm.AdamW(0.1)],
    ids=["SGD", "momentum", "Adam", "AdamW"],
)
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        (-0.1, ValueError),
        ("0.1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.array([0.1]), TypeError),
        (0.1j, TypeError),
        (tm.tensor(0.1), TypeError),
    ],
    ids=repr,
)
def test_a_rate_that_is_none_moves_nothing(rule, bad, error):
    theta = tm.tensor(np.ones(2), requires_grad=True)
    memory = rule.init([theta])
    rule.update([theta], [np.ones(2)], memory)
    before, kept = theta.data.copy(), memory.copy()
    rule.lr = lambda t: bad
    with pytest.raises(error, match="the learning rate of update 2 must be a finite number, 0 or more; got "):
        rule.update([theta], [np.ones(2)], memory)
    rule.lr = 0.1
    np.testing.assert_array_equal(theta.data, before)
    assert repr(memory) == repr(kept)


def test_a_rate_may_be_any_kind_of_number_and_0():
    for rate in (np.float32(0.5), np.float64(0.5), 0, 1, np.int64(1)):
        assert walk(tm.SGD(lambda t, rate=rate: rate), [1.0])[0] == -float(rate)
        p = tm.tensor([1.0], requires_grad=True)
        tm.SGD(lambda t, rate=rate: rate).update([p], [np.ones(1, np.float32)], tm.SGD(0.1).init([p]))
        assert p.dtype == np.float32


def test_a_task_whose_rate_cannot_be_undoes_the_turns_before_it():
    """The second task's memory is asked for update 1 as the first's is; its refusal takes the first one's turn back."""
    problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.0])
    rates = iter([0.1, math.nan])
    step = tm.Alternating(problem, tm.SGD(lambda t: next(rates)))
    with pytest.raises(ValueError, match="the learning rate of update 1"):
        step()
    assert problem.theta.data[0] == 0.0


def test_alternating_with_a_memory_per_task_counts_turns_and_one_memory_counts_updates():
    def asked(**options):
        seen = []
        problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.0])
        step = tm.Alternating(problem, tm.SGD(lambda t: seen.append(t) or 0.1), **options)
        step(), step()
        return seen

    assert asked() == [1, 1, 2, 2]
    assert sorted(set(asked(moments="shared"))) == [1, 2, 3, 4]


# ---------------------------------------------------------------- clipping


def some_clipped(gradients, clip_norm):
    """By hand: one number after another."""
    norm = math.sqrt(math.fsum(float(x) ** 2 for g in gradients for x in g.reshape(-1)))
    return [g * min(1.0, clip_norm / (norm + 1e-6)) for g in gradients]


@pytest.mark.parametrize("clip_norm", [0.5, 3.0, 1e9])
@pytest.mark.parametrize(
    "make", [lambda **o: tm.SGD(0.1, 0.9, 0.01, **o), lambda **o: tm.Adam(0.1, eps=1e-2, **o), tm.AdamW]
)
def test_a_clipped_update_is_the_update_with_clipped_gradients(make, clip_norm):
    rng = np.random.default_rng(0)
    parameters, gradients = start(rng), some_gradients(rng)[:6]
    twins = [tm.tensor(p.data, requires_grad=True) for p in parameters]
    rule, plain = make(clip_norm=clip_norm), make()
    memory, other = rule.init(parameters), plain.init(twins)
    for g in gradients:
        for array in g:
            array.flags.writeable = False
        rule.update(parameters, g, memory)
        plain.update(twins, some_clipped(g, clip_norm), other)
    for p, q in zip(parameters, twins, strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12, atol=1e-13)


def test_the_norm_is_over_all_gradients_of_an_update_and_small_ones_are_left_alone():
    p, q = (tm.tensor(np.zeros(1), requires_grad=True) for _ in "pq")
    sgd = tm.SGD(1.0, clip_norm=1.0)
    sgd.update([p, q], [np.array([3.0]), np.array([4.0])], sgd.init([p, q]))
    np.testing.assert_allclose([p.item(), q.item()], [-3 / (5 + 1e-6), -4 / (5 + 1e-6)], rtol=1e-14)
    p.data[:], q.data[:] = 0.0, 0.0
    sgd.update([p, q], [np.array([0.3]), np.array([0.4])], sgd.init([p, q]))
    assert [p.item(), q.item()] == [-0.3, -0.4]  # bit for bit


def test_clipped_gradients_keep_their_dtype():
    for dtype in (np.float32, np.float64):  # a kernel takes arrays of one dtype
        assert [g.dtype for g in clipped([np.ones(2, dtype), np.ones((), dtype)], 0.5)] == [dtype, dtype]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_float32_gradients_of_any_size_keep_their_direction(size):
    p = tm.tensor(np.zeros(2, np.float32), requires_grad=True)
    sgd = tm.SGD(1.0, clip_norm=1.0)
    sgd.update([p], [np.array([3, -4], np.float32) * np.float32(size)], sgd.init([p]))
    assert p.dtype == np.float32
    expected = [-0.6, 0.8] if size > 1 else [-3e-30, 4e-30]
    np.testing.assert_allclose(p.data, expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_a_norm_that_is_not_finite_moves_nothing(bad):
    for rule in (tm.SGD(0.1, momentum=0.9, clip_norm=1.0), tm.Adam(0.1, clip_norm=1.0)):
        p = tm.tensor(np.zeros(2), requires_grad=True)
        memory = rule.init([p])
        with pytest.raises(
            FloatingPointError, match="the norm of the gradients is (nan|inf), which clip_norm cannot scale"
        ):
            rule.update([p], [np.array([1.0, bad])], memory)
        unmoved([p], memory)


def test_nothing_to_clip():
    sgd = tm.SGD(1.0, clip_norm=1.0)
    sgd.update([], [], sgd.init([]))
    p = tm.tensor(np.ones(2), requires_grad=True)
    sgd.update([p], [np.zeros(2)], sgd.init([p]))
    assert p.data.tolist() == [1.0, 1.0]


def two_tasks():
    heads = [tm.Task(n, tm.nn.Linear(4, 2, rng=k), tm.cross_entropy) for k, n in enumerate("ab")]
    return tm.SharedBottom(tm.nn.MLP([3, 4]), heads).to("float64")


def moved(make, clip_norm=None):
    """What one step with rate 1 adds to the parameters; its parts are the trunk's and the two heads'."""
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.random.default_rng(1).integers(0, 2, (8, 2))
    model = two_tasks()
    before = model.vector.data.copy()
    make(model, tm.SGD(1.0, clip_norm=clip_norm))(x, y)
    return model.vector.data - before, [model.layout.trunk, *model.layout.heads]


@pytest.mark.parametrize("make", [tm.Averaged, tm.MGDA, tm.MGDAUB], ids=lambda make: make.__name__)
def test_a_step_is_clipped_by_the_norm_of_the_whole_models_gradient(make):
    g, _ = moved(make)
    found, _ = moved(make, 0.01)
    np.testing.assert_allclose(found, g * 0.01 / (np.linalg.norm(g) + 1e-6), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("memories", ["per-task", "shared"])
def test_a_turn_is_clipped_by_the_norm_of_its_trunk_and_head(memories):
    class Once(tm.Alternating):
        def groups(self):
            return [[0]]

    make = lambda model, rule: Once(model, rule, memories)  # noqa: E731
    g, (trunk, head, other) = moved(make)
    found, _ = moved(make, 0.01)
    np.testing.assert_allclose(found, g * 0.01 / (np.linalg.norm(g) + 1e-6), rtol=1e-12, atol=1e-15)
    assert found[trunk].any() and found[head].any() and not found[other].any()


def test_the_parts_of_a_turn_are_clipped_once():
    """Twice would not be the same: 1e-6 is added to the norm each time, and one part may be nearly all of it."""
    sgd, parts = tm.SGD(1.0, clip_norm=1e-6), [np.array([3e-6]), np.zeros(1)]
    rule, found = clipped_together(sgd, parts)
    p = tm.tensor(np.zeros(1))
    rule.update([p], found[:1], rule.init([p]))
    np.testing.assert_allclose(p.data, -3e-6 * 1e-6 / 4e-6, rtol=1e-12)
    assert sgd.clip_norm == 1e-6


def test_one_group_of_all_tasks_is_clipped_as_the_averaged_step():
    found, _ = moved(lambda model, rule: tm.RandomGrouped(model, rule, 2), 0.01)
    np.testing.assert_allclose(found, moved(tm.Averaged, 0.01)[0], rtol=1e-12, atol=1e-15)


def test_with_a_memory_per_task_a_groups_tasks_are_clipped_apart():
    """Each task's gradient of half the sum, trunk and head, is at most 0.01 long: as optimizers of their own."""
    found, (trunk, *heads) = moved(lambda model, rule: tm.RandomGrouped(model, rule, 2, moments="per-task"), 0.01)
    expected = np.zeros_like(found)
    for k, head in enumerate(heads):
        g, _ = moved(lambda model, rule, k=k: tm.Averaged(model, rule, weights=np.eye(2)[k] / 2, reduction="sum"))
        expected[trunk] += g[trunk] * 0.01 / (np.linalg.norm(g) + 1e-6)
        expected[head] += g[head] * 0.01 / (np.linalg.norm(g) + 1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_a_step_with_an_optimizer_of_ones_own_is_left_to_it():
    class Own:
        clip_norm = 1e-3  # means what its author says

        def init(self, parameters):
            return {}

        def update(self, parameters, gradients, memory):
            for p, g in zip(parameters, gradients, strict=True):
                p.data -= g

    np.testing.assert_array_equal(moved(lambda m, _: tm.Alternating(m, Own()))[0], moved(tm.Alternating)[0])


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
        if memory == 0:  # t
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
        (lambda: tm.SGD(0.1, momentum=-1), r"momentum must be a number in \[0, 1\); got -1"),
        (lambda: tm.SGD(0.1, momentum=1.5), r"momentum must be a number in \[0, 1\); got 1.5"),
        (lambda: tm.SGD(0.1, weight_decay=float("inf")), "weight_decay must be .* got inf"),
        (lambda: tm.Adam(-1.0), "lr must be .* got -1.0"),
        (lambda: tm.Adam(eps=-1e-8), "eps must be .* got -1e-08"),
        (lambda: tm.Adam(weight_decay=-1.0), "weight_decay must be .* got -1.0"),
        (lambda: tm.Adam(betas=(1.0, 0.9)), r"betas\[0\] must be a number in \[0, 1\); got 1.0"),
        (lambda: tm.Adam(betas=(0.9, -0.1)), r"betas\[1\] must be a number in \[0, 1\); got -0.1"),
        (lambda: tm.Adam(betas=(0.9,)), r"betas must be a pair of numbers in \[0, 1\); got \(0.9,\)"),
        (lambda: tm.Adam(betas=(0.9, 0.9, 0.9)), "betas must be a pair of numbers"),
        (lambda: tm.AdamW(betas={0.9, 0.99}), "betas must be a pair of numbers"),
        (lambda: tm.SGD(0.1, clip_norm=0), "clip_norm=0 would stop every update: give a number above 0, or None"),
        (lambda: tm.Adam(clip_norm=-1.0), "clip_norm must be a finite number, 0 or more; got -1.0"),
        (lambda: tm.AdamW(clip_norm=math.nan), "clip_norm must be .* got nan"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tm.SGD("0.1"),
        lambda: tm.SGD(True),
        lambda: tm.SGD(None),
        lambda: tm.Adam(betas=(0.9, "0.99")),
        lambda: tm.Adam(eps=None),
        lambda: tm.AdamW(weight_decay=[0.1]),
        lambda: tm.SGD(0.1, clip_norm="1"),
    ],
)
def test_settings_that_are_no_numbers(make):
    with pytest.raises(TypeError, match="must be a .*number.*; got "):
        make()


@dataclass
class Warmup:
    steps: int

    def __call__(self, t):
        return min(1.0, t / self.steps)


class Plain:
    def __call__(self, t):
        return 0.1


def test_repr_says_how_to_make_it():
    for text in (
        "SGD(lr=0.1, momentum=0.9, weight_decay=0.0)",
        "SGD(lr=falling, momentum=0.0, weight_decay=0.0, clip_norm=2.0)",
        "SGD(lr=Warmup(steps=10), momentum=0.0, weight_decay=0.0)",
        "SGD(lr=partial(falling, t=2), momentum=0.0, weight_decay=0.0)",
        "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)",
        "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, clip_norm=1.0)",
    ):
        name, arguments = text.split("(", 1)
        names = {"falling": falling, "Warmup": Warmup, "partial": functools.partial, "rule": getattr(tm, name)}
        assert repr(eval(f"rule({arguments}", names)) == text


def test_repr_of_a_nameless_rate_holds_no_address():
    for rate in (lambda t: 0.1, Plain(), functools.partial(Plain(), 3), Plain().__call__):
        assert " at 0x" not in repr(tm.SGD(rate))


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1, momentum=0.9), tm.Adam(0.1)])
def test_a_memory_of_another_dtype_moves_nothing(optimizer):
    parameters = [tm.tensor(np.zeros(2), requires_grad=True)]
    state = optimizer.init([tm.tensor([0.0, 0.0], requires_grad=True)])
    with pytest.raises(ValueError, match=r"after model.to, make the step anew"):
        optimizer.update(parameters, [np.ones(2)], state)
    unmoved(parameters, state)


# ---------------------------------------------------------------- what is refused before anything moves


@pytest.mark.parametrize("rule", [tm.Adam(0.1), tm.AdamW(0.1)], ids=repr)
@pytest.mark.parametrize(("dtype", "large"), [("float32", 1.9e19), ("float32", 3e38), ("float64", 1.4e154)])
def test_a_gradient_whose_square_is_infinite_stops_adam_before_its_memory(rule, dtype, large):
    parameters = [tm.tensor(np.ones(3, dtype)), tm.tensor(np.ones((2, 2), dtype))]
    memory = rule.init(parameters)
    fine = [np.full(3, 0.5, dtype), np.full((2, 2), 0.5, dtype)]
    rule.update(parameters, fine, memory)
    kept, values = memory.copy(), [p.data.copy() for p in parameters]
    for sign in (1.0, -1.0):
        odd = np.array([[0.0, 1.0], [sign * large, 0.0]], dtype)
        with pytest.raises(FloatingPointError, match=r"gradient 1 reaches .*e\+.*; nothing moved"):
            rule.update(parameters, [fine[0], odd], memory)
    assert memory.t == kept.t == 1
    arrays = [*memory.m, *memory.v, *(p.data for p in parameters)]
    for now, before in zip(arrays, [*kept.m, *kept.v, *values], strict=True):
        np.testing.assert_array_equal(now, before)
    many = np.full(3, 0.9 * np.sqrt(np.finfo(dtype).max), dtype)  # their squares are finite, the sum of those is not
    rule.update(parameters, [many, fine[1]], memory)
    assert np.isfinite(memory.v[0]).all()


def test_a_step_says_so_and_goes_on_afterwards():
    """The loss of one batch is 1e20 times the others'. Without a word no parameter would ever move again."""
    unit = [1.0]
    heads = [tm.Task("a", tm.nn.Linear(4, 3, rng=1), lambda p, t: unit[0] * tm.cross_entropy(p, t))]
    model = tm.SharedBottom(tm.nn.MLP([3, 4], rng=0), heads)
    step = tm.Averaged(model, tm.Adam(0.1))
    x, y = np.random.default_rng(0).standard_normal((8, 3)), {"a": np.arange(8) % 3}
    unit[0] = 1e21
    before = model.vector.data.copy()
    with pytest.raises(FloatingPointError, match="second moment would be infinite"):
        step(x, y)
    np.testing.assert_array_equal(model.vector.data, before)
    unit[0] = 1.0
    for _ in range(5):
        step(x, y)
    assert (model.vector.data != before).mean() > 0.7  # all but the units whose ReLU is shut


def test_clipping_makes_a_huge_gradient_one_that_adam_takes():
    p = tm.tensor([1.0, 1.0])
    rule = tm.Adam(0.1, clip_norm=1.0)
    memory = rule.init([p])
    rule.update([p], [np.array([1e30, 0.0], np.float32)], memory)
    assert np.isfinite(memory.v[0]).all()
    assert p.data[0] == pytest.approx(0.9)


@pytest.mark.parametrize("rule", [tm.SGD(0.1), tm.SGD(0.1, momentum=0.9), tm.Adam(0.1)], ids=repr)
def test_the_wrong_kind_of_object_is_named(rule):
    p = tm.tensor([1.0, 2.0], requires_grad=True)
    g, memory = np.ones(2, np.float32), rule.init([p])
    for parameters in (p, {"p": p}, iter([p]), [p.data], [[p]], None, 3):
        with pytest.raises(TypeError, match="parameters must be a list of tensors, not a"):
            rule.update(parameters, [g], memory)
        with pytest.raises(TypeError, match="parameters must be a list of tensors, not a"):
            rule.init(parameters)
    other = tm.Adam(0.1) if isinstance(rule, tm.SGD) else tm.SGD(0.1)
    for odd in (None, [p.data], {"m": [g], "v": [g]}, other.init([p])):
        with pytest.raises(TypeError, match=r"the memory must be what this rule's init\(parameters\) returns, not a"):
            rule.update([p], [g], odd)
    for odd in ([[1.0, 1.0]], [None], [3.0]):
        with pytest.raises(TypeError, match="gradient 0 must be an array, not a"):
            rule.update([p], odd, memory)
    assert p.data.tolist() == [1.0, 2.0]
    assert memory.t == 0


def test_gradients_that_are_tensors_count_as_their_values():
    for rule in (tm.SGD(0.5), tm.Adam(0.5)):
        p, q = tm.tensor([1.0, 2.0]), tm.tensor([1.0, 2.0])
        rule.update([p], [tm.tensor([2.0, 2.0])], rule.init([p]))
        rule.update([q], [np.full(2, 2.0, np.float32)], rule.init([q]))
        assert p.data.tolist() == q.data.tolist() != [1.0, 2.0]
