"""The strategies on a Gram matrix: answers in closed form, their promises, and what they do where there is no answer.

The fixtures: J0 and H0 conflict; ORT is orthogonal; in Q3 (K = 3, determinant 1) every two strategies differ.
"""


import itertools
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm

J0 = np.array([[-4.0, 1, 1], [6, 1, 1]])
H0 = np.array([[2.0, 2], [0, -1]])
ORT = np.array([[3.0, 0, 0], [0, 4, 0]])
Q3 = np.array([[-1.0, 2, 0], [1, -1, -1], [0, 0, 1]])

CONFLICT_FREE = [tm.NashMTL, tm.FairGrad, tm.UPGrad, tm.DualProj, tm.ConFIG]
EVERY = [*CONFLICT_FREE, tm.CAGrad, tm.PCGrad, tm.AlignedMTL, tm.SDMGrad, tm.DBMTL, tm.NGDiff, tm.GradVac, tm.GradNorm]


def problem(J):
    """fₖ = ½‖θ − cₖ‖² with the rows of J as gradients at the start; here Z = θ."""
    J = np.asarray(J, dtype=float)
    return tm.problems.Quadratics([1.0] * len(J), -J, np.zeros(J.shape[1]))


def solved(strategy, J, losses=None, **options):
    J = np.asarray(J, dtype=float)
    step = strategy(problem(J), tm.SGD(0.1), **options)
    return step.weigh(J @ J.T, np.ones(len(J)) if losses is None else np.array(losses, dtype=float))


def weights(strategy, J, losses=None, **options):
    found = solved(strategy, J, losses, **options)
    return np.asarray(getattr(found, "weights", found))


def direction(strategy, J, losses=None, **options):
    return np.asarray(J, dtype=float).T @ weights(strategy, J, losses, **options)


def rises(strategy, J, **options):
    """The least gₖ·v."""
    return (np.asarray(J) @ direction(strategy, J, **options)).min()


def close(found, expected, tolerance=1e-9):
    assert_allclose(found, expected, rtol=0, atol=tolerance)


def pair(a, b):
    """A direction in J0's plane, whose last two entries are alike."""
    return [a, b, b]


# ------------------------------------------------------------ answer keys


DIRECTIONS = [
    (tm.CAGrad, {"c": 0.4}, pair(0.3468027353, 1.1632993162), [1, 0.0527864045], [2.5, 2, 0]),
    (tm.CAGrad, {"c": 0.5}, pair(0.1835034191, 1.2041241452), [1, -0.0590169944], [2.7484926071, 2.0613694553, 0]),
    (tm.CAGrad, {"c": 1.0}, [0, 2, 2], [1, -0.6180339887], [3.84, 2.88, 0]),
    (
        tm.CAGrad,
        {"c": 2.0},
        pair(0, 1 + np.sqrt(5.5)),
        [2.1375968130, -1.4250645420],
        [5.8806060142, 4.4104545107, 0],
    ),
    (tm.NashMTL, {}, pair(0.0765842884, 0.9985326351), [1.3065629649, -0.5411961001], [1, 1, 0]),
    (tm.FairGrad, {"a": 1.0}, pair(0.0765842884, 0.9985326351), [1.3065629649, -0.5411961001], [1, 1, 0]),
    (
        tm.FairGrad,
        {"a": 0.5},
        pair(0.1810426452, 1.2682208605),
        [1.3831363863, -0.3376942922],
        [1.4422495703, 1.5874010520, 0],
    ),
    (
        tm.FairGrad,
        {"a": 2.0},
        pair(0.0312736798, 0.7908171505),
        [1.3189299662, -0.7032229049],
        [0.6933612744, 0.6299605249, 0],
    ),
    (tm.AlignedMTL, {}, pair(0.2132787460, 0.9673329838), [0.4747829088, -0.0949565818], [1.5, 1.5, 0]),
    (tm.ConFIG, {}, pair(0.1588089758, 2.0706067581), [1.3535533906, -0.5606601718], [3.5, 3.5, 0]),
    (tm.PCGrad, {}, pair(100 / 171, 650 / 171), [5 / 2, -1 / 2], [3, 4, 0]),
    (tm.GradVac, {}, pair(100 / 171, 650 / 171), [5 / 2, -1 / 2], [3, 4, 0]),
    (tm.UPGrad, {}, pair(50 / 171, 325 / 171), [5 / 4, -1 / 4], [1.5, 2, 0]),
    (tm.DualProj, {}, pair(5 / 9, 10 / 9), [1, 0], [1.5, 2, 0]),
    (tm.SDMGrad, {"lam": 0.3}, [0, 1, 1], [6 / 13, -4 / 13], [1.92, 1.44, 0]),
    (tm.SDMGrad, {"lam": 0.6}, [0, 1, 1], [6 / 13, -4 / 13], [1.92, 1.44, 0]),
    (tm.NGDiff, {}, pair(0.0305194852, 0.3979236815), [np.sqrt(0.5), np.sqrt(0.5) - 1], [1, 1, 0]),
    (tm.DBMTL, {"log": False}, pair(0.1881347419, 2.4529663145), [2, -0.8284271247], [4, 4, 0]),
]


@pytest.mark.parametrize("at", ["θ", "Z"])
@pytest.mark.parametrize("strategy, options, on_J0, on_H0, on_ORT", DIRECTIONS, ids=lambda value: str(value)[:40])
def test_directions(strategy, options, on_J0, on_H0, on_ORT, at):
    """Through whole steps: the move of SGD with learning rate 1."""
    for J, expected in ((J0, on_J0), (H0, on_H0), (ORT, on_ORT)):
        model = problem(J)
        report = strategy(model, tm.SGD(1.0), at=at, **options)()
        close(-model.theta.data, expected)
        close(-model.theta.data, J.T @ report.weights, 1e-12)
        assert report.trunk_backwards == (1 if at == "Z" else len(J))
        close(getattr(report.min_norm, "residual", getattr(report.min_norm, "gap", 0.0)), 0, 1e-12)


