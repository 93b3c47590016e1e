"""Answers as students write them, each with what must be said about it: `answers/*.toml`.

A file has, per question, the sentence and the answers that must get it, in Python; "…" at its end stands for what
differs from one Python to another. In coursework "" is said of a right answer, and points are earned.
"""

import contextlib
import io
import math
import sys
import tomllib
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.course.catalogue import ASSIGNMENTS
from tinymtl.course.lessons import checks
from tinymtl.course.lessons.checks import Memory, find, verdict
from tinymtl.course.marking import Key
from tinymtl.course.question import Reply
from tinymtl.course.replies import NOT_ANSWERED, evaluate

FOLDER = Path(__file__).parent / "answers"
NAMES = {"np": np, "tm": tm, "math": math, "Fraction": Fraction, "combinations": combinations}


def corpus(pattern):
    """(question, what must be said, answer) for every answer in the files."""
    for path in sorted(FOLDER.glob(pattern)):
        for question, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
            for entry in entries:
                yield path.stem, question, entry


def made(source):
    """What a cell with this source hands in: the value of an expression, or the last function that is defined."""
    if "\n" not in source:
        return eval(source, dict(NAMES))
    namespace = dict(NAMES)
    exec(source, namespace)
    return [one for one in namespace.values() if getattr(one, "__code__", made.__code__).co_filename == "<string>"][-1]


def fits(said, wanted):
    return said.startswith(wanted[:-1]) if wanted.endswith("…") else said == wanted


LESSON_ANSWERS = list(corpus("lesson_*.toml"))


@pytest.mark.parametrize("check", sorted({question for _, question, _ in LESSON_ANSWERS}))
def test_every_answer_to_an_exercise_gets_its_verdict(check, monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 1.0)
    for _, question, entry in LESSON_ANSWERS:
        for source in entry["answers"] if question == check else ():
            with contextlib.redirect_stdout(io.StringIO()):  # some print what they should return
                said = verdict(find(check), made(source), Memory())
            assert fits(said.replace("after 1 s", "after 5 s"), entry["verdict"]), f"{source}\n{said}"


def test_there_are_many_answers_of_every_kind():
    counts = {}
    for _, question, entry in LESSON_ANSWERS:
        counts[question] = counts.get(question, 0) + len(entry["answers"])
    assert sum(counts.values()) >= 400 and min(counts.values()) >= 14
    signs = {entry["verdict"][0] for _, _, entry in LESSON_ANSWERS}
    assert signs == {"✓", "✗", "≈", "…"}


# ------------------------------------------------------------ coursework

SEED = 5
COURSEWORK = list(corpus("A?.toml"))


def good_log():
    """A run log that earns everything: two methods, three learning rates with two seeds each, five final seeds."""
    log = []
    for method, metrics in (("averaged", [0.72, 0.69, 0.73, 0.71, 0.70]), ("mgda-ub", [0.74, 0.70, 0.76, 0.71, 0.72])):
        base = {"method": method, "minibatches": 400, "trunk_passes": 400}
        for lr, metric in ((0.003, 0.5), (0.01, 0.7), (0.03, 0.6)):
            log += [{**base, "seed": seed, "split": "validation", "lr": lr, "metric": metric} for seed in (100, 101)]
        log += [{**base, "seed": s, "split": "test", "lr": 0.01, "metric": metric} for s, metric in enumerate(metrics)]
    return log


def marked(key, source):
    """The mark of a notebook with this source."""
    notebook, deepest = {**NAMES, "good_log": good_log}, sys.getrecursionlimit()
    exec(source, notebook)
    with contextlib.ExitStack() as after, contextlib.redirect_stdout(io.StringIO()):
        after.callback(sys.setrecursionlimit, deepest)  # some answers change it
        return key.mark(
            [
                [
                    evaluate(notebook[case.name], case) if case.name in notebook else Reply(error=NOT_ANSWERED)
                    for case in cases
                ]
                for cases in key.cases
            ]
        )


@pytest.mark.parametrize(("assignment", "name"), sorted({(found, name) for found, name, _ in COURSEWORK}))
def test_every_answer_to_a_question_earns_its_points_and_gets_its_hint(assignment, name):
    every_answer_gets_its_hint(assignment, name)


def every_answer_gets_its_hint(assignment, name):
    question = ASSIGNMENTS[assignment].question(name)
    key = Key.make(question, ASSIGNMENTS[assignment].draw(question, SEED))
    for found, of, entry in COURSEWORK:
        for source in entry["answers"] if (found, of) == (assignment, name) else ():
            mark = marked(key, source)
            assert mark.points == entry["points"], f"{source}\n{mark.hint}"
            assert fits(mark.hint, entry["hint"]), f"{source}\n{mark.hint}"


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_assignment_has_many_wrong_answers_and_some_right_ones(assignment):
    entries = [(name, entry) for found, name, entry in COURSEWORK if found == assignment]
    assert {name for name, _ in entries} == {question.name for question in ASSIGNMENTS[assignment].questions}
    wrong = [source for _, entry in entries if entry["hint"] for source in entry["answers"]]
    assert len(set(wrong)) >= 150
    for question in ASSIGNMENTS[assignment].questions:
        right = [entry for name, entry in entries if name == question.name and not entry["hint"]]
        assert sum(len(entry["answers"]) for entry in right) >= 2
        assert all(entry["points"] == question.points for entry in right)
