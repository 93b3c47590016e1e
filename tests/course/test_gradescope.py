"""The Gradescope layout, run where it was written: setup.sh aside, what happens there happens here."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tinymtl.course import ASSIGNMENTS, CourseError
from tinymtl.course.grader.gradescope import write_layout

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the layout's programs are bash scripts")


@pytest.fixture
def autograder(tmp_path):
    """A directory like /autograder, for A2; `run()` gives back results.json."""
    root = tmp_path / "autograder"
    write_layout("A2", root / "source", seed=9)
    shutil.copy(root / "source" / "run_autograder", root / "run_autograder")
    (root / "submission").mkdir()
    (root / "results").mkdir()

    def run():
        environment = {**os.environ, "AUTOGRADER_ROOT": str(root), "AUTOGRADER_PYTHON": sys.executable}
        environment.pop("PYTHONPATH", None)
        subprocess.run([root / "run_autograder"], check=True, env=environment, cwd=root, capture_output=True)
        return json.loads((root / "results" / "results.json").read_text(encoding="utf-8"))

    return root, run


def test_the_layout_has_its_programs_at_the_root(tmp_path):
    root = write_layout("a1", tmp_path / "zip", seed=3)
    assert sorted(path.name for path in root.iterdir()) == ["run_autograder", "setup.sh", "tinymtl"]
    for name in ("setup.sh", "run_autograder"):
        assert os.access(root / name, os.X_OK)
        assert subprocess.run(["bash", "-n", root / name]).returncode == 0
    assert "tinymtl.course.grader.gradescope A1 --seed 3" in (root / "run_autograder").read_text()
    assert not list(root.rglob("__pycache__"))
    assert write_layout("A1", root, seed=3) == root  # again, over the old one


def test_a_submission_there(autograder, submit):
    root, run = autograder
    wrong = "def two_task_weight(g1, g2):\n    return (g2 - g1) @ g2 / ((g2 - g1) @ (g2 - g1))"
    shutil.copy(submit("ana", "A2", {"two_tasks": wrong}), root / "submission" / "my homework.ipynb")
    found = run()
    assert found["score"] == 18
    questions = ASSIGNMENTS["A2"].questions
    assert [(test["name"], test["max_score"]) for test in found["tests"]] == [(q.title, q.points) for q in questions]
    assert [test["score"] for test in found["tests"]] == [3, 7, 3, 5]
    assert "the weight is not limited to 0 … 1" in found["tests"][0]["output"]
    assert "4 points, is marked by hand" in found["output"]


@pytest.mark.parametrize("count", [0, 2])
def test_there_has_to_be_exactly_one_notebook(autograder, submit, count):
    root, run = autograder
    for number in range(count):
        shutil.copy(submit(f"s{number}", "A2"), root / "submission")
    found = run()
    assert found["score"] == 0 and found["output"].startswith("Hand in exactly one notebook")


def test_a_notebook_that_is_none(autograder):
    root, run = autograder
    (root / "submission" / "x.ipynb").write_text("not JSON")
    found = run()
    assert found["score"] == 0 and "not valid JSON" in found["output"]


def test_places_that_do_not_fit(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="there is a file of that name"):
        write_layout("A1", tmp_path / "file")
    import tinymtl

    with pytest.raises(CourseError, match="is where tinymtl itself is"):
        write_layout("A1", os.path.dirname(os.path.dirname(tinymtl.__file__)))
