"""Where a model's parameters stand in its one vector, and where their gradients do."""

import numpy as np
import pytest

from tinymtl import nn
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn.layout import Layout, flatten, joined


def layout(*blocks):
    """Blocks of parameters with the shapes given, holding 0, 1, 2, …: the first one is the trunk's."""
    start, made = 0.0, []
    for shapes in blocks:
        made.append([])
        for shape in shapes:
            size = int(np.prod(shape))
            made[-1].append(nn.Parameter(np.arange(start, start + size).reshape(shape)))
            start += size
    return Layout(made[0], made[1:])


def test_the_trunk_comes_first_then_head_after_head():
    lay = layout([(2, 3), (3,)], [], [(), (2, 1, 2)])
    whole = lay.pack(np.float32, "cpu")
    assert whole.dtype == np.float32
    assert whole.tolist() == list(range(14))
    assert (lay.trunk, lay.heads, lay.size) == (slice(0, 9), [slice(9, 9), slice(9, 14)], 14)
    assert all(np.shares_memory(p.data, whole) for p in lay.parameters)
    assert [p.shape for p in lay.head_parameters[1]] == [(), (2, 1, 2)]
    assert all(p.owner is lay for p in lay.parameters)


def test_the_vector_and_the_parameters_are_the_same_memory():
    lay = layout([(2, 2)], [(2,)])
    whole = lay.pack(np.float64, "cpu")
    whole[:] = [1, 2, 3, 4, 5, 6]
    assert [p.data.tolist() for p in lay.parameters] == [[[1, 2], [3, 4]], [5, 6]]
    lay.parameters[1].data[0] = -1.0
    lay.parameters[0].data *= 10.0
    assert whole.tolist() == [10, 20, 30, 40, -1, 6]


def test_packing_again_moves_to_a_new_vector():
    lay = layout([(2,)])
    first, second = lay.pack(np.float64, "cpu"), lay.pack(np.float32, "cpu")
    assert not np.shares_memory(first, second)
    lay.parameters[0].data[:] = 7.0
    assert (first.tolist(), second.tolist()) == ([0, 1], [7, 7])


def test_assigning_to_a_models_parameter_copies_into_the_vector():
    lay = layout([(2, 2)], [(2,)])
    whole = lay.pack(np.float32, "cpu")
    weight, bias = lay.parameters
    view = weight.data
    given = np.array([[1.0, 2.0], [3.0, 4.0]])  # float64
    weight.data = given
    bias.data = [7, 8]
    assert weight.data is view
    assert whole.dtype == weight.dtype == np.float32
    assert whole.tolist() == [1, 2, 3, 4, 7, 8]
    given[0, 0] = 99.0
    assert whole[0] == 1.0
    weight.data = weight.data.T  # overlapping memory
    assert whole.tolist() == [1, 3, 2, 4, 7, 8]
    weight.data = tensor([[5.0, 6.0], [7.0, 8.0]])
    assert whole.tolist() == [5, 6, 7, 8, 7, 8]


@pytest.mark.parametrize(
    "values", [np.ones(2), np.ones((2, 1)), np.ones((1, 2, 2)), 1.0, [[1.0, 2.0]], np.ones((0, 2))]
)
def test_another_shape_is_refused_even_if_it_would_broadcast(values):
    lay = layout([(2, 2)], [(2,)])
    whole = lay.pack(np.float64, "cpu")
    with pytest.raises(ValueError, match=r"values of shape \(.* do not fit a parameter of shape \(2, 2\)"):
        lay.parameters[0].data = values
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_gradient_lies_like_the_parameters():
    lay = layout([(2, 2), (3,)])
    lay.pack(np.float64, "cpu")
    weight, bias = lay.parameters
    found = {bias: np.array([5.0, 6.0, 7.0]), weight: np.array([[1.0, 2.0], [3.0, 4.0]])}
    assert joined(flatten(lay.parameters, found), bias.data).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert joined(flatten(lay.parameters, {bias: found[bias]}), bias.data).tolist() == [0, 0, 0, 0, 5, 6, 7]
    assert joined(flatten(lay.parameters, {}), bias.data).tolist() == [0] * 7
    assert joined(flatten([weight], found), bias.data).tolist() == [1, 2, 3, 4]
    none = joined([], bias.data)
    assert (none.shape, none.dtype) == ((0,), np.float64)
