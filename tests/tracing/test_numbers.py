"""The numbers of a trace against closed forms and against one another."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinymtl as tm
from tests.tracing.conftest import PROBLEMS, STRATEGIES, network, stacked
from tinymtl.tracing import traced_stages


def test_hand_example_is_all_thirteenths(hand):
    model, x, targets = hand
    trace = tm.trace(tm.MGDAUB(model, tm.SGD(lr=0.1)), x, targets)
    (turn,) = trace.turns
    close = {"rtol": 0, "atol": 1e-14}
    np.testing.assert_allclose(trace.losses, [2, 0.5], **close)
    np.testing.assert_allclose(turn.gram_z, [[8, -2], [-2, 1]], **close)
    np.testing.assert_array_equal(turn.gram_of_step, [[8, -2], [-2, 1]])
    np.testing.assert_allclose(turn.gram_theta, [[40, -10], [-10, 5]], **close)  # ‖x‖² = 5 times those on Z
    np.testing.assert_allclose(turn.angles[0, 1], 135, rtol=0, atol=1e-12)
    np.testing.assert_allclose(turn.cosines[0, 1], -1 / np.sqrt(2), **close)
    np.testing.assert_allclose(turn.weights, [3 / 13, 10 / 13], **close)
    np.testing.assert_allclose(turn.v_z, [6 / 13, -4 / 13], **close)
    np.testing.assert_allclose(turn.v, [6 / 13, -4 / 13, 12 / 13, -8 / 13], **close)
    np.testing.assert_allclose(turn.descent, [20 / 13, 20 / 13], **close)
    np.testing.assert_allclose(turn.predicted_trunk, [-2 / 13, -2 / 13], **close)
    np.testing.assert_array_equal(turn.predicted_head, [0, 0])
    np.testing.assert_allclose(turn.actual, [-51 / 338, -24 / 169], **close)
    np.testing.assert_allclose(turn.gap, [1 / 338, 2 / 169], **close)
    assert trace.min_norm.squared_norm == pytest.approx(4 / 13, abs=1e-15)
    assert trace.min_norm.gap == 0
    assert (trace.trunk_forwards, trace.trunk_backwards, trace.head_backwards) == (1, 1, 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predicted_by_trunk_is_minus_eta_times_g_dot_v_for_plain_sgd(strategy):
    model, x, targets = network(dropout=0.3)
    trace = tm.trace(STRATEGIES[strategy](model, tm.SGD(lr=0.05)), x, targets)
    assert trace.learning_rate == 0.05
    for turn in trace.turns:
        np.testing.assert_allclose(turn.predicted_trunk, -0.05 * turn.descent, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("rule", [tm.SGD(0.1, momentum=0.9), tm.SGD(0.1, weight_decay=0.1), tm.Adam()])
def test_other_rules_have_no_plain_learning_rate(rule):
    model, x, targets = network()
    trace = tm.trace(tm.MGDA(model, rule), x, targets)
    assert trace.learning_rate is None
    assert "Δθ being what the optimizer made of v" in repr(trace)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_v_is_the_weighted_sum_of_the_measured_gradients(strategy, dtype):
    """The step's own v against the measured gradients: ‖v − Σ wₖgₖ‖² from Gram matrix, gₖ·v and v·v."""
    model, x, targets = network(dtype, dropout=0.3)
    trace = tm.trace(STRATEGIES[strategy](model, tm.SGD(lr=0.05)), x, targets)
    for turn in trace.turns:
        w = turn.weights
        error2 = w @ turn.gram_theta @ w - 2 * w @ turn.descent + turn.v @ turn.v
        assert abs(error2) <= (1e-12 if dtype == "float32" else 1e-15) * (turn.v @ turn.v)
        np.testing.assert_allclose(turn.v_z @ turn.v_z, w @ turn.gram_z @ w, rtol=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_actual_change_is_the_difference_of_the_losses(strategy, problem):
    model = PROBLEMS[problem]()
    step = STRATEGIES[strategy](model, tm.SGD(lr=0.01))
    before = model.losses().data
    trace = tm.trace(step)
    np.testing.assert_allclose(
        sum(turn.actual for turn in trace.turns), model.losses().data - before, rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(trace.turns[0].losses, before, rtol=1e-12)


def test_the_gap_of_a_quadratic_is_half_of_its_curvature():
    problem = tm.problems.Quadratics([[1.0, 9.0], [9.0, 1.0]], [[1.0, 0.0], [-1.0, 0.0]], start=[0.5, 0.25])
    before = problem.theta.data.copy()
    (turn,) = tm.trace(tm.Averaged(problem, tm.SGD(lr=0.1))).turns
    moved = problem.theta.data - before
    expected = [0.5 * moved @ h @ moved for h in problem.curvatures]
    np.testing.assert_allclose(turn.gap, expected, rtol=1e-9)
    assert turn.descent[0] == pytest.approx(-7 / 16, abs=1e-12)  # LESSONS: an averaged step raises loss 1


def test_the_gap_falls_with_the_square_of_the_step():
    gaps = []
    for lr in (1e-2, 1e-3):
        model, x, targets = network(dropout=0.3)
        (turn,) = tm.trace(tm.MGDAUB(model, tm.SGD(lr=lr)), x, targets).turns
        assert (np.abs(turn.gap) < 0.2 * np.abs(turn.predicted)).all()
        assert (turn.predicted_head < 0).all()  # each head follows its own gradient
        gaps.append(np.abs(turn.gap))
    assert (gaps[1] < 0.02 * gaps[0]).all()


def test_alternating_turns():
    model, x, targets = network()
    trace = tm.trace(tm.Alternating(model, tm.Adam(lr=0.01)), x, targets)
    assert [turn.group for turn in trace.turns] == [[0], [1], [2]]
    assert [turn.label for turn in trace.turns] == ["task task 0 only", "task task 1 only", "task task 2 only"]
    assert [turn.memories for turn in trace.turns] == [[f"trunk of task {k}", f"head of task {k}"] for k in range(3)]
    for k, turn in enumerate(trace.turns):
        assert turn.weights.tolist() == [float(j == k) for j in range(3)]
        assert turn.losses[k] == pytest.approx(trace.losses[k], abs=1e-12)
        # a head moves on its own turn alone
        assert [bool(p) for p in turn.predicted_head] == [j == k for j in range(3)]
    for first, second in zip(trace.turns[:-1], trace.turns[1:], strict=True):
        np.testing.assert_allclose(first.losses + first.actual, second.losses, rtol=0, atol=1e-14)


def test_memories_touched():
    def touched(make, rule):
        model, x, targets = network()
        return [turn.memories for turn in tm.trace(make(model, rule), x, targets).turns]

    adam, sgd = tm.Adam(), tm.SGD(0.1)
    assert touched(tm.Averaged, adam) == [["all"]]
    assert touched(tm.Averaged, sgd) == [[]]
    assert touched(lambda m, r: tm.Alternating(m, r, moments="shared"), adam) == [
        ["trunk", "head of task 0"],
        ["trunk", "head of task 1"],
        ["trunk", "head of task 2"],
    ]
    model, x, targets = network()
    step = tm.RandomGrouped(model, adam, 2, rng=5)
    names = [
        ["trunk of {" + ", ".join(f"task {k}" for k in group) + "}", *(f"head of task {k}" for k in group)]
        for group in step.memory["partition"]
    ]
    assert [turn.memories for turn in tm.trace(step, x, targets).turns] == names


def test_grouped_labels_and_weights():
    model, x, targets = network()
    step = tm.RandomGrouped(model, tm.SGD(0.1), 2, reduction="sum")
    for turn, group in zip(tm.trace(step, x, targets).turns, step.memory["partition"], strict=True):
        assert turn.group == group
        names = ", ".join(f"task {k}" for k in group)
        assert turn.label == ("group {" + names + "}" if len(group) > 1 else f"task {names} only")
        assert turn.weights.tolist() == [float(k in group) for k in range(3)]


@pytest.mark.parametrize("strategy", ["mgda", "mgda-ub"])
def test_the_gram_matrix_is_the_steps_own_where_it_forms_one(strategy):
    (model, x, targets), (twin, _, _) = network("float32"), network("float32")
    stages = STRATEGIES[strategy](twin, tm.SGD(0.1)).stages(x, targets)
    (own,) = [stage.update.gram for stage in stages if stage.name == "gram"]
    (turn,) = tm.trace(STRATEGIES[strategy](model, tm.SGD(0.1)), x, targets).turns
    assert np.array_equal(turn.gram, own)
    assert not np.array_equal(turn.gram, turn.gram_measured)  # float32 against float64
    np.testing.assert_allclose(turn.gram, turn.gram_measured, rtol=1e-4, atol=1e-7)


def test_averaged_labels():
    problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.5])
    assert tm.trace(tm.Averaged(problem, tm.SGD(0.1))).turns[0].label == "uniform"
    assert tm.trace(tm.Averaged(problem, tm.SGD(0.1), weights=[1, 2])).turns[0].label == "weighted"


