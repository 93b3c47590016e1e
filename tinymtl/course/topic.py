"""The data of a topic: `answers/weights.toml` beside `answers/weights.py`, whose functions it names.

`[question.NAME]` is a question about functions: the fields of `Question`, its parts as a list of the fields of `Part`,
and under `mistakes` for every function the tables of its mistakes. `[mistakes.TABLE]` has hints with the wrong answers
that get them, functions of the arguments in `of`; `through` makes of each of them what is asked for.
`[by_hand.NAME]` is a question about variables: `formulas`, and `mistakes` by variable, with formulas that are wrong.

Whatever is computed is an expression in Python's words, with the names of the topic's module.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinymtl.course.question import Case, Formula, Mistake, Part, Question, Rng, fixed


def questions(module: str, names: dict[str, Any]) -> dict[str, Question]:
    """All questions of a topic by name: `QUESTIONS = questions(__file__, globals())` at the end of its module."""
    content = tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))
    topic = _Topic(content, {"Case": Case, "fixed": fixed, "np": np, **names})
    found = {name: topic.about_functions(name, **given) for name, given in content.get("question", {}).items()}
    for name, given in content.get("by_hand", {}).items():
        known = {"after": found.get(given.pop("after", "")), "adapt": topic.value(given.pop("adapt", None))}
        found[name] = variables(name, **given, **known)
    return found


@dataclass(frozen=True)
class _Topic:
    content: Mapping[str, Any]
    names: dict[str, Any]

    def value(self, text: str | None) -> Any:
        """What an expression stands for."""
        return None if text is None else eval(text, self.names)

    def about_functions(
        self,
        name: str,
        parts: list[dict[str, Any]],
        reference: Mapping[str, str],
        mistakes: Mapping[str, list[str]] | None = None,
        hints: list[str] | None = None,
        adapt: str | None = None,
        **others: Any,
    ) -> Question:
        return Question(
            name,
            parts=tuple(self.part(**part) for part in parts),
            reference={function: self.value(text) for function, text in reference.items()},
            mistakes=tuple(
                mistake
                for function, tables in (mistakes or {}).items()
                for table in tables
                for mistake in self.mistakes(function, **self.content["mistakes"][table])
            ),
            hints=tuple(hints or ()),
            adapt=self.value(adapt),
            **others,
        )

    def part(self, item: Any = None, **given: Any) -> Part:
        made = {name: self.value(given.pop(name)) for name in ("draw", "problem", "together") if name in given}
        return Part(item=tuple(item) if isinstance(item, list) else item, **made, **given)

    def mistakes(self, function: str, of: str = "", through: str = "lambda model: model", **hints: Any) -> Any:
        start, adapt = f"lambda {of}: " if of else "", self.value(through)
        return [Mistake(hint, function, adapt(self.value(start + text))) for hint, text in _each(hints)]


def variables(
    name: str,
    formulas: Mapping[str, Any],
    mistakes: Mapping[str, Mapping[str, Any]] | None = None,
    tolerance: float = 5e-3,  # three digits for a student who works by hand
    names: Mapping[str, str] | None = None,
    hints: Sequence[str] = (),
    **others: Any,
) -> Question:
    """A question about variables: a number, some numbers or a word each.

    A formula may use the variables before it, so that a number that follows from a wrong one is recognised; `names`
    has what a part is called, if not by its variable.
    """
    return Question(
        name,
        parts=tuple(Part((names or {}).get(one, one), _reading(one), tolerance=tolerance) for one in formulas),
        reference={variable: Formula(str(text)) for variable, text in formulas.items()},
        mistakes=tuple(
            Mistake(hint, variable, Formula(text))
            for variable, found in (mistakes or {}).items()
            for hint, text in _each(found)
        ),
        hints=tuple(hints),
        **others,
    )


def _each(hints: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(hint, expression) pairs: a hint has one, or a list of them."""
    for hint, texts in hints.items():
        for text in texts if isinstance(texts, list) else [texts]:
            yield hint, str(text)


def _reading(variable: str) -> Callable[[Rng], list[Case]]:
    return lambda rng: [Case(variable)]
