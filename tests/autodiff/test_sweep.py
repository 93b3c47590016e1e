"""The reverse sweep: order, completeness, where it ends, and who owns which buffer."""

import gc
import math
import weakref

import numpy as np
import pytest

from tinymtl.autodiff import Tensor, grad, record, sweep
from tinymtl.autodiff.ops import add, concatenate, exp, mul, stack, tanh
from tinymtl.autodiff.tensor import ancestors, tensor


def leaf(value):
    return tensor(np.array(value, dtype=np.float64), requires_grad=True)


def counted(x, calls, factor=1.0):
    """factor · x, by an operation that writes down each call of its vjp."""

    def vjp(g):
        calls.append(g)
        return g * factor

    return record(x.data * factor, (x, vjp))


# ---------------------------------------------------------------- gradients of intermediates live in the sweep


def two_losses():
    w, x = leaf(2.0), tensor(3.0, dtype="float64")
    z = w * x
    return w, z, z**2, 5 * z


def test_the_second_of_two_sweeps_over_one_trunk_starts_from_nothing():
    w, z, first, second = two_losses()
    first.backward()
    assert (w.grad, z.grad) == (36.0, None)
    w.grad = None
    second.backward()
    assert (w.grad, z.grad) == (15.0, None)  # an engine that keeps 12 on z says (12 + 5) · 3 = 51


def test_grad_in_either_order_gives_each_loss_its_own_gradient():
    w, z, first, second = two_losses()
    assert [grad(loss, [w, z]) for loss in (first, second)] == [[36.0, 12.0], [15.0, 5.0]]
    assert [grad(loss, [w, z]) for loss in (second, first)] == [[15.0, 5.0], [36.0, 12.0]]
    assert (w.grad, z.grad) == (None, None)


def test_several_outputs_are_their_weighted_sum():
    w, z, first, second = two_losses()
    assert grad([first, second], [w, z]) == [51.0, 17.0]
    assert grad([first, second], [w, z], [np.array(2.0), np.array(-1.0)]) == [57.0, 19.0]
    assert grad([z, z], [w], [np.array(1.0), np.array(10.0)]) == [33.0]
    assert grad([first, z], [z]) == [13.0]  # one output is an ancestor of the other


def test_backward_adds_up_on_leaves_only():
    w, z, first, second = two_losses()
    first.backward()
    before = w.grad
    second.backward()
    assert (before, w.grad, z.grad) == (36.0, 51.0, None)  # and `before` is not written to
    w.backward()
    assert w.grad == 52.0


# ---------------------------------------------------------------- order and completeness


def test_forty_eight_and_twenty_eight():
    x, y = leaf(2.0), leaf(3.0)
    c = x * y
    d = c + x
    loss = c * d
    assert (loss.item(), *grad(loss, [x, y, c, d])) == (48.0, 48.0, 28.0, 14.0, 6.0)


def test_reuse():
    x = leaf(3.0)
    assert grad(x + x, [x]) == [2.0]
    assert grad(x * x * x, [x]) == [27.0]
    assert grad(x * 2 + x * 3 + x * 5 + x * 7 + x * 11, [x]) == [28.0]
    v = leaf([1.0, 2.0])
    assert grad(concatenate([v, v, 10 * v]).sum(), [v])[0].tolist() == [12.0, 12.0]
    assert grad((stack([v, v]) * np.array([[1.0, 2.0], [3.0, 4.0]])).sum(), [v])[0].tolist() == [4.0, 6.0]


def test_a_diamond_of_diamonds_is_not_walked_path_by_path():
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y  # 2⁶⁰ paths
    assert grad(y, [x]) == [2.0**60]


