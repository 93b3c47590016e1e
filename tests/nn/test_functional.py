"""The fused operations: gradients, K leading axes, the rules of vjps, and equality with what they replace."""

import numpy as np
import pytest

from tinymtl.autodiff import Tensor, check_gradient, grad, ops
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn import evaluating, functional, losses
from tinymtl.nn.heads import stacked_linear


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def distinct(*shape):
    """Numbers at least 0.1 apart from one another and from 0, so that no difference crosses a kink."""
    size = int(np.prod(shape))
    return ((np.random.default_rng(size).permutation(size) - size // 2 + 0.5) * 0.1).reshape(shape)


def dropped(channels, p=0.4):
    return lambda x: functional.dropout(x, p, np.random.default_rng(7), channels)  # the same mask at every call


X, W, B = normal(6, 4), normal(4, 3), normal(3)
IMAGES, KERNELS, SHIFTS = normal(2, 3, 6, 5), normal(4, 3, 3, 3), normal(4)
LABELS = np.array([0, 2, 1, 2, 2, 0])
LABELS_PER_TASK = np.array([[0, 1], [2, 0], [1, 1], [2, 2], [2, 0], [0, 0]])
CHANCES = np.random.default_rng(3).random((6, 3))

ROWS = {
    "linear": (functional.linear, [X, W, B]),
    "linear without bias": (functional.linear, [X, W]),
    "linear with ReLU": (lambda x, w, b: functional.linear(x, w, b, relu=True), [X, W, B]),
    "linear with ReLU without bias": (lambda x, w: functional.linear(x, w, relu=True), [X, W]),
    "linear of one output": (functional.linear, [X, normal(4, 1), normal(1)]),
    "linear of one row": (functional.linear, [X[:1], W, B]),
    "linear of no rows": (functional.linear, [X[:0], W, B]),
    "linear of transposed views": (functional.linear, [normal(4, 6).T, normal(3, 4).T, B]),
    "linear of one vector": (functional.linear, [X[0], W, B]),
    "linear with ReLU of three leading axes": (
        lambda x, w, b: functional.linear(x, w, b, relu=True),
        [normal(2, 1, 5, 4), W, B],
    ),
    "linear of no rows and two leading axes": (functional.linear, [X[:0].reshape(2, 0, 4), W, B]),
    "normalize": (lambda x: functional.normalize(x, (-1,), 1e-5)[0], [X]),
    "normalize over three axes": (lambda x: functional.normalize(x, (-4, -2, -1), 1e-5)[0], [IMAGES]),
    "flatten": (functional.flatten, [IMAGES]),
    "dropout": (dropped(False), [X]),
    "dropout of channels": (dropped(True), [IMAGES]),
    "conv2d": (functional.conv2d, [IMAGES, KERNELS, SHIFTS]),
    "conv2d, stride and padding": (lambda x, w, b: functional.conv2d(x, w, b, 2, 1), [IMAGES, KERNELS, SHIFTS]),
    "max_pool2d": (lambda x: functional.max_pool2d(x, 2), [distinct(2, 3, 6, 5)]),
    "cross_entropy": (lambda x: losses.cross_entropy(x, LABELS), [normal(6, 3)]),
    "cross_entropy_per_task": (lambda x: losses.cross_entropy_per_task(x, LABELS_PER_TASK), [normal(6, 6)]),
    "binary_cross_entropy": (lambda x: losses.binary_cross_entropy_with_logits(x, CHANCES), [normal(6, 3)]),
    "binary_cross_entropy_per_task": (lambda x: losses.binary_cross_entropy_per_task(x, CHANCES), [normal(6, 3)]),
    "mse_loss": (lambda x: losses.mse_loss(x, normal(6, 3, seed=1)), [normal(6, 3)]),
    "l1_loss": (lambda x: losses.l1_loss(x, np.zeros((6, 3))), [distinct(6, 3)]),
    "stacked_linear": (lambda z, m: stacked_linear(z, m, 4)[0], [X, normal(5, 4 * 3 + 3)]),
    "stacked_linear of one output": (lambda z, m: stacked_linear(z, m, 4)[0], [X, normal(5, 4 * 1 + 1)]),
    "stacked_linear of one head": (lambda z, m: stacked_linear(z, m, 4)[0], [X, normal(1, 4 * 3 + 3)]),
}
every_row = pytest.mark.parametrize(("call", "inputs"), ROWS.values(), ids=ROWS)


@every_row
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)], ids=["one seed", "K seeds", "two leading axes"])
def test_gradient(call, inputs, leading):
    check_gradient(call, inputs, tolerance=1e-8, leading=leading, rng=1)


