"""What grading leaves: a table for the gradebook, a JSON file and a feedback page per student.

Nothing in these files depends on the time or the machine: grading again gives the same bytes.
"""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinymtl.course.assignment import Assignment
from tinymtl.course.files import write_text
from tinymtl.course.grader.feedback import page
from tinymtl.course.marking import Mark


@dataclass(frozen=True)
class Grade:
    """One student's result.

    `marks` has the automatic questions by name. `problem` is "" or why the notebook could not be asked at
    all; `notes` names cells that raised; `evidence` has figures of the student's own study, for the person
    who marks the written questions.
    """

    student: str
    file: str
    marks: dict[str, Mark]
    problem: str = ""
    notes: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """All automatic points."""
        return sum(mark.points for mark in self.marks.values())

    @property
    def note(self) -> str:
        """Everything that is worth a line in the table: the problem, or the hints and then the cells that raised."""
        if self.problem:
            return self.problem
        hints = [f"{name}: {mark.hint}" for name, mark in self.marks.items() if mark.hint]
        return "; ".join([*hints, *self.notes])


def write_csv(path: str | Path, assignment: Assignment, grades: list[Grade]) -> None:
    """One row per student; the written questions have the points that are still to be given by hand."""
    names = [question.name for question in assignment.questions]
    text = io.StringIO()
    table = csv_module.writer(text, lineterminator="\n")
    table.writerow(["student", "file", *names, "automatic", "automatic_max", "manual_max", "note"])
    for grade in grades:
        table.writerow(
            [
                _cell(grade.student),
                _cell(grade.file),
                *(f"{grade.marks[name].points:g}" for name in names),
                f"{grade.points:g}",
                f"{assignment.automatic_points:g}",
                f"{assignment.manual_points:g}",
                _cell(grade.note),
            ]
        )
    write_text(path, text.getvalue())


def write_json(directory: str | Path, assignment: Assignment, grades: list[Grade], seed: int) -> None:
    """`directory/STUDENT.json` for every student."""
    for grade in grades:
        text = json_module.dumps(as_dict(assignment, grade, seed), indent=2, ensure_ascii=False)
        write_text(Path(directory) / f"{grade.student}.json", text + "\n")


def write_feedback(directory: str | Path, assignment: Assignment, grades: list[Grade]) -> None:
    """`directory/STUDENT.html` for every student."""
    for grade in grades:
        write_text(
            Path(directory) / f"{grade.student}.html",
            page(assignment, grade.student, grade.marks, grade.problem, grade.notes),
        )


def as_dict(assignment: Assignment, grade: Grade, seed: int) -> dict[str, Any]:
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
            "points": None,
            "max": question.points,
            "rubric": [{"points": points, "criterion": criterion} for points, criterion in question.rubric],
        }
        for question in assignment.written
    ]
    return {
        "assignment": assignment.name,
        "student": grade.student,
        "file": grade.file,
        "seed": seed,
        "automatic": grade.points,
        "automatic_max": assignment.automatic_points,
        "manual_max": assignment.manual_points,
        "problem": grade.problem,
        "notes": list(grade.notes),
        "evidence": grade.evidence,
        "questions": automatic + manual,
    }


def _cell(text: str) -> str:
    """Text that a spreadsheet shows and does not compute: what starts like a formula gets a quote in front."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
