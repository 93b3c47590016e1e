"""The strategies on quadratics fₖ = ½ (θ−cₖ)ᵀ Hₖ (θ−cₖ), against their closed forms in float64.

The formulas are written out here a second time, in plain NumPy, from gₖ = Hₖ(θ−cₖ) and S = Σ Hₖ.
"""

from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.linalg import eigvalsh, matrix_power, solve
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.problems import Quadratics


def draw(tasks, n, seed=0):
    """Curvatures (K, n, n) with eigenvalues from 0.3 up, centers (K, n), a start (n,)."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(tasks, n, n))
    return A @ A.swapaxes(1, 2) / n + 0.3 * np.eye(n), rng.normal(size=(tasks, n)), rng.normal(size=n)


def gradients(H, c, theta):
    return np.einsum("kij,kj->ki", H, theta - c)


def values(H, c, theta):
    return 0.5 * ((theta - c) * gradients(H, c, theta)).sum(axis=1)


def weighted_optimum(H, c, w):
    return solve(np.tensordot(w, H, 1), w @ np.einsum("kij,kj->ki", H, c))


def close(actual, expected, tolerance=1e-12):
    assert_allclose(actual, expected, rtol=0, atol=tolerance)


# ------------------------------------------------------------ averaged


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_averaged_trajectory(tasks, reduction):
    H, c, start = draw(tasks, 4)
    lr = 0.1
    optimum = weighted_optimum(H, c, np.ones(tasks))
    contraction = np.eye(4) - lr * H.sum(axis=0) / (tasks if reduction == "mean" else 1)
    problem = Quadratics(H, c, start)
    step = tm.Averaged(problem, tm.SGD(lr), reduction=reduction)
    for t in range(1, 31):
        report = step()
        close(problem.theta.data, optimum + matrix_power(contraction, t) @ (start - optimum))
    before = optimum + matrix_power(contraction, 29) @ (start - optimum)
    close(report.losses, values(H, c, before))


def test_the_weighted_trajectory():
    H, c, start = draw(3, 4)
    w = np.array([0.5, 0.2, 0.3])
    optimum = weighted_optimum(H, c, w)
    contraction = np.eye(4) - 0.1 * np.tensordot(w, H, 1)
    for weights, reduction in [(w, "mean"), (7 * w, "mean"), (w, "sum")]:
        problem = Quadratics(H, c, start)
        step = tm.Averaged(problem, tm.SGD(0.1), weights=list(weights), reduction=reduction)
        for _ in range(10):
            report = step()
        close(problem.theta.data, optimum + matrix_power(contraction, 10) @ (start - optimum))
        close(report.weights, w)


# ------------------------------------------------------------ MGDA

MGDAS = pytest.mark.parametrize("strategy", [tm.MGDA, tm.MGDAUB])  # the same where Z = θ


@MGDAS
@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_on_the_pareto_set_nothing_moves_and_alpha_is_the_weight(strategy, tasks):
    """At θ(w) = (Σ wₖHₖ)⁻¹ Σ wₖHₖcₖ: v = 0 and α = w."""
    for seed in range(5):
        H, c, _ = draw(tasks, 6, seed)
        w = np.random.default_rng(seed).dirichlet(np.ones(tasks))
        theta = weighted_optimum(H, c, w)
        problem = Quadratics(H, c, theta)
        report = strategy(problem, tm.SGD(1.0))()
        close(problem.theta.data, theta)
        close(report.weights, w, 1e-9)
        assert report.min_norm.squared_norm < 1e-12  # rounding of the Gram matrix, whose entries are near 10


def nearest_in_hull(points, x):
    """The projection of x on the hull of the points, by trying every face."""
    best = None
    for size in range(1, len(points) + 1):
        for face in combinations(range(len(points)), size):
            p = points[list(face)]
            # minimise ‖x − Σ aₖpₖ‖² with Σ aₖ = 1
            system = np.block([[p @ p.T, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            a = np.linalg.lstsq(system, np.append(p @ x, 1.0), rcond=None)[0][:size]
            if (a >= 0).all() and (best is None or np.linalg.norm(x - a @ p) < np.linalg.norm(x - best)):
                best = a @ p
    return best


@MGDAS
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 8])
def test_the_trajectory_of_mgda_with_unit_curvature(strategy, tasks):
    """θ_t = P + (1−η)ᵗ (θ₀ − P), P the projection of θ₀ on the hull of the centers."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        c, start, lr = rng.normal(size=(tasks, 3)), 2.5 * rng.normal(size=3), 0.2
        P = nearest_in_hull(c, start)
        assert np.linalg.norm(P - start) > 0.1
        problem = Quadratics([1.0] * tasks, c, start)
        step = strategy(problem, tm.SGD(lr))
        for t in range(1, 16):
            step()
            close(problem.theta.data, P + (1 - lr) ** t * (start - P), 1e-9)


