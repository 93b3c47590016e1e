"""Parameters that belong to no model yet."""

import numpy as np
import pytest

from tinymtl import nn
from tinymtl.autodiff.tensor import tensor

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
