import numpy as np
import pytest

from tinymtl.course import ASSIGNMENTS, points
from tinymtl.course.comparing import close, rounded
from tinymtl.course.errors import CourseError
from tinymtl.course.marking import Key
from tinymtl.course.question import Case, Formula, Mistake, Part, Question, Remote, Reply
from tinymtl.course.replies import evaluate, raised
from tinymtl.course.topic import variables
from tinymtl.course.worker.values import Unordered

SEEDS = (0, 1)
QUESTIONS = [(assignment, question) for assignment in ASSIGNMENTS.values() for question in assignment.questions]
ASKED = [(a, q) for a, q in QUESTIONS if q.name not in ("log", "figure")]  # those two are in test_study.py


def names(pair):
    return pair.name if hasattr(pair, "name") else str(pair)


# Closeness


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        (1, 1.0),
        (0.5 + 4e-7, 0.5),
        ([1, 2], np.array([1.0, 2.0])),
        (np.array([1.0, 2.0]), [1, 2]),
        (np.array(3.0), 3.0),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        (True, True),
        ("a", "a"),
        ({"x": 1}, {"x": 1.0}),
        ([1, "a", [2]], [1.0, "a", [2.0]]),
        (1e9 + 1, 1e9),
        ([0.5], 0.5),
        ([[1], [2]], [1, 2]),
        (np.array([[0.5]]), 0.5),
        ("3/13", 3 / 13),
        ([" 1 / 4", "0.75"], [0.25, 0.75]),
        (np.array(True), True),
        (0, False),
        (np.array(1), True),
        (" A is higher", "a is higher"),
        ([1e-7, 1.0], [0.0, 1.0]),  # near, seen from the largest of them
    ],
)
def test_what_is_close(value, expected):
    assert close(value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5 + 1e-6, 0.5),
        (float("nan"), 0.5),
        (float("nan"), float("nan")),
        (float("inf"), float("inf")),
        ([1, 2, 3], [1, 2]),
        ([[1, 2], [3, 4]], [1, 2, 3, 4][:3]),
        (2, True),
        (0.5, True),
        ("a", 0.5),
        ("1/0", 0.0),
        (np.zeros((0, 3)), np.zeros((3, 0))),
        (True, 1),
        (None, 0.0),
        ({"x": 1, "y": 2}, {"x": 1}),
        (10**400, 1.0),
        (np.array([True]), [1]),
    ],
)
def test_what_is_not_close(value, expected):
    assert not close(value, expected)


# Every question of every assignment


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("assignment", "question"), ASKED, ids=names)
def test_the_reference_earns_everything(assignment, question, seed):
    key = Key.make(question, assignment.draw(question, seed))
    mark = key.mark(key.right)
    assert mark.points == question.points and all(mark.held) and mark.hint == ""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("assignment", "question"), ASKED, ids=names)
def test_every_named_mistake_loses_points_and_is_named(assignment, question, seed):
    """The mistake alone: what a student with this one mistake, and everything else right, answers.

    Another mistake may give the same numbers in a part; then its sentence is as true of them.
    """
    key = Key.make(question, assignment.draw(question, seed))
    for mistake, wrong in zip(question.mistakes, key.wrong, strict=True):
        replies = [
            [reply or right for reply, right in zip(group, rights, strict=True)]
            for group, rights in zip(wrong, key.right, strict=True)
        ]
        mark = key.mark(replies)
        assert mark.points < question.points, mistake.hint
        assert mistake.hint in mark.hint


@pytest.mark.parametrize(("assignment", "question"), QUESTIONS, ids=names)
def test_nothing_earns_nothing(assignment, question):
    assert points(assignment.name, question.name, {}) == 0


ODD = [
    None, True, -1, 10**400, float("nan"), float("inf"), -1e308, "", "1/0", "1e999", "\ud800", [], {}, [[1], [2, 3]],
    [float("inf")] * 3, [10**400], [None, 2.0], (1,), Unordered([1, 2]), [Unordered([1])], {"a": {}},
    np.zeros(0), np.zeros((1,) * 16), np.full(2, np.inf), np.array([True]), np.array(2**62), [np.zeros(3), np.eye(2)],
]  # fmt: skip