MGDA_Q3 = np.array([8 / 35, 13 / 35, 2 / 5])
ON_Q3 = [
    (tm.CAGrad, {"c": 0.4}, [1 / 3, 0.4103133692, 1 / 3]),
    (tm.CAGrad, {"c": 1.0}, 2 * MGDA_Q3),
    (tm.CAGrad, {"c": 2.0}, 4.5590260840 * MGDA_Q3),
    (tm.NashMTL, {}, [2.3705370236, 3.8102799255, 4.0567807966]),
    (tm.FairGrad, {"a": 0.5}, [1.6212846448, 2.5753291172, 2.7113566166]),
    (tm.FairGrad, {"a": 2.0}, [3.5326859059, 5.7104618688, 6.1148578375]),
    (tm.AlignedMTL, {}, [0.2314211818, 0.3544748193, 0.3710099690]),
    (tm.UPGrad, {}, [7 / 10, 10 / 9, 7 / 6]),
    (tm.DualProj, {}, [1 / 3, 1 / 2, 1 / 2]),
    (tm.SDMGrad, {"lam": 0.3}, MGDA_Q3),
    (tm.SDMGrad, {"lam": 0.6}, MGDA_Q3),
    (tm.NGDiff, {}, [5**-0.5, 3**-0.5, 1]),
    (tm.DBMTL, {"log": False}, [1, np.sqrt(5 / 3), np.sqrt(5)]),
    (tm.PCGrad, {"order": "given"}, [8 / 5, 7 / 3, 3]),
]


@pytest.mark.parametrize("strategy, options, expected", ON_Q3, ids=lambda value: str(value)[:40])
def test_weights_on_Q3(strategy, options, expected):
    close(weights(strategy, Q3, **options), expected)


def test_ConFIG_on_Q3():
    close(direction(tm.ConFIG, Q3), [0.4501964111, 0.2904649332, 0.0584657787])


def test_two_tasks_in_closed_form():
    """c = cos(g₁, g₂), n = lengths; for random pairs, most of them in conflict."""
    rng = np.random.default_rng(0)
    conflicts = 0
    for _ in range(40):
        J = rng.normal(size=(2, 3)) * 10.0 ** rng.uniform(-2, 2, (2, 1))
        G, n = J @ J.T, np.sqrt((J**2).sum(axis=1))
        c, u = G[0, 1] / n.prod(), J / n[:, None]
        conflicts += c < 0
        size = max(n)
        close(weights(tm.NashMTL, J) * n, [(1 + c) ** -0.5] * 2, 1e-8)
        close(direction(tm.ConFIG, J) / size, n.sum() / 2 * u.sum(axis=0) / size)
        alpha = np.array([1 - min(G[0, 1], 0) / G[0, 0], 1 - min(G[0, 1], 0) / G[1, 1]])
        close(weights(tm.PCGrad, J) / alpha, [1, 1])
        close(weights(tm.UPGrad, J) / alpha, [0.5, 0.5])
        w, low, det = np.array([0.5, 0.5]), np.linalg.eigvalsh(G)[0], np.sqrt(np.linalg.det(G))
        root = np.linalg.inv(G + det * np.eye(2)) * np.sqrt(np.trace(G) + 2 * det)
        aligned = weights(tm.AlignedMTL, J)
        assert_allclose(aligned, np.sqrt(low) * root @ w, rtol=1e-6)
        assert_allclose(aligned @ G @ aligned, low / 2, rtol=1e-6)
    assert 10 < conflicts < 30


def test_IMTL_G_is_ConFIG_divided_by_the_sum_of_its_weights():
    """Σα = 1 and equal v·uₖ: the keys, and the sign that flips, which raises every loss."""

    def imtl(J):
        alpha = weights(tm.ConFIG, J)
        return alpha / alpha.sum()

    close(J0.T @ imtl(J0), pair(0.0766968306, 1))
    close(H0.T @ imtl(H0), [0.5224077499, -0.2163883751])
    close(ORT.T @ imtl(ORT), [12 / 7, 12 / 7, 0])
    close(imtl(Q3), [0.2328506719, 0.3743843668, 0.3927649613])
    J = np.array([[9.0, 0, 0], [0, 9, 0], [2, 2, 1]])
    assert (J @ J.T >= 0).all()
    close(imtl(J), [-1, -1, 3])
    close(J @ J.T @ imtl(J), [-27, -27, -9])
    close(imtl(J * [[1], [1], [3]]), [1, 1, -1])
    assert (J @ direction(tm.ConFIG, J) > 1).all()


def test_DB_MTL_at_two_losses():
    close(direction(tm.DBMTL, J0, [2, 5]), pair(0.0647416048, 0.8441236008))
    alpha = weights(tm.DBMTL, J0, [2, 5])
    close(alpha * np.sqrt([18, 38]), [1.5 * np.sqrt(2)] * 2)
    close(direction(tm.DBMTL, J0 * [[2], [7]], [4, 35]), J0.T @ alpha)  # the losses' units do not matter
    close(weights(tm.DBMTL, J0, [2, 5], eps=1e-8), [np.sqrt(18) / (2 + 1e-8) / n for n in np.sqrt([18, 38])], 1e-14)


def test_NGDiff_forgets():
    found = direction(tm.NGDiff, H0, forget=["loss 2"])
    close(found, [0.7071067812, 1.7071067812])
    c = -np.sqrt(0.5)
    close([H0[0] @ found, H0[1] @ found, found @ found], [4.8284271247, -(1 - c), 2 - 2 * c])
    with pytest.raises(ValueError, match="unknown task to forget 'loss 3': did you mean 'loss 2'"):
        tm.NGDiff(problem(H0), tm.SGD(0.1), forget=["loss 3"])


