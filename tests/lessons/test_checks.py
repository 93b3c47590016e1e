"""The checks: each named mistake gets its own hint, an open answer is no error, and no line tells the answer."""

import re

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.course.errors import CourseError
from tinymtl.course.lessons.checks import NOT_TRIED, Check, Mistake, choice, find, function, numbers


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


def test_every_named_mistake_gets_its_hint(lesson):
    for name, check in lesson.checks.items():
        for hint in check.mistakes:
            assert check.verdict(check.example(hint)) == f"✗ not yet: {hint}", (name, hint)


def test_most_checks_name_a_mistake(lesson):
    assert sum(bool(check.mistakes) for check in lesson.checks.values()) > len(lesson.checks) / 2


def test_no_hint_and_no_praise_is_said_twice(lesson):
    said = [hint for check in lesson.checks.values() for hint in check.mistakes]
    said += [check.praise for check in lesson.checks.values()]
    assert len(set(said)) == len(said)


def test_what_has_not_been_tried_is_no_error(lesson):
    for name, check in lesson.checks.items():
        for nothing in (..., None, (..., 1.0), [None]):
            assert check.verdict(nothing) == NOT_TRIED, name


def test_nonsense_gets_one_line_and_never_a_traceback(lesson):
    odd = ("nonsense", object(), np.full((2, 3, 4), np.nan), {"a": [1, "b"]}, lambda *args: 1 / 0, -777.25)
    for name, check in lesson.checks.items():
        for nonsense in odd:
            line = check.verdict(nonsense)
            assert line.startswith("✗ not yet: ") and "\n" not in line and len(line) > 20, (name, nonsense, line)


# ------------------------------------------------------------ the interface


def lines(check, *answers):
    return [check.verdict(answer) for answer in answers]


def test_check_prints_one_line(capsys):
    assert tm.course.check("01.by_hand", (6, 14, 28, 48)) is None
    assert capsys.readouterr().out.startswith("✓ right: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("01.byhand", "did you mean '01.by_hand'?"), ("99", "use the name that the lesson's cell has"), (7, "use the")],
)
def test_an_unknown_name_is_refused(name, hint):
    with pytest.raises(CourseError, match=re.escape(hint)):
        find(name)


def test_numbers_by_hand_need_three_digits():
    check = numbers(3 / 13, praise="yes", look="look", mistakes={"the other": 10 / 13})
    right, rough, other, far, several, word = lines(check, 0.231, 0.25, 0.769, 5, (1, 2), "3/13")
    assert right == "✓ right: yes" and rough == far == "✗ not yet: look" and other == "✗ not yet: the other"
    assert "one number" in several and "one number" in word


def test_numbers_may_come_in_any_shape_of_their_size():
    check = numbers((1, 2), praise="yes", look="look")
    answers = ([1, 2], np.array([[1.0], [2.0]]), tm.tensor([1, 2]))
    assert lines(check, *answers) == ["✓ right: yes"] * 3
    matrix = numbers([[1, 2], [3, 4]], praise="yes", look="look")
    right, flat = lines(matrix, np.array([[1, 2], [3, 4]]), [1, 2, 3, 4])
    assert right == "✓ right: yes" and "shape (2, 2)" in flat


def test_a_function_is_judged_by_its_results():
    wrong = {"you doubled": lambda a: 2 * a}
    check = function(lambda a: a * a, [(3.0,), (2.0,), (0.5,)], praise="yes", look="square it", mistakes=wrong)
    answers = (lambda a: a**2, lambda a: a + a, lambda a: a**2 + (a == 0.5), lambda a: ..., lambda a: a[0], 9.0)
    right, double, near, stub, fails, number = lines(check, *answers)
    assert right == "✓ right: yes" and double == "✗ not yet: you doubled"
    assert "2 of 3 cases are right" in near and "(0.5)" in near and "square it" in near and "0.25" not in near
    assert stub == NOT_TRIED
    assert "TypeError" in fails and "(3.0)" in fails
    assert "function, not a float" in number


def test_a_function_gets_arguments_of_its_own():
    def spoils(a):
        a *= 2
        return a / 2

    check = function(lambda a: a.copy(), [(np.ones(2),)] * 2, praise="yes", look="look")
    assert lines(check, spoils, spoils) == ["✓ right: yes"] * 2


def test_a_way_without_return_is_named():
    check = function(lambda a: a, [(1.0,), (-1.0,)], praise="yes", look="look")
    (line,) = lines(check, lambda a: a if a > 0 else None)
    assert "returns None for (-1.0)" in line


def test_a_choice_takes_its_words_only():
    check = choice("left", praise="yes", mistakes={"look again": "right"})
    assert lines(check, "Left ", "right") == ["✓ right: yes", "✗ not yet: look again"]
    assert "one of 'left', 'right'" in lines(check, "up")[0]


def test_a_property_is_judged_by_its_own_test():
    check = Check(
        lambda w: sum(w) == 1 and min(w) >= 0,
        praise="on the simplex",
        look="they must add up to 1",
        mistakes={"one of them is negative": Mistake([2, -1], lambda w: min(w) < 0)},
    )
    right, below, off = lines(check, [0.5, 0.5], [1.5, -0.5], [0.5, 0.6])
    assert (right, below, off) == (
        "✓ right: on the simplex",
        "✗ not yet: one of them is negative",
        "✗ not yet: they must add up to 1",
    )
