"""The numbers of lessons 1 to 5, each from its closed form or by another way than the lesson's own."""

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.autodiff import record
from tinymtl.autodiff.gradcheck import gradient_error
from tinymtl.autodiff.ops import unbroadcast
from tinymtl.hull import frank_wolfe
from tinymtl.lab import task_gradients
from tinymtl.lab.walk import hand_example

CLOSE = {"rel": 1e-12, "abs": 1e-12}


# ------------------------------------------------------------ lesson 1


def test_lesson_1_the_derivatives_of_x2_y_y_plus_1():
    """L = xy(xy + x) = x²y(y + 1): ∂x = 2xy(y + 1), ∂y = x²(2y + 1)."""
    x, y = (tm.tensor(value, requires_grad=True, dtype="float64") for value in (2.0, 3.0))
    c = x * y
    d = c + x
    L = c * d
    assert L.item() == 2**2 * 3 * 4 == 48
    assert [g.item() for g in tm.grad(L, [x, y, c, d])] == [2 * 2 * 3 * 4, 2**2 * 7, 14, 6] == [48, 28, 14, 6]


def test_lesson_1_the_two_wrong_walks():
    """c's share 8 counted once more: 48 + 8·3 and 28 + 8·2. Overwritten: c keeps 6, and x what c passes on."""
    assert (48 + 8 * 3, 28 + 8 * 2) == (72, 44)
    assert (6 * 3, 6 * 2) == (18, 12)
    assert [2 ** (n + 1) - 1 for n in (4, 8, 16)] == [31, 511, 131_071]  # nodes of a full binary tree


# ------------------------------------------------------------ lesson 2


def test_lesson_2_sums_over_what_was_repeated():
    g = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert unbroadcast(g, (2,)).tolist() == [9, 12]
    assert unbroadcast(g, (3, 1)).tolist() == [[3], [7], [11]]
    assert unbroadcast(g, ()) == 21


def test_lesson_2_the_best_step():
    u = 2.0**-53
    h = 10.0 ** np.linspace(-7, -4, 300_001)
    best = h[(h**2 / 6 + u / h).argmin()]
    assert best == pytest.approx((3 * u) ** (1 / 3), rel=1e-4)
    assert best == pytest.approx(7e-6, rel=0.02)
    single = (3 * 2.0**-24) ** (1 / 3)  # in float32
    assert single == pytest.approx(6e-3, rel=0.1)
    bound = single**2 / 6 + 2.0**-24 / single
    assert 1e-5 < bound < 2e-5


def test_lesson_2_the_v_and_the_flat_line():
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((4, 3)), rng.standard_normal((3, 2))]

    def slip(x, w):
        a = x @ w
        z = np.tanh(a.data)
        return record(z, (a, lambda g: g * (1 - z)))

    error = {h: gradient_error(lambda x, w: tm.tanh(x @ w), inputs, step=h) for h in (1e-2, 1e-3, 1e-5, 1e-12)}
    assert error[1e-2] / error[1e-3] == pytest.approx(100, rel=0.01)
    assert error[1e-5] < 1e-9 < error[1e-12]
    wrong = [gradient_error(slip, inputs, step=h) for h in (1e-2, 1e-5, 1e-8)]
    assert min(wrong) > 5 and max(wrong) / min(wrong) < 1.1


# ------------------------------------------------------------ lesson 3


def test_lesson_3_gradients_gram_and_angle():
    model, x, targets = hand_example()
    report = tm.MGDAUB(model, tm.SGD(lr=0.1))
    stages = {stage.name: stage.values for stage in report.stages(x, targets)}
    assert stages["task gradients"]["losses"].tolist() == [2, 0.5]
    assert [stages["task gradients"]["gradients"][k].tolist() for k in range(2)] == [[[2, 2]], [[0, -1]]]
    assert stages["gram"]["gram"].tolist() == [[8, -2], [-2, 1]]
    assert np.degrees(np.arccos(-2 / np.sqrt(8))) == pytest.approx(135, **CLOSE)


def test_lesson_3_at_the_trunk_everything_is_five_times_as_large():
    model, x, targets = hand_example()
    g = task_gradients(model, x, targets)
    assert g.tolist() == [[2, 2, 4, 4], [0, -1, 0, -2]]
    assert (g @ g.T).tolist() == [[40, -10], [-10, 5]]