@MGDAS
def test_inside_the_hull_nothing_moves(strategy):
    rng = np.random.default_rng(0)
    c = rng.normal(size=(6, 3))
    inside = rng.dirichlet(np.ones(6)) @ c
    problem = Quadratics([1.0] * 6, c, inside)
    step = strategy(problem, tm.SGD(0.5))
    for _ in range(5):
        step()
    close(problem.theta.data, inside)


@MGDAS
def test_one_dimension_is_clamped(strategy):
    """Whatever the curvatures, the limit is θ₀ clamped to [min c, max c]."""
    h, c = [0.5, 2.0, 1.0, 1.5], [[-1.0], [0.25], [2.0], [1.0]]
    for start in (-7.0, -1.5, -0.3, 0.7, 1.999, 2.5, 40.0):
        problem = Quadratics(h, c, [start])
        step = strategy(problem, tm.SGD(0.45))
        for _ in range(150):
            step()
        close(problem.theta.data, [min(max(start, -1.0), 2.0)])


@pytest.mark.parametrize("seed", range(3))
def test_every_task_falls_under_mgda(seed):
    """For η ≤ 1/max λ every step lowers every task by at least (η/2)‖v‖²; the limit is θ(α), not the average's."""
    H, c, start = draw(3, 4, seed)
    lr = 1 / max(eigvalsh(h)[-1] for h in H)
    problem = Quadratics(H, c, start)
    step = tm.MGDA(problem, tm.SGD(lr))
    for _ in range(600):
        before = values(H, c, problem.theta.data)
        report = step()
        after = values(H, c, problem.theta.data)
        assert (before - after >= 0.5 * lr * report.min_norm.squared_norm - 1e-13).all()
    close(problem.theta.data, weighted_optimum(H, c, report.weights), 1e-9)
    assert np.linalg.norm(problem.theta.data - weighted_optimum(H, c, np.ones(3))) > 1e-2


# ------------------------------------------------------------ alternating


def sweep_map(H, c, lr, groups):
    """P and q of one sweep θ ← Pθ + q, where a group steps on its mean loss."""
    n = c.shape[1]
    P, q = np.eye(n), np.zeros(n)
    for group in groups:
        mean = H[list(group)].mean(axis=0)
        pull = np.mean([H[k] @ c[k] for k in group], axis=0)
        P = (np.eye(n) - lr * mean) @ P
        q = (np.eye(n) - lr * mean) @ q + lr * pull
    return P, q


def rest(P, q):
    return solve(np.eye(len(q)) - P, q)


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize("moments", ["per-task", "shared"])
def test_the_alternating_map(tasks, moments):
    H, c, start = draw(tasks, 3)
    P, q = sweep_map(H, c, 0.2, [[k] for k in range(tasks)])
    problem, theta = Quadratics(H, c, start), start
    step = tm.Alternating(problem, tm.SGD(0.2), moments=moments)
    for _ in range(5):
        expected, at = [], theta
        for k in range(tasks):
            expected.append(values(H, c, at)[k])
            at = at - 0.2 * gradients(H, c, at)[k]
        theta = P @ theta + q
        close(step().losses, expected)
        close(problem.theta.data, theta)


def test_the_alternating_fixed_point_and_its_drift():
    """θ_alt = θ_avg + η S⁻¹ Σ_{k<l} H_l gₖ(θ_avg) + O(η²): the remainder falls 100× for a 10× smaller η."""
    H, c, _ = draw(3, 4)
    average = weighted_optimum(H, c, np.ones(3))
    g = gradients(H, c, average)
    drift = solve(H.sum(axis=0), sum(H[b] @ g[a] for a, b in combinations(range(3), 2)))
    remainders = []
    for lr in (1e-3, 1e-4):
        fixed = rest(*sweep_map(H, c, lr, [[0], [1], [2]]))
        problem = Quadratics(H, c, fixed)
        tm.Alternating(problem, tm.SGD(lr))()
        close(problem.theta.data, fixed, 1e-15)  # a sweep of the step itself comes back to it
        remainders.append(np.linalg.norm(fixed - average - lr * drift))
    assert remainders[0] / remainders[1] == pytest.approx(100, rel=0.02)
    assert np.linalg.norm(drift) > 0.01


@pytest.mark.parametrize("centers, expected", [([[1.0], [-1.0]], -1 / 19), ([[-1.0], [1.0]], 1 / 19)])
def test_the_scalar_fixed_point_changes_sign_with_the_order(centers, expected):
    """((1−ηh₂)h₁c₁ + h₂c₂) / (h₁+h₂−ηh₁h₂) with h = 1, c = ±1, η = 0.1 is −0.0526315789."""
    problem = Quadratics([1.0, 1.0], centers, start=[0.7])
    step = tm.Alternating(problem, tm.SGD(0.1))
    for _ in range(200):
        step()
    close(problem.theta.data, [expected])
    assert abs(expected) == pytest.approx(0.0526315789, abs=1e-10)


def test_the_scalar_fixed_point_for_other_curvatures():
    h1, h2, c1, c2, lr = 0.7, 2.0, 1.5, -0.4, 0.3
    problem = Quadratics([h1, h2], [[c1], [c2]], start=[0.0])
    step = tm.Alternating(problem, tm.SGD(lr))
    for _ in range(100):
        step()
    close(problem.theta.data, [((1 - lr * h2) * h1 * c1 + h2 * c2) / (h1 + h2 - lr * h1 * h2)])


