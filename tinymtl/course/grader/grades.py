"""One student's result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tinymtl.course.assignment import Assignment
from tinymtl.course.marking import Mark


@dataclass(frozen=True)
class Grade:
    """One student's result.

    `marks` has the automatic questions by name. `problem` is "" or why the notebook could not be asked at
    all; `notes` names cells that raised; `evidence` has figures of the student's own study, for the person
    who marks the written questions; `manual` what that person gave so far. `late` are days, `deduction` points.
    `remark` is for the instructor alone. `trees` has a number for each answer's code, and its size.
    """

    student: str
    file: str
    marks: dict[str, Mark]
    problem: str = ""
    notes: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    manual: dict[str, float] = field(default_factory=dict)
    late: int = 0
    deduction: float = 0.0
    remark: str = ""
    key: str = ""  # in the class list
    trees: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """All automatic points."""
        return sum(mark.points for mark in self.marks.values())

    def total(self, assignment: Assignment) -> float | None:
        """All points, less those for being late; None as long as a written question is open."""
        if self.file and any(written.name not in self.manual for written in assignment.written):
            return None
        return max(0.0, self.points + sum(self.manual.values()) - self.deduction)

    @property
    def note(self) -> str:
        """Everything that is worth a line in the table: the problem, or the hints and then the cells that raised."""
        if self.problem:
            return self.problem
        hints = [f"{name}: {mark.hint}" for name, mark in self.marks.items() if mark.hint]
        return "; ".join([*hints, *self.notes])