def test_mgda_ub_is_measured_on_theta_too():
    """ALGORITHMS.md: Z = Jθ, J = [[1, 0], [2, 1]]: α = (½, ½) on Z lowers both there, and raises loss 2 on θ."""
    problem = counterexample()
    (turn,) = tm.trace(tm.MGDAUB(problem, tm.SGD(lr=0.1))).turns
    np.testing.assert_allclose(turn.weights, [0.5, 0.5], atol=1e-12)
    assert turn.space == "Z"
    np.testing.assert_allclose(turn.gram @ turn.weights, [1, 1], atol=1e-12)
    np.testing.assert_allclose(turn.descent, [3, -1], atol=1e-12)


def counterexample():
    """Two losses that are linear in Z (2 rows, 1 column), with gradients (1, 1) and (1, −1) there."""
    j = np.array([[1.0, 0.0], [2.0, 1.0]])

    class Fixed(tm.nn.Module):
        def __init__(self):
            self.weight = tm.nn.parameters.Parameter(np.zeros((2, 1)))

        def forward(self, x):
            return x @ self.weight

    class Same(tm.nn.Module):
        def forward(self, x):
            return x

    class Problem(tm.problems.AnalyticProblem):
        def represent(self, x):
            return super().represent(tm.tensor(j))

    trunk = Fixed()
    first, second = np.array([[1.0], [1.0]]), np.array([[1.0], [-1.0]])
    losses = [lambda z, g=g: (z * g).sum() for g in (first, second)]
    return Problem(trunk, trunk.weight, [Same(), Same()], losses)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_json_round_trip(strategy):
    model, x, targets = network()
    trace = tm.trace(STRATEGIES[strategy](model, tm.Adam()), x, targets)
    told = trace.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["tasks"] == ["task 0", "task 1", "task 2"]
    assert told["batch"] == {"rows": 8, "shape": [8, 5]}
    assert told["passes"]["trunk_forwards"] == trace.trunk_forwards
    assert len(told["turns"]) == len(trace.turns)
    for turn, data in zip(trace.turns, told["turns"], strict=True):
        assert data["actual"] == turn.actual.tolist()
        assert data["gap"] == (turn.actual - (turn.predicted_trunk + turn.predicted_head)).tolist()
        assert len(data["v"]) == 36
        assert data["squared_norm_v"] == float(turn.v @ turn.v)


