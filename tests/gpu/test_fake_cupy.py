"""The fake itself: it refuses what CuPy refuses and counts what a GPU would feel."""

import numpy as np
import pytest

from tests.gpu import fake_cupy

HOST = np.ones((4, 3), "f4")


@pytest.fixture
def x(cupy):
    return cupy.asarray(HOST)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: np.exp(x),
        lambda x: np.sum(x),
        lambda x: np.concatenate([x, x]),
        lambda x: np.zeros_like(x),
        lambda x: np.asarray(x),
        lambda x: np.add.at(x, [0, 0], 1.0),
        lambda x: x + HOST,
        lambda x: HOST + x,
        lambda x: HOST.T @ x,
        lambda x: x @ HOST.T,
        lambda x: x + [1, 2, 3],
        lambda x: x.__iadd__(HOST),
        lambda x: x.__setitem__(slice(None), HOST),
    ],
)
def test_host_and_device_do_not_mix(x, mistake):
    with pytest.raises(TypeError):
        mistake(x)


@pytest.mark.parametrize("name", ["errstate", "block", "insert", "geomspace", "einsum_path"])
def test_names_that_cupy_lacks(cupy, name):
    with pytest.raises(AttributeError, match=name):
        getattr(cupy, name)


@pytest.mark.parametrize("name", ["normal", "permutation", "shuffle"])
def test_methods_that_its_generator_lacks(cupy, name):
    with pytest.raises(AttributeError, match=name):
        getattr(cupy.random.default_rng(0), name)


@pytest.mark.parametrize(
    "wait",
    [
        float,
        int,
        bool,
        lambda x: x.item(),
        lambda x: x.get(),
        lambda x: max(x, x + 1),
        lambda x: x.reshape(1)[x.reshape(1) > 0],
        repr,
    ],
)
def test_synchronisations_are_counted_and_forbidden_where_asked(x, wait):
    loss = x.sum()
    fake_cupy.tally.reset()
    wait(loss)
    assert fake_cupy.tally.syncs == 1
    with fake_cupy.no_sync(), pytest.raises(RuntimeError, match="no_sync"):
        wait(loss)


@pytest.mark.parametrize("send", [lambda c, x: c.asarray(HOST), lambda c, x: x[[0, 1]], lambda c, x: x[np.array([0])]])
def test_uploads_are_counted_and_forbidden_where_asked(cupy, x, send):
    fake_cupy.tally.reset()
    send(cupy, x)
    assert fake_cupy.tally.uploads == 1
    with fake_cupy.no_sync(), pytest.raises(RuntimeError, match="no_sync"):
        send(cupy, x)


def test_duplicate_indices_in_an_assignment(cupy):
    z, twice = cupy.zeros(3), cupy.asarray([0, 0])
    with pytest.raises(IndexError, match="duplicate"):
        z[twice] = 1.0


def test_views_cost_nothing_and_copies_one_launch(cupy, x):
    fake_cupy.tally.reset()
    x.T.reshape(6, 2)[1:].swapaxes(0, 1)  # the reshape of a transposed view copies
    assert fake_cupy.tally.log == ["reshape"]
    x.reshape(2, 6)[0, None], x[..., 1], cupy.broadcast_to(x, (2, 4, 3)), cupy.empty(7)
    assert fake_cupy.tally.launches == 1
    x @ x.T + 1
    assert fake_cupy.tally.log == ["reshape", "matmul", "add"]


def test_a_kernel_gets_contiguous_arrays_their_sizes_and_enough_threads(cupy, x):
    kernel = cupy.RawModule(code="void add_bias(").get_function("add_bias")
    z, bias = cupy.zeros((4, 3)), cupy.ones(3)
    sizes = np.int64(12), np.int64(3)
    kernel((1,), (256,), (z, sizes[0], bias, sizes[1], np.int64(0)))
    assert z.get().tolist() == [[1.0] * 3] * 4
    with pytest.raises(ValueError, match="strided"):
        kernel((1,), (256,), (z.T, sizes[0], bias, sizes[1], np.int64(0)))
    with pytest.raises(ValueError, match="a size of 3 for an array of 12"):
        kernel((1,), (256,), (z, sizes[1], bias, sizes[1], np.int64(0)))
    with pytest.raises(ValueError, match="threads"):
        kernel((1,), (4,), (z, sizes[0], bias, sizes[1], np.int64(0)))
    with pytest.raises(TypeError, match="no device array"):
        kernel((1,), (256,), (z, sizes[0], np.ones(3), sizes[1], np.int64(0)))
    with pytest.raises(RuntimeError, match="not found"):
        cupy.RawModule(code="void add_bias(").get_function("add_biases")
