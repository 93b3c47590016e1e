"""The pretend GPU of lesson 10 counts what the strict one of tests/gpu counts, and computes what the host computes."""

import sys

import numpy as np
import pytest

import tinymtl as tm
from tests.gpu import fake_cupy
from tinymtl.backend import to_device, to_host
from tinymtl.course.pretend_gpu import pretend_gpu

STEPS = {
    "averaged": tm.Averaged,
    "mgda": tm.MGDA,
    "mgda-ub": tm.MGDAUB,
    "alternating": tm.Alternating,
    "alternating, shared": lambda model, rule: tm.Alternating(model, rule, moments="shared"),
    "grouped": lambda model, rule: tm.RandomGrouped(model, rule, group_size=2),
}
ROWS, TASKS = 8, 4


def network(classes):
    loss = tm.cross_entropy if classes > 1 else tm.binary_cross_entropy_with_logits
    heads = [tm.Task(f"task {k}", tm.nn.Linear(5, classes, rng=k), loss) for k in range(TASKS)]
    return tm.SharedBottom(tm.nn.MLP([6, 5]), heads).to("float64")


def batch(classes):
    rng = np.random.default_rng(1)
    return rng.normal(size=(ROWS, 6)), rng.integers(0, max(classes, 2), (ROWS, TASKS))


def steps_on_the_device(make, classes, tally):
    """The parameters after two steps, and the log of the second."""
    x, y = (to_device(array, "cuda") for array in batch(classes))
    model = network(classes).to(device="cuda")
    step = make(model, tm.Adam(0.1))
    step(x, y)
    tally.reset()
    step(x, y)
    return model.vector.data, list(tally.log)


@pytest.fixture
def strict():
    yield fake_cupy.install()
    fake_cupy.uninstall()


@pytest.mark.parametrize("name", STEPS)
def test_it_counts_what_the_strict_one_counts(name):
    with pretend_gpu() as tally:
        _, found = steps_on_the_device(STEPS[name], 3, tally)
    fake_cupy.install()
    try:
        _, expected = steps_on_the_device(STEPS[name], 3, fake_cupy.tally)
    finally:
        fake_cupy.uninstall()
    kinds = {"an upload of host values": "upload"}
    assert found == [kinds.get(event, event) for event in expected]


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_computes_what_it_computes_on_the_host(name, classes):
    here = network(classes)
    step = STEPS[name](here, tm.Adam(0.1))
    for _ in range(2):
        step(*batch(classes))
    with pretend_gpu() as tally:
        there, _ = steps_on_the_device(STEPS[name], classes, tally)
        np.testing.assert_allclose(to_host(there), here.vector.data, rtol=1e-12, atol=1e-14)


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


@pytest.mark.parametrize("mix", [lambda x: x + np.ones(3), lambda x: np.ones(3) + x, np.exp, np.asarray])
def test_host_and_device_do_not_mix(mix):
    with pretend_gpu():
        x = to_device(np.ones(3), "cuda")
        with pytest.raises(TypeError):
            mix(x)


def test_it_is_gone_afterwards_even_after_an_error(strict):
    with pytest.raises(KeyError), pretend_gpu():
        assert sys.modules["cupy"] is not strict
        raise KeyError
    assert sys.modules["cupy"] is strict
    fake_cupy.uninstall()
    with pretend_gpu():
        pass
    assert "cupy" not in sys.modules