def test_PCGrad_over_all_orders():
    """The mean over the 8 orders of Q3; and a loss that rises in every order."""

    class Given:
        def __init__(self, orders):
            self.orders = iter(orders)

        def permutation(self, K):
            return next(self.orders)

    def all_orders(J):
        others = [list(itertools.permutations([j for j in range(3) if j != i])) for i in range(3)]
        for orders in itertools.product(*others):
            step = tm.PCGrad(problem(J), tm.SGD(0.1))
            step.memory["rng"] = Given(orders)
            yield step.weigh(J @ J.T, np.ones(3))

    close(np.mean(list(all_orders(Q3)), axis=0), [17 / 10, 7 / 3, 5 / 2])
    J = np.array([[-2.0, 1, 0], [1, 0, 0], [0, -1, 1]])
    found = np.array(list(all_orders(J)))
    close(found.mean(axis=0), [1.6, 3.2, 1.6])
    worst = (found @ J @ J.T).min(axis=1)
    close(np.unique(worst.round(9)), [-0.5, -0.3, -0.2])
    J = np.array([[0.0, 0, 1], [1, 1, 0], [-1, 0, -1]])
    worst = (np.array(list(all_orders(J))) @ J @ J.T).min(axis=1)
    close(np.sort(worst)[:3], [-0.25, -0.25, 0])


def test_PCGrad_draws_the_orders_from_its_memory():
    """In law the mean over all orders; the same seed draws the same; each task draws for itself."""
    step = tm.PCGrad(problem(Q3), tm.SGD(0.1), rng=1)
    found = np.array([step.weigh(Q3 @ Q3.T, np.ones(3)) for _ in range(2000)])
    close(found.mean(axis=0), [17 / 10, 7 / 3, 5 / 2], 0.05)
    assert len(np.unique(found.round(9), axis=0)) == 4
    again = tm.PCGrad(problem(Q3), tm.SGD(0.1), rng=1)
    close([again.weigh(Q3 @ Q3.T, np.ones(3)) for _ in range(20)], found[:20], 0)
    assert not np.array_equal(weights(tm.PCGrad, Q3, rng=3), weights(tm.PCGrad, Q3, rng=1))


def test_the_authors_codes():
    close(direction(tm.NashMTL, J0, max_norm=1.0), direction(tm.NashMTL, J0) / np.sqrt(2), 1e-12)
    close(direction(tm.NashMTL, J0, max_norm=1.0), pair(0.0541532511, 0.7060691982), 1e-7)  # the libraries' own
    close(direction(tm.NashMTL, J0, max_norm=2.0), direction(tm.NashMTL, J0), 0)
    close(direction(tm.CAGrad, H0, c=0.5, rescale="1+c²"), direction(tm.CAGrad, H0, c=0.5) / 1.25)
    close(direction(tm.CAGrad, H0, c=0.5, rescale="1+c"), direction(tm.CAGrad, H0, c=0.5) / 1.5)
    J = np.array([[100.0, 0], [-1, 0.1]])  # the ridge lets loss 2 rise
    close(direction(tm.UPGrad, J), [0.4950495050, 5.0004950495])
    close(J[1] @ direction(tm.UPGrad, J), 0.005)
    close(direction(tm.UPGrad, J, ridge=1e-4), [25.1255780157, 2.5374371984], 1e-8)
    assert J[1] @ direction(tm.UPGrad, J, ridge=1e-4) < -24.8
    assert J[1] @ direction(tm.DualProj, J, ridge=1e-4) < -24.8
    close(J[1] @ direction(tm.DualProj, J), 0, 1e-12)
    sum_of_tasks = weights(tm.AlignedMTL, J0, weights=[1, 1])
    close(sum_of_tasks, 2 * weights(tm.AlignedMTL, J0))
    low, high = np.sqrt(np.linalg.eigvalsh(J0 @ J0.T))
    close(weights(tm.AlignedMTL, J0, scale="median"), weights(tm.AlignedMTL, J0) * (low + high) / 2 / low)
    close(weights(tm.AlignedMTL, J0, scale="rmse"), weights(tm.AlignedMTL, J0) * np.sqrt(28) / low)


# ------------------------------------------------------------ limits


def test_CAGrad_from_the_mean_to_MGDA():
    """c → 0 is the mean, c → ∞ MGDA's direction; where losses stop to rise; orthonormal gradients."""
    for J in (J0, H0, ORT, Q3):
        mean, p = J.mean(axis=0), direction(tm.MGDA, J)
        close(direction(tm.CAGrad, J, c=0.0), mean, 1e-15)
        close(direction(tm.CAGrad, J, c=1e-7), mean, 1e-6)
        far = direction(tm.CAGrad, J, c=1e8)
        close(far / np.linalg.norm(far), p / np.linalg.norm(p), 1e-7)
        for c in (0.1, 0.4, 0.9, 1.3, 5.0):
            v = direction(tm.CAGrad, J, c=c)
            close(np.linalg.norm(v - mean), c * np.linalg.norm(mean))
            assert c < 1 or (J @ v > 0).all()
    for J, edge in ((J0, np.sqrt(2 / 27)), (H0, 1 / np.sqrt(5))):
        assert rises(tm.CAGrad, J, c=edge - 1e-6) < 0 < rises(tm.CAGrad, J, c=edge + 1e-6)
    close(weights(tm.CAGrad, np.eye(5), c=0.7), [1.7 / 5] * 5)
    alpha = weights(tm.CAGrad, np.diag([1.0, 2, 3]), c=2.0)  # one w is 0: not along the min-norm point
    assert alpha[2] == pytest.approx(1 / 3, abs=1e-12) and alpha[0] > alpha[1] > 0.5


def test_CAGrad_against_a_grid_of_the_ball():
    """The best worst-served task in the ball, by its border: no grid point is better by more than the grid's width."""
    angles = np.linspace(0, 2 * np.pi, 40_001)
    rng = np.random.default_rng(1)
    for J in [H0, *rng.normal(size=(4, 3, 2))]:
        for c in (0.4, 1.0, 2.0):
            mean = J.mean(axis=0)
            ring = mean[:, None] + c * np.linalg.norm(mean) * np.array([np.cos(angles), np.sin(angles)])
            best = max((J @ ring).min(axis=0).max(), 0.0 if c >= 1 else -np.inf)  # v = 0 is in the ball
            assert best - 1e-12 <= rises(tm.CAGrad, J, c=c) <= best + 1e-3


