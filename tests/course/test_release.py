import json

import pytest

from tinymtl.course import ASSIGNMENTS, CourseError, release

pytest.importorskip("nbgrader", reason="release needs nbgrader: the extra `course`")


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_student_s_notebook(assignment, tmp_path, grade):
    path = release(assignment, tmp_path / "out")
    assert path == tmp_path / "out" / f"{assignment}.ipynb" and list(path.parent.iterdir()) == [path]
    text = path.read_text(encoding="utf-8")
    for word in ("BEGIN SOLUTION", "HIDDEN TESTS", "tinymtl.course", "points("):
        assert word not in text
    cells = json.loads(text)["cells"]
    answers = [cell for cell in cells if cell["metadata"].get("nbgrader", {}).get("solution")]
    code = ["".join(cell["source"]) for cell in answers if cell["cell_type"] == "code"]
    written = ["".join(cell["source"]) for cell in answers if cell["cell_type"] == "markdown"]
    assert all("# YOUR CODE HERE" in source and "NotImplementedError" in source for source in code)
    assert written == ["YOUR ANSWER HERE"] * len(ASSIGNMENTS[assignment].written)
    for cell in cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        role = cell["metadata"].get("nbgrader")
        if role and (role["locked"] or role["grade"]):
            assert cell["metadata"]["deletable"] is False and "checksum" in role
    assert grade(assignment, [path])[0].points == 0
    if assignment == "A4":
        assert release("a4", tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.fixture
def source(tmp_path, notebook):
    """A source notebook with something changed."""

    def write(answers=None, change=None):
        content = notebook("A2", answers)
        if change:
            change(content["cells"])
        path = tmp_path / "source.ipynb"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def refused(tmp_path, source, match):
    with pytest.raises(CourseError, match=match):
        release("A2", tmp_path / "out", source=source)
    assert not (tmp_path / "out" / "A2.ipynb").exists()
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_a_reference_that_does_not_earn_everything_is_refused(tmp_path, source):
    wrong = (
        "def two_task_weight(g1, g2):\n    ### BEGIN SOLUTION\n"
        "    return (g2 - g1) @ g2 / ((g2 - g1) @ (g2 - g1))\n    ### END SOLUTION"
    )
    refused(tmp_path, source({"two_tasks": wrong}), "its own solutions earn 18 of 21 automatic points .*0 … 1")


def test_points_that_do_not_fit_are_refused(tmp_path, source):
    def change(cells):
        for cell in cells:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == "A2-k_tasks":
                cell["metadata"]["nbgrader"]["points"] = 8

    refused(tmp_path, source(change=change), "its points and the grader's differ at A2-k_tasks")


def test_a_solution_that_would_be_handed_out_is_refused(tmp_path, source):
    """Left outside the markers, the answer would still be there in the student's notebook."""
    open_answer = "def two_task_weight(g1, g2):\n    if g1 @ g2 >= g1 @ g1: return 1.0\n"
    open_answer += "    if g1 @ g2 >= g2 @ g2: return 0.0\n    return (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))\n"
    open_answer += "### BEGIN SOLUTION\n### END SOLUTION"
    refused(tmp_path, source({"two_tasks": open_answer}), "the student's notebook, left blank, earns 6")


def test_a_hidden_test_that_would_be_handed_out_is_refused(tmp_path, source):
    def change(cells):
        for cell in cells:
            cell["source"] = "".join(cell["source"]).replace("### BEGIN HIDDEN TESTS\n", "")

    refused(tmp_path, source(change=change), "'tinymtl.course' would be left|hidden")


def test_an_old_release_survives_a_failed_one(tmp_path, source):
    path = release("A2", tmp_path / "out")
    before = path.read_bytes()
    with pytest.raises(CourseError):
        release("A2", tmp_path / "out", source=source({"two_tasks": "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"}))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_source_that_is_not_there_or_no_notebook(tmp_path):
    with pytest.raises(CourseError, match="nowhere.ipynb cannot be read as a notebook"):
        release("A2", tmp_path, source=tmp_path / "nowhere.ipynb")
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(CourseError, match="x.ipynb cannot be read as a notebook"):
        release("A2", tmp_path, source=tmp_path / "x.ipynb")
    with pytest.raises(CourseError, match="unknown assignment 'A7'"):
        release("A7", tmp_path)


def test_without_nbgrader_there_is_one_sentence(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nbgrader", None)
    with pytest.raises(CourseError, match=r"run `pip install 'tinymtl\[course\]'`"):
        release("A2", tmp_path)
