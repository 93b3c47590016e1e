"""Grade a class: ask every notebook (`collecting`), mark what it answered (`marking`), write the results.

Whatever a notebook holds or does, its author gets a row and everybody else theirs. The replies are kept as they come,
so that a run that was cut off can go on.
"""

from __future__ import annotations

import functools
import json as json_module
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tinymtl.checks import choose, whole_number
from tinymtl.course.assignment import Assignment
from tinymtl.course.catalogue import ASSIGNMENTS, find, own_question
from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.grader.exchange import Drawn, answers, questions, read_replies
from tinymtl.course.grader.grades import Grade
from tinymtl.course.grader.report import class_page
from tinymtl.course.grader.results import Results
from tinymtl.course.grader.roster import Late, Roster, handed_in, moment, read_manual
from tinymtl.course.grader.seed import needed
from tinymtl.course.grader.submissions import owner, students
from tinymtl.course.marking import Key, Mark
from tinymtl.course.worker.collect import Lost, Worker, collect
from tinymtl.course.worker.isolation import Limits
from tinymtl.course.worker.notebook import digest
from tinymtl.course.worker.values import printable

NO_WALLS = (
    "students' code is not isolated here ({why}): it can do whatever you can, such as read the answers or delete your "
    "files. Install bubblewrap (apt-get install bubblewrap), collect in a container (lessons/assignments/README.md), "
    "or say --trust-students if you trust every one of these notebooks"
)


