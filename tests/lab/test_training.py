import importlib
import time

import numpy as np
import pytest

import tinymtl as tm
from tests.lab.conftest import (
    ADAM,
    MAKE,
    MIXED,
    PAIR,
    assert_equal,
    everything,
    make_data,
    scripted_model,
    with_dropout,
    with_gaps,
)
from tinymtl.data import MultiTaskData
from tinymtl.lab import fit, measure
from tinymtl.lab.evaluation import evaluate
from tinymtl.lab.progress import NoBar, progress_bar

train = importlib.import_module("tinymtl.lab.training")

# ------------------------------------------------------------ the loop itself


def test_fit_is_the_plain_loop_over_shuffled_minibatches(pair):
    """Two epochs by hand: the same permutations, the same minibatches, the same parameters bit for bit."""
    model, twin = (tm.lab.build(pair, [6], rng=1) for _ in range(2))
    history = fit(tm.Averaged(model, ADAM), pair, epochs=2, batch_size=32, rng=9)
    step, rng = tm.Averaged(twin, ADAM), np.random.default_rng(9)
    for epoch in range(2):
        order, seen = rng.permutation(70), []
        for start in (0, 32, 64):
            rows = order[start : start + 32]
            report = step(pair.train.x[rows], pair.train.matrix()[rows])
            seen.append(len(rows) * report.losses)
        np.testing.assert_allclose(history.train_losses[epoch], np.sum(seen, axis=0) / 70, rtol=1e-6)
    np.testing.assert_array_equal(model.vector.data, twin.vector.data)
    assert history.trunk_forwards == history.trunk_backwards == [3, 3]
    assert history.head_backwards == [6, 6]
    assert history.epochs == 2 and history.evaluated == [1, 2] and len(history.seconds) == 2


def test_two_fits_agree_bit_for_bit_and_other_seeds_do_not(mixed):
    vectors = []
    for rng in (0, 0, 1):
        step = MAKE["alternating, shuffled"](with_dropout(mixed))
        fit(step, mixed, epochs=2, batch_size=16, rng=rng)
        vectors.append(step.model.vector.data.copy())
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_validation_is_recorded_as_evaluate_sees_it(mixed):
    model = tm.lab.build(mixed, [6])
    history = fit(tm.Averaged(model, ADAM), mixed, epochs=3, evaluate_every=2)
    assert history.evaluated == [2, 3]  # and after the last epoch
    scores = evaluate(model, mixed.validation)
    assert history.validation_losses[-1] == [scores[name]["loss"] for name in model.task_names]
    assert history.validation_metrics[-1] == [scores[name]["metric"] for name in model.task_names]


def test_mixed_tasks_and_a_single_task_of_the_data_are_trained(mixed):
    history = fit(tm.Averaged(tm.lab.build(mixed, [8]), ADAM), mixed, epochs=30, batch_size=16)
    first, last = np.array(history.train_losses[0]), np.array(history.train_losses[-1])
    assert (last < 0.7 * first).all()
    alone = fit(tm.Averaged(tm.lab.build(mixed, [8], tasks=["size"]), ADAM), mixed, epochs=1)
    assert alone.tasks == ["size"] and np.shape(alone.train_losses) == (1, 1)


def test_float64_networks_train_in_float64(pair):
    model = tm.lab.build(pair, [4]).to(dtype="float64")
    fit(tm.MGDA(model, ADAM), pair, epochs=1)
    assert model.vector.dtype == np.float64


# ------------------------------------------------------------ measuring


@pytest.mark.parametrize("name", MAKE)
def test_measuring_changes_nothing(mixed, name):
    steps = [MAKE[name](with_dropout(mixed)) for _ in range(2)]
    plain = fit(steps[0], mixed, epochs=2, batch_size=16)
    looked = fit(steps[1], mixed, epochs=2, batch_size=16, measure_every=1)
    assert_equal(everything(steps[1]), everything(steps[0]))
    assert looked.trunk_backwards == plain.trunk_backwards
    assert looked.train_losses == plain.train_losses
    assert looked.measured == list(range(1, 11)) and plain.measured == []


