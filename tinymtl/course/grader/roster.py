"""The class list: read as Canvas, Moodle or a person writes it, and given back with the points for the import."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.grader.submissions import slug

#: What a list is recognised by, the column of the platform's number, and those of which each names a student.
CANVAS = ("Student", "ID", ("Student", "SIS User ID", "SIS Login ID"))
MOODLE = ("Full name", "Identifier", ("Full name", "Email address"))
OWN = ("student", "id", ("student", "name", "email"))
SUBMITTED = ("submitted", "Last modified (submission)")
#: How Moodle and others write a time.
TIMES = ("%A, %d %B %Y, %I:%M %p", "%A, %d %B %Y, %H:%M", "%d %B %Y, %H:%M", "%d/%m/%Y %H:%M")


@dataclass(frozen=True)
class Person:
    """A row of the list: `key` is the same in every list of this kind, `student` is fit for a file's name."""

    row: int
    key: str
    student: str
    id: str
    names: frozenset[str]
    submitted: str = ""


@dataclass(frozen=True)
class Roster:
    """A class list and its people; `header` and `rows` are the file's own, to be given back."""

    header: list[str]
    rows: list[list[str]]
    people: list[Person]
    kind: tuple[str, str, tuple[str, ...]]

    @classmethod
    def read(cls, path: str | Path) -> Roster:
        """Read a gradebook that Canvas exported, a grading worksheet of Moodle's, or a table with a column `student`.

        Raises
        ------
        CourseError
            If it is none of them, or two rows are of one student.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            raise CourseError(f"the roster {path} cannot be read: {problem}") from None
        start = text.partition("\n")[0]
        table = list(csv.reader(io.StringIO(text), delimiter=max(",;\t", key=start.count)))
        header = [name.strip() for name in table[0]] if table else []
        kind = next((kind for kind in (CANVAS, MOODLE, OWN) if kind[0] in header), None)
        if kind is None:
            raise CourseError(
                f"the roster {path} has none of the columns 'Student' (Canvas), 'Full name' (Moodle) and 'student'"
            )
        rows = [row + [""] * (len(header) - len(row)) for row in table[1:] if any(row)]
        people = [_person(i, dict(zip(header, row, strict=False)), kind) for i, row in enumerate(rows)]
        people = [one for one in people if one.student]
        names = Counter(one.student for one in people)
        people = [one if names[one.student] == 1 else replace(one, student=f"{one.student}_{one.id}") for one in people]
        for one in people:
            if sum(other.key == one.key for other in people) > 1:
                raise CourseError(f"the roster {path} has more than one row of {one.key!r}: take the others out")
        return cls(header, rows, people, kind)

    def find(self, name: str, number: str = "") -> Person | None:
        """Whose submission this is, by the platform's number, or by a name that only one row has."""
        found = [one for one in self.people if number and one.id == number]
        found = found or [one for one in self.people if _letters(name) in one.names]
        return found[0] if len(found) == 1 else None

    def write(self, path: str | Path, assignment: str, totals: Mapping[int, str], notes: Mapping[int, str]) -> None:
        """Give the list back with the points, by row: what the platform that wrote it imports."""
        header, rows = list(self.header), [list(row) for row in self.rows]

        def column(name: str, cells: Mapping[int, str]) -> None:
            if name not in header:
                header.append(name)
                for row in rows:
                    row.append("")
            for i, cell in cells.items():
                rows[i][header.index(name)] = cell

        if self.kind == MOODLE:
            column("Grade", totals)
            column("Feedback comments", notes)
        else:
            own = [name for name in header if re.match(rf"{assignment}\b", name)]  # Canvas: "A2 (4711)"
            column(own[0] if own else assignment, totals)
        if self.kind == CANVAS:  # an import takes the columns that name a student, and those of points
            named = [name for name in header if name in ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")]
            kept = [header.index(name) for name in (*named, (own[0] if own else assignment))]
            header, rows = [header[i] for i in kept], [[row[i] for i in kept] for row in rows]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        write_text(path, text.getvalue())


def _person(row: int, cells: Mapping[str, str], kind: tuple[str, str, tuple[str, ...]]) -> Person:
    name, number, columns = kind
    student = cells[name].strip()
    if kind == CANVAS and not cells["ID"].strip():  # the rows "Points Possible" and "Student, Test"
        student = ""
    identifier = "".join(re.findall(r"\d+", cells.get(number, ""))[-1:]) if kind != OWN else cells.get(number, "")
    names = {cells.get(column, "").strip() for column in columns}
    names |= {text.partition("@")[0] for text in names if "@" in text}
    if "," in student:  # Canvas names the family first
        family, _, given = student.partition(",")
        names |= {f"{given} {family}"}
    when = next((cells[column].strip() for column in SUBMITTED if cells.get(column, "").strip(" -")), "")
    login = cells.get("SIS Login ID", "").partition("@")[0]
    return Person(
        row, identifier or student, slug(login or student) if student else "", identifier,
        frozenset(_letters(text) for text in names if text), when,
    )  # fmt: skip


def _letters(text: str) -> str:
    """A name without what file names lose: case, blanks and signs."""
    return re.sub(r"[\W_]+", "", text).casefold()


def moment(text: str) -> datetime:
    """A time as ISO 8601 or as Moodle writes it; a CourseError for another text.

    >>> moment("2026-05-01 23:59"), moment("Friday, 1 May 2026, 11:59 PM")
    (datetime.datetime(2026, 5, 1, 23, 59), datetime.datetime(2026, 5, 1, 23, 59))
    """
    text = text.strip().replace(" UTC", "+00:00")
    for form in ("", *TIMES):
        try:
            found = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
        except ValueError:
            continue
        return found.astimezone().replace(tzinfo=None) if found.tzinfo else found
    raise CourseError(f"{text!r} is not a time: write it as 2026-05-01 23:59")


def read_manual(path: str | Path, allowed: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The points that a person gave: a table with a column `student` and one per written question; blanks are open.

    The table of grades is such a table: fill it in and give it back.

    Raises
    ------
    CourseError
        For a table without these columns, a student twice, or points that are none or too many.
    """
    found: dict[str, dict[str, float]] = {}
    try:
        rows = list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise CourseError(f"the points in {path} cannot be read: {problem}") from None
    for row in rows:
        student = (row.get("student") or "").strip()
        if not student or student in found:
            what = f"has two rows of {student!r}" if student else "has no column `student`, or a row without one"
            raise CourseError(f"the table of points {path} {what}")
        if not any(name in row for name in allowed):
            raise CourseError(f"the table of points {path} has none of the columns {', '.join(allowed)}")
        found[student] = {}
        for name, most in allowed.items():
            text = (row.get(name) or "").strip().replace(",", ".")
            if not text:
                continue
            try:
                points = float(text)
            except ValueError:
                points = -1.0
            if not 0 <= points <= most:
                raise CourseError(f"{path}: {student} has {text!r} for {name}: give points from 0 to {most:g}")
            found[student][name] = points
    return found


@dataclass(frozen=True)
class Late:
    """A rule for late work: `percent` of the assignment's points for every day begun, `most` percent in all."""

    due: datetime
    percent: float
    most: float = 100.0

    def days(self, handed_in: datetime) -> int:
        """The days begun since the due time.

        >>> rule = Late(datetime(2026, 5, 1, 23, 59), 10)
        >>> rule.days(datetime(2026, 5, 1, 23, 59, 30)), rule.days(datetime(2026, 5, 2, 0, 0)), rule.share(2)
        (0, 1, 0.2)
        """
        seconds = (handed_in.replace(second=0, microsecond=0) - self.due).total_seconds()
        return max(0, -int(-seconds // 86_400))

    def share(self, days: int) -> float:
        """The part of the assignment's points that is taken off."""
        return min(self.most, self.percent * days) / 100


def handed_in(path: Path, person: Person | None) -> datetime | None:
    """When a notebook was handed in: as the list says, else nbgrader's timestamp beside it, else the file's date.

    None if all that is there are its replies.
    """
    if person is not None and person.submitted:
        return moment(person.submitted)
    stamp = path.with_name("timestamp.txt")
    with contextlib.suppress(CourseError, OSError):
        if stamp.is_file() and not stamp.is_symlink():
            return moment(stamp.read_text(encoding="utf-8", errors="replace")[:100])
    try:
        return None if path.suffix == ".json" else datetime.fromtimestamp(path.lstat().st_mtime)
    except OSError:
        return None
