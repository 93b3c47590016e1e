"""Fonseca-Fleming, f₁,₂ = 1 − exp(−‖θ ∓ 1/√n‖²): what averaging cannot reach on a concave front, and MGDA can."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.problems import FonsecaFleming

S_STAR = 0.9575040240772687  # s* = tanh(2s*)


def run(strategy, start, lr, steps, **options):
    """Where the step comes to rest."""
    problem = FonsecaFleming(start)
    step = strategy(problem, tm.SGD(lr), **options)
    for _ in range(steps):
        step()
    return problem.theta.data


def along(n):
    return np.ones(n) / np.sqrt(n)


def across(n):
    """A unit vector orthogonal to (1, …, 1)."""
    u = np.zeros(n)
    u[:2] = np.sqrt(0.5), -np.sqrt(0.5)
    return u


def close(actual, expected, tolerance=1e-9):
    assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("n", [2, 5])
def test_the_average_ends_near_one_end(n):
    """At s* = tanh(2s*), or −s*; off the line as well."""
    assert np.tanh(2 * S_STAR) == pytest.approx(S_STAR, abs=1e-15)
    for s0, end in [(0.05, S_STAR), (-0.05, -S_STAR), (1.5, S_STAR)]:
        close(run(tm.Averaged, s0 * along(n) + 0.3 * across(n), 0.5, 400), end * along(n))


def test_the_middle_is_a_saddle_of_the_average():
    """From exactly s = 0 the average comes to the middle (until rounding has grown), from 1e-9 beside it leaves."""
    close(run(tm.Averaged, 0.4 * across(2), 0.5, 48), [0, 0])
    close(run(tm.Averaged, 0.4 * across(2) + 1e-9 * along(2), 0.5, 400), S_STAR * along(2))


def weights_at(s):
    """The weights for which s is stationary: w₁(1−s)e^{4s} = w₂(1+s)."""
    w = np.array([1 + s, (1 - s) * np.exp(4 * s)])
    return list(w / w.sum())


def test_no_weight_reaches_the_middle_of_the_front():
    """Where |s| < 1/√2 the stationary points of every weighted sum are saddles: it does not stay there."""
    for s in (-0.70, 0.0, 0.4, 0.70):
        problem = FonsecaFleming(s * along(2))
        tm.Averaged(problem, tm.SGD(1.0), weights=weights_at(s))()
        close(problem.theta.data, s * along(2), 1e-12)  # stationary indeed
        for nudge in (-1e-4, 1e-4):
            end = run(tm.Averaged, (s + nudge) * along(2), 1.0, 600, weights=weights_at(s)) @ along(2)
            assert abs(end) > np.sqrt(0.5) and abs(end - s) > 1e-3
    for s in (0.72, -0.8):
        close(run(tm.Averaged, (s + 1e-3) * along(2), 1.0, 1500, weights=weights_at(s)), s * along(2), 1e-8)


@pytest.mark.parametrize("strategy", [tm.MGDA, tm.MGDAUB])
def test_mgda_reaches_it(strategy):
    """A start orthogonal to (1, …, 1) goes to s = 0, where both losses are 1 − 1/e."""
    problem = FonsecaFleming(0.8 * across(3))
    step = strategy(problem, tm.SGD(0.3))
    for _ in range(100):
        report = step()
    close(problem.theta.data, np.zeros(3))
    close(report.losses, [1 - 1 / np.e] * 2)
    close(report.weights, [0.5, 0.5])


def mgda_by_hand(theta, lr, steps):
    """The two-task step written out in NumPy."""
    c = along(len(theta))
    for _ in range(steps):
        g1, g2 = (2 * np.exp(-(d @ d)) * d for d in (theta - c, theta + c))
        if g1 @ g2 >= g1 @ g1:
            a = 1.0
        elif g1 @ g2 >= g2 @ g2:
            a = 0.0
        else:
            a = (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))
        theta = theta - lr * (a * g1 + (1 - a) * g2)
    return theta


@pytest.mark.parametrize("strategy", [tm.MGDA, tm.MGDAUB])
def test_mgda_stops_on_the_front_near_where_it_came_from(strategy):
    """s₀ = 0.3, 0.6 off the line, η = 0.3: it stops at s = 0.1964; the weights there make it stationary."""
    start = 0.3 * along(2) + 0.6 * across(2)
    problem = FonsecaFleming(start)
    step = strategy(problem, tm.SGD(0.3))
    for steps in range(1, 201):
        report = step()
        if steps in (1, 2, 10):
            close(problem.theta.data, mgda_by_hand(start, 0.3, steps), 1e-12)
    end = problem.theta.data
    close(end, mgda_by_hand(start, 0.3, 200))
    assert end @ along(2) == pytest.approx(0.1964, abs=5e-5)
    close(end @ across(2), 0)
    close(report.weights, weights_at(end @ along(2)), 1e-7)
    close(report.losses[1], FonsecaFleming.front(report.losses[0]))


def test_mgda_outside_the_two_ends_stops_at_the_end():
    close(run(tm.MGDA, 1.02 * along(2), 0.3, 27), along(2))
