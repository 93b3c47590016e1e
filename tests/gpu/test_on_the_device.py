"""The gate: engine, networks, optimizers, min-norm and every strategy a second time, on the fake device."""

from pathlib import Path

import numpy as np
import pytest

import tinymtl as tm
from tests.autodiff.test_ops import TABLE
from tests.gpu.conftest import on_device, on_host
from tests.nn.test_functional import ROWS
from tests.steps.conftest import STRATEGIES, network
from tinymtl.autodiff import grad, gradient_error
from tinymtl.fake_cupy import no_transfers, tally

OPERATIONS = {f"{name}, {situation}": row for name, rows in TABLE.items() for situation, row in rows.items()}


@pytest.mark.parametrize(("name", "row"), OPERATIONS.items(), ids=OPERATIONS)
def test_every_operation(cupy, name, row):
    inputs = [on_device(cupy, x) for x in row.inputs]
    if name == "power, by an array":  # the exponent is a host array
        pytest.skip("mixes host and device on purpose")
    out = row.call(*(tm.tensor(x) for x in inputs))
    assert isinstance(out.data, cupy.ndarray)
    np.testing.assert_allclose(on_host(out.data), row.reference(*row.inputs), rtol=1e-12, atol=1e-12)
    assert gradient_error(row.call, inputs, leading=(2,), rng=1) < 1e-7


@pytest.mark.parametrize(("call", "inputs"), ROWS.values(), ids=ROWS)
def test_every_fused_operation(cupy, call, inputs):
    host = [tm.tensor(x, requires_grad=True) for x in inputs]
    device = [tm.tensor(on_device(cupy, x), requires_grad=True) for x in inputs]
    expected, found = call(*host), call(*device)
    np.testing.assert_allclose(on_host(found.data), expected.data, rtol=1e-12, atol=1e-14)
    seed = np.random.default_rng(0).standard_normal((2, *expected.shape))
    for a, b in zip(grad(expected, host, [seed]), grad(found, device, [on_device(cupy, seed)]), strict=True):
        np.testing.assert_allclose(on_host(b), a, rtol=1e-12, atol=1e-14)


def batch(rows=9, tasks=4, classes=3):
    rng = np.random.default_rng(5)
    return rng.normal(size=(rows, 4)), rng.integers(0, classes, (rows, tasks))


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "separate"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_every_strategy_does_what_it_does_on_the_host(cupy, strategy, stacked):
    x, y = batch()
    here, there = network(4, stacked), network(4, stacked).to(device="cuda")
    on_cpu, on_gpu = strategy(here), strategy(there)
    for _ in range(5):
        expected, found = on_cpu(x, y), on_gpu(cupy.asarray(x), cupy.asarray(y))
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-12)
    np.testing.assert_allclose(on_host(there.vector.data), here.vector.data, rtol=1e-12, atol=1e-14)
    assert (found.trunk_forwards, found.trunk_backwards) == (expected.trunk_forwards, expected.trunk_backwards)
    state = on_gpu.state()
    for key, value in on_cpu.state().items():
        if value.dtype.kind == "U":
            assert state[key] == value
        else:
            np.testing.assert_allclose(state[key], value, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "separate"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_no_step_waits_for_the_device_but_for_what_it_weighs(cupy, strategy, stacked):
    x, y = (cupy.asarray(a) for a in batch())
    step = strategy(network(4, stacked).to(device="cuda"))
    step(x, y)
    tally.reset()
    if "MGDA" in strategy.name:
        step(x, y)
        assert [event for event in tally.log if event == ".get()"] == [".get()"]
        assert tally.reads == 1
    elif isinstance(step, tm.LossWeighted) and not isinstance(step, tm.Averaged):  # on the host
        step(x, y)
        assert tally.log.count(".get()") == (2 if isinstance(step, tm.FAMO) else int(step.on_host))  # FAMO looks again
    elif "each step" in strategy.name:  # new groups may be index arrays that were not needed before
        step(x, y)
        assert tally.reads == 0
    else:
        with no_transfers():
            step(x, y)


@pytest.mark.parametrize(("unit", "transfers"), [(1.0, 1), (1e-30, 2), (1e30, 2)])
@pytest.mark.parametrize("make", [tm.MGDA, tm.MGDAUB], ids=lambda make: make.__name__)
def test_a_second_transfer_for_losses_whose_gram_matrix_float32_cannot_hold(cupy, make, unit, transfers):
    heads = [tm.Task(n, tm.nn.Linear(4, 3), lambda p, t: unit * tm.cross_entropy(p, t)) for n in "ab"]
    step = make(tm.SharedBottom(tm.nn.MLP([5, 4]), heads).to(device="cuda"), tm.SGD(0.0))
    x, y = np.ones((6, 5), np.float32), {"a": [0, 1, 2, 0, 1, 2], "b": [1, 1, 1, 0, 0, 2]}
    step(x, y)
    tally.reset()
    assert np.isfinite(step(x, y).weights).all()
    assert tally.log.count(".get()") == transfers


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_stacked_heads_of_one_output(cupy, strategy):
    x, y = batch(classes=2)
    models = [network(4, loss=tm.binary_cross_entropy_with_logits, classes=1).to(device=d) for d in ("cpu", "cuda")]
    for model in models:
        step = strategy(model)
        for _ in range(3):
            step(x, y)
    np.testing.assert_allclose(on_host(models[1].vector.data), models[0].vector.data, rtol=1e-12, atol=1e-14)


LENET = {"dropout": 0.5, "image_size": 16}


@pytest.mark.parametrize("make", [tm.Averaged, tm.MGDA, tm.MGDAUB, tm.Alternating], ids=lambda make: make.__name__)
def test_convolutions_pools_and_dropout(cupy, make):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 1, 16, 16)), rng.integers(0, 10, (6, 2))
    models = []
    for device in ("cpu", "cuda"):
        tasks = []
        for k in (1, 2):
            head = tm.nn.Sequential(tm.nn.Linear(50, 8, rng=k), tm.nn.ReLU(), tm.nn.Linear(8, 10, rng=k))
            tasks.append(tm.Task(f"t{k}", head, tm.cross_entropy))
        model = tm.SharedBottom(tm.nn.LeNet(**LENET), tasks).to("float64", device)
        step = make(model, tm.SGD(0.1, momentum=0.9, weight_decay=0.01))
        for _ in range(2):
            step(x, y)  # host arrays are uploaded
        models.append(on_host(model.vector.data))
    np.testing.assert_allclose(models[1], models[0], rtol=1e-11, atol=1e-13)