@every_row
def test_k_seeds_in_one_sweep_are_k_sweeps(call, inputs):
    leaves = [tensor(x, requires_grad=True) for x in inputs]
    out = call(*leaves)
    seeds = np.random.default_rng(2).standard_normal((3, *out.shape))
    together = grad(out, leaves, [seeds])
    for k, seed in enumerate(seeds):
        for all_k, one in zip(together, grad(out, leaves, [seed]), strict=True):
            np.testing.assert_allclose(all_k[k], one, rtol=1e-12, atol=1e-13)


@every_row
def test_float32_in_value_and_gradient(call, inputs):
    leaves = [tensor(x, requires_grad=True, dtype="float32") for x in inputs]
    out = call(*leaves)
    assert out.dtype == np.float32
    gradients = grad(out, leaves, [np.ones(out.shape, np.float32)])
    assert [(g.shape, g.dtype) for g in gradients] == [(x.shape, np.float32) for x in leaves]


@every_row
def test_a_vjp_writes_nowhere_and_returns_no_saved_array(call, inputs):
    leaves = [tensor(x, requires_grad=True) for x in inputs]
    out = call(*leaves)
    for array in (out.data, *(leaf.data for leaf in leaves)):
        array.flags.writeable = False
    todo = [out]
    while todo:
        node = todo.pop()
        for parent, vjp in node.edges:
            if parent.edges:
                todo.append(parent)
            g = np.random.default_rng(3).standard_normal((2, *node.shape))
            kept = g.copy()
            g.flags.writeable = False
            first = vjp(g)
            for saved in (out, node, *leaves):
                assert not np.shares_memory(first, saved.data)
            first = first.copy()
            np.testing.assert_array_equal(vjp(g), first)
            np.testing.assert_array_equal(g, kept)


def agree(fused, plain, inputs, rtol=1e-13, seed=None):
    """Both calls give the same value and the same gradients of a random projection of it."""
    leaves = [tensor(x, requires_grad=True) for x in inputs]
    one, other = fused(*leaves), plain(*leaves)
    assert one.shape == other.shape
    np.testing.assert_allclose(one.data, other.data, rtol=rtol, atol=1e-14)
    direction = np.random.default_rng(seed or 0).standard_normal(one.shape)
    pairs = zip(grad(one, leaves, [direction]), grad(other, leaves, [direction]), strict=True)
    for g, h in pairs:
        np.testing.assert_allclose(g, h, rtol=rtol, atol=1e-14)


# ---------------------------------------------------------------- linear


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "outputs"), [(6, 3), (1, 3), (6, 1), (50, 20)])
def test_linear_is_its_composition(rows, outputs, bias, relu):
    def plain(x, w, b=None):
        z = x @ w if b is None else x @ w + b
        return ops.relu(z) if relu else z

    def fused(x, w, b=None):
        return functional.linear(x, w, b, relu)

    inputs = [normal(rows, 4), normal(4, outputs), normal(outputs)][: 3 if bias else 2]
    agree(fused, plain, inputs)
    if relu:  # some units are on, some off
        out = fused(*(tensor(v) for v in inputs)).data
        assert (out == 0).any() or rows == 1
        assert (out > 0).any()


def test_linear_by_hand():
    x, w, b = (tensor(np.array(v), requires_grad=True) for v in ([[1.0, 2.0]], [[3.0, -1.0], [0.5, -2.0]], [1.0, 1.0]))
    out = functional.linear(x, w, b, relu=True)
    assert out.data.tolist() == [[5.0, 0.0]]  # 3 + 1 + 1, −1 − 4 + 1 < 0
    gx, gw, gb = grad(out, [x, w, b], [np.array([[10.0, 100.0]])])
    assert gx.tolist() == [[30.0, 5.0]]
    assert gw.tolist() == [[10.0, 0.0], [20.0, 0.0]]
    assert gb.tolist() == [10.0, 0.0]


def test_at_zero_the_relu_of_a_linear_layer_has_slope_zero():
    x, w = tensor(np.zeros((1, 2))), tensor(np.ones((2, 2)), requires_grad=True)
    b = tensor(np.zeros(2), requires_grad=True)
    assert grad(functional.linear(x, w, b, relu=True).sum(), [b])[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(6, 5), (3,), (2, 4, 6), ()])
def test_linear_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"a linear layer for 4 features got an input of shape \("):
        functional.linear(tensor(np.ones(shape)), tensor(W), tensor(B))


# ---------------------------------------------------------------- convolution and pooling, from tested operations


