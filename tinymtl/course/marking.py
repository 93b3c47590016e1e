"""One marking engine for lessons and coursework: which parts of an answer are right, and a sentence about each other.

A sentence names a mistake only if the numbers are those of the mistake, to six digits and in every case; anything
else that it says can be read off the answer itself: its kind, its shape, a sign, a missing rounding digit. Pure: it
starts nothing and reads nothing. In coursework it runs after the last student's process has ended, so no expected
value is in memory while one is alive.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from tinymtl.course.question import WRONG, Case, Formula, Part, Question, Remote, Reply
from tinymtl.course.worker.values import NotPlain, Unordered, decode, encode

Array = np.ndarray[Any, Any]

RIGHT, FOLLOWS, ROUGH, OPEN = "right", "follows", "rough", "open"  # and WRONG: what may be found about a part
NOT_ANSWERED = "is not answered yet"
UNNAMED = "not right, in a way that has no name"


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
    """The result of one question: its points, which parts hold, and what to say about the others ("" if all do)."""

    points: float
    held: tuple[bool, ...]
    hint: str


# ------------------------------------------------------------ reading values


def close(value: Any, expected: Any, tolerance: float = 1e-6, exact: bool = False) -> bool:
    """Whether a plain value is the expected one.

    Numbers have to agree to `tolerance` times the largest number beside them (or 1e-9); a list, a tuple and an
    array of the same numbers are the same thing, and so is, unless `exact`, a column for a row or a list of one
    number for the number. "3/13" is a number; a bool is none; NaN and infinity agree with nothing. 0 and 1 may
    stand for False and True. Words agree in capitals or not.

    >>> close(np.array([[1.0], [2.0]]), [1, 2]), close("3/13", 3 / 13), close(float("nan"), float("nan"))
    (True, True, False)
    """
    if expected is None or value is None:
        return value is expected
    if isinstance(expected, bool):
        plain = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        return isinstance(plain, bool | int | float) and plain == expected
    if isinstance(expected, str):
        return isinstance(value, str) and value.strip().lower() == expected.lower()
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(close(value[key], expected[key], tolerance) for key in expected)
        )
    right, given = numbers(expected), numbers(value)
    if right is not None:
        given = None if given is None else _fitted(given, right.shape, exact)
        if given is None or not np.isfinite(given).all():
            return False
        largest = float(np.abs(right).max(initial=0.0))
        room = max(tolerance * largest, 1e-9 if tolerance <= 1e-6 or largest == 0 else 0.0)
        return bool((np.abs(given - right) <= room).all())
    return (
        isinstance(value, list | tuple)
        and not isinstance(value, Unordered)
        and len(value) == len(expected)
        and all(close(one, other, tolerance, exact) for one, other in zip(value, expected, strict=True))
    )


def numbers(value: Any) -> Array | None:
    """`value` as an array of floats, or None if it is not numbers in a rectangular arrangement.

    >>> numbers([[1, 2], [3, 4]]).shape, numbers([[1, 2], [3]]), numbers(True), numbers("1/4")
    ((2, 2), None, None, array(0.25))
    """
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind in "iuf" else None
    if isinstance(value, str):
        try:
            return np.asarray(float(Fraction(value.replace(" ", ""))))
        except (ValueError, ArithmeticError):
            return None
    if isinstance(value, bool | Unordered) or not isinstance(value, int | float | list | tuple):
        return None
    try:
        if not isinstance(value, list | tuple) or all(type(item) in (float, int) for item in value):
            return np.array(value, dtype=np.float64)
    except OverflowError:  # an int beyond every float
        return None
    parts = [numbers(item) for item in value]
    if any(part is None or part.shape != parts[0].shape or part.ndim > 8 for part in parts):  # type: ignore[union-attr]
        return None
    return np.stack(parts)  # type: ignore[arg-type]


def _fitted(given: Array, shape: tuple[int, ...], exact: bool) -> Array | None:
    if given.shape == shape:
        return given
    return given.reshape(shape) if not exact and len(shape) <= 1 and given.size == np.prod(shape, dtype=int) else None


def item_of(value: Any, item: Any) -> Any:
    """One item of what a function returned, None if it has none; for `item` None the value itself."""
    if item is None:
        return value
    if isinstance(item, str):
        return value.get(item) if isinstance(value, dict) else None
    if isinstance(value, Unordered) or not isinstance(value, list | tuple | np.ndarray):
        return None
    return value[item] if getattr(value, "ndim", 1) and item < len(value) else None


def amount(shape: tuple[int, ...]) -> str:
    """How many numbers, in words."""
    if len(shape) < 2:
        return "one number" if shape == () else f"{shape[0]} number" + "s" * (shape[0] != 1)
    return f"an array of shape {shape}"


def described(value: Any) -> str:
    """What a plain value is, in words.

    >>> described([1, 2]), described("abc"), described([[1], [2, 3]]), described(None)
    ('2 numbers', 'a text', 'a list of 2 items', 'None')
    """
    found = numbers(value)
    if isinstance(value, str):
        return "a text"
    if value is None or isinstance(value, bool):
        return str(value)
    if found is not None:
        return amount(found.shape) if found.size else "an empty list"
    if isinstance(value, Unordered):
        return "a set, which has no order"
    return "a dict" if isinstance(value, dict) else f"a list of {len(value)} items"


def misfit(value: Any, expected: Any, exact: bool = False) -> str:
    """What a value is if it is no candidate for the expected one, by its kind or its shape; else ""."""
    right, given = numbers(expected), numbers(value)
    if right is not None and not isinstance(expected, str):
        fits = given is not None and _fitted(given, right.shape, exact) is not None
    elif isinstance(expected, dict | list | tuple):
        kinds = dict if isinstance(expected, dict) else (list, tuple, np.ndarray)
        fits = isinstance(value, kinds) and (not isinstance(value, Unordered) or any(map(_listed, expected)))
    elif isinstance(expected, bool):
        fits = isinstance(value, bool) or (given is not None and given.size == 1 and _binary(value))
    else:
        fits = isinstance(value, str)
    if fits:
        return ""
    if given is None and right is not None and right.ndim and isinstance(value, list) and len(value) == len(right):
        for place, one in enumerate(value):  # the right length: which of the items is it?
            if numbers(one) is None or numbers(one).shape != right.shape[1:]:  # type: ignore[union-attr]
                return f"{described(value)}, of which item {place} is {described(one)}"
    return described(value)


# ------------------------------------------------------------ asking


def evaluate(model: Any, case: Case, tell: bool = False) -> Reply:
    """What a function (or a value) of this process replies to a case: the reference's, a mistake's, a notebook's.

    With `tell`, an exception's own text is part of the reply's error: for a student's own process only.
    """
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
            given = [counted(item) if isinstance(item, Remote) else decode(encode(item)) for item in case.arguments]
            with np.errstate(all="ignore"):
                value = model(*given)  # it has copies: one that writes into its argument spoils nothing for the next
        return Reply(decode(encode(value)), calls=calls)
    except NotPlain as problem:
        return Reply(error=not_plain(problem.code, problem.detail), calls=calls)
    except Exception as problem:
        text = f": {_plainly(' '.join(str(problem).split()))}" if tell and str(problem) else ""
        return Reply(error=raised(type(problem).__name__) + text, calls=calls)


def _plainly(text: str) -> str:
    """NumPy's words for two matrices that do not fit, in others."""
    found = re.search(r"core dimension.*size (\d+) is different from (\d+)", text)
    return f"the shapes of a product @ do not fit: {found[1]} against {found[2]}" if found else text


