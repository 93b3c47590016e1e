"""Strategies that the tracer has never heard of: the right words and numbers from their `Update` and memory alone."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

import tinymtl as tm
from tests.tracing.conftest import PROBLEMS, RULES, network, stacked
from tests.tracing.test_explain import AT_135, HAND, RAISES_2
from tests.tracing.test_neutral import compare
from tests.tracing.test_rounding import said, shaken
from tinymtl.lab import walk
from tinymtl.steps import Turns, Update


class PCGrad(tm.GradientWeighted):
    """Yu et al. (2020): every gradient without its parts against others, in a random order."""

    def __init__(self, model, optimizer, rng=0, **options):
        super().__init__(model, optimizer, **options)
        self.memory["rng"] = np.random.default_rng(rng)

    def weigh(self, G, L):
        W = np.eye(len(G))
        for i, row in enumerate(W):
            for j in self.memory["rng"].permutation(len(G)):
                inner = row @ G[j]
                if j != i and inner < 0:
                    row[j] -= inner / G[j, j]
        return W.sum(axis=0)


class Uncertainty(tm.LossWeighted):
    """Kendall et al. (2018): Σ ½e^−sₖ Lₖ + ½sₖ, with sₖ learned."""

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self.s = tm.tensor(np.zeros(len(model.tasks), model.vector.dtype), requires_grad=True)
        self.memory |= {"s": self.s, "memory of s": optimizer.init([self.s])}

    def weigh(self, L):
        return 0.5 * np.exp(-self.s.data)

    def learn(self, L, w):
        self.optimizer.update([self.s], [(0.5 - w * L).astype(self.s.dtype)], self.memory["memory of s"])


class Averages(tm.LossWeighted):
    """Weights from the mean loss so far, with a count of its own."""

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self.memory |= {"t": 0, "sum": np.zeros(len(model.tasks))}

    def weigh(self, L):
        return 1 + self.memory["sum"] / max(self.memory["t"], 1)

    def learn(self, L, w):
        self.memory["t"] += 1
        self.memory["sum"] = self.memory["sum"] + L


class Pairs(Turns):
    """Neighbours move together: a task in the middle moves twice, with one memory for all."""

    def groups(self):
        return [[k + 1, k] for k in range(len(self.model.tasks) - 1)]

    def owners(self, group):
        return {"": group}


class FirstAlone(Turns):
    """Only the first task moves."""

    def groups(self):
        return [[0]]

    def owners(self, group):
        return {self.model.task_names[0]: group}


class ByHand(tm.Step):
    """No template: the sum of the losses."""

    def updates(self, batch):
        now = Update(group=list(range(len(self.model.tasks))))
        now.Z = self.represent(batch)
        L = self.model.losses(now.Z, batch)
        now.losses, now.weights = L.data, np.ones(len(now.group))
        gradient = self.model.flatten(self.model.sweep(L, np.ones_like(L.data)))
        now.v = gradient[self.model.layout.trunk]
        yield "everything", now
        self.move(("all", slice(0, gradient.size), gradient))
        yield "update", now


def inverse_lengths(model, optimizer, at="Z"):
    return tm.GradientWeighted(model, optimizer, at=at, weigh=lambda G, L: 1 / np.sqrt(G.diagonal()))


OWN = {
    "pcgrad": PCGrad,
    "pcgrad at Z": lambda model, rule: PCGrad(model, rule, at="Z"),
    "uncertainty": Uncertainty,
    "averages": Averages,
    "pairs": Pairs,
    "first alone": FirstAlone,
    "by hand": ByHand,
    "one line": inverse_lengths,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("strategy", OWN)
def test_tracing_is_neutral(strategy, rule, dtype):
    _, x, targets = network(dtype, dropout=0.4)
    trace = compare(lambda: OWN[strategy](network(dtype, dropout=0.4)[0], RULES[rule]()), x, targets)
    assert trace.notes == []  # the copies saw the losses of every turn, also of a task that moves twice
    assert trace.explain() and "Trace of one step" in trace._repr_html_()


@pytest.mark.parametrize("strategy", OWN)
def test_stacked_heads(strategy):
    _, x, targets = stacked(4)
    compare(lambda: OWN[strategy](stacked(4)[0], tm.Adam(lr=0.01)), x, targets)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("strategy", OWN)
def test_the_numbers_are_those_of_any_step(strategy, problem):
    """Σ wₖgₖ is v, −η gₖ·v is the predicted change, and the turns' changes add up."""
    step = OWN[strategy](PROBLEMS[problem](), tm.SGD(lr=0.01))
    before = step.model.losses().data.copy()
    trace = tm.trace(step)
    for turn in trace.turns:
        np.testing.assert_allclose(turn.weights @ turn.gram_theta, turn.descent, atol=1e-12)
        np.testing.assert_allclose(turn.predicted_trunk, -0.01 * turn.descent, atol=1e-12)
    np.testing.assert_allclose(sum(turn.actual for turn in trace.turns), step.model.losses().data - before, atol=1e-12)


