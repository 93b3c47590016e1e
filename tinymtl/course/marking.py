"""One marking engine for lessons and coursework: which parts of an answer are right, and a sentence about each other.

A sentence names a mistake only if the numbers are those of the mistake, to six digits and in every case; anything
else that it says can be read off the answer itself: its kind, its shape, a sign, a missing rounding digit. Pure: it
starts nothing and reads nothing. In coursework it runs after the last student's process has ended, so no expected
value is in memory while one is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinymtl.course.comparing import (
    NUMBER_RELATIONS,
    RELATIONS,
    Array,
    amount,
    binary,
    close,
    counted,
    described,
    finite,
    item_of,
    misfit,
    numbers,
    operand,
    relates,
    right_components,
    rounded,
    typed,
)
from tinymtl.course.question import WRONG, Case, Formula, Part, Question, Reply
from tinymtl.course.replies import NOT_ANSWERED, evaluate
from tinymtl.course.worker.values import decode, encode

RIGHT, FOLLOWS, ROUGH, OPEN = "right", "follows", "rough", "open"  # and WRONG: what may be found about a part
UNNAMED = "not right, in a way that has no name"
ROUNDED = "right so far, but rounded: give three digits or a fraction"


@dataclass(frozen=True)
class Finding:
    """What was found about one part.

    `hint` is "" for a part that holds, or is wrong in a way that has no name; then `detail` may say what of it is
    right. `failed` has the numbers of its wrong cases, and `case` the one that the hint is about, if it is about one.
    """

    state: str
    hint: str = ""
    failed: tuple[int, ...] = ()
    case: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Mark:
    """The result of one question: its points, which parts hold, what is said of each other part, and all in one."""

    points: float
    held: tuple[bool, ...]
    said: tuple[str, ...]  # by part; "" of one that holds
    hint: str

    @classmethod
    def nothing(cls, question: Question) -> Mark:
        """No points, and nothing to say."""
        parts = len(question.parts)
        return cls(0.0, (False,) * parts, ("",) * parts, "")


@dataclass(frozen=True)
class Key:
    """What right and known wrong answers to some cases are: made once for all submissions of a run."""

    question: Question
    cases: list[list[Case]]
    right: list[list[Reply]]
    wrong: list[list[list[Reply | None]]]  # per mistake, part and case; None for another function's cases

    @classmethod
    def make(cls, question: Question, cases: list[list[Case]]) -> Key:
        """Ask the reference and every named mistake."""
        known = right_values(question)

        def asked(model: Any, case: Case) -> Reply:
            return evaluate(model.value(known) if isinstance(model, Formula) else model, case)

        right = [[asked(question.reference[case.name], case) for case in group] for group in cases]
        wrong = [
            [[asked(one.model, case) if case.name == one.name else None for case in group] for group in cases]
            for one in question.mistakes
        ]
        return cls(question, cases, right, wrong)

    def mark(self, replies: list[list[Reply]]) -> Mark:
        """The points, and for anything less than full marks what to say about the parts that do not hold."""
        found = self.findings(replies)
        held = tuple(one.state in (RIGHT, FOLLOWS) for one in found)
        points = sum(part.points for part, holds in zip(self.question.parts, held, strict=True) if holds)
        said = tuple(
            "" if holds else one.hint or "; ".join([one.detail or UNNAMED, *self.question.hints[:1]])
            for holds, one in zip(held, found, strict=True)
        )
        named = zip((part.name for part in self.question.parts), said, strict=True)
        return Mark(points, held, said, grouped([pair for pair in named if pair[1]]))

    @np.errstate(over="ignore", invalid="ignore")  # a student's numbers may be as large as they like
    def findings(self, replies: list[list[Reply]], own: dict[str, Any] | None = None) -> list[Finding]:
        """What is found about every part, in order.

        A variable is judged against the student's earlier ones too: `own` has those of the questions before it, and
        gets those of this one.
        """
        parts = [
            _Answers(self.question, part, cases, given, right, [wrong[i] for wrong in self.wrong])
            for i, (part, cases, given, right) in enumerate(
                zip(self.question.parts, self.cases, replies, self.right, strict=True)
            )
        ]
        variables = _Variables(self.question, right_values(self.question), {} if own is None else own, set())
        return [
            variables.find(one.part, one.cases[0].name, one.given[0])
            if isinstance(self.question.reference[one.cases[0].name], Formula)
            else one.find([other for other in parts if other is not one])
            for one in parts
        ]


def right_values(question: Question) -> dict[str, Any]:
    """The right value of every variable of a question, and of those of the questions before it."""
    known = right_values(question.after) if question.after else {}
    for name, reference in question.reference.items():
        if isinstance(reference, Formula):
            known[name] = operand(decode(encode(reference.value(known))))
    return known


# ------------------------------------------------------------ variables: one number, some numbers or a word each


@dataclass(frozen=True)
class _Variables:
    question: Question
    right: dict[str, Any]
    own: dict[str, Any]  # the student's
    doubtful: set[str]  # those that are wrong without a name: a mistake that is made with one of them may be anything

    def find(self, part: Part, name: str, reply: Reply) -> Finding:
        """What is found about one of them; the student's number is noted for those that follow."""
        right, known = self.right[name], self._known()
        found = self._find(part, name, reply, known)
        if found.state == WRONG and not found.hint:
            self.doubtful.add(name)
        given = None if reply.error or misfit(reply.value, right) else numbers(reply.value)
        if given is not None and np.isfinite(given).all():
            self.own[name] = operand(given.reshape(np.shape(right)))
        return found

    def _known(self) -> dict[str, Any]:
        return {
            **self.right,
            **{name: one for name, one in self.own.items() if np.any(one != 0)},
        }  # 0 explains anything

    def _find(self, part: Part, name: str, reply: Reply, known: dict[str, Any]) -> Finding:
        value, right = reply.value, self.right[name]
        if reply.error:
            state = OPEN if reply.error == NOT_ANSWERED else WRONG
            return Finding(state, f"{name} {reply.error.replace('gives back', 'is')}", (0,))
        if close(value, right, part.tolerance):
            return Finding(RIGHT)
        if close(value, self.question.reference[name].value(known), part.tolerance):
            return Finding(FOLLOWS)
        if isinstance(right, str):
            return Finding(WRONG, self._word(name, value, right), (0,))
        if kind := misfit(value, right):
            return Finding(WRONG, f"{name} is {kind}; {amount(np.shape(right))} should stand there", (0,))
        expected = np.asarray(right, dtype=np.float64)
        given = np.reshape(numbers(value), expected.shape)  # type: ignore[arg-type]
        if not np.isfinite(given).all():
            return Finding(WRONG, f"{name} is not a number (NaN or infinity): was something divided by zero?", (0,))
        hint = self._number(part, name, given, expected, {**known, **{one: self.right[one] for one in self.doubtful}})
        detail = "" if hint else right_components(given, expected, part.tolerance)
        return Finding(ROUGH if hint == ROUNDED else WRONG, hint, (0,), detail=detail)

    def _word(self, name: str, value: Any, right: str) -> str:
        wrong = {str(one.model.value({})): one.hint for one in self.question.mistakes if one.name == name}
        what = "" if isinstance(value, str) else f"{name} is {described(value)}; "
        known = [hint for word, hint in wrong.items() if close(value, word)]
        return known[0] if known else f"{what}answer with one of {', '.join(map(repr, sorted({right, *wrong})))}"

    def _number(self, part: Part, name: str, given: Array, expected: Array, known: dict[str, Any]) -> str:
        for one in self.question.mistakes:
            if one.name == name and any(typed(given, one.model.value(v), part.tolerance) for v in (known, self.right)):
                return one.hint
        if rounded(given, expected):
            return ROUNDED
        for slip in self.question.reference[name].slips():
            if any(close(given, slip.value(values), part.tolerance) for values in (known, self.right)):
                return f"this is what Python makes of `{slip.text}`: powers come first, then × and ÷, then + and −; a pair of brackets is missing"  # noqa: E501
        pairs = [(given, expected)]
        return next((said for said, relation in NUMBER_RELATIONS if relates(relation, pairs, part.tolerance)), "")


