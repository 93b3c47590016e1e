"""Labels that are missing, property by property over all strategies: a task without a label takes no part in a step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tests.gpu.conftest import cupy, on_host  # noqa: F401  (the fake device)
from tests.steps.conftest import CLASSES, FEATURES, ROWS, STRATEGIES, SeparateLinear, reads
from tinymtl import fake_cupy
from tinymtl.steps.memory import arrays_in

K, ABSENT = 5, [1, 3]
HERE = [k for k in range(K) if k not in ABSENT]
nan = np.nan

#: Every strategy of the package by its name, and those of this room with their options.
EVERY = {f"registry: {name}": make for name, make in tm.STRATEGIES.items()}
EVERY |= {f"with options: {strategy.name}": strategy for strategy in STRATEGIES}
RULES = {
    "SGD": tm.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "Adam": tm.Adam(0.05, weight_decay=0.01),
    "AdamW, clipped": tm.AdamW(0.05, weight_decay=0.1, clip_norm=0.5),
}
every = pytest.mark.parametrize("name", EVERY)
both_kinds = pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "separate"])


def network(tasks, stacked=True, loss=tm.cross_entropy, outputs=CLASSES):
    head = tm.nn.Linear if stacked else SeparateLinear
    each = [tm.Task(f"t{k}", head(5, outputs, rng=10 + k), loss) for k in tasks]
    return tm.SharedBottom(tm.nn.MLP([FEATURES, 6, 5], rng=1), each).to("float64")


def batch(absent=(), partly=(), seed=0):
    """x, and labels with NaN: all of the tasks in `absent`, some of those in `partly`."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(ROWS, FEATURES)), rng.integers(0, CLASSES, (ROWS, K)).astype(float)
    y[:, list(absent)] = nan
    for k in partly:
        y[k % 3 :: 2, k] = nan
    return x, y


def without(step, absent):
    """A step on a model that has never heard of the tasks in `absent`, with the others as they stand in `step`.

    Turns are taken by the same tasks in the same order, whatever was drawn.
    """
    model = step.model
    here = [k for k in range(K) if k not in absent]
    smaller = network(here, model.separate_because is None or "subclass" not in model.separate_because)
    kept = ("trunk/", *(f"heads/t{k}/" for k in here))
    smaller.load_state({key: value for key, value in model.state().items() if key.startswith(kept)})
    return smaller, here


def follow(step, other, here):
    """Let `other` take the turns that `step` has taken last, without the tasks that it does not have."""
    if not isinstance(step, tm.Turns):
        return
    drawn, groups = [], step.groups

    def remember():
        drawn[:] = groups()
        return drawn

    step.groups = remember
    other.groups = lambda: [[here.index(k) for k in group if k in here] for group in drawn if set(group) & set(here)]


def parts_of(step, task):
    """All that belongs to one task alone: its head, its part of every memory, what is kept of it by name."""
    model, head, name = step.model, step.model.layout.heads[task], step.model.task_names[task]
    parts = {"parameters": model.vector.data[head]}
    for memory, value in step.memory.items():
        for path, array in arrays_in(value, memory):
            if memory in (f"head of {name}", f"trunk of {name}"):
                parts[path] = array
            elif array.shape == model.vector.shape:
                parts[path] = array[head]
            elif array.shape[-1:] == (K,):
                parts[path] = array[..., task]
    return {path: array.tobytes() for path, array in parts.items()}


# ------------------------------------------------------------ the property


@every
@both_kinds
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_an_absent_task_stays_to_the_bit(name, stacked, rule):
    step = EVERY[name](network(range(K), stacked), rule)
    for seed in range(2):  # so that the memories hold something
        step(*batch(seed=seed))
    before = {k: parts_of(step, k) for k in range(K)}
    for seed in range(2, 5):
        step(*batch(ABSENT, seed=seed))
    for k in ABSENT:
        assert parts_of(step, k) == before[k]
    for k in HERE:
        assert parts_of(step, k) != before[k]


@every
@both_kinds
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_rest_moves_as_without_it(name, stacked, rule):
    step = EVERY[name](network(range(K), stacked), rule)
    smaller, here = without(step, ABSENT)
    other = EVERY[name](smaller, rule)
    follow(step, other, here)
    if "weights" in name:
        other.weights = step.weights[here] / step.weights[here].sum()
    for seed in range(4):
        x, y = batch(ABSENT, partly=[0, 4], seed=seed)
        report, expected = step(x, y), other(x, y[:, here])
        assert_allclose(report.losses[here], expected.losses, rtol=1e-10)
        if report.weights is not None:
            assert_allclose(report.weights[here], expected.weights, rtol=1e-9, atol=1e-12)
        state = step.model.state()
        for key, value in smaller.state().items():
            assert_allclose(state[key], value, rtol=1e-9, atol=1e-11)