def test_lesson_3_51_for_15():
    w = tm.tensor(2.0, requires_grad=True)
    z = w * 3.0
    assert [tm.grad(loss, [w])[0].item() for loss in (z * z, 5.0 * z)] == [36, 15]
    left_at_z = 2 * 6.0
    assert (left_at_z + 5) * 3 == 36 + 15 == 51


# ------------------------------------------------------------ lesson 4


def test_lesson_4_scale():
    problem = tm.problems.Quadratics([200.0, 2.0], [[1.0], [-1.0]], start=[99 / 101])
    assert problem.averaged_optimum()[0] == pytest.approx(99 / 101, **CLOSE)
    assert problem.losses().data == pytest.approx([100 * (2 / 101) ** 2, (200 / 101) ** 2], **CLOSE)
    assert problem.losses().data.round(3).tolist() == [0.039, 3.921]
    assert problem.pareto_point([1 / 101, 100 / 101])[0] == pytest.approx(0, abs=1e-12)
    theta = problem.pareto_point([1 / 11, 10 / 11])[0]
    assert 100 * (theta - 1) ** 2 == pytest.approx((theta + 1) ** 2, **CLOSE)  # the row with equal losses


def conflict(start=(0.5, 0.25)):
    return tm.problems.Quadratics([[1.0, 9.0], [9.0, 1.0]], [[1.0, 0.0], [-1.0, 0.0]], start=start)


def test_lesson_4_a_loss_that_rises():
    g1, g2 = task_gradients(conflict(), None, None)
    assert (g1.tolist(), g2.tolist()) == ([-0.5, 2.25], [13.5, 0.25])
    assert (g1 + g2) @ g1 / 2 == -7 / 16
    problem = conflict()
    step = tm.Averaged(problem, tm.SGD(lr=0.02))
    losses = np.array([step().losses for _ in range(61)])
    assert (np.diff(losses[:, 0]) > 0).all() and (np.diff(losses.mean(axis=1)) < 0).all()
    end = conflict(problem.averaged_optimum()).losses().data  # at (−0.8, 0): ½·1.8² and ½·9·0.2²
    assert end == pytest.approx([1.62, 0.18], **CLOSE)
    assert losses[-1] == pytest.approx(end, abs=0.01)


def test_lesson_4_where_the_average_hurts():
    """It raises L₁ inside an ellipse: ḡ·g₁ is a quadratic in θ that is 0 at (1, 0) and at the optimum (−0.8, 0)."""
    g1, g2 = task_gradients(conflict((1.0, 0.0)), None, None)
    assert (g1 + g2) @ g1 == 0
    g1, g2 = task_gradients(conflict((-0.8, 0.0)), None, None)
    assert (g1 + g2) @ g1 == pytest.approx(0, abs=1e-12)
    areas = {}
    axis = np.linspace(-1.5, 1.5, 1501)
    p = np.stack(np.meshgrid(axis, axis), axis=-1)
    a, b = (p - [1, 0]) * [1, 9], (p - [-1, 0]) * [9, 1]
    areas["conflict"] = ((a * b).sum(-1) < 0).mean()
    areas["hurt"] = (((a + b) * a).sum(-1) < 0).mean() + (((a + b) * b).sum(-1) < 0).mean()
    assert areas["conflict"] == pytest.approx(np.pi / 9, abs=1e-3)  # a circle of radius 1 in a square of side 3
    assert areas["hurt"] == pytest.approx(np.pi * 0.3 * (0.9 + 0.1) / 9, abs=1e-3)  # half axes 0.9, 0.3 and 0.1, 0.3


def test_lesson_4_the_concave_front():
    s = 0.9575040240772687
    assert np.tanh(2 * s) == pytest.approx(s, **CLOSE)
    problem = tm.problems.FonsecaFleming([s])
    assert problem.losses().data.round(3).tolist() == [0.002, 0.978]
    assert tm.problems.FonsecaFleming([0.0]).losses().data == pytest.approx([1 - 1 / np.e] * 2, **CLOSE)
    for start, end in ((0.05, s), (-0.05, -s)):
        problem = tm.problems.FonsecaFleming([start])
        step = tm.Averaged(problem, tm.SGD(lr=0.5))
        for _ in range(100):
            step()
        assert problem.theta.data[0] == pytest.approx(end, abs=1e-9)


