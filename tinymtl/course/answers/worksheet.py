"""A2's numbers by hand: what is asked, and what follows from the numbers, which may be a student's own.

`worksheet.toml` has the notebook's cell, the right answers and the wrong ones, all as formulas of the numbers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from tinymtl.course.marking import close
from tinymtl.course.question import Question, Rng
from tinymtl.course.topic import variables

PRINTED = {"a": 6, "b": 2, "c": 2, "k": 2, "g1": (1, 2, 2), "lengths": (1, 2, 4), "t": 0.3}  # the source notebook's


@dataclass(frozen=True)
class Variant:
    """A question with numbers of its own, and the cell of the notebook that asks it."""

    question: Question
    text: str


def worksheet(rng: Rng | None = None) -> Variant:
    """The worksheet with the printed numbers, or with numbers of one student's own."""
    content = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    while True:
        numbers = _spelled(PRINTED if rng is None else _drawn(rng))
        text = content["text"].format(**numbers).strip()
        given = {name: _filled(value, numbers) for name, value in content.items() if name != "text"}
        found = Variant(variables("worksheet", **given), text)
        if rng is None or _tells_apart(found.question):
            return found


def _drawn(rng: Rng) -> dict[str, Any]:
    a, b = rng.choice(range(1, 9), size=2, replace=False).tolist()
    return {
        "a": a, "b": b, "c": int(rng.integers(1, 6)), "k": int(rng.integers(2, 4)), "t": int(rng.integers(1, 6)) / 10,
        "g1": [(1, 2, 2), (2, 1, 2), (2, 3, 6), (3, 6, 2), (1, 4, 8), (4, 4, 7)][rng.integers(6)],
        "lengths": tuple(sorted(rng.choice(range(1, 7), size=3, replace=False).tolist())),
    }  # fmt: skip


def _spelled(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers as the text and the formulas name them."""
    k, (p, q, r) = numbers["k"], numbers["lengths"]
    return {
        **numbers, "g2": tuple(k * x for x in numbers["g1"]), "times": {2: "twice", 3: "three times"}[k],
        "p": p, "q": q, "r": r, "p2": p**2, "q2": q**2, "r2": r**2,
        "m": q * r + p * r + p * q, "n": (q * r) ** 2 + (p * r) ** 2 + (p * q) ** 2,
    }  # fmt: skip


def _filled(value: Any, numbers: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return value.format(**numbers)
    if isinstance(value, list):
        return [_filled(item, numbers) for item in value]
    if isinstance(value, dict):
        return {_filled(key, numbers): _filled(item, numbers) for key, item in value.items()}
    return value


def _tells_apart(question: Question) -> bool:
    """Whether with these numbers no known mistake gives the right answer, or that of a mistake with another name."""
    known: dict[str, Any] = {}
    for name, formula in question.reference.items():
        known[name] = formula.value(known)
    found = [(name, "", value) for name, value in known.items()]
    found += [(one.name, one.hint, one.model.value(known)) for one in question.mistakes]
    return not any(
        name == other and hint != said and close(value, wrong)
        for (name, hint, value), (other, said, wrong) in combinations(found, 2)
    )


QUESTIONS = {"worksheet": worksheet().question}
