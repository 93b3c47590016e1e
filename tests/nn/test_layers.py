"""Layers as modules: what they compute, their parameters, and what they refuse."""

import numpy as np
import pytest

from tinymtl import nn
from tinymtl.autodiff import Tensor, check_gradient, grad, no_grad, ops
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn import functional


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def shapes(module):
    return [p.shape for p in module.parameters()]


def checked_in_every_parameter(module, x, **options):
    """The gradient of the module in its input and in all its parameters against a central difference."""
    module.to("float64")
    parameters = list(module.parameters())

    def call(x, *values):
        for p, v in zip(parameters, values, strict=True):
            p.data = v.data
        out = module(x)
        return out if not values[0].requires_grad else _through(out, parameters, values)

    return check_gradient(call, [x, *(p.data.copy() for p in parameters)], **options)


def _through(out, parameters, values):
    """`out`, with the gradients at `parameters` handed on to `values`, which hold the same numbers."""
    stand_in = dict(zip(parameters, values, strict=True))
    todo, seen = [out], set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        node.edges = [(stand_in.get(parent, parent), vjp) for parent, vjp in node.edges]
        todo += [parent for parent, _ in node.edges]
    return out


# ---------------------------------------------------------------- parameters


def test_weights_and_biases_in_order():
    assert shapes(nn.Linear(3, 5)) == [(3, 5), (5,)]
    assert shapes(nn.Conv2d(2, 4, 3)) == [(4, 2, 3, 3), (4,)]
    assert shapes(nn.MLP([4, 8, 6])) == [(4, 8), (8,), (8, 6), (6,)]
    assert shapes(nn.LeNet(hidden=50)) == [(10, 1, 5, 5), (10,), (20, 10, 5, 5), (20,), (320, 50), (50,)]
    assert shapes(nn.LeNet(image_size=36, in_channels=3, hidden=7))[::2] == [(10, 3, 5, 5), (20, 10, 5, 5), (720, 7)]
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)), nn.Flatten())
    assert shapes(net) == [(3, 4), (4,), (4, 2), (2,)]
    assert next(iter(net.parameters())) is net.layers[0].weight
    assert not list(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1)).parameters())


@pytest.mark.parametrize(
    ("module", "fan_in"), [(lambda rng: nn.Linear(25, 400, rng), 25), (lambda rng: nn.Conv2d(4, 100, 5, rng=rng), 100)]
)
def test_initial_values_fill_plus_minus_one_over_root_of_fan_in(module, fan_in):
    bound = fan_in**-0.5
    for p in module(0).parameters():
        assert p.dtype == np.float32
        assert p.requires_grad
        assert np.abs(p.data).max() <= bound
        assert 0.9 * bound < p.data.max()
        assert p.data.min() < -0.9 * bound
        assert abs(p.data.mean()) < 0.2 * bound


@pytest.mark.parametrize(
    "make",
    [lambda rng: nn.Linear(3, 4, rng), lambda rng: nn.Conv2d(1, 2, 3, rng=rng), lambda rng: nn.MLP([3, 4, 4], rng)],
)
def test_a_seed_repeats_and_a_generator_moves_on(make):
    def values(module):
        return np.concatenate([p.data.ravel() for p in module.parameters()])

    assert np.array_equal(values(make(1)), values(make(1)))
    assert not np.array_equal(values(make(1)), values(make(2)))
    generator = np.random.default_rng(1)
    assert np.array_equal(values(make(1)), values(make(generator)))
    assert not np.array_equal(values(make(1)), values(make(generator)))


def test_no_two_layers_of_an_mlp_or_lenet_start_alike():
    mlp = nn.MLP([4, 4, 4])
    assert not np.array_equal(mlp.layers[0].weight.data, mlp.layers[1].weight.data)
    lenet = nn.LeNet()
    assert not np.array_equal(lenet.conv1.weight.data.ravel(), lenet.conv2.weight.data.ravel()[:250])


def test_to_changes_the_dtype_of_all_parameters():
    net = nn.MLP([3, 4, 2])
    before = [p.data.copy() for p in net.parameters()]
    assert net.to("float64") is net
    for p, values in zip(net.parameters(), before, strict=True):
        assert p.dtype == np.float64
        np.testing.assert_array_equal(p.data, values)
    assert net(np.ones((1, 3))).dtype == np.float64
    with pytest.raises(ValueError, match="unknown device 'gpu': use 'cpu' or 'cuda'"):
        net.to(device="gpu")


# ---------------------------------------------------------------- what they compute


def test_a_linear_layer_is_x_w_plus_b():
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = [[1.0, 2.0], [3.0, 4.0]], [0.5, -0.5]
    assert layer([[1, 10]]).data.tolist() == [[31.5, 41.5]]
    assert layer.weight.dtype == np.float32


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 1, 3)])
def test_a_linear_layer_maps_the_last_axis(leading):
    layer = nn.Linear(4, 2).to("float64")
    x = normal(*leading, 4)
    np.testing.assert_allclose(layer(x).data, x @ layer.weight.data + layer.bias.data, rtol=1e-14)


