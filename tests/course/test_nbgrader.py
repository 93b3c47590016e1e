"""nbgrader itself, unmodified, on a correct, a partly right and a blank submission, beside our own grader.

Run with `python -m pytest -m slow tests/course/test_nbgrader.py`; it needs the extra `course`.
"""

import json
import os
import sys

import pytest

import tinymtl
from tinymtl.course import ASSIGNMENTS

pytestmark = pytest.mark.slow
pytest.importorskip("nbgrader")
pytest.importorskip("ipykernel")

WRONG = {
    "A1": (
        {"unbroadcast": "def unbroadcast(gradient, shape):\n    return gradient.sum(axis=0)"},
        {"order": 5, "reuse": 4, "unbroadcast": 0, "derivatives": 4, "losses": 4},
    ),
    "A2": (
        {
            "two_tasks": "def two_task_weight(g1, g2):\n    return (g2 - g1) @ g2 / ((g2 - g1) @ (g2 - g1))",
            "stationary": "def is_stationary(g, weights, tolerance):\n"
            "    return np.linalg.norm(weights @ g) <= tolerance",
        },
        {"two_tasks": 3, "k_tasks": 7, "stationary": 1, "worksheet": 5},
    ),
    "A3": (
        {"one_pass": "def trunk_gradient(z, w, back):\n    return sum(w[k] * back(z[k]) for k in range(len(w)))"},
        {"z_gradients": 4, "ub_weights": 4, "one_pass": 1, "moments": 5, "partitions": 4, "passes": 2},
    ),
    "A4": (
        {
            "interval": "def paired_interval(a, b):\n    d = a - b\n"
            "    return d.mean(), 1.96 * d.std(ddof=1) / len(d) ** 0.5\n"
            "def verdict(mean, half_width):\n    return 'no difference shown'"
        },
        {"log": 6, "interval": 1, "figure": 2},
    ),
}

#: A4's study, small enough to be run three times here.
STUDY = """run_log = []
### BEGIN SOLUTION
for method in ("averaged", "mgda-ub"):
    tuning = [train(method, 100, lr, 30, "validation") for lr in (0.003, 0.01)]
    best = max(tuning, key=lambda row: row["metric"])["lr"]
    run_log += tuning + [train(method, seed, best, 30, "test") for seed in range(5)]
### END SOLUTION"""


@pytest.fixture
def nbgrader(tmp_path, monkeypatch):
    """nbgrader's own commands on a fresh course, through its API."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    here = os.path.dirname(sys.executable)  # nbgrader calls alembic by name
    monkeypatch.setenv("PATH", os.pathsep.join([here, os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(tinymtl.__file__)))  # for the kernels
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.CourseDirectory.root = str(tmp_path)
    api = NbGraderAPI(config=config)

    def call(name, *arguments):
        done = getattr(api, name)(*arguments)
        assert done["success"], done.get("error") or done.get("log")

    return call


def filled_in(released, notebook, assignment, answers):
    """The released notebook with the source's solutions pasted in, some of them replaced."""
    solved = {
        cell["metadata"]["nbgrader"]["grade_id"]: cell["source"]
        for cell in notebook(assignment, answers)["cells"]
        if cell["metadata"].get("nbgrader", {}).get("solution")
    }
    for cell in released["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = solved[cell["metadata"]["nbgrader"]["grade_id"]]
    return released


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_nbgrader_takes_the_assignment_as_it_is(assignment, notebook, nbgrader, tmp_path, grade):
    from nbgrader.api import Gradebook

    answers, partly = WRONG[assignment]
    given = {"log": STUDY} if assignment == "A4" else {}
    source = tmp_path / "source" / assignment / f"{assignment}.ipynb"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(notebook(assignment, given)), encoding="utf-8")
    nbgrader("generate_assignment", assignment)
    release = (tmp_path / "release" / assignment / f"{assignment}.ipynb").read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in release and "tinymtl.course" not in release

    for student in ("correct", "partly", "blank"):
        content = json.loads(release)
        if student != "blank":
            content = filled_in(content, notebook, assignment, {**given, **answers} if student == "partly" else given)
        place = tmp_path / "submitted" / student / assignment / f"{assignment}.ipynb"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(content), encoding="utf-8")
    for student in ("correct", "partly", "blank"):
        nbgrader("autograde", assignment, student)
        nbgrader("generate_feedback", assignment, student)

    automatic = {question.name: question.points for question in ASSIGNMENTS[assignment].questions}
    written = {question.name for question in ASSIGNMENTS[assignment].written}
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as book:
        scores = {}
        for student in ("correct", "partly", "blank"):
            marks = book.find_submission_notebook(assignment, assignment, student).grades
            scores[student] = {mark.name.split("-")[1]: mark.auto_score for mark in marks}
            manual = {mark.name.split("-")[1] for mark in marks if mark.needs_manual_grade}
            assert manual == (set() if student == "blank" else written)
    print(assignment, scores)
    for name, points in automatic.items():
        assert scores["correct"][name] == points
        assert scores["partly"][name] == partly[name]
        assert scores["blank"][name] == 0

    # the same notebooks through our grader: A4's log is on show only where nbgrader has run the study
    autograded = [
        tmp_path / "autograded" / s / assignment / f"{assignment}.ipynb" for s in ("correct", "partly", "blank")
    ]
    found = {one.student: one for one in grade(assignment, _named(autograded, tmp_path), seed=41)}
    for student in ("correct", "partly", "blank"):
        assert {name: mark.points for name, mark in found[student].marks.items()} == {
            name: scores[student][name] for name in automatic
        }
        page = (tmp_path / "feedback" / student / assignment / f"{assignment}.html").read_text(encoding="utf-8")
        assert "Score" in page


def _named(paths, place):
    """Copies called by the student: nbgrader's directories are called by the assignment."""
    copies = []
    for path in paths:
        copy = place / f"{path.parents[1].name}.ipynb"
        copy.write_bytes(path.read_bytes())
        copies.append(copy)
    return copies