def test_lesson_4_no_weighting_rests_in_the_middle():
    """The second derivative of w L₁ + (1 − w) L₂ where its first one is 0 is negative for |s| < 1/√2."""
    s = np.linspace(-0.7, 0.7, 1401)
    slope = [2 * (s - c) * np.exp(-((s - c) ** 2)) for c in (1, -1)]
    bend = [(2 - 4 * (s - c) ** 2) * np.exp(-((s - c) ** 2)) for c in (1, -1)]
    w = slope[1] / (slope[1] - slope[0])  # the weighting that is stationary at s
    assert ((w > 0) & (w < 1)).all()
    assert (w * bend[0] + (1 - w) * bend[1] < 0).all()


# ------------------------------------------------------------ lesson 5


def test_lesson_5_two_gradients():
    g = np.array([[2.0, 2.0], [0.0, -1.0]])
    alpha = np.linspace(0, 1, 1_300_001)  # 3/13 is on this grid
    lengths = np.linalg.norm(alpha[:, None] * g[0] + (1 - alpha)[:, None] * g[1], axis=1)
    assert alpha[lengths.argmin()] == pytest.approx(3 / 13, abs=1e-6)
    found = tm.min_norm(g)
    v = found.weights @ g
    assert found.weights == pytest.approx([3 / 13, 10 / 13], **CLOSE)
    assert v == pytest.approx([6 / 13, -4 / 13], **CLOSE)
    assert [found.squared_norm, *(g @ v)] == pytest.approx([4 / 13] * 3, **CLOSE)


def test_lesson_5_without_the_clip():
    for g2, alpha, v in (((3.0, 0.0), 1.5, (0.0, 0.0)), ((3.0, 1.0), 1.4, (0.2, -0.4))):
        g1, other = np.array([1.0, 0.0]), np.array(g2)
        weight = (other - g1) @ other / ((other - g1) @ (other - g1))
        assert weight == pytest.approx(alpha, **CLOSE)
        assert weight * g1 + (1 - weight) * other == pytest.approx(v, **CLOSE)
        assert tm.min_norm([g1, other]).weights.tolist() == [1, 0]


def test_lesson_5_orthogonal_gradients_and_a_change_of_unit():
    assert tm.min_norm(np.diag([1.0, 2.0, 3.0])).weights == pytest.approx([36 / 49, 9 / 49, 4 / 49], **CLOSE)
    for factor in (1.0, 3.0, 10.0, 100.0):
        inverse = np.array([1 / factor**2, 1 / 4, 1 / 9])
        alpha = tm.min_norm(np.diag([factor, 2.0, 3.0])).weights
        assert alpha == pytest.approx(inverse / inverse.sum(), **CLOSE)


def test_lesson_5_stationary_is_not_optimal():
    tug = tm.problems.LinearSharedBottom([[1.0]], [[1.0]], [[[1.0]], [[2.0]]], [[[0.0]], [[6.0]]])
    found = tm.min_norm(tug.representation_gradients())
    assert found.weights == pytest.approx([8 / 9, 1 / 9], **CLOSE)
    assert found.squared_norm == pytest.approx(0, abs=1e-12)
    assert tug.losses().data.tolist() == [0.5, 8.0]
    finished = tm.min_norm([[0.0, 0.0], [5.0, 5.0]])
    assert finished.weights.tolist() == [1, 0] and finished.squared_norm == 0


def test_lesson_5_mgda_raises_neither_loss():
    problem = conflict()
    step = tm.MGDA(problem, tm.SGD(lr=0.02))
    losses = np.array([step().losses for _ in range(100)])
    assert (np.diff(losses, axis=0) <= 1e-12).all()
    assert losses[-1].round(3).tolist() == [0.135, 9.862]
    theta = problem.theta.data
    w = tm.min_norm(task_gradients(problem, None, None)).weights
    assert theta == pytest.approx(problem.pareto_point(w), abs=1e-3)  # it has come to rest on the Pareto set


@pytest.mark.parametrize(("longest", "raises", "proved"), [(1000, 95, 5), (1, 0, 100)])
def test_lesson_5_frank_wolfe_stopped_early(longest, raises, proved):
    rng = np.random.default_rng(0)
    seen = np.zeros(2, dtype=int)
    for _ in range(100):
        g = rng.standard_normal((10, 50))
        g *= np.geomspace(1, longest, 10)[:, None] / np.linalg.norm(g, axis=1, keepdims=True)
        G = g @ g.T
        found = frank_wolfe(G, tolerance=0.0, max_iterations=100, smallest_step=1e-3)
        seen += (G @ found.weights).min() < 0, found.gap < found.squared_norm
    assert seen.tolist() == [raises, proved]
