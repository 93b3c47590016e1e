import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm


def problem():
    return tm.problems.Quadratics([1.0, 2.0, 4.0], [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], start=[0.5, 0.25])


# gₖ = hₖ(θ − cₖ) at the start
G = np.array([[-0.5, 0.25], [1.0, -1.5], [6.0, 5.0]])


def moved(**options):
    p = problem()
    report = tm.Averaged(p, tm.SGD(1.0), **options)()
    return p.theta.data - [0.5, 0.25], report


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [1 / 3, 1 / 3, 1 / 3]),
        ({"reduction": "sum"}, [1, 1, 1]),
        ({"weights": [1, 2, 5]}, [1 / 8, 2 / 8, 5 / 8]),
        ({"weights": [1, 2, 5], "reduction": "sum"}, [1, 2, 5]),
        ({"weights": {"loss 3": 5, "loss 1": 1, "loss 2": 2}}, [1 / 8, 2 / 8, 5 / 8]),
        ({"weights": np.array([0, 0.5, 0.5])}, [0, 0.5, 0.5]),
    ],
)
def test_weights_and_reduction(options, weights):
    move, report = moved(**options)
    assert_allclose(move, -np.array(weights) @ G, rtol=0, atol=1e-14)
    assert_allclose(report.weights, weights, rtol=0, atol=1e-15)
    assert_allclose(report.losses, [0.15625, 0.8125, 7.625], rtol=0, atol=1e-14)
    assert report.min_norm is None


def test_heads_take_the_weighted_gradient_too(network, batch):
    """Weight 0 for a task: its head rests, and the trunk moves as if it were not there."""
    x, labels = batch(3)
    model, without = network(3), network(2)
    start = model.state()
    tm.Averaged(model, tm.SGD(0.5), weights={"t0": 1, "t1": 3, "t2": 0})(x, labels)
    tm.Averaged(without, tm.SGD(0.5), weights=[1, 3])(x, {name: labels[name] for name in ("t0", "t1")})
    after, expected = model.state(), without.state()
    assert (after["heads/t2/weight"] == start["heads/t2/weight"]).all()
    for key, value in expected.items():
        assert_allclose(after[key], value, rtol=0, atol=1e-14)
        assert (after[key] != start[key]).any()


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1, 2], "weights are 3 finite numbers, none negative and not all 0; got"),
        ([1, 2, 3, 4], "weights are 3 finite numbers"),
        ([1, -1, 3], "none negative"),
        ([0, 0, 0], "not all 0"),
        ([1, np.nan, 1], "finite"),
        ([1, np.inf, 1], "finite"),
        (1.0, "weights are 3"),
        ({"loss 1": 1, "loss 2": 1}, r"for the tasks \['loss 1', .*'loss 3'\], given for \['loss 1', 'loss 2'\]"),
        ({"loss 1": 1, "loss 2": 1, "los 3": 1}, "given for .*'los 3'"),
    ],
)
def test_bad_weights(weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        tm.Averaged(problem(), tm.SGD(1.0), weights=weights)


def test_one_memory_for_all(network, batch):
    step = tm.Averaged(network(3), tm.Adam())
    for _ in range(4):
        step(*batch(3))
    assert list(step.memory) == ["all"] and step.memory["all"].t == 4
    assert sum(m.size for m in step.memory["all"].m) == step.model.vector.size
