"""An exception at every line of a step, as Ctrl-C can come at any: the step is undone or done, never half of it."""

import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinymtl as tm

PACKAGE = str(Path(tm.__file__).parent)
WHERE = ("steps", "optim.py", "kernels.py")  # what is left of the package changes nothing that is kept
RULES = {
    "plain SGD": tm.SGD(0.1),
    "SGD": tm.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "Adam": tm.Adam(0.01, weight_decay=0.01),
    "AdamW": tm.AdamW(0.01, clip_norm=0.5),
}


def interrupt_at(line, run, within=None):
    """Run, with a KeyboardInterrupt before the given line (they are counted as they run); whether it came.

    Only lines that a function of the name `within` runs, itself or by its calls, are counted, if a name is given.
    """
    left, inside = line, within is None

    def trace(frame, event, _):
        nonlocal left, inside
        if frame.f_code.co_name == within:
            inside = event != "return"
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGE) or not any(part in file[len(PACKAGE) :] for part in WHERE):
            return None
        if event == "line" and inside:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except (KeyboardInterrupt, ValueError, FloatingPointError):
        pass
    finally:
        sys.settrace(before)
    return left <= 0


def everything(step):
    model = step.model
    kept = {key: value.tobytes() for key, value in (step.state() | model.state()).items()}
    return kept, [g.bit_generator.state for g in model.generators], model.passes.now()


def interrupted_at_every_line(step, run, within=None):
    """The states that a step is left in by a Ctrl-C, at each of its lines in turn."""
    line, found = 0, []
    while True:
        line += 1
        tried = copy.deepcopy(step)
        if not interrupt_at(line, lambda tried=tried: run(tried), within):
            return found
        found.append((line, everything(tried)))
        tried(*GOOD)  # whatever came, it goes on


def small():
    trunk = tm.nn.Sequential(tm.nn.MLP([3, 4], rng=1), tm.nn.BatchNorm1d(4), tm.nn.Dropout(0.2, rng=2))
    heads = [tm.nn.Linear(4, 3, rng=3), tm.nn.Linear(4, 3, rng=4)]
    return tm.SharedBottom(trunk, [tm.Task(*task, tm.cross_entropy) for task in zip("ab", heads, strict=True)])


rng = np.random.default_rng(0)
X = rng.normal(size=(6, 3)).astype(np.float32)
GOOD = X, {"a": np.array([0, 1, 2, 0, 1, 2]), "b": np.array([0, 0, 1, 1, 2, 2])}
PARTLY = X, GOOD[1] | {"b": np.full(6, np.nan)}
LATE = X, GOOD[1] | {"b": np.array([0, 1, 2, 0, 1, 5])}  # refused when task a may have had its turn


def started(strategy, rule):
    step = tm.STRATEGIES[strategy](small(), RULES[rule])
    step(*GOOD)
    return step


CASES = [("averaged", rule) for rule in RULES] + [(strategy, "Adam") for strategy in tm.STRATEGIES]


@pytest.mark.parametrize(("strategy", "rule"), CASES, ids=[" ".join(case) for case in CASES])
@pytest.mark.parametrize("batch", [GOOD, PARTLY], ids=["all labels", "a task without"])
def test_a_step_is_undone_or_done(strategy, rule, batch):
    step = started(strategy, rule)
    before, after = everything(step), copy.deepcopy(step)
    after(*batch)
    states = interrupted_at_every_line(step, lambda tried: tried(*batch))
    assert len(states) > 50
    torn = [line for line, state in states if state not in (before, everything(after))]
    assert torn == []
    assert states[0][1] == before and states[-1][1] == everything(after)


@pytest.mark.parametrize("strategy", ["averaged", "mgda-ub", "alternating", "uncertainty"])
def test_the_first_step_and_the_same_in_stages(strategy):
    for run in (lambda tried: tried(*GOOD), lambda tried: list(tried.stages(*GOOD))):
        step = tm.STRATEGIES[strategy](small(), RULES["Adam"])
        before, after = everything(step), copy.deepcopy(step)
        run(after)
        torn = [n for n, state in interrupted_at_every_line(step, run) if state not in (before, everything(after))]
        assert torn == []


@pytest.mark.parametrize("strategy", ["averaged", "alternating", "uncertainty", "pcgrad"])
def test_the_undo_of_a_refused_step_is_not_torn_either(strategy):
    step = started(strategy, "Adam")
    states = interrupted_at_every_line(step, lambda tried: tried(*LATE), within="_put_back")
    assert len(states) > 8
    assert [line for line, state in states if state != everything(step)] == []


class Careless(tm.Averaged):
    """Fails after its update."""

    def updates(self, batch):
        yield from super().updates(batch)
        raise RuntimeError("after all")


class Late(tm.LossWeighted):
    def weigh(self, L):
        return np.ones(len(L))

    def learn(self, L, w):
        raise RuntimeError("after all")


@pytest.mark.parametrize("make", [Careless, Late])
def test_code_of_ones_own_after_the_update_is_undone(make):
    step = make(small(), RULES["Adam"])
    before = everything(step)
    with pytest.raises(RuntimeError, match="after all"):
        step(*GOOD)
    assert everything(step) == before


@pytest.mark.parametrize("rule", RULES)
def test_an_update_by_itself(rule):
    """Of two parameters; memory and parameters are both before it or both behind it."""
    optimizer = RULES[rule]

    def start():
        parameters = [tm.tensor([1.0, 2.0], requires_grad=True), tm.tensor(3.0, requires_grad=True)]
        return parameters, optimizer.init(parameters)

    def bits(parameters, memory):
        return [p.data.tobytes() for p in parameters], str(memory)

    def update(parameters, memory):
        optimizer.update(parameters, [np.array([1.0, -2.0], np.float32), np.array(0.5, np.float32)], memory)

    before, after = start(), start()
    update(*after)
    line, came, states = 0, True, []
    while came:
        line, tried = line + 1, start()
        came = interrupt_at(line, lambda tried=tried: update(*tried))
        states.append(bits(*tried))
    assert {str(s) for s in states} == {str(bits(*before)), str(bits(*after))}


def test_a_number_that_is_too_large_stops_no_update_in_the_middle():
    """NumPy may be told to raise: the update is whole all the same, in a walk through the stages as well."""
    for errors in ({"all": "raise"}, {"all": "warn"}):
        parameters = [tm.tensor([1.0], requires_grad=True), tm.tensor([1.0], requires_grad=True)]
        adam = tm.Adam(1e-3, eps=0.0)
        memory = adam.init(parameters)
        gradients = [np.zeros(1, np.float32), np.ones(1, np.float32)]
        with np.errstate(**errors), warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises((FloatingPointError, RuntimeWarning)):  # 0/0
                adam.update(parameters, gradients, memory)
        assert memory.t == 1 and memory.m[1] == np.float32(0.1)
        np.testing.assert_allclose(parameters[1].data, 1 - 1e-3)
    step, huge = started("averaged", "Adam"), np.full_like(X, 3e38)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="task 'a': its loss is nan"):
        list(step.stages(huge, GOOD[1]))