def raised(exception: str) -> str:
    """The sentence for a function that raised; only Python's and NumPy's own names of exceptions are repeated.

    >>> raised("NotImplementedError"), raised("ZeroDivisionError"), raised("Inputs_were_3_4")
    ('is not answered yet', 'raised ZeroDivisionError', 'raised an exception of its own class')
    """
    if exception == "NotImplementedError":
        return NOT_ANSWERED
    if exception == "RecursionError":
        return "raised RecursionError: Python gives up about 1000 calls deep, and a loop does not"
    known = getattr(builtins, exception, None)
    if exception in ("LinAlgError", "AxisError") or (isinstance(known, type) and issubclass(known, BaseException)):
        return f"raised {exception}"
    return "raised an exception of its own class"


#: Types that a value may turn out to be, and what to do then; any other name is the student's, and is not repeated.
TYPES = {
    "function": "a function: call it",
    "builtin_function_or_method": "a function: call it",
    "method": "a function: call it",
    **dict.fromkeys(
        ("generator", "map", "filter", "zip", "enumerate", "reversed", "list_reverseiterator"),
        "an iterator: make it a list, with list(…)",
    ),
    "complex": "a complex number",
    "dict": "a dict whose keys are not text",
    "MinNorm": "the whole result of min_norm: its .weights are the numbers",
    "DataFrame": "a DataFrame: use lists, dicts or arrays",
    "Series": "a Series: use .to_numpy()",
    "type": "a class",
    "module": "a module",
}


