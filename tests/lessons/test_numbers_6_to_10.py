"""The numbers of lessons 6 to 10, each from its closed form or by another way than the lesson's own."""

import itertools
import math

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.fake_cupy import pretend_gpu
from tinymtl.lab.statistics import mean_interval, t_quantile
from tinymtl.steps.grouped import random_partition

CLOSE = {"rel": 1e-12, "abs": 1e-12}


# ------------------------------------------------------------ lesson 6


def both(X, at_z):
    """MGDA-UB and MGDA on Z = Xθ with the given ∇_Z Lₖ at the start: their turns."""
    rows = len(X)
    targets = [[[-rows * value] for value in g] for g in at_z]
    turns = []
    for strategy in (tm.MGDAUB, tm.MGDA):
        problem = tm.problems.LinearSharedBottom(X, np.zeros((len(X[0]), 1)), [[[1.0]]] * len(at_z), targets)
        assert [g.ravel().tolist() for g in problem.representation_gradients()] == [list(g) for g in at_z]
        turns.append(tm.trace(strategy(problem, tm.SGD(lr=0.1))).turns[0])
    return turns


def test_lesson_6_two_samples():
    ub, full = both([[1, 0], [0, 3]], [(1, 0), (0, 1)])
    assert ub.weights == pytest.approx([1 / 2, 1 / 2], **CLOSE)
    assert full.weights == pytest.approx([9 / 10, 1 / 10], **CLOSE)  # in proportion to 1/‖g‖², 1 : 1/9
    assert ub.descent == pytest.approx([0.5, 4.5], **CLOSE)
    assert full.descent == pytest.approx([0.9, 0.9], **CLOSE)


def test_lesson_6_stacked_and_averaged():
    """Orthogonal, so α₁ = ‖g₂‖²/(‖g₁‖² + ‖g₂‖²) and ‖v‖² = 1/(1/2 + 1/8)."""
    X, start, heads = np.eye(2), np.zeros((2, 2)), [[[1.0], [0.0]], [[0.0], [1.0]]]
    problem = tm.problems.LinearSharedBottom(X, start, heads, [[[-2.0], [2.0]], [[-4.0], [-4.0]]])
    assert problem.representation_gradients()[0].tolist() == [[1, 0], [-1, 0]]
    assert problem.representation_gradients()[1].tolist() == [[0, 2], [0, 2]]
    report = tm.MGDAUB(problem, tm.SGD(lr=0.1))()
    assert report.weights == pytest.approx([8 / 10, 2 / 10], **CLOSE)
    assert report.min_norm.squared_norm == pytest.approx(1.6, **CLOSE)
    assert tm.min_norm([[0.0, 0.0], [0.0, 2.0]]).weights.tolist() == [1, 0]


def test_lesson_6_theorem_1b_fails():
    J = np.array([[1.0, 1.0], [2.0, 1.0]])
    ub, full = both(J, [(1, 1), (1, -1)])
    g1, g2, v = J.T @ [1, 1], J.T @ [1, -1], J.T @ [1, 0]
    assert ub.weights == pytest.approx([0.5, 0.5], **CLOSE)
    assert (g1 @ v, g2 @ v) == (5, -1)
    assert ub.descent == pytest.approx([5, -1], **CLOSE)
    after = np.array([-0.2, -0.3])  # Z after the step: −η J v; L₂ = ‖Z − Y₂‖²/4 with Y₂ = (−2, 2)
    assert ub.actual[1] == pytest.approx(((after - [-2, 2]) ** 2).sum() / 4 - 2, **CLOSE)
    assert ub.actual[1] == pytest.approx(0.1325, **CLOSE)
    assert full.weights == pytest.approx([0.2, 0.8], **CLOSE)
    assert full.v == pytest.approx([-0.2, 0.4], **CLOSE)
    assert full.descent == pytest.approx([0.2, 0.2], **CLOSE)


def test_lesson_6_they_agree_where_jjt_is_a_multiple_of_the_identity():
    turn = np.array([[3.0, -4.0], [4.0, 3.0]])
    ub, full = both(turn, [(1, 1), (1, -2)])
    assert ub.weights == pytest.approx(full.weights, **CLOSE)
    assert ub.descent == pytest.approx(full.descent, **CLOSE)


# ------------------------------------------------------------ lesson 7


def adam(gradients, turns, shared):
    """θ after every turn, from Adam's formulas with sums in place of the recursion; constant gradients, ε = 0."""
    theta, path = 0.0, []
    for turn in range(turns):
        seen = [gradients[i % len(gradients)] for i in range(turn + 1)]
        if not shared:
            seen = seen[turn % len(gradients) :: len(gradients)]
        t = len(seen)
        m = sum(0.1 * 0.9 ** (t - 1 - i) * g for i, g in enumerate(seen)) / (1 - 0.9**t)
        v = sum(0.001 * 0.999 ** (t - 1 - i) * g * g for i, g in enumerate(seen)) / (1 - 0.999**t)
        theta -= 0.1 * m / math.sqrt(v)
        path.append(theta)
    return np.array(path)


def test_lesson_7_six_turns():
    shared = adam([100, -1], 6, shared=True)
    assert shared.round(4).tolist() == [-0.1, -0.1663, -0.2476, -0.3139, -0.3911, -0.4574]
    assert adam([100, -1], 6, shared=False) == pytest.approx([-0.1, 0, -0.1, 0, -0.1, 0], abs=1e-12)
    assert (shared[0] - shared[1]) / 0.1 == pytest.approx((8.9 / 0.19) / math.sqrt(9.991 / 0.001999), rel=1e-12)
    assert adam([100, -1000], 6, shared=True)[-1].round(4) == 0.2006