def test_FairGrad_from_DualProj_by_Nash_to_MGDA():
    """a → 0 is DualProj of the sum, a = 1 Nash-MTL, a → ∞ p/‖p‖²; not the plain sum that the paper has at 0."""
    for J, end in ((J0, [11 / 9, 1]), (H0, [1, 2]), (Q3, [1, 1.5, 1.5]), (ORT, [1, 1])):
        K = len(J)
        close(weights(tm.DualProj, J) * K, end)
        gaps = [abs(weights(tm.FairGrad, J, a=a) - end).max() for a in (0.1, 0.05, 0.03)]
        assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.1
        nearest = weights(tm.MGDA, J)
        close(weights(tm.FairGrad, J, a=1e5), nearest / (nearest @ J @ J.T @ nearest), 2e-3)
        close(weights(tm.FairGrad, J), weights(tm.NashMTL, J), 0)
    close([weights(tm.FairGrad, J0, a=a)[0] for a in (0.1, 0.03, 0.02)], [1.0318820, 1.1401894, 1.1658836], 1e-6)
    close(weights(tm.FairGrad, J0, a=1e4), [0.3000405780, 0.2000277279])
    close(weights(tm.FairGrad, Q3, a=1e4), [7.9980233, 12.9967749, 13.9965110], 1e-6)
    for a in (0.3, 1.0, 2.0, 7.0):
        close(weights(tm.FairGrad, ORT, a=a), [n ** (-2 * a / (1 + a)) for n in (3, 4)])
        close(weights(tm.FairGrad, J0 * 5, a=a), 5 ** (-2 * a / (1 + a)) * weights(tm.FairGrad, J0, a=a))
        alpha = weights(tm.FairGrad, Q3, a=a)
        close(Q3 @ Q3.T @ alpha * alpha ** (1 / a), [1, 1, 1])


def test_SDMGrad_is_MGDA_until_the_floor_binds():
    for lam in (0.3, 0.6, 2.0, 3.999):
        close(weights(tm.SDMGrad, J0, lam=lam), [0.6, 0.4])
    close(direction(tm.SDMGrad, J0, lam=10), [6 / 11, 1, 1])
    close(direction(tm.SDMGrad, J0, lam=1e9), J0.mean(axis=0), 1e-7)
    close(weights(tm.SDMGrad, J0, lam=0.0), weights(tm.MGDA, J0), 0)
    for lam, w in ((0.3, 0.15), (0.6, None), (6 / 7 + 1e-9, 0.0), (2.0, 0.0)):  # the paper's w
        found = weights(tm.SDMGrad, H0, lam=lam)[0] * (1 + lam) - lam / 2
        assert w is None or found == pytest.approx(w, abs=1e-9)
    rng = np.random.default_rng(4)
    for K in (2, 5, 10):
        J = rng.normal(size=(K, 100))
        close(weights(tm.SDMGrad, J), weights(tm.MGDA, J), 1e-12)


def test_the_floor_of_the_min_norm():
    """Against the min-norm problem that the paper writes, and by its certificate."""
    rng = np.random.default_rng(5)
    for K in (2, 3, 6):
        G = np.cov(rng.normal(size=(K, 9)) * 10.0 ** rng.uniform(-1, 1, (K, 1)))
        for floor in (0.0, 0.1 / K, 0.7 / K, 1 / K):
            found = tm.min_norm(gram=G, floor=floor)
            assert found.weights.min() >= floor - 1e-15 and found.weights.sum() == pytest.approx(1, abs=1e-14)
            assert found.squared_norm == pytest.approx(found.weights @ G @ found.weights, abs=1e-12)
            slopes = G @ found.weights
            gap = found.squared_norm - floor * slopes.sum() - (1 - K * floor) * slopes.min()
            assert abs(gap) < 1e-12 * G.max() and found.gap < 1e-12 * G.max()
    for floor in (-0.1, 0.51, np.nan):
        with pytest.raises(ValueError, match="floor is .*: give each of 2 weights a floor from 0 to 1/2"):
            tm.min_norm(gram=np.eye(2), floor=floor)


# ------------------------------------------------------------ memory: GradVac, GradNorm


def test_GradVac_fades_to_the_plain_sum():
    step = tm.GradVac(problem(J0), tm.SGD(0.1), beta=0.5)
    found = [J0.T @ step.weigh(J0 @ J0.T, np.ones(2)) for _ in range(200)]
    expected = [(0.5848, 3.8012), (1.0065, 3.2644), (1.3245, 2.8597), (1.5740, 2.5422)]
    close(found[:4], [pair(*each) for each in expected], 5e-5)
    close(found[-1], [2, 2, 2])
    assert J0[0] @ found[-1] == pytest.approx(-4)
    default = tm.GradVac(problem(J0), tm.SGD(0.1))
    default()
    close(default.memory["target cosines"], 0.01 * -22 / np.sqrt(18 * 38) * (1 - np.eye(2)), 1e-15)


def test_GradVac_reaches_the_target_cosine():
    step = tm.GradVac(problem(J0), tm.SGD(0.1))
    step.memory["target cosines"][:] = 0.5
    alpha = step.weigh(J0 @ J0.T, np.ones(2))
    close(alpha, [2.6758314338, 1.7938148897])
    close(J0.T @ alpha, pair(0.0595636029, 4.4696463236))
    for i in range(2):  # gᵢ′ = gᵢ + (αⱼ − 1) gⱼ
        j = 1 - i
        changed = J0[i] + (alpha[j] - 1) * J0[j]
        close(changed @ J0[j] / np.linalg.norm(changed) / np.linalg.norm(J0[j]), 0.5, 1e-12)


