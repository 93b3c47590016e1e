"""Equal but for rounding is equal: the first of equals, zeros, halves."""

import numpy as np
import pytest

from tinymtl.ties import CLOSE, exceeds, first_largest, first_smallest, nudged, rounding, settled

BARELY = 0.1 + 0.2  # one unit in the last place above 0.3


@pytest.mark.parametrize("values", [[0.3, BARELY, 0.1], [BARELY, 0.3, 0.1]])
def test_the_first_of_equals(values):
    assert first_largest(values) == 0
    assert first_smallest([-value for value in values]) == 0
    assert first_largest([0.0, *values]) == 1


def test_what_differs_is_not_equal():
    assert first_largest([1.0, 1.0 + 1e-8]) == 1
    assert first_smallest([1.0, 1.0 - 1e-8]) == 1
    assert first_largest([1.0, 1.5], noise=0.5) == 0
    assert first_largest([1.0, 1.5], noise=0.4) == 1


def test_values_that_are_not_finite():
    assert first_largest([1.0, np.inf, 2.0]) == 1
    assert first_largest([-np.inf, 1.0, 2.0]) == 2
    assert first_largest([-np.inf, -np.inf]) == 0
    assert first_smallest([1.0, -np.inf]) == 1


def test_along_the_last_axis_and_in_float32():
    logits = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2)), 0.5], [0.0, 1.0, 1.001]], np.float32)
    assert first_largest(logits).tolist() == [0, 2]
    assert logits.argmax(axis=1).tolist() == [1, 2]


def test_settled():
    assert settled([1.0, 1e-17, -1e-17, np.inf]).tolist() == [1.0, 0.0, 0.0, np.inf]
    assert settled([1e-17, 2e-17]).tolist() == [1e-17, 2e-17]  # nothing next to which they are small
    assert settled([[1.0, 0.2], [0.1, 3.0]], [[0.5], [0.1]]).tolist() == [[1.0, 0.0], [0.0, 3.0]]
    assert settled(np.float32([1, 1e-6])).tolist() == [1, 0]
    assert settled(np.float32([1, 1e-6])).dtype == np.float32
    assert np.isnan(settled([np.nan, 1.0])).tolist() == [True, False]


def test_exceeds():
    assert not exceeds(BARELY, 0.3) and not exceeds(0.3, BARELY) and exceeds(0.3 + 1e-8, 0.3)
    assert exceeds(0.0, -np.inf) and not exceeds(-np.inf, -np.inf) and not exceeds(np.nan, 0.0)


@pytest.mark.parametrize(("half", "said"), [(0.8125, "0.813"), (-0.8125, "-0.813"), (0.0625, "0.063"), (0.0, "0.000")])
def test_halves_go_away_from_zero(half, said):
    for value in (half, half * (1 + 1e-15), half * (1 - 1e-15)):
        assert f"{nudged(value):.3f}" == said


def test_how_much_is_rounding():
    assert rounding(np.float32) == 64 * 2**-23 and rounding() == 64 * 2**-52 < CLOSE
