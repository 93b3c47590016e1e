import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import tinymtl as tm
from tests.lab.test_comparison import SINGLE, constructed
from tinymtl.lab import History, plots
from tinymtl.lab.statistics import mean_interval
from tinymtl.steps import STRATEGIES


def history(metrics, losses=None):
    epochs = len(metrics)
    found = History(["a", "b"], train_losses=losses or [[1.0, 2.0]] * epochs, evaluated=list(range(1, epochs + 1)))
    found.validation_metrics = metrics
    return found


def test_33_strategies_can_be_told_apart():
    found = [plots.Style.at(position) for position in range(33)]
    assert len({(style.marker, style.fill) for style in found}) == 33  # without any colour
    assert len({(style.colour, style.dash) for style in found}) == 33  # without any marker
    assert len({(style.colour, style.marker) for style in found}) == 33  # too small to see the fill
    assert len(STRATEGIES) <= 33
    near = [(a, b) for i, a in enumerate(found) for b in found[i + 1 : i + 5]]
    assert all(a.colour != b.colour and a.marker != b.marker and a.dash != b.dash for a, b in near)


def test_styles_come_from_the_position_in_the_registry():
    names = list(STRATEGIES)
    found = plots.styles(["own", "single", *reversed(names), "another"])
    assert [found[name] for name in [*names, "own", "another"]] == [plots.Style.at(i) for i in range(len(names) + 2)]
    assert found["single"].colour == "#000000" and found["single"].marker not in plots.SHAPES
    assert plots.styles([names[2]]) == {names[2]: plots.Style.at(2)}


def test_learning_curves_show_the_mean_and_the_range():
    ax = Figure().subplots()
    runs = {
        "mgda": [history([[0.1, 0.5], [0.2, 0.6], [0.3, 0.7]]), history([[0.3, 0.5], [0.6, 0.6]])],
        "averaged": [history([[0.5, 0.5]])],
    }
    assert plots.learning_curves(ax, runs, "a") is ax
    line = ax.get_lines()[0]
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.2], [2, 0.4]])  # as far as every seed goes
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.1) and band[:, 1].max() == pytest.approx(0.6)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["MGDA", "averaged"]
    assert ax.get_xlabel() == "epochs" and "validation" in ax.get_ylabel() and ax.get_title() == "a"
    assert to_hex(line.get_color()).upper() == plots.styles(["mgda"])["mgda"].colour


def test_learning_curves_of_training_losses():
    ax = plots.learning_curves(
        Figure().subplots(), {"mgda": [history([[0, 0]], [[3.0, 4.0]])]}, "b", quantity="train_losses"
    )
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), [[1, 4]])
    with pytest.raises(ValueError, match="unknown curve 'loss'"):
        plots.learning_curves(ax, {"mgda": [history([[0, 0]])]}, "b", quantity="loss")
    with pytest.raises(ValueError, match="unknown task 'c'"):
        plots.learning_curves(ax, {"mgda": [history([[0, 0]])]}, "c")


def test_the_comparison_figure_shows_what_was_measured():
    rows = [[0.88, 0.5], [0.72, 0.5], [0.8, 0.6]]
    found = constructed({"single": SINGLE, "mgda": rows})
    figure = found.figure()
    left, right = figure.axes
    interval = mean_interval(found.deltas("made", "mgda"))
    (bar,) = left.containers
    assert bar.lines[0].get_xdata()[0] == pytest.approx(interval.mean)
    ends = bar.lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(ends, [interval.mean - interval.half_width, interval.mean + interval.half_width])
    assert list(left.get_lines()[0].get_xdata()) == [0, 0]  # the single-task nets
    dots = next(line for line in left.get_lines() if line.get_marker() == ".")
    np.testing.assert_allclose(dots.get_xdata(), found.deltas("made", "mgda"))
    assert [t.get_text() for t in left.get_yticklabels()] == ["MGDA\n1+2 passes"]
    np.testing.assert_allclose(right.containers[0].lines[0].get_ydata(), np.mean(rows, axis=0))
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [0.8, 0.8])
    texts = [text for ax in (left, right) for text in [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title]]
    texts += [axis.label for ax in (left, right) for axis in (ax.xaxis, ax.yaxis)]
    sizes = {text.get_size() for text in texts if text.get_text()}
    assert min(sizes) >= 11


def test_one_seed_can_be_drawn(tmp_path):
    figure = constructed({"single": SINGLE[:1], "mgda": SINGLE[:1]}).figure()
    figure.savefig(tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 10_000


def test_dollar_signs_are_no_formula(tmp_path):
    specs = ("$a^", "b_$")
    found = constructed({"single": SINGLE, r"\alpha $x^$": SINGLE}, tasks=specs)
    found.figure().savefig(tmp_path / "dollars.png")
    ax = found.figure().axes[1]
    assert [plots.plain(name) for name in ("$a^", "b $")] == [t.get_text() for t in ax.get_xticklabels()]


def test_pyplot_is_left_alone():
    code = (
        "import sys, tinymtl as tm; c = tm.lab.compare('attributes', ['averaged'], trunk=[2], epochs=1, seeds=1);"
        "assert 'matplotlib' not in sys.modules and 'tqdm' not in sys.modules; c.figure();"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert tm.lab.plots is plots
