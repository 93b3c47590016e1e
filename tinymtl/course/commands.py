"""The commands `tinymtl release` and `tinymtl grade`."""

from __future__ import annotations

import argparse
from typing import Any

from tinymtl.course.catalogue import ASSIGNMENTS
from tinymtl.course.errors import CourseError
from tinymtl.course.grader.batch import grade
from tinymtl.course.grader.gradescope import write_layout
from tinymtl.course.handout import release
from tinymtl.text import aligned

NAMES = ", ".join(ASSIGNMENTS)


def add_release_parser(subparsers: Any) -> None:
    """Add `release` to the subparsers of a command; its `func` takes the parsed arguments, returns an exit code."""
    parser = subparsers.add_parser(
        "release",
        help="make the student's notebook of an assignment",
        description="Make the student's notebook: solutions and hidden tests out, outputs cleared. Refuses where the "
        "source's own solutions do not earn every automatic point. Needs nbgrader: pip install 'tinymtl[course]'.",
        epilog="example: tinymtl release A2 -o handout",
    )
    parser.add_argument("assignment", help=NAMES)
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="where the notebook goes")
    parser.add_argument(
        "--source", metavar="FILE", help="the source notebook (default: lessons/assignments of the checkout)"
    )
    parser.set_defaults(func=_release)


def add_grade_parser(subparsers: Any) -> None:
    """Add `grade` to the subparsers of a command; its `func` takes the parsed arguments, returns an exit code."""
    parser = subparsers.add_parser(
        "grade",
        help="grade submissions of an assignment",
        description="Grade notebooks, each in a process of its own with limits, by the values that it returns. "
        "It stops cheap tricks, not an attacker: lessons/assignments/README.md says how to run it in a container.",
        epilog="example: tinymtl grade A2 submissions/*.ipynb --csv grades.csv --feedback pages --seed 41",
    )
    parser.add_argument("assignment", help=NAMES)
    parser.add_argument("submissions", nargs="*", metavar="NOTEBOOK", help="the students' notebooks")
    parser.add_argument("--csv", metavar="FILE", help="a table with a row per student")
    parser.add_argument("--json", metavar="DIR", help="a JSON file per student; written questions are flagged manual")
    parser.add_argument("--feedback", metavar="DIR", help="an HTML page per student, without hidden inputs or answers")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the hidden inputs (default 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="notebooks at once (default 2)")
    parser.add_argument("--gradescope", metavar="DIR", help="write an autograder for Gradescope: zip what is in DIR")
    parser.set_defaults(func=_grade)


def _release(arguments: argparse.Namespace) -> int:
    path = release(arguments.assignment, arguments.out, source=arguments.source)
    print(f"wrote {path}: hand it out as it is")
    return 0


def _grade(arguments: argparse.Namespace) -> int:
    if arguments.gradescope is not None:
        root = write_layout(arguments.assignment, arguments.gradescope, seed=arguments.seed)
        print(f"wrote the autograder to {root}: zip its contents, with setup.sh at the root, and upload the zip")
        if not arguments.submissions:
            return 0
    if not arguments.submissions:
        raise CourseError("there are no submissions: give at least one notebook, such as submissions/*.ipynb")
    grades = grade(
        arguments.assignment,
        arguments.submissions,
        csv=arguments.csv,
        json=arguments.json,
        feedback=arguments.feedback,
        seed=arguments.seed,
        jobs=arguments.jobs,
    )
    print("\n".join(aligned([[one.student, f"{one.points:g}", one.note] for one in grades], left=(0, 2))))
    return 0
