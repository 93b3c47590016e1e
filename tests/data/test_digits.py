from pathlib import Path

import numpy as np
import pytest

import tinymtl.data
from tinymtl.data import digits, load

POOLS = {"train": range(0, 1097), "validation": range(1097, 1297), "test": range(1297, 1797)}


@pytest.fixture(scope="module")
def raw():
    file = Path(tinymtl.data.__file__).with_name("digits.npz")
    with np.load(file, allow_pickle=False) as archive:
        return archive["images"].astype(int), archive["labels"].astype(int)


def canvas_by_hand(left, right, offset):
    """One canvas, pixel by pixel."""
    side = 8 + offset
    canvas = [[0] * side for _ in range(side)]
    for row in range(8):
        for column in range(8):
            canvas[row][column] = int(left[row, column])
    for row in range(8):
        for column in range(8):
            here = canvas[row + offset][column + offset]
            canvas[row + offset][column + offset] = max(here, int(right[row, column]))
    return canvas


def pairs_in_pool(canvas, offset, images, pool):
    """All (left, right) inside the pool that give this canvas, told by the pixels of one digit alone."""
    alone = np.ones((8, 8), dtype=bool)
    alone[offset:, offset:] = False  # of the left digit
    lefts = [i for i in pool if (images[i][alone] == canvas[:8, :8][alone]).all()]
    mirrored = alone[::-1, ::-1]  # of the right digit
    rights = [i for i in pool if (images[i][mirrored] == canvas[offset:, offset:][mirrored]).all()]
    return [
        (a, b)
        for a in lefts
        for b in rights
        if canvas_by_hand(images[a], images[b], offset) == canvas.tolist()
    ]


@pytest.mark.parametrize("offset", [3, 4, 8])
@pytest.mark.parametrize("part", POOLS)
def test_a_canvas_is_the_maximum_of_two_images_of_its_pool(raw, part, offset):
    images, labels = raw
    split = getattr(load("multidigits", offset=offset, pairs=(12, 12, 12)), part)
    side = 8 + offset
    for row in range(12):
        pixels = split.x[row].reshape(side, side).astype(np.float64) * 16
        assert (pixels == np.round(pixels)).all()
        pairs = pairs_in_pool(pixels.astype(int), offset, images, POOLS[part])
        shown = {(labels[a], labels[b]) for a, b in pairs}
        assert shown == {(split.targets["left"][row], split.targets["right"][row])}


def test_all_labels_and_pairings_of_labels_come_up():
    split = load("multidigits").train
    assert len({tuple(row) for row in split.matrix().tolist()}) == 100
    for name in ("left", "right"):
        assert np.bincount(split.targets[name]).min() > 300


def test_default_shapes_and_range():
    data = load("multidigits")
    assert [part.x.shape for part in (data.train, data.validation, data.test)] == [
        (4000, 144),
        (1000, 144),
        (2000, 144),
    ]
    assert [(task.name, task.kind, task.outputs) for task in data.tasks] == [
        ("left", "classes", 10),
        ("right", "classes", 10),
    ]
    assert data.features == 144 and data.train.x.dtype == np.float32
    assert data.train.x.min() == 0 and data.train.x.max() == 1
    assert data.train.targets["left"].dtype == np.int64


def test_an_offset_of_4_overlaps_a_quarter_of_each_digit():
    shared = sum(row >= 4 and column >= 4 for row in range(8) for column in range(8))
    assert shared / 64 == 0.25
    assert load("multidigits", offset=4, pairs=(1, 1, 1)).features == 12 * 12
    assert load("multidigits", offset=0, pairs=(1, 1, 1)).features == 8 * 8


def test_images_are_the_flat_rows():
    flat, images = (
        load("multidigits", pairs=(20, 10, 10)),
        load("multidigits", pairs=(20, 10, 10), flat=False),
    )
    assert images.train.x.shape == (20, 1, 12, 12) and images.features == 144
    assert (images.train.x.reshape(20, 144) == flat.train.x).all()


def test_the_seed_decides_the_pairs():
    one, again, other = load("multidigits"), load("multidigits", seed=0), load("multidigits", seed=1)
    for part in POOLS:
        assert (getattr(one, part).x == getattr(again, part).x).all()
        assert (getattr(one, part).matrix() == getattr(again, part).matrix()).all()
        assert (getattr(one, part).x != getattr(other, part).x).any()


def test_each_part_draws_for_itself(monkeypatch):
    """From pools that are the same, the parts draw different pairs."""
    monkeypatch.setattr(digits, "POOLS", {part: slice(0, 500) for part in POOLS})
    data = load("multidigits", pairs=(50, 50, 50))
    pairs = [split.matrix().tolist() for split in (data.train, data.validation, data.test)]
    assert pairs[0] != pairs[1] and pairs[0] != pairs[2] and pairs[1] != pairs[2]


def test_more_training_pairs_leave_the_test_pairs_alone():
    small, large = load("multidigits", pairs=(10, 50, 50)), load("multidigits", pairs=(4000, 50, 50))
    assert (small.test.x == large.test.x).all() and (small.validation.x == large.validation.x).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"offset": 9}, "offset is 9: give a whole number from 0 to 8"),
        ({"offset": -1}, "offset is -1"),
        ({"offset": 4.0}, "offset is 4.0"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
        ({"pairs": (10, 0, 10)}, "pairs for validation is 0"),
        ({"pairs": (10, 10, 1.5)}, "pairs for test is 1.5"),
        ({"pairs": (10, 10)}, r"pairs is \(10, 10\): give three whole numbers"),
        ({"pairs": 10}, "pairs is 10: give three whole numbers"),
    ],
)
def test_bad_options_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        load("multidigits", **options)


def test_attributes_keep_images_in_file_order(raw):
    images, _ = raw
    data = load("attributes")
    for part, pool in POOLS.items():
        split = getattr(data, part)
        assert split.x.shape == (len(pool), 64) and split.x.dtype == np.float32
        assert (split.x.astype(np.float64) * 16 == images[pool.start : pool.stop].reshape(-1, 64)).all()
    assert (
        POOLS["train"].stop == POOLS["validation"].start and POOLS["validation"].stop == POOLS["test"].start
    )
    assert POOLS["test"].stop == len(images)


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, number))


HOLES = {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 0, 8: 2, 9: 1}  # 4 is written open
RULES = {
    "even": lambda digit: digit % 2 == 0,
    "at_least_5": lambda digit: digit >= 5,
    "prime": is_prime,
    "loop": lambda digit: HOLES[digit] >= 1,
    "two_loops": lambda digit: HOLES[digit] == 2,
    "zero_or_one": lambda digit: digit < 2,
    "multiple_of_3": lambda digit: digit % 3 == 0,
    "curved": lambda digit: digit not in (1, 4, 7),
}


def test_attributes_follow_from_the_label(raw):
    _, labels = raw
    data = load("attributes")
    assert [task.name for task in data.tasks] == list(RULES)
    assert all((task.kind, task.outputs) == ("binary", 1) for task in data.tasks)
    for part, pool in POOLS.items():
        expected = [[float(rule(labels[i])) for rule in RULES.values()] for i in pool]
        matrix = getattr(data, part).matrix()
        assert matrix.dtype == np.float32 and matrix.tolist() == expected
