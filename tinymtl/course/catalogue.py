"""The assignments of `catalogue.toml`, with their questions."""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinymtl.checks import choose
from tinymtl.course.answers import QUESTIONS, study
from tinymtl.course.answers.worksheet import Variant, worksheet
from tinymtl.course.assignment import Assignment, Written
from tinymtl.course.errors import CourseError
from tinymtl.course.question import Rng


def _assignment(name: str, title: str, questions: list[str], written: list[Any], locked: dict[str, str]) -> Assignment:
    return Assignment(
        name,
        title,
        tuple(QUESTIONS[question] for question in questions),
        tuple(Written(one["name"], one["title"], tuple(map(tuple, one["rubric"]))) for one in written),
        study.evidence if "log" in questions else None,
        locked,
    )


_GIVEN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ASSIGNMENTS: dict[str, Assignment] = {name: _assignment(name, **given) for name, given in _GIVEN.items()}


#: The questions that can be asked with numbers of each student's own.
VARIANTS: dict[str, Callable[[Rng | None], Variant]] = {"A2": worksheet}


def own_question(name: str, student: str, seed: int) -> Variant:
    """The question with the numbers of one student, drawn from the course's seed and what the class list calls them."""
    if name not in VARIANTS:
        raise CourseError(f"{name} has the same numbers for everybody; own numbers are in {', '.join(VARIANTS)}")
    return VARIANTS[name](np.random.default_rng([seed, zlib.crc32(f"{name}/{student}".encode())]))


def find(name: str) -> Assignment:
    """The assignment of that name, in capitals or not.

    >>> find("a2").title
    'The min-norm point'
    """
    return ASSIGNMENTS[choose("assignment", str(name).upper(), ASSIGNMENTS, CourseError)]
