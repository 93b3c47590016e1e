"""The lessons' checks: `check("05.alpha", answer)` says right, or names the mistake, and never the answer.

Every lesson has a module here, `lesson_01` to `lesson_10`, with its `CHECKS`: a dictionary from the name of a check,
"05.alpha", to a `Check`. Named mistakes are wrong answers that are known beforehand, each with its hint; the tests
put every one of them in and look for the hint.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinymtl.checks import did_you_mean
from tinymtl.course.errors import CourseError

NOT_TRIED = "… not tried yet"


@dataclass(frozen=True)
class Mistake:
    """A named mistake that no single value stands for: an example of it, and how to recognise it."""

    example: Any  # an answer, as a student would give it
    seen: Callable[[Any], bool]  # whether what is judged shows this mistake


@dataclass(frozen=True)
class Check:
    """What one answer is held against.

    Attributes
    ----------
    test : callable
        Whether what is judged is right.
    praise : str
        What the student has shown, printed after "✓ right: ".
    look : str, or a callable from what is judged to one
        What to look at when the answer is wrong in a way that has no name.
    mistakes : {hint: wrong answer or Mistake}
        The hint is printed for an answer that is judged the same as this wrong answer. The first that fits counts.
    judged : callable
        From the answer to what is judged; by default the answer itself. For a function: its results.
    """

    test: Callable[[Any], bool]
    praise: str
    look: str | Callable[[Any], str]
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    judged: Callable[[Any], Any] = lambda answer: answer

    def verdict(self, answer: Any) -> str:
        """The line that `check` prints."""
        try:
            if not given(answer):
                return NOT_TRIED
            found = self.judged(answer)
            if not given(found):
                return NOT_TRIED
            if self.test(found):
                return f"✓ right: {self.praise}"
            hints = [hint for hint in self.mistakes if self._shows(hint, found)]
            hints.append(self.look(found) if callable(self.look) else self.look)
        except Problem as problem:
            return f"✗ not yet: {problem}"
        except Exception as error:  # whatever a student's answer may run into is a hint, not a traceback
            return f"✗ not yet: checking your answer raised {type(error).__name__}: {error}"
        return f"✗ not yet: {hints[0]}"

    def _shows(self, hint: str, found: Any) -> bool:
        mistake = self.mistakes[hint]
        return bool(mistake.seen(found)) if isinstance(mistake, Mistake) else same(found, self.judged(mistake))

    def example(self, hint: str) -> Any:
        """A wrong answer that gets this hint."""
        mistake = self.mistakes[hint]
        return mistake.example if isinstance(mistake, Mistake) else mistake


class Problem(Exception):
    """Raised by `judged` for an answer that cannot be judged; the text is the hint."""


def check(name: str, answer: Any) -> None:
    """Print one line: right, or the mistake, or that the answer is still open (`...` or None).

    Parameters
    ----------
    name : str
        "05.alpha": the lesson and the question, as the lesson writes it.
    answer : anything
        A number, some numbers, a word or a function: what the question asks for.

    Raises
    ------
    CourseError
        For a name that no lesson has.

    Examples
    --------
    >>> check("01.by_hand", ...)
    … not tried yet
    """
    print(find(name).verdict(answer))


def find(name: str) -> Check:
    """The check of that name."""
    lessons = [path.stem for path in Path(__file__).parent.glob("lesson_*.py")]
    module = f"lesson_{str(name)[:2]}"
    if module in lessons:
        checks = _checks_of(module)
        if name in checks:
            return checks[name]
    everything = [known for lesson in sorted(lessons) for known in _checks_of(lesson)]
    hint = did_you_mean(name, everything, otherwise="use the name that the lesson's cell has")
    raise CourseError(f"unknown check {name!r}: {hint}")


def _checks_of(lesson: str) -> dict[str, Check]:
    checks: dict[str, Check] = importlib.import_module(f"tinymtl.course.lessons.{lesson}").CHECKS
    return checks


# ------------------------------------------------------------ kinds of checks


def numbers(
    right: Any, praise: str, look: str, mistakes: Mapping[str, Any] | None = None, tolerance: float = 5e-3
) -> Check:
    """A check of a number, or of an array of numbers; `tolerance` is relative to the largest of them.

    The default takes three digits from a student who works by hand. An answer of the right size may have another
    shape, as long as the right one has at most one axis.
    """
    expected = np.asarray(right, dtype=np.float64)
    most = float(np.abs(expected).max()) or 1.0

    def judged(answer: Any) -> Any:
        found = _array(answer)
        if found is None or found.dtype.kind not in "fiub":
            raise Problem(f"this answer is {_amount(expected.shape)}, not a {type(answer).__name__}")
        if found.size == expected.size and expected.ndim <= 1:
            return found.reshape(expected.shape)
        if found.shape != expected.shape:
            raise Problem(f"this answer is {_amount(expected.shape)}, yours has shape {found.shape}")
        return found

    def test(found: Any) -> bool:
        return bool(np.allclose(found, expected, rtol=0.0, atol=tolerance * most))

    named = {
        hint: Mistake(wrong, _close_to(wrong, tolerance, expected.shape)) if not isinstance(wrong, Mistake) else wrong
        for hint, wrong in (mistakes or {}).items()
    }
    return Check(test, praise, look, named, judged)


def choice(right: str, praise: str, mistakes: Mapping[str, str]) -> Check:
    """A check of one word out of several; `mistakes` has a hint for each of the wrong ones."""
    words = [right, *mistakes.values()]

    def judged(answer: Any) -> str:
        if not isinstance(answer, str) or answer.strip().lower() not in words:
            raise Problem(f"answer with one of {', '.join(map(repr, sorted(words)))}")
        return answer.strip().lower()

    return Check(lambda found: bool(found == right), praise, "", mistakes, judged)


def function(
    right: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    praise: str,
    look: str,
    mistakes: Mapping[str, Any] | None = None,
    tolerance: float = 1e-6,
) -> Check:
    """A check of a function: its results on `cases`, tuples of arguments, are those of `right`.

    A mistake is a wrong function: an answer that gives its results gets its hint. Every call gets arguments of its
    own. The line for a mistake without a name tells the first case that is wrong, and `look`.
    """
    judged = results_on(cases)
    expected = judged(right)

    def agrees(found: Any) -> list[bool]:
        return [same(result, wanted, tolerance) for result, wanted in zip(found, expected, strict=True)]

    def first_wrong(found: Any) -> str:
        agreed = agrees(found)
        args = cases[agreed.index(False)]
        return f"{sum(agreed)} of {len(cases)} cases are right; the first that is not: {shown(args)}. {look}"

    return Check(lambda found: all(agrees(found)), praise, first_wrong, mistakes or {}, judged)


def results_on(cases: Sequence[tuple[Any, ...]]) -> Callable[[Any], Any]:
    """A `judged` for functions: the results on every case, or None where the first of them is still `...` or None."""

    def judged(answer: Any) -> Any:
        if not callable(answer):
            raise Problem(f"this answer is a function, not a {type(answer).__name__}")
        results = []
        for args in cases:
            try:
                results.append(answer(*copy.deepcopy(args)))
            except Exception as error:
                raise Problem(f"your function raises {type(error).__name__} for {shown(args)}: {error}") from None
            if not given(results[0]):
                return None
            if results[-1] is None:
                raise Problem(f"your function returns None for {shown(args)}: does every way through it return?")
        return results

    return judged


# ------------------------------------------------------------ comparing


def same(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Whether two answers agree: words, numbers and arrays of one shape, or lists and dictionaries of such."""
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        both = isinstance(a, Mapping) and isinstance(b, Mapping)
        return both and a.keys() == b.keys() and all(same(a[key], b[key], tolerance) for key in a)
    x, y = _array(a), _array(b)
    if x is not None and y is not None:
        if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
            return bool(x.shape == y.shape and (x == y).all())
        if x.shape != y.shape:
            return False
        most = float(np.abs(y).max()) if y.size else 1.0
        return bool(np.allclose(x, y, rtol=0.0, atol=tolerance * (most or 1.0)))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(p, q, tolerance) for p, q in zip(a, b, strict=True))
    return bool(a is b)


