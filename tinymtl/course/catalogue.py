"""The assignments of `catalogue.toml`, with their questions."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tinymtl.checks import choose
from tinymtl.course.answers import QUESTIONS, study
from tinymtl.course.assignment import Assignment, Written
from tinymtl.course.errors import CourseError


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


def find(name: str) -> Assignment:
    """The assignment of that name, in capitals or not.

    >>> find("a2").title
    'The min-norm point'
    """
    return ASSIGNMENTS[choose("assignment", str(name).upper(), ASSIGNMENTS, CourseError)]
