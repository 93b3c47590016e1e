"""The geometry pictures: what is drawn is where the numbers say, and everything has a label."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import tinymtl as tm
from tinymtl.lab.geometry import (
    frank_wolfe_path,
    plot_gradients,
    plot_simplex,
    plot_trajectories,
    plot_weights,
    trajectory,
)


def axes(**options):
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot(**options)


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def check(ax, returned):
    """It is the same ax, it has a title and named axes, all its words are large enough, and it can be drawn."""
    assert returned is ax
    assert ax.get_title() and ax.get_xlabel()
    ax.figure.canvas.draw()
    words = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_legend().get_texts(), *ax.texts]
    words += [*ax.get_xticklabels(), *ax.get_yticklabels()]
    assert min(word.get_fontsize() for word in words if word.get_text()) >= 11


def line(ax, start):
    """The data of the line whose legend begins with `start`."""
    (found,) = [line for line in ax.lines if str(line.get_label()).startswith(start)]
    return np.stack(found.get_data(), axis=1)


def test_the_hand_example():
    ax = axes()
    check(ax, plot_gradients(ax, [[2.0, 2.0], [0.0, -1.0]]))
    assert labels(ax)[1:] == ["g₁, length 2.83", "g₂, length 1", "v, length 0.555, α = (3/13, 10/13)"]
    np.testing.assert_allclose(line(ax, "v,"), [[6 / 13, -4 / 13]], atol=1e-12)
    np.testing.assert_allclose(line(ax, "hull"), [[2, 2], [0, -1]])
    assert ax.get_ylabel() == "second component"
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["g₁", "g₂"]
    assert ax.get_aspect() == 1.0


def test_three_gradients_in_the_plane():
    ax = axes()
    check(ax, plot_gradients(ax, [[2, 0], [0, 2], [1.5, 1.5]], ["left", "right", "both"]))
    np.testing.assert_allclose(line(ax, "v,"), [[1, 1]], atol=1e-12)
    assert labels(ax)[1:4] == ["left, length 2", "right, length 2", "both, length 2.12"]
    colours = {line.get_color() for line in ax.lines if "length" in str(line.get_label())}
    markers = {line.get_marker() for line in ax.lines if "length" in str(line.get_label())}
    assert len(colours) == 4 and len(markers) == 4


def test_long_gradients_keep_lengths_and_angles():
    rows = np.random.default_rng(0).normal(size=(2, 30))
    ax = axes()
    check(ax, plot_gradients(ax, rows))
    drawn = line(ax, "hull")
    np.testing.assert_allclose(drawn @ drawn.T, rows @ rows.T, rtol=1e-9)
    assert ax.get_xlabel() == "first coordinate in the span"


def test_three_dimensions():
    rows = [[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [-0.5, -0.2, 2.0]]
    ax = axes(projection="3d")
    check(ax, plot_gradients(ax, rows))
    assert ax.get_zlabel() == "third component"
    (v,) = [line for line in ax.lines if str(line.get_label()).startswith("v,")]
    best = tm.min_norm(rows)
    np.testing.assert_allclose(np.ravel(v.get_data_3d()), best.weights @ np.array(rows), atol=1e-9)
    with pytest.raises(ValueError, match="projection='3d'"):
        plot_gradients(axes(), rows)
    long = axes(projection="3d")
    check(long, plot_gradients(long, np.random.default_rng(1).normal(size=(3, 9))))
    assert long.get_zlabel() == "third coordinate in the span"


def test_gradients_that_cancel_or_vanish():
    for rows in ([[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]):
        ax = axes()
        check(ax, plot_gradients(ax, rows))
        np.testing.assert_allclose(line(ax, "v,"), [[0, 0]], atol=1e-12)


def test_wrong_numbers_of_gradients():
    for count in (1, 4):
        with pytest.raises(ValueError, match=f"two or three gradients, got {count}"):
            plot_gradients(axes(), np.ones((count, 2)))


def quadratics():
    return tm.problems.Quadratics([[1.0, 9.0], [9.0, 1.0]], [[1.0, 0.0], [-1.0, 0.0]], start=[0.5, 0.25])


def test_trajectory():
    """MGDA with Hₖ = I: θ_t = P + (1 − η)ᵗ(θ₀ − P)."""
    problem = tm.problems.Quadratics([1.0, 1.0], [[1.0, 0.0], [-1.0, 0.0]], start=[0.25, 1.0])
    path = trajectory(tm.MGDA(problem, tm.SGD(lr=0.1)), 20)
    expected = np.stack([np.full(21, 0.25), 0.9 ** np.arange(21)], axis=1)
    np.testing.assert_allclose(path, expected, atol=1e-12)
    model = tm.SharedBottom(tm.nn.MLP([2, 2]), [tm.Task("a", tm.nn.Linear(2, 1), tm.mse_loss)])
    with pytest.raises(TypeError, match="analytic problem"):
        trajectory(tm.Averaged(model, tm.SGD(0.1)), 1)


@pytest.mark.parametrize("make", [quadratics, lambda: tm.problems.FonsecaFleming([0.5, -0.4])])
def test_trajectories(make):
    paths = {
        "averaged": trajectory(tm.Averaged(make(), tm.SGD(0.1)), 30),
        "MGDA": trajectory(tm.MGDA(make(), tm.SGD(0.1)), 30),
    }
    problem = make()
    before = problem.theta.data.copy()
    ax = axes()
    check(ax, plot_trajectories(ax, problem, paths))
    np.testing.assert_array_equal(problem.theta.data, before)
    assert problem.passes.trunk_forwards == 0
    assert labels(ax) == ["contours of loss 1", "contours of loss 2", "Pareto set", "averaged", "MGDA"]
    for name, path in paths.items():
        np.testing.assert_array_equal(line(ax, name), path)
    pareto = line(ax, "Pareto set")
    np.testing.assert_allclose(pareto[[0, -1]], [problem.pareto_point((0, 1)), problem.pareto_point((1, 0))])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("θ₁", "θ₂")
    assert sum(text.get_text() == "start" for text in ax.texts) == 1
    for collection in ax.collections:  # contours lie inside the picture
        assert len(collection.get_paths())


def test_trajectories_need_two_parameters_and_two_losses():
    three = tm.problems.Quadratics([1.0] * 3, [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], start=[0.0, 0.0])
    for problem in (three, tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.0])):
        with pytest.raises(ValueError, match="two parameters, with two losses"):
            plot_trajectories(axes(), problem, {})
    with pytest.raises(ValueError, match=r"'MGDA' has shape \(3,\)"):
        plot_trajectories(axes(), quadratics(), {"MGDA": [1.0, 2.0, 3.0]})


def test_simplex():
    gram = np.diag([1.0, 4.0, 9.0])
    path = frank_wolfe_path(gram, 5)
    ax = axes()
    check(ax, plot_simplex(ax, gram, ["a", "b", "c"], path))
    assert labels(ax) == ["the solver's way, 5 rounds", "shortest: 6/7, α = (36/49, 9/49, 4/49)"]
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    np.testing.assert_allclose(line(ax, "shortest"), [np.array([36, 9, 4]) / 49 @ corners], atol=1e-12)
    np.testing.assert_allclose(line(ax, "the solver's way"), path @ corners)
    colours = ax.collections[0].get_array()
    assert (colours.min(), colours.max()) == pytest.approx((6 / 7, 3.0), abs=1e-3)
    assert {"a\nlength 1", "b\nlength 2", "c\nlength 3"} <= {text.get_text() for text in ax.texts}
    assert ax.figure.axes[1].get_ylabel() == "‖Σ αₖgₖ‖"
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        plot_simplex(axes(), np.eye(2))


def test_frank_wolfe_path_nears_the_minimum():
    gram = np.diag([1.0, 4.0, 9.0])
    lengths = [a @ gram @ a for a in frank_wolfe_path(gram, 30)]
    assert (np.diff(lengths) <= 1e-15).all()
    assert lengths[-1] == pytest.approx(36 / 49, rel=1e-2)


@pytest.mark.parametrize("tasks", [1, 2, 8, 40])
def test_weights(tasks):
    weights = np.random.default_rng(0).dirichlet(np.ones(tasks), size=50)
    names = [f"task {k}" for k in range(tasks)]
    ax = axes()
    check(ax, plot_weights(ax, weights, names))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "weight αₖ")
    said = labels(ax)
    assert said[-1] == "uniform"
    if tasks <= 8:
        assert said[:-1] == names
    else:
        assert said[0] == "32 others" and len(said) == 10
    named = [line for line in ax.lines if line.get_label() in names]
    assert len({(line.get_color(), line.get_marker()) for line in named}) == len(named) == min(tasks, 8)
    top = int(weights.mean(axis=0).argmax())
    np.testing.assert_array_equal(line(ax, f"task {top}")[:, 1], weights[:, top])
    with pytest.raises(ValueError, match="a row for each step"):
        plot_weights(axes(), weights[0], names)
