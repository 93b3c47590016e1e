import importlib
import json
import time

import numpy as np
import pytest

import tinymtl as tm
from tests.lab.conftest import MIXED, PAIR, make_data, with_dropout
from tinymtl.lab import fit, measure
from tinymtl.lab.evaluate import evaluate
from tinymtl.lab.progress import NoBar, progress_bar
from tinymtl.nn.files import load_arrays, save_arrays

train = importlib.import_module("tinymtl.lab.train")
ADAM = tm.Adam(lr=0.02)
MAKE = {
    "averaged": lambda model: tm.Averaged(model, ADAM),
    "mgda": lambda model: tm.MGDA(model, ADAM),
    "mgda-ub": lambda model: tm.MGDAUB(model, ADAM),
    "alternating, shuffled": lambda model: tm.Alternating(model, ADAM, order="shuffled", rng=3),
    "alternating, shared": lambda model: tm.Alternating(model, ADAM, moments="shared"),
    "grouped, redrawn": lambda model: tm.RandomGrouped(model, ADAM, 2, redraw="step", rng=4),
    "grouped": lambda model: tm.RandomGrouped(model, ADAM, 2, rng=5),
}


def everything(step):
    """All that a run leaves behind, as plain arrays."""
    return {**step.model.state(), **{f"step/{key}": value for key, value in step.state().items()}}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def without_time(history):
    return {key: value for key, value in history.to_dict().items() if key != "seconds"}


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


def test_measuring_is_not_timed(pair, monkeypatch):
    def slow(*arguments):
        time.sleep(0.1)
        return measure.task_gradients(*arguments)

    monkeypatch.setattr(train, "task_gradients", slow)
    history = fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1, batch_size=14, measure_every=1)
    assert len(history.measured) == 5 and history.seconds[0] < 0.3


# ------------------------------------------------------------ early stop


class Scripted:
    """A metric that follows a script, so that the best epoch is known: two evaluations of one task per epoch."""

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, prediction, target):
        return next(self.values)


def scripted_model(data, values, second=None):
    model = tm.lab.build(data, [4])
    script = [Scripted(values), second or (lambda prediction, target: 0.0)]
    tasks = [tm.Task(t.name, t.head, t.loss, metric) for t, metric in zip(model.tasks, script, strict=True)]
    return tm.SharedBottom(model.trunk, tasks)


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
    model = scripted_model(pair, [0.9, 0.5, 0.0], second=Scripted([0.0, 0.6, 0.9]))
    assert fit(tm.Averaged(model, ADAM), pair, epochs=3).best_epoch == 2


# ------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("patience", [None, 20], ids=["last", "best"])
@pytest.mark.parametrize("name", MAKE)
def test_a_resumed_run_is_bit_identical(tmp_path, mixed, name, patience):
    """Adam, dropout in trunk and head, shuffled rows: interrupted after two of five epochs."""
    options = {"batch_size": 16, "rng": 8, "measure_every": 2, "patience": patience}
    whole = MAKE[name](with_dropout(mixed))
    expected = fit(whole, mixed, epochs=5, **options)
    path = tmp_path / "run.npz"
    fit(MAKE[name](with_dropout(mixed)), mixed, epochs=2, checkpoint=path, **options)
    again = MAKE[name](with_dropout(mixed))
    again.model.trunk_block.vector.data[:] = 0.5  # whatever it holds: the checkpoint counts
    found = fit(again, mixed, epochs=5, checkpoint=path, resume=True, **options)
    assert_equal(everything(again), everything(whole))
    assert without_time(found) == without_time(expected)
    inside = [[g.bit_generator.state for g in measure.generators(s.model)] for s in (again, whole)]
    assert inside[0] == inside[1] and len(inside[0]) == 3


def test_the_best_epoch_before_an_interruption_is_kept(tmp_path, pair):
    path = tmp_path / "run.npz"
    fit(tm.Averaged(scripted_model(pair, [0.9, 0.1]), ADAM), pair, epochs=2, patience=9, checkpoint=path)
    model, twin = scripted_model(pair, [0.2, 0.3]), tm.lab.build(pair, [4])
    history = fit(tm.Averaged(model, ADAM), pair, epochs=4, patience=9, checkpoint=path, resume=True)
    fit(tm.Averaged(twin, ADAM), pair, epochs=1)
    assert history.best_epoch == 1
    np.testing.assert_array_equal(model.vector.data, twin.vector.data)


def test_resuming_a_finished_run_gives_its_result_again(tmp_path, pair):
    path = tmp_path / "run.npz"
    model = tm.lab.build(pair, [4])
    first = fit(tm.Averaged(model, ADAM), pair, epochs=4, patience=4, checkpoint=path)
    twin = tm.lab.build(pair, [4])
    second = fit(tm.Averaged(twin, ADAM), pair, epochs=4, patience=4, checkpoint=path, resume=True)
    assert second.to_dict() == first.to_dict()
    np.testing.assert_array_equal(twin.vector.data, model.vector.data)


def test_a_run_that_stopped_early_stays_stopped(tmp_path, pair):
    path = tmp_path / "run.npz"
    fit(tm.Averaged(scripted_model(pair, [0.5, 0.1, 0.1]), ADAM), pair, epochs=9, patience=2, checkpoint=path)
    model = scripted_model(pair, [])  # no further evaluation may happen
    history = fit(tm.Averaged(model, ADAM), pair, epochs=9, patience=2, checkpoint=path, resume=True)
    assert history.stopped_early and history.epochs == 3


class Interrupting(tm.Averaged):
    """A step during which, after `countdown` calls, Ctrl-C is pressed: the forward is done, the update is not."""

    countdown = [0]  # noqa: RUF012  (on the class, so that it is no setting of the run)

    def stages(self, x, targets):
        stages = super().stages(x, targets)
        yield next(stages)
        self.countdown[0] -= 1
        if self.countdown[0] == 0:
            raise KeyboardInterrupt
        return (yield from stages)


