"""Text files of the course: directories are made, and what cannot be written is said in one sentence."""

from __future__ import annotations

from pathlib import Path

from tinymtl import files
from tinymtl.course.errors import CourseError


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8 with Unix line ends, replacing `path` in one step; parent directories are made."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return files.write(path, text)
    except OSError as problem:
        raise CourseError(f"cannot write {path}: {problem.strerror or problem}; choose another place") from None
