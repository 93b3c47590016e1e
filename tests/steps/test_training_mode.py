"""Steps train: dropout and batch normalisation in every strategy, what a forward moves, and what a failure undoes."""

import copy
import pickle

import numpy as np
import pytest

import tinymtl as tm
from tests.gpu.conftest import cupy, on_host  # noqa: F401  (the fake device)
from tests.steps.conftest import CLASSES, FEATURES, ROWS, STRATEGIES, WIDTH, batch, reads
from tinymtl import fake_cupy
from tinymtl.nn import evaluating, is_training, training

K = 3
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)


class Asking(tm.nn.Module):
    """Notes in which mode it is run, and hands on its input."""

    def __init__(self):
        self.modes = []

    def forward(self, x):
        self.modes.append(is_training())
        return x


def normed(dropout=0.3, head_norm=True):
    """Batch normalisation in the trunk, before any parameter and after some, and in every head; dropout too."""
    nn = tm.nn
    trunk = nn.Sequential(
        nn.BatchNorm1d(FEATURES), nn.MLP([FEATURES, 6, WIDTH], rng=1), nn.BatchNorm1d(WIDTH), nn.Dropout(dropout, rng=5)
    )
    heads = [
        nn.Sequential(*([nn.BatchNorm1d(WIDTH)] if head_norm else []), nn.Linear(WIDTH, CLASSES, rng=10 + k))
        for k in range(K)
    ]
    tasks = [tm.Task(f"t{k}", head, tm.cross_entropy) for k, head in enumerate(heads)]
    return tm.SharedBottom(trunk, tasks).to("float64")


def everything(step):
    """All bits that a step may change."""
    arrays = {**step.model.state(), **{f"step/{key}": value for key, value in step.state().items()}}
    found = {key: value.tobytes() for key, value in arrays.items()}
    return found | {"generators": [str(g.bit_generator.state) for g in step.model.generators]}


