"""Grade submissions: every notebook in a process of its own first, points afterwards.

The two halves never overlap. While any student's code runs, this process holds inputs and no expected value;
when the last one has ended, the references are asked and the replies are marked.
"""

from __future__ import annotations

import functools
import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinymtl.checks import whole_number
from tinymtl.course.assignment import Assignment
from tinymtl.course.catalogue import ASSIGNMENTS, find
from tinymtl.course.errors import CourseError
from tinymtl.course.grader.results import Grade, write_csv, write_feedback, write_json
from tinymtl.course.grader.sandbox import Answers, Limits, Lost, Worker, collect
from tinymtl.course.marking import Key, Mark
from tinymtl.course.notebook import Unreadable, read_notebook
from tinymtl.course.question import Case


def grade(
    assignment: str,
    paths: Iterable[str | Path],
    *,
    csv: str | Path | None = None,
    json: str | Path | None = None,
    feedback: str | Path | None = None,
    seed: int = 0,
    jobs: int = 2,
    limits: Limits | None = None,
) -> list[Grade]:
    """Grade the notebooks of one assignment.

    Parameters
    ----------
    assignment : str
        "A1", "A2", "A3" or "A4".
    paths : iterable of str or Path
        The submissions; a pattern with `*` stands for what it matches. A student is called by the file's name
        or, where several files have the same one (`ana/A2.ipynb`, `ben/A2.ipynb`), by its directory's.
    csv, json, feedback : str or Path, optional
        A table with a row per student; a directory with one JSON file per student, written questions flagged
        "manual"; a directory with one HTML page per student, without hidden inputs or answers.
    seed : int
        The hidden inputs are drawn from it, the same for every student. The same seed gives the same files.
    jobs : int
        How many notebooks run at once.
    limits : Limits, optional
        What one notebook may use.

    Returns
    -------
    list of Grade
        Sorted by student. A file that is no notebook is a Grade with 0 points and its problem in a sentence.

    Raises
    ------
    CourseError
        For an unknown assignment, no submissions, a path that does not exist, or two submissions of one name.
    """
    chosen = find(assignment)
    seed = whole_number("seed", seed, 0, error=CourseError)
    jobs = whole_number("jobs", jobs, 1, error=CourseError)
    submissions = students(paths)
    limits = limits or Limits()
    _try_the_worker(limits)
    drawn = [chosen.draw(question, seed) for question in chosen.questions]
    answers = _collect_all(chosen.name, list(submissions.values()), drawn, limits, jobs)
    keys = [Key.make(question, cases) for question, cases in zip(chosen.questions, drawn, strict=True)]
    grades = [
        mark(chosen, keys, student, path, answer)
        for (student, path), answer in zip(submissions.items(), answers, strict=True)
    ]
    if csv is not None:
        write_csv(csv, chosen, grades)
    if json is not None:
        write_json(json, chosen, grades, seed)
    if feedback is not None:
        write_feedback(feedback, chosen, grades)
    return grades


def students(paths: Iterable[str | Path]) -> dict[str, Path]:
    """The submissions by student, sorted: names of files, or of their directories where files are called alike."""
    found: dict[Path, Path] = {}
    for given in paths:
        matches = [Path(given)]
        if not matches[0].exists():  # Windows hands patterns over as they are
            matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
        if not matches:
            raise CourseError(f"there is no submission {str(given)!r}: give notebooks, such as submissions/*.ipynb")
        found.update((match.resolve(), match) for match in matches)
    if not found:
        raise CourseError("there are no submissions: give at least one notebook, such as submissions/*.ipynb")
    stems = Counter(_slug(path.stem) for path in found)
    named: dict[str, Path] = {}
    for path in found:
        name = _slug(path.stem) if stems[_slug(path.stem)] == 1 else _slug(path.parent.name)
        if name in named:
            raise CourseError(f"two submissions are of {name!r}: {named[name].name} and {path.name}; rename one")
        named[name] = path
    return dict(sorted(named.items()))


def mark(chosen: Assignment, keys: Sequence[Key], student: str, path: Path, answers: Answers) -> Grade:
    """One student's points, from what the notebook answered."""
    if answers.problem:
        marks = [Mark(0.0, (False,) * len(key.question.parts), "") for key in keys]
        return Grade(student, path.name, dict(zip(_names(chosen), marks, strict=True)), answers.problem)
    marks = [key.mark(replies) for key, replies in zip(keys, answers.replies, strict=True)]
    # a stub raises where nothing was filled in: that is said at its question
    notes = [f"cell {cell} {what}: {text}" for cell, what, text in answers.notes if what != "is not answered yet"]
    evidence = {} if chosen.evidence is None else chosen.evidence(answers.replies)
    return Grade(student, path.name, dict(zip(_names(chosen), marks, strict=True)), "", tuple(notes), evidence)


def _names(chosen: Assignment) -> list[str]:
    return [question.name for question in chosen.questions]


def _slug(name: str) -> str:
    """A name that is safe as a file's name on every system."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._-") or "unnamed"


@functools.cache
def _try_the_worker(limits: Limits) -> None:
    """One empty notebook, once: what is wrong with this machine is no fault of the first student's."""
    worker = Worker(limits)
    try:
        worker.load([])
    except Lost as lost:
        raise CourseError(
            f"the grader's worker process does not start ({lost.args[0]}): "
            "check that `python -I -c 'import numpy'` works with this Python"
        ) from None
    finally:
        worker.stop()


def _collect_all(
    name: str, paths: list[Path], drawn: list[list[list[Case]]], limits: Limits, jobs: int
) -> list[Answers]:
    """What every notebook answers, in the order of `paths`; `jobs` of them at a time."""
    from tqdm import tqdm

    def one(path: Path) -> Answers:
        try:
            notebook = read_notebook(path)
        except Unreadable as problem:
            return Answers([], [], str(problem))
        others = notebook.of & ASSIGNMENTS.keys()
        if others and name not in others:
            return Answers([], [], f"this is a notebook of {', '.join(sorted(others))}, not of {name}")
        return collect(notebook.cells, drawn, notebook.saved, limits)

    pool = ThreadPoolExecutor(jobs)
    try:
        waiting = pool.map(one, paths)
        return list(tqdm(waiting, total=len(paths), desc="grading", unit="notebook", disable=None))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C: those that run end within their limits, no other starts
