"""Answers as students write them, each with what must be said about it: `answers/*.toml`.

A file has, per question, the sentence and the answers that must get it, in Python; "…" at its end stands for what
differs from one Python to another.
"""

import contextlib
import io
import math
import tomllib
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.course.lessons import checks
from tinymtl.course.lessons.checks import Memory, find, verdict

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
