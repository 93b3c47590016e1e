import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.problems import LinearSharedBottom, Quadratics

BOTH = pytest.mark.parametrize("strategy", [tm.MGDA, tm.MGDAUB])


def with_gradients(rows, start=None):
    """A problem (Z = θ) whose tasks have these gradients at its start: fₖ = ½‖θ − cₖ‖²."""
    g = np.array(rows, dtype=float)
    start = np.zeros(g.shape[1]) if start is None else np.array(start, dtype=float)
    return Quadratics([1.0] * len(g), start - g, start)


def moved(problem, strategy, **options):
    """v, as the move of an SGD step with learning rate 1, and the report."""
    start = problem.theta.data.copy()
    report = strategy(problem, tm.SGD(1.0), **options)()
    return start - problem.theta.data, report


def close(actual, expected, tolerance=1e-12):
    assert_allclose(actual, expected, rtol=0, atol=tolerance)


# ------------------------------------------------------------ min-norm answers, through the steps


@BOTH
@pytest.mark.parametrize(
    ("rows", "weights", "v"),
    [
        ([[2, 2], [0, -1]], [3 / 13, 10 / 13], [6 / 13, -4 / 13]),  # by hand
        ([[0, -1], [2, 2]], [10 / 13, 3 / 13], [6 / 13, -4 / 13]),
        ([[-4, 1, 1], [6, 1, 1]], [0.6, 0.4], [0, 1, 1]),
        ([[1, 0, 0], [0, 2, 0], [0, 0, 3]], [36 / 49, 9 / 49, 4 / 49], [36 / 49, 18 / 49, 12 / 49]),
        ([[2, 0], [0, 2], [1.5, 1.5]], [0.5, 0.5, 0], [1, 1]),
        ([[1, 2], [3, 6]], [1, 0], [1, 2]),  # exactly 1, where the authors' solver answers 0.999
        ([[3, 6], [1, 2]], [0, 1], [1, 2]),  # exactly 0
        ([[5, 0], [1, 1]], [0, 1], [1, 1]),
        ([[3, -1]], [1], [3, -1]),
        ([[1, 0], [-2, 0]], [2 / 3, 1 / 3], [0, 0]),
    ],
    ids=str,
)
def test_by_hand(strategy, rows, weights, v):
    move, report = moved(with_gradients(rows), strategy)
    close(report.weights, weights)
    close(move, v)
    close(report.min_norm.squared_norm, np.dot(v, v))
    close(report.losses, 0.5 * np.square(rows).sum(axis=1))
    if len(rows) == 2 and 1 in weights:
        assert sorted(report.weights.tolist()) == [0.0, 1.0]


@BOTH
def test_the_worked_example(strategy):
    """Two tasks: losses 4 and ½, α = (3/13, 10/13), ‖v‖² = gₖ·v = 4/13, and the tasks at the new θ."""
    problem = with_gradients([[2, 2], [0, -1]], start=[2, 2])
    values = {}
    for stage in strategy(problem, tm.SGD(0.1)).stages(None, None):
        values |= stage.values
    close(values["losses"], [4, 0.5])
    close(values["gram"], [[8, -2], [-2, 1]])
    close(values["weights"] * 13, [3, 10])
    close(values["v"] * 13, [6, -4])
    close(np.array([[2, 2], [0, -1]]) @ values["v"] * 13, [4, 4])
    close(problem.theta.data, [2 - 0.6 / 13, 2 + 0.4 / 13])
    assert (problem.losses().data < [4, 0.5]).all()


# ------------------------------------------------------------ normalisation, heads


def two_task_weight(g1, g2):
    if g1 @ g2 >= g1 @ g1:
        return 1.0
    if g1 @ g2 >= g2 @ g2:
        return 0.0
    return (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))


def scales(how, g, losses):
    length = np.sqrt((g**2).sum(axis=1))
    return {"none": np.ones(len(g)), "l2": length, "loss": losses, "loss+": losses * length}[how]


def linear_problem(seed):
    rng = np.random.default_rng(seed)
    X, W = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    V = [rng.normal(size=(3, 2)), rng.normal(size=(3, 1))]
    return LinearSharedBottom(X, W, V, [rng.normal(size=(5, 2)), rng.normal(size=(5, 1))])