def test_lesson_7_what_is_left_of_a_quiet_task():
    """Late in its turn: (β₁a₁ + a₂)/(1 + β₁) / √((β₂a₁² + a₂²)/(1 + β₂)), with a₂ = −1."""
    for loud, left in ((1, 0.053), (10, -0.593), (100, -0.663), (1e6, -0.670)):
        a, b1, b2 = loud, 0.9, 0.999
        ratio = (b1 * a - 1) / (1 + b1) / math.sqrt((b2 * a * a + 1) / (1 + b2))
        assert -ratio == pytest.approx(left, abs=5e-4)


def test_lesson_7_where_alternating_comes_to_rest():
    problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.0])
    step = tm.Alternating(problem, tm.SGD(lr=0.1))
    step()
    assert problem.theta.item() == pytest.approx(0.1 - 0.1 * 1.1, **CLOSE)
    for _ in range(400):
        step()
    assert problem.theta.item() == pytest.approx(-1 / 19, rel=1e-9)  # ((1 − η) − 1)/(2 − η)
    assert problem.alternating_fixed_point(0.1, order=[1, 0])[0] == pytest.approx(1 / 19, rel=1e-9)


def test_lesson_7_what_it_costs():
    trunk, heads = 64 * 8 + 8, 8 * (8 + 1)
    assert (trunk, heads) == (520, 72)
    assert (2 * (trunk + heads), 8 * 2 * trunk + 2 * heads) == (1184, 8464)


# ------------------------------------------------------------ lesson 8


def partitions(tasks, size):
    """All partitions of 0 … tasks − 1 into groups of `size`, from all orders."""
    starts = range(0, tasks, size)
    orders = itertools.permutations(range(tasks))
    return {frozenset(frozenset(order[i : i + size]) for i in starts) for order in orders}


@pytest.mark.parametrize(("tasks", "size", "count"), [(4, 2, 3), (6, 2, 15), (6, 3, 10)])
def test_lesson_8_how_many_and_how_often_together(tasks, size, count):
    found = partitions(tasks, size)
    assert len(found) == count
    together = sum(any({0, 1} <= group for group in groups) for groups in found) / count
    assert together == pytest.approx((size - 1) / (tasks - 1), **CLOSE)
    rng = np.random.default_rng(0)
    drawn = {frozenset(map(frozenset, random_partition(tasks, size, rng))) for _ in range(300)}
    assert drawn == found


def test_lesson_8_groups_that_are_drawn_one_by_one():
    pairs = list(itertools.combinations(range(4), 2))
    left_out = [set(a) | set(b) != {0, 1, 2, 3} for a in pairs for b in pairs]
    assert sum(left_out) / len(left_out) == pytest.approx(5 / 6, **CLOSE)


def test_lesson_8_pairings_of_eight():
    assert math.prod(range(1, 8, 2)) == 105


# ------------------------------------------------------------ lesson 9


def test_lesson_9_the_interval():
    d = [0.02, -0.01, 0.03, 0.01, 0.0]
    mean = sum(d) / 5
    s = math.sqrt(sum((x - mean) ** 2 for x in d) / 4)
    assert (round(mean, 12), round(s, 4), round(t_quantile(4), 3)) == (0.01, 0.0158, 2.776)
    found = mean_interval(d)
    assert found.mean == pytest.approx(mean, **CLOSE)
    assert found.half_width == pytest.approx(2.7764451 * s / math.sqrt(5), rel=1e-7)
    assert round(found.half_width, 4) == 0.0196 and found.holds_zero


def test_lesson_9_the_budget():
    rows = len(tm.data.load("multidigits").train)
    assert -(-rows // 128) == 32 and 12 * 32 == 384 and 4 * 3 * 384 == 4608


# ------------------------------------------------------------ lesson 10


def test_lesson_10_the_widths():
    assert math.sqrt(5e-6 * 1e13 / (2 * 256)) == pytest.approx(312.5, rel=1e-12)


@pytest.mark.parametrize("strategy", [tm.Averaged, tm.MGDAUB, tm.MGDA, tm.Alternating], ids=lambda s: s.__name__)
def test_lesson_10_launches_do_not_grow_or_grow_by_the_same_number_with_every_task(strategy):
    def launches(tasks):
        loss = tm.binary_cross_entropy_with_logits
        heads = [tm.Task(f"task {k}", tm.nn.Linear(3, 1, rng=k), loss) for k in range(tasks)]
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(4, 5)).astype(np.float32), rng.integers(0, 2, (4, tasks)).astype(np.float32)
        with pretend_gpu() as tally:
            step = strategy(tm.SharedBottom(tm.nn.MLP([5, 3, 3]), heads).to(device="cuda"), tm.Adam())
            step(x, y)
            tally.reset()
            step(x, y)
            assert tally.waits == (1 if strategy in (tm.MGDA, tm.MGDAUB) else 0)
            return tally.launches

    counted = [launches(tasks) for tasks in (2, 3, 8)]
    per_task = counted[1] - counted[0]
    assert counted[2] - counted[1] == 5 * per_task
    assert per_task == 0 if strategy in (tm.Averaged, tm.MGDAUB) else per_task > 5
