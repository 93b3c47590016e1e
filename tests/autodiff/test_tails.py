"""sigmoid and log_sigmoid keep their digits in both tails, in value and in gradient, against decimals."""

import numpy as np
import pytest

from tests import exact
from tinymtl.autodiff import check_gradient, grad, ops
from tinymtl.autodiff.tensor import tensor

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_four_units_in_the_last_place(dtype):
    points = exact.points(dtype)
    sigmoids, others = [exact.sigmoid(x) for x in points], [exact.sigmoid(-x) for x in points]
    x = tensor(points, requires_grad=True)
    z = ops.sigmoid(x)
    assert z.dtype == dtype
    assert exact.ulps(z.data, sigmoids) < 4
    assert exact.ulps(grad(z.sum(), x)[0], [a * b for a, b in zip(sigmoids, others, strict=True)]) < 4
    z = ops.log_sigmoid(x)
    assert exact.ulps(z.data, [exact.log_sigmoid(p) for p in points]) < 4
    assert exact.ulps(grad(z, x, np.ones(len(points)))[0], others) < 4


def test_a_nan_stays_one():
    x = tensor([np.nan, 1.0], requires_grad=True)
    for function in (ops.sigmoid, ops.log_sigmoid):
        assert np.isnan(function(x).data).tolist() == [True, False]
        assert np.isnan(grad(function(x).sum(), x)[0]).tolist() == [True, False]


def test_shapes_numbers_and_leading_axes():
    assert ops.log_sigmoid(0.0).item() == pytest.approx(-np.log(2), rel=1e-7)
    assert ops.sigmoid(tensor(0.0)).shape == ()
    values = np.random.default_rng(0).standard_normal((3, 4))
    for function in (ops.sigmoid, ops.log_sigmoid):
        check_gradient(function, [values], leading=(2,))
    softplus = -ops.log_sigmoid(-tensor(values))
    np.testing.assert_allclose(softplus.data, np.log(1 + np.exp(values)), rtol=1e-13)