def shown(args: tuple[Any, ...]) -> str:
    """Arguments in a hint: numbers as they are, arrays by their shape."""
    parts = []
    for arg in args:
        array = _array(arg) if not isinstance(arg, tuple | list | str) else None
        if array is not None and array.ndim:
            parts.append(f"array of shape {array.shape}")
        else:
            text = repr(arg)
            parts.append(text if len(text) <= 60 else text[:57] + "…")
    return f"({', '.join(parts)})"


def _array(value: Any) -> Any:
    """A NumPy array of numbers or words, None for what is none (a ragged list, a function, None)."""
    value = getattr(value, "data", value) if type(value).__name__ == "Tensor" else value
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return None if array.dtype.kind not in "fiubU" else array


def given(value: Any) -> bool:
    """Whether a student has put something in: neither None nor `...`, nor a list with one of them in it."""
    if isinstance(value, Mapping):
        return all(given(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(given(item) for item in value)
    return value is not None and value is not ...


def _close_to(wrong: Any, tolerance: float, shape: tuple[int, ...]) -> Callable[[Any], bool]:
    values = np.asarray(wrong, dtype=np.float64).reshape(shape)
    most = float(np.abs(values).max()) or 1.0
    return lambda found: bool(np.allclose(found, values, rtol=0.0, atol=tolerance * most))


def _amount(shape: tuple[int, ...]) -> str:
    if shape == ():
        return "one number"
    return f"{shape[0]} numbers" if len(shape) == 1 else f"an array of shape {shape}"
