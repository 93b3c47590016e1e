"""Parameters, free and bound, and the blocks that hold them."""

import numpy as np
import pytest

from tinymtl import nn
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn.parameters import Block, pack


def block(*shapes, start=0.0):
    parameters = []
    for shape in shapes:
        size = int(np.prod(shape))
        parameters.append(nn.Parameter(np.arange(start, start + size).reshape(shape)))
        start += size
    return Block(parameters)


# ---------------------------------------------------------------- a free parameter


def test_assigning_replaces_a_free_parameters_array():
    layer = nn.Linear(2, 3)
    array = np.ones((2, 3))
    layer.weight.data = array
    assert layer.weight.data is array
    assert layer.weight.dtype == np.float64
    layer.weight.data -= 0.25
    assert (array == 0.75).all()


@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]]), tensor([[1.0, 2.0], [3.0, 4.0]])])
def test_lists_integers_and_tensors_become_float_arrays(values):
    layer = nn.Linear(2, 2)
    layer.weight.data = values
    assert isinstance(layer.weight.data, np.ndarray)
    assert (layer.weight.dtype, layer.weight.data.tolist()) == (np.float32, [[1, 2], [3, 4]])
    assert layer(np.ones((1, 2), np.float32)).dtype == np.float32


def test_what_is_no_number_is_refused():
    layer = nn.Linear(2, 2)
    before = layer.weight.data.copy()
    with pytest.raises(TypeError, match="a tensor holds text"):
        layer.weight.data = "abc"
    np.testing.assert_array_equal(layer.weight.data, before)


def test_a_parameter_is_a_leaf_that_requires_a_gradient():
    p = nn.Parameter(np.ones(3))
    assert (p.requires_grad, list(p.edges), p.grad) == (True, [], None)
    (p * 2.0).sum().backward()
    assert p.grad.tolist() == [2.0, 2.0, 2.0]


# ---------------------------------------------------------------- blocks


def test_pack_lays_blocks_out_one_after_another():
    blocks = [block((2, 3), (3,)), block(start=9.0), block((), (2, 1, 2), start=9.0)]
    whole = pack(blocks, np.float32, "cpu")
    assert whole.dtype == np.float32
    assert whole.tolist() == list(range(14))
    assert [b.size for b in blocks] == [9, 0, 5]
    assert [b.vector.data.tolist() for b in blocks] == [list(range(9)), [], list(range(9, 14))]
    for b in blocks:
        assert all(np.shares_memory(p.data, whole) for p in b.parameters)
        assert b.vector.requires_grad
        assert b.size == 0 or np.shares_memory(b.vector.data, whole)
    assert [p.shape for p in blocks[2].parameters] == [(), (2, 1, 2)]


def test_the_vector_and_the_parameters_are_the_same_memory():
    b = block((2, 2), (2,))
    pack([b], np.float64, "cpu")
    b.vector.data[:] = [1, 2, 3, 4, 5, 6]
    assert [p.data.tolist() for p in b.parameters] == [[[1, 2], [3, 4]], [5, 6]]
    b.parameters[1].data[0] = -1.0
    b.parameters[0].data *= 10.0
    assert b.vector.data.tolist() == [10, 20, 30, 40, -1, 6]


def test_packing_again_moves_to_a_new_vector():
    b = block((2,))
    first = pack([b], np.float64, "cpu")
    second = pack([b], np.float32, "cpu")
    assert not np.shares_memory(first, second)
    b.parameters[0].data[:] = 7.0
    assert (first.tolist(), second.tolist()) == ([0, 1], [7, 7])


def test_assigning_to_a_bound_parameter_copies_into_the_vector():
    b = block((2, 2), (2,))
    whole = pack([b], np.float32, "cpu")
    weight, bias = b.parameters
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
def test_another_shape_is_refused_even_where_it_would_broadcast(values):
    b = block((2, 2), (2,))
    whole = pack([b], np.float64, "cpu")
    with pytest.raises(ValueError, match=r"values of shape \(.* do not fit a parameter of shape \(2, 2\)"):
        b.parameters[0].data = values
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]


def test_flatten_lays_gradients_out_like_the_parameters():
    b = block((2, 2), (3,))
    pack([b], np.float64, "cpu")
    weight, bias = b.parameters
    gradients = {bias: np.array([5.0, 6.0, 7.0]), weight: np.array([[1.0, 2.0], [3.0, 4.0]])}
    assert b.flatten(gradients).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert b.flatten({bias: gradients[bias]}).tolist() == [0, 0, 0, 0, 5, 6, 7]
    assert b.flatten({}).tolist() == [0] * 7
    out = np.zeros(7)
    b.flatten(gradients, out)
    assert out.tolist() == [1, 2, 3, 4, 5, 6, 7]
    one = block((2, 2))
    pack([one], np.float64, "cpu")
    assert one.flatten({one.parameters[0]: gradients[weight]}).tolist() == [1, 2, 3, 4]
    none = block()
    pack([none], np.float64, "cpu")
    assert none.flatten({}).shape == (0,)
