"""The conformance suite: every strategy of ours passes it, and each of its checks can fail."""

import numpy as np
import pytest

import tinymtl as tm
from tests.steps.conftest import STRATEGIES as VARIANTS
from tinymtl.backend import to_host
from tinymtl.conformance import CHECKS


@pytest.mark.parametrize("name", tm.STRATEGIES)
def test_every_strategy_of_the_registry_passes(name, capsys):
    done = tm.check_strategy(tm.STRATEGIES[name])
    assert [check.name for check in done] == list(CHECKS) and all(check.passed for check in done)
    assert capsys.readouterr().out.splitlines() == [str(check) for check in done]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_passes(variant, capsys):
    tm.check_strategy(variant)


# ------------------------------------------------------------ strategies of one's own


class PCGrad(tm.GradientWeighted):
    """Yu et al. 2020, in a notebook."""

    equivariant = False

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self.memory["rng"] = np.random.default_rng(0)

    def weigh(self, G, L):
        W = np.eye(len(G))
        for i, row in enumerate(W):
            for j in self.memory["rng"].permutation(len(G)):
                inner = row @ G[j]
                if j != i and inner < 0:
                    row[j] -= inner / G[j, j]
        return W.sum(axis=0)


class Uncertainty(tm.LossWeighted):
    """Kendall et al. 2018, in a notebook."""

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self.memory["s"] = np.zeros(len(model.tasks))

    def weigh(self, L):
        return 0.5 * np.exp(-self.memory["s"])

    def learn(self, L, w):
        self.memory["s"] -= 0.1 * (0.5 - w * to_host(L))


class Reversed(tm.Turns):
    """One task after another, the last one first, with one memory for the trunk."""

    def groups(self):
        return [[k] for k in reversed(range(len(self.model.tasks)))]

    def owners(self, group):
        return {"": group}


@pytest.mark.parametrize("own", [PCGrad, Uncertainty, Reversed])
def test_strategies_of_a_notebook_pass(own, capsys):
    tm.check_strategy(own)


# ------------------------------------------------------------ every check can fail


def weighted(weigh):
    return lambda model, optimizer: tm.LossWeighted(model, optimizer, weigh=weigh)


class Counting(tm.Averaged):
    """Depends on how often it was called, which its memory does not say."""

    calls = 0

    def weigh(self, L):
        self.calls += 1
        return self.weights * (1 + self.calls % 5)


class Hasty(tm.Averaged):
    """Learns before it knows whether the batch is good, and not in its memory."""

    scale = 1.0

    def represent(self, batch):
        self.scale *= 0.9
        return super().represent(batch)

    def weigh(self, L):
        return self.weights * self.scale


class Unsteady(tm.Averaged):
    drawn = np.random.default_rng(0)

    def weigh(self, L):
        return self.weights * self.drawn.uniform()


class ByPlace(tm.Averaged):
    def weigh(self, L):
        return np.arange(1.0, len(L) + 1)


class OnTheHost(tm.Averaged):
    def weigh(self, L):
        return np.ones(len(L)) * np.asarray(L)


class InDouble(tm.Averaged):
    """Reports the losses in float64."""

    def _report(self, run):
        report = super()._report(run)
        report._losses = np.asarray(report.losses, np.float64)
        return report


class WrongReport(tm.Averaged):
    def _report(self, run):
        report = super()._report(run)
        report._losses = to_host(report.losses)[::-1]
        return report


class TwoWays(tm.Averaged):
    """A call that is something else than its stages."""

    def __call__(self, x=None, targets=None):
        super().__call__(x, targets)
        return super().__call__(x, targets)


class Careless(tm.Turns):
    """Moves the parameters by itself, behind the back of the undo."""

    def groups(self):
        return [[k] for k in range(len(self.model.tasks))]

    def owners(self, group):
        self.model.vector.data += 0.01
        return {"": group}


class Standing(tm.Averaged):
    def move(self, *moves, still=()):
        pass


class Rising(tm.Averaged):
    def weigh(self, L):
        return -self.weights


class ByKind(tm.Averaged):
    """Treats stacked heads in another way."""

    def weigh(self, L):
        return self.weights * (2 if self.model.separate_because is None else 1)


class Quiet(tm.Averaged):
    """Swallows what should be an error."""

    def __call__(self, x=None, targets=None):
        try:
            return super().__call__(x, targets)
        except ValueError:
            return None


class Shoving(tm.Averaged):
    """Lets the optimizer's momentum move the head of a task that is not there."""

    def move_all(self, gradient, group):
        self.move(("all", slice(0, gradient.size), gradient))


class Watching(tm.Averaged):
    """Knows when its stages are looked at one by one."""

    called = False

    def __call__(self, x=None, targets=None):
        self.called = True
        try:
            return super().__call__(x, targets)
        finally:
            self.called = False

    def weigh(self, L):
        return self.weights if self.called else self.weights * 2


@pytest.mark.parametrize(
    ("make", "failing", "sentence"),
    [
        (lambda model, optimizer: tm.SGD(0.1), "makes a step", "must make a tinymtl.Step, not SGD"),
        (Standing, "makes a step", "no parameter has moved"),
        (Unsteady, "deterministic", "differs|other losses"),
        (WrongReport, "the report is right", "report.losses and the losses before each update differ"),
        (TwoWays, "stages equal a call", "after walking through the stages"),
        (Counting, "resumes to the bit", "four steps after a resume"),
        (Rising, "one task", "thirty steps on one batch"),
        (ByKind, "stacked heads equal separate ones", "the losses differ|the parameters differ"),
        (InDouble, "float32 stays float32", "the losses became float64"),
        (ByPlace, "the order of the tasks does not matter", "in another order"),
        (Hasty, "bad input moves nothing", "differs"),
        (Careless, "a failure on the way moves nothing", "after a RuntimeError in the last head"),
        (Quiet, "no path from a loss is an error", "is not refused"),
        (Shoving, "a task without a label takes no part", "label for task t1, 'the head' differs"),
        (Watching, "traced equals untraced", "after a trace"),
        (OnTheHost, "on a device as on the host", "Error"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_check_can_fail(make, failing, sentence, capsys):
    with pytest.raises(AssertionError, match="does not keep .* of 15: .*") as caught:
        tm.check_strategy(make)
    assert failing in str(caught.value)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    (line,) = [line for line in lines if line.startswith(f"✗ {failing}: ")]
    assert any(part in line for part in sentence.split("|")), line


def test_the_suite_has_no_check_that_was_not_seen_to_fail():
    parameters = test_every_check_can_fail.pytestmark[0].args[1]
    assert {failing for _, failing, _ in parameters} == set(CHECKS)