@BOTH
@pytest.mark.parametrize("how", ["none", "l2", "loss", "loss+"])
@pytest.mark.parametrize("heads", ["own", "alpha"])
def test_normalisations_and_heads_by_hand(strategy, how, heads):
    """α is solved on gₖ/nₖ and applied to the raw gₖ; heads take ∇_φₖ Lₖ, or αₖ times that."""
    inner = 0
    for seed in range(6):
        problem = linear_problem(seed)
        losses = problem.losses().data.copy()
        at_W = np.stack([g.ravel() for g in problem.weight_gradients()])
        at_V = problem.head_gradients()
        D = np.stack([d.ravel() for d in problem.representation_gradients()])
        W, V = problem.theta.data.copy(), [parameters[0].data.copy() for parameters in problem.layout.head_parameters]

        seen = at_W if strategy is tm.MGDA else D
        n = scales(how, seen, losses)[:, None]
        a = two_task_weight(*(seen / n))
        inner += 0 < a < 1
        alpha = np.array([a, 1 - a])
        report = strategy(problem, tm.SGD(0.1), normalize=how, head_weighting=heads)()
        close(report.weights, alpha)
        close(report.losses, losses)
        close(problem.theta.data.ravel(), W.ravel() - 0.1 * alpha @ at_W)
        for k in range(2):
            factor = alpha[k] if heads == "alpha" else 1.0
            close(problem.layout.head_parameters[k][0].data, V[k] - 0.1 * factor * at_V[k])
    assert inner >= 3  # the clamped cases alone would hide a wrong scale


@BOTH
@pytest.mark.parametrize("heads", ["own", "alpha"])
def test_heads_of_a_network(strategy, heads, network, batch, stacked):
    """Against gradients of each task alone, for many heads in one vector."""
    model, alone = network(4, stacked), network(4, stacked=False)
    x, labels = batch(4)
    report = strategy(model, tm.SGD(0.3), head_weighting=heads)(x, labels)
    z = alone.trunk(x)
    assert np.ptp(report.weights) > 0.05
    for k, task in enumerate(alone.tasks):
        own = tm.grad(task.loss(task.head(z), labels[task.name]), alone.task_parameters(task.name))
        factor = report.weights[k] if heads == "alpha" else 1.0
        for after, before, g in zip(
            model.task_parameters(task.name), alone.task_parameters(task.name), own, strict=True
        ):
            close(after.data, before.data - 0.3 * factor * g)


def test_the_trunk_of_a_network(network, batch, stacked):
    """v = Σ αₖ gₖ, with gₖ and the Gram matrices from each task alone."""
    alone = network(4, stacked=False)
    x, labels = batch(4)
    z = alone.trunk(x)
    losses = [task.loss(task.head(z), labels[task.name]) for task in alone.tasks]
    g = [np.concatenate([part.ravel() for part in tm.grad(loss, alone.shared_parameters())]) for loss in losses]
    D = [tm.grad(loss, z)[0].ravel() for loss in losses]
    trunk = alone.vector.data[alone.layout.trunk]
    for strategy, seen in ((tm.MGDA, g), (tm.MGDAUB, D)):
        alpha = tm.min_norm(seen).weights
        model = network(4, stacked)
        report = strategy(model, tm.SGD(0.3))(x, labels)
        close(report.weights, alpha, 1e-10)
        close(model.vector.data[model.layout.trunk], trunk - 0.3 * alpha @ np.array(g), 1e-11)


# ------------------------------------------------------------ zero gradients


@BOTH
def test_a_zero_gradient_warns_and_freezes_the_trunk(strategy, network, batch, stacked):
    """A head without weights sends nothing back: α falls on that task, v = 0, and the heads go on."""
    model = network(3, stacked)
    model.task_parameters("t1")[0].data = np.zeros((5, 3))
    before = model.state()
    with pytest.warns(RuntimeWarning, match="task 't1' has a zero gradient: .*no task moves the trunk") as caught:
        report = strategy(model, tm.SGD(0.5))(*batch(3))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert report.weights.tolist() == [0, 1, 0] and report.min_norm.squared_norm == 0
    after = model.state()
    for key, value in before.items():
        assert (after[key] == value).all() == key.startswith("trunk"), key


@BOTH
@pytest.mark.parametrize("how", ["l2", "loss+"])
def test_a_zero_gradient_cannot_be_normalised(strategy, how, network, batch, stacked, bits):
    model = network(3, stacked)
    model.task_parameters("t1")[0].data = np.zeros((5, 3))
    step = strategy(model, tm.Adam(), normalize=how)
    before = bits(step)
    with pytest.warns(RuntimeWarning, match="task 't1'"), pytest.raises(ValueError, match="gradient 1 is zero"):
        step(*batch(3))
    assert bits(step) == before


@BOTH
def test_no_warning_without_reason(strategy, network, batch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strategy(network(3), tm.SGD(0.1))(*batch(3))


# ------------------------------------------------------------ one memory


@BOTH
def test_the_optimizer_is_given_v(strategy, network, batch):
    """With momentum: the memory holds the sum of the vs, and it is one for trunk and heads."""
    model = network(3)
    step = strategy(model, tm.SGD(0.1, momentum=0.5))
    velocity = np.zeros(model.layout.trunk.stop)
    for seed in range(3):
        before = model.vector.data[model.layout.trunk].copy()
        for stage in step.stages(*batch(3, seed)):
            if stage.name == "update":
                velocity = 0.5 * velocity + stage.update.v
        close(model.vector.data[model.layout.trunk], before - 0.1 * velocity, 1e-14)
    close(step.memory["all"].velocity[0][: len(velocity)], velocity, 1e-14)
    assert list(step.memory) == ["all"]
