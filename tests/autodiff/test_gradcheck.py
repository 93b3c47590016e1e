"""The check itself: it passes right gradients and must find wrong ones."""

import numpy as np
import pytest

from tinymtl.autodiff import check_gradient, gradient_error, record
from tinymtl.autodiff.ops import exp, operand, tanh
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn import Dropout

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.2, -0.4]])


def custom(value, vjp):
    """x ↦ value(x), with whatever vjp(g, x) is given for it."""
    return lambda x: record(value(operand(x)), (x, lambda g: vjp(g, operand(x))))


RIGHT = custom(np.sin, lambda g, x: g * np.cos(x))
WRONG = {
    "a sign": custom(np.sin, lambda g, x: -g * np.cos(x)),
    "a factor": custom(np.sin, lambda g, x: 1.001 * g * np.cos(x)),
    "one element": custom(np.sin, lambda g, x: g * np.cos(x) + 1e-3 * (np.arange(6).reshape(2, 3) == 4)),
    "two elements exchanged": custom(np.sin, lambda g, x: (g * np.cos(x))[..., ::-1]),
    "nothing at all": custom(np.sin, lambda g, x: 0 * g),
    "not a number": custom(np.sin, lambda g, x: g * np.nan),
}


def test_a_right_gradient_passes():
    assert 0.0 < check_gradient(RIGHT, [X]) < 1e-9
    assert check_gradient(RIGHT, [X], leading=(4,)) < 1e-9
    assert check_gradient(lambda x, y: (x @ y.T) * exp(x[:, :2]), [X, X + 1.0]) < 1e-8
    assert check_gradient(lambda x: x * x, [tensor(X)]) < 1e-9  # tensors may stand for arrays


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("leading", [(), (3,)])
def test_a_wrong_gradient_is_found(wrong, leading):
    with pytest.raises(AssertionError, match=r"differs from a central difference by .*\(allowed: 1e-07\)"):
        check_gradient(wrong, [X], leading=leading)


def test_one_wrong_direction_among_many_is_found():
    def vjp(g, x):
        g = g * np.cos(x)
        if g.ndim == 3:
            g[2] = g[1]
        return g

    check_gradient(custom(np.sin, vjp), [X])
    with pytest.raises(AssertionError, match="differs"):
        check_gradient(custom(np.sin, vjp), [X], leading=(4,))


def test_a_wrong_shape_is_found_even_where_it_would_broadcast():
    with pytest.raises(AssertionError, match=r"gradient of shape \(2, 1\) for an input of shape \(2, 3\)"):
        check_gradient(custom(np.sin, lambda g, x: g[..., :1]), [X])


def test_a_gradient_that_an_empty_result_cannot_have_is_found():
    empty = np.zeros((0, 3))
    assert check_gradient(lambda x: x[:0] * 2.0, [X]) == 0.0
    wrong = custom(lambda x: empty, lambda g, x: np.ones(g.shape[:-2] + x.shape))
    with pytest.raises(AssertionError, match="differs"):
        check_gradient(wrong, [X])


def test_the_error_falls_with_the_square_of_the_step_until_round_off_takes_over():
    def error(step):
        return gradient_error(lambda x: tanh(x) * exp(x), [X], step=step)

    assert 90 < error(1e-2) / error(1e-3) < 110  # truncation: h²
    assert error(1e-11) > 100 * error(1e-5)  # round-off: 1/h


def test_a_network_with_dropout_can_be_checked():
    layer = Dropout(0.5, rng=0)

    def call(x):
        layer.rng = np.random.default_rng(0)
        return layer(tanh(x))

    assert check_gradient(call, [X]) < 1e-9


def test_directions_come_from_the_seed():
    first, again, other = (gradient_error(RIGHT, [X], rng=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert gradient_error(RIGHT, [X], rng=np.random.default_rng(1)) == first


def test_float32_is_refused():
    with pytest.raises(TypeError, match="input 1 is float32: check gradients in float64"):
        check_gradient(lambda x, y: x + y, [X, X.astype(np.float32)])


def test_inputs_are_left_alone():
    x = X.copy()
    x.flags.writeable = False
    check_gradient(RIGHT, [x])


def test_lists_are_taken_and_nothing_is_refused():
    assert gradient_error(lambda x: x * x, [[1.0, -2.0]]) < 1e-9
    with pytest.raises(ValueError, match="no input"):
        gradient_error(lambda: exp(1.0), [])
    with pytest.raises(TypeError, match="input 0 is int64"):
        gradient_error(lambda x: x * x, [[1, 2]])
