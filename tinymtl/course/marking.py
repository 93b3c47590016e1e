"""From replies to points and hints. Pure: it starts nothing and reads nothing.

It runs only after the last student's process has ended, so no expected value is in memory while one is alive.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Question, Remote, Reply
from tinymtl.course.worker.values import NotPlain, decode, encode

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # how near a number has to be


@dataclass(frozen=True)
class Mark:
    """The result of one question: its points, which properties hold, and one hint ("" for full marks)."""

    points: float
    held: tuple[bool, ...]
    hint: str


def close(value: Any, expected: Any) -> bool:
    """Whether a plain value is the expected one: the same shape, and every number within the tolerance.

    Numbers agree to 1e-6 of the expected one, or to 1e-9; NaN and infinity agree with nothing; a bool is no
    number; a list of numbers and an array of the same shape are the same thing.

    Examples
    --------
    >>> close([1, 2], np.array([1.0, 2.0])), close(float("nan"), float("nan")), close(True, 1.0)
    (True, False, False)
    """
    if isinstance(expected, bool | str) or expected is None:
        return type(value) is type(expected) and bool(value == expected)
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(close(value[key], expected[key]) for key in expected)
        )
    right, given = numbers(expected), numbers(value)
    if right is not None:
        return (
            given is not None
            and given.shape == right.shape
            and bool(np.isfinite(given).all())
            and bool((np.abs(given - right) <= ABSOLUTE + RELATIVE * np.abs(right)).all())
        )
    return (
        isinstance(value, list | tuple)
        and len(value) == len(expected)
        and all(close(one, other) for one, other in zip(value, expected, strict=True))
    )


def numbers(value: Any) -> np.ndarray[Any, Any] | None:
    """`value` as an array of floats, or None where it is not numbers in a rectangular arrangement.

    >>> numbers([[1, 2], [3, 4]]).shape, numbers([[1, 2], [3]]), numbers(True)
    ((2, 2), None, None)
    """
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind in "iuf" else None
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return None
    if isinstance(value, list | tuple):
        if all(type(item) is float or type(item) is int for item in value):  # the usual case, without a detour
            return _array(value)
        parts = [numbers(item) for item in value]
        if any(part is None or part.shape != parts[0].shape for part in parts):  # type: ignore[union-attr]
            return None
        return np.stack(parts) if parts else np.zeros(0)  # type: ignore[arg-type]
    return _array(value)


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    try:
        return np.array(value, dtype=np.float64)
    except OverflowError:  # an int beyond every float
        return None


def all_close(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    """Every reply is close to the reference's."""
    return all(close(reply.value, right.value) for reply, right in zip(replies, expected, strict=True))


def same_reply(reply: Reply, other: Reply) -> bool:
    """The same answer with the same number of remote calls; or both failed, in whatever way."""
    if reply.error or other.error:
        return bool(reply.error) and bool(other.error)
    if reply.calls != other.calls:
        return False
    one, two = numbers(reply.value), numbers(other.value)
    if (
        one is not None and two is not None and not np.isfinite(two).all()
    ):  # a mistake may divide by zero, as students do
        return one.shape == two.shape and bool(np.allclose(one, two, RELATIVE, ABSOLUTE, equal_nan=True))
    return close(reply.value, other.value)


def evaluate(model: Any, case: Case) -> Reply:
    """What a function (or a value) of this process replies to a case: the reference's, a mistake's, a notebook's."""
    calls = 0

    def counted(remote: Remote) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            return remote.function(*arguments)

        return call

    try:
        value = model
        if case.arguments is not None:
            given = [counted(item) if isinstance(item, Remote) else _copied(item) for item in case.arguments]
            with np.errstate(all="ignore"):
                value = model(*given)
        return Reply(decode(encode(value)), calls=calls)
    except NotPlain as problem:
        return Reply(error=not_plain(problem.code), calls=calls)
    except Exception as problem:
        return Reply(error=raised(type(problem).__name__), calls=calls)


def _copied(argument: Any) -> Any:
    return decode(encode(argument))  # a function that writes into its argument spoils nothing for the next


