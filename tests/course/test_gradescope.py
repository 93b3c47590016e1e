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
    assert sorted(path.name for path in root.iterdir()) == [
        "run_autograder", "setup.sh", "tinymtl", "tinymtl-seed.txt",
    ]  # fmt: skip
    for name in ("setup.sh", "run_autograder"):
        assert os.access(root / name, os.X_OK)
        assert subprocess.run(["bash", "-n", root / name]).returncode == 0
    assert "tinymtl.course.grader.gradescope A1" in (root / "run_autograder").read_text()
    assert (root / "tinymtl-seed.txt").read_text() == "3\n"
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


def test_copies_that_other_programs_leave_are_not_counted(autograder, submit):
    root, run = autograder
    path = submit("ana", "A2")
    shutil.copy(path, root / "submission" / "A2.ipynb")
    for name in (".ipynb_checkpoints/A2-checkpoint.ipynb", "__MACOSX/._A2.ipynb"):
        (root / "submission" / name).parent.mkdir()
        shutil.copy(path, root / "submission" / name)
    assert run()["score"] == 21


def test_there_are_results_even_if_the_grader_fails(autograder, submit):
    root, run = autograder
    shutil.copy(submit("ana", "A2"), root / "submission")
    (root / "source" / "tinymtl-seed.txt").write_text("no number")
    found = run()
    assert found["score"] == 0 and "tell your instructor" in found["output"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs an account to give up")
def test_where_bubblewrap_has_no_rights_a_notebook_runs_as_nobody(autograder, submit, monkeypatch):
    """As in Gradescope's container: the answers, the seed and the results are closed to it."""
    root, run = autograder
    monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
    (root / "bin").mkdir()
    (root / "bin" / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (root / "bin" / "bwrap").chmod(0o755)
    python = os.path.realpath(sys.executable)
    try:
        subprocess.run([python, "-c", "import numpy"], user=65534, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the account nobody cannot use this Python")
    code = f"""
import os
for place in ("source/tinymtl/hull.py", "source/tinymtl-seed.txt", "results/results.json"):
    try: text = open("{root}/" + place).read()
    except OSError: text = ""
    assert not text, place
def two_task_weight(g1, g2): return 0.5
"""
    shutil.copy(submit("ana", "A2", {"two_tasks": code}), root / "submission")
    found = run()
    assert found["score"] <= 16 and "AssertionError" not in found["output"]


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
