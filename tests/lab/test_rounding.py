"""The last bits of a result decide nothing: no best epoch, no worst task, no verdict, no digit, no picture."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import tinymtl as tm
from tests.lab.test_comparison import constructed
from tinymtl.lab import accuracy, conflicting_pairs, fit, r2, training
from tinymtl.lab.geometry import plot_gradients, plot_simplex, plot_weights
from tinymtl.lab.metrics import raised_tasks
from tinymtl.lab.statistics import Interval

TIED = {  # two worst tasks, means that end in 5, a strategy that equals another one, and one that equals the reference
    "single": [[0.8125, 0.5, 0.5], [0.8125, 0.5, 0.5], [0.8125, 0.5, 0.5]],
    "averaged": [[0.8125, 0.5005, 0.5], [0.8125, 0.5, 0.5005], [0.8125, 0.5, 0.5]],
    "mgda": [[0.7, 0.625, 0.5], [0.8, 0.5, 0.625], [0.9, 0.5625, 0.5625]],
    "mgda-ub": [[0.7, 0.625, 0.5], [0.8, 0.5, 0.625], [0.9, 0.5625, 0.5625]],
    "alternating": [[0.8125, 0.5, 0.5], [0.8125, 0.5, 0.5], [0.8125, 0.5, 0.5]],
    "grouped": [[0.8937500000000001, 0.55, 0.45], [0.9, 0.5, 0.5], [0.9, 0.5, 0.5]],
}


def test_a_report_is_the_same_to_the_last_bit():
    said = str(constructed(TIED, tasks="abc"))
    assert all(f"{value} b" in said for value in ("0.500", "0.563"))  # the worst task, the first of two equal ones
    assert "0.813" in str(constructed({"single": [[0.8125, 0.5]]}))
    draw = np.random.default_rng(0)
    for _ in range(20):
        moved = {
            name: (np.array(rows) * (1 + draw.integers(-3, 4, (3, 3)) * 2.0**-53)).tolist()
            for name, rows in TIED.items()
        }
        assert str(constructed(moved, tasks="abc")) == said


def test_equal_strategies_differ_by_nothing():
    """Δ's that are equal but for rounding, in every seed alike: an interval of no width, and not beside zero."""
    found = constructed({"single": [[0.3, 0.7]] * 3, "averaged": [[0.3, 0.7]] * 3, "mgda": [[0.3, 0.7]] * 3})
    found.deltas = lambda data, strategy: np.full(3, 0.3 if strategy == "averaged" else 0.1 + 0.2)
    difference = found.difference("made", "mgda", "averaged")
    assert difference == (0.0, 0.0) and difference.holds_zero


def test_an_interval_that_ends_at_zero():
    assert Interval(0.1 + 0.2, 0.3).holds_zero and Interval(-0.3, 0.1 + 0.2).holds_zero
    assert not Interval(0.3 + 1e-8, 0.3).holds_zero


@pytest.mark.parametrize(
    ("metrics", "best"), [([0.3, 0.1 + 0.2, 0.3], 1), ([0.3, 0.1 + 0.2, 0.31], 3), ([0.1 + 0.2, 0.3, 0.2], 1)]
)
def test_the_best_epoch_is_the_first_of_equals(pair, monkeypatch, metrics, best):
    scores = iter(metrics)
    score = {"loss": 1.0, "labelled": 30}
    monkeypatch.setattr(training, "evaluate", lambda model, split: {"t": {**score, "metric": next(scores)}})
    model = tm.lab.build(pair, [4])
    assert fit(tm.Averaged(model, tm.SGD(lr=0.1)), pair, epochs=3, patience=3).best_epoch == best


def test_perpendicular_gradients_are_not_in_conflict():
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    for dtype in (np.float32, np.float64):
        g = (np.array([[3.0, 0.0], [0.0, 0.1], [-1.0, 0.0]]) @ turn).astype(dtype)
        signs = [np.float32(1), np.nextafter(dtype(1), dtype(0)), np.nextafter(dtype(1), dtype(2))]
        assert {conflicting_pairs(g * sign) for sign in signs} == {1}
        assert {raised_tasks(g[:2], g[0] * sign) for sign in signs} == {0}
        assert raised_tasks(g, g[0]) == 1


def test_equal_logits_are_the_first_class():
    logits = np.array([[1.0, 1.0, 0.0]] * 2, np.float32)
    logits[1, 1] = np.nextafter(np.float32(1), np.float32(2))
    assert accuracy(logits, np.array([0, 0])) == 1.0


def test_equal_targets_have_no_r2_though_their_mean_is_rounded():
    with pytest.raises(ValueError, match="all 3 targets are 0.1"):
        r2(np.zeros(3), np.full(3, 0.1))


# ------------------------------------------------------------ pictures


def axes():
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def drawn(ax):
    """What stands in a picture: words, and the ends and corners of everything to nine digits."""
    words = [text.get_text() for text in [*ax.texts, *ax.get_legend().get_texts()]]
    return words, [np.round(np.stack(line.get_data()) + 1e-12, 9).tolist() for line in ax.lines], ax.get_title()


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 0]],  # of one length, at a right angle: any basis of the plane would do
        [[1.0, 1, 1, 1], [-1, -1, -1, -1]],
        [[1.0, 1, 1, 1], [2, 2, 2, 2]],
        [[0.6, 0.8, 0, 0], [0.8, 0.6, 0, 0], [1.0, 1.0, 0, 0]],
        [[0.0, 0, 0], [1, 2, 3]],
    ],
)
def test_a_picture_of_gradients(rows):
    expected = drawn(plot_gradients(axes(), rows))
    draw = np.random.default_rng(0)
    for _ in range(10):
        moved = np.array(rows) + 2.0**-52 * draw.integers(-2, 3, np.shape(rows))
        assert drawn(plot_gradients(axes(), moved)) == expected


def test_a_picture_of_weights_names_the_first_of_equals():
    weights = np.full((5, 12), 1 / 12)
    weights[:, 11] *= 1 + 1e-15
    said = [text.get_text() for text in plot_weights(axes(), weights, list("abcdefghijkl")).get_legend().get_texts()]
    assert said == ["4 others", *"abcdefgh", "uniform"]


def test_a_picture_of_the_simplex():
    g = np.array([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])  # they cancel
    said = {
        tuple(text.get_text() for text in plot_simplex(axes(), h @ h.T).get_legend().get_texts())
        for h in (g, g * (1 + 1e-15), g[:, ::-1])
    }
    assert said == {("shortest: 0, α = (1/3, 1/3, 1/3)",)}
