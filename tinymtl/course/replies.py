"""What a function, or a variable, of this process replies to a case; and the sentence for one that does not reply."""

from __future__ import annotations

import builtins
import re
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Remote, Reply
from tinymtl.course.worker.values import NotPlain, decode, encode

NOT_ANSWERED = "is not answered yet"


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
