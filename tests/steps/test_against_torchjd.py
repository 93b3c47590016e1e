"""Our directions beside TorchJD's, on 1,000 random and 1,000 ill-scaled draws each; and who is right where they differ.

    python -m pytest -m slow -s tests/steps/test_against_torchjd.py      # with the extra `bench`

A method's *defect* is computed from the direction alone, by neither library: by how much it misses what its paper
defines. Where two directions differ by more than 1e-6 of their length, the one with the smaller defect is right. With
TorchJD 0.18, out of 1,000 draws of each kind (differ: random, ill-scaled; median defect of TorchJD's there; why):

    UPGrad            862  800   3e-4, 0.1    it adds 1e-4 to the diagonal of G / tr G (finding F15) …
    UPGrad, ε 1e-9      0  534   1e-4         … with 1e-9 what is left is a matter of scale
    DualProj          398  684   6e-4, 0.2    the same
    DualProj, ε 1e-9    1  456   1e-4
    CAGrad            578  335   8e-6, 2e-7   how far its conic solver goes
    ConFIG              0    0
    IMTL-G              5  139   6, 2,000     not the opposite direction only (F3): G is inverted, or nearly, by pinv
    Aligned-MTL         0   10   2e-5         eigenvalues of G keep half the digits of a small singular value
    Nash-MTL           69  713   ∞, 18        its solver starts at α = 1 and gives up silently (F9)
    FairGrad            0   29   4e-2         least squares that stop early
    MGDA              806  610   6e-3, 9e-2   Frank-Wolfe, 100 rounds
    PCGrad, K = 2       0    0

In all of them ours is right, or misses by less than 1e-5 (Aligned-MTL's worst is 1.6e-6, where J's rank is in doubt).
"""

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest

import tinymtl as tm

torch = pytest.importorskip("torch")
QuadprogProjector = getattr(pytest.importorskip("torchjd.linalg"), "QuadprogProjector", None)
theirs = pytest.importorskip("torchjd.aggregation")
quadprog = pytest.importorskip("quadprog")
for used_by_torchjd in ("qpsolvers", "cvxpy", "clarabel", "ecos", "scipy"):
    pytest.importorskip(used_by_torchjd)

pytestmark = pytest.mark.slow
DRAWS = 1000


def draw(kind, seed):
    """Gradients (K, n): normal ones, or ones whose lengths lie over four decades, every fifth time with two alike."""
    rng = np.random.default_rng([seed, kind == "ill-scaled"])
    K = int(rng.integers(2, 7))
    J = rng.normal(size=(K, K + int(rng.integers(0, 5))))
    if kind == "ill-scaled":
        if seed % 5 == 0:
            J[1] = J[0] + 1e-3 * J[1]
        J *= 10.0 ** rng.uniform(-2, 2, size=(K, 1))
    return J


def ours(strategy, J, **options):
    problem = tm.problems.Quadratics(np.ones(len(J)), -J, np.zeros(J.shape[1]))
    found = strategy(problem, tm.SGD(0.1), **options).weigh(J @ J.T, np.ones(len(J)))
    return J.T @ np.asarray(getattr(found, "weights", found))


# ------------------------------------------------------------ what each paper defines


def projection(g, J):
    """The nearest vector to g that raises no task's loss: one quadratic program on rows of length 1, as it stands."""
    rows = J / np.linalg.norm(J, axis=1, keepdims=True)
    scale = np.linalg.norm(g)
    return scale * quadprog.solve_qp(np.eye(len(g)), g / scale, rows.T, np.zeros(len(J)))[0]


def away(v, right):
    return np.linalg.norm(v - right) / np.linalg.norm(right)


def upgrad(J, v):
    """v is the mean of the projected gradients."""
    return away(v, np.mean([projection(g, J) for g in J], axis=0))


def dualproj(J, v):
    """v is the projected mean."""
    return away(v, projection(J.mean(axis=0), J))


def mgda(J, v):
    """‖v‖² = minₖ gₖ·v for a v in the hull: the gap, as a part of the shortest gradient's square."""
    return (v @ v - (J @ v).min()) / (J * J).sum(axis=1).min()


def cagrad(J, v, c=0.4):
    """The least gₖ·v among ‖v − g₀‖ ≤ c‖g₀‖ is as large as it can be: no more than gʷ·g₀ + c‖g₀‖‖gʷ‖ for every w."""
    g0 = J.mean(axis=0)
    limit = c * np.linalg.norm(g0)
    outside = max(np.linalg.norm(v - g0) / limit - 1.0, 0.0)
    weights = np.linalg.lstsq(J.T, v - g0, rcond=None)[0]
    w = np.maximum(weights, 0.0) / max(np.maximum(weights, 0.0).sum(), 1e-300)
    bound = w @ J @ g0 + limit * np.linalg.norm(J.T @ w)
    return outside + (bound - (J @ v).min()) / (np.linalg.norm(J, axis=1).max() * np.linalg.norm(g0))