def test_GradNorm_learns():
    """One additive step by hand, the fixed point of both forms, and the additive form's negative weights."""
    G, L = ORT @ ORT.T, np.array([1.0, 4.0])

    def step(**options):
        made = tm.GradNorm(problem(ORT), tm.SGD(0.1), **options)
        made.memory["first losses"][:] = 2, 5
        return made

    one = step(form="additive")
    close(one.weigh(G, L), [1, 1], 0)
    close(one.memory["w"], [0.9135802469, 1.0864197531])
    r = np.array([1 / 2, 4 / 5]) / 0.65
    for form, k in (("softmax", 1), ("additive", 0)):
        for a in (0.0, 1.5):
            long = step(form=form, a=a, lr=1e-4)
            for _ in range(4000):
                long.weigh(G, L)
            # w₁n₁ = t₁ and w₂n₂ = t₂ at once only if Σ rᵃ = 2, as for a = 0; else one of them
            share, n = r[k] ** a / 2, np.array([3, 4])
            ratio = n[1 - k] * share / (n[k] * (1 - share))  # of w[k] to the other one
            close(long.memory["w"][k], 2 * ratio / (1 + ratio), 1e-3)  # signs never settle
            assert a > 0 or 2 * ratio / (1 + ratio) == pytest.approx([8 / 7, 6 / 7][k])
    for form, end in (("additive", [-6.0632321763, 8.0632321763]), ("softmax", None)):
        far = tm.GradNorm(problem([[100, 0], [0, 1]]), tm.SGD(0.1), form=form)
        for _ in range(3):
            far.weigh(np.diag([1e4, 1.0]), np.ones(2))
        assert far.memory["w"].sum() == pytest.approx(2)
        if end:
            close(far.memory["w"], end)
        else:
            assert (far.memory["w"] > 0).all()


def test_GradNorm_takes_the_first_minibatch_for_the_first_losses():
    model = problem(ORT)
    step = tm.GradNorm(model, tm.SGD(0.1))
    first = step().losses
    close(step.memory["first losses"], first, 0)
    step()
    close(step.memory["first losses"], first, 0)
    rested = tm.problems.Quadratics([1.0, 1.0], [[1.0], [0.0]], start=[0.0])
    with pytest.raises(ValueError, match="GradNorm divides by each first loss, but that of task 'loss 2' is 0.0"):
        tm.GradNorm(rested, tm.SGD(0.1))()


# ------------------------------------------------------------ trajectories


def end_of_the_flow(strategy, step, lowest=1e-6, duration=25.0):
    """Where θ′ = −v ends from (1, 3), for quadratics with centres (0, 0) and (4, 0): fourth-order Runge-Kutta."""
    centres, x = np.array([[0.0, 0], [4, 0]]), np.array([1.0, 3.0])
    made = strategy(problem(np.ones((2, 2))), tm.SGD(0.1))

    def slope(x):
        J = x - centres
        found = made.weigh(J @ J.T, np.ones(2))
        return -J.T @ np.asarray(getattr(found, "weights", found))

    for _ in range(int(duration / step)):
        a = slope(x)
        b = slope(x + step / 2 * a)
        c = slope(x + step / 2 * b)
        moved = x + step / 6 * (a + 2 * b + 2 * c + slope(x + step * c))
        if moved[1] < lowest:
            return x + (moved - x) * x[1] / (x[1] - moved[1])
        x = moved
    return x


BISECTOR = 2 + (np.sqrt(10) - np.sqrt(18)) / 2


@pytest.mark.parametrize(
    ("strategy", "foot", "step"),
    [
        (tm.NGDiff, BISECTOR, 0.005),
        (tm.ConFIG, BISECTOR, 0.005),
        (tm.NashMTL, BISECTOR, 0.005),
        (tm.UPGrad, 1.6754447, 0.02),
        (tm.PCGrad, 1.6754447, 0.01),
        (tm.DualProj, 6 / np.sqrt(10), 0.02),
        (tm.AlignedMTL, 1.6, 0.02),
        (tm.SDMGrad, None, 0.02),
    ],
)
def test_eight_feet(strategy, foot, step):
    """Which Pareto point is reached: y = 0, and x between the centres."""
    x, y = end_of_the_flow(strategy, step, 0.02 if strategy is tm.NashMTL else 1e-6)
    if strategy is tm.NashMTL:  # ‖v‖ does not fall: it is stopped before it would step over
        assert x == pytest.approx(foot, abs=0.01) and y < 0.05
        return
    if foot is None:  # MGDA's foot x = 1 until the floor binds: between it and the mean's, x = 2
        assert 1 <= x < 2
    else:
        assert x == pytest.approx(foot, abs=2e-5)
    assert abs(y) < 1e-4


def test_NGDiff_stops_outside():
    """Unlearning keeps r_R + r_F: it stops on the ray beyond the retained centre, at a minimum of neither loss."""
    model = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [4.0, 0.0]], start=[1.0, 3.0])
    step = tm.NGDiff(model, tm.SGD(1e-3), forget=["loss 2"])
    for _ in range(12_000):
        step()
    x, y = model.theta.data
    assert x == pytest.approx(-1.7024591736, abs=1e-4) and 0 < y < 0.05


# ------------------------------------------------------------ degenerate inputs

