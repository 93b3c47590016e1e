"""The JSON between the two steps of grading: what is asked of every notebook, and what one has answered.

The first step collects (`tinymtl.course.worker`): it runs students' code and has no right answer. The second marks:
it has the right answers and runs no student's code. Either can run elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinymtl.course.assignment import Assignment
from tinymtl.course.question import Case, Remote, Reply
from tinymtl.course.replies import not_plain, raised
from tinymtl.course.worker.isolation import Limits
from tinymtl.course.worker.values import encode, loads, printable, received

LARGEST_REPLIES = 80_000_000  # bytes
Drawn = list[list[list[Case]]]  # per question, part and case


@dataclass(frozen=True)
class Answers:
    """What a notebook replied, per question, part and case; and what happened while its cells ran.

    `problem` is "" or the sentence that says why the notebook could not be asked at all. `notes` has
    (cell, exception, text) for every cell that raised.
    """

    replies: list[list[list[Reply]]]
    notes: list[tuple[int, str, str]]
    problem: str = ""
    trees: dict[str, tuple[str, int]] = field(default_factory=dict)


def questions(chosen: Assignment, drawn: Drawn, limits: Limits, assignments: Sequence[str]) -> dict[str, Any]:
    """What is asked, with a number that names it."""
    asked: dict[str, Any] = {
        "assignment": chosen.name,
        "assignments": list(assignments),
        "limits": asdict(limits),
        "locked": chosen.locked,
        "questions": [[[_case(case) for case in part] for part in question] for question in drawn],
    }
    return {"number": hashlib.sha256(json.dumps(asked).encode()).hexdigest(), **asked}


def _case(case: Case) -> dict[str, Any]:
    if case.saved:
        return {"saved": case.name}
    if case.arguments is None:
        return {"read": case.name}
    return {"call": case.name, "arguments": [_argument(item) for item in case.arguments]}


def _argument(item: Any) -> Any:
    if isinstance(item, Remote):
        return {"remote": {"name": item.name, "matrix": encode(item.matrix), "shape": list(item.shape)}}
    return encode(item)


def read_replies(path: Path, asked: dict[str, Any], file: str = "") -> dict[str, Any] | None:
    """What is in a file of replies; None if it is not there, damaged, or of other questions or another notebook."""
    try:
        if path.stat().st_size > LARGEST_REPLIES:
            return None
        found = loads(path.read_bytes(), items=LARGEST_REPLIES // 4)
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("asked") != asked["number"]:
        return None
    return found if not file or found.get("file") == file else None


def answers(found: dict[str, Any], drawn: Drawn) -> Answers:
    """The replies in a file's content: it may come from elsewhere, so nothing in it is taken on trust.

    Raises
    ------
    ValueError
        If it has not the form that `collect` writes.
    """
    try:
        if found["problem"]:
            return Answers([], [], printable(found["problem"], 300))
        notes = [(int(cell), raised(str(name)), printable(text, 120)) for cell, name, text in found["notes"]]
        replies = [[[_reply(spelled) for spelled in part] for part in question] for question in found["replies"]]
        for question, asked in zip(replies, drawn, strict=True):
            if [len(part) for part in question] != [len(cases) for cases in asked]:
                raise ValueError("replies to other questions")
        trees = {str(name): (printable(number, 64), int(size)) for name, (number, size) in found["trees"].items()}
    except (KeyError, TypeError, AttributeError, OverflowError) as problem:
        raise ValueError("not the replies of a notebook") from problem
    return Answers(replies, notes, "", trees)


def _reply(spelled: dict[str, Any]) -> Reply:
    if "value" in spelled:
        return Reply(received(spelled["value"]), calls=int(spelled["calls"]))
    error, detail = str(spelled["error"]), spelled.get("detail", "")
    seconds = f"{detail:g} s" if isinstance(detail, int | float) else "its time"
    sentences = {
        "missing": "is not answered yet: there is no such name once all cells have run",
        "not saved": "is not in the notebook: run the cell that shows it, and save the notebook with its output",
        "late": f"did not answer within {seconds}",
        "unreached": f"was not reached: the notebook had used up {seconds}",
        "died": "ended the process it ran in: out of memory, too much processor time, or an exit",
        "forged": "wrote on the grader's own channel, where only answers belong",
        "raised": raised(str(detail)),
    }
    return Reply(error=sentences.get(error) or not_plain(error, str(detail)))
