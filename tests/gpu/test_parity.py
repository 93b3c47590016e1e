"""On a real GPU: the same numbers as on the CPU. Run with `python -m pytest -m gpu`."""

import numpy as np
import pytest

import tinymtl as tm
from tests.steps.conftest import STRATEGIES, network
from tinymtl.backend import cuda_problem, module_for, to_host

PROBLEM = cuda_problem()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=f"no GPU: {PROBLEM}")]


def batches(count, rows=64, tasks=4):
    rng = np.random.default_rng(5)
    return [(rng.normal(size=(rows, 4)), rng.integers(0, 3, (rows, tasks))) for _ in range(count)]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "separate"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_twenty_steps(strategy, stacked, dtype, tolerance):
    cupy = module_for("cuda")
    here, there = network(4, stacked).to(dtype), network(4, stacked).to(dtype, "cuda")
    np.testing.assert_array_equal(to_host(there.vector.data), here.vector.data)
    on_cpu, on_gpu = strategy(here, tm.SGD(0.05, momentum=0.9)), strategy(there, tm.SGD(0.05, momentum=0.9))
    for x, y in batches(20):
        expected, found = on_cpu(x, y), on_gpu(cupy.asarray(x.astype(dtype)), cupy.asarray(y))
        np.testing.assert_allclose(found.losses, expected.losses, rtol=tolerance)
    difference = np.abs(to_host(there.vector.data) - here.vector.data).max()
    assert difference <= tolerance * np.abs(here.vector.data).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_lenet(dtype, tolerance):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 1, 28, 28)), rng.integers(0, 10, (16, 2))
    models = []
    for device in ("cpu", "cuda"):
        tasks = [tm.Task(f"t{k}", tm.nn.Linear(50, 10, rng=k), tm.cross_entropy) for k in range(2)]
        model = tm.SharedBottom(tm.nn.LeNet(dropout=0.5), tasks).to(dtype, device)
        step = tm.MGDAUB(model, tm.SGD(0.01, momentum=0.9))
        for _ in range(20):
            step(x, y)
        models.append(to_host(model.vector.data))
    assert np.abs(models[1] - models[0]).max() <= tolerance * np.abs(models[0]).max()