@pytest.mark.filterwarnings("ignore:task 'loss 1' has a zero gradient:RuntimeWarning")
def test_json_has_no_nan():
    problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[1.0])
    trace = tm.trace(tm.MGDA(problem, tm.SGD(0.1)))
    assert np.isnan(trace.turns[0].cosines[0, 1])
    told = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
    assert told["turns"][0]["cosines"][0][1] is None
    assert told["min_norm"] == {"weights": [1.0, 0.0], "squared_norm": 0.0, "gap": 0.0, "iterations": 0}


def test_a_step_that_is_far_too_long_is_traced():
    problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.5])
    trace = tm.trace(tm.Averaged(problem, tm.SGD(1e200)))
    assert not np.isfinite(trace.turns[0].actual).any()
    assert json.loads(json.dumps(trace.to_dict(), allow_nan=False))["turns"][0]["actual"] == [None, None]
    assert "loss 1 went out of range" in trace.explain()
    assert "<img" in trace._repr_html_()


def test_a_long_v_is_left_out_of_the_dictionary():
    draw = np.random.default_rng(0)
    model = tm.SharedBottom(tm.nn.MLP([20, 6], draw), [tm.Task("t", tm.nn.Linear(6, 1, draw), tm.mse_loss)])
    trace = tm.trace(tm.Averaged(model, tm.SGD(0.1)), draw.normal(size=(4, 20)), {"t": draw.normal(size=4)})
    turn = trace.to_dict()["turns"][0]
    assert turn["v"] is None and turn["squared_norm_v"] > 0 and len(turn["v_z"]) == 24


def test_a_trunk_without_parameters():
    tasks = [tm.Task(name, tm.nn.Linear(4, 1, rng), tm.mse_loss) for rng, name in enumerate(["a", "b"])]
    model = tm.SharedBottom(tm.nn.Flatten(), tasks)
    trace = tm.trace(tm.Averaged(model, tm.SGD(0.1)), np.ones((3, 2, 2)), {"a": np.zeros(3), "b": np.ones(3)})
    assert trace.turns[0].space == "Z"
    assert "The trunk has no parameters, so only the heads learn." in trace.explain()
    assert "–" in repr(trace)


def test_walking_gives_the_stages_and_then_the_trace():
    model, x, targets = stacked(2)
    twin, _, _ = stacked(2)
    stages = traced_stages(tm.MGDAUB(model, tm.SGD(0.1)), x, targets)
    names = []
    try:
        while True:
            names.append(next(stages).name)
    except StopIteration as end:
        trace = end.value
    assert names == [stage.name for stage in tm.MGDAUB(twin, tm.SGD(0.1)).stages(x, targets)]
    assert isinstance(trace, tm.Trace)
