"""What an assignment is: questions, their properties, their right answer, and the mistakes that have a name.

`a1.py` … `a4.py` each describe one assignment with these words and nothing else; `marking.py` gives the points.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Remote:
    """An argument that is a function: it stays with the grader, who answers and counts the student's calls."""

    function: Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One thing to ask of a notebook.

    Parameters
    ----------
    name : str
        The student's function, or variable.
    arguments : tuple or None
        What the function is called with; None asks for the variable itself.
    saved : bool
        The variable is not asked of the running notebook but read from what the notebook has on show: the
        run log of a study that is not repeated while grading.
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    saved: bool = False


@dataclass(frozen=True)
class Reply:
    """What a notebook, or a model of one, answered to a case.

    `error` is "" for an answer, else the grader's own sentence about what went wrong: text of the student's
    process is never part of it, since that could carry the hidden inputs. `calls` counts the remote calls.
    """

    value: Any = None
    error: str = ""
    calls: int = 0


#: Whether the replies to some cases show the property: (cases, replies, what the reference replied).
Holds = Callable[[list[Case], list[Reply], list[Reply]], bool]


@dataclass(frozen=True)
class Property:
    """One thing that a right answer does, with the points that it earns.

    `draw` makes the inputs from a random generator; `holds` looks at all replies to them at once, and by
    default asks that each is close to the reference's (`marking.all_close`).
    """

    name: str
    points: float
    draw: Callable[[np.random.Generator], list[Case]]
    holds: Holds | None = None


@dataclass(frozen=True)
class Mistake:
    """A wrong model with a name: a function that answers as a student with this mistake would."""

    hint: str
    name: str
    model: Any


@dataclass(frozen=True)
class Question:
    """An automatically graded question.

    Parameters
    ----------
    name : str
        Its column in the table of grades, and the end of its `grade_id` in the notebook.
    title : str
        How the feedback page calls it.
    returns : str
        What a right answer is, in the notebook's own symbols ("an array of shape (K, N, d)").
    properties : tuple of Property
    reference : dict
        The right function, or value, for every name that the cases ask for.
    mistakes : tuple of Mistake
    """

    name: str
    title: str
    returns: str
    properties: tuple[Property, ...]
    reference: dict[str, Any]
    mistakes: tuple[Mistake, ...] = ()

    @property
    def points(self) -> float:
        """The most that this question earns."""
        return sum(part.points for part in self.properties)


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
    which go beside the written questions for the person who marks them.
    """

    name: str
    title: str
    questions: tuple[Question, ...]
    written: tuple[Written, ...]
    evidence: Callable[[Any], dict[str, Any]] | None = field(default=None)

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
        """Fresh inputs for one question: for each of its properties, its cases.

        Each property has its own stream of random numbers, so that editing one leaves the others' inputs alone.
        """
        return [
            part.draw(np.random.default_rng([seed, zlib.crc32(f"{self.name}/{question.name}/{part.name}".encode())]))
            for part in question.properties
        ]
