"""Whole runs of `grade`: correct, partly right and blank submissions, malformed files, and the files that result."""

import csv
import json
import os

import pytest

from tinymtl.course import ASSIGNMENTS, CourseError
from tinymtl.course.grader.submissions import students

PARTLY = {  # per assignment, answers with one mistake each: the points and the hints that they lead to
    "A1": (
        {
            "reuse": "def sweep(tape, values, output):\n"
            "    gradient = [0.0] * len(tape)\n"
            "    gradient[output] = 1.0\n"
            "    def push(node):\n"
            "        if tape[node][0] == 'input': return\n"
            "        kind, a, b = tape[node]\n"
            "        for parent, other in ((a, b), (b, a)):\n"
            "            gradient[parent] += gradient[node] * (1.0 if kind == 'add' else values[other])\n"
            "            push(parent)\n"
            "    push(output)\n"
            "    return gradient",
            "unbroadcast": "def unbroadcast(gradient, shape):\n"
            "    return gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))",
        },
        {"order": 5, "reuse": 2, "unbroadcast": 2, "derivatives": 4, "losses": 0},
        {
            "reuse": "before all of it has arrived",
            "unbroadcast": "axes of size 1 are left stretched",
            "losses": "a wrong sweep gives (question 2)",
        },
    ),
    "A2": (
        {
            "two_tasks": "def two_task_weight(g1, g2):\n    return (g2 - g1) @ g2 / ((g2 - g1) @ (g2 - g1))",
            "stationary": "def is_stationary(g, weights, tolerance):\n"
            "    return np.linalg.norm(weights @ g) <= tolerance",
            "worksheet": "answer_a = 3 / 4\nanswer_b = 4\nanswer_c = 1\nanswer_d = [16 / 21, 4 / 21, 1 / 21]",
        },
        {"two_tasks": 3, "k_tasks": 7, "stationary": 1, "worksheet": 3},
        {
            "two_tasks": "not limited to 0 … 1",
            "stationary": "compared with ‖v‖ itself",
            "worksheet": "a: the weight of g1: this is the weight of g2",
        },
    ),
    "A3": (
        {
            "ub_weights": "def ub_weights(z):\n"
            "    g1, g2 = z.mean(axis=1)\n"
            "    if g1 @ g2 >= g1 @ g1: return [1, 0]\n"
            "    if g1 @ g2 >= g2 @ g2: return [0, 1]\n"
            "    w = (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))\n"
            "    return [w, 1 - w]",
            "one_pass": "def trunk_gradient(z, w, back):\n    return sum(w[k] * back(z[k]) for k in range(len(w)))",
            "partitions": "def random_groups(tasks, size, seed):\n"
            "    return [list(range(i, min(i + size, tasks))) for i in range(0, tasks, size)]",
        },
        {"z_gradients": 4, "ub_weights": 0, "one_pass": 1, "moments": 5, "partitions": 0, "passes": 2},
        {
            "ub_weights": "averaged, or added up, over the batch",
            "one_pass": "one trunk pass per task",
            "partitions": "nothing is drawn",
        },
    ),
    "A4": (
        {
            "interval": "def paired_interval(a, b):\n"
            "    d = a - b\n"
            "    return d.mean(), 1.96 * d.std(ddof=1) / len(d) ** 0.5\n"
            "def verdict(mean, half_width):\n"
            "    if abs(mean) <= half_width: return 'no difference shown'\n"
            "    return 'a is higher' if mean > 0 else 'b is higher'",
        },
        {"log": 6, "interval": 2, "figure": 2},
        {"interval": "1.96 is for very many pairs"},
    ),
}


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_correct_partly_right_and_blank(submit, assignment, grade):
    answers, points, hints = PARTLY[assignment]
    paths = [
        submit("correct", assignment),
        submit("partly", assignment, answers),
        submit("blank", assignment, blank=True),
    ]
    blank, correct, partly = grade(assignment, paths, seed=11)
    assert correct.points == ASSIGNMENTS[assignment].automatic_points and correct.note == ""
    for question, expected in points.items():
        assert partly.marks[question].points == expected, partly.note
    for question, hint in hints.items():
        assert hint in partly.marks[question].hint
    assert blank.points == 0
    assert all(mark.hint for mark in blank.marks.values())
    assert "not answered yet" in blank.note or assignment == "A4"


