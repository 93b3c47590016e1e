import json

import numpy as np
import pytest

import tinymtl as tm
from tests.lab.conftest import ADAM, MAKE, assert_equal, everything, scripted_model, with_dropout, without_time
from tinymtl.data import MultiTaskData, Split
from tinymtl.files import load_arrays, save_arrays
from tinymtl.lab import fit, measure


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
    again.model.vector.data[again.model.layout.trunk][:] = 0.5  # whatever it holds: the checkpoint counts
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

    def updates(self, batch):
        updates = super().updates(batch)
        yield next(updates)
        self.countdown[0] -= 1
        if self.countdown[0] == 0:
            raise KeyboardInterrupt
        yield from updates


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


@pytest.mark.parametrize("missing", ["history", "settings", "random/0", "model/", "step/trunk of first/t"])
def test_an_incomplete_checkpoint_is_refused(tmp_path, pair, missing):
    path = checkpoint_of(tmp_path, pair)
    arrays = load_arrays(path)
    del arrays[next(key for key in arrays if key.startswith(missing))]
    save_arrays(path, arrays)
    with pytest.raises(ValueError, match=r"run\.npz"):
        resume(path, pair)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"batch_size": 7}, "batch_size"),
        ({"patience": 4}, "patience"),
        ({"make": lambda data: tm.Averaged(with_dropout(data), ADAM)}, "strategy"),
        ({"make": lambda data: tm.Alternating(with_dropout(data), tm.Adam(betas=(0.5, 0.9)))}, "optimizer"),
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


def test_the_partition_is_part_of_a_checkpoint(tmp_path, mixed):
    """A step made with another partition goes on with the run's own."""
    path = tmp_path / "run.npz"
    steps = [tm.RandomGrouped(with_dropout(mixed), ADAM, 2, rng=seed) for seed in range(20)]
    steps = list({str(step.memory["partition"]): step for step in steps}.values())
    partition = steps[0].memory["partition"]
    fit(steps[0], mixed, epochs=1, checkpoint=path)
    fit(steps[1], mixed, epochs=3, checkpoint=path, resume=True)
    whole = tm.RandomGrouped(with_dropout(mixed), ADAM, 2)
    whole.memory["partition"] = partition
    fit(whole, mixed, epochs=3)
    assert steps[1].memory["partition"] == partition
    np.testing.assert_array_equal(steps[1].model.vector.data, whole.model.vector.data)


def test_a_checkpoint_of_another_width_is_refused(tmp_path, pair):
    path = tmp_path / "run.npz"
    fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1, checkpoint=path)
    other = tm.lab.build(pair, [5])
    before = other.vector.data.copy()
    with pytest.raises(ValueError, match="another network or step"):
        fit(tm.Averaged(other, ADAM), pair, epochs=2, checkpoint=path, resume=True)
    np.testing.assert_array_equal(other.vector.data, before)


def test_divergence_leaves_the_last_checkpoint(tmp_path, pair):
    path = tmp_path / "run.npz"
    step = tm.Averaged(tm.lab.build(pair, [4]), tm.SGD(lr=1e18))
    with pytest.raises(FloatingPointError, match="task 'first'"):
        fit(step, pair, epochs=9, checkpoint=path)
    assert json.loads(str(load_arrays(path)["history"]))["tasks"] == ["first", "second"]


def cooling(t):
    return 0.05 / t**0.5


@pytest.mark.parametrize("rule", [tm.SGD(cooling), tm.SGD(cooling, 0.9), tm.AdamW(cooling, clip_norm=0.1)], ids=repr)
@pytest.mark.parametrize("make", [tm.Averaged, tm.Alternating], ids=["averaged", "alternating"])
def test_the_number_of_the_update_is_kept(tmp_path, pair, make, rule):
    whole = make(tm.lab.build(pair, [4]), rule)
    fit(whole, pair, epochs=4)
    path = tmp_path / "run.npz"
    fit(make(tm.lab.build(pair, [4]), rule), pair, epochs=1, checkpoint=path)
    again = make(tm.lab.build(pair, [4]), rule)
    fit(again, pair, epochs=4, checkpoint=path, resume=True)
    assert_equal(everything(again), everything(whole))
    other = make(tm.lab.build(pair, [4]), tm.SGD(lambda t: 0.05))
    with pytest.raises(ValueError, match="its optimizer is .*cooling.*, this run has .*<lambda>"):
        fit(other, pair, epochs=4, checkpoint=path, resume=True)


# ---------------------------------------------------------------- the identity of a run


