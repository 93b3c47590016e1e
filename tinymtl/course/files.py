"""Files written beside their place and renamed into it: a run that is cut off leaves the old file whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tinymtl.course.errors import CourseError


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8 with Unix line ends, replacing `path` in one step; parent directories are made."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as problem:
        raise CourseError(f"cannot write {path}: {problem.strerror}; choose another place") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(beside, 0o644)  # mkstemp makes files that nobody else can read
        os.replace(beside, path)
    except BaseException as problem:
        os.unlink(beside)
        if isinstance(problem, OSError):
            raise CourseError(f"cannot write {path}: {problem.strerror}; choose another place") from None
        raise
    return path
