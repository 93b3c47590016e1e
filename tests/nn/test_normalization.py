"""LayerNorm and BatchNorm against a slow transcription of their definitions, in training and in evaluation."""

import math

import numpy as np
import pytest

import tinymtl as tm
from tests.gpu.conftest import cupy, on_device, on_host  # noqa: F401  (the fake device)
from tests.nn.test_layers import checked_in_every_parameter, normal
from tinymtl import nn
from tinymtl.fake_cupy import no_transfers


def scaled(layer):
    """The layer in float64 with a weight and a bias that are not 1 and 0."""
    layer.to("float64")
    layer.weight.data = np.linspace(0.5, 2.0, layer.weight.size)
    layer.bias.data = np.linspace(-1.0, 3.0, layer.bias.size)
    return layer


def one_group(values, eps):
    """A list of numbers to mean 0 and variance 1; the mean and the unbiased variance. (PyTorch's documentation.)"""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / n
    return [(v - mean) / math.sqrt(variance + eps) for v in values], mean, variance * n / (n - 1) if n > 1 else None


def batch_norm_by_hand(x, weight, bias, eps):
    """Channel by channel; also every channel's mean and unbiased variance."""
    out, means, variances = np.empty_like(x), [], []
    for c in range(x.shape[1]):
        z, mean, variance = one_group(x[:, c].ravel().tolist(), eps)
        out[:, c] = weight[c] * np.reshape(z, x[:, c].shape) + bias[c]
        means.append(mean)
        variances.append(variance)
    return out, np.array(means), np.array(variances)


BATCHES = {
    "(N, C)": (nn.BatchNorm1d, (7, 3)),
    "(N, C), two rows": (nn.BatchNorm1d, (2, 3)),
    "(N, C, L)": (nn.BatchNorm1d, (4, 3, 5)),
    "(N, C, H, W)": (nn.BatchNorm2d, (2, 3, 4, 5)),
    "(1, C, H, W)": (nn.BatchNorm2d, (1, 3, 4, 5)),
    "one channel": (nn.BatchNorm2d, (3, 1, 2, 2)),
}
every_batch = pytest.mark.parametrize(("make", "shape"), BATCHES.values(), ids=BATCHES)


@every_batch
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_batch_norm_in_training_and_then_in_evaluation(make, shape, eps):
    layer = scaled(make(shape[1], eps=eps, momentum=0.3))
    mean, variance = np.zeros(shape[1]), np.ones(shape[1])
    for seed in range(3):
        x = np.random.default_rng(seed).normal(3.0, 2.0, shape)
        expected, batch_mean, batch_variance = batch_norm_by_hand(x, layer.weight.data, layer.bias.data, eps)
        np.testing.assert_allclose(layer(x).data, expected, rtol=1e-12, atol=1e-12)
        mean, variance = 0.7 * mean + 0.3 * batch_mean, 0.7 * variance + 0.3 * batch_variance
        np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.data, variance, rtol=1e-12)
    x = np.random.default_rng(9).normal(3.0, 2.0, shape)
    column = [1, -1] + [1] * (len(shape) - 2)
    z = (x - mean.reshape(column)) / np.sqrt(variance.reshape(column) + eps)
    expected = z * layer.weight.data.reshape(column) + layer.bias.data.reshape(column)
    with nn.evaluating():
        np.testing.assert_allclose(layer(x).data, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(layer(x[:1]).data, expected[:1], rtol=1e-12, atol=1e-12)  # a row by itself
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-12)  # evaluating moves nothing


def test_the_defaults_are_pytorchs():
    layer = nn.BatchNorm1d(4)
    assert (layer.eps, layer.momentum, nn.LayerNorm(4).eps) == (1e-5, 0.1, 1e-5)
    assert [b.data.tolist() for b in layer.buffers()] == [[0.0] * 4, [1.0] * 4]
    for made in (layer, nn.BatchNorm2d(4), nn.LayerNorm(4)):
        assert [p.data.tolist() for p in made.parameters()] == [[1.0] * 4, [0.0] * 4]
        assert {p.dtype for p in made.parameters()} == {np.dtype("float32")}


def test_the_layers_of_pytorch_itself():
    torch = pytest.importorskip("torch")
    for (make, shape), theirs in zip(
        list(BATCHES.values())[:4], ["BatchNorm1d", "BatchNorm1d", "BatchNorm1d", "BatchNorm2d"], strict=True
    ):
        layer, other = make(3).to("float64"), getattr(torch.nn, theirs)(3).double()
        for seed in range(3):
            x = np.random.default_rng(seed).normal(3.0, 2.0, shape)
            np.testing.assert_allclose(layer(x).data, other(torch.tensor(x)).detach().numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(layer.running_var.data, other.running_var.numpy(), rtol=1e-12)


@every_batch
@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("mode", [nn.training, nn.evaluating])
def test_gradients_of_batch_norm(make, shape, leading, mode):
    layer = scaled(make(shape[1]))
    layer.running_var.data = np.linspace(0.5, 2.0, shape[1])
    x = normal(*shape)
    with mode():
        assert checked_in_every_parameter(layer, x, step=1e-6, tolerance=1e-7, leading=leading) > 0


@pytest.mark.parametrize("shape", [(7, 3), (1, 3), (3,), (2, 4, 3), (0, 3)])
def test_layer_norm(shape):
    layer = scaled(nn.LayerNorm(3))
    x = np.random.default_rng(0).normal(3.0, 2.0, shape)
    expected = np.empty_like(x)
    for place in np.ndindex(shape[:-1]):
        expected[place] = layer.weight.data * one_group(x[place].tolist(), 1e-5)[0] + layer.bias.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-12, atol=1e-12)
    with nn.evaluating():
        np.testing.assert_array_equal(layer(x).data, layer(x).data)
        np.testing.assert_allclose(layer(x).data, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 3), (1, 3), (3,), (2, 4, 3)])