@pytest.mark.parametrize(("assignment", "question"), QUESTIONS, ids=names)
def test_no_answer_is_too_odd_to_be_marked(assignment, question):
    """As every reply, and as one among right ones."""
    key = Key.make(question, assignment.draw(question, 0))
    for odd in ODD:
        assert key.mark([[Reply(odd) for _ in group] for group in key.cases]).hint
        for i in range(len(key.right)):
            replies = [[Reply(odd), *group[1:]] if k == i else group for k, group in enumerate(key.right)]
            assert isinstance(key.mark(replies).hint, str)


@pytest.mark.parametrize(
    "constant", [None, 0, 0.0, 1, 1.0, 0.5, True, False, [], [0, 0], [1, 1, 1], "", {}, np.zeros(3)]
)
def test_a_constant_earns_at_most_one_point(constant):
    for assignment, question in ASKED:
        namespace = {name: lambda *arguments: constant for name in question.reference}
        if question.name == "worksheet":
            namespace = dict.fromkeys(question.reference, constant)
        assert points(assignment.name, question.name, namespace) <= 1, question.name


@pytest.mark.parametrize(("assignment", "question"), QUESTIONS, ids=names)
def test_the_same_seed_draws_the_same_inputs_and_another_seed_others(assignment, question):
    def drawn(seed):
        replies = [
            [evaluate(lambda *given: list(given), _without_remotes(case)) for case in group]
            for group in assignment.draw(question, seed)
        ]
        return repr(replies)

    assert drawn(5) == drawn(5)
    if question.name not in ("worksheet", "log"):
        assert drawn(5) != drawn(6)


def _without_remotes(case):
    arguments = tuple(item for item in case.arguments or () if not isinstance(item, Remote))
    return Case(case.name, arguments)


def test_points_add_up_to_25():
    for assignment in ASSIGNMENTS.values():
        assert assignment.automatic_points + assignment.manual_points == 25
    assert [a.automatic_points for a in ASSIGNMENTS.values()] == [22, 21, 22, 14]


# Marks and hints


def question(*mistakes, parts=None):
    def draw(rng):
        return [Case("double", (float(x),)) for x in rng.uniform(1, 2, size=3)]

    parts = parts or (Part("small", draw, 1), Part("large", draw, 2))
    return Question("q", parts, {"double": lambda x: 2 * x}, "Q", "a number", mistakes)


def key(*mistakes):
    asked = question(*mistakes)
    return Key.make(asked, [part.draw(np.random.default_rng(i)) for i, part in enumerate(asked.parts)])


def answers(made, model):
    return [[evaluate(model, case) for case in group] for group in made.cases]


def hint(made, model):
    return made.mark(answers(made, model)).hint


def test_a_part_earns_its_points_alone():
    made = key()
    replies = answers(made, lambda x: 2 * x)
    replies[1][2] = Reply(0.0)
    mark = made.mark(replies)
    assert (mark.points, mark.held) == (1, (True, False)) and "no name" in mark.hint


def test_one_failed_case_costs_its_part():
    made = key()
    replies = answers(made, lambda x: 2 * x)
    replies[0][0] = Reply(error="raised ValueError")
    mark = made.mark(replies)
    assert mark.points == 2 and mark.hint == "double raised ValueError"


def test_a_mistake_has_to_explain_every_reply_to_a_part():
    made = key(Mistake("tripled", "double", lambda x: 3 * x))
    assert hint(made, lambda x: 3 * x) == "tripled"
    almost = answers(made, lambda x: 3 * x)
    almost[1][0] = Reply(0.0)
    assert made.mark(almost).hint == "small: tripled; large: not right, in a way that has no name"


def test_parts_get_hints_of_their_own():
    made = key(Mistake("tripled", "double", lambda x: 3 * x), Mistake("squared", "double", lambda x: x * x))
    replies = [answers(made, lambda x: 3 * x)[0], answers(made, lambda x: x * x)[1]]
    assert made.mark(replies).hint == "small: tripled; large: squared"


def test_a_mistake_that_fails_where_the_student_fails_is_recognised():
    def model(x):
        return 3 * x if x > 1.3 else 1 / 0

    made = key(Mistake("tripled, and fails for small numbers", "double", model))
    assert hint(made, model) == "tripled, and fails for small numbers"


