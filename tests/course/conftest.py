"""Submissions made from the source notebooks, as they are, left blank or with answers replaced; and their grading."""

import functools
import json
import re
import shutil
from pathlib import Path

import pytest

from tinymtl.course import grade as grade_anywhere
from tinymtl.course.grader.batch import _try_the_worker
from tinymtl.course.worker.isolation import Limits

#: "" if students' code can be isolated here, else why not.
NO_BUBBLEWRAP = _try_the_worker(Limits(), "bubblewrap") if shutil.which("bwrap") else "bubblewrap is not installed"
ISOLATION = "none" if NO_BUBBLEWRAP else "bubblewrap"
SOURCES = Path(__file__).parents[2] / "lessons" / "assignments"
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL | re.MULTILINE)


def source(assignment):
    return json.loads((SOURCES / f"{assignment}.ipynb").read_text(encoding="utf-8"))


def role(cell):
    return cell["metadata"].get("nbgrader", {})


def make(assignment, answers=None, blank=False):
    """The source notebook with answer cells replaced by name; with `blank`, all others are emptied."""
    notebook = source(assignment)
    left = dict(answers or {})
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = "".join(cell["source"])
            if blank:
                cell["outputs"] = []
        if not role(cell).get("solution") or cell["cell_type"] != "code":
            continue
        name = role(cell)["grade_id"].removeprefix(f"{assignment}-").removesuffix("-answer")
        if name in left:
            cell["source"] = left.pop(name)
        elif blank:
            cell["source"] = SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", cell["source"])
    assert not left, f"no such answer cell: {left}"
    return notebook


def pytest_report_header():
    return f"students' code: {f'not isolated ({NO_BUBBLEWRAP})' if NO_BUBBLEWRAP else 'in bubblewrap'}"


@pytest.fixture(autouse=True, scope="session")
def seed():
    """The course's seed, in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYMTL_SEED", "41")
        yield 41


@pytest.fixture(scope="session")
def no_bubblewrap():
    """Empty if students' code can be isolated here, else why not."""
    return NO_BUBBLEWRAP


@pytest.fixture(scope="session")
def isolated(no_bubblewrap):
    """For tests of the walls: skips if there are none here."""
    if no_bubblewrap:
        pytest.skip(f"students' code cannot be isolated here: {no_bubblewrap}")


@pytest.fixture(scope="session")
def grade():
    """`tinymtl.course.grade`, isolated if this machine can."""
    return functools.partial(grade_anywhere, isolation=ISOLATION)


@pytest.fixture(scope="session")
def notebook():
    """`make`, for tests that need the notebook itself."""
    return make


@pytest.fixture
def submit(tmp_path):
    """Write a submission and give its path."""

    def write(student, assignment, answers=None, blank=False):
        path = tmp_path / f"{student}.ipynb"
        path.write_text(json.dumps(make(assignment, answers, blank)), encoding="utf-8")
        return path

    return write
