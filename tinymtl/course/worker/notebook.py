"""A notebook file as the grader reads it: the cells to run, and the run log that it has on show."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .values import NotPlain, encode, loads

LARGEST_FILE = 20_000_000  # bytes
RUN_LOG = "application/vnd.tinymtl.run-log+json"  # the output that assignment A4's `publish(run_log)` leaves
NOT_GRADED = "not-graded"  # the tag of a cell that only works at the student's: quick checks, the training runs


class Unreadable(Exception):
    """A file that is no notebook; the text says why, for the table of grades."""


@dataclass(frozen=True)
class Notebook:
    """What the grader takes from a file.

    `cells` has the code cells to run as (number, source), counted from 1 over all code cells; `saved` the values
    on show by name, as `values.encode` spells them; `of` the assignments that the cells' metadata name; `answers`
    the code of the answer cells that were filled in, by question.
    """

    cells: list[tuple[int, str]]
    saved: dict[str, Any]
    of: frozenset[str]
    answers: dict[str, str]


def content(path: str | Path) -> bytes:
    """What is in a file that a student handed in. Raises Unreadable for what should not be opened at all."""
    path = Path(path)
    try:
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            raise Unreadable("a directory, not a notebook")
        if stat.S_ISLNK(found.st_mode):
            raise Unreadable("a link to another file, not a notebook: hand in the file itself")
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("a device, not a notebook")
        if found.st_size > LARGEST_FILE:
            raise Unreadable(f"larger than {LARGEST_FILE // 1_000_000} MB: clear the outputs and hand it in again")
        return path.read_bytes()
    except OSError as problem:
        raise Unreadable(f"the file cannot be read: {problem.strerror}") from None


def digest(path: str | Path) -> str:
    """A number for the content of a file, to see whether it is the one that was asked; "" for an unreadable one."""
    try:
        return hashlib.sha256(content(path)).hexdigest()
    except Unreadable:
        return ""


def read_notebook(path: str | Path, locked: Mapping[str, str] | None = None) -> Notebook:
    """Read a submission. Raises Unreadable, with one sentence, for anything that is not a notebook.

    `locked` has the source of cells by their `grade_id`: what a student did to one of them does not count, as with
    nbgrader, and one that was deleted runs first.
    """
    found = _json(content(path))
    if not isinstance(found, dict) or not isinstance(found.get("cells"), list):
        if isinstance(found, dict) and "worksheets" in found:
            raise Unreadable("a notebook of the old format 3: open it in a current Jupyter and save it again")
        raise Unreadable("not a notebook: valid JSON, but without a list of cells")
    cells, saved, names, answers, missing = [], {}, set(), {}, dict(locked or {})
    number = 0
    for cell in found["cells"]:
        if not isinstance(cell, dict):
            continue
        role = str(_role(cell).get("grade_id", ""))
        names.add(role.partition("-")[0])
        if cell.get("cell_type") != "code":
            continue
        number += 1
        missing.pop(role, None)
        source = _source(cell.get("source"))
        if _role(cell).get("solution") and "raise NotImplementedError" not in source:
            answers[role.partition("-")[2].removesuffix("-answer")] = source
        if not _left_out(cell):
            cells.append((number, (locked or {}).get(role, source)))
        for output in _list(cell.get("outputs")):
            shown = output.get("data") if isinstance(output, dict) else None
            if isinstance(shown, dict) and RUN_LOG in shown:
                try:
                    saved["run_log"] = encode(shown[RUN_LOG])
                except NotPlain:
                    saved["run_log"] = None  # on show, but no log: the checks say what is wrong with it
    return Notebook([*((0, source) for source in missing.values()), *cells], saved, frozenset(names - {""}), answers)


def _json(text: bytes) -> Any:
    if not text.strip():
        raise Unreadable("an empty file")
    try:
        return loads(text.decode("utf-8-sig"), items=1_000_000)
    except UnicodeDecodeError:
        raise Unreadable("not a notebook: the file is not text") from None
    except ValueError as problem:
        if "too many items" in str(problem):
            raise Unreadable("too much in it: clear the outputs and hand it in again") from None
        raise Unreadable("not a notebook: the file is not valid JSON") from None


def _left_out(cell: dict[str, Any]) -> bool:
    """Cells that check (nbgrader's graded tests) and cells tagged as not graded are not run again."""
    checks = bool(_role(cell).get("grade")) and not _role(cell).get("solution")
    return checks or NOT_GRADED in _list(_dict(cell.get("metadata")).get("tags"))


def _role(cell: dict[str, Any]) -> dict[str, Any]:
    """What the cell is to nbgrader; empty for a cell of the student's own."""
    return _dict(_dict(cell.get("metadata")).get("nbgrader"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _source(source: Any) -> str:
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