def plain_conv2d(x, w, b, stride=1, padding=0):
    """One product of matrices for each element of the kernel."""
    n, c, height, width = x.shape
    if padding:
        rows = np.zeros((n, c, padding, width))
        x = ops.concatenate([rows, x, rows], 2)
        columns = np.zeros((n, c, height + 2 * padding, padding))
        x = ops.concatenate([columns, x, columns], 3)
    k = w.shape[-1]
    down, right = ((x.shape[i] - k) // stride + 1 for i in (2, 3))
    terms = []
    for i in range(k):
        for j in range(k):
            part = x[:, :, i : i + stride * (down - 1) + 1 : stride, j : j + stride * (right - 1) + 1 : stride]
            terms.append(part.transpose(0, 2, 3, 1) @ w[:, :, i, j].T)
    return (ops.stack(terms).sum(axis=0) + b).transpose(0, 3, 1, 2)


def plain_max_pool2d(x, size):
    n, c, height, width = x.shape
    down, right = height // size, width // size
    windows = x[:, :, : down * size, : right * size].reshape(n, c, down, size, right, size)
    return windows.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, down, right, size * size).max(axis=-1)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_conv2d_is_its_composition(stride, padding):
    agree(
        lambda x, w, b: functional.conv2d(x, w, b, stride, padding),
        lambda x, w, b: plain_conv2d(x, w, b, stride, padding),
        [IMAGES, KERNELS, SHIFTS],
        rtol=1e-12,
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_max_pool2d_is_its_composition(size):
    agree(lambda x: functional.max_pool2d(x, size), lambda x: plain_max_pool2d(x, size), [normal(2, 3, 7, 6)])
    ties = np.random.default_rng(0).integers(0, 2, (2, 3, 7, 6)) * 1.0  # of equal ones the first wins in both
    agree(lambda x: functional.max_pool2d(x, size), lambda x: plain_max_pool2d(x, size), [ties])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w, b: functional.conv2d(x[0], w, b), r"convolution of 3 channels got .* shape \(3, 6, 5\)"),
        (lambda x, w, b: functional.conv2d(x[:, :2], w, b), r"convolution of 3 channels got .* \(2, 2, 6, 5\)"),
        (lambda x, w, b: functional.conv2d(x[..., :2], w, b), r"3×3 kernel does not fit .* \(2, 3, 6, 2\)"),
        (lambda x, w, b: functional.max_pool2d(x, 6), r"a 6×6 window does not fit an input of shape \(2, 3, 6, 5\)"),
        (lambda x, w, b: functional.max_pool2d(x[0], 2), r"expected \(N, C, H, W\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(tensor(IMAGES), tensor(KERNELS), tensor(SHIFTS))


# ---------------------------------------------------------------- dropout and flatten


def test_dropout_scales_what_it_keeps():
    x = tensor(np.ones((200, 50)))
    for p in (0.25, 0.8):
        out = functional.dropout(x, p, np.random.default_rng(0)).data
        assert set(np.unique(out)) == {0.0, 1 / (1 - p)}
        assert (out == 0).mean() == pytest.approx(p, abs=0.02)


def test_the_mask_is_drawn_once_and_shared_by_value_and_gradient():
    rng = np.random.default_rng(0)
    x = tensor(np.ones((20, 30)), requires_grad=True)
    out = functional.dropout(x, 0.5, rng)
    state = rng.bit_generator.state
    for _ in range(2):
        assert np.array_equal(grad(out.sum(), x)[0], out.data)
    assert rng.bit_generator.state == state  # a sweep draws nothing
    assert not np.array_equal(functional.dropout(x, 0.5, rng).data, out.data)


def test_dropout_of_channels_drops_whole_images():
    out = functional.dropout(tensor(np.ones((8, 10, 3, 4))), 0.5, np.random.default_rng(0), channels=True).data
    per_channel = out.reshape(80, 12)
    assert (per_channel == per_channel[:, :1]).all()
    assert set(np.unique(out)) == {0.0, 2.0}
    for along in (0, 1):  # neither one mask for all images, nor one for all channels
        assert (out[:, :, 0, 0].std(axis=along) > 0).any()


def test_no_dropout_without_p_and_in_evaluation():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    x = tensor(np.ones((4, 5)), requires_grad=True)
    assert functional.dropout(x, 0.0, rng) is x
    with evaluating():
        assert functional.dropout(x, 0.5, rng) is x
    assert rng.bit_generator.state == state  # evaluating does not change what training draws next


def test_float32_and_float64_see_the_same_mask():
    one, other = (
        functional.dropout(tensor(np.ones((9, 9)), dtype=d), 0.5, np.random.default_rng(0)) for d in ("f4", "f8")
    )
    assert np.array_equal(one.data, other.data)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3), (2,), (0, 3, 4), (2, 0)])
def test_flatten(shape):
    out = functional.flatten(np.zeros(shape, np.float32))
    assert isinstance(out, Tensor)
    assert out.shape == (shape[0], int(np.prod(shape[1:])))