def test_cases_in_which_one_of_them_fails_tell_nothing():
    made = key(Mistake("tripled", "double", lambda x: 3 * x))
    assert hint(made, lambda x: 3 * x if x > 1.3 else float("nan")) == "tripled"
    assert hint(made, lambda x: 1 / 0) == "double raised ZeroDivisionError"


def test_of_two_mistakes_the_one_that_explains_everything_is_named():
    first = Mistake("by chance", "double", lambda x: 3 * x if x < 1.4 else 0.0)
    made = key(first, Mistake("tripled", "double", lambda x: 3 * x))
    small = [[Case("double", (1.1,)), Case("double", (1.2,))], [Case("double", (1.8,))]]
    made = Key.make(made.question, small)
    assert hint(made, lambda x: 3 * x) == "tripled"


def verdicts(*mistakes):
    """Two parts of verdicts: they agree by chance too easily."""
    parts = [
        Part(name, lambda rng, xs=xs: [Case("even", (x,)) for x in xs]) for name, xs in (("a", (1, 2)), ("b", (3, 4)))
    ]
    asked = Question("q", tuple(parts), {"even": lambda x: x % 2 == 0}, "Q", "True or False", mistakes)
    return Key.make(asked, [part.draw(None) for part in parts])


def test_verdicts_have_to_agree_in_all_parts():
    made = verdicts(Mistake("always true", "even", lambda x: True))
    assert hint(made, lambda x: True) == "always true"
    # always true in part a, where it is right, and not in part b
    assert hint(made, lambda x: x != 3) == "the same answer comes back whatever the arguments are"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda x: None, "double gives back nothing (None): does every way through it end in `return`?"),
        (lambda x: [x, x], "double gives back 2 numbers; asked for: a number"),
        (lambda x: "two", "double gives back a text; asked for: a number"),
        (lambda x: float("nan"), "double gives back NaN or infinity: a division by zero?"),
        (lambda x: object(), "double gives back something that is not made of numbers, text, lists and dicts; asked"),
        (lambda x: (x for _ in range(2)), "double gives back an iterator: make it a list"),
        (lambda x: ..., "double is not answered yet"),
        (lambda x: -2 * x, "right up to the sign"),
        (lambda x: x, "every number is half of the right one"),
        (lambda x: x + 1, "not right, in a way that has no name"),
    ],
)
def test_what_is_read_off_an_answer(model, said):
    assert hint(key(), model).startswith(said)


def test_items_of_a_result_are_judged_by_themselves():
    parts = [Part(name, lambda rng: [Case("f", (2.0,)), Case("f", (3.5,))], item=i) for i, name in enumerate("ab")]
    asked = Question(
        "q", tuple(parts), {"f": lambda x: (x, x * x)}, "Q", "a pair", (Mistake("no", "f", lambda x: (0, 7)),)
    )
    made = Key.make(asked, [part.draw(None) for part in parts])
    assert made.mark(answers(made, lambda x: np.array([x, 7]))).held == (True, False)
    assert hint(made, lambda x: (x, 7)) == "no"
    assert hint(made, lambda x: (x, [1, 2])) == "f gives back 2 numbers as b; asked for: a pair"
    assert hint(made, lambda x: (x, x * x, 0)) == "f gives back 3 numbers; asked for: a pair"
    both = Part("both", parts[0].draw, item=(0, 1))
    together = Key.make(Question("q", (both,), asked.reference, "Q", "a pair", asked.mistakes), [both.draw(None)])
    assert together.mark(answers(together, lambda x: (x, x * x))).points == 1
    assert together.mark(answers(together, lambda x: (x, 7))).hint == "1: no"


def test_only_known_names_of_exceptions_are_repeated():
    assert raised("IndexError") == "raised IndexError"
    assert raised("LinAlgError") == "raised LinAlgError"
    assert raised("print") == raised("inputs_1_2") == "raised an exception of its own class"


# Variables


def states(question, **values):
    made = Key.make(question, [part.draw(None) for part in question.parts])
    found = made.findings([[evaluate(values[name], Case(name))] for name in question.reference])
    return [one.state for one in found], [one.hint for one in found]


CHAIN = variables("x", {"a": 3 / 13, "b": "1 - a", "c": "a * b"}, {"b": {"one plus": "1 + a"}}, tolerance=1e-6)