def test_arrays_lists_and_tensors_go_in():
    layer = nn.Linear(3, 2)
    x = np.array([[1, 2, 3], [4, 5, 6]])
    expected = layer(tensor(x)).data
    for same in (x, x.tolist(), x.astype(np.float32), x.astype(np.uint8)):
        out = layer(same)
        assert (out.dtype, out.requires_grad) == (np.float32, True)
        np.testing.assert_array_equal(out.data, expected)


def test_an_mlp_is_linear_and_relu_after_every_layer():
    mlp = nn.MLP([5, 7, 6, 4], rng=3).to("float64")
    x = normal(20, 5)
    parameters = list(mlp.parameters())
    h = tensor(x)
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        h = ops.relu(h @ weight + bias)
    out = mlp(x)
    np.testing.assert_allclose(out.data, h.data, rtol=1e-14)
    assert (out.data == 0).any()
    assert (out.data > 0).any()
    seed = normal(20, 4)
    for g, expected in zip(grad(out, parameters, [seed]), grad(h, parameters, [seed]), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-12, atol=1e-15)


def test_a_sequential_applies_its_layers_in_order():
    linear = nn.Linear(6, 3)
    x = normal(4, 2, 3).astype(np.float32)
    out = nn.Sequential(nn.ReLU(), nn.Flatten(), linear)(x)
    expected = np.maximum(x, 0).reshape(4, 6) @ linear.weight.data + linear.bias.data
    np.testing.assert_allclose(out.data, expected, rtol=1e-6)
    assert nn.Sequential()(x).data is x


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(3, 4, 3), (2, 3, 8, 7), (2, 4, 6, 5)),
        (nn.Conv2d(3, 4, 3, stride=2), (2, 3, 8, 7), (2, 4, 3, 3)),
        (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 8, 7), (2, 4, 8, 7)),
        (nn.Conv2d(3, 4, 5, stride=3, padding=2), (2, 3, 8, 7), (2, 4, 3, 3)),
        (nn.Conv2d(3, 4, 1), (2, 3, 8, 7), (2, 4, 8, 7)),
        (nn.MaxPool2d(2), (2, 3, 8, 7), (2, 3, 4, 3)),
        (nn.MaxPool2d(3), (2, 3, 8, 7), (2, 3, 2, 2)),
        (nn.Flatten(), (2, 3, 8, 7), (2, 168)),
        (nn.Flatten(), (0, 3, 8, 7), (0, 168)),
        (nn.ReLU(), (2, 3), (2, 3)),
        (nn.LeNet(), (2, 1, 28, 28), (2, 50)),
        (nn.LeNet(image_size=16, in_channels=2, hidden=9), (3, 2, 16, 16), (3, 9)),
        (nn.LeNet(image_size=36), (1, 1, 36, 36), (1, 50)),
        (nn.MLP([4, 3]), (0, 4), (0, 3)),
        (nn.MLP([4, 6, 3]), (2, 5, 4), (2, 5, 3)),
        (nn.Linear(4, 3), (4,), (3,)),
        (nn.Linear(4, 3), (2, 0, 4), (2, 0, 3)),
    ],
)
def test_shapes(module, shape, expected):
    out = module(np.ones(shape, np.float32))
    assert isinstance(out, Tensor)
    assert (out.shape, out.dtype) == (expected, np.float32)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(4, 3), (5, 4)),
        (nn.Linear(4, 3), (2, 5, 4)),
        (nn.Conv2d(2, 3, 3), (2, 2, 5, 6)),
        (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 2, 5, 6)),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), (2, 1, 6, 6)),
        (nn.MLP([4, 6, 3]), (5, 4)),
        (nn.LeNet(image_size=16, hidden=4), (2, 1, 16, 16)),
    ],
    ids=["Linear", "Linear of a sequence", "Conv2d", "Conv2d, stride and padding", "Sequential", "MLP", "LeNet"],
)
@pytest.mark.parametrize("leading", [(), (2,)])
def test_gradients_of_whole_modules(module, shape, leading):
    assert checked_in_every_parameter(module, normal(*shape), step=1e-6, tolerance=1e-7, leading=leading) > 0


