"""A traced step is a plain step: parameters, buffers, memories, random generators and counts, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import tinymtl as tm
from tests.tracing.conftest import PROBLEMS, RULES, STRATEGIES, network, stacked
from tinymtl.nn import Dropout


def state(step):
    """Everything that the next step depends on, as bytes."""
    arrays = {"parameters": step.model.vector.data, **step.model.state(), **step.state()}
    found = {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}
    for p in step.model.shared_parameters():
        assert np.shares_memory(p.data, step.model.vector.data)
    found["passes"] = step.model.passes.now()
    layers = getattr(step.model.trunk, "layers", [])
    found["masks"] = [str(m.rng.bit_generator.state) for m in layers if isinstance(m, Dropout)]
    return found


def reports_equal(a, b):
    assert a.losses.tobytes() == b.losses.tobytes()
    assert (a.weights is None) == (b.weights is None)
    if a.weights is not None:
        assert np.array_equal(a.weights, b.weights)


def compare(make, x, targets):
    """Three plain steps against a plain, a traced and a plain one."""
    plain, traced = make(), make()
    plain(x, targets)
    traced(x, targets)
    report = plain(x, targets)
    trace = tm.trace(traced, x, targets)
    assert state(plain) == state(traced)
    assert np.array_equal(report.losses.astype(np.float64), trace.losses, equal_nan=True)
    passes = (report.trunk_forwards, report.trunk_backwards, report.head_backwards)
    assert (trace.trunk_forwards, trace.trunk_backwards, trace.head_backwards) == passes
    reports_equal(plain(x, targets), traced(x, targets))
    assert state(plain) == state(traced)
    return trace


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_network_with_dropout(strategy, rule, dtype):
    _, x, targets = network(dtype, dropout=0.4)
    trace = compare(lambda: STRATEGIES[strategy](network(dtype, dropout=0.4)[0], RULES[rule]()), x, targets)
    assert trace.notes == []  # the copies drew the step's own masks


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_network_with_batch_norm_traced_in_evaluation(strategy):
    """A step trains wherever it is called, and so do the copies that it is measured on."""
    _, x, targets = network(dropout=0.4, norm=True)
    make = lambda: STRATEGIES[strategy](network(dropout=0.4, norm=True)[0], tm.Adam(0.01))  # noqa: E731
    with tm.nn.evaluating():
        trace = compare(make, x, targets)
    assert trace.notes == []


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_analytic_problems(strategy, problem):
    trace = compare(lambda: STRATEGIES[strategy](PROBLEMS[problem](), tm.Adam(lr=0.01)), None, None)
    assert trace.notes == []
    assert trace.x_shape is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stacked_heads(strategy):
    _, x, targets = stacked(4)
    compare(lambda: STRATEGIES[strategy](stacked(4)[0], tm.Adam()), x, targets)


def test_gradients_of_leaves_stay_none():
    model, x, targets = network()
    tm.trace(tm.MGDAUB(model, tm.SGD(0.1)), x, targets)
    assert all(p.grad is None for p in [*model.layout.parameters, model.vector])


def test_a_step_that_fails_moves_nothing():
    model, x, targets = network()
    step = tm.Alternating(model, tm.Adam())
    before = state(step)
    with pytest.raises(FloatingPointError, match="'task 1'"):  # after the turn of task 0
        tm.trace(step, x, {**targets, "task 1": np.full(8, np.inf)})
    after = state(step)
    before.pop("passes"), after.pop("passes")
    assert after == before


def test_a_model_that_cannot_be_copied_is_refused_before_the_step():
    model, x, targets = network()
    model.trunk.counter = (i for i in range(3))  # a generator has no copy
    before = model.vector.data.copy()
    with pytest.raises(TypeError, match="copy of the model"):
        tm.trace(tm.Averaged(model, tm.SGD(0.1)), x, targets)
    assert np.array_equal(model.vector.data, before)


def test_bad_input_moves_nothing():
    model, x, targets = network()
    before = model.vector.data.copy()
    with pytest.raises(ValueError, match="task 1"):
        tm.trace(tm.Averaged(model, tm.SGD(0.1)), x, {**targets, "task 1": targets["task 1"][:-1]})
    assert np.array_equal(model.vector.data, before)
    assert model.passes.trunk_forwards == 0


def test_a_loss_that_draws_is_noted():
    draws = np.random.default_rng(0)

    def noisy(prediction, target):
        return tm.mse_loss(prediction, target) * (1.0 + float(draws.random()))

    model = tm.SharedBottom(tm.nn.MLP([2, 3]), [tm.Task("noisy", tm.nn.Linear(3, 1), noisy)])
    trace = tm.trace(tm.Averaged(model, tm.SGD(0.1)), np.ones((4, 2)), {"noisy": np.ones(4)})
    assert len(trace.notes) == 1 and "'noisy'" in trace.notes[0] and "random" in trace.notes[0]
    assert "note: task 'noisy'" in repr(trace)
