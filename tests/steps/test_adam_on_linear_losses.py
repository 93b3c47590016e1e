"""Adam on linear losses Lₖ = aₖ·θ: constant gradients, so that every step is known in closed form, at every t."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.problems import AnalyticProblem

LR, BETA1, BETA2 = 0.1, 0.9, 0.999


class Point(tm.nn.Module):
    """A trunk that is its parameter θ."""

    def __init__(self, start):
        self.theta = tm.nn.Parameter(np.array(start, dtype=float))

    def __call__(self, x):
        return self.theta


class Unchanged(tm.nn.Module):
    def __call__(self, x):
        return x


def linear_losses(slopes, start=None):
    a = np.array(slopes, dtype=float)
    point = Point(np.zeros(a.shape[1]) if start is None else start)
    losses = [lambda theta, row=row: (theta * row).sum() for row in a]
    return AnalyticProblem(point, point.theta, [Unchanged() for _ in a], losses)


def adam(eps=0.0):
    return tm.Adam(lr=LR, betas=(BETA1, BETA2), eps=eps)


def trajectory(step, sweeps):
    """θ after each update (not only after each sweep)."""
    path = []
    for _ in range(sweeps):
        for stage in step.stages(None, None):
            if stage.name == "update":
                path.append(step.model.theta.data.copy())
    return np.array(path)


def close(actual, expected, tolerance=1e-12):
    assert_allclose(actual, expected, rtol=0, atol=tolerance)


SLOPES = np.array([[3.0, -200.0, 0.5, 7.0], [-1.0, 1.0, 40.0, -2.0], [0.01, 5.0, -6.0, -0.3]])
START = np.array([1.0, -2.0, 0.5, 3.0])


@pytest.mark.parametrize("make", [tm.Alternating, lambda m, o: tm.RandomGrouped(m, o, 1)], ids=["turns", "groups of 1"])
def test_moments_per_task_count_every_sign(make):
    """θ_T = θ₀ − ηT Σ sign(aₖ), whatever the gradients' lengths; in between, a step per turn."""
    signs = np.sign(SLOPES)
    path = trajectory(make(linear_losses(SLOPES, START), adam()), 20)
    turns = START - LR * np.cumsum(np.tile(signs, (20, 1)), axis=0)
    close(path, turns)
    close(path[-1], START - LR * 20 * signs.sum(axis=0))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_memory_on_the_mean_counts_one_sign(reduction):
    """θ_T = θ₀ − ηT sign(Σ aₖ): the longest gradient decides."""
    problem = linear_losses(SLOPES, START)
    step = tm.Averaged(problem, adam(), reduction=reduction)
    for T in range(1, 21):
        step()
        close(problem.theta.data, START - LR * T * np.sign(SLOPES.sum(axis=0)))


@pytest.mark.parametrize("scale", [4.0, 2.0**-7, 2.0**20])
def test_moments_per_task_are_free_of_scale_to_the_bit(scale):
    """Lₖ → cLₖ changes nothing: bitwise for a power of two and eps = 0."""
    scaled = SLOPES * np.array([[1.0], [scale], [1.0]])
    plain = trajectory(tm.Alternating(linear_losses(SLOPES, START), adam()), 15)
    other = trajectory(tm.Alternating(linear_losses(scaled, START), adam()), 15)
    assert plain.tobytes() == other.tobytes()
    for shared in (tm.Averaged, lambda m, o: tm.Alternating(m, o, moments="shared")):  # there it does
        plain = trajectory(shared(linear_losses(SLOPES, START), adam()), 15)
        other = trajectory(shared(linear_losses(scaled, START), adam()), 15)
        assert np.abs(plain - other).max() > 1e-3


def test_moments_per_task_are_free_of_scale_with_the_usual_eps():
    scaled = SLOPES * np.array([[1.0], [1000.0], [1.0]])
    plain = trajectory(tm.Alternating(linear_losses(SLOPES, START), adam(1e-8)), 15)
    other = trajectory(tm.Alternating(linear_losses(scaled, START), adam(1e-8)), 15)
    close(other, plain, 1e-6)
    assert (other != plain).any()


@pytest.mark.parametrize("a1, a2", [(3.0, 1.0), (100.0, -1.0), (0.2, 5.0), (1e6, -1.0)])
def test_the_second_turn_under_shared_moments(a1, a2):
    """Task 2's turn moves by −η (β₁a₁ + a₂)/(1+β₁) / √((β₂a₁² + a₂²)/(1+β₂)), at every n."""
    path = trajectory(tm.Alternating(linear_losses([[a1], [a2]]), adam(), moments="shared"), 12)[:, 0]
    second_turns = path[1::2] - path[0::2]
    first = (BETA1 * a1 + a2) / (1 + BETA1)
    second = (BETA2 * a1**2 + a2**2) / (1 + BETA2)
    close(second_turns, np.full(12, -LR * first / math.sqrt(second)))
    if a1 == 1e6:  # task 2 is not heard on its own turn
        close(second_turns, np.full(12, -0.670 * LR), 1e-5)


def test_by_hand():
    """Gradients 100 and −1 in turn, η = 0.1, the usual eps: shared moments against moments per task."""
    shared = trajectory(tm.Alternating(linear_losses([[100.0], [-1.0]]), adam(1e-8), moments="shared"), 3)[:, 0]
    close(shared[[0, 1, 2, 5]], [-0.1, -0.1663, -0.2476, -0.4574], 5e-5)
    per_task = trajectory(tm.Alternating(linear_losses([[100.0], [-1.0]]), adam(), moments="per-task"), 2)[:, 0]
    close(per_task, [-0.1, 0.0, -0.1, 0.0])


def test_shared_moments_equal_one_adam_fed_in_turn():
    """The whole path against Adam written out: one m, one v, one t for all tasks."""
    m = v = 0.0
    theta, expected = START, []
    for t in range(1, 13):
        g = SLOPES[(t - 1) % 3]
        m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g**2
        theta = theta - LR * (m / (1 - BETA1**t)) / np.sqrt(v / (1 - BETA2**t))
        expected.append(theta)
    for step in (
        tm.Alternating(linear_losses(SLOPES, START), adam(), moments="shared"),
        tm.RandomGrouped(linear_losses(SLOPES, START), adam(), 1, moments="shared"),
    ):
        close(trajectory(step, 4), expected)


def test_moments_per_group_count_a_sign_per_group():
    """A group is one voice: θ_T = θ₀ − ηT Σ_groups sign(Σ_{k in group} aₖ); per task inside groups: Σ sign(aₖ)."""
    slopes = np.vstack([SLOPES, [[2.0, 300.0, 1.0, 1.0]]])
    for seed in range(4):
        step = tm.RandomGrouped(linear_losses(slopes, START), adam(), 2, rng=seed)
        path = trajectory(step, 6)
        close(path[-1], START - 6 * LR * sum(np.sign(slopes[group].sum(axis=0)) for group in step.memory["partition"]))
        step = tm.RandomGrouped(linear_losses(slopes, START), adam(), 2, moments="per-task", rng=seed)
        close(trajectory(step, 6)[-1], START - 6 * LR * np.sign(slopes).sum(axis=0))
