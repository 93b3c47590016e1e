"""An autograder for Gradescope: the files that its zip needs, and the program that runs there.

Gradescope unpacks the zip to /autograder/source, runs setup.sh once, and for every submission runs
/autograder/run_autograder, which has to leave /autograder/results/results.json. The same files run anywhere:
AUTOGRADER_ROOT names another place than /autograder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tinymtl
from tinymtl.course.assignment import Assignment
from tinymtl.course.catalogue import find
from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.grader.batch import grade
from tinymtl.course.grader.grades import Grade
from tinymtl.course.grader.seed import FILE, needed
from tinymtl.course.grader.submissions import notebooks

SETUP = """#!/usr/bin/env bash
# Run once, when Gradescope builds the image. Choose the base image "Ubuntu 24.04": tinymtl needs Python 3.11.
set -e
apt-get update
apt-get install -y python3 python3-venv bubblewrap
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
python3 -m venv "${AUTOGRADER_ROOT:-/autograder}/venv"
"${AUTOGRADER_ROOT:-/autograder}/venv/bin/python" -m pip install "numpy>=2.0" "matplotlib>=3.8" "tqdm>=4.66"
"""

RUN = """#!/usr/bin/env bash
# Run for every submission. The answers and the seed are closed to every other account, such as the student's code's.
root="${{AUTOGRADER_ROOT:-/autograder}}"
python="${{AUTOGRADER_PYTHON:-$root/venv/bin/python}}"
chmod -R go= "$root/source" "$root/results"
TINYMTL_SEED="$(cat "$root/source/{seed_file}")" PYTHONPATH="$root/source" \\
    "$python" -m tinymtl.course.grader.gradescope {name} \\
    --submission "$root/submission" --results "$root/results/results.json"
"""
FAILED = "The autograder could not grade this submission: tell your instructor."


def write_layout(assignment: str, directory: str | Path, *, seed: int | None = None) -> Path:
    """Write setup.sh, run_autograder and the package to `directory`, ready to be zipped; returns the directory.

    The package goes along as source, so that what grades there is what grades here.
    """
    chosen, seed = find(assignment), needed(seed)
    root = Path(directory)
    package = root / "tinymtl"
    if package.is_file() or root.is_file():
        raise CourseError(f"cannot write the autograder to {root}: there is a file of that name")
    here = Path(tinymtl.__file__).resolve().parent
    if here in (package.resolve(), *package.resolve().parents):
        raise CourseError(f"{root} is where tinymtl itself is: choose another directory")
    run = RUN.format(name=chosen.name, seed_file=FILE)
    for path, text, mode in (("setup.sh", SETUP, 0o755), ("run_autograder", run, 0o755), (FILE, f"{seed}\n", 0o600)):
        write_text(root / path, text).chmod(mode)
    shutil.copytree(here, package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return root


def results(assignment: Assignment, found: Grade) -> dict[str, Any]:
    """A grade in the form of Gradescope's results.json: the automatic questions, one test each."""
    tests = []
    for question in assignment.questions:
        mark = found.marks[question.name]
        lines = [
            f"{'holds' if holds else 'does not hold'}: {part.name} ({part.points:g})"
            for part, holds in zip(question.parts, mark.held, strict=True)
        ]
        tests.append(
            {
                "name": question.title,
                "score": mark.points,
                "max_score": question.points,
                "output": "\n".join([*lines, *([f"hint: {mark.hint}"] if mark.hint else [])]),
                "visibility": "visible",
            }
        )
    written = f"The written part, {assignment.manual_points:g} points, is marked by hand."
    notes = [found.problem] if found.problem else list(found.notes)
    return {"score": found.points, "output": "\n".join([*notes, written]), "visibility": "visible", "tests": tests}


def main(arguments: list[str] | None = None) -> int:
    """Grade the one notebook in a submission's directory and write results.json; what run_autograder calls."""
    parser = argparse.ArgumentParser(prog="python -m tinymtl.course.grader.gradescope")
    parser.add_argument("assignment")
    parser.add_argument("--submission", required=True)
    parser.add_argument("--results", required=True)
    given = parser.parse_args(arguments)
    chosen = find(given.assignment)
    try:
        content = _graded(chosen, Path(given.submission))
    except Exception as problem:  # Gradescope needs the file whatever happens
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)  # its log is for the instructor
        content = {"score": 0, "output": FAILED, "tests": []}
    write_text(given.results, json.dumps(content, indent=2) + "\n")
    return 0


def _graded(chosen: Assignment, folder: Path) -> dict[str, Any]:
    found = notebooks(folder)
    if len(found) != 1:
        count = f"there are {len(found)}" if found else "there is none"
        return {"score": 0, "output": f"Hand in exactly one notebook (.ipynb): {count}.", "tests": []}
    try:
        grades = grade(chosen.name, found, jobs=1)
    except CourseError as problem:  # bubblewrap has no rights in Gradescope's container
        print(problem, file=sys.stderr)
        grades = grade(chosen.name, found, jobs=1, isolation="account")
    return results(chosen, grades[0])


if __name__ == "__main__":
    sys.exit(main())