def test_measured_conflict_is_that_of_the_gradients(pair):
    """One step of SGD on one minibatch of all rows: cosine and gₖ·v from gradients taken by hand."""
    model = tm.lab.build(pair, [4], rng=2).to(dtype="float64")
    z = model.represent(batch := model.read(pair.train.x, pair.train.targets).x)
    losses = [model.losses(z, model.read(batch, pair.train.targets), [k]) for k in range(2)]
    g = [np.concatenate([a.ravel() for a in tm.grad(loss, model.shared_parameters(), [[1.0]])]) for loss in losses]
    v = (g[0] + 10 * g[1]) / 11
    step = tm.Averaged(model, tm.SGD(lr=0.1), weights=[1, 10])
    history = fit(step, pair, epochs=1, batch_size=70, measure_every=1)
    cosine = g[0] @ g[1] / np.linalg.norm(g[0]) / np.linalg.norm(g[1])
    assert history.smallest_cosine == [pytest.approx(cosine, abs=1e-12)]
    assert history.conflicting_pairs == [int(g[0] @ g[1] < 0)]
    assert history.raised_tasks == [int(g[0] @ v < 0) + int(g[1] @ v < 0)]


def test_mgda_with_sgd_raises_no_task(pair):
    """gₖ·v ≥ ‖v‖² at the min-norm point, so that no measured step counts as one that raises a loss."""
    step = tm.MGDA(tm.lab.build(pair, [4], rng=2).to(dtype="float64"), tm.SGD(lr=0.1))
    history = fit(step, pair, epochs=2, batch_size=35, measure_every=1)
    assert history.raised_tasks == [0, 0, 0, 0]


def test_shares_of_a_history():
    history = tm.lab.History(["a", "b", "c"])
    assert history.conflicting_share is None and history.raising_share is None
    history.measured, history.conflicting_pairs, history.raised_tasks = [1, 2, 3, 4], [0, 3, 1, 0], [0, 0, 1, 0]
    assert history.conflicting_share == 0.5
    assert history.conflicting_pairs_share == pytest.approx(1 / 3)
    assert history.raising_share == 0.25


def test_steps_are_timed_and_measuring_is_not(pair, monkeypatch):
    """On a clock that moves by 1 in a step and by 100 in a measurement."""
    now = 0.0

    def taking(seconds, function):
        def timed(*arguments):
            nonlocal now
            now += seconds
            return function(*arguments)

        return timed

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(train, "task_gradients", taking(100.0, measure.task_gradients))
    monkeypatch.setattr(tm.Averaged, "__call__", taking(1.0, tm.Averaged.__call__))
    history = fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1, batch_size=14, measure_every=1)
    assert len(history.measured) == 5 and history.seconds == [5.0]


# ------------------------------------------------------------ early stop


def test_early_stop_keeps_the_parameters_of_the_best_epoch(pair):
    values = [0.1, 0.5, 0.3, 0.5, 0.4, 0.9, 0.9]
    model = scripted_model(pair, values)
    history = fit(tm.Averaged(model, ADAM), pair, epochs=50, patience=3)
    assert history.stopped_early and history.epochs == 5  # epoch 2 was best, 3 to 5 were not better (a tie is not)
    assert history.best_epoch == 2
    twin = tm.lab.build(pair, [4])
    fit(tm.Averaged(twin, ADAM), pair, epochs=2)
    np.testing.assert_array_equal(model.vector.data, twin.vector.data)


def test_without_patience_the_last_parameters_stay(pair):
    model = scripted_model(pair, [0.9, 0.1, 0.1])
    history = fit(tm.Averaged(model, ADAM), pair, epochs=3)
    twin = tm.lab.build(pair, [4])
    fit(tm.Averaged(twin, ADAM), pair, epochs=3)
    assert history.best_epoch == 1 and not history.stopped_early
    np.testing.assert_array_equal(model.vector.data, twin.vector.data)


def test_the_best_epoch_is_that_of_the_mean_over_tasks(pair):
    model = scripted_model(pair, [0.9, 0.5, 0.0], second=[0.0, 0.6, 0.9])
    assert fit(tm.Averaged(model, ADAM), pair, epochs=3).best_epoch == 2


