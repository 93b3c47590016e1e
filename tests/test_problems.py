"""The analytic problems: losses, gradients and answers, against formulas written out here and finite differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.autodiff.gradcheck import check_gradient
from tinymtl.problems import FonsecaFleming, LinearSharedBottom, Quadratics


def close(actual, expected, tolerance=1e-12):
    assert_allclose(actual, expected, rtol=0, atol=tolerance)


def gradients(problem):
    """∇_θ of every loss, one sweep each."""
    return [tm.grad(task.loss(task.head(problem.theta), None), problem.theta)[0] for task in problem.tasks]


def draw(tasks=3, n=4, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(tasks, n, n))
    return A @ A.swapaxes(1, 2) / n + 0.3 * np.eye(n), rng.normal(size=(tasks, n)), rng.normal(size=n)


# ------------------------------------------------------------ all of them


def problems():
    H, c, start = draw()
    rng = np.random.default_rng(1)
    heads = [rng.normal(size=(3, 2)), rng.normal(size=(3, 1))]
    targets = [rng.normal(size=(5, 2)), rng.normal(size=(5, 1))]
    return [
        Quadratics(H, c, start),
        FonsecaFleming([0.3, -0.2, 0.5]),
        LinearSharedBottom(rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), heads, targets),
    ]


EACH = pytest.mark.parametrize("index", range(3), ids=["quadratics", "Fonseca-Fleming", "linear"])


@EACH
@pytest.mark.parametrize("leading", [(), (3,)], ids=str)
def test_gradients_against_differences(index, leading):
    problem = problems()[index]
    z = problem.represent(None).data.copy()
    for task in problem.tasks:
        check_gradient(lambda z, task=task: task.loss(task.head(z), None), [z], leading=leading)


@EACH
def test_a_problem_is_a_model(index):
    problem = problems()[index]
    losses = problem.losses().data
    assert losses.shape == (len(problem.tasks),) and losses.dtype == np.float64
    assert problem.task_names == [f"loss {k + 1}" for k in range(len(problem.tasks))]
    assert problem.theta is problem.shared_parameters()[0] and problem.theta.dtype == np.float64
    assert losses.tobytes() == tm.Averaged(problem, tm.SGD(0.1))().losses.tobytes()
    assert (problem.losses().data != losses).all()  # θ itself has moved


@EACH
def test_it_takes_no_data(index):
    for x, targets in [(np.ones((2, 2)), None), (None, {"loss 1": [1]})]:
        with pytest.raises(ValueError, match="takes no data: call the step without x and targets"):
            tm.Averaged(problems()[index], tm.SGD(0.1))(x, targets)


# ------------------------------------------------------------ quadratics


def test_quadratic_losses_and_gradients():
    H, c, start = draw()
    problem = Quadratics(H, c, start)
    close(problem.losses().data, [0.5 * (start - b) @ h @ (start - b) for h, b in zip(H, c, strict=True)])
    close(gradients(problem), [h @ (start - b) for h, b in zip(H, c, strict=True)])


def test_curvatures_as_numbers_diagonals_and_matrices():
    c, start = [[1.0, 0.0], [0.0, -1.0]], [0.3, 0.4]
    same = [
        Quadratics([2.0, 3.0], c, start),
        Quadratics([[2.0, 2.0], [3.0, 3.0]], c, start),
        Quadratics([2.0, 3 * np.eye(2)], c, start),
    ]
    for problem in same:
        close(problem.losses().data, [0.49 + 0.16, 1.5 * (0.09 + 1.96)])
    close(Quadratics([[1.0, 9.0]], [[1.0, 0.0]], [0.5, 0.25]).losses().data, [0.5 * (0.25 + 9 / 16)])


def test_the_starts_are_copies():
    start, centers = np.array([1.0, 2.0]), np.array([[0.0, 0.0]])
    problem = Quadratics([1.0], centers, start)
    tm.Averaged(problem, tm.SGD(0.5))()
    assert start.tolist() == [1.0, 2.0]
    centers[:] = 7.0
    close(problem.losses().data, [0.5 * (0.25 + 1.0)])


def test_quadratic_optima():
    H, c, start = draw()
    problem = Quadratics(H, c, start)
    for w in (np.ones(3), np.array([0.2, 0.5, 0.3]), np.array([0.0, 1.0, 0.0])):
        theta = problem.pareto_point(w)
        close(sum(a * h @ (theta - b) for a, h, b in zip(w, H, c, strict=True)), np.zeros(4))
    close(problem.averaged_optimum(), problem.pareto_point([1 / 3] * 3))
    close(problem.pareto_point([0, 1, 0]), c[1])
    # lesson 4: 100(θ−1)², (θ+1)²: the minimum of the sum is 99/101
    close(Quadratics([200.0, 2.0], [[1.0], [-1.0]], [0.0]).averaged_optimum(), [99 / 101])


@pytest.mark.parametrize("order", [None, [2, 0, 1], [1, 0]])
def test_the_alternating_map(order):
    """θ ← Pθ + q is the sweep done turn by turn; its fixed point stays where it is."""
    H, c, start = draw()
    problem = Quadratics(H, c, start)
    P, q = problem.alternating_map(0.2, order)
    fixed = problem.alternating_fixed_point(0.2, order)
    for theta, expected in [(start, P @ start + q), (fixed, fixed)]:
        for k in range(3) if order is None else order:
            theta = theta - 0.2 * H[k] @ (theta - c[k])
        close(theta, expected)
    assert problem.theta.data.tolist() == start.tolist()  # asking moves nothing


def test_the_alternating_fixed_point_is_where_the_step_rests():
    H, c, start = draw()
    problem = Quadratics(H, c, start)
    fixed = problem.alternating_fixed_point(0.3)
    step = tm.Alternating(problem, tm.SGD(0.3))
    for _ in range(150):
        step()
    close(problem.theta.data, fixed)
    scalar = Quadratics([1.0, 1.0], [[1.0], [-1.0]], [0.0])
    close(scalar.alternating_fixed_point(0.1), [-1 / 19])
    close(scalar.alternating_fixed_point(0.1, [1, 0]), [1 / 19])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1.0], [1.0, 2.0], [0.0]), r"centers is a \(K, n\) array with K ≥ 1, got shape \(2,\)"),
        (([], np.zeros((0, 2)), [0.0, 0.0]), r"K ≥ 1, got shape \(0, 2\)"),
        (([1.0, 1.0, 1.0], [[0.0], [1.0]], [0.0]), "2 centers need as many curvatures, got 3"),
        (([1.0, 1.0], [[0.0], [1.0]], [0.0, 0.0]), r"start has shape \(2,\), the centers live in 1 dimensions"),
        (([1.0, -1.0], [[0.0], [1.0]], [0.0]), "a curvature is a positive number"),
        (([[[1.0, 2.0], [2.0, 1.0]]], [[0.0, 0.0]], [0.0, 0.0]), "positive definite 2×2 matrix"),
        (([[[1.0, 0.5], [0.0, 1.0]]], [[0.0, 0.0]], [0.0, 0.0]), "positive definite 2×2 matrix"),
        (([np.eye(3)], [[0.0, 0.0]], [0.0, 0.0]), "2×2 matrix"),
        (([[1.0, 2.0, 3.0]], [[0.0, 0.0]], [0.0, 0.0]), "2×2 matrix"),
        (([1.0], [[0.0]], [np.nan]), "start is a vector of finite numbers"),
    ],
)
def test_bad_quadratics(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Quadratics(*arguments)


# ------------------------------------------------------------ Fonseca-Fleming


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fonseca_fleming_losses_and_gradients(n):
    theta = np.random.default_rng(n).normal(size=n)
    problem = FonsecaFleming(theta)
    c = np.ones(n) / np.sqrt(n)
    squares = [(theta - c) @ (theta - c), (theta + c) @ (theta + c)]
    close(problem.losses().data, [1 - np.exp(-s) for s in squares])
    close(gradients(problem), [2 * np.exp(-squares[0]) * (theta - c), 2 * np.exp(-squares[1]) * (theta + c)])


def test_the_pareto_set_and_its_front():
    """At s·1/√n, |s| ≤ 1, the gradients are opposed, and f₂ is the front's value at f₁."""
    c = np.ones(3) / np.sqrt(3)
    for s in (-1.0, -0.6, 0.0, 0.3, 0.999):
        problem = FonsecaFleming(s * c)
        f1, f2 = problem.losses().data
        close(FonsecaFleming.front(f1), f2)
        g1, g2 = gradients(problem)
        close(g1 @ g2, -np.linalg.norm(g1) * np.linalg.norm(g2))
    middle = FonsecaFleming.front(1 - 1 / np.e)
    close(middle, 1 - 1 / np.e)
    f1 = np.array([0.0, 1 - 1 / np.e, 1 - np.exp(-4.0)])
    close(FonsecaFleming.front(f1), f1[::-1])
    assert middle > (f1[0] + f1[2]) / 2  # concave: above the straight line between the ends