def test_every_file_has_what_it_should(submit, tmp_path, grade):
    answers, _, hints = PARTLY["A2"]
    submit("ana", "A2")
    submit("ben", "A2", answers)
    found = grade(
        "A2",
        [tmp_path / "*.ipynb"],
        csv=tmp_path / "g.csv",
        json=tmp_path / "json",
        feedback=tmp_path / "html",
        seed=41,
    )
    rows = list(csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8-sig")))
    assert list(rows[0]) == [
        "student", "file", "two_tasks", "k_tasks", "stationary", "worksheet", "explain",
        "automatic", "automatic_max", "manual_max", "days_late", "deduction", "total", "note",
    ]  # fmt: skip
    assert rows[0]["student"] == "ana" and rows[0]["automatic"] == "21" and rows[0]["note"] == ""
    assert rows[1]["two_tasks"] == "3" and rows[1]["automatic"] == "14" and hints["two_tasks"] in rows[1]["note"]
    assert all(row["automatic_max"] == "21" and row["manual_max"] == "4" for row in rows)

    content = json.loads((tmp_path / "json" / "ben.json").read_text(encoding="utf-8"))
    assert content["automatic"] == found[1].points == 14 and content["manual_max"] == 4
    kinds = {question["name"]: question["kind"] for question in content["questions"]}
    assert kinds == {
        "two_tasks": "automatic", "k_tasks": "automatic", "stationary": "automatic", "worksheet": "automatic",
        "explain": "manual",
    }  # fmt: skip
    manual = content["questions"][-1]
    assert manual["points"] is None and sum(line["points"] for line in manual["rubric"]) == manual["max"] == 4
    assert [part["holds"] for part in content["questions"][0]["properties"]] == [True, False, False]

    page = (tmp_path / "html" / "ben.html").read_text(encoding="utf-8")
    assert "14 of 21 automatic points" in page and "✗ does not hold" in page and "not limited to 0 … 1" in page
    assert "marked by hand" in page


def test_grading_again_gives_the_same_bytes_whatever_the_number_of_jobs(submit, tmp_path, grade):
    submit("ana", "A3")
    submit("ben", "A3", PARTLY["A3"][0])
    submit("cleo", "A3", blank=True)

    def run(name, jobs, paths):
        place = tmp_path / name
        grade("A3", paths, csv=place / "g.csv", json=place / "json", feedback=place / "html", seed=5, jobs=jobs)
        return {file.relative_to(place): file.read_bytes() for file in sorted(place.rglob("*")) if file.is_file()}

    paths = sorted(tmp_path.glob("*.ipynb"))
    first = run("out", 1, paths)
    assert len(first) == 7
    assert first == run("out", 3, paths[::-1])


def test_the_seed_draws_the_inputs(submit, grade):
    """A lookup table of one seed's answers is worth nothing under another seed."""
    asked = []
    table = ASSIGNMENTS["A2"].draw(ASSIGNMENTS["A2"].question("two_tasks"), 5)
    for case in (case for group in table for case in group):
        g1, g2 = case.arguments
        right = 1.0 if g1 @ g2 >= g1 @ g1 else 0.0 if g1 @ g2 >= g2 @ g2 else (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))
        asked.append((g1.tolist(), float(right)))
    code = f"TABLE = {{tuple(g): w for g, w in {asked!r}}}\ndef two_task_weight(g1, g2):\n    return TABLE[tuple(g1)]"
    path = submit("table", "A2", {"two_tasks": code})
    assert grade("A2", [path], seed=5)[0].marks["two_tasks"].points == 6
    assert grade("A2", [path], seed=6)[0].marks["two_tasks"].points == 0


def test_no_page_shows_hidden_inputs_or_answers(submit, tmp_path, grade):
    """No number of the drawn inputs, and none of the references' answers, is on the page of a wrong submission."""
    wrong = "def two_task_weight(g1, g2):\n    print(g1, g2)\n    raise ValueError(f'{g1} {g2}')"
    grade("A2", [submit("ana", "A2", {"two_tasks": wrong})], feedback=tmp_path, csv=tmp_path / "g.csv", seed=8)
    shown = (tmp_path / "ana.html").read_text(encoding="utf-8") + (tmp_path / "g.csv").read_text(encoding="utf-8-sig")
    assert "two_task_weight raised ValueError" in shown
    for group in ASSIGNMENTS["A2"].draw(ASSIGNMENTS["A2"].question("two_tasks"), 8):
        for case in group:
            for number in [*case.arguments[0], *case.arguments[1]]:
                assert f"{abs(number):.4f}"[:6] not in shown
    for answer in ("16/21", "0.7619", "-1.2"):
        assert answer not in shown


