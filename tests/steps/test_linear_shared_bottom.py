"""Linear shared bottom, Z = XW, Lₖ = ‖ZVₖ − Yₖ‖²/2N: the steps against its closed-form gradients.

Written out again here: Rₖ = (ZVₖ − Yₖ)/N, ∇_Z Lₖ = Dₖ = RₖVₖᵀ, ∇_W Lₖ = XᵀDₖ, ∇_Vₖ Lₖ = ZᵀRₖ.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.problems import LinearSharedBottom


def draw(seed=0, rows=6, features=4, width=3, outputs=(2, 1, 3)):
    rng = np.random.default_rng(seed)
    X, W = rng.normal(size=(rows, features)), rng.normal(size=(features, width))
    V = [rng.normal(size=(width, c)) for c in outputs]
    return X, W, V, [rng.normal(size=(rows, c)) for c in outputs]


def by_hand(X, W, V, Y):
    Z = X @ W
    R = [(Z @ v - y) / len(X) for v, y in zip(V, Y, strict=True)]
    D = [r @ v.T for r, v in zip(R, V, strict=True)]
    losses = [len(X) / 2 * (r * r).sum() for r in R]  # ‖N R‖² / 2N
    return losses, D, [X.T @ d for d in D], [Z.T @ r for r in R]


def gram(gradients):
    return np.array([[(a * b).sum() for b in gradients] for a in gradients])


def walk(strategy, problem, lr=0.1, **options):
    """Everything that the stages of one step show, and its report."""
    values, stages = {}, strategy(problem, tm.SGD(lr), **options).stages(None, None)
    while True:
        try:
            values |= next(stages).values
        except StopIteration as end:
            return values, end.value


def close(actual, expected, tolerance=1e-12):
    assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", range(3))
def test_all_gradients(seed):
    X, W, V, Y = draw(seed)
    losses, D, at_W, at_V = by_hand(X, W, V, Y)
    problem = LinearSharedBottom(X, W, V, Y)
    full, report = walk(tm.MGDA, problem)
    close(report.losses, losses)
    for k in range(3):
        close(full["gradients"][k].reshape(W.shape), at_W[k])
        close(problem.layout.head_parameters[k][0].data, V[k] - 0.1 * at_V[k])
    close(full["gram"], gram(at_W))
    close(problem.theta.data, W - 0.1 * sum(a * g for a, g in zip(report.weights, at_W, strict=True)))

    problem = LinearSharedBottom(X, W, V, Y)
    bound, report = walk(tm.MGDAUB, problem)
    for k in range(3):
        close(bound["gradients"][k], D[k])
        close(problem.layout.head_parameters[k][0].data, V[k] - 0.1 * at_V[k])
    close(bound["gram"], gram(D))
    v_at_Z = sum(a * d for a, d in zip(report.weights, D, strict=True))
    close(bound["v"].reshape(W.shape), X.T @ v_at_Z)
    close(problem.theta.data, W - 0.1 * X.T @ v_at_Z)


def test_the_averaged_and_the_alternating_step():
    X, W, V, Y = draw()
    _, _, at_W, at_V = by_hand(X, W, V, Y)
    problem = LinearSharedBottom(X, W, V, Y)
    tm.Averaged(problem, tm.SGD(0.1))()
    close(problem.theta.data, W - 0.1 * sum(at_W) / 3)
    for k in range(3):
        close(problem.layout.head_parameters[k][0].data, V[k] - 0.1 * at_V[k] / 3)

    problem = LinearSharedBottom(X, W, V, Y)
    report = tm.Alternating(problem, tm.SGD(0.1))()
    for k in range(3):  # each turn at the W that the turn before has moved
        losses, _, at_W, at_V = by_hand(X, W, V, Y)
        close(report.losses[k], losses[k])
        W = W - 0.1 * at_W[k]
        close(problem.layout.head_parameters[k][0].data, V[k] - 0.1 * at_V[k])
    close(problem.theta.data, W)


def test_orthonormal_inputs_make_the_bound_exact():
    """X Xᵀ = I: MGDA-UB and MGDA have the same Gram matrix, α and direction."""
    X, W, V, Y = draw(rows=4, features=6)
    X = np.linalg.qr(X.T)[0].T
    close(X @ X.T, np.eye(4))
    full, full_report = walk(tm.MGDA, LinearSharedBottom(X, W, V, Y))
    bound, bound_report = walk(tm.MGDAUB, LinearSharedBottom(X, W, V, Y))
    close(bound["gram"], full["gram"])
    close(bound_report.weights, full_report.weights, 1e-10)
    close(bound["v"], full["v"], 1e-10)
    assert (full_report.weights > 1e-3).sum() >= 2  # not one task alone, where much would agree by accident


@pytest.mark.parametrize("seed", range(4))
def test_generic_inputs_do_not(seed):
    problem = draw(seed)
    full, full_report = walk(tm.MGDA, LinearSharedBottom(*problem))
    bound, bound_report = walk(tm.MGDAUB, LinearSharedBottom(*problem))
    assert np.abs(bound_report.weights - full_report.weights).max() > 1e-3
    assert np.abs(bound["v"] - full["v"]).max() > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_what_upper_bound_means(seed):
    """σ_min(X)² ≤ ‖∇_W v‖² / ‖∇_Z v‖² ≤ σ_max(X)²."""
    X, W, V, Y = draw(seed, rows=3)
    values, report = walk(tm.MGDAUB, LinearSharedBottom(X, W, V, Y))
    sigma = np.linalg.svd(X, compute_uv=False)
    ratio = (values["v"] ** 2).sum() / report.min_norm.squared_norm
    assert sigma[-1] ** 2 < ratio < sigma[0] ** 2
    optimal = walk(tm.MGDA, LinearSharedBottom(X, W, V, Y))[1].min_norm.squared_norm
    assert optimal <= (values["v"] ** 2).sum() <= sigma[0] ** 2 * report.min_norm.squared_norm


def test_by_hand_stationary_yet_not_optimal():
    """N = 1, z = 1, V = (1, 2), Y = (0, 6): D = (1, −8), α = (8/9, 1/9), v = 0."""
    problem = LinearSharedBottom([[1.0]], [[1.0]], [[[1.0]], [[2.0]]], [[[0.0]], [[6.0]]])
    values, report = walk(tm.MGDAUB, problem)
    close([d.item() for d in (values["gradients"][0], values["gradients"][1])], [1.0, -8.0])
    close(report.weights, [8 / 9, 1 / 9])
    close(report.losses, [0.5, 8.0])
    close(problem.theta.data, [[1.0]])  # the trunk rests; the heads go on: ZᵀR = (1, −4)
    close([parameters[0].data.item() for parameters in problem.layout.head_parameters], [0.9, 2.4])


def test_two_samples_by_hand():
    """x = (1, 0), (0, 3), each task's gradient on its own sample: α_UB = ½, α_full = 9/10."""
    V = [np.array([[1.0]]), np.array([[1.0]])]
    X, W = np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([[2.0], [1.0]])
    Z = X @ W
    Y = [Z - 2 * np.array([[1.0], [0.0]]), Z - 2 * np.array([[0.0], [1.0]])]  # D₁ = (1, 0), D₂ = (0, 1)
    bound, bound_report = walk(tm.MGDAUB, LinearSharedBottom(X, W, V, Y))
    close(np.stack([bound["gradients"][0], bound["gradients"][1]])[..., 0], np.eye(2))
    close(bound_report.weights, [0.5, 0.5])
    close(walk(tm.MGDA, LinearSharedBottom(X, W, V, Y))[1].weights, [0.9, 0.1])


