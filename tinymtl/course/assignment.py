"""What an assignment is: questions that `marking.py` judges, and questions for a person. `catalogue.toml` has them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Question


@dataclass(frozen=True)
class Written:
    """A question that a person marks: its points and the rubric, as (points, criterion) pairs."""

    name: str
    title: str
    rubric: tuple[tuple[float, str], ...]

    @property
    def points(self) -> float:
        """The most that this question earns."""
        return sum(points for points, _ in self.rubric)


@dataclass(frozen=True)
class Assignment:
    """All questions of one assignment.

    `evidence` makes, from the replies to the cases called "saved", a few figures of the student's own study,
    which go beside the written questions for the person who marks them. `locked` has the code of the source's
    locked cells by their `grade_id`: it runs in place of what a student made of it.
    """

    name: str
    title: str
    questions: tuple[Question, ...]
    written: tuple[Written, ...]
    evidence: Callable[[Any], dict[str, Any]] | None = field(default=None)
    locked: dict[str, str] = field(default_factory=lambda: {})

    @property
    def automatic_points(self) -> float:
        """The most that the automatic questions earn together."""
        return sum(question.points for question in self.questions)

    @property
    def manual_points(self) -> float:
        """The most that the written questions earn together."""
        return sum(question.points for question in self.written)

    def question(self, name: str) -> Question:
        """The automatic question of that name; KeyError where there is none."""
        return {question.name: question for question in self.questions}[name]

    def draw(self, question: Question, seed: int) -> list[list[Case]]:
        """Fresh inputs for one question: for each of its parts, its cases.

        Each part has its own stream of random numbers, so that editing one leaves the others' inputs alone.
        """
        return [
            part.draw(np.random.default_rng([seed, zlib.crc32(f"{self.name}/{question.name}/{part.name}".encode())]))
            for part in question.parts
        ]
