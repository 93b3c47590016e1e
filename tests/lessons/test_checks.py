"""The checks as a lesson has them: what is printed, in which order hints come, and what a check never does."""

import re
import threading

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.course.errors import CourseError
from tinymtl.course.lessons import checks
from tinymtl.course.lessons.checks import NOT_TRIED, Memory, find, verdict
from tinymtl.course.marking import Key
from tinymtl.course.question import Case, Part, Question, fixed
from tinymtl.course.topic import variables


def test_exercises_and_checks_belong_together(lesson):
    named = [name for _, names, _ in lesson.exercises() for name in names]
    assert sorted(named) == sorted(lesson.checks)
    for cell, names, _ in lesson.exercises():
        assert re.findall(r'^check\("([^"]+)", ', cell.source, re.MULTILINE) == names, cell.id
        assert cell.source.rstrip().splitlines()[-1].startswith("check("), cell.id


def test_exercises_come_unsolved(lesson):
    for cell, names, after in lesson.exercises():
        printed = "".join(output.text for output in cell.outputs)
        assert printed.splitlines() == [NOT_TRIED] * len(names), cell.id
        assert "..." in cell.source, cell.id
        assert "answer" in lesson.tags(after), cell.id
        shape = r"<details><summary>Answer</summary>\n\n```python\n.+?\n```\n\n(.*\n\n)?</details>"
        assert re.fullmatch(shape, after.source, re.DOTALL), cell.id


def key(question):
    return Key.make(question, [part.draw(np.random.default_rng(0)) for part in question.parts])


def test_the_reference_is_right_and_every_known_mistake_is_named(lesson):
    for name, question in lesson.checks.items():
        asked = key(question)
        assert all(found.state == "right" for found in asked.findings(asked.right)), name
        for mistake, wrong in zip(question.mistakes, asked.wrong, strict=True):
            replies = [
                [reply or right for reply, right in zip(group, rights, strict=True)]
                for group, rights in zip(wrong, asked.right, strict=True)
            ]
            assert mistake.hint in [found.hint for found in asked.findings(replies)], (name, mistake.hint)


def test_every_check_has_praise_a_nudge_the_method_and_the_formula(lesson):
    for name, question in lesson.checks.items():
        assert question.praise and question.mistakes, name
        assert len(set(question.hints)) == 3 or name == "09.verdict", name


def test_what_has_not_been_tried_is_no_error_and_none_is_another_thing(lesson):
    for name, question in lesson.checks.items():
        assert verdict(question, ...) == NOT_TRIED, name
        line = verdict(question, None)
        assert line.startswith("✗ not yet: ") and "None" in line or "nothing" in line, name


def test_nonsense_gets_one_line_and_never_a_traceback(lesson):
    odd = ("nonsense", object(), np.full((2, 3, 4), np.nan), {"a": [1, "b"]}, lambda *args: 1 / 0, -777.25, {1, 2}, 1j)
    for name, question in lesson.checks.items():
        for nonsense in odd:
            line = verdict(question, nonsense)
            assert line.startswith("✗ not yet: ") and "\n" not in line and len(line) > 20, (name, nonsense, line)


# ------------------------------------------------------------ the interface


def test_check_prints_one_line(capsys):
    assert tm.course.check("01.by_hand", (6, 14, 28, 48)) is None
    assert capsys.readouterr().out.startswith("✓ right: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("01.byhand", "did you mean '01.by_hand'?"), ("99", "use the name that the lesson's cell has"), (7, "use the")],
)
def test_an_unknown_name_is_refused_and_a_lesson_prints_it(name, hint, capsys):
    with pytest.raises(CourseError, match=re.escape(hint)):
        find(name)
    tm.course.check(name, 1)
    assert hint in capsys.readouterr().out


def asked(right, *arguments, called="f", **others):
    cases = fixed([Case(called, given) for given in arguments])
    return Question("x", (Part(called, cases),), {called: right}, returns="a number", praise="yes", **others)


STAGED = variables("x", {"a": "1 / 7"}, hints=("nudge", "method", "formula"), praise="yes")


def test_hints_come_in_stages_and_the_same_answer_again_gets_the_same():
    memory = Memory()
    said = [verdict(STAGED, answer, memory) for answer in (5, 5, 6, 5, 8, 9, 1 / 7)]
    stages = ["nudge", "nudge", "method", "method", "formula", "formula"]
    assert said == [f"✗ not yet: {stage}" for stage in stages] + ["✓ right: yes"]


def test_a_check_remembers_for_itself_alone():
    memory = Memory()
    for _ in range(3):
        verdict(STAGED, object(), memory)
    other = variables("y", {"a": 2}, hints=("nudge", "method", "formula"))
    assert verdict(STAGED, 5, memory).endswith("nudge") and verdict(other, 5, memory).endswith("nudge")


def test_a_later_check_follows_from_the_earlier_one():
    first = variables("1", {"a": 2, "b": "3 * a"})
    second = variables("2", {"c": "a + b"}, after=first)
    memory = Memory()
    assert verdict(first, (4, 12), memory).endswith("Calculated rightly from there: b")
    assert verdict(second, 16, memory) == "≈ calculated rightly from numbers before it that are not right yet: c"
    assert verdict(second, 8, memory).startswith("✓") and verdict(second, 9, memory).startswith("✗")
    assert verdict(second, 16).startswith("✗")  # without the memory
    verdict(first, (2, 6), memory)
    assert verdict(second, 16, memory).startswith("✗")


def test_from_a_zero_nothing_follows():
    question = variables("x", {"a": 2, "b": "3 * a"})
    assert "Calculated" not in verdict(question, (0, 0))


def test_the_gram_matrix_and_the_cosine_follow_from_ones_own_gradients():
    memory = Memory()
    assert verdict(find("03.gradients"), ((4, 4), (0, -2)), memory).startswith("✗ not yet: g1 and g2: the ½")
    assert verdict(find("03.gram"), (32, -8, 4), memory).startswith("≈ calculated rightly")
    assert verdict(find("03.cosine"), -(2**-0.5), memory).startswith("✓")


def test_the_first_wrong_case_is_shown_with_what_came_back():
    square = asked(lambda a: a * a, (3.0,), (2.0,), called="square", hints=("look",))
    said = verdict(square, lambda a: a + 2 if a == 2 else a)
    assert said == "✗ not yet: 1 of 2 cases is right. For a = 3.0 square gives back 3.0. Look"


def test_a_function_gets_arguments_of_its_own():
    def spoils(a):
        a *= 2
        return a / 2

    question = asked(lambda a: a.copy(), (np.ones(2),), (np.ones(2),))
    assert [verdict(question, spoils), verdict(question, spoils)] == ["✓ right: yes"] * 2


def test_a_loop_without_an_end_is_ended(monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.2)

    def forever(g, x, y):
        while True:
            try:
                pass
            except Exception:
                continue

    assert "mul_backward has not returned after 0.2 s" in verdict(find("01.mul"), forever)


def test_in_another_thread_there_is_no_limit_and_no_trouble():
    said = []
    thread = threading.Thread(target=lambda: said.append(verdict(find("01.mul"), lambda g, x, y: (g * y, g * x))))
    thread.start()
    thread.join()
    assert said[0].startswith("✓ right")


def test_parts_without_points_are_remarks():
    def recursive(output):
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for parent, _ in node.edges:
                    visit(parent)
                order.append(node)

        visit(output)
        return order[::-1]

    said = verdict(find("01.order"), recursive)
    assert said.startswith("✓ right: ") and "but for a graph that is 3000 operations deep" in said