def test_the_check_of_whole_modules_finds_a_wrong_gradient():
    class Wrong(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            out.edges = [(p, (lambda g, v=v: 1.01 * v(g)) if p is self.bias else v) for p, v in out.edges]
            return out

    with pytest.raises(AssertionError, match="differs"):
        checked_in_every_parameter(Wrong(4, 3), normal(5, 4))


@pytest.mark.parametrize("rows", [1, 3])
def test_lenet_is_its_composition(rows):
    lenet = nn.LeNet(image_size=20, in_channels=2, hidden=6, rng=1).to("float64")
    parameters = list(lenet.parameters())
    x = normal(rows, 2, 20, 20)

    def plain(x):
        w1, b1, w2, b2, w3, b3 = parameters
        x = ops.relu(functional.max_pool2d(functional.conv2d(x, w1, b1), 2))
        x = ops.relu(functional.max_pool2d(functional.conv2d(x, w2, b2), 2))
        return ops.relu(x.reshape(rows, -1) @ w3 + b3)

    out, expected = lenet(x), plain(tensor(x))
    np.testing.assert_allclose(out.data, expected.data, rtol=1e-12, atol=1e-13)
    assert (out.data > 0).any()
    seed = normal(rows, 6)
    for g, h in zip(grad(out, parameters, [seed]), grad(expected, parameters, [seed]), strict=True):
        np.testing.assert_allclose(g, h, rtol=1e-11, atol=1e-13)


def test_lenet_with_dropout_drops_channels_of_the_second_convolution():
    lenet = nn.LeNet(image_size=20, dropout=0.5, rng=1).to("float64")
    x = normal(4, 1, 20, 20)  # so that a channel has 2 × 2 elements at the end
    state = lenet.rng.bit_generator.state
    out = lenet(x)
    lenet.rng.bit_generator.state = state
    h = functional.conv2d(ops.relu(functional.max_pool2d(lenet.conv1(x), 2)), lenet.conv2.weight, lenet.conv2.bias)
    h = functional.dropout(h, 0.5, lenet.rng, channels=True)
    h = ops.relu(functional.max_pool2d(h, 2)).reshape(4, -1)
    expected = ops.relu(lenet.linear(h))
    np.testing.assert_allclose(out.data, expected.data, rtol=1e-12, atol=1e-13)
    with nn.evaluating():
        evaluated = lenet(x)
    assert not np.allclose(evaluated.data, out.data)
    undropped = nn.LeNet(image_size=20, rng=1).to("float64")(x)
    np.testing.assert_allclose(evaluated.data, undropped.data, rtol=1e-13)


def test_dropout_as_a_layer():
    layer = nn.Dropout(0.5, rng=0)
    x = np.ones((50, 50), np.float32)
    first, second = layer(x).data, layer(x).data
    assert set(np.unique(first)) == {0.0, 2.0}
    assert not np.array_equal(first, second)  # a mask per forward
    np.testing.assert_array_equal(nn.Dropout(0.5, rng=0)(x).data, first)
    with nn.evaluating():
        assert layer(x).data is x
    with no_grad():  # what is recorded and what is dropped are two questions
        assert set(np.unique(layer(x).data)) == {0.0, 2.0}


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, float("nan")])
def test_a_probability_that_cannot_be(p):
    for make in (nn.Dropout, lambda p: nn.LeNet(dropout=p)):
        with pytest.raises(ValueError, match=rf"dropout probability lies in \[0, 1\), got {p}"):
            make(p)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 3), "in_features is 0: give a whole number of at least 1"),
        (lambda: nn.Linear(4, 0), "out_features is 0"),
        (lambda: nn.Linear(4, 2.5), "out_features is 2.5"),
        (lambda: nn.Linear(4, True), "out_features is True"),
        (lambda: nn.MLP([4, 0]), "out_features is 0"),
        (lambda: nn.Conv2d(0, 2, 3), "in_channels is 0"),
        (lambda: nn.Conv2d(1, -2, 3), "out_channels is -2"),
        (lambda: nn.Conv2d(1, 2, 0), "kernel_size is 0"),
        (lambda: nn.Conv2d(1, 2, (3, 3)), r"kernel_size is \(3, 3\)"),
        (lambda: nn.Conv2d(1, 2, 3, stride=0), "stride is 0"),
        (lambda: nn.Conv2d(1, 2, 3, padding=-1), "padding is -1: give a whole number of at least 0"),
        (lambda: nn.MaxPool2d(0), "size is 0"),
        (lambda: nn.LayerNorm(0), "features is 0"),
        (lambda: nn.BatchNorm1d(-1), "channels is -1"),
    ],
)
def test_sizes_are_whole_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match=r"at least two sizes \(features in, width\), got \[4\]"):
        nn.MLP([4])
    with pytest.raises(ValueError, match="at least 16 × 16 pixels, got 15"):
        nn.LeNet(image_size=15)


@pytest.mark.parametrize("p", ["a", None, 1.0, -0.1, float("nan")])
def test_a_dropout_probability_that_is_none(p):
    for make in (nn.Dropout, lambda p: nn.LeNet(dropout=p)):
        with pytest.raises(ValueError, match=r"a dropout probability lies in \[0, 1\), got"):
            make(p)


def test_an_mlp_of_one_number():
    with pytest.raises(TypeError, match=r"sizes is a int: give a list such as \[144, 64, 64\]"):
        nn.MLP(4)
