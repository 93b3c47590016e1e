"""A2's worksheet with numbers of each student's own: handed out by the class list, and graded accordingly."""

import json

import numpy as np
import pytest

from tests.course.conftest import SOURCES
from tinymtl.course import ASSIGNMENTS, CourseError, release
from tinymtl.course.answers.worksheet import worksheet
from tinymtl.course.catalogue import own_question
from tinymtl.course.grader.roster import Roster
from tinymtl.course.marking import Key, right_values
from tinymtl.hull import min_norm

NAMES = ("answer_a", "answer_b", "answer_c", "answer_d", "answer_e")


def test_the_printed_numbers_are_the_source_s():
    cells = json.loads((SOURCES / "A2.ipynb").read_text(encoding="utf-8"))["cells"]
    assert ["".join(cell["source"]) for cell in cells].count(worksheet().text) == 1
    values = right_values(ASSIGNMENTS["A2"].question("worksheet"))
    assert np.allclose(values["answer_d"], (16 / 21, 4 / 21, 1 / 21), rtol=1e-14)
    assert [values[name] for name in NAMES if name != "answer_d"] == [1 / 4, 4.0, 1, -1.2]


@pytest.mark.parametrize("seed", range(60))
def test_drawn_numbers_have_the_answers_that_the_solver_finds(seed):
    from tinymtl.course.answers.worksheet import _drawn

    numbers = _drawn(np.random.default_rng(seed))
    g1 = np.array([numbers["a"], numbers["c"]], dtype=float)
    g2 = np.array([-numbers["b"], numbers["c"]], dtype=float)
    found = min_norm([g1, g2])
    v = found.weights @ np.array([g1, g2])
    short = np.array(numbers["g1"], dtype=float)
    question = worksheet(np.random.default_rng(seed)).question
    if numbers != _accepted(seed):
        return
    right = right_values(question)
    assert np.isclose(right["answer_a"], found.weights[0]) and np.isclose(right["answer_b"], v @ v)
    assert right["answer_c"] == min_norm([short, numbers["k"] * short]).weights[0] == 1
    assert np.allclose(right["answer_d"], min_norm(np.diag(numbers["lengths"]).astype(float)).weights)
    assert np.isclose(right["answer_e"], -numbers["t"] * v @ g1) and np.isclose(v @ g1, v @ g2)


def _accepted(seed):
    """The first draw in which every known mistake has numbers of its own."""
    from tinymtl.course.answers import worksheet as module

    rng = np.random.default_rng(seed)
    while True:
        numbers = module._drawn(rng)
        spelled = module._spelled(numbers)
        content = module.tomllib.loads(module.Path(module.__file__).with_suffix(".toml").read_text(encoding="utf-8"))
        given = {name: module._filled(value, spelled) for name, value in content.items() if name != "text"}
        if module._tells_apart(module.variables("worksheet", **given)):
            return numbers


@pytest.mark.parametrize("seed", range(20))
def test_a_named_mistake_is_named_with_any_numbers(seed):
    question = worksheet(np.random.default_rng(seed)).question
    key = Key.make(question, [part.draw(np.random.default_rng(0)) for part in question.parts])
    right = right_values(question)
    from tinymtl.course.question import Reply

    for mistake in question.mistakes:
        known = dict(right)
        wrong = mistake.model.value(known)
        replies = [[Reply(wrong if name == mistake.name else right[name])] for name in NAMES]
        mark = key.mark(replies)
        assert not mark.held[NAMES.index(mistake.name)] and mistake.hint in mark.hint, (mistake, wrong)


def test_each_student_s_own_numbers(tmp_path, notebook, grade):
    pytest.importorskip("nbgrader")
    roster = tmp_path / "r.csv"
    roster.write_text("student\nana\nben\ncleo\n")
    people = Roster.read(roster)
    place = release("A2", tmp_path / "out", roster=people)
    assert place == tmp_path / "out"
    texts = {}
    for student in ("ana", "ben", "cleo"):
        cells = json.loads((place / student / "A2.ipynb").read_text(encoding="utf-8"))["cells"]
        (texts[student],) = ["".join(c["source"]) for c in cells if "".join(c["source"]).startswith("## 4. A work")]
    assert len(set(texts.values())) == 3 and worksheet().text not in texts.values()
    assert sorted(path.name for path in place.iterdir()) == ["ana", "ben", "cleo"]

    values = right_values(own_question("A2", "ana", 41).question)
    own = "\n".join(f"{name} = {np.asarray(values[name]).tolist()!r}" for name in NAMES)
    for student, code in (("ana", own), ("ben", own), ("cleo", None)):  # ben copies, cleo does the printed ones
        path = tmp_path / "in" / f"{student}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook("A2", {"worksheet": code} if code else None)), encoding="utf-8")
    found = {one.student: one.marks["worksheet"].points for one in grade(
        "A2", [tmp_path / "in"], roster=people, own_numbers=True
    )}  # fmt: skip
    assert found["ana"] == 5 and found["ben"] < 4 and found["cleo"] < 4  # c is 1 for everybody
    plain = {one.student: one.points for one in grade("A2", [tmp_path / "in"], roster=people)}
    assert plain["cleo"] == 21


def test_bad_use(tmp_path, grade):
    roster = tmp_path / "r.csv"
    roster.write_text("student\nana\n")
    with pytest.raises(CourseError, match="give the roster that release was given"):
        grade("A2", [roster], own_numbers=True)
    pytest.importorskip("nbgrader")
    with pytest.raises(CourseError, match="A1 has the same numbers for everybody; own numbers are in A2"):
        release("A1", tmp_path / "out", roster=Roster.read(roster))
    assert not list((tmp_path / "out").glob("*"))