def config(J, v):
    """All cosines are equal, and ‖v‖ = Σ gₖ·v/‖v‖."""
    length = np.linalg.norm(v)
    cosines = J @ v / np.linalg.norm(J, axis=1) / length
    return np.ptp(cosines) + abs((J @ v).sum() / length / length - 1.0)


def aligned(J, v):
    """The mean gradient of the matrix with J's singular vectors and the least of its singular values for all."""
    U, singular, V = np.linalg.svd(J, full_matrices=False)
    kept = singular > singular[0] * max(J.shape) * np.finfo(float).eps
    return away(v, singular[kept].min() * (U[:, kept] @ V[kept]).mean(axis=0))


def fairgrad(J, v, a=2.0):
    """gₖ·v = αₖ^(−1/a) for the α with v = Σ αₖgₖ."""
    alpha = np.linalg.lstsq(J.T, v, rcond=None)[0]
    rises = J @ v
    if alpha.min() <= 0.0 or rises.min() <= 0.0:
        return np.inf
    return abs(rises * alpha ** (1 / a) - 1.0).max()


def nash(J, v):
    """αₖ gₖ·v is the same for all tasks: v by its direction, as TorchJD cuts its length."""
    alpha = np.linalg.lstsq(J.T, v, rcond=None)[0]
    products = alpha * (J @ v)
    return np.inf if alpha.min() <= 0.0 or products.min() <= 0.0 else products.max() / products.min() - 1.0


class Method(NamedTuple):
    ours: Callable
    theirs: Callable  # J → an aggregator
    defect: Callable
    options: Mapping = {}
    unit: bool = False  # whether directions are compared, without their lengths


def tight():
    """Their quadratic program with a regularisation of 1e-9 in place of 1e-4."""
    return QuadprogProjector(norm_eps=1e-12, reg_eps=1e-9)


METHODS = {
    "UPGrad": Method(tm.UPGrad, lambda J: theirs.UPGrad(), upgrad),
    "DualProj": Method(tm.DualProj, lambda J: theirs.DualProj(), dualproj),
    "UPGrad, ε 1e-9": Method(tm.UPGrad, lambda J: theirs.UPGrad(projector=tight()), upgrad),
    "DualProj, ε 1e-9": Method(tm.DualProj, lambda J: theirs.DualProj(projector=tight()), dualproj),
    "CAGrad": Method(tm.CAGrad, lambda J: theirs.CAGrad(c=0.4), cagrad, {"c": 0.4}),
    "ConFIG": Method(tm.ConFIG, lambda J: theirs.ConFIG(), config),
    "IMTL-G": Method(tm.ConFIG, lambda J: theirs.IMTLG(), config, unit=True),
    "Aligned-MTL": Method(tm.AlignedMTL, lambda J: theirs.AlignedMTL(), aligned),
    "Nash-MTL": Method(tm.NashMTL, lambda J: theirs.NashMTL(n_tasks=len(J)), nash, unit=True),
    "FairGrad": Method(tm.FairGrad, lambda J: theirs.FairGrad(alpha=2.0), fairgrad, {"a": 2.0}),
    "MGDA": Method(tm.MGDA, lambda J: theirs.MGDA(), mgda),
    "PCGrad, K = 2": Method(tm.PCGrad, lambda J: theirs.PCGrad(), lambda J, v: np.inf),
}


@pytest.mark.parametrize("kind", ["random", "ill-scaled"])
@pytest.mark.parametrize("name", METHODS)
def test_where_directions_differ_ours_is_right(name, kind):
    """Its defect is the smaller one, or so small (1e-5) that the digits of J's Gram matrix allow no better."""
    method, defects = METHODS[name], []
    for seed in range(DRAWS):
        J = draw(kind, seed)[: 2 if name == "PCGrad, K = 2" else None]  # of two tasks, whose order plays no part
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            v = ours(method.ours, J, **method.options)
            try:
                u = method.theirs(J)(torch.from_numpy(J)).numpy()
            except ValueError:  # their solver gives up
                u = np.full_like(v, np.nan)
        lengths = (np.linalg.norm(v), np.linalg.norm(u)) if method.unit else (1.0, 1.0)
        if not np.linalg.norm(v / lengths[0] - u / lengths[1]) <= 1e-6 * np.linalg.norm(v / lengths[0]):
            found = method.defect(J, v), method.defect(J, u) if np.isfinite(u).all() else np.inf
            defects.append(found)
            assert found[0] <= max(found[1], 1e-5), f"draw {seed}: {found}"
    line = f"{name:16} {kind:10} {DRAWS - len(defects):5} agree {len(defects):5} differ"
    if defects:
        mine, others = np.array(defects).T
        line += f"   largest defect of ours {mine.max():7.1e}, median of theirs {np.median(others):7.1e}"
    print("\n" + line, end="")