def grade(
    assignment: str,
    paths: Iterable[str | Path] = (),
    *,
    csv: str | Path | None = None,
    json: str | Path | None = None,
    feedback: str | Path | None = None,
    replies: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    jobs: int = 2,
    limits: Limits | None = None,
    isolation: str = "bubblewrap",
    roster: Roster | None = None,
    gradebook: str | Path | None = None,
    manual: str | Path | None = None,
    own_numbers: bool = False,
    late: Late | None = None,
    report: str | Path | None = None,
) -> list[Grade]:
    """Grade the notebooks of one assignment.

    Parameters
    ----------
    assignment : str
        "A1", "A2", "A3" or "A4".
    paths : iterable of str or Path
        The submissions; a pattern with `*` stands for what it matches. A student is called by the file's name
        or, where several files have the same one (`ana/A2.ipynb`, `ben/A2.ipynb`), by its directory's. Without any,
        the replies in `replies` are marked.
    csv, json, feedback : str or Path, optional
        A table with a row per student; a directory with one JSON file per student, written questions flagged
        "manual"; a directory with one HTML page per student, without hidden inputs or answers.
    replies : str or Path, optional
        A directory that keeps what every notebook answered.
    resume : bool
        Take the replies that are there, instead of asking those notebooks again.
    seed : int, optional
        The hidden inputs are drawn from it, the same for every student. The same seed gives the same files. By
        default it is read from the environment variable TINYMTL_SEED or from the file tinymtl-seed.txt.
    jobs : int
        How many notebooks run at once.
    limits : Limits, optional
        What one notebook may use.
    isolation : str
        "bubblewrap"; or "none", for students who are trusted: their code can do what you can; or "account" for a
        container that has nothing but one submission: root runs the notebook as nobody.
    roster : Roster, optional
        The class list: whoever has handed in nothing gets a row too.
    gradebook : str or Path, optional
        Where the list goes with the totals in it, for Canvas or Moodle to import.
    manual : str or Path, optional
        A table with the points of the written questions, such as the filled-in `csv`.
    own_numbers : bool
        The worksheets were released with this class list: each student's has numbers of its own.
    late : Late, optional
        What is taken off for late work.
    report : str or Path, optional
        A page about the class: points, how hard each part is, the commonest mistakes, and answers that are alike.

    Returns
    -------
    list of Grade
        Sorted by student. A file that is no notebook is a Grade with 0 points and its problem in a sentence.

    Raises
    ------
    CourseError
        For an unknown assignment, no submissions, a path that does not exist, two submissions of one name, no seed,
        or students' code that would not be isolated.
    """
    chosen = find(assignment)
    jobs = whole_number("jobs", jobs, 1, error=CourseError)
    paths = list(paths)
    limits = limits or Limits()
    drawn = [chosen.draw(question, needed(seed)) for question in chosen.questions]
    asked = questions(chosen, drawn, limits, list(ASSIGNMENTS))
    kept = Path(replies) if replies is not None else None
    if resume and kept is None:
        raise CourseError("to go on with a run its replies are needed: name the directory that keeps them")
    if gradebook is not None and roster is None:
        raise CourseError("a gradebook is made of a class list: give the roster that the platform has exported")
    if own_numbers and roster is None:
        raise CourseError("each student's own numbers hang on the class list: give the roster that release was given")
    given = {} if manual is None else read_manual(manual, {one.name: one.points for one in chosen.written})
    people = [] if roster is None else roster.people
    for listed in people if late is not None else ():
        if listed.submitted:
            moment(listed.submitted)  # what is no time is said before any notebook runs
    results = Results(chosen, csv, json, feedback)
    found: Iterable[tuple[str, dict[str, Any] | None]]
    if paths or kept is None:
        submissions = students(paths)
        _try(limits, isolation)
        found = _collect_all(submissions, asked, kept, resume, isolation, jobs)
        if isolation == "none":  # while a student's code runs under this account, no right answer is in this process
            found = list(found)
    else:
        submissions = {path.stem: path for path in sorted(kept.glob("*.json"))}
        if not submissions:
            raise CourseError(f"there are no replies in {kept}: collect them first")
        found = ((student, read_replies(path, asked)) for student, path in submissions.items())
    keys: list[Key] = []
    present: set[str] = set()
    for student, content in found:
        keys = keys or [Key.make(question, cases) for question, cases in zip(chosen.questions, drawn, strict=True)]
        path = submissions[student]
        person = None if roster is None else roster.find(student, owner(path).id)
        remark = "" if roster is None or person is not None else "not on the class list"
        if person is not None:
            remark = "handed in under two names" if person.key in present else ""
            present.add(person.key)
        own = keys
        if own_numbers and person is not None:
            asked_of = own_question(chosen.name, person.key, needed(seed)).question
            own = [Key.make(asked_of, key.cases) if key.question.name == asked_of.name else key for key in keys]
        one = _mark(chosen, own, student, path, content, drawn)
        one = replace(one, manual=given.pop(student, {}), key=person.key if person else "", remark=remark)
        results.add(one if late is None else _with_late(chosen, one, late, handed_in(path, person)))
    for listed in people:
        if listed.key not in present:
            results.add(Grade(listed.student, "", _nothing(chosen), "nothing was handed in", key=listed.key))
    grades = results.finish()
    if roster is not None and gradebook is not None:
        _write_gradebook(gradebook, roster, chosen, grades)
    if report is not None:
        write_text(report, class_page(chosen, grades))
    if given:
        raise CourseError(f"{manual} has points for {', '.join(map(repr, given))}, of whom there is no submission "
                          "(everything is written, without them)")  # fmt: skip
    return grades


def _with_late(chosen: Assignment, one: Grade, late: Late, when: datetime | None) -> Grade:
    days = 0 if when is None else late.days(when)
    said = f"{days} days late" if days else "" if when else "the class list has no time for it"
    deduction = late.share(days) * (chosen.automatic_points + chosen.manual_points)
    return replace(one, late=days, deduction=deduction, remark="; ".join(filter(None, (one.remark, said))))


def _write_gradebook(path: str | Path, roster: Roster, chosen: Assignment, grades: Sequence[Grade]) -> None:
    found = {one.key: one for one in grades}
    totals = {person.row: found[person.key].total(chosen) for person in roster.people}
    shown = {row: "" if total is None else f"{total:g}" for row, total in totals.items()}
    roster.write(path, chosen.name, shown, {person.row: found[person.key].note for person in roster.people})


def write_questions(assignment: str, path: str | Path, seed: int | None = None) -> Path:
    """Write what is asked of every notebook, for a machine that collects the replies and has no right answers."""
    chosen = find(assignment)
    drawn = [chosen.draw(question, needed(seed)) for question in chosen.questions]
    asked = questions(chosen, drawn, Limits(), list(ASSIGNMENTS))
    return write_text(path, json_module.dumps(asked) + "\n")