def not_plain(code: str, kind: str = "") -> str:
    """The sentence for a value that could not cross (`values.NotPlain`)."""
    if kind == "ellipsis":
        return NOT_ANSWERED
    if code == "large":
        return "gives back a value that is far too large"
    if code == "deep":
        return "gives back lists inside lists without end"
    return f"gives back {TYPES.get(kind, 'something that is not made of numbers, text, lists and dicts')}"


# ------------------------------------------------------------ judging


def right_values(question: Question) -> dict[str, Any]:
    """The right value of every variable of a question, and of those of the questions before it."""
    known = right_values(question.after) if question.after else {}
    for name, reference in question.reference.items():
        if isinstance(reference, Formula):
            known[name] = _operand(decode(encode(reference.value(known))))
    return known


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
        said = [
            (part.name, one.hint or "; ".join([one.detail or UNNAMED, *self.question.hints[:1]]))
            for part, one in zip(self.question.parts, found, strict=True)
        ]
        return Mark(points, held, grouped([pair for pair, holds in zip(said, held, strict=True) if not holds]))

    def findings(self, replies: list[list[Reply]], own: dict[str, Any] | None = None) -> list[Finding]:
        """What is found about every part, in order.

        A variable is judged against the student's earlier ones too: `own` has those of the questions before it, and
        gets those of this one.
        """
        found: list[Finding] = []
        right, own, doubtful = right_values(self.question), {} if own is None else own, set[str]()
        for i, (part, cases) in enumerate(zip(self.question.parts, self.cases, strict=True)):
            name = cases[0].name
            if not isinstance(self.question.reference[name], Formula):
                found.append(self._function(i, part, replies))
                continue
            reply = replies[i][0]
            found.append(self._variable(name, part, reply, right, own, doubtful))
            if found[-1].state == WRONG and not found[-1].hint:
                doubtful.add(name)  # a mistake that is made with this one may be anything
            given = None if reply.error or misfit(reply.value, right[name]) else numbers(reply.value)
            if given is not None and np.isfinite(given).all():
                own[name] = _operand(given.reshape(np.shape(right[name])))
        return found

    # a variable: one number, some numbers or a word

    def _variable(
        self, name: str, part: Part, reply: Reply, right: dict[str, Any], own: dict[str, Any], doubtful: set[str]
    ) -> Finding:
        if reply.error:
            state = OPEN if reply.error == NOT_ANSWERED else WRONG
            return Finding(state, f"{name} {reply.error.replace('gives back', 'is')}", (0,))
        if close(reply.value, right[name], part.tolerance):
            return Finding(RIGHT)
        known = {**right, **{one: value for one, value in own.items() if np.any(value != 0)}}  # a 0 explains anything
        if close(reply.value, self.question.reference[name].value(known), part.tolerance):
            return Finding(FOLLOWS)
        hint = self._number_hint(name, part, reply.value, right, {**known, **{one: right[one] for one in doubtful}})
        detail = "" if hint else _right_components(numbers(reply.value), numbers(right[name]), part.tolerance)
        return Finding(ROUGH if hint == ROUNDED else WRONG, hint, (0,), detail=detail)

    def _number_hint(self, name: str, part: Part, value: Any, rights: dict[str, Any], known: dict[str, Any]) -> str:
        mistakes, right = [one for one in self.question.mistakes if one.name == name], rights[name]
        if isinstance(right, str):
            words = sorted({right, *(str(one.model.value({})) for one in mistakes)})
            for one in mistakes:
                if close(value, one.model.value({})):
                    return one.hint
            what = "" if isinstance(value, str) else f"{name} is {described(value)}; "
            return f"{what}answer with one of {', '.join(map(repr, words))}"
        kind = misfit(value, right)
        if kind:
            return f"{name} is {kind}; {amount(np.shape(right))} should stand there"
        given, expected = numbers(value), numbers(right)
        assert given is not None and expected is not None
        if not np.isfinite(given).all():
            return f"{name} is not a number (NaN or infinity): was something divided by zero?"
        for one in mistakes:
            if any(_typed(given, one.model.value(values), part.tolerance) for values in (known, rights)):
                return one.hint
        if rounded(given, expected):
            return ROUNDED
        for slip in self.question.reference[name].slips():
            if any(close(value, slip.value(values), part.tolerance) for values in (known, rights)):
                return f"this is what Python makes of `{slip.text}`: powers come first, then × and ÷, then + and −; a pair of brackets is missing"  # noqa: E501
        given = given.reshape(expected.shape)
        for sentence, relation in NUMBER_RELATIONS:
            if _relates(relation, [(given, expected)], part.tolerance):
                return sentence
        return ""

    # a function

    def _function(self, i: int, part: Part, everything: list[list[Reply]]) -> Finding:
        if isinstance(part.item, tuple):
            each = {item: self._function(i, replace(part, item=item), everything) for item in part.item}
            wrong = {item: one for item, one in each.items() if one.state != RIGHT}
            if not wrong:
                return Finding(RIGHT)
            hints = [(str(item), one.hint or "not right") for item, one in wrong.items()]
            text = grouped(hints, alone=len(wrong) == len(each))
            return replace(next(iter(wrong.values())), hint=text)
        cases, replies = self.cases[i], everything[i]
        name = cases[0].name
        unanswered = next((reply.error for reply in replies if reply.error.startswith(NOT_ANSWERED)), "")
        if unanswered:
            return Finding(OPEN, f"{name} {unanswered}")
        said = [self._problem(i, k, part, reply) for k, reply in enumerate(replies)]
        failed = tuple(k for k, one in enumerate(said) if one)
        if not failed and part.together:
            said = [part.together(cases, replies)]
            failed = tuple(range(len(cases))) if said[0] else ()
        if not failed:
            return Finding(RIGHT)
        if hint := self._named(i, part, everything):
            return Finding(WRONG, hint, failed)
        hint = self._relation(i, part, replies) if said[failed[0]] == WRONG else ""
        if hint or all(said[k] == WRONG for k in failed):
            return Finding(WRONG, hint, failed, detail="" if hint else self._alike(i, part, replies))
        k = next(k for k in failed if said[k] != WRONG)
        return Finding(WRONG, said[k], failed, k if len(said) == len(cases) else None)

    def _problem(self, i: int, k: int, part: Part, reply: Reply) -> str:
        """What is wrong with one reply: what anybody can see of it first; "" if nothing is."""
        right, name, value, item = self.right[i][k], self.cases[i][k].name, reply.value, part.item
        if reply.error:
            asked = f"; asked for: {self.question.returns}" if reply.error.startswith("gives back") else ""
            return f"{name} {reply.error}{asked}"
        if value is None and self.cases[i][k].arguments is None:
            return f"{name} is None"
        if value is None:
            return f"{name} gives back nothing (None): does every way through it end in `return`?"
        if part.problem:
            problem = part.problem(self.cases[i][k], reply, right)
        elif part.together or self._agree(part, reply, right):
            problem = ""
        else:
            problem = WRONG
        if problem == WRONG:
            one, expected = item_of(value, item), item_of(right.value, item)
            kind = "" if self._same_list(i, part, one) else misfit(one, expected, part.exact)
            if isinstance(item, str) and isinstance(value, dict):
                if item not in value:
                    return "this key is missing"
                if kind:
                    wanted = "asked for: " + self.question.returns if self.question.adapt else described(expected)
                    return f"this is {kind}; {wanted}" + " should stand there" * (not self.question.adapt)
            elif item is not None and not (isinstance(value, list | tuple) and len(value) == len(right.value)):
                kind = misfit(value, right.value) or described(value)
            elif isinstance(item, int) and kind:
                kind = f"{kind} as {part.name}"
            problem = f"{name} gives back {kind}; asked for: {self.question.returns}" if kind else WRONG
        words = sorted({repr(one.value) for one in self.right[i]}) if isinstance(right.value, str) else ()
        if problem == WRONG and words and repr(value) not in words:
            return f"{name} gives back a text that is none of {', '.join(words)}"
        not_finite = problem == WRONG and not _finite(value)
        return f"{name} gives back NaN or infinity: a division by zero?" if not_finite else problem

    def _relation(self, i: int, part: Part, replies: list[Reply]) -> str:
        """A sign, a factor or an order by which all replies differ from the right ones."""
        if self._discrete(i, part):
            return ""  # 2 for 1 may have any reason
        pairs = self._pairs(i, part, replies)
        return next((said for said, relation in RELATIONS if _relates(relation, pairs, part.tolerance)), "")

    def _alike(self, i: int, part: Part, replies: list[Reply]) -> str:
        """What else can be seen of numbers without a name: all the same, or all near the right ones."""
        alike = [all(self._agree(part, one, ones[0]) for one in ones) for ones in (replies, self.right[i])]
        if alike == [True, False] and len({(one.error, one.calls) for one in replies}) == 1:
            return "the same answer comes back whatever the arguments are"
        pairs = [] if self._discrete(i, part) else self._pairs(i, part, replies)
        if pairs and not any(one.any() for one, _ in pairs):
            return "every number is 0"
        near = pairs and all(close(one, two, 1e-2, part.exact) for one, two in pairs)
        return "near, but not right: the numbers are off by less than 1 % of the largest" if near else ""

    def _pairs(self, i: int, part: Part, replies: list[Reply]) -> list[tuple[Array, Array]]:
        """The numbers given and the right ones, in all cases; none if they cannot be compared."""
        pairs = []
        for reply, right in zip(replies, self.right[i], strict=True):
            one, two = numbers(item_of(reply.value, part.item)), numbers(item_of(right.value, part.item))
            if one is None or two is None or one.size != two.size:
                return []
            pairs.append((one.reshape(two.shape), two))
        return pairs

    def _discrete(self, i: int, part: Part, given: Sequence[Reply] = ()) -> bool:
        """Whether the right replies are words, verdicts or counts; or these, or those `given`, only zeros and ones."""
        values, own = ([item_of(one.value, part.item) for one in replies] for replies in (self.right[i], given))
        return all(map(_counted, values)) or any(some and all(map(_binary, some)) for some in (values, own))

    def _agree(self, part: Part, reply: Reply, other: Reply) -> bool:
        if isinstance(part.item, tuple):
            return all(self._agree(replace(part, item=item), reply, other) for item in part.item)
        value, expected = item_of(reply.value, part.item), item_of(other.value, part.item)
        if isinstance(part.item, int) and (value is None or len(reply.value) != len(other.value)):
            return False
        return close(value, expected, part.tolerance, part.exact)

    def _named(self, i: int, part: Part, replies: list[list[Reply]]) -> str:
        """The first mistake whose numbers these are, in every case in which both of them answered.

        Words, verdicts and counts agree by chance too easily: there all parts of the question have to agree.
        """
        places = range(len(self.cases)) if self._discrete(i, part, replies[i]) else (i,)
        matching = [
            mistake.hint
            for mistake, wrong in zip(self.question.mistakes, self.wrong, strict=True)
            if self._explains(wrong, replies, places, i, part)
        ]
        if len(matching) > 1:  # rather one that explains the other parts as well
            whole = [
                mistake.hint
                for mistake, wrong in zip(self.question.mistakes, self.wrong, strict=True)
                if mistake.hint in matching and self._explains(wrong, replies, range(len(self.cases)), i, part)
            ]
            matching = whole + matching
        return matching[0] if matching else ""

    def _explains(
        self, wrong: list[list[Reply | None]], replies: list[list[Reply]], places: Iterable[int], i: int, part: Part
    ) -> bool:
        """Whether a mistake agrees with the replies to the parts in `places`, and is wrong as they are in part `i`."""
        telling = False
        for j in places:
            at = part if j == i else self.question.parts[j]
            for one, model, right in zip(replies[j], wrong[j], self.right[j], strict=True):
                if model is None or one.error or model.error or not (_finite(one.value) and _finite(model.value)):
                    continue  # a mistake may fail, or divide by zero, in some cases: those tell nothing
                if isinstance(at.item, int) and item_of(model.value, at.item) is None:
                    continue
                if one.calls != model.calls or not self._agree(at, one, model):
                    return False
                telling |= j == i and (one.calls != right.calls or not self._agree(at, one, right))
        return telling

    def _same_list(self, i: int, part: Part, value: Any) -> bool:
        """Whether lists of any length are asked for, and this is one."""
        lengths = {len(right.value) for right in self.right[i] if isinstance(right.value, list)}
        given = numbers(value)
        return len(lengths) > 1 and self._discrete(i, part) and given is not None and given.ndim == 1