# Malformed submissions: each has its line, and costs nobody else anything

MALFORMED = {
    "empty": (b"", "an empty file"),
    "not_json": (b"{'cells': [", "not a notebook: the file is not valid JSON"),
    "cut_off": (b'{"cells": [{"cell_type": "code", "source": ["x =', "not a notebook: the file is not valid JSON"),
    "deep": (b"[" * 200_000, "not a notebook: the file is not valid JSON"),
    "binary": (bytes(range(256)) * 10, "not a notebook: the file is not text"),
    "picture": (b"\x89PNG\r\n\x1a\n\xff\xd8", "not a notebook: the file is not text"),
    "list": (b"[1, 2, 3]", "not a notebook: valid JSON, but without a list of cells"),
    "number": (b"42", "not a notebook: valid JSON, but without a list of cells"),
    "old": (b'{"worksheets": [], "nbformat": 3}', "a notebook of the old format 3"),
    "no_cells": (b'{"cells": {}, "nbformat": 4}', "not a notebook: valid JSON, but without a list of cells"),
}
STRANGE = {  # notebooks whose cells are odd: they are graded, as far as there is something to grade
    "no_code": {"cells": []},
    "odd_cells": {"cells": [None, 3, [], {}, {"cell_type": "code"}, {"cell_type": "code", "source": {"x": 1}}]},
    "odd_metadata": {"cells": [{"cell_type": "code", "source": ["x = 1"], "metadata": [], "outputs": {"a": 1}}]},
    "broken_code": {"cells": [{"cell_type": "code", "source": "def f(:\n", "metadata": {}, "outputs": []}]},
    "null_bytes": {"cells": [{"cell_type": "code", "source": "x = '\0'", "metadata": {}, "outputs": []}]},
}