@pytest.mark.parametrize("at", [1, 2, 8, 15])
def test_ctrl_c_leaves_a_checkpoint_to_resume_from(tmp_path, pair, at):
    """5 minibatches an epoch; Ctrl-C in the first epoch, in the second, and in the last minibatch of the third."""
    path = tmp_path / "run.npz"
    Interrupting.countdown[0] = at
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(Interrupting(with_dropout(pair), ADAM), pair, epochs=4, batch_size=14, checkpoint=path)
    assert f"after {(at - 1) // 5} complete epochs" in caught.value.__notes__[0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]
    again, whole = (Interrupting(with_dropout(pair), ADAM) for _ in range(2))
    found = fit(again, pair, epochs=4, batch_size=14, checkpoint=path, resume=True)
    expected = fit(whole, pair, epochs=4, batch_size=14)
    assert_equal(everything(again), everything(whole))
    assert without_time(found) == without_time(expected)


def test_a_torn_write_leaves_the_checkpoint_before_it(tmp_path, pair, monkeypatch):
    path = tmp_path / "run.npz"
    writes = []
    savez = np.savez

    def torn(file, **arrays):
        writes.append(1)
        if len(writes) == 3:  # the one after the second epoch
            file.write(b"PK half a file")
            raise KeyboardInterrupt
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", torn)
    with pytest.raises(KeyboardInterrupt):
        fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=4, checkpoint=path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]
    history = json.loads(str(load_arrays(path)["history"]))
    assert len(history["train_losses"]) == 1


def test_an_existing_checkpoint_is_not_overwritten_without_being_asked(tmp_path, pair):
    path = tmp_path / "run.npz"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="resume=True to go on"):
        fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1, checkpoint=path)
    assert path.read_bytes() == b"precious"


def checkpoint_of(tmp_path, data):
    path = tmp_path / "run.npz"
    fit(tm.Alternating(with_dropout(data), ADAM), data, epochs=1, checkpoint=path, patience=3)
    return path


def resume(path, data, make=lambda data: tm.Alternating(with_dropout(data), ADAM), **options):
    """Resume, and require that a refusal changed nothing."""
    step = make(data)
    before = {key: np.array(value) for key, value in everything(step).items()}
    try:
        return fit(step, data, epochs=2, checkpoint=path, resume=True, **({"patience": 3} | options))
    except ValueError:
        assert_equal(everything(step), before)
        raise


def test_damaged_checkpoints_get_one_sentence(tmp_path, pair):
    path = checkpoint_of(tmp_path, pair)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"run\.npz"):
            resume(path, pair)
    refused = 0
    for place in rng.integers(0, len(whole), 60):  # one byte turned over, anywhere
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            resume(path, pair)  # bytes that carry no meaning (a date of the archive) do no harm
        except ValueError as error:
            assert "run.npz" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 40
    path.write_bytes(whole)
    assert resume(path, pair).epochs == 2


@pytest.mark.parametrize("missing", ["history", "settings", "random", "model/trunk/0", "step/task 0/t"])
def test_an_incomplete_checkpoint_is_refused(tmp_path, pair, missing):
    path = checkpoint_of(tmp_path, pair)
    arrays = load_arrays(path)
    del arrays[missing]
    save_arrays(path, arrays)
    with pytest.raises(ValueError, match=r"run\.npz"):
        resume(path, pair)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"batch_size": 7}, "batch_size"),
        ({"patience": 4}, "patience"),
        ({"make": lambda data: tm.Averaged(with_dropout(data), ADAM)}, "strategy"),
        ({"make": lambda data: tm.Alternating(with_dropout(data), tm.Adam(lr=0.5))}, "optimizer"),
        ({"make": lambda data: tm.Alternating(with_dropout(data), ADAM, order="shuffled")}, "order"),
        ({"make": lambda data: tm.Alternating(with_dropout(data).to(dtype="float64"), ADAM)}, "parameters"),
        ({"make": lambda data: tm.Alternating(tm.lab.build(data, [6]), ADAM)}, "generators"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, pair, change, names):
    path = checkpoint_of(tmp_path, pair)
    with pytest.raises(ValueError, match=f"run.npz.*{names}"):
        resume(path, pair, **change)


def test_a_checkpoint_of_other_groups_is_refused(tmp_path, mixed):
    path = tmp_path / "run.npz"
    steps = {str(s.groups): s for s in (tm.RandomGrouped(with_dropout(mixed), ADAM, 2, rng=r) for r in range(20))}
    first, second = list(steps.values())[:2]
    fit(first, mixed, epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="its groups is"):
        fit(second, mixed, epochs=2, checkpoint=path, resume=True)


def test_a_checkpoint_of_another_width_is_refused(tmp_path, pair):
    path = tmp_path / "run.npz"
    fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1, checkpoint=path)
    other = tm.lab.build(pair, [5])
    before = other.vector.data.copy()
    with pytest.raises(ValueError, match="another network or step"):
        fit(tm.Averaged(other, ADAM), pair, epochs=2, checkpoint=path, resume=True)
    np.testing.assert_array_equal(other.vector.data, before)


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


def test_divergence_leaves_the_last_checkpoint(tmp_path, pair):
    path = tmp_path / "run.npz"
    step = tm.Averaged(tm.lab.build(pair, [4]), tm.SGD(lr=1e18))
    with pytest.raises(FloatingPointError, match="task 'first'"):
        fit(step, pair, epochs=9, checkpoint=path)
    assert json.loads(str(load_arrays(path)["history"]))["tasks"] == ["first", "second"]


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