ORDINALS = ("the first", "the second", "the third", "the fourth", "the fifth", "the sixth", "the seventh", "the eighth")
ROUNDED = "right so far, but rounded: give three digits or a fraction"

Relations = Sequence[tuple[str, Callable[[Array], Array]]]


def _places(digits: int) -> Callable[[Array], Array]:
    return lambda e: np.round(e, digits)


RELATIONS: Relations = (
    ("right up to the sign", lambda e: -e),
    ("every number is twice the right one", lambda e: 2 * e),
    ("every number is half of the right one", lambda e: e / 2),
    ("the numbers are right, but the array is transposed", lambda e: e.T if e.ndim == 2 else e),
    ("the numbers are right, but in reverse order", lambda e: e[::-1] if e.ndim else e),
    *(("the numbers are right, but rounded: give all their digits", _places(digits)) for digits in range(1, 6)),
)
NUMBER_RELATIONS: Relations = (
    *(pair for pair in RELATIONS if "number is" not in pair[0]),
    ("this is the right number upside down: 1 divided by it", lambda e: 1 / e if (e != 0).all() else e),
    ("this is in per cent: give the number itself", lambda e: 100 * e if (np.abs(e) <= 1).all() else e),
    ("this is the square of what is asked for", lambda e: e**2 if (e != np.round(e)).any() else e),
    ("this is the root of what is asked for", lambda e: e**0.5 if (e != np.round(e)).any() and (e >= 0).all() else e),
)


