"""Properties that every strategy has, asserted by name; stacked and separate heads, K = 1, 2, 5."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.autodiff import record

# ------------------------------------------------------------ the properties


def assert_deterministic(make_step, run, bits):
    first, second = make_step(), make_step()
    for report, again in zip(run(first), run(second), strict=True):
        assert report.losses.tobytes() == again.losses.tobytes()
    assert bits(first) == bits(second)


def assert_moves_every_block(before, model):
    """Trunk and heads all move: a property that holds because nothing happens would prove nothing."""
    for key, value in model.state().items():
        assert (value != before[key]).any(), key


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean()


def assert_report_well_formed(step, x, labels):
    """Task order, all finite, and each loss as it stood just before its own task's update."""
    model = step.model
    names, stages = model.task_names, step.stages(x, labels)
    expected = {}
    while True:
        try:
            stage = next(stages)
        except StopIteration as end:
            report = end.value
            break
        if stage.name == "forward":
            turn = stage.update.group
            predictions = model.predict(x)
            for k in turn:
                assert k not in expected
                expected[k] = cross_entropy(predictions[names[k]], labels[names[k]])
    assert report.losses.shape == (len(names),) and np.isfinite(report.losses).all()
    assert_allclose(report.losses, [expected[k] for k in range(len(names))], rtol=0, atol=1e-12)
    if report.weights is not None:
        assert report.weights.shape == (len(names),) and (report.weights >= 0).all()
    if report.min_norm is not None:
        assert (report.weights == report.min_norm.weights).all()
        assert_allclose(report.weights.sum(), 1, atol=1e-12)
        assert 0 <= report.min_norm.gap <= 1e-12 * max(1.0, report.min_norm.squared_norm)


def assert_stages_equal_call(walked, called, x, targets, bits):
    stages, names = walked.stages(x, targets), []
    try:
        while True:
            names.append(next(stages).name)
    except StopIteration as end:
        report = end.value
    assert report.losses.tobytes() == called(x, targets).losses.tobytes()
    assert bits(walked) == bits(called)
    assert names[0] == "forward" and names[-1] == "update"


def assert_untouched_heads(step, x, targets):
    """During a turn, the heads of the tasks that have not got it stay as they are, to the bit."""
    model = step.model
    before, turn = model.state(), []
    for stage in step.stages(x, targets):
        if stage.name == "forward":
            turn = stage.update.group
        if stage.name == "update":
            after = model.state()
            for k, name in enumerate(model.task_names):
                for part in ("weight", "bias"):
                    key = f"heads/{name}/{part}"
                    assert (before[key].tobytes() == after[key].tobytes()) == (k not in turn), (turn, key)
            assert before["trunk/layers.0.weight"].tobytes() != after["trunk/layers.0.weight"].tobytes()
            before = after


def assert_permutation_equivariant(make_step, network, tasks, order, x, labels):
    """With the tasks given in another order, the trunk moves as before and every task keeps what is its own."""
    straight, permuted = make_step(network(tasks)), make_step(network(tasks, order=order))
    for _ in range(3):
        report, other = straight(x, labels), permuted(x, labels)
        assert_allclose(other.losses, report.losses[order], rtol=0, atol=1e-9)
        if report.weights is not None:
            assert_allclose(other.weights, report.weights[order], rtol=0, atol=1e-9)
    state = permuted.model.state()
    for key, value in straight.model.state().items():
        assert_allclose(state[key], value, rtol=0, atol=1e-9, err_msg=key)


def assert_non_conflicting(step, x, labels):
    """v lowers every loss to first order: gₖ·v ≥ ‖v‖² for all k."""
    values = {}
    for stage in step.stages(x, labels):
        values |= stage.values
    g, v = values["gradients"].rows, values["v"]
    assert v @ v > 1e-6  # not vacuous
    assert (g @ v >= v @ v - 1e-12 * np.linalg.norm(g, axis=1).max() ** 2).all()


# ------------------------------------------------------------ over all strategies


def several(step, count=3, start=0):
    tasks = len(step.model.tasks)
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        yield step(rng.normal(size=(7, 4)), rng.integers(3, size=(7, tasks)))


def test_deterministic(strategy, tasks, stacked, network, bits):
    assert_deterministic(lambda: strategy(network(tasks, stacked)), several, bits)


def test_report_well_formed(strategy, tasks, stacked, network, batch):
    step = strategy(network(tasks, stacked))
    before = step.model.state()
    for seed in range(3):
        assert_report_well_formed(step, *batch(tasks, seed))
    assert_moves_every_block(before, step.model)


def test_stages_equal_call(strategy, tasks, stacked, network, batch, bits):
    walked, called = strategy(network(tasks, stacked)), strategy(network(tasks, stacked))
    for seed in range(2):
        assert_stages_equal_call(walked, called, *batch(tasks, seed), bits)


def test_separate_heads_equal_stacked_heads(strategy, network, batch):
    stacked, separate = strategy(network(5, True)), strategy(network(5, False))
    for seed in range(3):
        x, labels = batch(5, seed)
        report, other = stacked(x, labels), separate(x, labels)
        assert_allclose(other.losses, report.losses, rtol=0, atol=1e-9)
    assert_allclose(separate.model.vector.data, stacked.model.vector.data, rtol=0, atol=1e-9)


def test_targets_as_a_dict_equal_targets_as_columns(strategy, tasks, stacked, network, batch, bits):
    x, labels = batch(tasks)
    by_name, by_column = strategy(network(tasks, stacked)), strategy(network(tasks, stacked))
    by_name(x, dict(reversed(labels.items())))
    by_column(x, np.stack(list(labels.values()), axis=1))
    assert bits(by_name) == bits(by_column)