class Dual:
    """A number and its derivatives, carried forward: the other way to differentiate."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes

    def __add__(self, other):
        return Dual(self.value + other.value, self.slopes + other.slopes)

    def __mul__(self, other):
        return Dual(self.value * other.value, self.value * other.slopes + other.value * self.slopes)

    def tanh(self):
        value = math.tanh(self.value)
        return Dual(value, (1 - value * value) * self.slopes)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_against_forward_differentiation(seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, 3)
    tensors = [leaf(v) for v in values]
    duals = [Dual(v, unit) for v, unit in zip(values, np.eye(3), strict=True)]
    for _ in range(25):
        i, j = rng.integers(len(tensors), size=2)  # a node may be used often, or twice at once
        match rng.integers(3):
            case 0:
                tensors.append(tensors[i] + tensors[j])
                duals.append(duals[i] + duals[j])
            case 1:
                tensors.append(tensors[i] * tensors[j])
                duals.append(duals[i] * duals[j])
            case 2:
                tensors.append(tanh(tensors[i]))
                duals.append(duals[i].tanh())
    output, expected = tensors[0] + tensors[-1], duals[0] + duals[-1]
    assert output.item() == pytest.approx(expected.value, rel=1e-12)
    np.testing.assert_allclose(np.array(grad(output, tensors[:3])), expected.slopes, rtol=1e-12, atol=1e-12)


def test_newest_first_and_every_vjp_once():
    order = []

    def node(name, *parents):
        def vjp(g):
            order.append(name)
            return g

        return record(np.array(0.0), *[(p, vjp) for p in parents])

    x = leaf(0.0)
    a = node("a", x)
    b = node("b", x)
    c = node("c", a)
    d = node("d", b, c, a)
    grad(node("e", d, a), [x])
    assert order == ["e", "e", "d", "d", "d", "c", "b", "a"]


def test_a_graph_of_a_hundred_thousand_operations():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    assert (y.item(), *grad(y, [x])) == (100_001.0, 1.0)
    y.backward()
    assert x.grad == 1.0
    del y  # taking it apart must not recurse either


def test_what_is_not_reached_gets_zeros_of_the_right_shape():
    x, y = leaf([1.0, 2.0]), tensor(np.ones((3, 1), np.float32), requires_grad=True)
    gx, gy = grad(x.sum(), [x, y])
    assert gx.tolist() == [1.0, 1.0]
    assert (gy.shape, gy.dtype, gy.any()) == ((3, 1), np.float32, False)
    gx, gy = grad(x, [x, y], [np.eye(2)])
    assert gx.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert (gy.shape, gy.dtype, gy.any()) == ((2, 3, 1), np.float32, False)
    assert grad(tensor(1.0), [x])[0].tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- where a sweep ends


def shared_trunk(calls):
    w, head = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    z = counted(counted(w, calls), calls)
    return w, z, head


def test_a_sweep_to_z_does_not_enter_the_trunk():
    calls = []
    w, z, head = shared_trunk(calls)
    loss = (z * head).sum()
    assert grad(loss, [z])[0].tolist() == [3.0, 4.0]
    assert calls == []
    found = sweep([loss], [np.array(1.0)], [z])
    assert {t: g.tolist() for t, g in found.items()} == {z: [3.0, 4.0], head: [1.0, 2.0]}
    assert calls == []
    gz, gw = grad(loss, [z, w])  # a leaf among the targets: all the way
    assert (gz.tolist(), gw.tolist(), len(calls)) == ([3.0, 4.0], [3.0, 4.0], 2)


def test_a_sweep_ends_at_the_oldest_target_only():
    calls, older, newer = [], [], []
    x = leaf(1.0)
    a = counted(counted(x, calls), calls)
    b = counted(a, older, 2.0)
    c = counted(b, newer, 3.0)
    assert grad(c + a, [c, a]) == [1.0, 7.0]
    assert (len(calls), len(older), len(newer)) == (0, 1, 1)
    assert grad(c + a, [c]) == [1.0]
    assert (len(calls), len(older), len(newer)) == (0, 1, 1)


def test_ancestors_that_are_older_than_z_are_not_visited_by_a_way_around_it():
    calls, side = [], []
    x = leaf(2.0)
    h = counted(x, calls)
    z = h * 3.0
    beside = counted(h, side, 5.0)  # newer than z, but h is older
    assert grad(z + beside, [z]) == [1.0]
    assert (len(calls), len(side)) == (0, 1)
    found = sweep([z + beside], [np.array(1.0)], [z])
    assert found == {z: 1.0}  # what reached h half-way is not returned


def test_ancestors_are_listed_newest_first():
    x, y = leaf(1.0), leaf(2.0)
    a = x * y
    b = a + x
    assert list(ancestors(b)) == [b, a, y, x]
    assert list(ancestors(x)) == [x]


# ---------------------------------------------------------------- buffers


def test_the_caller_owns_what_comes_back():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = np.array([5.0, 6.0])
    s = a + b
    ga, gb, gs, again = grad(s, [a, b, s, a], [seed])
    arrays = [ga, gb, gs, again, seed]
    for i, one in enumerate(arrays):
        assert one.tolist() == [5.0, 6.0]
        assert not any(np.shares_memory(one, other) for other in arrays[i + 1 :])
    ga[:] = 0.0  # and is free to write to it
    s.backward(seed)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, seed)
    a.grad += 100.0
    assert (b.grad.tolist(), seed.tolist()) == ([5.0, 6.0], [5.0, 6.0])
    a.backward(seed)
    assert (a.grad.tolist(), seed.tolist()) == ([110.0, 112.0], [5.0, 6.0])


def test_what_is_returned_can_be_written_to():
    x = leaf([1.0, 2.0, 3.0])
    (g,) = grad(x.sum(), [x])  # within the sweep a broadcast view: one number, read-only
    g[0] = 7.0
    assert g.tolist() == [7.0, 1.0, 1.0]


def test_adding_never_writes_into_a_gradient_that_others_read():
    # add hands g itself to both parents; the first parent then receives more
    a, b, c = leaf([1.0, 1.0]), leaf([1.0, 1.0]), leaf([1.0, 1.0])
    s = a + b
    t = s + a
    assert [g.tolist() for g in grad(t + c, [a, b, c, s, t], [np.ones(2)])] == [[2, 2], [1, 1], [1, 1], [1, 1], [1, 1]]


def test_a_gradient_that_was_added_up_is_not_added_to_again_after_it_was_passed_on():
    # m's gradient is a buffer of the sweep (three uses); add passes it on to p and q as it is, then p gets more
    p, q = leaf([1.0]), leaf([1.0])
    early = p * 10.0
    m = p + q
    loss = m * 2.0 + m * 3.0 + m * 4.0 + early
    assert [g.tolist() for g in grad(loss, [p, q, m], [np.ones(1)])] == [[19.0], [9.0], [9.0]]


def test_read_only_seeds_and_data():
    a, b = leaf([[1.0, 2.0]]), leaf([[3.0], [4.0]])
    seed = np.ones((2, 2))
    for array in (a.data, b.data, seed):
        array.flags.writeable = False
    s = a + b
    out = s + s * a + s + b
    ga, gb = grad([out, s, s], [a, b], [seed, seed, seed])
    assert ga.tolist() == [[19.0, 23.0]]  # Σ rows of (4 + a) + s
    assert gb.tolist() == [[13.0], [13.0]]  # Σ columns of (4 + a) + 1


def everything(x, y):
    """A graph that uses most operations, some nodes several times."""
    s = x + y
    p = s * x - y / (x * x + 1.0)
    q = tanh(p) @ y.T + exp(p * 0.1).mean() + p.max(axis=1, keepdims=True)
    r = stack([q, q.T, q * s[0, 0]]).sum(axis=0)
    return (r[[0, 1, 0]] ** 2 + concatenate([q, q])[:3]).sum() + s.reshape(-1)[::2].sum() + p.sum()


def test_sweeping_twice_gives_the_same_bits_and_leaves_every_saved_value_alone():
    rng = np.random.default_rng(0)
    x, y = leaf(rng.standard_normal((3, 3))), leaf(rng.standard_normal((3, 3)))
    loss = everything(x, y)
    saved = {node: node.data.copy() for node in ancestors(loss)}
    first = grad(loss, [x, y])
    second = grad(loss, [x, y])
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    for node, values in saved.items():
        np.testing.assert_array_equal(node.data, values)


def test_a_graph_is_freed_as_soon_as_its_loss_is():
    x = leaf([1.0, 2.0])
    gc.disable()
    try:
        z = tanh(x * 2.0)
        loss = add(mul(z, z), x).sum()
        middle = weakref.ref(z)
        grad(loss, [x])
        del z
        assert middle() is not None  # the loss still needs it
        del loss
        assert middle() is None  # by reference counts alone: no cycle waits for the collector
    finally:
        gc.enable()


def test_record_drops_edges_to_constants():
    x = leaf(1.0)
    out = record(np.array(2.0), (x, lambda g: g), (tensor(1.0), lambda g: g), (3.0, lambda g: g), (None, lambda g: g))
    assert [parent for parent, _ in out.edges] == [x]
    constant = record(np.array(2.0), (tensor(1.0), lambda g: g))
    assert (constant.requires_grad, list(constant.edges)) == (False, [])
    assert isinstance(record(np.float32(2.0)).data, np.ndarray)
    assert isinstance(out, Tensor)