@every
@both_kinds
def test_the_report_says_who_was_there(name, stacked):
    step = EVERY[name](network(range(K), stacked), tm.SGD(0.1))
    report = step(*batch(ABSENT, partly=[2]))
    assert np.isnan(report.losses).tolist() == [k in ABSENT for k in range(K)]
    assert report.labelled == [7, 0, 4, 0, 7]
    if report.weights is not None:
        assert np.isnan(report.weights).tolist() == [k in ABSENT for k in range(K)]
    if report.min_norm is not None:
        assert report.min_norm.weights.tolist() == report.weights[HERE].tolist()
    assert "nan" in repr(report)
    whole = step(*batch())
    assert whole.labelled is None and np.isfinite(whole.losses).all()


@every
@both_kinds
def test_one_task_alone(name, stacked):
    step = EVERY[name](network(range(K), stacked), tm.SGD(0.1))
    before = step.model.state()
    report = step(*batch([0, 1, 3, 4]))
    moved = {key for key, value in step.model.state().items() if (value != before[key]).any()}
    assert moved == {key for key in before if key.startswith(("trunk", "heads/t2"))}
    assert np.isfinite(report.losses[2])


@every
def test_a_refused_step_moves_nothing(name, bits):
    step = EVERY[name](network(range(K)), tm.Adam(0.05))
    step(*batch())
    before, memory = bits(step), sorted(step.memory)
    x, y = batch(ABSENT)
    bad = x.copy()
    bad[2, 1] = nan
    with pytest.raises(FloatingPointError, match="task 't[024]': its loss is nan"):
        step(bad, y)
    with pytest.raises(ValueError, match="no task has a label in this batch"):
        step(x, np.full((ROWS, K), nan))
    assert bits(step) == before and sorted(step.memory) == memory
    step(x, y)
    assert bits(step) != before


@every
@both_kinds
def test_stages_equal_the_call(name, stacked, bits):
    walked, called = (EVERY[name](network(range(K), stacked), tm.Adam(0.05)) for _ in range(2))
    for seed in range(2):
        for stage in walked.stages(*batch(ABSENT, seed=seed)):
            assert not set(stage.update.group) & set(ABSENT)
        called(*batch(ABSENT, seed=seed))
    assert bits(walked) == bits(called)


@every
def test_a_step_with_gaps_can_be_saved_and_goes_on(name):
    step, other = (EVERY[name](network(range(K)), tm.Adam(0.05)) for _ in range(2))
    for seed in range(2):
        step(*batch([[1], [3]][seed], seed=seed))
    other.load_state(step.state())
    other.model.load_state(step.model.state())
    for s in (step, other):
        s(*batch([0], partly=[1], seed=2))
    assert step.model.vector.data.tobytes() == other.model.vector.data.tobytes()


# ------------------------------------------------------------ single cases


class Rule:
    """A rule of one's own: momentum, kept in a plain dict that is empty at first."""

    def init(self, parameters):
        return {}

    def update(self, parameters, gradients, memory):
        for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            memory[i] = 0.9 * memory.get(i, 0.0) + g + 0.01 * p.data
            p.data -= 0.1 * memory[i]


@pytest.mark.parametrize("make", [tm.Averaged, tm.MGDA, tm.MGDAUB])
def test_a_rule_of_ones_own_leaves_absent_heads_alone(make):
    step = make(network(range(K)), Rule())
    start = step.model.vector.data.copy()
    step(*batch(ABSENT))
    for k in ABSENT:
        part = step.model.layout.heads[k]
        assert (step.model.vector.data[part] == start[part]).all() and not step.memory["all"][0][part].any()
    step(*batch(seed=1))
    before = {k: parts_of(step, k) for k in ABSENT}
    step(*batch(ABSENT, seed=2))
    assert {k: parts_of(step, k) for k in ABSENT} == before