@pytest.mark.parametrize(("strategy", "touched"), [
    ("pcgrad", [["rng", "all"]]),
    ("uncertainty", [["s", "memory of s", "all"]]),
    ("averages", [["t", "sum", "all"]]),
    ("pairs", [["trunk", "head of task 1", "head of task 0"], ["trunk", "head of task 1", "head of task 2"]]),
    ("first alone", [["trunk of task 0", "head of task 0"]]),
    ("by hand", [["all"]]),
])  # fmt: skip
def test_memories_touched(strategy, touched):
    model, x, targets = network()
    trace = tm.trace(OWN[strategy](model, tm.Adam()), x, targets)
    assert [turn.memories for turn in trace.turns] == touched
    names = list(dict.fromkeys(name for turn in touched for name in turn))
    assert f"memory changed: {', '.join(names)}" in repr(trace)


def test_a_memory_that_stays_as_it_is():
    """Without momentum a rule only counts; a learned weight changes all the same."""
    model, x, targets = network()
    step = Uncertainty(model, tm.SGD(0.1))
    assert [tm.trace(step, x, targets).turns[0].memories for _ in range(2)] == [["s", "memory of s"]] * 2


def test_labels_and_groups():
    model, x, targets = network()
    trace = tm.trace(Pairs(model, tm.SGD(0.1)), x, targets)
    assert [turn.group for turn in trace.turns] == [[1, 0], [2, 1]]
    assert [turn.label for turn in trace.turns] == ["group {task 0, task 1}", "group {task 1, task 2}"]
    assert trace.turns[0].weights.tolist() == [1, 1, 0]
    trace = tm.trace(FirstAlone(model, tm.SGD(0.1)), x, targets)
    assert [turn.label for turn in trace.turns] == ["task task 0 only"]
    assert np.isnan(trace.losses[1:]).all() and trace.to_dict()["losses"][1:] == [None, None]


def quadratics(make, **changes):
    problem = tm.problems.Quadratics([1.0, 1.0], **{**HAND, **changes})
    return tm.trace(make(problem, tm.SGD(lr=0.1))).explain()


def test_words_of_weighted_gradients():
    """PCGrad of (2, 2) and (0, −1): (2, 0) + (½, −½) = 5/4 g₁ + 3 g₂."""
    assert quadratics(PCGrad) == (
        f"{AT_135} {RAISES_2} w = 1.25 and 3 lowers every loss (gₖ·v from 0.5 to 4): "
        "loss 1 fell by 0.368 and loss 2 fell by 0.0175."
    )
    raises = quadratics(lambda model, rule: tm.GradientWeighted(model, rule, weigh=lambda G, L: np.array([1.0, 0.25])))
    assert "w = 1 and 0.25 raises loss 2 (gₖ·v = −1.75): " in raises


def test_words_of_weighted_losses():
    average = "is that average: loss 1 fell by 0.294 and loss 2 rose by 0.0563."
    assert quadratics(Uncertainty).endswith(f"This step {average}")
    twice = "is 2 times that average: loss 1 fell by 0.575 and loss 2 rose by 0.125."
    assert quadratics(ByHand).endswith(f"This step {twice}")
    weighed = quadratics(lambda model, rule: tm.LossWeighted(model, rule, weigh=lambda L: np.array([0.25, 1.5])))
    assert "This step follows a weighted sum, weights 0.25 and 1.5: loss 1 " in weighed


@pytest.mark.parametrize("w", [[0.0, 0.0], [1.0, 1.0]])
def test_a_v_of_zero(w):
    def make(model, rule):
        return tm.GradientWeighted(model, rule, weigh=lambda G, L: np.array(w))

    explained = quadratics(make, centers=[[1.0, 0.0], [-1.0, 0.0]], start=[0.0, 0.0])
    assert explained.endswith(f"w = {w[0]:g} and {w[1]:g} gives v = 0: the trunk stays where it is; no loss changed.")


def test_what_does_not_move_the_others():
    """g₁ = (0, 2) alone: (1, 0) is at right angles to it, (0, 1) falls by half as much."""
    centers = [[1.0, -1.0], [0.0, 1.0], [1.0, 0.0]]
    problem = tm.problems.Quadratics([1.0] * 3, centers, start=[1.0, 1.0])
    step = tm.GradientWeighted(problem, tm.SGD(lr=0.1), weigh=lambda G, L: np.array([1.0, 0.0, 0.0]))
    assert "w = 1, 0 and 0 follows loss 1 alone (gₖ·v = 4), which lowers loss 2 and loss 3 less (at least 0)" in (
        tm.trace(step).explain()
    )


