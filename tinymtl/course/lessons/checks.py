"""The lessons' checks: `check("05.alpha", answer)` says right, or what is wrong, and never the answer.

The questions are in `tinymtl.course.answers`, by topic, and `tinymtl.course.marking` judges the answers, as it does for
the assignments. Here is only what a lesson adds: it takes an answer from a cell, and it talks.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinymtl.course.answers import LESSONS
from tinymtl.course.comparing import amount, described, item_of, listed, numbers
from tinymtl.course.errors import CourseError
from tinymtl.course.marking import FOLLOWS, OPEN, RIGHT, ROUGH, Finding, Key
from tinymtl.course.question import WRONG, Case, Formula, Question, Remote, Reply
from tinymtl.course.replies import evaluate
from tinymtl.course.worker.values import NotPlain, decode, encode

NOT_TRIED = "… not tried yet"
SECONDS = 5.0  # for all calls of one answer


def check(name: str, answer: Any) -> None:
    """Print one line: right, or what is wrong and what is right already, or that the answer is still open (`...`).

    A wrong answer without a name gets a nudge first, after another one the method, and then the formula.

    Parameters
    ----------
    name : str
        "05.alpha": the lesson and the question, as the lesson writes it.
    answer : anything
        A number, some numbers, a word or a function: what the question asks for.

    Examples
    --------
    >>> check("01.by_hand", ...)
    … not tried yet
    >>> check("01.byhand", ...)
    there is no check '01.byhand': did you mean '01.by_hand'?
    """
    try:
        question = find(name)
    except CourseError as problem:  # one line, as any other: no traceback in a lesson
        print(problem)
        return
    print(verdict(question, answer, _memory))


def find(name: str) -> Question:
    """The question of that name."""
    if name in LESSONS:
        return LESSONS[name]
    close = difflib.get_close_matches(str(name), LESSONS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "use the name that the lesson's cell has"
    raise CourseError(f"there is no check {name!r}: {hint}")


def verdict(question: Question, answer: Any, memory: Memory | None = None) -> str:
    """The line that `check` prints. `memory` has what the student answered before; this answer is added to it."""
    memory = memory if memory is not None else Memory()
    if answer is ...:
        return NOT_TRIED
    key = _key(question.name) if LESSONS.get(question.name) is question else _made(question)
    replies = _asked(key, answer)
    if isinstance(replies, str):
        return f"✗ not yet: {replies}"
    own = memory.before(question)
    found = key.findings(replies, own)
    memory.values[question.name] = {name: own[name] for name in question.reference if name in own}
    decides = [one.state for part, one in zip(question.parts, found, strict=True) if part.points]
    if set(decides) == {OPEN}:
        return NOT_TRIED
    if set(decides) == {RIGHT}:
        remarks = [f"; but {part.name} {one.hint}" for part, one in zip(question.parts, found, strict=True) if one.hint]
        return f"✓ right: {question.praise}{''.join(remarks)}"
    missed = memory.missed.setdefault(question.name, [])
    if any(one.state == WRONG and not one.hint for one in found) and repr(replies) not in missed:
        missed.append(repr(replies))
    return _told(key, replies, found, question.hints[: len(missed)][-1:])


@dataclass
class Memory:
    """What a student answered before, in this process.

    `missed` has the answers to each check that are wrong without a name: their number decides which hint is due.
    `values` has the variables of each check, so that a number that follows from an earlier wrong one is recognised.
    """

    missed: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)

    def before(self, question: Question) -> dict[str, Any]:
        """The student's numbers in the questions before this one."""
        earlier = question.after
        return {**self.before(earlier), **self.values.get(earlier.name, {})} if earlier else {}


_memory = Memory()


def _made(question: Question) -> Key:
    return Key.make(question, [part.draw(np.random.default_rng(0)) for part in question.parts])


@functools.cache
def _key(name: str) -> Key:
    return _made(LESSONS[name])


# ------------------------------------------------------------ taking the answer