def raised(exception: str) -> str:
    """The sentence for a function that raised; only Python's and NumPy's own names of exceptions are repeated.

    >>> raised("NotImplementedError"), raised("ZeroDivisionError"), raised("Inputs_were_3_4")
    ('is not answered yet', 'raised ZeroDivisionError', 'raised an exception of its own class')
    """
    if exception == "NotImplementedError":
        return "is not answered yet"
    known = getattr(builtins, exception, None)
    if exception == "LinAlgError" or (isinstance(known, type) and issubclass(known, BaseException)):
        return f"raised {exception}"
    return "raised an exception of its own class"


def not_plain(code: str) -> str:
    """The sentence for a value that could not cross (`values.NotPlain`)."""
    return {
        "objects": "returned an array of Python objects, not of numbers",
        "large": "returned a value that is far too large",
        "deep": "returned lists inside lists without end",
    }.get(code, "returned something that is neither a number, nor text, a list, a dict or an array of numbers")


@dataclass(frozen=True)
class Key:
    """What right and known wrong answers to the drawn cases are: made once for all submissions of a run."""

    question: Question
    cases: list[list[Case]]
    right: list[list[Reply]]
    wrong: list[list[list[Reply | None]]]  # per mistake, property and case; None for another function's cases

    @classmethod
    def make(cls, question: Question, cases: list[list[Case]]) -> Key:
        """Ask the reference and every named mistake."""
        right = [[evaluate(question.reference[case.name], case) for case in group] for group in cases]
        wrong = [
            [
                [evaluate(mistake.model, case) if case.name == mistake.name else None for case in group]
                for group in cases
            ]
            for mistake in question.mistakes
        ]
        return cls(question, cases, right, wrong)

    def mark(self, replies: list[list[Reply]]) -> Mark:
        """The points, and for anything less than full marks one hint."""
        held = tuple(
            not any(reply.error for reply in group) and (part.holds or all_close)(cases, group, right)
            for part, cases, group, right in zip(self.question.properties, self.cases, replies, self.right, strict=True)
        )
        points = sum(part.points for part, holds in zip(self.question.properties, held, strict=True) if holds)
        return Mark(points, held, "" if all(held) else self.hint(replies, held))

    def hint(self, replies: list[list[Reply]], held: tuple[bool, ...]) -> str:
        """What went wrong, in the order of how much it helps: a mistake by name, an error, a wrong kind of value."""
        named: dict[str, str] = {}  # per function, the first of its mistakes that explains every reply
        for mistake, wrong in zip(self.question.mistakes, self.wrong, strict=True):
            if mistake.name not in named and self._matches(replies, wrong):
                named[mistake.name] = mistake.hint
        if named:
            return "; ".join(named.values())
        pairs = [
            (case.name, reply, right)
            for cases, group, rights in zip(self.cases, replies, self.right, strict=True)
            for case, reply, right in zip(cases, group, rights, strict=True)
        ]
        for name, reply, _ in pairs:
            if reply.error:
                return f"{name} {reply.error}"
        for name, reply, right in pairs:
            if reply.value is None:
                return f"{name} gave back None: is a return missing?"
            if not _same_kind(reply.value, right.value):
                return (
                    f"{name} gave back the wrong kind or shape of value: the question asks for {self.question.returns}"
                )
        for name, reply, _ in pairs:
            given = numbers(reply.value)
            if given is not None and not np.isfinite(given).all():
                return f"{name} gave back NaN or infinity"
        missed = "; ".join(part.name for part, holds in zip(self.question.properties, held, strict=True) if not holds)
        return f"no known mistake matches; what is missing: {missed}"

    def _matches(self, replies: list[list[Reply]], wrong: list[list[Reply | None]]) -> bool:
        telling = 0  # replies that are this mistake's and not the right ones
        for group, models, rights in zip(replies, wrong, self.right, strict=True):
            for reply, model, right in zip(group, models, rights, strict=True):
                if model is None:
                    continue
                if not same_reply(reply, model):
                    return False
                telling += not reply.error and not same_reply(reply, right)
        return telling > 0


def _same_kind(value: Any, expected: Any) -> bool:
    right, given = numbers(expected), numbers(value)
    if right is not None:
        return given is not None and given.shape == right.shape
    if isinstance(expected, dict):
        return isinstance(value, dict) and value.keys() == expected.keys()
    if isinstance(expected, list | tuple):
        return isinstance(value, list | tuple)
    return type(value) is type(expected)