def test_a_task_without_a_label():
    """It has no loss and no gradient: the trace is of the others, as they are without it, and says who was there."""

    class Labelled(ByHand):
        def updates(self, batch):
            now = Update(group=batch.group)
            now.Z = self.represent(batch)
            L = self.model.losses(now.Z, batch, now.group)
            now.losses, now.weights = L.data, np.ones(len(now.group))
            gradient = self.model.flatten(self.model.sweep(L, np.ones_like(L.data)))
            now.v = gradient[self.model.layout.trunk]
            self.move(("all", slice(0, gradient.size), gradient))
            yield "update", now

        one_update = False

    model, x, targets = network()
    trace = tm.trace(Labelled(model, tm.SGD(0.1)), x, {**targets, "task 1": np.full(8, np.nan)})
    (turn,) = trace.turns
    assert trace.task_names == ["task 0", "task 2"] and trace.labelled == {"task 0": 8, "task 1": 0, "task 2": 8}
    assert turn.group == [0, 1] and turn.weights.tolist() == [1, 1] and turn.label == "uniform"
    said = "labelled rows: task 0 8 and task 2 8; left out without a label: task 1"
    assert said in repr(trace) and said in trace._repr_html_() and "task 1" not in trace.explain()
    assert trace.notes == [] and trace.to_dict()["labelled"]["task 1"] == 0

    model, x, targets = network()
    smaller = tm.SharedBottom(model.trunk, [model.tasks[0], model.tasks[2]])
    other = tm.trace(Labelled(smaller, tm.SGD(0.1)), x, {name: targets[name] for name in smaller.task_names})
    assert other.labelled is None and "labelled" not in repr(other)
    for name in ("losses", "gram_z", "gram_theta", "v", "descent", "predicted_trunk", "predicted_head", "actual"):
        np.testing.assert_allclose(getattr(turn, name), getattr(other.turns[0], name), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", tm.STRATEGIES)
def test_every_strategy_is_traced_with_gaps(name):
    """The step does what it does without a trace; whoever was absent is in no number and in no sentence."""
    for make in (network, lambda: stacked(3)):
        (model, x, targets), (twin, _, _) = make(), make()
        targets = {key: values.astype(np.float64) for key, values in targets.items()}
        targets["task 1"][:] = np.nan
        targets["task 2"][::2] = np.nan
        rule = tm.Adam(0.05, weight_decay=0.01)
        step, other = tm.STRATEGIES[name](model, rule), tm.STRATEGIES[name](twin, rule)
        trace, report = tm.trace(step, x, targets), other(x, targets)
        assert model.vector.data.tobytes() == twin.vector.data.tobytes()
        np.testing.assert_array_equal(trace.losses, report.losses[[0, 2]])
        assert trace.labelled == {"task 0": 8, "task 1": 0, "task 2": 4} and trace.notes == []
        assert "nan" not in repr(trace) and "task 1" not in trace.explain()
        json.dumps(trace.to_dict(), allow_nan=False)
        if trace.min_norm is not None:
            assert trace.turns[0].label == "α" and trace.turns[0].gram_of_step.shape == (2, 2)


def test_labels_that_are_missing_stay_missing():
    for make in (network, lambda: stacked(3)):
        model, x, targets = make()
        targets = {name: values.astype(np.float64) for name, values in targets.items()}
        targets["task 1"][:3] = np.nan
        trace = tm.trace(tm.Averaged(model, tm.SGD(0.1)), x, targets)
        assert trace.notes == []
        np.testing.assert_allclose(trace.turns[0].losses, trace.losses, rtol=1e-6)


def test_turns_that_overlap():
    model, x, targets = network()
    table = repr(tm.trace(Pairs(model, tm.SGD(0.1)), x, targets))
    assert "turn 1 of 2: group {task 0, task 1}" in table and "turn 2 of 2: group {task 1, task 2}" in table


def test_an_update_that_says_too_little():
    class Silent(ByHand):
        def updates(self, batch):
            for name, now in super().updates(batch):
                now.v = None
                yield name, now

    model, x, targets = network()
    with pytest.raises(ValueError, match="Silent leaves v of its Update open"):
        tm.trace(Silent(model, tm.SGD(0.1)), x, targets)


@pytest.mark.parametrize("strategy", OWN)
def test_the_last_bits_change_nothing(strategy):
    trace = tm.trace(OWN[strategy](PROBLEMS["quadratics"](), tm.SGD(lr=0.1)))
    expected = said(trace)
    draw = np.random.default_rng(0)
    for _ in range(8):
        assert said(shaken(trace, draw)) == expected


@pytest.mark.parametrize("strategy", OWN)
def test_the_walk_shows_it(strategy, monkeypatch, capsys):
    monkeypatch.setitem(tm.STRATEGIES, strategy, lambda model, rule: OWN[strategy](model, rule))
    assert walk.walk(argparse.Namespace(step=strategy, data=None, problem="hand")) == 0
    out = capsys.readouterr().out
    assert "What the step did" in out and "weight of task 1" in out and "α" not in out
    assert max(map(len, out.splitlines())) <= 100