@pytest.mark.parametrize("leading", [(), (2,)])
def test_gradients_of_layer_norm(shape, leading):
    layer = scaled(nn.LayerNorm(3))
    assert checked_in_every_parameter(layer, normal(*shape), step=1e-6, tolerance=1e-7, leading=leading) > 0


def test_the_mean_and_the_size_of_the_input_do_not_matter():
    x = normal(9, 4)
    for make in (nn.LayerNorm, nn.BatchNorm1d):
        plain = make(4, eps=0.0).to("float64")
        np.testing.assert_allclose(plain(1000.0 * x + 50.0).data, plain(x).data, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes(dtype):
    for layer, shape in ((nn.BatchNorm1d(3), (5, 3)), (nn.BatchNorm2d(3), (2, 3, 2, 2)), (nn.LayerNorm(3), (5, 3))):
        layer.to(dtype)
        for mode in (nn.training, nn.evaluating):
            with mode():
                assert layer(np.ones(shape, dtype)).dtype == dtype
        assert {b.data.dtype for b in layer.buffers()} <= {np.dtype(dtype)}


def test_running_values_keep_their_dtype_next_to_another_input():
    layer = nn.BatchNorm1d(3)
    layer(normal(5, 3))
    assert {b.data.dtype for b in layer.buffers()} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm1d(3), (5, 4), r"a BatchNorm1d of 3 channels got .* \(5, 4\); expected \(N, C\) or \(N, C, L\)"),
        (nn.BatchNorm1d(3), (3,), r"got an input of shape \(3,\)"),
        (nn.BatchNorm1d(3), (2, 3, 4, 4), r"got an input of shape \(2, 3, 4, 4\)"),
        (nn.BatchNorm2d(3), (2, 3), r"a BatchNorm2d of 3 channels got .*; expected \(N, C, H, W\)"),
        (nn.BatchNorm1d(3), (1, 3), r"BatchNorm1d got .* \(1, 3\) in training, 1 value per channel, .* leave one row"),
        (nn.BatchNorm1d(3), (0, 3), "in training, 0 value per channel"),
        (nn.BatchNorm2d(3), (1, 3, 1, 1), "in training, 1 value per channel"),
        (nn.LayerNorm(3), (5, 4), r"a LayerNorm of 3 features got an input of shape \(5, 4\)"),
        (nn.LayerNorm(3), (), r"got an input of shape \(\)"),
    ],
)
def test_inputs_that_do_not_fit(layer, shape, message):
    before = [b.data.copy() for b in layer.buffers()]
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape, np.float32))
    for buffer, values in zip(layer.buffers(), before, strict=True):
        np.testing.assert_array_equal(buffer.data, values)


@pytest.mark.parametrize("momentum", [-0.1, 1.5, float("nan")])
def test_a_momentum_that_cannot_be(momentum):
    with pytest.raises(ValueError, match="a number from 0 to 1; got"):
        nn.BatchNorm2d(3, momentum=momentum)


@every_batch
def test_on_the_device(cupy, make, shape):  # noqa: F811
    here, there = scaled(make(shape[1])), scaled(make(shape[1])).to(device="cuda")
    x, seed = np.random.default_rng(0).normal(3.0, 2.0, shape), normal(2, *shape)
    for mode in (nn.training, nn.evaluating):
        with mode():
            on_cpu, on_gpu = here(x), there(on_device(cupy, x))
        np.testing.assert_allclose(on_host(on_gpu.data), on_cpu.data, rtol=1e-12)
        expected = tm.grad(on_cpu, list(here.parameters()), [seed])
        found = tm.grad(on_gpu, list(there.parameters()), [on_device(cupy, seed)])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(on_host(a), b, rtol=1e-10, atol=1e-10)
    for a, b in zip(there.buffers(), here.buffers(), strict=True):
        assert isinstance(a.data, cupy.ndarray)
        np.testing.assert_allclose(on_host(a.data), b.data, rtol=1e-12)


def test_training_on_the_device_waits_for_nothing(cupy):  # noqa: F811
    layer = nn.BatchNorm1d(3).to(device="cuda")
    x = on_device(cupy, normal(5, 3).astype(np.float32))
    with no_transfers():
        layer(x)
