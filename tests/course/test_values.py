import json
from collections import deque
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from tinymtl.course.worker.values import LARGEST, NotPlain, Unordered, decode, encode, loads


def there_and_back(value):
    return decode(loads(json.dumps(encode(value))))


@pytest.mark.parametrize("value", [None, True, 3, -2.5, "text", [1, [2.0, "x"]], {"a": [1, 2]}, [], {}])
def test_plain_values_come_back(value):
    assert there_and_back(value) == value


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4), (1, 1, 2)])
@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
def test_arrays_come_back_with_shape_and_kind(shape, dtype):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) * 0.5, dtype=dtype)
    found = there_and_back(np.asarray(array))
    assert found.dtype == array.dtype and found.shape == shape and (found == array).all()


def test_float32_keeps_its_value_and_numpy_scalars_become_numbers():
    found = there_and_back([np.float32(0.1), np.int32(7), np.bool_(True), np.float64("nan")])
    assert found[:3] == [float(np.float32(0.1)), 7, True] and type(found[1]) is int and found[3] != found[3]


def test_other_kinds_of_numbers_and_lists_become_plain_ones():
    many = [Fraction(1, 4), Decimal("0.5"), np.array([Fraction(3, 4)]), range(2), deque([1]), {"a": 1}.values()]
    assert there_and_back(many) == [0.25, 0.5, [0.75], [0, 1], [1], [1]]
    assert there_and_back(np.unique(["b", "a"])) == ["a", "b"]
    found = there_and_back([{1}, frozenset({2, 3})])
    assert all(isinstance(one, Unordered) for one in found) and sorted(found[1]) == [2, 3]
    assert there_and_back(found) == found


def test_a_float_with_methods_of_its_own_crosses_as_its_value():
    class Agreeable(float):
        def __eq__(self, other):
            return True

        __hash__ = float.__hash__

    found = there_and_back(Agreeable(0.5))
    assert type(found) is float and found == 0.5 and found != 0.6


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (object(), "kind"),
        (1j, "kind"),
        ({1: 2}, "kind"),
        (np.array([object()]), "kind"),
        (np.array([1j]), "kind"),
        (range(10**9), "large"),
        (Fraction(10**400), "large"),
        (np.zeros(LARGEST + 1), "large"),
        (np.broadcast_to(0.0, (10**6, 10**6)), "large"),
        ([[0.0] * 1000] * 1000, "large"),
        ("x" * 100_000, "large"),
        ([[[[[[[[[[1]]]]]]]]]], "deep"),
    ],
)
def test_what_is_not_plain_is_refused(value, code):
    with pytest.raises(NotPlain) as problem:
        encode(value)
    assert problem.value.code == code


@pytest.mark.parametrize(
    "spelled",
    [
        {"array": "text", "shape": [1], "dtype": "float64"},
        {"array": [1, "x"], "shape": [2], "dtype": "float64"},
        {"array": [1, 2], "shape": [3], "dtype": "float64"},
        {"array": [1, 2], "shape": [-1], "dtype": "float64"},
        {"array": [1, 2], "shape": [2], "dtype": "object"},
        {"array": [10**30], "shape": [1], "dtype": "int64"},
    ],
)
def test_a_spelling_that_encode_never_makes_is_refused(spelled):
    with pytest.raises(ValueError):
        decode(spelled)


@pytest.mark.parametrize("line", ["", "{", "[" * 100_000, "1" * 5000, b"\xff\xfe"])
def test_every_malformed_message_is_a_value_error(line):
    with pytest.raises(ValueError):
        loads(line)
