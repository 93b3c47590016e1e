"""The source notebooks: their points, their metadata, and that they hold nothing of the machine they came from."""

import re
from pathlib import Path

import pytest

from tinymtl.course import ASSIGNMENTS
from tinymtl.course.worker.notebook import NOT_GRADED, RUN_LOG

SOURCES = Path(__file__).parents[2] / "lessons" / "assignments"


@pytest.fixture(params=ASSIGNMENTS)
def assignment(request):
    return ASSIGNMENTS[request.param]


def role(cell):
    return cell["metadata"].get("nbgrader", {})


def test_its_points_are_the_grader_s_and_add_up_to_25(assignment, notebook):
    cells = notebook(assignment.name)["cells"]
    graded = {role(cell)["grade_id"]: role(cell)["points"] for cell in cells if role(cell).get("grade")}
    questions = {f"{assignment.name}-{q.name}": q.points for q in (*assignment.questions, *assignment.written)}
    assert graded == questions
    assert sum(graded.values()) == 25


def test_the_table_on_top_names_the_same_points(assignment, notebook):
    top = "".join(notebook(assignment.name)["cells"][0]["source"])
    told = [int(points) for points in re.findall(r"^\| \d .*\| (\d+) \|$", top, re.MULTILINE)]
    assert told == [q.points for q in (*assignment.questions, *assignment.written)]
    assert f"({assignment.automatic_points:g} checked by the computer, {assignment.manual_points:g} by a person)" in top


def test_every_question_says_its_points_and_every_part_its_own(assignment, notebook):
    text = "\n".join("".join(c["source"]) for c in notebook(assignment.name)["cells"] if c["cell_type"] == "markdown")
    for number, question in enumerate((*assignment.questions, *assignment.written), 1):
        assert re.search(rf"^## {number}\. .*\({question.points:g} points", text, re.MULTILINE), question.name


def test_its_format_and_metadata_are_clean(assignment, notebook):
    content = notebook(assignment.name)
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    ids = [cell["id"] for cell in content["cells"]]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-z0-9-]+", name) for name in ids)
    for cell in content["cells"]:
        assert set(cell["metadata"]) <= {"nbgrader", "tags"}
        if cell["cell_type"] == "code":
            assert cell["execution_count"] is None
            if cell["id"] != "log-show":  # A4's run log is the only output that is kept: the grader reads it
                assert cell["outputs"] == []
            else:
                assert [set(output["data"]) for output in cell["outputs"]] == [{RUN_LOG, "text/plain"}]


def test_every_answer_can_be_stripped_and_every_hidden_test_is_hidden(assignment, notebook):
    for cell in notebook(assignment.name)["cells"]:
        source = "".join(cell["source"])
        answer = role(cell).get("solution") and cell["cell_type"] == "code"
        assert source.count("### BEGIN SOLUTION") == source.count("### END SOLUTION")
        assert bool(answer) == ("### BEGIN SOLUTION" in source)
        tests = role(cell).get("grade") and cell["cell_type"] == "code"
        assert bool(tests) == ("### BEGIN HIDDEN TESTS" in source)
        if tests:
            name = role(cell)["grade_id"].split("-")[1]
            assert f'points("{assignment.name}", "{name}", globals()' in source


def test_the_grader_has_its_locked_cells(assignment, notebook):
    """`grade` runs these in place of what a student made of them."""
    locked = {
        role(cell)["grade_id"]: "".join(cell["source"])
        for cell in notebook(assignment.name)["cells"]
        if cell["cell_type"] == "code"
        and role(cell).get("locked")
        and not role(cell)["grade"]
        and NOT_GRADED not in cell["metadata"].get("tags", [])
    }
    assert locked == assignment.locked


def test_it_names_no_place_of_a_machine(assignment):
    text = (SOURCES / f"{assignment.name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"(?<![A-Za-z0-9_])/(tmp|root|home|work|usr)/", text)