@every_strategy
def test_every_forward_of_the_trunk_moves_the_running_values_once(strategy):
    x, y = batch(K)
    model = normed()
    step = strategy(model, tm.SGD(0.0))
    report = step(x, y)  # nothing is learned: every forward sees the same batch
    norm = model.trunk.layers[0]
    kept = 0.9 ** (report.trunk_forwards - isinstance(step, tm.FAMO))  # whose second forward leaves no trace
    np.testing.assert_allclose(norm.running_mean.data, (1 - kept) * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(norm.running_var.data, kept + (1 - kept) * x.var(axis=0, ddof=1), rtol=1e-12)
    for task in model.tasks:  # each head is run once
        assert (task.head.layers[0].running_mean.data != 0).any()


@every_strategy
def test_a_refused_step_has_moved_nothing_and_the_next_one_is_as_if_it_had_not_been(strategy):
    x, y = batch(K)
    step, fresh = strategy(normed()), strategy(normed())
    step(x, y), fresh(x, y)
    before = everything(step)
    unknown = y | {f"t{K - 1}": y["t0"] + 100}  # in the last turn
    nan = np.where(np.arange(FEATURES) == 1, np.nan, x)
    for bad in ((nan, y), (x, unknown), (x[:1], {name: labels[:1] for name, labels in y.items()})):
        with pytest.raises((ValueError, FloatingPointError)):
            step(*bad)
        assert everything(step) == before
    step(x, y), fresh(x, y)
    assert everything(step) == everything(fresh)


@every_strategy
def test_a_step_trains_wherever_it_is_called(strategy):
    x, y = batch(K)

    def after(run):
        step = strategy(normed())
        step.model.trunk.layers.append(Asking())
        run(step)
        assert set(step.model.trunk.layers[-1].modes) == {True}
        return everything(step)

    def walk(step):
        for _ in step.stages(x, y):
            assert not is_training()  # who walks keeps the mode that they are in

    expected = after(lambda step: step(x, y))
    with evaluating():
        assert after(lambda step: step(x, y)) == expected
        assert after(walk) == expected
    assert is_training()


def test_a_step_that_fails_leaves_the_mode_as_it_was():
    x, y = batch(K)
    for strategy in STRATEGIES:
        with evaluating():
            with pytest.raises(FloatingPointError):
                strategy(normed())(x * np.nan, y)
            assert not is_training()
        assert is_training()


def test_predict_takes_the_running_values_and_changes_nothing():
    x, y = batch(K)
    model = normed()
    step = tm.Averaged(model, tm.SGD(0.1))
    step(x, y)
    before = everything(step)
    first, mlp, last, _ = model.trunk.layers

    def by_hand(norm, z):
        z = (z - norm.running_mean.data) / np.sqrt(norm.running_var.data + norm.eps)
        return z * norm.weight.data + norm.bias.data

    z = by_hand(last, mlp(by_hand(first, x)).data)
    with training():
        found = model.predict(x)
        alone = model.predict(x[:1])
    for task in model.tasks:
        norm, linear = task.head.layers
        expected = by_hand(norm, z) @ linear.weight.data + linear.bias.data
        np.testing.assert_allclose(found[task.name], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(alone[task.name], expected[:1], rtol=1e-12, atol=1e-12)
    assert everything(step) == before


def test_a_batch_of_one_row_is_refused_by_name():
    x, y = batch(K)
    with pytest.raises(
        ValueError, match=r"BatchNorm1d got an input of shape \(1, 4\) in training, .* two rows or more"
    ):
        tm.Averaged(normed(), tm.SGD(0.1))(x[:1], {name: labels[:1] for name, labels in y.items()})


# ---------------------------------------------------------------- buffers are the model's


def trained():
    x, y = batch(K)
    model = normed()
    step = tm.Averaged(model, tm.SGD(0.1))
    for _ in range(3):
        step(x, y)
    return model, x, y


def test_state_names_buffers_by_their_path():
    keys = list(normed().state())
    assert [key for key in keys if "running" in key][:4] == [
        "trunk/layers.0.running_mean",
        "trunk/layers.0.running_var",
        "trunk/layers.2.running_mean",
        "trunk/layers.2.running_var",
    ]
    assert "heads/t1/layers.0.running_var" in keys
    assert len(keys) == 8 + K * 4 + 2 * (2 + K)  # parameters of the trunk and the heads, two buffers for each norm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_model_predicts_alike(tmp_path, dtype):
    model, x, _ = trained()
    model.to(dtype)
    model.save(tmp_path / "model.npz")
    twin = normed()
    again = tm.SharedBottom.load(tmp_path / "model.npz", twin.trunk, twin.tasks)
    assert {b.data.dtype for b in again.buffers.values()} == {np.dtype(dtype)}
    for name, values in model.state().items():
        np.testing.assert_array_equal(again.state()[name], values)
    for name, values in model.predict(x).items():
        np.testing.assert_array_equal(again.predict(x)[name], values)


def test_states_that_do_not_fit_change_nothing():
    model, _, _ = trained()
    before = model.state()
    key = "trunk/layers.0.running_mean"
    for change, message in (
        ({key: None}, f"'{key}' is in only one of the two"),
        ({"trunk/layers.9.running_mean": np.zeros(4)}, r"'trunk/layers.9.running_mean' is in only one"),
        ({key: np.zeros(5)}, rf"'{key}' was saved with shape \(5,\), this model has \(4,\)"),
        ({key: np.zeros(4, np.int64)}, f"'{key}' was saved as int64, this model has float64"),
    ):
        state = {name: values for name, values in {**before, **change}.items() if values is not None}
        with pytest.raises(ValueError, match=message):
            model.load_state(state)
        for name, values in model.state().items():
            np.testing.assert_array_equal(values, before[name])


def test_a_saved_state_shares_nothing_with_the_model():
    model, x, y = trained()
    state = model.state()
    kept = {name: values.copy() for name, values in state.items()}
    tm.Averaged(model, tm.SGD(0.1))(x, y)
    model.load_state(state)
    tm.Averaged(model, tm.SGD(0.1))(x, y)
    for name, values in state.items():
        np.testing.assert_array_equal(values, kept[name])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_a_copy_has_buffers_of_its_own(clone):
    model, x, y = trained()
    before = model.state()
    twin = clone(model)
    tm.Averaged(twin, tm.SGD(0.1))(x, y)
    for name, values in model.state().items():
        np.testing.assert_array_equal(values, before[name])
    assert not np.array_equal(twin.state()["trunk/layers.0.running_mean"], before["trunk/layers.0.running_mean"])
    tm.Averaged(model, tm.SGD(0.1))(x, y)
    for name, values in model.state().items():
        np.testing.assert_array_equal(values, twin.state()[name])


def test_looking_at_a_model_moves_no_buffer():
    model, x, y = trained()
    before = model.state()
    with evaluating():
        found = tm.lab.task_gradients(model, x, y)
    expected = tm.lab.task_gradients(model, x, y)  # of the training loss, wherever it is asked for
    np.testing.assert_array_equal(found, expected)
    for name, values in model.state().items():
        np.testing.assert_array_equal(values, before[name])


def test_a_models_dtype_is_its_buffers_too():
    model, x, y = trained()
    model.to("float32")
    assert {b.data.dtype for b in model.buffers.values()} == {np.dtype("float32")}
    tm.Averaged(model, tm.SGD(0.1))(x, y)
    assert {b.data.dtype for b in model.buffers.values()} == {np.dtype("float32")}
    mixed = tm.SharedBottom(
        tm.nn.Sequential(tm.nn.Linear(4, 3).to("float64"), tm.nn.BatchNorm1d(3)),
        [tm.Task("a", tm.nn.Linear(3, 2), tm.cross_entropy)],
    )
    assert {b.data.dtype for b in mixed.buffers.values()} == {np.dtype("float64")}


class Counting(tm.nn.Module):
    """A buffer of whole numbers that a forward writes into."""

    def __init__(self):
        self.linear = tm.nn.Linear(FEATURES, WIDTH, rng=0)
        self.seen = tm.nn.Buffer(np.zeros(1, np.int64))

    def forward(self, x):
        self.seen.data += 1
        return self.linear(x)


def test_a_buffer_that_is_written_into_is_put_back_too():
    x, y = batch(2)
    tasks = [tm.Task(f"t{k}", tm.nn.Linear(WIDTH, CLASSES), tm.cross_entropy) for k in range(2)]
    model = tm.SharedBottom(Counting(), tasks).to("float64")
    step = tm.Alternating(model, tm.SGD(0.1))
    step(x, y)
    with pytest.raises(FloatingPointError):
        step(x * np.nan, y)
    with pytest.raises(ValueError, match="'t1'"):  # in the second turn
        step(x, y | {"t1": y["t1"] + 100})
    assert model.trunk.seen.data.tolist() == [2]
    assert model.trunk.seen.data.dtype == np.int64
    state = model.state()
    model.load_state(state)
    step(x, y)
    assert (model.trunk.seen.data.tolist(), state["trunk/seen"].tolist()) == ([4], [2])


def test_values_of_another_dtype_take_the_models():
    model, _, _ = trained()
    state = model.state()
    model.to("float32").load_state(state)
    assert {b.data.dtype for b in model.buffers.values()} == {np.dtype("float32")}


def test_a_model_of_buffers_alone_is_saved_too(tmp_path):
    class Seen(tm.nn.Module):
        def __init__(self, seen):
            self.seen = tm.nn.Buffer(np.array([seen]))

        def forward(self, x):
            return x

    def made(seen):
        return tm.SharedBottom(Seen(seen), [tm.Task("a", tm.nn.ReLU(), tm.mse_loss)])

    made(7).save(tmp_path / "model.npz")
    again = made(0)
    again = tm.SharedBottom.load(tmp_path / "model.npz", again.trunk, again.tasks)
    assert again.trunk.seen.data.tolist() == [7]


@every_strategy
def test_on_the_device(cupy, strategy):  # noqa: F811
    x, y = batch(K)
    here, there = normed(), normed().to(device="cuda")
    rule = tm.SGD(0.1, momentum=0.9)  # Adam enlarges rounding: a bias before a normalisation has the gradient 0
    on_cpu, on_gpu = strategy(here, rule), strategy(there, rule)
    on_cpu(x, y), on_gpu(x, y)
    x_there, y_there = cupy.asarray(x), {name: cupy.asarray(labels) for name, labels in y.items()}
    on_cpu(x, y)
    fake_cupy.tally.reset()
    on_gpu(x_there, y_there)
    assert fake_cupy.tally.reads == reads(on_gpu)
    for name, values in here.state().items():
        np.testing.assert_allclose(there.state()[name], values, rtol=1e-9, atol=1e-11)
    before = there.state()
    with pytest.raises(ValueError):
        on_gpu(x_there[:1], {name: labels[:1] for name, labels in y_there.items()})
    for name, values in there.state().items():
        np.testing.assert_array_equal(values, before[name])
    for name, values in here.predict(x).items():
        np.testing.assert_allclose(on_host(there.predict(x_there)[name]), values, rtol=1e-9, atol=1e-11)
    assert all(isinstance(b.data, cupy.ndarray) for b in there.buffers.values())
    assert len(x) == ROWS
