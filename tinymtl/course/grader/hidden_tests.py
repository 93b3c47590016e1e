"""The hidden checks as nbgrader runs them: inside the notebook's own process."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tinymtl.course.catalogue import find
from tinymtl.course.errors import CourseError
from tinymtl.course.grader.seed import FILE, VARIABLE, checked, course_seed
from tinymtl.course.marking import Key
from tinymtl.course.question import Reply
from tinymtl.course.replies import evaluate


def points(assignment: str, question: str, namespace: Mapping[str, Any], seed: int | None = None) -> float:
    """The points of one question, asked of the functions and variables in `namespace`.

    As the last line of a hidden test this gives nbgrader its partial credit. The inputs, the marking and the
    points are those of `grade`; the protection is not: code in the same process can lie to it. The seed is the
    course's, from the environment variable TINYMTL_SEED or a file tinymtl-seed.txt in nbgrader's course directory;
    without one the inputs are drawn anew each time, and a line says so.

    Raises
    ------
    CourseError
        For an unknown assignment or question, or one of the seeds that are printed in tinymtl's sources.

    Examples
    --------
    >>> points("A2", "two_tasks", {"two_task_weight": lambda g1, g2: 1.0}, seed=41)
    1.0
    """
    chosen = find(assignment)
    try:
        asked = chosen.question(question)
    except KeyError:
        names = ", ".join(one.name for one in chosen.questions)
        raise CourseError(f"{chosen.name} has no question {question!r}: choose {names}") from None
    seed = course_seed() if seed is None else checked(seed)
    if seed is None:
        print(f"no {FILE} and no {VARIABLE} here: the hidden inputs are drawn anew, and another run may differ")
        seed = secrets.randbelow(10**12)
    cases = chosen.draw(asked, seed)
    with _no_figures():  # one of a hidden input would show it
        replies = [
            [
                evaluate(namespace[case.name], case) if case.name in namespace else Reply(error="is not answered yet")
                for case in group
            ]
            for group in cases
        ]
    without_hints = replace(asked, mistakes=())
    return float(Key.make(without_hints, cases).mark(replies).points)


@contextlib.contextmanager
def _no_figures() -> Iterator[None]:
    """Where pyplot is in use, show nothing for a while, and close the figures that were made."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        yield
        return
    before, show = set(pyplot.get_fignums()), pyplot.show
    pyplot.show = lambda *arguments, **options: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        pyplot.show = show  # type: ignore[attr-defined]
        for number in set(pyplot.get_fignums()) - before:
            pyplot.close(number)
