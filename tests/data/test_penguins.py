from pathlib import Path

import numpy as np
import pytest

import tinymtl.data
from tinymtl.data import load, shipped

FILE = Path(tinymtl.data.__file__).with_name("penguins.npz")
PARTS = ("train", "validation", "test")
MEASURED = {"mass": 3, "delta_15n": 4, "delta_13c": 5}


@pytest.fixture(scope="module")
def raw():
    with np.load(FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def data():
    return load("penguins")


def birds(data, part, raw):
    """The file's row of each bird of a part, found by its restored measurements."""
    split = getattr(data, part)
    scales = {task.name: task.scale for task in data.tasks}
    lengths = data.feature_scale.restore(split.x)[:, :3]
    rest = np.stack([scales[name].restore(split.targets[name]) for name in MEASURED], axis=1)
    table = np.concatenate([lengths, rest], axis=1)
    found = []
    for bird in table:
        same = (np.abs(raw["values"] - bird) < 1e-3) | (np.isnan(raw["values"]) & np.isnan(bird))
        close = np.flatnonzero(same.all(axis=1))
        assert len(close) == 1
        found.append(int(close[0]))
    return found


def test_counts(raw, data):
    measured = ~np.isnan(raw["values"][:, :3]).any(axis=1)
    assert measured.sum() == 342 and np.isnan(raw["values"][~measured]).all()
    assert [len(getattr(data, part)) for part in PARTS] == [206, 67, 69]
    # 60 %, 80 % of 151, 68 and 123 birds, rounded
    species = [np.bincount(getattr(data, part).targets["species"]).tolist() for part in PARTS]
    assert species == [[91, 41, 74], [30, 13, 24], [30, 14, 25]]
    labelled = {name: sum(getattr(data, part).labelled[name] for part in PARTS) for name in data.train.labelled}
    assert labelled == {"species": 342, "sex": 342 - 9, "mass": 342, "delta_15n": 342 - 12, "delta_13c": 342 - 11}


def test_every_bird_is_in_one_part_with_its_own_values(raw, data):
    seen = []
    for part in PARTS:
        rows, split = birds(data, part, raw), getattr(data, part)
        assert rows == sorted(rows)
        seen += rows
        assert split.targets["species"].tolist() == raw["species"][rows].tolist()
        sex = np.where(raw["sex"][rows] == 255, np.nan, raw["sex"][rows])
        np.testing.assert_array_equal(split.targets["sex"], sex)
        restored = data.feature_scale.restore(split.x)
        expected = [
            [*raw["values"][row, :3]]
            + [float(raw["island"][row] == island) for island in range(3)]
            + [float(raw["year"][row] == year) for year in range(3)]
            + [float(raw["clutch"][row])]
            for row in rows
        ]
        np.testing.assert_allclose(restored, expected, atol=1e-4)
    assert sorted(seen) == [i for i in range(344) if np.isfinite(raw["values"][i, :3]).all()]


def test_tasks_and_features(data):
    assert [(task.name, task.kind, task.outputs) for task in data.tasks] == [
        ("species", "classes", 3),
        ("sex", "binary", 1),
        ("mass", "regression", 1),
        ("delta_15n", "regression", 1),
        ("delta_13c", "regression", 1),
    ]
    assert data.feature_names == (
        *("culmen length", "culmen depth", "flipper length", "Biscoe", "Dream", "Torgersen"),
        *("2007", "2008", "2009", "clutch complete"),
    )
    assert [task.scale.unit for task in data.tasks[2:]] == ["g", "‰", "‰"]


def test_the_numbers_of_the_file_mean_what_the_names_say(raw):
    """Published: 152 Adélie, 68 Chinstrap, 124 Gentoo; only Adélie on Torgersen; Gentoo are the heaviest."""
    assert np.bincount(raw["species"]).tolist() == [152, 68, 124]
    assert set(raw["species"][raw["island"] == 2]) == {0} and set(raw["island"][raw["species"] == 1]) == {1}
    assert np.nanmean(raw["values"][raw["species"] == 2, 3]) > 5000
    assert np.nanmean(raw["values"][raw["sex"] == 1, 3]) > np.nanmean(raw["values"][raw["sex"] == 0, 3]) + 500


def test_scales_are_those_of_the_training_part(raw, data):
    rows = birds(data, "train", raw)
    for task in data.tasks[2:]:
        column = raw["values"][rows, MEASURED[task.name]].astype(np.float64)
        column = column[~np.isnan(column)]
        np.testing.assert_allclose(
            [task.scale.mean, task.scale.std], [column.mean(), column.std()], rtol=1e-9
        )
    np.testing.assert_allclose(data.train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(0), 1, atol=1e-5)
    for part in ("validation", "test"):
        assert (np.abs(getattr(data, part).x.mean(0)) > 1e-4).all()
        assert all(abs(np.nanmean(getattr(data, part).targets[name])) > 1e-3 for name in MEASURED)


def test_the_test_birds_have_no_say_in_the_training_part(monkeypatch, tmp_path, raw, data):
    changed = {name: array.copy() for name, array in raw.items()}
    changed["values"][birds(data, "test", raw)] *= 2
    np.savez(tmp_path / "penguins.npz", **changed)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    other = load("penguins")
    assert (other.train.x == data.train.x).all() and (other.validation.x == data.validation.x).all()
    for name, column in data.train.targets.items():
        np.testing.assert_array_equal(other.train.targets[name], column)
    assert (other.test.x[:, :3] != data.test.x[:, :3]).all()


def test_the_seed_decides_the_split(raw, data):
    again, other = load("penguins", seed=0), load("penguins", seed=1)
    assert (again.test.x == data.test.x).all() and (again.train.x == data.train.x).all()
    assert birds(other, "test", raw) != birds(data, "test", raw)
    assert np.bincount(other.train.targets["species"]).tolist() == [91, 41, 74]
    with pytest.raises(ValueError, match="seed is 'a': give a whole number of at least 0"):
        load("penguins", seed="a")
