"""Losses in tiny and in huge units: their Gram matrix is right though float32 cannot hold its entries."""

import numpy as np
import pytest

import tinymtl as tm

STRATEGIES = {"MGDA": tm.MGDA, "MGDA-UB": tm.MGDAUB}
UNITS = [1e-30, 1e-22, 1e-15, 1e15, 1e20, 1e30]


def scaled(unit):
    return lambda prediction, target: unit * tm.cross_entropy(prediction, target)


def network(units, dtype="float32", heads=None):
    """Heads that are not stacked, each with a loss of its own in its own units."""
    tasks = [tm.Task(f"{k}", tm.nn.Linear(8, 3, rng=k), scaled(unit)) for k, unit in enumerate(units)]
    return tm.SharedBottom(tm.nn.MLP([4, 8], rng=9), tasks).to(dtype)


def minibatch(tasks, rows=16):
    rng = np.random.default_rng(3)
    return rng.standard_normal((rows, 4)), {f"{k}": rng.integers(0, 3, rows) for k in range(tasks)}


def step_once(strategy, model, tasks):
    """The Gram matrix, the weights and v of one step that moves nothing."""
    with np.errstate(over="ignore", invalid="ignore"):  # as a step does that runs to its end
        *_, last = strategy(model, tm.SGD(0.0)).stages(*minibatch(tasks))
    return np.array(last.update.gram), np.array(last.update.weights), np.array(last.update.v)


@pytest.mark.parametrize("tasks", [2, 5])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_the_unit_of_all_losses_changes_no_weight(strategy, unit, tasks):
    G, w, v = step_once(strategy, network([1.0] * tasks), tasks)
    G_scaled, w_scaled, v_scaled = step_once(strategy, network([unit] * tasks), tasks)
    np.testing.assert_allclose(G_scaled / unit / unit, G, rtol=1e-5, atol=1e-6 * G.max())
    np.testing.assert_allclose(w_scaled, w, atol=1e-5)
    np.testing.assert_allclose(v_scaled / np.float32(unit), v, atol=1e-5 * np.abs(v).max())


@pytest.mark.parametrize("units", [(1e-30, 1.0), (1.0, 1e30), (1e-12, 1e25), (1e-25, 1e-5), (1e20, 1e-15, 1.0)])
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_tasks_in_units_of_their_own_are_as_in_float64(strategy, units):
    G, w, _ = step_once(strategy, network(units), len(units))
    right, right_w, _ = step_once(strategy, network(units, "float64"), len(units))
    lengths = np.sqrt(right.diagonal())
    np.testing.assert_allclose(G / lengths[:, None] / lengths, right / lengths[:, None] / lengths, atol=1e-5)
    np.testing.assert_allclose(w, right_w, rtol=1e-3, atol=1e-30)


@pytest.mark.parametrize("unit", [1e-20, 1e-12, 1e12, 1e18])
def test_stacked_heads_with_tiny_and_huge_weights(unit):
    def gram(dtype):
        tasks = [tm.Task(f"{k}", tm.nn.Linear(8, 3, rng=k), tm.cross_entropy) for k in range(3)]
        model = tm.SharedBottom(tm.nn.MLP([4, 8], rng=9), tasks)
        for k in range(3):
            model.task_parameters(f"{k}")[0].data *= np.float32(unit)
        return step_once(tm.MGDAUB, model.to(dtype), 3)[:2]

    (G, w), (right, right_w) = gram("float32"), gram("float64")
    np.testing.assert_allclose(G / right.max(), right / right.max(), atol=1e-5)
    np.testing.assert_allclose(w, right_w, atol=1e-4)
