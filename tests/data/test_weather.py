import datetime
import math
from pathlib import Path

import numpy as np
import pytest

import tinymtl.data
from tinymtl.data import load, shipped

FILE = Path(tinymtl.data.__file__).with_name("weather.npz")
MEASURED = ("precipitation", "temp_max", "temp_min", "wind")
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def raw():
    with np.load(FILE, allow_pickle=False) as archive:
        return {name: archive[name].tolist() for name in archive.files}


@pytest.fixture(scope="module")
def data():
    return load("weather")


def forecast_days(raw, part):
    """Places of the forecast days (tomorrow) of one part in the file, by the calendar."""
    year_half = {
        "train": (2012, 1, 3, 2014, 6, 30),
        "validation": (2014, 7, 1, 2014, 12, 31),
        "test": (2015, 1, 1, 2015, 12, 31),
    }
    first, last = datetime.date(*year_half[part][:3]), datetime.date(*year_half[part][3:])
    days = [datetime.date(d // 10000, d // 100 % 100, d % 100) for d in raw["date"]]
    return [place for place, day in enumerate(days) if first <= day <= last]


def features_by_hand(raw, place):
    """The 17 features of the row that forecasts the day at `place`."""
    today, yesterday = place - 1, place - 2
    date = raw["date"][today]
    day = datetime.date(date // 10000, date // 100 % 100, date % 100)
    angle = 2 * math.pi * (day.timetuple().tm_yday - 1) / 365.25
    season = [math.sin(angle), math.cos(angle), math.sin(2 * angle), math.cos(2 * angle)]
    hot = [float(raw["weather"][today] == kind) for kind in range(5)]
    return raw["values"][today] + hot + season + raw["values"][yesterday]


def test_rows_and_tasks(data):
    assert [len(getattr(data, part)) for part in PARTS] == [910, 184, 365]
    assert [(task.name, task.kind, task.outputs) for task in data.tasks] == [
        ("precipitation", "regression", 1),
        ("temp_max", "regression", 1),
        ("temp_min", "regression", 1),
        ("wind", "regression", 1),
        ("rain", "binary", 1),
        ("weather", "classes", 5),
    ]
    assert [task.scale.unit for task in data.tasks[:4]] == ["mm", "°C", "°C", "m/s"]
    assert data.features == 17 and len(data.feature_names) == 17


def test_the_first_forecast_is_that_of_3_january_2012(data):
    """Written out from the file's first three days."""
    restored = data.feature_scale.restore(data.train.x[:1])[0]
    np.testing.assert_allclose(restored[:4], [10.9, 10.6, 2.8, 4.5], atol=1e-5)  # 2 January: today
    np.testing.assert_allclose(restored[4:9], [0, 0, 1, 0, 0], atol=1e-6)  # rain
    np.testing.assert_allclose(restored[13:], [0.0, 12.8, 5.0, 4.7], atol=1e-5)  # 1 January: yesterday
    tomorrow = [float(task.scale.restore(data.train.targets[task.name][0])) for task in data.tasks[:4]]
    np.testing.assert_allclose(tomorrow, [0.8, 11.7, 7.2, 2.3], atol=1e-5)
    assert data.train.targets["rain"][0] == 1 and data.train.targets["weather"][0] == 2


@pytest.mark.parametrize("part", PARTS)
def test_every_row_against_the_file(raw, data, part):
    places, split = forecast_days(raw, part), getattr(data, part)
    assert len(split) == len(places)
    expected = [features_by_hand(raw, place) for place in places]
    np.testing.assert_allclose(data.feature_scale.restore(split.x), expected, atol=2e-5)
    for column, name in enumerate(MEASURED):
        restored = data.tasks[column].scale.restore(split.targets[name])
        np.testing.assert_allclose(restored, [raw["values"][place][column] for place in places], atol=2e-5)
    assert split.targets["rain"].tolist() == [float(raw["values"][place][0] > 0) for place in places]
    assert split.targets["weather"].tolist() == [raw["weather"][place] for place in places]
    assert np.isfinite(split.x).all()


def test_scales_are_those_of_the_training_part(raw, data):
    rows = np.array([features_by_hand(raw, place) for place in forecast_days(raw, "train")])
    np.testing.assert_allclose(data.feature_scale.mean, rows.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(data.feature_scale.std, rows.std(0), rtol=1e-9)
    np.testing.assert_allclose(data.train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(0), 1, atol=1e-5)
    for name in MEASURED:
        target = data.train.targets[name]
        assert abs(target.mean()) < 1e-5 and abs(target.std() - 1) < 1e-5
    assert (np.abs(data.test.x.std(0) - 1) > 1e-4).all()  # not standardised by itself
    assert all(abs(data.test.targets[name].mean()) > 1e-2 for name in MEASURED)


def test_a_day_reaches_only_the_forecasts_after_it(monkeypatch, tmp_path, data):
    """Change one day of 2015: the forecast *of* that day keeps its features, the next two days' change."""
    with np.load(FILE, allow_pickle=False) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    day = int(np.flatnonzero(arrays["date"] == 20150601)[0])
    arrays["values"][day] += 5
    arrays["weather"][day] = (arrays["weather"][day] + 1) % 5
    np.savez(tmp_path / "weather.npz", **arrays)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    changed = load("weather")

    row = (datetime.date(2015, 6, 1) - datetime.date(2015, 1, 1)).days
    touched = np.flatnonzero((changed.test.x != data.test.x).any(axis=1))
    assert touched.tolist() == [row + 1, row + 2]
    assert (changed.test.x[row + 1] != data.test.x[row + 1]).tolist() == [True] * 4 + [
        kind in (arrays["weather"][day], (arrays["weather"][day] - 1) % 5) for kind in range(5)
    ] + [False] * 8
    assert (changed.test.x[row + 2] != data.test.x[row + 2]).tolist() == [False] * 13 + [True] * 4
    for name in data.test.targets:
        different = np.flatnonzero(changed.test.targets[name] != data.test.targets[name])
        assert different.tolist() in ([row], []) and (name == "rain" or different.tolist() == [row])
    for part in ("train", "validation"):  # and with them the scales: the test part has no say in them
        assert (getattr(changed, part).x == getattr(data, part).x).all()


def test_features_are_named(data):
    names = data.feature_names
    assert names[1] == "temp_max today" and names[8] == "sun today" and names[13] == "precipitation yesterday"
    assert len(set(names)) == 17


def test_loading_twice_gives_the_same(data):
    again = load("weather")
    for part in PARTS:
        one, two = getattr(data, part), getattr(again, part)
        assert (one.x == two.x).all() and all((one.targets[n] == two.targets[n]).all() for n in one.targets)
