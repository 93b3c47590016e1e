"""The fake device itself: it refuses what CuPy refuses and counts what a GPU would be asked for."""

import sys

import numpy as np
import pytest

from tinymtl.backend import to_device, to_host
from tinymtl.fake_cupy import no_transfers, pretend_gpu, tally

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


@pytest.mark.parametrize("name", ["random", "fft"])
def test_parts_of_cupy_that_the_fake_lacks_are_not_numpys(cupy, name):
    with pytest.raises(AttributeError, match=f"has no cupy.{name}"):
        getattr(cupy, name)


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
def test_reads_are_counted_and_forbidden_where_asked(x, wait):
    loss = x.sum()
    tally.reset()
    wait(loss)
    assert tally.reads == 1
    with no_transfers(), pytest.raises(RuntimeError, match="no_transfers"):
        wait(loss)


@pytest.mark.parametrize("send", [lambda c, x: c.asarray(HOST), lambda c, x: x[[0, 1]], lambda c, x: x[np.array([0])]])
def test_uploads_are_counted_and_forbidden_where_asked(cupy, x, send):
    tally.reset()
    send(cupy, x)
    assert tally.uploads == 1
    with no_transfers(), pytest.raises(RuntimeError, match="no_transfers"):
        send(cupy, x)


def test_duplicate_indices_in_an_assignment(cupy):
    z, twice = cupy.zeros(3), cupy.asarray([0, 0])
    with pytest.raises(IndexError, match="duplicate"):
        z[twice] = 1.0


def test_views_cost_nothing_and_copies_one_launch(cupy, x):
    tally.reset()
    x.T.reshape(6, 2)[1:].swapaxes(0, 1)  # the reshape of a transposed view copies
    assert tally.log == ["reshape"]
    x.reshape(2, 6)[0, None], x[..., 1], cupy.broadcast_to(x, (2, 4, 3)), cupy.empty(7)
    assert tally.launches == 1
    x @ x.T + 1
    assert tally.log == ["reshape", "matmul", "add"]


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
    with pytest.raises(TypeError, match="neither a device array"):
        kernel((1,), (256,), (z, sizes[0], np.ones(3), sizes[1], np.int64(0)))
    with pytest.raises(RuntimeError, match="not found"):
        cupy.RawModule(code="void add_bias(").get_function("add_biases")


def test_launches_uploads_reads_and_waits():
    with pretend_gpu() as tally:
        x = to_device(np.arange(6.0), "cuda")
        assert (tally.launches, tally.uploads, tally.waits) == (0, 1, 0)
        y = (x * 2)[1:5]  # a view
        assert (tally.launches, tally.uploads, tally.waits) == (1, 1, 0)
        assert float(y.sum()) == 20.0
        assert (tally.launches, tally.reads, tally.waits) == (2, 1, 1)
        assert y.tolist() == [2.0, 4.0, 6.0, 8.0]  # the queue is empty: nothing to wait for
        assert (tally.reads, tally.waits) == (2, 1)
        y += 1
        assert bool((y > 2).any())
        assert (tally.launches, tally.reads, tally.waits) == (5, 3, 2)
        assert to_host(y[y > 6]).tolist() == [7.0, 9.0]
        assert tally.log[-3:] == ["x[mask]", "take", ".get()"]
        assert to_host(x[[0, 2]]).tolist() == [0.0, 2.0]
        assert tally.uploads == 2


def test_an_operation_with_out_is_a_launch_and_one_without_effect_is_none(cupy, x):
    y = cupy.empty((4, 3), "f4")
    tally.reset()
    assert cupy.multiply(x, 2, out=y) is y and tally.log == ["multiply"]
    assert to_host(y).tolist() == (2 * HOST).tolist()
    assert cupy.asarray(x) is x and cupy.ascontiguousarray(x) is x and x.astype("f4", copy=False).dtype == "f4"
    assert tally.launches == 1
    cupy.multiply(x, 2, out=x)
    assert tally.launches == 2
    cupy.add.at(y, cupy.asarray([1, 1]), 1.0)
    assert tally.log[-1] == "add.at" and y.get()[1].tolist() == [4.0] * 3


def test_what_cupy_puts_together_is_contiguous(cupy, x):
    assert cupy.concatenate([x.T, x.T]).flags.c_contiguous and cupy.stack([x.T, x.T]).flags.c_contiguous
    assert np.concatenate([HOST.T, HOST.T]).flags.f_contiguous  # which NumPy's need not be


def test_it_is_gone_afterwards_even_after_an_error(cupy):
    with pytest.raises(KeyError), pretend_gpu():
        assert sys.modules["cupy"] is not cupy
        raise KeyError
    assert sys.modules["cupy"] is cupy


def test_a_forbidden_transfer_is_forbidden_no_longer_than_asked(cupy, x):
    with pytest.raises(RuntimeError), no_transfers():
        x.get()
    assert x.get().tolist() == HOST.tolist()
