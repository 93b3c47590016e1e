"""A notebook file as the grader reads it: the cells to run, and the run log that it has on show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinymtl.course.worker.values import NotPlain, decode, encode, loads

LARGEST_FILE = 20_000_000  # bytes
RUN_LOG = "application/vnd.tinymtl.run-log+json"  # the output that assignment A4's `publish(run_log)` leaves
NOT_GRADED = "not-graded"  # the tag of a cell that only works at the student's: quick checks, the training runs


class Unreadable(Exception):
    """A file that is no notebook; the text says why, for the table of grades."""


@dataclass(frozen=True)
class Notebook:
    """What the grader takes from a file.

    `cells` has the code cells to run as (number, source), counted from 1 over all code cells; `saved` the values
    on show, by name; `of` the assignments that the cells' metadata name.
    """

    cells: list[tuple[int, str]]
    saved: dict[str, Any]
    of: frozenset[str]


def read_notebook(path: str | Path) -> Notebook:
    """Read a submission. Raises Unreadable, with one sentence, for anything that is not a notebook."""
    content = _json(Path(path))
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        if isinstance(content, dict) and "worksheets" in content:
            raise Unreadable("a notebook of the old format 3: open it in a current Jupyter and save it again")
        raise Unreadable("not a notebook: valid JSON, but without a list of cells")
    cells, saved, names = [], {}, set()
    number = 0
    for cell in content["cells"]:
        if not isinstance(cell, dict):
            continue
        names.add(str(_role(cell).get("grade_id", "")).partition("-")[0])
        if cell.get("cell_type") != "code":
            continue
        number += 1
        if not _left_out(cell):
            cells.append((number, _source(cell.get("source"))))
        for output in _list(cell.get("outputs")):
            shown = output.get("data") if isinstance(output, dict) else None
            if isinstance(shown, dict) and RUN_LOG in shown:
                try:
                    saved["run_log"] = decode(encode(shown[RUN_LOG]))
                except (NotPlain, ValueError):
                    saved["run_log"] = None  # on show, but no log: the checks say what is wrong with it
    return Notebook(cells, saved, frozenset(names - {""}))


def _json(path: Path) -> Any:
    try:
        if path.is_dir():
            raise Unreadable("a directory, not a notebook")
        if path.stat().st_size > LARGEST_FILE:
            raise Unreadable(f"larger than {LARGEST_FILE // 1_000_000} MB: clear the outputs and hand it in again")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("not a notebook: the file is not text") from None
    except OSError as problem:
        raise Unreadable(f"the file cannot be read: {problem.strerror}") from None
    if not text.strip():
        raise Unreadable("an empty file")
    try:
        return loads(text)
    except ValueError:
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