CLONES, OPPOSITE, FINISHED = [[1.0, 2, 3]] * 2, [[1.0, 2, 3], [-1, -2, -3]], [[1.0, 2, 3], [0, 0, 0]]
G1 = np.array([1.0, 2, 3])
LENGTH = np.sqrt(14)
DEGENERATE = [  # the multiple of g = (1, 2, 3) that each direction is, for clones, opposites and one zero gradient
    (tm.CAGrad, {"c": 0.5}, 1.5, 0, 0.5),
    (tm.CAGrad, {"c": 2.0}, 3, 0, 0.5),
    (tm.NashMTL, {}, np.sqrt(2) / LENGTH, 0, 1 / LENGTH),
    (tm.FairGrad, {}, np.sqrt(2) / LENGTH, 0, 1 / LENGTH),
    (tm.ConFIG, {}, 2, 0, 1),
    (tm.AlignedMTL, {}, 1, 0, 0.5),
    (tm.PCGrad, {}, 2, 0, 1),
    (tm.GradVac, {}, 2, 0, 1),
    (tm.UPGrad, {}, 1, 0, 0.5),
    (tm.DualProj, {}, 1, 0, 0.5),
    (tm.SDMGrad, {}, 1, 0, 0.3 / 1.3 / 2),
    (tm.DBMTL, {}, 2, 0, 1),
    (tm.NGDiff, {}, 2 / LENGTH, 0, 1 / LENGTH),
    (tm.GradNorm, {}, 2, 0, 1),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("strategy, options, clones, opposite, zero", DEGENERATE, ids=lambda value: str(value)[:40])
def test_degenerate_gradients(strategy, options, clones, opposite, zero):
    close(direction(strategy, CLONES, **options), clones * G1)
    close(direction(strategy, OPPOSITE, **options), opposite * G1)
    close(direction(strategy, FINISHED, **options), zero * G1)


@pytest.mark.parametrize("strategy", EVERY)
def test_one_task(strategy):
    """K = 1: along the gradient, as long as the strategy makes it; and all gradients 0."""
    lengths = {tm.CAGrad: 7, tm.NashMTL: 1, tm.FairGrad: 1, tm.NGDiff: 1}
    close(direction(strategy, [[3, 4]]), np.array([3, 4]) / 5 * lengths.get(strategy, 5), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for K in (1, 3):
            assert np.isfinite(weights(strategy, np.zeros((K, 2)))).all()


def test_three_clones():
    """g three times, ‖g‖ = 5."""
    J, g = [[3.0, 4]] * 3, np.array([3.0, 4])
    lengths = {tm.AlignedMTL: 1, tm.UPGrad: 1, tm.DualProj: 1, tm.SDMGrad: 1, tm.PCGrad: 3, tm.ConFIG: 3, tm.DBMTL: 3}
    lengths |= {tm.CAGrad: 1.4, tm.NashMTL: np.sqrt(3) / 5, tm.NGDiff: 3 / 5}
    for strategy, length in lengths.items():
        close(direction(strategy, J), length * g)
    close(direction(tm.FairGrad, J, a=2.0), 3 * 75 ** (-2 / 3) * g)
    doubled = [*Q3, Q3[2]]
    found, before = direction(tm.ConFIG, doubled), direction(tm.ConFIG, Q3)
    close(found / np.linalg.norm(found), before / np.linalg.norm(before))  # it does not count a task twice
    for strategy in (tm.UPGrad, tm.DualProj, tm.NashMTL, tm.AlignedMTL, tm.NGDiff):
        found, before = direction(strategy, doubled), direction(strategy, Q3)
        assert abs(found / np.linalg.norm(found) - before / np.linalg.norm(before)).max() > 1e-3


def test_CAGrad_if_one_task_is_done():
    """TorchJD stands still. At a zero gradient v = g₀; for a gradient that vanishes the limit is another one."""
    close(direction(tm.CAGrad, [[3, 4], [0, 0]], c=0.5), [1.5, 2])
    found = solved(tm.CAGrad, [[3, 4], [1e-5, 0]], c=0.5)
    assert found.residual < 1e-15 and (direction(tm.CAGrad, [[3, 4], [1e-5, 0]], c=0.5)[0]) > 2.7
    # g₀ = (−½, 0) serves the first task worst in the ball ‖v − g₀‖ ≤ 1: v = 0 is right, and as near as it can be
    close(direction(tm.CAGrad, [[1, 0], [-2, 0]], c=2.0), [0, 0])
    close(direction(tm.CAGrad, [[1, 0], [-2, 0]], c=0.5), [-0.25, 0])


@pytest.mark.parametrize("strategy", [tm.NashMTL, tm.FairGrad])
def test_where_there_is_no_bargain(strategy):
    """A warning names the tasks; the trunk stays, the others' weights are those without the finished task."""
    model = problem([[1, 0], [-2, 0], [0, 1]])
    with pytest.warns(RuntimeWarning, match="gradients of 'loss 1' and 'loss 2' cancel: a Pareto-stationary") as caught:
        report = strategy(model, tm.SGD(1.0))()
    assert len(caught) == 1 and caught[0].filename == __file__
    assert report.weights.tolist() == [0, 0, 0] and np.isnan(report.min_norm.residual)
    assert model.theta.data.tolist() == [0, 0]
    with pytest.warns(RuntimeWarning, match=f"task 'loss 2' has a zero gradient: {strategy.__name__} gives") as caught:
        report = strategy(problem([Q3[0], [0, 0, 0], Q3[1], Q3[2]]), tm.SGD(1.0))()
    assert len(caught) == 1 and caught[0].filename == __file__
    close(report.weights, np.insert(weights(strategy, Q3), 1, 0))


def test_ConFIG_warns_if_the_unit_gradients_cancel():
    with pytest.warns(RuntimeWarning, match="ConFIG: the unit gradients add up to nothing") as caught:
        report = tm.ConFIG(problem([[1, 0], [-2, 0]]), tm.SGD(1.0))()
    assert caught[0].filename == __file__ and report.weights.tolist() == [0, 0]


# ------------------------------------------------------------ promises, kept and refuted


def draws(count, K, n, decades, seed=0):
    rng = np.random.default_rng([seed, K, n])
    return rng.normal(size=(count, K, n)) * 10.0 ** rng.uniform(-decades / 2, decades / 2, (count, K, 1))


@pytest.mark.parametrize("K, n, decades", [(2, 3, 4), (3, 5, 4), (5, 30, 0), (10, 40, 4), (40, 60, 4)])
def test_no_loss_rises(K, n, decades):
    """Independent gradients, lengths over four decades: gₖ·v ≥ 0 up to rounding, by the solution's own certificate."""
    for J in draws(3 if K == 40 else 8, K, n, decades):
        G, lengths = J @ J.T, np.sqrt((J**2).sum(axis=1))
        for strategy in [*CONFLICT_FREE, lambda m, o: tm.CAGrad(m, o, c=1.5), lambda m, o: tm.FairGrad(m, o, a=2.0)]:
            found = strategy(problem(J), tm.SGD(0.1)).weigh(G, np.ones(K))
            alpha = getattr(found, "weights", found)
            slopes = G @ alpha / lengths  # uₖ·v
            assert slopes.min() >= -1e-10 * np.sqrt(alpha @ G @ alpha)
            if hasattr(found, "residual"):
                assert 0 <= found.residual <= 1e-9 * max(1.0, G.max() if strategy not in CONFLICT_FREE else 1.0)


@pytest.mark.parametrize("K, n", [(4, 2), (12, 5), (40, 10)])
def test_projections_of_dependent_gradients(K, n):
    """More gradients than dimensions: complementary to 1e-9, however dependent they are; clones and opposites too."""
    for J in [*draws(4, K, n, 4, seed=1)]:
        J[K // 2 :] = J[: K - K // 2] * np.where(np.arange(K - K // 2) % 2, 1, 3)[:, None]
        J[:, 0] = abs(J[:, 0]) + 0.1 * np.linalg.norm(J, axis=1)  # all agree somewhere
        for strategy in (tm.UPGrad, tm.DualProj):
            found = solved(strategy, J)
            slopes = J @ J.T @ found.weights / np.linalg.norm(J, axis=1)
            assert found.residual < 1e-9 and slopes.min() > -1e-9 * np.linalg.norm(J.T @ found.weights)
            assert (found.weights >= 1 / K - 1e-12).all()


def test_projections_against_all_supports():
    """The nearest point of the cone is the best of all supports' candidates: by enumeration, K = 4."""
    for J in draws(10, 4, 6, 1, seed=2):
        G = J @ J.T
        for target in (*np.eye(4), np.full(4, 0.25)):
            best = np.inf
            for size in range(5):
                for support in map(list, itertools.combinations(range(4), size)):
                    v = target.copy()
                    if support:
                        v[support] -= np.linalg.solve(G[np.ix_(support, support)], (G @ target)[support])
                    if (v >= target - 1e-12).all() and (G @ v >= -1e-9).all():
                        best = min(best, (v - target) @ G @ (v - target))
                        nearest = v
            step = tm.DualProj(problem(J), tm.SGD(0.1))
            step.rows = lambda K, target=target: target[None]
            close(step.weigh(G, np.ones(4)).weights, nearest)


def test_Nash_has_length_root_K_and_no_unit():
    for J in draws(6, 4, 6, 4, seed=3):
        G = J @ J.T
        alpha = weights(tm.NashMTL, J)
        close(alpha @ G @ alpha, 4, 1e-8)
        close(direction(tm.NashMTL, J * [[7], [1], [0.01], [1]]), J.T @ alpha, 1e-8)
        close(weights(tm.NashMTL, J * 10) * 10 / alpha, np.ones(4))
    close(direction(tm.NashMTL, [[1, 0], [0, 1], [1, 1]]), [1.5**0.5] * 2)  # dependent gradients are no obstacle
    for t in (1.0, 0.1, 1e-2, 1e-3):  # near a Pareto-stationary point α → ∞, ‖v‖ stays
        found = weights(tm.NashMTL, [[1, t], [-1, t]])
        assert_allclose(found, [1 / (np.sqrt(2) * t)] * 2, rtol=1e-8)


def test_linear_in_each_gradient_s_length():
    """f(s₁) + f(s₂) = f(s₁ + s₂), s multiplying the rows: UPGrad, PCGrad and ConFIG, and not DualProj."""

    def added(strategy, **options):
        one, two = np.array([[1.0], [1], [2]]), np.array([[1.0], [5], [3]])
        parts = [direction(strategy, Q3 * scale, **options) for scale in (one, two)]
        return np.sum(parts, axis=0) - direction(strategy, Q3 * (one + two), **options)

    for strategy, options in ((tm.UPGrad, {}), (tm.PCGrad, {"order": "given"}), (tm.ConFIG, {})):
        close(added(strategy, **options), 0, 1e-12)
    scaled = [direction(tm.DualProj, H0 * [[a], [b]]) for a, b in ((1, 1), (1, 5), (2, 6))]
    close(scaled, [[1, 0], [1.25, -1.25], [2, -1]])


def test_counterexamples():
    """Losses that rise although it is often said that they do not."""
    close(rises(tm.CAGrad, H0), -0.0527864045)
    assert (Q3 @ direction(tm.CAGrad, Q3) < -1e-3).sum() == 2
    close(rises(tm.NGDiff, Q3), -0.6095899790)
    close(rises(tm.DBMTL, Q3, log=False) / np.sqrt(5), -0.6095899790)
    J = [[3, 1], [-1, 0]]
    close(direction(tm.AlignedMTL, J), [0.0419874264, 0.2099371321])
    close(rises(tm.AlignedMTL, J), -0.0419874264)
    close(rises(tm.SDMGrad, [[10, 0], [-1, 0.1]]), -0.2603846154)
    J = [[-1, 0], [-1, -3], [0, 1], [0, 1]]
    close(direction(tm.ConFIG, J), [-1.4239352538, 0.5345428462])
    close(rises(tm.ConFIG, J), -0.1796932847)
    assert (np.asarray(J) @ [-0.158, 0.026] > 0).all()  # although there is a direction that serves all
    close(rises(tm.AlignedMTL, Q3), -0.0018490567)


def test_Aligned_shrinks_where_the_gradients_agree():
    """‖v‖ → 0 as they become dependent, and jumps where they are."""
    for eps, length, rank in ((1, 0.437016, 2), (0.1, 0.0499375, 2), (1e-3, 0.0005, 2), (0, 1, 1)):
        found = solved(tm.AlignedMTL, [[1, 0], [1, eps]])
        v = np.array([[1, 0], [1, eps]]).T @ found.weights
        assert np.linalg.norm(v) == pytest.approx(length, rel=1e-5) and found.rank == rank


def test_units_of_the_losses():
    """ORT with its first loss doubled: who turns, and how far; Nash, ConFIG and the sum of unit gradients do not."""
    turns = {
        tm.CAGrad: ([0.780868809, 0.624695048], [0.657021935, 0.753871460]),
        tm.UPGrad: ([0.6, 0.8], [0.832050294, 0.554700196]),
        tm.DualProj: ([0.6, 0.8], [0.832050294, 0.554700196]),
        tm.PCGrad: ([0.6, 0.8], [0.832050294, 0.554700196]),
        tm.SDMGrad: ([0.8, 0.6], [0.554700196, 0.832050294]),
    }
    for still in (tm.NashMTL, tm.ConFIG, tm.NGDiff, tm.AlignedMTL):
        turns[still] = ([np.sqrt(0.5)] * 2,) * 2
    for strategy, expected in turns.items():
        for scale, end in zip((1, 2), expected, strict=True):
            v = direction(strategy, ORT * [[scale], [1]])[:2]
            close(v / np.linalg.norm(v), end, 1e-8)
    v = direction(tm.FairGrad, ORT * [[2], [1]], a=2.0)[:2]
    close(v / np.linalg.norm(v), [0.657898909, 0.753106251], 1e-8)
    v = direction(tm.AlignedMTL, H0 * [[2], [1]])
    close(v / np.linalg.norm(v), [0.9938837347, -0.1104315261])
    lengths = [np.linalg.norm(direction(tm.FairGrad, J0 * s, a=2.0)) for s in (1, 1e-2, 1e-4)]
    assert_allclose(lengths, [1.1188215, 5.1931094, 24.1042788], rtol=1e-7)  # it grows as the gradients vanish


@pytest.mark.parametrize("strategy", [s for s in EVERY if s.equivariant])
def test_the_order_of_the_tasks(strategy):
    order = [2, 0, 1]
    close(weights(strategy, Q3[order], [3, 1, 2]), weights(strategy, Q3, [1, 2, 3])[order], 1e-12)


# ------------------------------------------------------------ refusals, and missing labels


@pytest.mark.parametrize(
    ("strategy", "options", "sentence"),
    [
        (tm.FairGrad, {"a": 0.0}, "a is 0.0: give a positive number"),
        (tm.NashMTL, {"max_norm": 0.0}, "max_norm is 0.0: give a positive number, or None"),
        (tm.CAGrad, {"c": -0.1}, "c is -0.1: give 0 or a positive number"),
        (tm.CAGrad, {"rescale": "1+c2"}, r"unknown rescale '1\+c2': did you mean '1\+c'"),
        (tm.UPGrad, {"ridge": -1.0}, "ridge is -1.0: give 0 or a positive number"),
        (tm.PCGrad, {"order": "fixed"}, "unknown order 'fixed': use 'random' or 'given'"),
        (tm.SDMGrad, {"lam": np.inf}, "lam is inf: give 0 or a positive number"),
        (tm.AlignedMTL, {"weights": [1.0]}, "weights must be 2 finite numbers, one per task"),
        (tm.AlignedMTL, {"scale": "mean"}, "unknown scale 'mean'"),
        (tm.GradVac, {"beta": 0.0}, "beta is 0.0: give a number above 0 and up to 1"),
        (tm.GradNorm, {"lr": 0.0}, "lr is 0.0: give a finite a and a positive lr"),
        (tm.GradNorm, {"form": "log"}, "unknown form 'log'"),
        (tm.NGDiff, {"at": "z"}, "unknown at 'z': did you mean 'Z'"),
    ],
    ids=str,
)
def test_options_are_refused(strategy, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        strategy(problem(H0), tm.SGD(0.1), **options)


def test_DB_MTL_refuses_the_logarithm_of_nothing():
    rested = tm.problems.Quadratics([1.0, 1.0], [[1.0], [0.0]], start=[0.0])
    with pytest.raises(ValueError, match="logarithm of each loss, but that of task 'loss 2' is 0.0: use log=False"):
        tm.DBMTL(rested, tm.SGD(0.1))()
    close(tm.DBMTL(rested, tm.SGD(0.1), log=False)().weights, [1, 0])


@pytest.mark.parametrize("strategy", [tm.GradVac, tm.GradNorm, tm.AlignedMTL, tm.NGDiff])
def test_what_is_kept_of_a_task_waits_for_its_labels(strategy, network, batch):
    """A first loss, a target cosine, a sign or a preset weight goes by the task, not by its place in the batch."""
    x, labels = batch(3)
    options = {tm.AlignedMTL: {"weights": [1.0, 5.0, 2.0]}, tm.NGDiff: {"forget": ["t2"]}}.get(strategy, {})
    step = strategy(network(3), tm.SGD(0.1), **options)
    report = step(x, labels | {"t1": np.full(len(x), np.nan)})
    assert np.isnan(report.losses).tolist() == [False, True, False]
    if strategy is tm.GradNorm:
        assert np.isnan(step.memory["first losses"]).tolist() == [False, True, False]
        assert step.memory["w"][1] == 1 and step.memory["w"][0] != 1 and step.memory["w"].sum() == pytest.approx(3)
        step(x, labels)
        assert np.isfinite(step.memory["first losses"]).all()
    elif strategy is tm.GradVac:
        assert (step.memory["target cosines"] != 0).astype(int).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    elif strategy is tm.NGDiff:
        assert np.sign(report.weights[[0, 2]]).tolist() == [1, -1]
    else:
        alone = strategy(network(2, order=[0, 2]), tm.SGD(0.1), weights=[1.0, 2.0])
        close(report.weights[[0, 2]], alone(x, {name: labels[name] for name in ("t0", "t2")}).weights, 1e-12)