def test_other_data_of_the_same_name_and_size_are_refused(tmp_path, pair):
    path = tmp_path / "run.npz"
    fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, epochs=1, checkpoint=path)
    rows = pair.test
    changed = Split(rows.x * 1.001, rows.targets, rows.tasks)
    other = MultiTaskData(pair.name, pair.train, pair.validation, changed)
    with pytest.raises(ValueError, match="its contents is '.*', this run has '"):
        fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), other, epochs=2, checkpoint=path, resume=True)


def test_a_rate_lowered_by_hand_is_told_and_goes_on(tmp_path, pair):
    path = tmp_path / "run.npz"
    step = tm.Averaged(tm.lab.build(pair, [4]), tm.Adam(lr=0.1))
    fit(step, pair, epochs=1, checkpoint=path)
    step.optimizer.lr = 0.05
    with pytest.warns(UserWarning, match=r"written with lr=0.1; the run goes on with lr=0.05"):
        assert fit(step, pair, epochs=2, checkpoint=path, resume=True).epochs == 2


KINDS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("kind", KINDS)
def test_any_bit_generator_is_kept(tmp_path, pair, kind):
    path = tmp_path / "run.npz"
    steps = [tm.Averaged(tm.lab.build(pair, [4]), ADAM) for _ in range(2)]
    fit(steps[0], pair, epochs=1, rng=np.random.Generator(kind(3)), checkpoint=path)
    fit(steps[0], pair, epochs=3, rng=np.random.Generator(kind(9)), checkpoint=path, resume=True)
    fit(steps[1], pair, epochs=3, rng=np.random.Generator(kind(3)))
    np.testing.assert_array_equal(steps[0].model.vector.data, steps[1].model.vector.data)


def test_another_kind_of_generator_changes_nothing(tmp_path, pair):
    path = tmp_path / "run.npz"
    fit(tm.Averaged(tm.lab.build(pair, [4]), ADAM), pair, 1, rng=np.random.Generator(KINDS[1](1)), checkpoint=path)
    step = tm.Averaged(tm.lab.build(pair, [4], rng=5), ADAM)
    before = step.model.vector.data.copy()
    with pytest.raises(ValueError, match="generator of kind PCG64DXSM, this step has PCG64"):
        fit(step, pair, 2, rng=1, checkpoint=path, resume=True)
    np.testing.assert_array_equal(step.model.vector.data, before)
    assert step.memory == {}


class Own:
    """An optimizer without a repr, whose memory is what it likes."""

    def __init__(self, lr, memory):
        self.lr, self.memory = lr, memory

    def init(self, parameters):
        return self.memory()

    def update(self, parameters, gradients, memory):
        for p, g in zip(parameters, gradients, strict=True):
            if isinstance(memory, dict):
                memory["sum"] = memory.get("sum", 0) + g
                memory["seen"] = [*memory.get("seen", []), "batch"][-3:]
                g = memory["sum"] / len(memory["seen"])
            p.data[...] -= self.lr * g


@pytest.mark.parametrize("memory", [dict, lambda: None], ids=["dict", "None"])
def test_an_optimizer_of_ones_own_resumes_to_the_bit(tmp_path, pair, memory):
    path = tmp_path / "run.npz"
    make = lambda: tm.Averaged(tm.lab.build(pair, [4]), Own(0.01, memory))  # noqa: E731
    fit(make(), pair, epochs=1, checkpoint=path)
    resumed, whole = make(), make()
    fit(resumed, pair, epochs=3, checkpoint=path, resume=True)
    fit(whole, pair, epochs=3)
    np.testing.assert_array_equal(resumed.model.vector.data, whole.model.vector.data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("settings", "[1, 2]"),
        ("settings", "null"),
        ("settings", "3"),
        ("settings", "[" * 100_000),
        ("history", "null"),
        ("history", '{"tasks": 3}'),
        ("random/0", "null"),
        ("random/0", '{"bit_generator": "PCG64", "state": 3}'),
        ("random/0", '{"bit_generator": "PCG64"}'),
    ],
)
def test_hostile_contents_are_refused_in_a_sentence(tmp_path, pair, key, value):
    path = checkpoint_of(tmp_path, pair)
    arrays = load_arrays(path)
    arrays[key] = np.array(value)
    save_arrays(path, arrays)
    with pytest.raises(ValueError, match=r"run\.npz .*") as caught:
        resume(path, pair)
    assert "\n" not in str(caught.value)


def test_a_history_of_the_wrong_kind_is_refused(tmp_path, pair):
    path = checkpoint_of(tmp_path, pair)
    arrays = load_arrays(path)
    history = json.loads(str(arrays["history"]))
    for part, value in (("seconds", "abc"), ("train_losses", [["x"]]), ("tasks", [1]), ("best_epoch", "2")):
        arrays["history"] = np.array(json.dumps(history | {part: value}))
        save_arrays(path, arrays)
        with pytest.raises(ValueError, match=f"its history's {part} is"):
            resume(path, pair)