@pytest.mark.parametrize("optimizer", [tm.SGD(0.1, momentum=0.9), tm.Adam(0.05)], ids=["momentum", "Adam"])
def test_state_round_trip_continues_to_the_bit(strategy, tasks, network, bits, optimizer):
    step = strategy(network(tasks), optimizer)
    list(several(step))
    parameters, memories = step.model.state(), step.state()
    list(several(step, 4, start=3))  # what was saved holds copies: this does not reach it
    resumed = strategy(network(tasks), optimizer)
    resumed.model.load_state(parameters)
    resumed.load_state(memories)
    list(several(resumed, 4, start=3))
    assert bits(resumed) == bits(step)


def test_float32_stays_float32(strategy, tasks, stacked, network, batch):
    step = strategy(network(tasks, stacked).to("float32"))
    x, labels = batch(tasks)
    for stage in step.stages(x, labels):  # x in float64 is brought to the model's dtype
        update = stage.update
        values = [update.Z, update.v, None if update.gradients is None else update.gradients[tasks - 1]]
        assert {value.dtype for value in values if value is not None} == {np.dtype(np.float32)}, stage.name
    assert step(x, labels).losses.dtype == np.float32
    assert {p.dtype for p in step.model.shared_parameters()} == {np.dtype(np.float32)}
    assert step.model.vector.dtype == np.float32
    arrays = [value for key, value in step.state().items() if "/m/" in key or "/v/" in key]
    assert arrays and {a.dtype for a in arrays} == {np.dtype(np.float32)}
    reference = strategy(network(tasks, stacked))
    reference(x, labels)
    reference(x, labels)
    assert_allclose(step.model.vector.data, reference.model.vector.data, atol=2e-3)


class SpyTrunk(tm.nn.MLP):
    """Counts for itself how often it runs, and how often a gradient comes back."""

    def __init__(self):
        super().__init__([4, 6, 5], rng=1)
        self.forwards = self.backwards = 0

    def forward(self, x):
        self.forwards += 1
        z = super().forward(x)
        return record(z.data, (z, self._back))

    def _back(self, g):
        self.backwards += 1 if g.ndim == 2 else len(g)
        return g


class SpyHead(tm.nn.Linear):
    backwards = 0

    def forward(self, x):
        prediction = super().forward(x)
        return record(prediction.data, (prediction, self._back))

    def _back(self, g):
        SpyHead.backwards += 1 if g.ndim == 2 else len(g)
        return g


def assert_counts_measured(report, expected, seen):
    assert (report.trunk_forwards, report.trunk_backwards, report.head_backwards) == expected == seen


def test_counts_measured(strategy, tasks, network, batch):
    trunk = SpyTrunk()
    step = strategy(network(tasks, stacked=False, trunk=trunk, head=SpyHead))
    for seed in range(2):  # the second report must not hold the first one's passes
        SpyHead.backwards = trunk.forwards = trunk.backwards = 0
        report = step(*batch(tasks, seed))
        assert_counts_measured(
            report, (*strategy.cost(tasks), tasks), (trunk.forwards, trunk.backwards, SpyHead.backwards)
        )


def test_counts_measured_with_stacked_heads(strategy, tasks, network, batch):
    trunk = SpyTrunk()
    report = strategy(network(tasks, trunk=trunk))(*batch(tasks))
    assert_counts_measured(report, (*strategy.cost(tasks), tasks), (trunk.forwards, trunk.backwards, tasks))


# ------------------------------------------------------------ where they should hold

TURNS = ["alternating", "alternating, shared", "alternating, shuffled"]
TURNS += ["grouped", "grouped, shared", "grouped, each step"]


@pytest.mark.parametrize("name", TURNS)
def test_untouched_heads(name, make, stacked, network, batch):
    step = make(name, network(5, stacked), tm.Adam(lr=0.05, weight_decay=0.1))
    for seed in range(2):
        assert_untouched_heads(step, *batch(5, seed))


SYMMETRIC = ["averaged", "averaged, sum", "MGDA", "MGDA, l2, alpha", "MGDA-UB", "MGDA-UB, loss+, alpha"]


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("tasks, order", [(2, [1, 0]), (5, [3, 0, 4, 2, 1])])
def test_permutation_equivariant(name, tasks, order, make, network, batch):
    assert_permutation_equivariant(lambda m: make(name, m, tm.SGD(0.3)), network, tasks, order, *batch(tasks))


@pytest.mark.parametrize("name", ["alternating", "alternating, shared", "grouped"])
def test_turns_are_not_permutation_equivariant(name, make, network, batch):
    """The order of turns matters, so that the property above is no accident of the networks used here."""
    with pytest.raises(AssertionError, match="Not equal"):
        assert_permutation_equivariant(
            lambda m: make(name, m, tm.SGD(0.3)), network, 5, [3, 0, 4, 2, 1], *batch(5)
        )


@pytest.mark.parametrize("seed", range(8))
def test_non_conflicting(seed, make, network, batch):
    step = make("MGDA", network(5, seed % 2 == 0), tm.SGD(0.1))
    assert_non_conflicting(step, *batch(5, seed))


STAGES = {
    "averaged": ["forward", "gradient", "update"],
    "MGDA": ["forward", "task gradients", "gram", "weights", "update"],
    "MGDA-UB": ["forward", "task gradients", "gram", "weights", "trunk backward", "update"],
    "alternating": ["forward", "gradient", "update"] * 5,
    "grouped": ["forward", "gradient", "update"] * 3,
}


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_have_the_documented_names(name, make, network, batch):
    assert [stage.name for stage in make(name, network(5)).stages(*batch(5))] == STAGES[name]
