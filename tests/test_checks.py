"""A refusal is one sentence: what was given, what is expected."""

import numpy as np
import pytest

from tinymtl.checks import choose, did_you_mean, random_generator, whole_number

NAMES = ["averaged", "MGDA", "mgda-ub"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("mgda", "did you mean 'MGDA'?"),
        ("MGDA_UB", "did you mean 'mgda-ub'?"),
        ("average", "did you mean 'averaged'?"),
        ("xyz", "use 'averaged', 'MGDA' or 'mgda-ub'"),
        (7, "use 'averaged', 'MGDA' or 'mgda-ub'"),
        (None, "use 'averaged', 'MGDA' or 'mgda-ub'"),
        (["MGDA"], "did you mean 'MGDA'?"),
        (np.array([1.0, 2.0]), "use 'averaged', 'MGDA' or 'mgda-ub'"),
    ],
)
def test_a_name_that_is_not_known(given, hint):
    with pytest.raises(KeyError) as caught:
        choose("strategy", given, (name for name in NAMES), KeyError)
    assert caught.value.args == (f"unknown strategy {given!r}: {hint}",)


def test_a_known_name_comes_back():
    assert [choose("strategy", name, NAMES) for name in NAMES] == NAMES
    assert choose("strategy", "b", {"a": 1, "b": 2}) == "b"


def test_one_name_and_other_words():
    assert did_you_mean("x", ["only"]) == "use 'only'"
    assert did_you_mean("x", NAMES, otherwise="look at the list") == "look at the list"
    assert did_you_mean("mgda", NAMES, otherwise="look at the list") == "did you mean 'MGDA'?"


@pytest.mark.parametrize("given", [1, 5, np.int64(3), np.uint8(2)])
def test_whole_numbers_come_back_as_python_ints(given):
    found = whole_number("epochs", given, 1, 5)
    assert found == given and type(found) is int


@pytest.mark.parametrize("given", [0, 6, 2.0, "3", True, None, np.float64(2), np.array(2), [2]])
def test_other_numbers_are_named(given):
    with pytest.raises(ValueError) as caught:
        whole_number("epochs", given, 1, 5)
    assert str(caught.value) == f"epochs is {given!r}: give a whole number from 1 to 5"


def test_without_a_largest_number_and_with_another_error():
    assert whole_number("epochs", 10**12, 1) == 10**12
    with pytest.raises(KeyError, match="epochs is 0: give a whole number of at least 1"):
        whole_number("epochs", 0, 1, error=KeyError)


def test_a_generator_is_made_of_what_numpy_makes_one_of():
    first = np.random.default_rng(7).random()
    seeds = (7, np.int64(7), [7], (7,), np.array([7]))
    for rng in (*seeds, np.random.default_rng(7), np.random.PCG64(7), np.random.SeedSequence(7)):
        assert random_generator(rng).random() == first
    given = np.random.Generator(np.random.MT19937(1))
    assert random_generator(given) is given
    assert isinstance(random_generator(None), np.random.Generator)
    assert isinstance(random_generator(np.random.RandomState(1)), np.random.Generator)


@pytest.mark.parametrize(
    "rng", [-1, 1.5, True, "a", {}, [1.5], [-1], np.ones(2), np.ones((2, 2)).view(np.matrix), np.random.default_rng]
)
def test_what_is_no_generator_is_refused(rng):
    """A np.matrix ends the process in NumPy 2.4's default_rng."""
    with pytest.raises((TypeError, ValueError), match="rng is .*: give a whole number of at least 0"):
        random_generator(rng)
