"""What a question is: its parts, its right answer, and the mistakes that have a name. `marking.py` judges the answers.

A lesson's check and a question of an assignment are the same thing. The modules in `answers/` describe them, by
topic, with these words and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.course.worker.collect import product

Rng = np.random.Generator


@dataclass(frozen=True)
class Remote:
    """An argument that is a function, seed ↦ matrix @ seed: it stays with the grader, who counts the calls."""

    name: str
    matrix: np.ndarray[Any, Any]
    shape: tuple[int, ...]  # of the seed

    def function(self, seed: Any) -> Any:
        """What a call gives back; ValueError for a seed of another shape."""
        return product(self.name, self.matrix, self.shape)(seed)


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
    shown : str
        How a lesson calls this case, if not by its arguments: "the lesson's graph".
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    saved: bool = False
    shown: str = ""


@dataclass(frozen=True)
class Reply:
    """What a notebook, or a model of one, answered to a case.

    `error` is "" for an answer, else a sentence about what went wrong. In coursework it is the grader's own: text of
    the student's process is never part of it, since that could carry the hidden inputs. `calls` counts remote calls.
    """

    value: Any = None
    error: str = ""
    calls: int = 0


WRONG = "wrong"  # a problem without a name: then `Question.mistakes` are asked

#: What is wrong with the reply to a case, in a sentence; "" if nothing is, and WRONG for what has no name.
#: The last argument is what the reference replied. A `Together` looks at all cases of a part at once.
Problem = Callable[[Case, Reply, Reply], str]
Together = Callable[[list[Case], list[Reply]], str]


@dataclass(frozen=True)
class Part:
    """One thing that a right answer does, with the points that it earns.

    Parameters
    ----------
    name : str
    draw : callable
        From a random generator to the part's cases.
    points : float
    item : int, str or tuple of them, optional
        Only this item, or these, of what a function returns is looked at; what is said about several is said of each.
    problem, together : callable, optional
        Judge each reply, and then all replies at once; by default each has to be close to the reference's.
    tolerance : float
        How near a number has to be, relative to the largest one beside it.
    exact : bool
        The shape counts; otherwise a column, or a list of one, is as good as the numbers in it.
    """

    name: str
    draw: Callable[[Rng], list[Case]]
    points: float = 1.0
    item: int | str | tuple[int | str, ...] | None = None
    problem: Problem | None = None
    together: Together | None = None
    tolerance: float = 1e-6
    exact: bool = False


@dataclass(frozen=True)
class Formula:
    """A number, or some numbers, in Python's words; it may use the variables that come before it.

    >>> Formula("3 * c + d").value({"c": 14, "d": 6})
    48
    """

    text: str

    def value(self, known: Mapping[str, Any]) -> Any:
        """The value, where `known` has the earlier variables; None where it has none (a division by 0)."""
        try:
            with np.errstate(all="ignore"):
                return eval(self.text, {"np": np}, dict(known))  # the text is ours, the variables are plain values
        except (ArithmeticError, ValueError, TypeError, IndexError):
            return None

    def slips(self) -> list[Formula]:
        """The same without one pair of its brackets, as it is typed in haste: (3*u)**1/3."""
        found, opened = [], []
        for i, letter in enumerate(self.text):
            if letter == "(":
                opened.append(i)
            elif letter == ")":
                start = opened.pop()
                inside = self.text[start + 1 : i]
                found.append(Formula(f"{self.text[:start]}{inside}{self.text[i + 1 :]}"))
        return found


@dataclass(frozen=True)
class Mistake:
    """A wrong answer with a name: a function, or a value, that answers as a student with this mistake would."""

    hint: str
    name: str
    model: Any


@dataclass(frozen=True)
class Question:
    """A question that is marked without a person.

    Parameters
    ----------
    name : str
        "05.alpha", or in an assignment its column in the table of grades and the end of its `grade_id`.
    parts : tuple of Part
    reference : dict
        The right function, value or `Formula` for every name that the cases ask for.
    title : str
        How the feedback page calls it.
    returns : str
        What a right answer is, in the notebook's own symbols ("an array of shape (K, N, d)").
    mistakes : tuple of Mistake
        The first that explains a part names it.
    hints : tuple of str
        For a wrong answer without a name: a nudge, the method, the formula; one after the other, in a lesson.
    praise : str
        What the student has shown, for a lesson to say.
    adapt : callable, optional
        In a lesson: from the student's answer to what the cases ask, a function of their arguments.
    after : Question, optional
        In a lesson: the question before it, whose variables the formulas may use.
    """

    name: str
    parts: tuple[Part, ...]
    reference: Mapping[str, Any]
    title: str = ""
    returns: str = ""
    mistakes: tuple[Mistake, ...] = ()
    hints: tuple[str, ...] = ()
    praise: str = ""
    adapt: Callable[[Any], Any] | None = None
    after: Question | None = None

    @property
    def points(self) -> float:
        """The most that this question earns."""
        return sum(part.points for part in self.parts)


def fixed(cases: Sequence[Case]) -> Callable[[Rng], list[Case]]:
    """The cases of a lesson's part, which are always the same."""
    return lambda rng: list(cases)