def test_plain_convolution_and_pooling_modules(cupy):
    x = np.random.default_rng(0).normal(size=(3, 2, 7, 7)).astype(np.float32)
    here = tm.nn.Sequential(
        tm.nn.Conv2d(2, 4, 3, stride=2, padding=1), tm.nn.ReLU(), tm.nn.MaxPool2d(2), tm.nn.Flatten()
    )
    expected = here(x).data
    found = here.to(device="cuda")(cupy.asarray(x)).data
    np.testing.assert_allclose(on_host(found), expected, rtol=1e-6)


@pytest.mark.parametrize("solver", ["closed-form", "frank-wolfe", "active-set"])
def test_min_norm_fetches_the_gram_matrix_once(cupy, solver):
    g = np.random.default_rng(0).normal(size=(2, 50))
    device = cupy.asarray(g)
    tally.reset()
    found = tm.min_norm(device, solver=solver)
    assert tally.reads == 1
    np.testing.assert_allclose(found.weights, tm.min_norm(g, solver=solver).weights, rtol=1e-12)


RULES = [
    tm.SGD(0.1),
    tm.SGD(0.1, 0.9, 0.01),
    tm.SGD(lambda t: 0.1 / t, clip_norm=0.5),
    tm.Adam(0.1),
    tm.Adam(0.1, weight_decay=0.1),
    tm.AdamW(0.1, weight_decay=0.1, clip_norm=3.0),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_optimizers(cupy, rule):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)), rng.normal(size=(5, 3, 4))
    here, there = tm.tensor(start), tm.tensor(cupy.asarray(start))
    states = rule.init([here]), rule.init([there])
    uploaded = [cupy.asarray(g) for g in gradients]
    for g, d in zip(gradients, uploaded, strict=True):
        rule.update([here], [g], states[0])
        with no_transfers():
            rule.update([there], [d], states[1])
    np.testing.assert_allclose(on_host(there.data), here.data, rtol=1e-13)


@pytest.mark.parametrize("rule", [tm.SGD(0.1, 0.9, 0.01), tm.Adam(0.1), tm.AdamW(lambda t: 0.1 / t)], ids=repr)
def test_an_update_is_one_launch(cupy, rule):
    p, g = tm.tensor(cupy.asarray(np.ones((3, 4)))), cupy.asarray(np.ones((3, 4)))
    memory = rule.init([p])
    tally.reset()
    rule.update([p], [g], memory)
    assert tally.launches == 1


def test_the_same_seed_gives_the_same_start(cupy):
    def model():
        heads = [tm.Task(name, tm.nn.Linear(6, 3, rng=k), tm.cross_entropy) for k, name in enumerate("ab")]
        return tm.SharedBottom(tm.nn.MLP([5, 6], rng=1), heads)

    np.testing.assert_array_equal(on_host(model().to(device="cuda").vector.data), model().vector.data)


def test_a_loss_that_is_not_finite_is_found_when_it_is_read(cupy):
    x, y = batch()
    x[2, 1] = np.nan
    report = tm.Averaged(network(4).to(device="cuda"), tm.SGD(0.1))(cupy.asarray(x), cupy.asarray(y))
    with pytest.raises(FloatingPointError, match="task"):
        _ = report.losses


def test_labels_are_checked_on_the_way_to_the_device(cupy):
    x, y = batch()
    y[3, 2] = 7
    model = network(4).to(device="cuda")
    before = on_host(model.vector.data).copy()
    with pytest.raises(ValueError, match="0 … 2"):
        tm.Averaged(model, tm.SGD(0.1))(x, y)
    np.testing.assert_array_equal(on_host(model.vector.data), before)


class TestLaunches:
    """The workload of the GPU benchmark: 784-512-512, ten heads of ten classes, batch 1024, Adam (here smaller)."""

    @pytest.fixture
    def launches(self, cupy):
        rng = np.random.default_rng(0)
        x = cupy.asarray(rng.normal(size=(32, 30)).astype(np.float32))
        y = cupy.asarray(rng.integers(0, 10, (32, 10)))

        def count(make):
            heads = [tm.Task(f"t{k}", tm.nn.Linear(8, 10, rng=k), tm.cross_entropy) for k in range(10)]
            step = make(tm.SharedBottom(tm.nn.MLP([30, 16, 8]), heads).to(device="cuda"), tm.Adam())
            step(x, y)
            tally.reset()
            step(x, y)
            return tally.launches

        return count

    def test_the_counts_that_the_readme_names(self, launches):
        averaged, bound = launches(tm.Averaged), launches(tm.MGDAUB)
        assert averaged <= 25
        assert bound <= 1.5 * averaged
        readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
        assert f"an averaged step with ten heads is {averaged} kernel launches" in readme
        assert f"MGDA-UB step {bound}." in readme