def _asked(key: Key, answer: Any) -> list[list[Reply]] | str:
    """The replies to every part's cases, or what is wrong with the answer as a whole."""
    question = key.question
    if all(isinstance(reference, Formula) for reference in question.reference.values()):
        values = _by_name(key, answer)
        if isinstance(values, str):
            return values
        return [[evaluate(values[case.name], case, tell=True) for case in group] for group in key.cases]
    (name,) = question.reference
    if not callable(answer):
        kind = "None" if answer is None else f"a {type(answer).__name__}"
        return f"the answer is a function, not {kind}: check(…, {name}), without calling it"
    model = question.adapt(answer) if question.adapt else answer
    if model is not answer:
        functools.update_wrapper(model, answer) if hasattr(answer, "__name__") else None
    known: dict[tuple[int, int], Reply] = {}  # parts that look at several items of a result share its case
    same = [[id(case) for case in group] for group in key.cases]
    asked = [[(one, ones[:place].count(one)) for place, one in enumerate(ones)] for ones in same]
    late = Reply(error=f"has not returned after {SECONDS:g} s; is there a loop that does not end?")
    with contextlib.suppress(_TimeIsUp), _time_limit(SECONDS):
        for group, places in zip(key.cases, asked, strict=True):
            for case, place in zip(group, places, strict=True):
                if place not in known:
                    known[place] = late
                    known[place] = evaluate(model, case, tell=True)
    return [[known.get(place, late) for place in places] for places in asked]


def _by_name(key: Key, answer: Any) -> dict[str, Any] | str:
    """The answer taken apart: a value for every variable of the question."""
    names = list(key.question.reference)
    if len(names) == 1:
        return {names[0]: answer}
    if key.question.adapt:
        answer = key.question.adapt(answer)
    if isinstance(answer, dict) and answer.keys() == set(names):
        return answer
    if isinstance(answer, np.ndarray):
        answer = answer.tolist()
    if isinstance(answer, list | tuple) and len(answer) == len(names):
        return dict(zip(names, answer, strict=True))
    sizes = [int(np.size(group[0].value)) for group in key.right]
    if isinstance(answer, list | tuple):
        flat = list(_flat(answer))
        if len(flat) == sum(sizes):  # one number after the other
            ends = np.cumsum(sizes)
            return {
                n: flat[end - size : end] if size > 1 else flat[end - 1]
                for n, size, end in zip(names, sizes, ends, strict=True)
            }  # noqa: E501
    try:
        what = described(decode(encode(answer)))
    except NotPlain:
        what = f"a {type(answer).__name__}"
    return f"the answer is ({', '.join(names)}), {amount((sum(sizes),))}; yours is {what}"


def _flat(value: Any) -> Iterator[Any]:
    for one in value:
        if isinstance(one, list | tuple | np.ndarray) and np.ndim(one) != 0:
            yield from _flat(one)
        else:
            yield one


