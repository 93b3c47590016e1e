"""No grade, hint or verdict hangs on the last bit of a number."""

import copy

import numpy as np
import pytest

from tests.course.test_answers import COURSEWORK, every_answer_gets_its_hint
from tests.course.test_study import rows
from tinymtl.course import ASSIGNMENTS, points
from tinymtl.course.answers.interval import verdict
from tinymtl.course.answers.study import _best, _log, evidence
from tinymtl.course.answers.weights import _SOLVED
from tinymtl.course.lessons.checks import find
from tinymtl.course.lessons.checks import verdict as said
from tinymtl.course.question import Reply

BARELY = 0.1 + 0.2  # one unit in the last place above 0.3


def test_equal_learning_rates_are_both_right():
    for tuning in ([(0.003, 0.3), (0.01, BARELY)], [(0.003, BARELY), (0.01, 0.3)]):
        for lr in (0.003, 0.01):
            log = [row for method in ("a", "b") for row in rows(method, [0.7] * 5, lr, tuning)]
            assert points("A4", "log", {"run_log": log}) == 6


def test_the_first_of_equal_learning_rates_is_the_reference_s():
    for first, second in ((0.3, BARELY), (BARELY, 0.3), (0.3, 0.3)):
        log = _log({"a 0.001 validation": [first], "a 0.01 validation": [second]})
        assert _best(log, np.mean) == {"a": 0.001}


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_that_ends_at_zero(sign):
    assert verdict(sign * BARELY, 0.3) == verdict(sign * 0.3, BARELY) == "no difference shown"
    assert verdict(sign * 0.301, 0.3) == ("a is higher" if sign > 0 else "b is higher")


def test_the_evidence_is_rounded_alike():
    """1/128 ends in 5 at the seventh place."""
    log = rows("a", [0.5 + 1 / 128] * 5) + rows("b", [0.5] * 5)
    expected = evidence([[[Reply(log)]]])
    for factor in (1 - 2.0**-53, 1 + 2.0**-52):
        moved = copy.deepcopy(log)
        for row in moved:
            row["metric"] *= factor
        assert evidence([[[Reply(moved)]]]) == expected


def test_equal_gradients_are_equal_however_they_are_compared():
    """By their inner products, by squared norms, by the norm of the difference: to the last bit."""
    asked = ASSIGNMENTS["A2"].question("two_tasks")
    for seed in range(20):
        for case in ASSIGNMENTS["A2"].draw(asked, seed)[-1]:
            g1, g2 = case.arguments
            assert g1 @ g2 == g1 @ g1 == np.linalg.norm(g1) ** 2 == np.linalg.norm(g1) * np.linalg.norm(g2)


def test_any_of_equally_short_gradients_gets_the_hint():
    """Five drawn gradients of length 1: which diagonal entry is the smallest, rounding decides."""
    for k in range(5):

        def shortest(G, k=k):
            return np.eye(len(G))[k if len(G) == 5 else G.diagonal().argmin()]

        assert "the shortest gradient alone" in said(find("05.solver"), shortest)


def test_which_weight_is_the_most_negative_is_no_tie():
    """Answers that drop the most negative weight first must drop the same one on every processor."""
    for gram in _SOLVED:
        raw = np.sort(np.linalg.pinv(gram) @ np.ones(len(gram)))
        assert raw[1] > 0 or raw[1] - raw[0] > 0.1 * abs(raw[0]) or len(gram) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_hint_survives_another_processor_s_linear_algebra(seed, monkeypatch):
    """Solutions that differ in their last digits, as those of another processor do: the corpus gets the same hints."""
    rng = np.random.default_rng(seed)

    def moved(function):
        def call(*arguments, **options):
            found = function(*arguments, **options)
            if isinstance(found, tuple):
                first, *rest = found
                return (first * (1 + 1e-14 * rng.uniform(-1, 1, first.shape)), *rest)
            return found * (1 + 1e-14 * rng.uniform(-1, 1, np.shape(found)))

        return call

    for name in ("solve", "lstsq", "pinv", "inv", "eigh"):
        monkeypatch.setattr(np.linalg, name, moved(getattr(np.linalg, name)))
    for question in {(assignment, name) for assignment, name, _ in COURSEWORK}:
        every_answer_gets_its_hint(*question)