def _relates(relation: Callable[[Array], Array], pairs: Sequence[tuple[Array, Array]], tolerance: float) -> bool:
    changed = False
    for given, right in pairs:
        expected = relation(right)
        if expected.shape != given.shape or not close(given, expected, tolerance, exact=True):
            return False
        changed = changed or not close(expected, right, tolerance)
    return changed


def rounded(given: Array, expected: Array) -> bool:
    """Whether every number is the expected one, rounded or cut to two digits (or to one, if it has more than three).

    >>> rounded(np.array(0.31), np.array(4 / 13)), rounded(np.array(30.0), np.array(28.0))
    (True, False)
    """

    def fits(x: float, e: float) -> bool:
        if e == round(e) or x == 0:
            return x == e
        short = float(f"{e:.2e}") == e
        for digits in (1,) if short else (0, 1):
            step = 10.0 ** (int(np.floor(np.log10(abs(e)))) - digits)
            if any(abs(x - step * whole) < 1e-9 * step for whole in (np.floor(e / step), np.ceil(e / step))):
                return bool(digits or abs(x - e) <= step / 2)  # one digit has to be rounded, not cut
        return bool(abs(x - e) <= 5e-3 * abs(e))

    if given.size != expected.size:
        return False
    given, expected = given.ravel(), expected.ravel()
    common = given.size > 1 and any((given == np.round(expected, digits)).all() for digits in (1, 2))
    return common or all(map(fits, given.tolist(), expected.tolist()))