# ------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"patience": -1}, "patience is -1"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"measure_every": "x"}, "measure_every is 'x'"),
        ({"resume": True}, "give checkpoint="),
        ({"checkpoint": "no/such/directory/run.npz"}, "no/such/directory does not exist"),
    ],
)
def test_bad_options_move_nothing(pair, options, words):
    model = tm.lab.build(pair, [4])
    before = model.vector.data.copy()
    with pytest.raises((ValueError, OSError), match=words):
        fit(tm.Averaged(model, ADAM), pair, **({"epochs": 1} | options))
    np.testing.assert_array_equal(model.vector.data, before)


def test_a_task_that_the_data_lack_is_named(pair, mixed):
    with pytest.raises(ValueError, match="'first' is not in the data: its tasks are kind, size, yes"):
        fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), mixed, epochs=1)


def test_a_loss_of_ones_own_needs_a_metric(pair):
    model = tm.lab.build(pair, [4])
    tasks = [tm.Task(t.name, t.head, lambda p, y: (p * p).mean()) for t in model.tasks]
    with pytest.raises(ValueError, match="'first' has a loss of its own and no metric"):
        fit(tm.Averaged(tm.SharedBottom(model.trunk, tasks), ADAM), pair, epochs=1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda step, data: fit(step.model, data, 1), "step is a SharedBottom: give a strategy"),
        (lambda step, data: fit(step, data.train.x, 1), "data is a ndarray: give a MultiTaskData"),
        (lambda step, data: tm.lab.evaluate(step, data.test), "model is a Averaged: give a SharedBottom"),
        (lambda step, data: tm.lab.evaluate(step.model, data), "split is a MultiTaskData: give a part of a data set"),
        (lambda step, data: tm.lab.build(data.train, [4]), "data is a Split: give a MultiTaskData"),
    ],
)
def test_wrong_kinds_of_object(pair, call, sentence):
    with pytest.raises(TypeError, match=sentence):
        call(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair)


# ------------------------------------------------------------ the bar


def test_no_bar_where_nobody_watches(pair, capsys):
    assert isinstance(progress_bar(3, 0, "step", None), NoBar)  # pytest's stderr is no terminal
    fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_where_it_is_wanted(pair, capsys):
    fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=2, batch_size=35, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "/4" in err


# ------------------------------------------------------------ on the (fake) GPU


@pytest.mark.parametrize("tasks", [PAIR, MIXED], ids=["one matrix", "a dict"])
def test_the_same_run_on_the_device(cupy, tmp_path, tasks):
    data = make_data(tasks)
    options = {"epochs": 3, "batch_size": 16, "patience": 3, "measure_every": 2}
    here, there = (tm.lab.build(data, [5]).to(dtype="float64") for _ in range(2))
    there.to(device="cuda")
    expected = fit(tm.MGDAUB(here, ADAM), data, **options)
    found = fit(tm.MGDAUB(there, ADAM), data, checkpoint=tmp_path / "run.npz", **options)
    assert isinstance(there.vector.data, cupy.ndarray)
    np.testing.assert_allclose(found.train_losses, expected.train_losses, rtol=1e-12)
    np.testing.assert_allclose(found.smallest_cosine, expected.smallest_cosine, rtol=1e-9)
    np.testing.assert_allclose(found.validation_metrics, expected.validation_metrics, rtol=1e-12)
    twin = tm.lab.build(data, [5], rng=3).to(dtype="float64", device="cuda")
    fit(tm.MGDAUB(twin, ADAM), data, checkpoint=tmp_path / "run.npz", resume=True, **options)
    for key, value in there.state().items():
        np.testing.assert_array_equal(twin.state()[key], value)


# ------------------------------------------------------------ missing labels