def _mark(
    chosen: Assignment, keys: Sequence[Key], student: str, path: Path, content: dict[str, Any] | None, drawn: Drawn
) -> Grade:
    """One student's points, from what the notebook answered; never raises."""
    problem = "these replies are damaged, or are to other questions: ask the notebook again"
    if content is not None:
        try:
            return mark(chosen, keys, student, printable(content["notebook"]), answers(content, drawn))
        except (ValueError, KeyError):
            pass
        except Exception as failure:  # whatever a reply may be, the others are graded
            problem = f"the grader failed on this notebook, with {type(failure).__name__}: mark it by hand"
    return Grade(student, path.name, _nothing(chosen), problem)


def mark(chosen: Assignment, keys: Sequence[Key], student: str, file: str, given: Any) -> Grade:
    """One student's points, from what the notebook answered."""
    if given.problem:
        return Grade(student, file, _nothing(chosen), given.problem)
    marks = {key.question.name: key.mark(replies) for key, replies in zip(keys, given.replies, strict=True)}
    # a stub raises where nothing was filled in: that is said at its question
    notes = [f"cell {cell} {what}: {text}" for cell, what, text in given.notes if what != "is not answered yet"]
    evidence = {} if chosen.evidence is None else chosen.evidence(given.replies)
    return Grade(student, file, marks, "", tuple(notes), evidence, trees=given.trees)


def _nothing(chosen: Assignment) -> dict[str, Mark]:
    return {question.name: Mark.nothing(question) for question in chosen.questions}


# ------------------------------------------------------------ collecting


def _try(limits: Limits, isolation: str) -> None:
    """Raise CourseError if this machine cannot run notebooks in this way."""
    choose("isolation", isolation, ("bubblewrap", "account", "none"), CourseError)
    missing = isolation == "bubblewrap" and shutil.which("bwrap") is None
    why = "bubblewrap is not installed" if missing else _try_the_worker(limits, isolation)
    if why:
        sentence = NO_WALLS if isolation == "bubblewrap" else "the grader's worker process does not start ({why})"
        raise CourseError(sentence.format(why=why))


@functools.cache
def _try_the_worker(limits: Limits, isolation: str) -> str:
    """One empty notebook, once: "" or what is wrong, which is then this machine's fault and no student's."""
    try:
        worker = Worker(limits, isolation)
    except OSError as problem:
        return str(problem)
    try:
        worker.load([], 60.0)
    except Lost as lost:
        assert worker.process.stderr is not None
        os.set_blocking(worker.process.stderr.fileno(), False)
        said = (worker.process.stderr.read() or b"").decode(errors="replace").strip()
        return said[-300:] or f"an empty notebook is {lost.args[0]}"
    finally:
        worker.stop()
    return ""


def _collect_all(
    submissions: dict[str, Path], asked: dict[str, Any], kept: Path | None, resume: bool, isolation: str, jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What every notebook answers, as it comes; `jobs` of them at a time."""
    from tqdm import tqdm

    def one(student: str, path: Path) -> dict[str, Any]:
        place = None if kept is None else kept / f"{student}.json"
        if place is not None and resume:
            before = read_replies(place, asked, digest(path))
            if before is not None:
                return before
        content = _patiently(path, asked, isolation)
        if place is not None:
            write_text(place, json_module.dumps(content) + "\n")
        return content

    pool = ThreadPoolExecutor(jobs)
    try:
        waiting = {pool.submit(one, student, path): student for student, path in submissions.items()}
        for done in tqdm(as_completed(waiting), total=len(waiting), desc="grading", unit="notebook", disable=None):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C: those that run end within their limits, no other starts


def _patiently(path: Path, asked: dict[str, Any], isolation: str) -> dict[str, Any]:
    """`collect`, again if this machine could not start a process: another student's may have filled it."""
    for seconds in (1, 5, 20, 0):
        try:
            return collect(path, asked, isolation)
        except OSError as problem:
            failure: Exception = problem
            time.sleep(seconds)
        except Exception as problem:
            failure = problem
            break
    sentence = f"the grader failed on this notebook, with {type(failure).__name__}: mark it by hand"
    return {"asked": asked["number"], "file": digest(path), "notebook": printable(path.name),
            "problem": sentence, "notes": [], "replies": []}  # fmt: skip