def test_a_later_number_is_judged_against_the_earlier_one():
    assert states(CHAIN, a=3 / 13, b=10 / 13, c=30 / 169)[0] == ["right"] * 3
    assert states(CHAIN, a=0.5, b=0.5, c=0.25)[0] == ["wrong", "follows", "follows"]
    assert states(CHAIN, a=0.5, b=10 / 13, c=0.25) == (["wrong", "right", "wrong"], ["", "", ""])
    assert states(CHAIN, a=-3 / 13, b=1 - 3 / 13, c=0)[1] == ["right up to the sign", "", ""]


def test_a_follower_earns_its_points_unless_it_follows_from_nothing():
    made = Key.make(CHAIN, [part.draw(None) for part in CHAIN.parts])

    def points_for(*values):
        return made.mark([[Reply(value)] for value in values]).points

    assert points_for(0.5, 0.5, 0.25) == 2 and points_for(0.0, 1.0, 0.0) == 0


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (0.23, "right so far, but rounded: give three digits or a fraction"),
        (0.2, "right so far, but rounded: give three digits or a fraction"),
        (13 / 3, "this is the right number upside down: 1 divided by it"),
        (300 / 13, "this is in per cent: give the number itself"),
        ((3 / 13) ** 2, "this is the square of what is asked for"),
        ((3 / 13) ** 0.5, "this is the root of what is asked for"),
        (float("inf"), "a is not a number (NaN or infinity): was something divided by zero?"),
        ("three", "a is a text; one number should stand there"),
        ([0.1, 0.2], "a is 2 numbers; one number should stand there"),
        (len, "a is a function: call it"),
        (0.9, ""),
    ],
)
def test_what_is_read_off_a_number(value, hint):
    assert states(CHAIN, a=value, b=0, c=0)[1][0] == hint


def test_brackets_that_python_needs():
    root = variables("x", {"h": "(3 * 7) ** (1 / 3)"})
    (said,) = states(root, h=(3 * 7) ** 1 / 3)[1]
    assert said.startswith("this is what Python makes of `(3 * 7) ** 1 / 3`")
    assert [slip.text for slip in Formula("(a + b) * (c)").slips()] == ["a + b * (c)", "(a + b) * c"]


@pytest.mark.parametrize(("given", "expected", "kind"), [
    (0.71, 2**-0.5, True),
    (0.7, 2**-0.5, True),
    (0.70, 2**-0.5, True),
    (0.6, 2**-0.5, False),
    (-0.44, -7 / 16, True),
    (-0.43, -7 / 16, True),
    (30, 28, False),
    (2.2, 2.25, True),
    (2, 2.25, False),
    (310, 312.5, True),
    (0, 0.3, False),
])  # fmt: skip
def test_rounding_is_recognised(given, expected, kind):
    assert rounded(np.array(float(given)), np.array(expected)) == kind


def test_nobody_types_one_for_nearly_one():
    question = variables("x", {"a": 0.3}, {"a": {"cosine of degrees": 0.998}})
    assert states(question, a=1)[1] == [""] and states(question, a=0.998)[1] == ["cosine of degrees"]


def test_a_function_that_writes_into_its_argument_spoils_nothing():
    def spoil(x):
        x[:] = 0
        return 0

    case = Case("f", (np.ones(3),))
    evaluate(spoil, case)
    assert (case.arguments[0] == 1).all()


def test_points_names_what_there_is():
    with pytest.raises(CourseError, match="A2 has no question 'alpha': choose two_tasks, k_tasks"):
        points("A2", "alpha", {})
    with pytest.raises(CourseError, match="unknown assignment 'B2': use 'A1', 'A2', 'A3' or 'A4'"):
        points("B2", "alpha", {})


def test_figures_of_hidden_inputs_are_neither_shown_nor_left_open(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = []
    show = lambda: shown.append(len(pyplot.get_fignums()))  # noqa: E731
    monkeypatch.setattr(pyplot, "show", show)

    def figure_data(log):
        pyplot.figure()
        pyplot.show()
        raise ValueError

    own = pyplot.figure()
    points("A4", "figure", {"figure_data": figure_data})
    assert shown == [] and pyplot.get_fignums() == [own.number] and pyplot.show is show
    pyplot.close(own)