@pytest.mark.parametrize("tasks", [PAIR, MIXED], ids=["one matrix", "a dict"])
@pytest.mark.parametrize("name", tm.STRATEGIES)
def test_every_strategy_trains_on_what_is_labelled(name, tasks):
    """Two epochs of fit are the plain loop over the rows that have a label, and resume goes on with it."""
    data = make_data(tasks)
    data = MultiTaskData("gaps", with_gaps(data.train, no_label=range(5, 20)), with_gaps(data.validation), data.test)
    model, twin = tm.lab.build(data, [5]), tm.lab.build(data, [5])
    step, other = tm.STRATEGIES[name](model, ADAM, rng=1), tm.STRATEGIES[name](twin, ADAM, rng=1)
    history = fit(step, data, epochs=2, batch_size=4, rng=7, measure_every=3)
    rng, expected = np.random.default_rng(7), []
    rows = np.array([n for n in range(70) if not 5 <= n < 20])
    for _ in range(2):
        order, losses, counts = rows[rng.permutation(55)], 0.0, 0.0
        for start in range(0, 55, 4):
            batch = order[start : start + 4]
            targets = {key: column[batch] for key, column in data.train.targets.items()}
            report = other(data.train.x[batch], targets)
            count = np.array([(~np.isnan(column)).sum() for column in targets.values()])
            losses, counts = losses + np.nan_to_num(report.losses) * count, counts + count
        other.end_epoch()
        expected.append(losses / counts)
    np.testing.assert_allclose(history.train_losses, expected, rtol=1e-6)
    np.testing.assert_allclose(model.vector.data, twin.vector.data, rtol=1e-5, atol=1e-6)
    assert history.trunk_forwards[0] >= 14 and len(history.measured) == 10
    scores = tm.lab.evaluate(model, data.validation)
    assert history.validation_metrics[-1] == [score["metric"] for score in scores.values()]


def test_a_task_that_is_not_in_the_validation_part_has_no_say(mixed):
    data = MultiTaskData("gaps", mixed.train, with_gaps(mixed.validation, missing=["size"]), mixed.test)
    model = tm.lab.build(data, [5])
    history = fit(tm.Averaged(model, ADAM), data, epochs=4, patience=4)
    metrics = np.array(history.validation_metrics)
    assert np.isnan(metrics[:, 1]).all() and np.isfinite(metrics[:, [0, 2]]).all()
    assert history.best_epoch == 1 + metrics[:, [0, 2]].mean(axis=1).argmax()


def test_parts_without_labels_are_refused_before_anything_moves(mixed):
    model = tm.lab.build(mixed, [5])
    before = model.vector.data.copy()
    for part, sentence in (
        ("train", "task 'size' has no label in the training part of gaps: leave the task out"),
        ("validation", "the validation part of gaps has no label for any of kind, size, yes"),
    ):
        missing = ["size"] if part == "train" else ["kind", "size", "yes"]
        parts = {"train": mixed.train, "validation": mixed.validation, "test": mixed.test}
        parts[part] = with_gaps(parts[part], missing=missing)
        with pytest.raises(ValueError, match=sentence):
            fit(tm.Averaged(model, ADAM), MultiTaskData("gaps", *parts.values()), epochs=1)
    assert (model.vector.data == before).all()


@pytest.mark.parametrize("tasks", [PAIR, MIXED], ids=["one matrix", "a dict"])
def test_the_same_run_with_gaps_on_the_device(cupy, tasks):
    data = make_data(tasks)
    data = MultiTaskData("gaps", *(with_gaps(split) for split in (data.train, data.validation, data.test)))
    here, there = (tm.lab.build(data, [5]).to(dtype="float64") for _ in range(2))
    there.to(device="cuda")
    options = {"epochs": 2, "batch_size": 4, "measure_every": 5}
    for make in (tm.Averaged, tm.MGDA, tm.Alternating):
        expected, found = fit(make(here, ADAM), data, **options), fit(make(there, ADAM), data, **options)
        np.testing.assert_allclose(found.train_losses, expected.train_losses, rtol=1e-10)
        np.testing.assert_allclose(found.validation_metrics, expected.validation_metrics, rtol=1e-10)


def test_penguins_train(tmp_path):
    data = tm.data.load("penguins")
    model = tm.lab.build(data, [16])
    history = fit(tm.MGDAUB(model, tm.Adam(lr=0.01)), data, epochs=30, batch_size=8, checkpoint=tmp_path / "run.npz")
    assert np.isfinite(history.train_losses).all() and np.isfinite(history.validation_metrics).all()
    assert history.validation_metrics[-1][0] > 0.9
