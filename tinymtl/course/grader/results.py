"""What grading leaves: a table for the gradebook, a JSON file and a feedback page per student.

Nothing in these files depends on the time or the machine: grading again gives the same bytes.
"""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module
import os
from pathlib import Path
from typing import Any

from tinymtl.course.assignment import Assignment
from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.grader.feedback import page
from tinymtl.course.grader.grades import Grade
from tinymtl.course.worker.values import printable


class Results:
    """The files of a run. They are written as the grades come, so that what is there at any time is whole.

    Raises
    ------
    CourseError
        If a place cannot be written to: at the beginning, before any notebook has run, or by `finish`, after all the
        others have been written.
    """

    def __init__(
        self, assignment: Assignment, csv: str | Path | None, json: str | Path | None, feedback: str | Path | None
    ) -> None:
        self.assignment = assignment
        self.csv = csv
        self.json = None if json is None else Path(json)
        self.feedback = None if feedback is None else Path(feedback)
        self.grades: list[Grade] = []
        self.failures: list[str] = []
        for place in (None if csv is None else Path(csv).parent, self.json, self.feedback):
            if place is not None:
                write_text(place / f".writable-{os.getpid()}", "").unlink()

    def add(self, grade: Grade) -> None:
        """Write one student's files, and the table of all so far."""
        self.grades.append(grade)
        self.grades.sort(key=lambda one: one.student)
        files = []
        if self.json is not None:
            text = json_module.dumps(as_dict(self.assignment, grade), indent=2, ensure_ascii=False)
            files.append((self.json / f"{grade.student}.json", text + "\n"))
        if self.feedback is not None:
            text = page(self.assignment, grade)
            files.append((self.feedback / f"{grade.student}.html", text))
        if self.csv is not None:
            files.append((Path(self.csv), f"\ufeff{table(self.assignment, self.grades)}"))  # the mark that Excel needs
        for path, text in files:
            try:
                write_text(path, text.encode(errors="replace").decode())
            except CourseError as problem:
                self.failures.append(str(problem))

    def finish(self) -> list[Grade]:
        """All grades, sorted by student."""
        if self.failures:
            raise CourseError(f"{self.failures[0]} (everything else is written; {len(self.failures)} files are not)")
        return self.grades


def table(assignment: Assignment, grades: list[Grade]) -> str:
    """One row per student; a written question's points are blank until they have been given."""
    names = [question.name for question in assignment.questions]
    written = [question.name for question in assignment.written]
    text = io.StringIO()
    rows = csv_module.writer(text, lineterminator="\n")
    head = ["student", "file", *names, *written, "automatic", "automatic_max", "manual_max"]
    rows.writerow([*head, "days_late", "deduction", "total", "note"])
    for grade in grades:
        total = grade.total(assignment)
        rows.writerow(
            [
                _cell(grade.student),
                _cell(grade.file),
                *(f"{grade.marks[name].points:g}" for name in names),
                *(f"{grade.manual[name]:g}" if name in grade.manual else "" for name in written),
                f"{grade.points:g}",
                f"{assignment.automatic_points:g}",
                f"{assignment.manual_points:g}",
                str(grade.late or ""),
                f"{grade.deduction:g}" if grade.deduction else "",
                "" if total is None else f"{total:g}",
                _cell("; ".join(filter(None, (grade.remark, grade.note)))),
            ]
        )
    return text.getvalue()


def as_dict(assignment: Assignment, grade: Grade) -> dict[str, Any]:
    """A result as plain values, ready for JSON."""
    automatic = [
        {
            "name": question.name,
            "title": question.title,
            "kind": "automatic",
            "points": grade.marks[question.name].points,
            "max": question.points,
            "properties": [
                {"name": part.name, "max": part.points, "holds": holds}
                for part, holds in zip(question.parts, grade.marks[question.name].held, strict=True)
            ],
            "hint": grade.marks[question.name].hint,
        }
        for question in assignment.questions
    ]
    manual = [
        {
            "name": question.name,
            "title": question.title,
            "kind": "manual",
            "points": grade.manual.get(question.name),
            "max": question.points,
            "rubric": [{"points": points, "criterion": criterion} for points, criterion in question.rubric],
        }
        for question in assignment.written
    ]
    return {
        "assignment": assignment.name,
        "student": grade.student,
        "file": grade.file,
        "automatic": grade.points,
        "automatic_max": assignment.automatic_points,
        "manual_max": assignment.manual_points,
        "days_late": grade.late,
        "deduction": grade.deduction,
        "total": grade.total(assignment),
        "problem": grade.problem,
        "notes": list(grade.notes),
        "evidence": grade.evidence,
        "questions": automatic + manual,
    }


def _cell(text: str) -> str:
    """Text that a spreadsheet shows and does not compute: what starts like a formula gets a quote in front."""
    text = printable(text, 2000)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