def test_fonseca_fleming_optima():
    problem = FonsecaFleming([0.1, 0.0])
    c = np.ones(2) / np.sqrt(2)
    s = problem.averaged_optimum() @ c
    assert s == pytest.approx(0.9575040240772687, abs=1e-15)
    close(problem.averaged_optimum(), s * c)
    for w in [(0.5, 0.5), (0.9, 0.1), (0.1, 0.9), (0.4, 0.6), (1.0, 0.0), (0.0, 1.0), (2.0, 1.0)]:
        theta = problem.pareto_point(w)
        g1, g2 = gradients(FonsecaFleming(theta))
        close(w[0] * g1 + w[1] * g2, [0, 0])
        assert abs(theta @ c) <= 1 + 1e-12
        close(theta, (theta @ c) * c)
    close(problem.pareto_point((0.5, 0.5)), [0, 0])  # the saddle: of three stationary points the one in the middle
    close(problem.pareto_point((1, 0)), c)
    close(problem.pareto_point((0, 1)), -c)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_alternating_fixed_point_of_fonseca_fleming(order):
    """From s > 0 the turns rest there: not where the average rests, but near it."""
    problem = FonsecaFleming([1.0, 1.0])
    expected = problem.alternating_fixed_point(0.3, order)
    theta = problem.averaged_optimum()
    for _ in range(400):
        for k in order:
            d = theta - (1, -1)[k] * problem.direction
            theta = theta - 0.3 * 2 * np.exp(-d @ d) * d
    close(theta, expected)
    assert 1e-3 < np.linalg.norm(expected - problem.averaged_optimum()) < 0.1
    if order == (0, 1):
        step = tm.Alternating(problem, tm.SGD(0.3))
        for _ in range(400):
            step()
        close(problem.theta.data, expected)


