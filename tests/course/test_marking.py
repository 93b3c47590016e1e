import numpy as np
import pytest

from tinymtl.course import ASSIGNMENTS, points
from tinymtl.course.assignment import Case, Mistake, Property, Question, Remote, Reply
from tinymtl.course.errors import CourseError
from tinymtl.course.marking import Key, close, evaluate, raised

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
        ([0.5], 0.5),
        (0.5, [0.5]),
        ([[1], [2]], [1, 2]),
        ([1, 2, 3], [1, 2]),
        (np.zeros((0, 3)), np.zeros((3, 0))),
        (True, 1),
        (1, True),
        ("1", 1),
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
    """The mistake alone: what a student with this one mistake, and everything else right, answers."""
    key = Key.make(question, assignment.draw(question, seed))
    for mistake, wrong in zip(question.mistakes, key.wrong, strict=True):
        replies = [
            [reply or right for reply, right in zip(group, rights, strict=True)]
            for group, rights in zip(wrong, key.right, strict=True)
        ]
        mark = key.mark(replies)
        assert mark.points < question.points, mistake.hint
        assert mistake.hint == mark.hint


@pytest.mark.parametrize(("assignment", "question"), QUESTIONS, ids=names)
def test_nothing_earns_nothing(assignment, question):
    assert points(assignment.name, question.name, {}) == 0


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


def question(*mistakes, properties=None):
    def draw(rng):
        return [Case("double", (float(x),)) for x in rng.uniform(1, 2, size=3)]

    properties = properties or (Property("small", 1, draw), Property("large", 2, draw))
    return Question("q", "Q", "a number", properties, {"double": lambda x: 2 * x}, mistakes)


def key(*mistakes):
    asked = question(*mistakes)
    return Key.make(asked, [part.draw(np.random.default_rng(i)) for i, part in enumerate(asked.properties)])


def answers(made, model):
    return [[evaluate(model, case) for case in group] for group in made.cases]


def test_a_property_earns_its_points_alone():
    made = key()
    replies = answers(made, lambda x: 2 * x)
    replies[1][2] = Reply(0.0)
    mark = made.mark(replies)
    assert (mark.points, mark.held) == (1, (True, False))
    assert mark.hint == "no known mistake matches; what is missing: large"


def test_one_failed_case_costs_its_property():
    made = key()
    replies = answers(made, lambda x: 2 * x)
    replies[0][0] = Reply(error="raised ValueError")
    mark = made.mark(replies)
    assert mark.points == 2 and mark.hint == "double raised ValueError"


def test_a_mistake_has_to_explain_every_reply():
    made = key(Mistake("tripled", "double", lambda x: 3 * x))
    assert made.mark(answers(made, lambda x: 3 * x)).hint == "tripled"
    almost = answers(made, lambda x: 3 * x)
    almost[1][0] = Reply(0.0)
    assert "no known mistake" in made.mark(almost).hint


def test_a_mistake_that_fails_where_the_student_fails_is_recognised():
    def model(x):
        return 3 * x if x > 1.3 else 1 / 0

    made = key(Mistake("tripled, and fails for small numbers", "double", model))
    assert made.mark(answers(made, model)).hint == "tripled, and fails for small numbers"


def test_failing_everywhere_is_no_known_mistake():
    made = key(Mistake("always fails", "double", lambda x: 1 / 0))
    assert made.mark(answers(made, lambda x: 1 / 0)).hint == "double raised ZeroDivisionError"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (lambda x: None, "double gave back None: is a return missing?"),
        (lambda x: [x], "double gave back the wrong kind or shape of value: the question asks for a number"),
        (lambda x: float("nan"), "double gave back NaN or infinity"),
        (
            lambda x: object(),
            "double returned something that is neither a number, nor text, a list, a dict or an array",
        ),
    ],
)
def test_hints_without_a_mistake(model, hint):
    made = key()
    assert made.mark(answers(made, model)).hint.startswith(hint)


def test_only_known_names_of_exceptions_are_repeated():
    assert raised("IndexError") == "raised IndexError"
    assert raised("LinAlgError") == "raised LinAlgError"
    assert raised("print") == raised("inputs_1_2") == "raised an exception of its own class"


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
