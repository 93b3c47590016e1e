"""Hand out an assignment: the student's notebook, made from the source by nbgrader's own preprocessors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymtl.course.assignment import Assignment
from tinymtl.course.catalogue import VARIANTS, find, own_question
from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.grader.batch import grade
from tinymtl.course.grader.roster import Roster
from tinymtl.course.grader.seed import needed

FRESH = 20_011  # the seed of release's own trials: nobody's grade hangs on it


def release(
    assignment: str,
    directory: str | Path,
    *,
    source: str | Path | None = None,
    roster: Roster | None = None,
    seed: int | None = None,
) -> Path:
    """Write the student's notebook of an assignment; returns its path, `directory/A2.ipynb`.

    Solutions and hidden tests are taken out, outputs are cleared, cells that students must keep are locked.
    Before that, the source is checked: its points add up to the assignment's, its own solutions earn every
    automatic point, and afterwards the stripped notebook earns none.

    Parameters
    ----------
    assignment : str
        "A1", "A2", "A3" or "A4".
    directory : str or Path
        Made where it does not exist. The file is written beside its place and renamed into it.
    source : str or Path, optional
        The source notebook; by default `lessons/assignments/A2.ipynb` of this checkout, or of the current
        directory.
    roster : Roster, optional
        A notebook for everybody on this class list instead, `directory/STUDENT/A2.ipynb`, each with numbers of its own,
        drawn from the course's seed; the directory is returned.
    seed : int, optional
        By default the course's: TINYMTL_SEED, or tinymtl-seed.txt.

    Raises
    ------
    CourseError
        Where nbgrader is missing, the source is not found, or one of the checks fails: nothing is written.
    """
    chosen = find(assignment)
    people = () if roster is None else roster.people
    own = {one.student: own_question(chosen.name, one.key, needed(seed)).text for one in people}
    path = Path(source) if source is not None else _find_source(chosen.name)
    strip = _preprocessors()
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as problem:  # nbformat has many ways to refuse a file
        raise CourseError(f"{path} cannot be read as a notebook: {problem}") from None
    _check_points(chosen, notebook.cells, path.name)
    _check_reference(chosen, path)
    resources: dict[str, Any] = {}
    for preprocessor in strip:
        notebook, resources = preprocessor.preprocess(notebook, resources)
    text = nbformat.writes(notebook) + "\n"
    for mark in ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "tinymtl.course"):
        if mark in text:
            raise CourseError(f"{path.name} is not released: {mark!r} would be left in the student's notebook")
    target = Path(directory) / f"{chosen.name}.ipynb"
    beside = write_text(target.with_name(f".{chosen.name}.new.ipynb"), text)
    try:
        blank = grade(chosen.name, [beside], seed=FRESH, isolation="none")[0]
        if blank.points:
            raise CourseError(
                f"{path.name} is not released: the student's notebook, left blank, earns {blank.points:g}"
            )
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    if roster is None:
        return target
    try:
        cells = [cell for cell in notebook.cells if cell["source"].strip() == VARIANTS[chosen.name](None).text]
        if len(cells) != 1:
            raise CourseError(f"{path.name} is not released: the cell with the printed numbers is not in it once")
        for student, text in own.items():
            cells[0]["source"] = text
            write_text(Path(directory) / student / target.name, nbformat.writes(notebook) + "\n")
    finally:
        target.unlink()
    return Path(directory)


def _find_source(name: str) -> Path:
    here = Path(__file__).resolve().parents[2]
    for root in (here, Path.cwd()):
        path = root / "lessons" / "assignments" / f"{name}.ipynb"
        if path.is_file():
            return path
    raise CourseError(
        f"the source of {name} is not here: run this in a checkout of the repository, which has lessons/assignments, "
        "or name the source notebook with --source"
    )


def _preprocessors() -> list[Any]:
    """nbgrader's own, in the order of its generate_assignment, less those that need its database."""
    try:
        from nbgrader import preprocessors
    except ImportError:
        raise CourseError(
            "release needs nbgrader, which is not installed: run `pip install 'tinymtl[course]'`"
        ) from None
    names = (
        "LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums",
        "ClearHiddenTests", "ClearMarkScheme", "ComputeChecksums", "CheckCellMetadata",
    )  # fmt: skip
    return [getattr(preprocessors, name)() for name in names]


def _check_points(chosen: Assignment, cells: Sequence[Any], name: str) -> None:
    roles = [cell["metadata"].get("nbgrader", {}) for cell in cells]
    found = {role["grade_id"]: role.get("points") for role in roles if role.get("grade")}
    wanted = {f"{chosen.name}-{question.name}": question.points for question in chosen.questions}
    wanted |= {f"{chosen.name}-{question.name}": question.points for question in chosen.written}
    if found != wanted:
        wrong = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        raise CourseError(
            f"{name} is not released: its points and the grader's differ at {', '.join(wrong)} "
            "(the notebook's cell metadata against tinymtl/course)"
        )
    if sum(wanted.values()) != 25:
        raise CourseError(f"{name} is not released: its points add up to {sum(wanted.values()):g}, not to 25")


def _check_reference(chosen: Assignment, path: Path) -> None:
    found = grade(chosen.name, [path], seed=FRESH, isolation="none")[0]
    if found.points != chosen.automatic_points:
        raise CourseError(
            f"{path.name} is not released: its own solutions earn {found.points:g} of {chosen.automatic_points:g} "
            f"automatic points ({found.note})"
        )
