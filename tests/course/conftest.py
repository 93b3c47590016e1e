"""Submissions made from the source notebooks: as they are, left blank, or with some answers replaced."""

import json
import re
from pathlib import Path

import pytest

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
