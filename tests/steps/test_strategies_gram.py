"""The strategies on a Gram matrix: answers in closed form, their promises, and what they do where there is no answer.

The fixtures: J0 and H0 conflict; ORT is orthogonal; in Q3 (K = 3, determinant 1) every two strategies differ.
"""


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