# ------------------------------------------------------------ functions


@dataclass(frozen=True)
class _Answers:
    """The replies to one part, beside the right ones and those of every mistake that has a name."""

    question: Question
    part: Part
    cases: list[Case]
    given: list[Reply]
    right: list[Reply]
    wrong: list[list[Reply | None]]  # by mistake

    def find(self, others: list[_Answers]) -> Finding:
        """What is found about the part; `others` are the question's other parts."""
        if isinstance(self.part.item, tuple):
            each = {item: self._of(item).find(others) for item in self.part.item}
            wrong = {item: one for item, one in each.items() if one.state != RIGHT}
            if not wrong:
                return Finding(RIGHT)
            hints = [(str(item), one.hint or "not right") for item, one in wrong.items()]
            return replace(next(iter(wrong.values())), hint=grouped(hints, alone=len(wrong) == len(each)))
        unanswered = next((reply.error for reply in self.given if reply.error.startswith(NOT_ANSWERED)), "")
        if unanswered:
            return Finding(OPEN, f"{self.cases[0].name} {unanswered}")
        said = [self._problem(*one) for one in zip(self.cases, self.given, self.right, strict=True)]
        failed = tuple(k for k, one in enumerate(said) if one)
        if not failed and self.part.together:
            said = [self.part.together(self.cases, self.given)]
            failed = tuple(range(len(self.cases))) if said[0] else ()
        if not failed:
            return Finding(RIGHT)
        hint = self._named(others) or (self._relation() if said[failed[0]] == WRONG else "")
        if hint or all(said[k] == WRONG for k in failed):
            return Finding(WRONG, hint, failed, detail="" if hint else self._alike())
        k = next(k for k in failed if said[k] != WRONG)
        return Finding(WRONG, said[k], failed, k if len(said) == len(self.cases) else None)

    def _of(self, item: int | str) -> _Answers:
        return replace(self, part=replace(self.part, item=item))

    def _items(self, replies: Sequence[Reply]) -> list[Any]:
        return [item_of(reply.value, self.part.item) for reply in replies]

    def _problem(self, case: Case, reply: Reply, right: Reply) -> str:
        """What is wrong with one reply: what anybody can see of it first; "" if nothing is."""
        asked = f"; asked for: {self.question.returns}"
        if reply.error:
            return f"{case.name} {reply.error}{asked * reply.error.startswith('gives back')}"
        if reply.value is None:
            nothing = "gives back nothing (None): does every way through it end in `return`?"
            return f"{case.name} {'is None' if case.arguments is None else nothing}"
        if self.part.problem:
            problem = self.part.problem(case, reply, right)
        else:
            problem = "" if self.part.together or self._agree(reply, right) else WRONG
        if problem != WRONG:
            return problem
        if isinstance(self.part.item, str) and isinstance(reply.value, dict):
            if kind := self._item_misfit(reply, right):
                return kind
        elif kind := self._misfit(reply, right):
            return f"{case.name} gives back {kind}{asked}"
        words = sorted({repr(one.value) for one in self.right}) if isinstance(right.value, str) else []
        if words and repr(reply.value) not in words:
            return f"{case.name} gives back a text that is none of {', '.join(words)}"
        return WRONG if finite(reply.value) else f"{case.name} gives back NaN or infinity: a division by zero?"

    def _item_misfit(self, reply: Reply, right: Reply) -> str:
        """What a dict has under its key that is no candidate for the right value."""
        one, expected = self._items([reply, right])
        if self.part.item not in reply.value:
            return "this key is missing"
        if not (kind := misfit(one, expected, self.part.exact)):
            return ""
        if self.question.adapt:  # the dict is not the student's
            return f"this is {kind}; asked for: {self.question.returns}"
        return f"this is {kind}; {described(expected)} should stand there"

    def _misfit(self, reply: Reply, right: Reply) -> str:
        one, expected = self._items([reply, right])
        if self.part.item is not None:
            pair = isinstance(self.part.item, int) and isinstance(reply.value, list | tuple)
            if not pair or len(reply.value) != len(right.value):
                return misfit(reply.value, right.value) or described(reply.value)
            kind = misfit(one, expected, self.part.exact)
            return kind and f"{kind} as {self.part.name}"
        lengths = {len(reply.value) for reply in self.right if isinstance(reply.value, list)}
        if len(lengths) > 1 and self._discrete() and np.ndim(one) == 1 and numbers(one) is not None:
            return ""  # a list of any length is asked for, and this is one
        return misfit(one, expected, self.part.exact)

    def _relation(self) -> str:
        """A sign, a factor or an order by which all replies differ from the right ones."""
        pairs = [] if self._discrete() else self._pairs()  # 2 for 1 may have any reason
        for said, relation in RELATIONS:
            if relates(relation, pairs, self.part.tolerance) or (pairs and self._right_if(relation, pairs)):
                return said
        return ""

    def _right_if(self, relation: Callable[[Array], Array], pairs: Sequence[tuple[Array, Array]]) -> bool:
        """Whether a sign or an order that is turned back makes all replies right, if more than one answer is.

        Rounding may decide which of them a student's code finds: the reference's need not be the one.
        """
        if self.part.problem is None:
            return False
        for case, given, right, (one, _) in zip(self.cases, self.given, self.right, pairs, strict=True):
            turned = relation(one)
            if not np.array_equal(relation(turned), one) or self._problem(case, replace(given, value=turned), right):
                return False
        return True

    def _alike(self) -> str:
        """What else can be seen of numbers without a name: all the same, or all near the right ones."""
        alike = [all(self._agree(one, replies[0]) for one in replies) for replies in (self.given, self.right)]
        if alike == [True, False] and len({(one.error, one.calls) for one in self.given}) == 1:
            return "the same answer comes back whatever the arguments are"
        pairs = [] if self._discrete() else self._pairs()
        for same in (0, 1):
            if pairs and all((one == same).all() for one, _ in pairs):
                return f"every number is {same}"
        near = pairs and all(close(one, two, 1e-2, self.part.exact) for one, two in pairs)
        return "near, but not right: the numbers are off by less than 1 % of the largest" if near else ""

    def _pairs(self) -> list[tuple[Array, Array]]:
        """The numbers given and the right ones, in all cases; none if they cannot be compared."""
        pairs = []
        for given, right in zip(self._items(self.given), self._items(self.right), strict=True):
            one, two = numbers(given), numbers(right)
            if one is None or two is None or one.size != two.size:
                return []
            pairs.append((one.reshape(two.shape), two))
        return pairs

    def _discrete(self, given: Sequence[Reply] = ()) -> bool:
        """Whether the right replies are words, verdicts or counts; or these, or those `given`, only zeros and ones."""
        values, own = self._items(self.right), self._items(given)
        return all(map(counted, values)) or any(some and all(map(binary, some)) for some in (values, own))

    def _agree(self, reply: Reply, other: Reply) -> bool:
        if isinstance(self.part.item, tuple):
            return all(self._of(item)._agree(reply, other) for item in self.part.item)
        value, expected = self._items([reply, other])
        if isinstance(self.part.item, int) and (value is None or len(reply.value) != len(other.value)):
            return False
        return close(value, expected, self.part.tolerance, self.part.exact)

    def _named(self, others: list[_Answers]) -> str:
        """The first mistake whose numbers these are; rather one that explains the other parts as well.

        Words, verdicts and counts agree by chance too easily: there all parts of the question have to agree.
        """
        found = [m for m in range(len(self.wrong)) if self._is(m) == (True, True)]
        whole = [m for m in found if all(one._is(m)[0] for one in others)]
        found = whole if self._discrete(self.given) else whole + found
        return self.question.mistakes[found[0]].hint if found else ""

    def _is(self, mistake: int) -> tuple[bool, bool]:
        """Whether the replies are a mistake's, in all cases that both answered; and whether they are wrong."""
        telling = False
        for one, model, right in zip(self.given, self.wrong[mistake], self.right, strict=True):
            if model is None or one.error or model.error or not (finite(one.value) and finite(model.value)):
                continue  # a mistake may fail, or divide by zero, in some cases: those tell nothing
            if isinstance(self.part.item, int) and item_of(model.value, self.part.item) is None:
                continue
            if one.calls != model.calls or not self._agree(one, model):
                return False, telling
            telling |= one.calls != right.calls or not self._agree(one, right)
        return True, telling


def grouped(said: Sequence[tuple[str, str]], alone: bool = True) -> str:
    """Pairs of a part and what is said about it as one text; what is said about all stands `alone`, without names.

    >>> grouped([("a", "too long"), ("b", "too long"), ("c", "missing")])
    'a, b: too long; c: missing'
    """
    hints = list(dict.fromkeys(hint for _, hint in said))
    if len(hints) <= 1 and alone:
        return "".join(hints)
    return "; ".join(f"{', '.join(name for name, hint in said if hint == one)}: {one}" for one in hints)