class _TimeIsUp(BaseException):
    """Raised inside a student's function; no `except Exception` of his catches it."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _TimeIsUp in this thread when the time is up, where the system can: a POSIX system's main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------ talking


def _told(key: Key, replies: list[list[Reply]], found: list[Finding], stage: tuple[str, ...]) -> str:
    parts = [part for part in key.question.parts]
    pairs = [(part, one) for part, one in zip(parts, found, strict=True) if part.points]
    states = {one.state for _, one in pairs}

    def those(*wanted: str) -> list[str]:
        return [part.name for part, one in pairs if one.state in wanted]

    loudest = WRONG if WRONG in states else ROUGH
    said = []
    for i, (part, one) in enumerate(zip(parts, found, strict=True)):
        if part.points and one.state == loudest and one.hint:
            where = "" if one.case is None else f" (for {called_with(key, key.cases[i][one.case])})"
            said.append((part.name, one.hint, where))
    unnamed = [i for i, one in enumerate(found) if one.state == WRONG and not one.hint and parts[i].points]
    sentences = [order] if (order := _order(key, replies, found)) else []
    if order:
        said, unnamed = [], []
    if said:
        alone = len(pairs) == 1 or (len(said) == len(pairs) and key.cases[0][0].arguments is not None)
        sentences.append("; ".join(_by_hint(said, alone)))
    if unnamed:
        if len(pairs) > 1:
            sentences.append(f"not right: {listed([parts[i].name for i in unnamed])}")
        sentences += dict.fromkeys(found[i].detail for i in unnamed if found[i].detail)
        sentences += [text for text in (_first_failure(key, replies, found, unnamed[0]),) if text]
        sentences += stage if not said else ()
    for text, names in (
        ("right already", those(RIGHT)),
        ("calculated rightly from there", those(FOLLOWS)),
        ("still open", those(OPEN)),
    ):
        if names:
            sentences.append(f"{text}: {listed(names)}")
    if states <= {RIGHT, FOLLOWS}:
        sentences = [f"calculated rightly from numbers before it that are not right yet: {listed(those(FOLLOWS))}"]
    head = "✗ not yet: " if WRONG in states else "… " if states <= {RIGHT, OPEN} else "≈ "
    return head + _joined(sentences)


def _joined(sentences: list[str]) -> str:
    text = ""
    for one in sentences:
        capital = one[0].upper() + one[1:] if text and re.match(r"[a-z]{2,}\b", one) else one
        text += ("" if not text else " " if text[-1] in ".?!" else ". ") + capital
    return text


def _by_hint(said: list[tuple[str, str, str]], alone: bool) -> list[str]:
    """(part, hint, in which case) triples as texts, a hint once; what is said of all parts alike stands `alone`."""
    hints = {hint: where for _, hint, where in reversed(said)}
    names = {hint: [name for name, other, _ in said if other == hint] for hint in dict.fromkeys(h for _, h, _ in said)}
    plain = [alone and len(hints) == 1 or hint.startswith(f"{names[hint][0]} ") for hint in names]
    return [
        (hint if bare else f"{listed(names[hint])}: {hint}") + hints[hint]
        for hint, bare in zip(names, plain, strict=True)
    ]


def _order(key: Key, replies: list[list[Reply]], found: list[Finding]) -> str:
    """Whether several variables have the right numbers in the wrong places."""
    wrong = [i for i, one in enumerate(found) if one.state == WRONG]
    values = [numbers(replies[i][0].value) if replies[i] and not replies[i][0].error else None for i in wrong]
    rights = [numbers(key.right[i][0].value) for i in wrong]
    if len(wrong) < 2 or any(one is None or one.ndim for one in [*values, *rights]):
        return ""
    same = np.allclose(sorted(float(v) for v in values), sorted(float(r) for r in rights), rtol=5e-3)  # type: ignore[arg-type]
    return "the numbers are right, but in another order" if same else ""


def _first_failure(key: Key, replies: list[list[Reply]], found: list[Finding], i: int) -> str:
    """How many cases are right, and the first one that is not: its arguments, and what came back."""
    cases, failed, part = key.cases[i], found[i].failed, key.question.parts[i]
    if cases[0].arguments is None or not failed:
        return ""
    case, reply = cases[failed[0]], replies[i][failed[0]]
    right = len(cases) - len(failed)
    count = (
        ""
        if part.together or len(cases) == 1
        else f"{right} of {len(cases)} cases {'is' if right == 1 else 'are'} right. "
    )
    value = item_of(reply.value, part.item)
    back = shown(reply.value if value is None else value)
    place = "" if part.item is None or value is None else f" as {part.name}"
    return f"{count}For {called_with(key, case)} {case.name} gives back {back}{place}"


def called_with(key: Key, case: Case) -> str:
    """A case in words: the arguments by name, large arrays by their shape."""
    if case.shown:
        return case.shown
    names = list(inspect.signature(key.question.reference[case.name]).parameters)
    given = [pair for pair in zip(names, case.arguments or (), strict=False) if not isinstance(pair[1], Remote)]
    text = ", ".join(f"{name} = {shown(value)}" for name, value in given)
    return text if len(text) < 160 else ", ".join(f"{name} = {shown(value, 4)}" for name, value in given)


def shown(value: Any, most: int = 16) -> str:
    """A value on one line: numbers with six digits, arrays of more than `most` numbers by their shape."""
    found = numbers(value) if not isinstance(value, str) else None
    if found is not None and found.size > most:
        return f"an array of shape {found.shape}"
    if found is not None and found.dtype.kind == "f" and not (isinstance(value, int) or _whole(value)):
        value = np.round(found, 6).tolist()
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"


def _whole(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, int) for one in value)