def test_the_batch_is_stacked_not_averaged():
    """z-gradients (1,0),(−1,0) against (0,2),(0,2): α₁ = 0.8; averaged over the batch, 1.0: a false "stationary"."""
    X, W = np.eye(2), np.array([[0.3, -1.0], [2.0, 0.5]])
    V = [np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])]
    R = [np.array([[1.0], [-1.0]]), np.array([[2.0], [2.0]])]
    Y = [X @ W @ v - 2 * r for v, r in zip(V, R, strict=True)]
    values, report = walk(tm.MGDAUB, LinearSharedBottom(X, W, V, Y))
    close(values["gradients"][0], [[1, 0], [-1, 0]])
    close(values["gradients"][1], [[0, 2], [0, 2]])
    close(report.weights, [0.8, 0.2])
    close(report.min_norm.squared_norm, 1.6)
    averaged = [values["gradients"][k].mean(axis=0) for k in range(2)]
    close(tm.min_norm(averaged).weights, [1.0, 0.0])


def test_theorem_1b_fails():
    """Z = Jθ, J = [[1,0],[2,1]], ∇_Z L = (1,1), (1,−1): MGDA-UB's step raises the second loss, MGDA's lowers both."""
    J, theta = np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([[0.4], [-0.3]])
    V = [np.ones((1, 1)), np.ones((1, 1))]
    Y = [J @ theta - 2 * np.array([[1.0], [1.0]]), J @ theta - 2 * np.array([[1.0], [-1.0]])]
    bound, bound_report = walk(tm.MGDAUB, LinearSharedBottom(J, theta, V, Y))
    full, full_report = walk(tm.MGDA, LinearSharedBottom(J, theta, V, Y))
    close(full["gradients"].rows, [[3, 1], [-1, -1]])
    close(bound_report.weights, [0.5, 0.5])
    close(bound["v"], [1, 0])
    close(full["gradients"].rows @ bound["v"], [3, -1])
    close(full_report.weights, [0.3, 0.7])
    close(full["v"], [0.2, -0.4])
    close(full["gradients"].rows @ full["v"], [0.2, 0.2])

    before = by_hand(J, theta, V, Y)[0]
    after_bound = by_hand(J, theta - 1e-3 * bound["v"][:, None], V, Y)[0]
    after_full = by_hand(J, theta - 1e-3 * full["v"][:, None], V, Y)[0]
    assert after_bound[0] < before[0] and after_bound[1] > before[1]
    assert after_full[0] < before[0] and after_full[1] < before[1]