def _typed(given: Array, wrong: Any, tolerance: float) -> bool:
    """Whether somebody who has `wrong` would type `given`: to three digits, but nobody types 1 for 0.998."""
    if not close(given, wrong, tolerance):
        return False
    small = (given == np.round(given)) & (np.abs(given) < 10)
    return bool(np.allclose(np.where(small, given, 0), np.where(small, np.reshape(wrong, given.shape), 0)))


def _right_components(given: Array | None, expected: Array | None, tolerance: float) -> str:
    """Which of several numbers are right, if some are."""
    if given is None or expected is None or expected.ndim != 1 or given.size != expected.size:
        return ""
    fits = np.flatnonzero(np.abs(given.ravel() - expected) <= tolerance * np.abs(expected).max())
    return (
        f"{listed([ORDINALS[i] for i in fits])} number{'s are' if len(fits) > 1 else ' is'} right" if len(fits) else ""
    )


def _binary(value: Any) -> bool:
    """Whether a value is made of zeros and ones."""
    found = numbers(value)
    return found is not None and bool(np.minimum(np.abs(found), np.abs(found - 1)).max(initial=0.0) < 1e-9)


def _counted(value: Any) -> bool:
    """Whether there is no fraction in a value, by its type."""
    if isinstance(value, list | tuple):
        return all(map(_counted, value)) and not any(isinstance(one, str) for one in value)  # names agree by no chance
    return value.dtype.kind != "f" if isinstance(value, np.ndarray) else not isinstance(value, float | dict)


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _operand(value: Any) -> Any:
    found = numbers(value)
    return value if found is None else found if found.ndim else float(found)


def _finite(value: Any) -> bool:
    """False for NaN or infinity anywhere among numbers."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    found = numbers(value)
    if found is not None:
        return bool(np.isfinite(found).all())
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def grouped(said: Sequence[tuple[str, str]], alone: bool = True) -> str:
    """Pairs of a part and what is said about it as one text; what is said about all stands `alone`, without names.

    >>> grouped([("a", "too long"), ("b", "too long"), ("c", "missing")])
    'a, b: too long; c: missing'
    """
    hints = list(dict.fromkeys(hint for _, hint in said))
    if len(hints) <= 1 and alone:
        return "".join(hints)
    return "; ".join(f"{', '.join(name for name, hint in said if hint == one)}: {one}" for one in hints)