def test_the_forwards_are_recomputed():
    """One sweep minus one SGD step on the sum is η² H₂∇L₁: zero, were both gradients taken at the same θ."""
    H, c, start = draw(2, 3)
    for lr in (0.3, 0.05):
        alternating, summed = Quadratics(H, c, start), Quadratics(H, c, start)
        report = tm.Alternating(alternating, tm.SGD(lr))()
        assert report.trunk_forwards == 2
        tm.Averaged(summed, tm.SGD(lr), reduction="sum")()
        expected = lr**2 * H[1] @ gradients(H, c, start)[0]
        assert np.linalg.norm(expected) > 1e-3
        close(alternating.theta.data - summed.theta.data, expected, 1e-14)


# ------------------------------------------------------------ random orders, random groups


class Next(np.random.Generator):
    """A generator whose next permutation is given."""

    def __init__(self, order):
        super().__init__(np.random.PCG64())
        self.order = order

    def permutation(self, count):
        assert count == len(self.order)
        return np.array(self.order)


def mean_map(H, c, lr, orders):
    maps = [sweep_map(H, c, lr, [[k] for k in order]) for order in orders]
    return np.mean([P for P, _ in maps], axis=0), np.mean([q for _, q in maps], axis=0)


def test_random_order_rests_in_the_mean_at_the_fixed_point_of_the_mean_map():
    H, c, start = draw(3, 2)
    orders = list(permutations(range(3)))
    fixed = rest(*mean_map(H, c, 0.2, orders))
    ends = []
    for order in orders:
        problem = Quadratics(H, c, fixed)
        step = tm.Alternating(problem, tm.SGD(0.2), order="shuffled")
        step.memory["rng"] = Next(order)
        step()
        P, q = sweep_map(H, c, 0.2, [[k] for k in order])
        close(problem.theta.data, P @ fixed + q)
        ends.append(problem.theta.data.copy())
    close(np.mean(ends, axis=0), fixed)
    assert np.ptp(ends, axis=0).max() > 1e-2  # each order on its own moves


def test_the_drift_of_random_order():
    """E θ* = θ_avg − (η/2) S⁻¹ Σ Hₖgₖ(θ_avg) + O(η²)."""
    H, c, _ = draw(3, 2)
    average = weighted_optimum(H, c, np.ones(3))
    drift = -0.5 * solve(H.sum(axis=0), np.einsum("kij,kj->i", H, gradients(H, c, average)))
    assert np.linalg.norm(drift) > 0.01
    remainders = []
    for lr in (1e-3, 1e-4):
        fixed = rest(*mean_map(H, c, lr, list(permutations(range(3)))))
        remainders.append(np.linalg.norm(fixed - average - lr * drift))
    assert remainders[0] / remainders[1] == pytest.approx(100, rel=0.02)


def test_shuffled_orders_are_uniform():
    """600 sweeps of three tasks: each of the six orders about 100 times (χ² with 5 degrees of freedom)."""
    step = tm.Alternating(Quadratics([1.0] * 3, np.eye(3), np.zeros(3)), tm.SGD(0.1), order="shuffled", rng=5)
    counts = dict.fromkeys(permutations(range(3)), 0)
    for _ in range(600):
        counts[tuple(s.update.group[0] for s in step.stages(None, None) if s.name == "update")] += 1
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 20.5  # p = 0.001


@pytest.mark.parametrize("tasks, size", [(4, 2), (3, 2), (5, 3)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_grouped_map(tasks, size, reduction):
    H, c, start = draw(tasks, 3)
    for seed in range(3):
        problem, theta = Quadratics(H, c, start), start
        step = tm.RandomGrouped(problem, tm.SGD(0.1), size, reduction=reduction, rng=seed)
        for _ in range(4):
            step()
            for group in step.memory["partition"]:
                share = 1 if reduction == "sum" else len(group)
                theta = theta - 0.1 / share * gradients(H, c, theta)[group].sum(axis=0)
            close(problem.theta.data, theta)


@pytest.mark.parametrize("tasks, size", [(4, 2), (3, 2)])
def test_one_random_group_per_step_rests_in_the_mean_at_the_average(tasks, size):
    """Each task is as likely as any other to be in the group: for any η the mean map's fixed point is θ_avg."""
    H, c, _ = draw(tasks, 2)
    average = weighted_optimum(H, c, np.ones(tasks))
    moves = []
    for order in permutations(range(tasks)):
        problem = Quadratics(H, c, average)
        step = tm.RandomGrouped(problem, tm.SGD(0.7), size, redraw="step", moments="shared")
        step.memory["rng"] = Next(order)
        for stage in step.stages(None, None):  # every group's step, but each from θ_avg: one group per step
            if stage.name == "update":
                moves.append(problem.theta.data - average)
                problem.theta.data = average
    assert np.abs(moves).max() > 0.1
    close(np.mean(moves, axis=0), 0)