def test_mgda_is_not_stopped():
    """With a zero gradient in the hull the min-norm point would be 0."""
    for make in (tm.MGDA, tm.MGDAUB):
        step = make(network(range(2)), tm.SGD(0.1))
        x, y = batch([1])
        before = step.model.vector.data.copy()
        report = step(x, y[:, :2])
        assert report.weights[0] == 1.0 and report.min_norm.squared_norm > 0
        assert (step.model.vector.data[step.model.layout.trunk] != before[step.model.layout.trunk]).any()


def test_weights_of_tasks_that_are_there():
    step = tm.Averaged(network(range(K)), tm.SGD(0.1), weights=[1, 2, 3, 4, 5])
    assert_allclose(step(*batch(ABSENT)).weights[HERE], np.array([1, 3, 5]) / 9)
    total = tm.Averaged(network(range(K)), tm.SGD(0.1), weights=[1, 2, 3, 4, 5], reduction="sum")
    assert total(*batch(ABSENT)).weights[HERE].tolist() == [1, 3, 5]
    nothing = tm.Averaged(network(range(K)), tm.SGD(0.1), weights=[0, 1, 0, 0, 0])
    before = nothing.model.vector.data.copy()
    assert nothing(*batch(ABSENT)).weights[HERE].tolist() == [0, 0, 0]
    assert (nothing.model.vector.data == before).all()


def test_alpha_weighs_the_heads_that_are_there():
    step = tm.MGDA(network(range(K)), tm.SGD(1.0), head_weighting="alpha")
    own = tm.MGDA(network(range(K)), tm.SGD(1.0))
    start = step.model.vector.data.copy()
    report, _ = step(*batch(ABSENT)), own(*batch(ABSENT))
    for k, part in enumerate(step.model.layout.heads):
        alpha = 0.0 if k in ABSENT else report.weights[k]
        moved, full = (s.model.vector.data[part] - start[part] for s in (step, own))
        assert_allclose(moved, alpha * full, rtol=1e-9, atol=1e-12)


def test_a_strategy_of_ones_own_sees_the_tasks_that_are_there():
    seen = []

    def weigh(G, L):
        seen.append((G.shape, L.shape))
        return np.ones(len(L))

    step = tm.GradientWeighted(network(range(K)), tm.SGD(0.1), weigh=weigh)
    step(*batch(ABSENT))
    assert seen == [((3, 3), (3,))] and step.group == HERE and step.names == ["t0", "t2", "t4"]
    losses = tm.LossWeighted(network(range(K)), tm.SGD(0.1), weigh=lambda L: 1 / L)
    assert np.isfinite(losses(*batch(ABSENT)).weights[HERE]).all()
    with pytest.raises(ValueError, match="weigh must return 3 weights, one per task"):
        tm.GradientWeighted(network(range(K)), tm.SGD(0.1), weigh=lambda G, L: np.ones(K))(*batch(ABSENT))


def test_groups_keep_their_memories_while_a_member_is_absent():
    step = tm.RandomGrouped(network(range(K)), tm.Adam(0.05), group_size=5)
    step(*batch())
    names = sorted(step.memory)
    report = step(*batch(ABSENT, seed=1))
    assert sorted(step.memory) == names and step.memory["partition"] == [list(range(K))]
    assert report.trunk_forwards == report.trunk_backwards == 1


# ------------------------------------------------------------ on the device


@every
@both_kinds
def test_on_the_device(name, stacked, cupy):  # noqa: F811
    here, there = network(range(K), stacked), network(range(K), stacked).to(device="cuda")
    on_cpu, on_gpu = EVERY[name](here, tm.Adam(0.05)), EVERY[name](there, tm.Adam(0.05))
    for seed in range(3):
        x, y = batch([ABSENT, [], [0]][seed], partly=[2], seed=seed)
        expected, found = on_cpu(x, y), on_gpu(cupy.asarray(x), y)
        assert_allclose(found.losses, expected.losses, rtol=1e-11)
        assert found.labelled == expected.labelled
    assert_allclose(on_host(there.vector.data), here.vector.data, rtol=1e-11, atol=1e-13)


@every
def test_presence_is_known_without_waiting(name, cupy):  # noqa: F811
    step = EVERY[name](network(range(K)).to(device="cuda"), tm.Adam(0.05))
    x, y = batch(ABSENT, partly=[2])
    x = cupy.asarray(x)
    step(x, y)
    fake_cupy.tally.reset()
    step(x, y)
    assert fake_cupy.tally.reads == reads(step), fake_cupy.tally.log
