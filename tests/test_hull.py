"""The min-norm solvers: answers by hand, named properties over all solvers, an oracle, the certificate, bad input."""

import itertools
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.hull import (
    MinNorm,
    active_set,
    closed_form,
    frank_wolfe,
    gram_matrix,
    is_exact,
    min_norm,
    normalized_gram,
    two_point_weights,
)

EXACT = 1e-12
SOLVERS = ("active-set", "frank-wolfe")


# Inputs, each built to have the property it is named after.


def random(rng, K):
    return rng.standard_normal((K, 2 * K))


def common_direction(rng, K):
    return rng.standard_normal((K, 3 * K)) + 2.0 * rng.standard_normal(3 * K)


def ill_scaled(rng, K):
    return rng.standard_normal((K, 2 * K)) * np.logspace(0, 4, K)[:, None]


def very_ill_scaled(rng, K):
    return (rng.standard_normal((K, 2 * K)) + rng.standard_normal(2 * K)) * np.logspace(6, 0, K)[:, None]


def low_rank_and_noise(rng, K):
    few = rng.standard_normal((K, K // 2 + 1)) @ rng.standard_normal((K // 2 + 1, 2 * K))
    return few + 1e-4 * rng.standard_normal((K, 2 * K))


def duplicated(rng, K):
    half = rng.standard_normal((K // 2 + 1, K)) + rng.standard_normal(K)
    return np.concatenate([half, half])[:K]


def collinear(rng, K):
    half = rng.standard_normal((K // 2 + 1, K)) + rng.standard_normal(K)
    return np.concatenate([half, half * rng.uniform(0.1, 10.0, (len(half), 1))])[:K]


def opposite(rng, K):
    gradients = rng.standard_normal((K, K + 1))
    gradients[1:2] = -2.0 * gradients[:1]
    return gradients


def zero_inside_the_hull(rng, K):
    gradients = rng.standard_normal((K, 2 * K))
    return gradients - rng.dirichlet(np.ones(K)) @ gradients


def in_a_plane(rng, K):
    return rng.standard_normal((K, 2)) + [2.0, 0.0]


def small_integers(rng, K):  # ties and degenerate faces
    return np.column_stack([rng.integers(-2, 3, (K, 3)), np.ones(K)]).astype(float)


def nearly_equal(rng, K):
    return rng.standard_normal(2 * K) + 1e-5 * rng.standard_normal((K, 2 * K))


FAMILIES = (
    random,
    common_direction,
    ill_scaled,
    very_ill_scaled,
    low_rank_and_noise,
    duplicated,
    collinear,
    opposite,
    zero_inside_the_hull,
    in_a_plane,
    small_integers,
    nearly_equal,
)
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def draws(family, sizes=(2, 3, 5, 10, 40), count=2, seed=0):
    rng = np.random.default_rng(seed)
    return [family(rng, K) for K in sizes for _ in range(count)]


def lengths_of(gradients):
    return np.linalg.norm(gradients, axis=1)


def rounding_scale(gradients, weights):
    """maxₖ‖gₖ‖ Σ αₖ‖gₖ‖: what the terms of the gap amount to before they cancel."""
    lengths = lengths_of(gradients)
    return float(lengths.max() * (weights @ lengths))


# Properties, asserted by name.


def assert_on_simplex(found, K):
    assert found.weights.shape == (K,)
    assert found.weights.dtype == np.float64
    assert (found.weights >= 0.0).all()
    assert abs(math.fsum(found.weights) - 1.0) <= 4e-16 * K


def assert_certificate_is_computed_from_the_weights(found, gradients):
    """squared_norm and gap are what the gradients themselves say, not only their Gram matrix."""
    v = found.weights @ gradients
    rounding = 1e-14 * rounding_scale(gradients, found.weights)
    assert abs(found.squared_norm - v @ v) <= rounding
    assert found.gap >= 0.0
    assert abs(found.gap - max(v @ v - (gradients @ v).min(), 0.0)) <= rounding


def assert_gap_certifies(found, gradients, exact_v):
    """gap ≥ ‖v − v*‖²."""
    distance2 = float(np.sum((found.weights @ gradients - exact_v) ** 2))
    assert distance2 <= found.gap + 1e-14 * rounding_scale(gradients, found.weights)


def assert_optimal(found, gradients):
    """The gap is rounding: relative to the mean squared length, and to the scale on which it is computed."""
    assert found.gap <= EXACT * np.mean(lengths_of(gradients) ** 2)
    assert found.gap <= EXACT * rounding_scale(gradients, found.weights)


def assert_non_conflicting(found, gradients):
    """gₖ·v ≥ ‖v‖² − gap for every task: once the gap is below ‖v‖², a small step along −v hurts no task."""
    along_v = gradients @ (found.weights @ gradients)
    rounding = 1e-14 * rounding_scale(gradients, found.weights)
    assert along_v.min() >= found.squared_norm - found.gap - rounding
    if found.gap < 0.5 * found.squared_norm and rounding < 0.1 * found.squared_norm:
        assert (along_v > 0.0).all()


def assert_permutation_invariant(solve, gradients, rng):
    """The order of the tasks moves the weights along, and leaves v where it is (within both certificates)."""
    order = rng.permutation(len(gradients))
    found, permuted = solve(gradients), solve(gradients[order])
    distance = np.linalg.norm(found.weights @ gradients - permuted.weights @ gradients[order])
    rounding = 1e-14 * rounding_scale(gradients, found.weights)
    assert distance <= math.sqrt(found.gap + rounding) + math.sqrt(permuted.gap + rounding)


def assert_scale_invariant(solve, gradients, factor, tolerance):
    """min-norm(c·g) has the weights of g, and c² times its squared norm."""
    found, scaled = solve(gradients), solve(factor * gradients)
    np.testing.assert_allclose(scaled.weights, found.weights, rtol=0.0, atol=tolerance)
    rounding = tolerance * rounding_scale(gradients, found.weights)
    assert abs(scaled.squared_norm / factor**2 - found.squared_norm) <= rounding


# An oracle that shares nothing with the solvers: every support, least squares on the gradients themselves.


def nearest_point_by_brute_force(gradients):
    """v*: the shortest of the points nearest to 0 in the plane of some gradients and inside their hull."""
    best = None
    for size in range(1, min(gradients.shape) + 2):
        for support in itertools.combinations(range(len(gradients)), size):
            first, *others = gradients[list(support)]
            edges = np.array(others).reshape(-1, gradients.shape[1]) - first
            shares = np.linalg.lstsq(edges.T, -first, rcond=None)[0] if others else np.zeros(0)
            weights = np.array([1.0 - shares.sum(), *shares])
            if weights.min() >= -1e-9:
                v = first + shares @ edges
                if best is None or v @ v < best @ best:
                    best = v
    return best


def reference(gradients):
    """v* to compare with: by brute force for a few tasks, else by the active set, whose gap is rounding."""
    return active_set(gradients @ gradients.T).weights @ gradients


@every_family
def test_active_set_finds_the_nearest_point_of_all_supports(family):
    for gradients in draws(family, sizes=(2, 3, 4, 5, 6), count=3, seed=1):
        found = min_norm(gradients)
        exact = nearest_point_by_brute_force(gradients)
        rounding = 1e-13 * rounding_scale(gradients, found.weights)
        assert abs(found.squared_norm - exact @ exact) <= rounding
        assert np.sum((found.weights @ gradients - exact) ** 2) <= rounding


@every_family
def test_active_set_is_exact(family):
    for gradients in draws(family, sizes=(1, 2, 3, 10, 40, 100), seed=2):
        found = min_norm(gram=gradients @ gradients.T)
        assert_on_simplex(found, len(gradients))
        assert_certificate_is_computed_from_the_weights(found, gradients)
        assert_optimal(found, gradients)
        assert_non_conflicting(found, gradients)


@every_family
def test_active_set_campaign(family):
    rng = np.random.default_rng(3)
    for _ in range(60):
        gradients = family(rng, int(rng.integers(3, 25)))
        found = min_norm(gram=gradients @ gradients.T)
        assert_on_simplex(found, len(gradients))
        assert_optimal(found, gradients)
        assert 1 <= found.iterations <= 2 * len(gradients)


def test_active_set_solves_few_systems():
    """Starting from all gradients: about five systems at K = 40, where adding one at a time would take twenty."""
    solves = [min_norm(gradients).iterations for family in FAMILIES for gradients in draws(family, (40,), 5)]
    assert np.median(solves) <= 7
    assert np.mean(solves) <= 10


@every_solver
@every_family
def test_properties_of_every_solver(family, solver):
    rng = np.random.default_rng(4)

    def solve(gradients):
        return min_norm(gradients, solver=solver)

    for gradients in draws(family, sizes=(2, 3, 8), count=1, seed=5):
        found = solve(gradients)
        assert isinstance(found, MinNorm)
        assert_on_simplex(found, len(gradients))
        assert_certificate_is_computed_from_the_weights(found, gradients)
        assert_gap_certifies(found, gradients, reference(gradients))
        assert_non_conflicting(found, gradients)
        assert_permutation_invariant(solve, gradients, rng)


@every_solver
@pytest.mark.parametrize("factor", [1e-30, 1e30, 2.0**-40], ids=["1e-30", "1e30", "2**-40"])
def test_scale_invariance(solver, factor):
    for gradients in draws(common_direction, sizes=(2, 5), seed=7):
        assert_scale_invariant(lambda g: min_norm(g, solver=solver), gradients, factor, EXACT)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_float32_gradients_whose_squares_leave_float32(factor):
    gradients = np.random.default_rng(8).standard_normal((4, 50)) + 1.0
    found = min_norm((factor * gradients).astype(np.float32))
    np.testing.assert_allclose(found.weights, min_norm(gradients).weights, atol=1e-5)
    assert found.squared_norm / factor**2 == pytest.approx(min_norm(gradients).squared_norm, rel=1e-5)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, lambda G: np.repeat(G, 2, 1)[:, ::2]])
def test_any_memory_layout(layout):
    gradients = duplicated(np.random.default_rng(9), 8)
    assert_optimal(min_norm(gram=layout(gradients @ gradients.T)), gradients)


def test_equal_gradients_share_their_weight():
    gradients = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    np.testing.assert_allclose(min_norm(gradients).weights, [0.25, 0.5, 0.25], atol=1e-9)


# Answers by hand.

ANSWERS = {
    "(2, 2) and (0, -1)": ([[2, 2], [0, -1]], [3 / 13, 10 / 13]),
    "(-4, 1, 1) and (6, 1, 1)": ([[-4, 1, 1], [6, 1, 1]], [0.6, 0.4]),
    "orthogonal, lengths 1, 2, 3": (np.diag([1, 2, 3]), [36 / 49, 9 / 49, 4 / 49]),
    "the third is inside": ([[2, 0], [0, 2], [1.5, 1.5]], [0.5, 0.5, 0]),
    "the third is three times the first": ([[1, 2], [-1, 3], [3, 6]], [1, 0, 0]),
    "equal row sums": ([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], None),
    "three at 120 degrees": ([[1, 0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]], [1 / 3, 1 / 3, 1 / 3]),
    "opposite": ([[1, -2], [-3, 6]], [0.75, 0.25]),
    "one": ([[3, 4]], [1]),
}
LENGTHS2 = {  # ‖v‖²
    "(2, 2) and (0, -1)": 4 / 13,
    "(-4, 1, 1) and (6, 1, 1)": 2,
    "orthogonal, lengths 1, 2, 3": 36 / 49,
    "the third is inside": 2,
    "the third is three times the first": 5,
    "equal row sums": 1,
    "three at 120 degrees": 0,
    "opposite": 0,
    "one": 25,
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_by_hand(case):
    gradients, weights = ANSWERS[case]
    for found in (min_norm(gradients), min_norm(gram=gram_matrix(gradients))):
        if weights is not None:
            np.testing.assert_allclose(found.weights, weights, rtol=0.0, atol=EXACT)
        assert abs(found.squared_norm - LENGTHS2[case]) <= EXACT
        assert found.gap <= EXACT


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_by_hand_of_frank_wolfe(case):
    found = min_norm(ANSWERS[case][0], solver="frank-wolfe")
    assert abs(found.squared_norm - LENGTHS2[case]) <= found.gap + EXACT
    enough = 1e-6 * gram_matrix(ANSWERS[case][0]).diagonal().min()
    assert found.gap <= enough or found.iterations == 10_000


def test_the_vector_of_the_hand_example():
    found = min_norm([[2.0, 2.0], [0.0, -1.0]])
    v = found.weights @ np.array([[2.0, 2.0], [0.0, -1.0]])
    np.testing.assert_allclose(v, [6 / 13, -4 / 13], rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(np.array([[2.0, 2.0], [0.0, -1.0]]) @ v, [4 / 13, 4 / 13], rtol=0.0, atol=1e-15)


def test_orthogonal_gradients_weigh_the_short_one_most():
    lengths2 = np.array([1.0, 1e4, 25.0, 1e12, 7.0])
    found = min_norm(gram=np.diag(lengths2))
    np.testing.assert_allclose(found.weights * lengths2, 1.0 / (1.0 / lengths2).sum(), rtol=EXACT)
    assert found.squared_norm == pytest.approx(1.0 / (1.0 / lengths2).sum(), rel=EXACT)


def test_interior_answer_is_the_inverse_gram_applied_to_ones():
    rng = np.random.default_rng(10)
    for K in (3, 7, 20):
        gram = gram_matrix(rng.standard_normal((K, 400 * K)))
        y = np.linalg.solve(gram, np.ones(K))
        assert (y > 0.0).all()
        found = min_norm(gram=gram)
        np.testing.assert_allclose(found.weights, y / y.sum(), rtol=EXACT)
        assert found.squared_norm == pytest.approx(1.0 / y.sum(), rel=EXACT)
        assert found.iterations == 1


@pytest.mark.parametrize("solve", [closed_form, active_set])
def test_two_gradients_in_the_three_regimes(solve):
    short, long = np.array([1.0, 0.5]), np.array([3.0, 1.0])
    for gradients, weights in (([short, long], [1.0, 0.0]), ([long, short], [0.0, 1.0])):
        found = solve(gram_matrix(gradients))
        assert found.weights.tolist() == weights  # exactly: 0.999 is not an answer
        assert (found.squared_norm, found.gap) == (1.25, 0.0)
    g1, g2 = np.array([3.0, 1.0, -2.0]), np.array([-1.0, 2.0, 2.0])
    found = solve(gram_matrix([g1, g2]))
    assert found.weights[0] == pytest.approx((g2 - g1) @ g2 / np.sum((g1 - g2) ** 2), rel=EXACT)
    area2 = (g1 @ g1) * (g2 @ g2) - (g1 @ g2) ** 2
    assert found.squared_norm == pytest.approx(area2 / np.sum((g1 - g2) ** 2), rel=EXACT)
    assert solve(gram_matrix([g1, 3.0 * g1])).weights.tolist() == [1.0, 0.0]
    assert solve(gram_matrix([3.0 * g1, g1])).weights.tolist() == [0.0, 1.0]


def test_two_gradients_far_apart_in_length_keep_the_digits_of_the_small_weight():
    w1, w2 = two_point_weights(1.0, -0.5, 1e12)
    assert abs(w1 * (1e12 + 2.0) / (1e12 + 0.5) - 1.0) <= 1e-15
    assert abs(w2 * (1e12 + 2.0) / 1.5 - 1.0) <= 1e-15


@pytest.mark.parametrize("solver", ["closed-form", *SOLVERS])
def test_equal_gradients_leave_v_alone(solver):
    found = min_norm([[1.0, 2.0], [1.0, 2.0]], solver=solver)
    np.testing.assert_allclose(found.weights @ [[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0], rtol=0.0, atol=1e-15)
    assert found.gap == 0.0


@every_solver
@pytest.mark.parametrize("K", [1, 2, 3, 8])
def test_a_zero_gradient_makes_v_zero(solver, K):
    gradients = np.random.default_rng(11).standard_normal((K, 5))
    gradients[K // 2] = 0.0
    found = min_norm(gradients, solver=solver)
    assert found.weights[K // 2] == 1.0
    assert (found.squared_norm, found.gap, found.iterations) == (0.0, 0.0, 0)


# The certificate, and what goes wrong without it.


def test_a_small_step_is_no_sign_of_a_minimum():
    """Stopped by "γ < 1e-3 or 100 iterations", on ten gradients of lengths 1 to 1000, plain Frank-Wolfe answers
    with a direction that raises some task's loss in most draws. Its gap says so every time.
    """
    rng = np.random.default_rng(12)
    harmful = 0
    for _ in range(100):
        gradients = rng.standard_normal((10, 20))
        gradients *= np.logspace(0, 3, 10)[:, None] / lengths_of(gradients)[:, None]
        gram = gradients @ gradients.T
        stopped = frank_wolfe(gram, tolerance=0.0, max_iterations=100, smallest_step=1e-3)
        assert stopped.iterations <= 100
        if (gram @ stopped.weights).min() < 0.0:
            harmful += 1
            assert stopped.gap > stopped.squared_norm
        exact = active_set(gram)
        assert exact.gap < 1e-9 * exact.squared_norm
        assert (gram @ exact.weights).min() > 0.0
    assert harmful >= 80


def test_frank_wolfe_stops_at_a_small_step_a_small_gap_or_the_limit():
    gram = gram_matrix(ill_scaled(np.random.default_rng(13), 6))
    limited = frank_wolfe(gram, tolerance=0.0, max_iterations=7)
    assert limited.iterations == 7
    small_step = frank_wolfe(gram, tolerance=0.0, smallest_step=0.1)
    assert 0 < small_step.iterations < 7
    small_gap = frank_wolfe(np.diag([1.0, 2.0, 3.0]), tolerance=1e-3)
    assert small_gap.gap <= 1e-3
    assert frank_wolfe(np.diag([1.0, 2.0, 3.0]), 0.0, small_gap.iterations - 1).gap > 1e-3


def test_frank_wolfe_survives_a_tolerance_of_zero():
    for family in FAMILIES:
        for gradients in draws(family, sizes=(1, 2, 5), count=1, seed=15):
            found = frank_wolfe(gradients @ gradients.T, tolerance=0.0, max_iterations=300)
            assert_on_simplex(found, len(gradients))


@pytest.mark.parametrize("family", [low_rank_and_noise, in_a_plane, nearly_equal])
def test_gram_matrix_with_float32_rounding(family):
    """Rounding to float32 gives a singular matrix negative eigenvalues; the answer is as good as the matrix."""
    rng = np.random.default_rng(16)
    negative = 0
    for K in (3, 10, 40):
        for _ in range(8):
            gradients = family(rng, K)
            gram = (gradients @ gradients.T).astype(np.float32).astype(np.float64)
            negative += np.linalg.eigvalsh(gram)[0] < -1e-9 * gram.max()
            found = min_norm(gram=gram)
            assert_on_simplex(found, K)
            assert found.gap <= 1e-5 * rounding_scale(gradients, found.weights)
    assert negative >= 8


# The Gram matrix.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("K", "n"), [(1, 7), (2, 3), (2, 5000), (7, 2000), (16, 2500), (17, 2500), (5, 1999)])
def test_gram_matrix(K, n, dtype):
    gradients = np.random.default_rng(17).standard_normal((K, n)).astype(dtype)
    gram = gram_matrix(gradients)
    assert gram.dtype == dtype
    for i, j in itertools.product(range(K), repeat=2):
        exact = math.fsum(gradients[i].astype(float) * gradients[j].astype(float))
        assert abs(gram[i, j] - exact) <= 10 * n * np.finfo(dtype).eps
    assert (gram == gram.T).all()


def test_gradients_may_be_a_list_of_arrays_of_any_shape():
    rng = np.random.default_rng(18)
    gradients = rng.standard_normal((3, 4, 5, 6))
    flat = gradients.reshape(3, -1)
    np.testing.assert_allclose(gram_matrix(list(gradients)), flat @ flat.T, rtol=1e-14)
    np.testing.assert_allclose(gram_matrix(gradients), flat @ flat.T, rtol=1e-14)
    assert gram_matrix([[1, 2], [3, 4]]).dtype == np.float64
    assert gram_matrix(flat.astype(np.float16)).dtype == np.float64


class DeviceArray:
    """An array that refuses to become NumPy's other than by `get`, and counts how often it does."""

    fetched = 0

    def __init__(self, values):
        self.values = values

    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    dtype = property(lambda self: self.values.dtype)
    T = property(lambda self: DeviceArray(self.values.T))

    def __len__(self):
        return len(self.values)

    def __matmul__(self, other):
        return DeviceArray(self.values @ other.values)

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array")

    def reshape(self, *shape):
        return DeviceArray(self.values.reshape(*shape))

    def get(self):
        DeviceArray.fetched += 1
        return self.values


def test_gradients_on_a_device_are_fetched_once_as_their_gram_matrix(monkeypatch):
    stack = lambda arrays: DeviceArray(np.stack([array.values for array in arrays]))  # noqa: E731
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=DeviceArray, stack=stack))
    gradients = np.random.default_rng(19).standard_normal((3, 4000)).astype(np.float32)
    for given in (DeviceArray(gradients), [DeviceArray(g) for g in gradients]):
        DeviceArray.fetched = 0
        found = min_norm(given)
        assert DeviceArray.fetched == 1
        assert isinstance(found.weights, np.ndarray)
        np.testing.assert_allclose(found.weights, min_norm(gradients).weights, atol=1e-6)
    DeviceArray.fetched = 0
    np.testing.assert_allclose(min_norm(gram=gram_matrix(DeviceArray(gradients))).weights, found.weights, atol=1e-6)
    assert DeviceArray.fetched == 1


# Units: what leaves the range of the gradients' dtype when it is squared.


@pytest.mark.parametrize("solver", ["active-set", "frank-wolfe"])
@pytest.mark.parametrize(
    ("dtype", "unit"),
    [(np.float32, 2.0**e) for e in (-120, -100, -60, 60, 100, 120)]
    + [(np.float64, 2.0**e) for e in (-1040, -700, -520, 510, 600, 1000)],
)
@pytest.mark.parametrize("K", [1, 2, 3, 7])
def test_gradients_in_any_unit_have_the_same_weights(K, dtype, unit, solver):
    gradients = np.round(256 * np.random.default_rng(23).standard_normal((K, 9))) / 256  # so that denormals are exact
    right = min_norm(gradients.astype(dtype), solver=solver)
    found = min_norm(gradients.astype(dtype) * dtype(unit), solver=solver)
    np.testing.assert_allclose(found.weights, right.weights, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-9)
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_allclose(found.squared_norm, right.squared_norm * unit * unit, rtol=1e-5)


def test_gradients_of_very_different_lengths():
    for small, large in ((1e-170, 1.0), (1.0, 1e160), (1e-30, 1e30)):
        found = min_norm([[small, 0.0], [0.0, large]])
        np.testing.assert_allclose(found.weights, [1.0, 0.0], atol=1e-15)
        found = min_norm(np.array([[1e-30, 0.0], [-1e30, 1e30]], np.float32))  # α₂ = 1/(2·10⁶⁰) + …
        np.testing.assert_allclose(found.weights[1], 0.5e-60, rtol=1e-6)


def test_gram_matrix_in_float32_is_right_beyond_its_range():
    gradients = np.array([[3e-30, 4e-30], [3e25, -4e25]], np.float32)
    gram = gram_matrix(gradients)
    assert gram.dtype == np.float64
    np.testing.assert_allclose(gram, [[25e-60, -7e-5], [-7e-5, 25e50]], rtol=1e-6)
    assert gram_matrix(gradients[:1] * np.float32(1e30)).dtype == np.float32


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_the_cosine_has_no_unit(value):
    cosine = tm.lab.cosines(np.array([[value, 0.0], [value, value]]))[0, 1]
    assert cosine == pytest.approx(0.5**0.5, rel=1e-15)


# Matrices that are none of inner products.

NO_GRAMS = {
    "longer than both": [[1.0, -2.0], [-2.0, 1.0]],
    "in huge units": [[1e200, -2e200], [-2e200, 1e200]],
    "in tiny units": [[1e-200, -2e-200], [-2e-200, 1e-200]],
    "a zero gradient that is not orthogonal": [[0.0, -1.0], [-1.0, 1.0]],
    "another": [[0.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]],
    "from a campaign": [[12.0, 3.0, 12.0], [3.0, 4.0, 12.0], [12.0, 12.0, 2.0]],
    "three at 120° and more": [[1.0, -0.9, -0.9], [-0.9, 1.0, -0.9], [-0.9, -0.9, 1.0]],
    "each pair is possible": [[1.0, 0.9, 0.9], [0.9, 1.0, 0.5], [0.9, 0.5, 1.0]],
    "ill-scaled": [[1e-8, -2e-8, 0.0], [-2e-8, 1e-8, 0.0], [0.0, 0.0, 1e8]],
}


@pytest.mark.parametrize("solver", ["active-set", "frank-wolfe"])
@pytest.mark.parametrize("gram", NO_GRAMS.values(), ids=NO_GRAMS)
def test_what_is_no_matrix_of_inner_products_is_refused(gram, solver):
    with pytest.raises(ValueError, match="not a matrix of inner products"):
        min_norm(gram=gram, solver=solver)


def test_random_symmetric_matrices_are_refused_or_solved():
    """Where an answer comes, no other point of the simplex is lower by more than the gap and the matrix's own error."""
    rng = np.random.default_rng(24)
    refused = 0
    for _ in range(400):
        K = int(rng.integers(2, 6))
        gram = np.round(rng.uniform(-2, 12, (K, K)), 1)
        gram = (gram + gram.T) / 2
        gram[np.diag_indices(K)] = np.abs(gram.diagonal()) + rng.choice([0.1, 6.0])
        smallest = np.linalg.eigvalsh(gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal())))[0]
        try:
            found = min_norm(gram=gram)
        except ValueError:
            refused += 1
            assert smallest < 1e-12
            continue
        assert smallest > -2e-3
        others = rng.dirichlet(np.full(K, 0.5), 200)
        lowest = np.einsum("ri,ij,rj->r", others, gram, others).min()
        assert found.squared_norm - found.gap <= lowest + 4e-3 * gram.max()
    assert 100 < refused < 380


def test_a_gram_matrix_of_gradients_that_cancel_is_formed_again():
    """Rounding in float32 may make |gᵢ·gⱼ| larger than ‖gᵢ‖‖gⱼ‖: `is_exact` sees it."""
    gram = np.array([[1.0, -1.001], [-1.001, 1.0]], np.float32)
    assert not is_exact(gram)
    assert is_exact(np.array([[1.0, -1.00001], [-1.00001, 1.0]], np.float32))


# Normalisation.


@pytest.mark.parametrize("how", ["none", "l2", "loss", "loss+"])
def test_normalized_gram_is_the_gram_of_the_normalised_gradients(how):
    rng = np.random.default_rng(20)
    gradients, losses = rng.standard_normal((4, 9)) * [[1.0], [20.0], [0.3], [4.0]], np.array([0.5, 3.0, 2.0, 0.01])
    lengths = lengths_of(gradients)
    n = {"none": np.ones(4), "l2": lengths, "loss": losses, "loss+": losses * lengths}[how]
    expected = gradients / n[:, None] @ (gradients / n[:, None]).T
    np.testing.assert_allclose(normalized_gram(gradients @ gradients.T, losses, how), expected, rtol=1e-12, atol=1e-14)


def test_normalised_answers_by_hand():
    gram = gram_matrix([[4.0, 0.0], [0.0, 1.0]])
    assert min_norm(gram=normalized_gram(gram, None, "none")).weights.tolist() == pytest.approx([1 / 17, 16 / 17])
    assert min_norm(gram=normalized_gram(gram, None, "l2")).weights.tolist() == pytest.approx([0.5, 0.5])
    assert min_norm(gram=normalized_gram(gram, [2.0, 1.0], "loss")).weights.tolist() == pytest.approx([0.2, 0.8])
    assert min_norm(gram=normalized_gram(gram, [2.0, 1.0], "loss+")).weights.tolist() == pytest.approx([0.8, 0.2])


def test_normalisation_that_cannot_be():
    gram = np.diag([1.0, 0.0, 4.0])
    assert normalized_gram(gram, None, "none").tolist() == gram.tolist()
    assert normalized_gram(gram, [1.0, 1.0, 2.0], "loss").tolist() == np.diag([1.0, 0.0, 1.0]).tolist()
    for how in ("l2", "loss+"):
        with pytest.raises(ValueError, match="gradient 1 is zero"):
            normalized_gram(gram, [1.0, 1.0, 1.0], how)
    for how in ("loss", "loss+"):
        for bad in (0.0, -0.5, math.nan, math.inf):
            with pytest.raises(ValueError, match=f"loss 2 is {bad}"):
                normalized_gram(np.eye(3), [1.0, 1.0, bad], how)
        with pytest.raises(ValueError, match="one loss per gradient"):
            normalized_gram(np.eye(3), [1.0, 1.0], how)
        with pytest.raises(ValueError, match="one loss per gradient"):
            normalized_gram(np.eye(3), None, how)
    with pytest.raises(ValueError, match="unknown normalisation 'L2': did you mean 'l2'"):
        normalized_gram(np.eye(3), None, "L2")


# Bad input: one clear sentence.


def gram_with(i, j, value, K=3):
    gram = np.eye(K)
    gram[i, j] = value
    return gram


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "nothing to solve"),
        ({"gradients": np.eye(2), "gram": np.eye(2)}, "give one of the two"),
        ({"gradients": []}, "K ≥ 1"),
        ({"gradients": np.empty((0, 5))}, "K ≥ 1"),
        ({"gradients": np.ones(3)}, r"shape \(3,\)"),
        ({"gradients": [[1.0, 2.0], [3.0]]}, r"gradient 0 has \(2,\) and gradient 1 has \(1,\)"),
        ({"gradients": [["a"], ["b"]]}, "real numbers"),
        ({"gradients": [[1.0, 2.0], [3.0, np.nan]]}, "gradient 1 is not finite"),
        ({"gradients": [[1.0], [2.0], [np.inf]]}, "gradient 2 is not finite"),
        ({"gradients": np.array([[1.0], [np.nan]], np.float32)}, "gradient 1 is not finite"),
        ({"gram": np.empty((0, 0))}, "K ≥ 1"),
        ({"gram": np.ones(3)}, r"shape \(3,\)"),
        ({"gram": np.ones((2, 3))}, r"shape \(2, 3\)"),
        ({"gram": [[1.0, 2.0], [3.0]]}, "array of real numbers"),
        ({"gram": gram_with(1, 2, np.nan)}, r"gram\[1, 2\] is nan"),
        ({"gram": gram_with(2, 0, -np.inf)}, r"gram\[2, 0\] is -inf"),
        ({"gram": gram_with(0, 0, np.inf)}, r"gram\[0, 0\] is inf"),
        ({"gram": gram_with(1, 0, np.nan, K=2)}, r"gram\[1, 0\] is nan"),
        ({"gram": gram_with(1, 1, np.inf, K=2)}, r"gram\[1, 1\] is inf"),
        ({"gram": [[1.0, np.inf], [np.inf, 1.0]]}, r"gram\[0, 1\] is inf"),
        ({"gram": gram_with(0, 1, 0.5)}, r"symmetric, but \[0, 1\] is 0.5 and \[1, 0\] is 0.0"),
        ({"gram": gram_with(0, 1, 0.5, K=2)}, "symmetric"),
        ({"gram": gram_with(1, 1, -1.0)}, r"gram\[1, 1\] is a squared length"),
        ({"gram": gram_with(1, 1, -1.0, K=2)}, r"gram\[1, 1\] is a squared length"),
        ({"gram": np.eye(3) - 0.9}, r"gram is not a matrix of inner products"),
        ({"gram": np.eye(2), "solver": "frankwolfe"}, "unknown solver 'frankwolfe': did you mean 'frank-wolfe'"),
        ({"gram": np.eye(2), "solver": "xyz"}, "unknown solver 'xyz': use 'active-set', 'closed-form' or"),
        ({"gram": np.eye(3), "solver": "closed-form"}, "closed-form' is for two gradients, got 3"),
        ({"gram": np.diag([1.0, 0.0, 1.0]), "solver": "closed-form"}, "closed-form' is for two gradients, got 3"),
        ({"gram": np.eye(1), "solver": "closed-form"}, "closed-form' is for two gradients, got 1"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        min_norm(**arguments)


@pytest.mark.parametrize("how", ["gradients", "gram"])
def test_what_looks_like_an_array_and_says_more(how):
    square = np.array([[2.0, 1.0], [1.0, 3.0]])
    expected = min_norm(**{how: square})
    for same in (square.view(np.matrix), square.astype(">f4"), square.tolist(), np.ma.masked_array(square)):
        assert min_norm(**{how: same}).weights.tolist() == expected.weights.tolist()
    for odd in (np.ma.masked_equal(square, 3.0), square + 0j, square.astype(str), {"a": square}):
        with pytest.raises((ValueError, TypeError), match="masked cells|complex|text|is a dict"):
            min_norm(**{how: odd})


def test_a_gram_matrix_that_is_symmetric_up_to_rounding_is_taken():
    gradients = common_direction(np.random.default_rng(21), 5)
    gram = gradients @ gradients.T
    crooked = gram * (1.0 + 1e-8 * np.triu(np.ones((5, 5)), 1))
    np.testing.assert_allclose(min_norm(gram=crooked).weights, min_norm(gram=gram).weights, atol=1e-6)
    assert crooked[0, 1] != crooked[1, 0]  # and it is not written to


DEPENDENT = {
    "three equal": [[1.0, 0.3]] * 3,
    "two equal": [[1.0, 0.3], [1.0, 0.3], [-0.2, 1.0]],
    "collinear and opposite": [[1.0, 0.3], [-1.0, -0.3], [2.0, 0.6]],
    "on a line": [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [1.0, 2.0]],
    "four around the origin": [[1.0, 0.2], [-0.3, 1.0], [-1.0, -0.4], [0.2, -1.0]],
    "corners of a square": [[1.1, x, y] for x in (-0.7, 0.7) for y in (-0.3, 0.3)],
    "ten in four dimensions": np.random.default_rng(3).normal(size=(10, 4)),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_rounding_does_not_choose_among_the_weights_of_dependent_gradients(name):
    """Another order of the tasks, and other last digits of G: the same weights."""
    rng = np.random.default_rng(0)
    g = np.array(DEPENDENT[name])
    found = min_norm(g)
    for _ in range(20):
        order = rng.permutation(len(g))
        noise = 1.0 + rng.integers(-2, 3, (len(g), len(g))) * 2.0**-53
        again = min_norm(gram=(g @ g.T * np.sqrt(noise * noise.T))[np.ix_(order, order)])
        np.testing.assert_allclose(again.weights, found.weights[order], atol=1e-9)
        assert again.gap <= 1e-12


def test_of_all_weights_with_the_same_v_those_of_the_least_sum_of_squared_lengths():
    np.testing.assert_allclose(min_norm(DEPENDENT["three equal"]).weights, 1 / 3, atol=1e-14)
    np.testing.assert_allclose(min_norm(DEPENDENT["corners of a square"]).weights, 1 / 4, atol=1e-14)
    # α₁ − α₂ + 2α₃ = 0 on the simplex, ‖gₖ‖ = (1, 1, 2)·c: the least α₁² + α₂² + 4α₃² is at (5, 7, 1)/13
    np.testing.assert_allclose(min_norm(DEPENDENT["collinear and opposite"]).weights * 13, [5, 7, 1], atol=1e-12)