@pytest.mark.parametrize("start", [[[0.0, 1.0]], 1.0, [0.0, np.inf]])
def test_bad_starts(start):
    with pytest.raises(ValueError, match="start is a vector of finite numbers, got"):
        FonsecaFleming(start)


# ------------------------------------------------------------ linear shared bottom


def test_linear_gradients():
    """Rₖ, Dₖ, ∇_W, ∇_V: each against a sweep of the same losses built from plain operations."""
    rng = np.random.default_rng(2)
    X, W = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    V, Y = [rng.normal(size=(3, c)) for c in (2, 1)], [rng.normal(size=(5, c)) for c in (2, 1)]
    problem = LinearSharedBottom(X, W, V, Y)
    w, heads = tm.tensor(W, requires_grad=True), [tm.tensor(v, requires_grad=True) for v in V]
    z = tm.tensor(X) @ w
    for k in range(2):
        difference = z @ heads[k] - Y[k]
        loss = (difference * difference).sum() / (2 * 5)
        at_z, at_w, at_v = tm.grad(loss, [z, w, heads[k]])
        close(problem.losses().data[k], loss.item())
        close(problem.residuals()[k], difference.data / 5)
        close(problem.representation_gradients()[k], at_z)
        close(problem.weight_gradients()[k], at_w)
        close(problem.head_gradients()[k], at_v)
    D, R = problem.representation_gradients(), problem.residuals()
    close((D[0] * D[1]).sum(), ((R[0].T @ R[1]) * (V[0].T @ V[1])).sum())  # ⟨Dₖ,Dₗ⟩ = Σ (RₖᵀRₗ)∘(VₖᵀVₗ)


def test_the_answers_follow_the_parameters():
    rng = np.random.default_rng(3)
    X, W = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    V, Y = [rng.normal(size=(3, 2)), rng.normal(size=(3, 1))], [rng.normal(size=(5, 2)), rng.normal(size=(5, 1))]
    problem = LinearSharedBottom(X, W, V, Y)
    tm.MGDA(problem, tm.SGD(0.1))()
    moved = [parameters[0].data for parameters in problem.layout.head_parameters]
    assert all((a != b).all() for a, b in zip(moved, V, strict=True))
    again = LinearSharedBottom(X, problem.theta.data, moved, Y)
    for mine, other in zip(problem.weight_gradients(), again.weight_gradients(), strict=True):
        close(mine, other)
    for mine, other in zip(problem.head_gradients(), again.head_gradients(), strict=True):
        close(mine, other)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((np.ones((2, 3)), np.ones((4, 1)), [np.ones((1, 1))], [np.ones((2, 1))]), r"inputs .*\(2, 3\) and weight"),
        ((np.ones(3), np.ones((3, 1)), [np.ones((1, 1))], [np.ones((2, 1))]), "do not fit"),
        ((np.ones((2, 3)), np.ones((3, 1)), [np.ones((2, 1))], [np.ones((2, 1))]), r"task 1: head \(2, 1\)"),
        (
            (np.ones((2, 3)), np.ones((3, 1)), [np.ones((1, 1))] * 2, [np.ones((2, 1)), np.ones((3, 1))]),
            r"task 2: head \(1, 1\) and targets \(3, 1\)",
        ),
        ((np.ones((2, 3)), np.ones((3, 1)), [np.ones((1, 1))], []), "1 heads need as many targets, got 0"),
        ((np.ones((2, 3)), np.ones((3, 1)), [np.ones((1, 1))], [np.ones((2, 2))]), "task 1: .* do not fit the rest"),
    ],
)
def test_bad_linear_problems(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        LinearSharedBottom(*arguments)


@pytest.mark.parametrize("problem", [Quadratics([1.0, 2.0], [[0.0], [1.0]], [0.0]), FonsecaFleming([0.0])])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])
def test_bad_weights(problem, weights):
    with pytest.raises(ValueError, match="weights are 2 finite numbers"):
        problem.pareto_point(weights)
