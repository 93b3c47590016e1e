"""The course's secret seed, from which the hidden inputs are drawn: in a file or in the environment.

It is never on a command line, which other processes of the machine can read.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tinymtl.checks import whole_number
from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text

VARIABLE = "TINYMTL_SEED"
FILE = "tinymtl-seed.txt"
PRINTED = (0, 7)  # they stand in this repository: whoever reads it has their inputs, and the answers to them


def checked(seed: object) -> int:
    """The seed, if it is one.

    >>> checked(7)
    Traceback (most recent call last):
    ...
    tinymtl.course.errors.CourseError: the seed 7 is printed in tinymtl's own sources: choose one that is not
    """
    found = whole_number("the seed", seed, 0, error=CourseError)
    if found in PRINTED:
        raise CourseError(f"the seed {found} is printed in tinymtl's own sources: choose one that is not")
    return found


def course_seed(file: str | Path | None = None) -> int | None:
    """The seed of the file, or of the environment, or of `tinymtl-seed.txt` here or in a folder above; else None."""
    if file is None and VARIABLE in os.environ:
        return _number(os.environ[VARIABLE], f"the environment variable {VARIABLE}")
    here = Path.cwd()
    places = [Path(file)] if file is not None else [folder / FILE for folder in (here, *here.parents)]
    for place in places:
        try:
            return _number(place.read_text(encoding="utf-8"), str(place))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as problem:
            raise CourseError(f"{place} cannot be read as a seed: {problem}") from None
    return None


def needed(seed: int | None) -> int:
    """The seed that was given, or the course's; a CourseError without either."""
    found = course_seed() if seed is None else checked(seed)
    if found is None:
        raise CourseError(f"there is no seed: put a secret whole number into {FILE}, or into {VARIABLE}")
    return found


def new_seed(file: str | Path | None = None) -> tuple[Path, int]:
    """Write a fresh seed into a file that only its owner can read; returns its path and the seed."""
    path, seed = Path(file if file is not None else FILE), secrets.randbelow(10**12) + 1000
    path.touch(mode=0o600)  # the mode stays when the content is written
    return write_text(path, f"{seed}\n"), seed


def _number(text: str, place: str) -> int:
    try:
        return checked(int(text))
    except CourseError:
        raise
    except ValueError:
        raise CourseError(f"{place} has no seed in it: put one whole number there") from None
