"""The commands `tinymtl release` and `tinymtl grade`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinymtl.course.catalogue import ASSIGNMENTS
from tinymtl.course.errors import CourseError
from tinymtl.course.grader.batch import grade, write_questions
from tinymtl.course.grader.gradescope import write_layout
from tinymtl.course.grader.roster import Late, Roster, moment
from tinymtl.course.grader.seed import FILE, VARIABLE, course_seed, new_seed
from tinymtl.course.handout import release
from tinymtl.course.worker.values import printable
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
    parser.add_argument(
        "--roster", metavar="FILE", help="a class list: a notebook for everybody on it, each with numbers of its own"
    )
    parser.set_defaults(func=_release)


def add_grade_parser(subparsers: Any) -> None:
    """Add `grade` to the subparsers of a command; its `func` takes the parsed arguments, returns an exit code."""
    parser = subparsers.add_parser(
        "grade",
        help="grade submissions of an assignment",
        description="Grade notebooks, each in a process of its own with limits, by the values that it returns. The "
        "processes run in bubblewrap, which leaves them nothing to reach: apt-get install bubblewrap.",
        epilog="example: tinymtl grade A2 submissions/*.ipynb --csv grades.csv --feedback pages",
    )
    parser.add_argument("assignment", help=NAMES)
    parser.add_argument("submissions", nargs="*", metavar="NOTEBOOK", help="the students' notebooks")
    add = parser.add_argument
    add("--csv", metavar="FILE", help="a table with a row per student")
    add("--json", metavar="DIR", help="a JSON file per student; written questions are flagged manual")
    add("--feedback", metavar="DIR", help="an HTML page per student, without hidden inputs or answers")
    add("--seed-file", metavar="FILE", help=f"has the secret number from which the hidden inputs are drawn (default: "
        f"the variable {VARIABLE}, or {FILE} here or in a folder above; if there is none it is written)")  # fmt: skip
    add("--jobs", type=int, default=2, metavar="N", help="notebooks at once (default 2)")
    add("--replies", metavar="DIR", help="keeps what every notebook answered (default: beside the table); without any "
        "NOTEBOOK the replies there are marked")  # fmt: skip
    add("--resume", action="store_true", help="go on with a run that was cut off: ask only the notebooks that are "
        "new or have changed")  # fmt: skip
    add("--trust-students", action="store_true", help="run the notebooks without bubblewrap: their code can do "
        "whatever you can")  # fmt: skip
    add("--roster", metavar="FILE", help="the class list: Canvas's gradebook, Moodle's grading worksheet, or a table "
        "with a column `student`")  # fmt: skip
    add("--own-numbers", action="store_true", help="the notebooks were released with this roster")
    add("--gradebook", metavar="FILE", help="write the roster with the totals in it, to import where it came from")
    add("--manual", metavar="FILE", help="a table with the points of the written questions: the filled-in --csv")
    add("--due", metavar="TIME", help="when the work was due, such as '2026-05-01 23:59'")
    add("--late", type=float, metavar="PERCENT", help="taken off for every day begun after that, of all points")
    add("--late-most", type=float, default=100.0, metavar="PERCENT", help="the most that is taken off (default 100)")
    add("--report", metavar="FILE", help="a page about the class: points, parts, mistakes, answers that are alike")
    add("--questions", metavar="FILE", help="write what is asked of every notebook, to collect the replies elsewhere")
    add("--gradescope", metavar="DIR", help="write an autograder for Gradescope: zip what is in DIR")
    parser.set_defaults(func=_grade)


def _release(arguments: argparse.Namespace) -> int:
    roster = arguments.roster and Roster.read(arguments.roster)
    seed = _seed(None) if roster else None
    path = release(arguments.assignment, arguments.out, source=arguments.source, roster=roster, seed=seed)
    print(f"wrote {path}: hand it out as it is" if not roster else f"wrote {len(roster.people)} notebooks to {path}")
    return 0


def _seed(file: str | None) -> int:
    seed = course_seed(file)
    if seed is None:
        place, seed = new_seed(file)
        print(f"wrote a new seed to {place}: keep it, and keep it to yourself")
    return seed


def _late(arguments: argparse.Namespace) -> Late | None:
    if (arguments.due is None) != (arguments.late is None):
        raise CourseError("a rule for late work needs both: --due with the time, and --late with the percent of a day")
    if arguments.late is None:
        return None
    if not (arguments.late >= 0 and arguments.late_most >= 0):
        raise CourseError("--late and --late-most are percent of all points: give numbers from 0 on")
    return Late(moment(arguments.due), arguments.late, arguments.late_most)


def _grade(arguments: argparse.Namespace) -> int:
    name, seed = arguments.assignment, _seed(arguments.seed_file)
    if arguments.questions is not None:
        write_questions(name, arguments.questions, seed)
        print(f"wrote {arguments.questions}: what is asked, without any right answer")
    if arguments.gradescope is not None:
        root = write_layout(name, arguments.gradescope, seed=seed)
        print(f"wrote the autograder to {root}: zip its contents, with setup.sh at the root, and upload the zip")
    if not arguments.submissions and not arguments.replies:
        if arguments.questions or arguments.gradescope:
            return 0
        raise CourseError("there are no submissions: give at least one notebook, such as submissions/*.ipynb")
    replies = arguments.replies or (arguments.csv and Path(arguments.csv).with_suffix(".replies"))
    grades = grade(
        name,
        arguments.submissions,
        csv=arguments.csv,
        json=arguments.json,
        feedback=arguments.feedback,
        replies=replies,
        resume=arguments.resume,
        seed=seed,
        jobs=arguments.jobs,
        isolation="none" if arguments.trust_students else "bubblewrap",
        roster=arguments.roster and Roster.read(arguments.roster),
        own_numbers=arguments.own_numbers,
        gradebook=arguments.gradebook,
        manual=arguments.manual,
        late=_late(arguments),
        report=arguments.report,
    )
    most = f"of {ASSIGNMENTS[name.upper()].automatic_points:g}"
    rows = [[one.student, f"{one.points:g}", most, printable(one.note, 300)] for one in grades]
    print("\n".join(aligned(rows, left=(0, 3))))
    return 0