@pytest.fixture(scope="module")
def malformed(tmp_path_factory, notebook, grade):
    place = tmp_path_factory.mktemp("malformed")
    for name, (content, _) in MALFORMED.items():
        (place / f"{name}.ipynb").write_bytes(content)
    for name, content in STRANGE.items():
        (place / f"{name}.ipynb").write_text(json.dumps(content))
    (place / "a_directory.ipynb").mkdir()
    (place / "huge.ipynb").write_bytes(b" " * 21_000_000)
    (place / "=cmd|calc!A1.ipynb").write_bytes(b"")
    (place / "honest.ipynb").write_text(json.dumps(notebook("A1")))
    paths = sorted(place.glob("*.ipynb"))
    found = grade("A1", paths, csv=place / "g.csv", json=place / "json", feedback=place / "html")
    return {one.student: one for one in found}, place


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_has_its_line(malformed, name):
    found, place = malformed
    assert found[name].points == 0
    assert MALFORMED[name][1] in found[name].note
    rows = {row["student"]: row for row in csv.DictReader((place / "g.csv").open(encoding="utf-8-sig"))}
    assert rows[name]["automatic"] == "0" and MALFORMED[name][1] in rows[name]["note"]
    assert "could not be graded" in (place / "html" / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_notebook_earns_nothing_and_breaks_nothing(malformed, name):
    found = malformed[0][name]
    assert found.points == 0 and found.problem == "" and "not answered yet" in found.note


def test_the_others_are_graded_as_ever(malformed):
    found, place = malformed
    assert found["honest"].points == 22
    assert found["a_directory"].note == "a directory, not a notebook"
    assert found["huge"].note.startswith("larger than 20 MB")
    assert "SyntaxError" in found["broken_code"].note
    rows = list(csv.reader((place / "g.csv").open(encoding="utf-8-sig")))
    assert len(rows) == 1 + len(MALFORMED) + len(STRANGE) + 4
    assert ["cmd_calc_A1", "'=cmd|calc!A1.ipynb"] in [row[:2] for row in rows]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_the_notebook_of_another_assignment_is_named(submit, grade):
    found = grade("A2", [submit("ana", "A3")])[0]
    assert found.points == 0 and found.problem == "this is a notebook of A3, not of A2"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_has_its_line(submit, grade):
    path = submit("locked", "A1")
    path.chmod(0)
    assert "cannot be read" in grade("A1", [path])[0].note


def test_cells_that_raise_are_passed_over_and_named(submit, grade):
    answers = {"derivatives": "import tinymtl\n", "losses": "%matplotlib inline\nboom = 1 / 0"}
    found = grade("A1", [submit("ana", "A1", answers)])[0]
    assert found.points == 14
    assert "cell 11 raised ImportError: tinymtl is not available while a notebook is graded" in found.notes
    assert any("raised ZeroDivisionError: division by zero" in note for note in found.notes)


# Names and bad use


def test_students_are_called_by_file_or_by_directory(tmp_path):
    for name in ("ana/A2.ipynb", "ben/A2.ipynb", "cleo.ipynb", "d é+f.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    cleo = tmp_path / "cleo.ipynb"
    found = students([tmp_path / "*" / "*.ipynb", cleo, cleo, tmp_path / "d é+f.ipynb"])
    assert list(found) == ["ana", "ben", "cleo", "d_é_f"]


def test_names_that_are_alike_stop_nobody(tmp_path):
    for name in ("x y.ipynb", "x_y.ipynb", "monday/ana/task.ipynb", "tuesday/ana/task.ipynb", "x_y_2.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    found = students([tmp_path / "*.ipynb"])
    assert {name: path.name for name, path in found.items()} == {
        "x_y": "x y.ipynb",
        "x_y_2": "x_y.ipynb",
        "x_y_2_2": "x_y_2.ipynb",
    }
    assert list(students([tmp_path / "*" / "*" / "*.ipynb"])) == ["monday", "tuesday"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("A9", ["x.ipynb"]), {}, "unknown assignment 'A9': use 'A1', 'A2', 'A3' or 'A4'"),
        (("A2", []), {}, "there are no submissions"),
        (("A2", ["nowhere/*.ipynb"]), {}, "there is no submission 'nowhere/\\*.ipynb'"),
        (("A2", ["x.ipynb"]), {"seed": -1}, "seed is -1: give a whole number of at least 0"),
        (("A2", ["x.ipynb"]), {"seed": 1.5}, "seed is 1.5"),
        (("A2", ["x.ipynb"]), {"jobs": 0}, "jobs is 0"),
    ],
)
def test_bad_use_is_one_sentence(arguments, options, message, grade):
    with pytest.raises(CourseError, match=message):
        grade(*arguments, **options)


def test_a_place_that_cannot_be_written_is_named_and_nothing_else_is_lost(submit, tmp_path, grade):
    old = tmp_path / "g.csv"
    old.write_text("the old table")
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot write"):
        grade("A1", [submit("ana", "A1", blank=True)], csv=tmp_path / "file" / "g.csv")
    assert old.read_text() == "the old table"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


DRAWN = """
%matplotlib inline
import IPython
from IPython.display import HTML, display
fig, (left, middle, right) = plt.subplots(1, 3)
n, bins, patches = plt.hist([1, 2, 3])
line, = left.plot([1, 2], label=f"{n.sum():.2f}")
left.set_ylim(0, left.get_ylim()[1] * 1.05)
for bar in middle.bar([0, 1], [2, 3]):
    middle.text(bar.get_x() + bar.get_width() / 2, bar.get_height(), f"{bar.get_height():.2f}")
display(fig, HTML("<b>a figure</b>"))
get_ipython().run_line_magic("config", "InlineBackend.figure_format = 'retina'")
plt.savefig("figure.png")
plt.show()
"""


def test_students_draw_as_in_jupyter(notebook, tmp_path, grade):
    """With real Matplotlib, after an import of IPython too, which is a stand-in that Matplotlib asks questions."""
    made = notebook("A4")
    (cell,) = [one for one in made["cells"] if "def figure_data" in one["source"] and one["cell_type"] == "code"]
    cell["source"] += DRAWN
    (tmp_path / "ana.ipynb").write_text(json.dumps(made))
    (found,) = grade("A4", [tmp_path])
    assert (found.points, found.note) == (14, "")
