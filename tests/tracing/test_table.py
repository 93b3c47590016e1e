"""The trace as text and as HTML."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import tinymtl as tm
from tests.tracing.conftest import STRATEGIES, network, stacked
from tinymtl.tracing.numerals import clean, clip, degrees, listing, short, shorten, signed
from tinymtl.tracing.table import some


class Page(HTMLParser):
    """A page's tags (balanced, or the test fails), its images and its text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.images, self.words = [], [], [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag != "br":
            self.open.append(tag)
        for name, value in attributes:
            assert name in ("style", "alt", "src", "colspan", "scope"), name
            assert name == "src" or "url" not in value

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def picture(image):
    """The SVG in an <img>, parsed."""
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/svg+xml;base64"
    return ElementTree.fromstring(base64.b64decode(data, validate=True))


def test_the_hand_example_as_text(hand):
    model, x, targets = hand
    assert repr(tm.trace(tm.MGDAUB(model, tm.SGD(lr=0.1)), x, targets)) == (
        "One step of MGDAUB with SGD(lr=0.1, momentum=0.0, weight_decay=0.0)\n"
        "2 tasks, batch of 1 row, x (1, 2), float64\n"
        "\n"
        "                                                   change of the loss\n"
        "task    loss  ‖gₖ‖ Z  ‖gₖ‖ θ  weight   gₖ·v  by trunk   actual    gap\n"
        "task 1     2   2.828   6.325    3/13  20/13     −2/13  −51/338  1/338\n"
        "task 2   0.5       1   2.236   10/13  20/13     −2/13  −24/169  2/169\n"
        "\n"
        "Gram matrix on Z (formed by the step); above its diagonal, cosine and angle\n"
        "        task 1       task 2\n"
        "task 1       8  −0.71, 135°\n"
        "task 2      −2            1\n"
        "\n"
        "v, the weighted gradient: ‖v‖² = 4/13 on Z, 20/13 on θ; on Z v = (6/13, −4/13)\n"
        "min-norm on Z: αᵀGα = 4/13, certificate: gap 0 (α is optimal)\n"
        "predicted by trunk, to first order: −η gₖ·v with η = 0.1\n"
        "gap: actual − predicted\n"
        "passes: 1 trunk forward, 1 trunk backward, 2 head backwards\n"
        "memory changed: none"
    )


@pytest.mark.parametrize("tasks", [1, 2, 8, 40])
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if "grouped" not in name])
def test_width(strategy, tasks):
    names = [f"task {k} with a name that is far too long for any table" for k in range(tasks)]
    model, x, targets = stacked(tasks, names=names)
    trace = tm.trace(STRATEGIES[strategy](model, tm.Adam(lr=0.01)), x, targets)
    lines = repr(trace).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 120
    assert all(line == line.rstrip() for line in lines)
    assert any(line.startswith("task 0") for line in lines)
    assert any(line.startswith(f"task {tasks - 1}") for line in lines)  # the middle is left out, not the end
    Page(trace._repr_html_())


@pytest.mark.parametrize("scale", [1e-140, 1e-9, 1e9, 1e140])
def test_width_of_extreme_numbers(scale):
    problem = tm.problems.Quadratics([scale, 3 * scale], [[1 / 3, 0.0], [-1.0, 1 / 7]], start=[0.77, 0.2])
    trace = tm.trace(tm.MGDAUB(problem, tm.SGD(lr=0.1 / 3 / scale)))
    assert max(map(len, repr(trace).splitlines())) <= 100
    Page(trace._repr_html_())


def test_the_columns_line_up():
    model, x, targets = network()
    lines = repr(tm.trace(tm.Averaged(model, tm.SGD(0.1)), x, targets)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("task "))
    rows = lines[start : start + 4]
    assert [row.split()[:2] for row in rows[1:]] == [["task", "0"], ["task", "1"], ["task", "2"]]
    assert len({len(row) for row in rows}) == 1


def test_alternating_as_text():
    problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    lines = repr(tm.trace(tm.Alternating(problem, tm.SGD(lr=0.1)))).splitlines()
    assert "turn 1 of 2: task loss 1 only" in lines
    assert "turn 2 of 2: task loss 2 only" in lines
    first = lines.index("turn 1 of 2: task loss 1 only")
    assert lines[first + 4].split() == ["loss", "1", "4", "2.828", "2.828", "1", "8", "−0.8", "−0.76", "0.04"]
    assert lines[first + 5].split() == ["loss", "2", "0.5", "1", "1", "0", "−2", "0.2", "0.24", "0.04"]
    total = lines.index("over all turns")
    assert [row.split()[0:2] for row in lines[total + 4 : total + 6]] == [["loss", "1"], ["loss", "2"]]


def test_html_is_one_table_and_one_picture():
    for strategy in STRATEGIES:
        model, x, targets = network()
        trace = tm.trace(STRATEGIES[strategy](model, tm.SGD(0.1)), x, targets)
        html = trace._repr_html_()
        page = Page(html)
        assert page.tags.count("table") == 1 and page.tags.count("img") == 1
        assert not {"script", "link", "iframe", "svg", "style"} & set(page.tags)
        assert "http" not in html
        (image,) = page.images
        assert trace.explain() in image["alt"] and trace.explain() in page.words
        root = picture(image)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        sizes = [float(t.get("font-size", 12)) for t in root.iter() if t.tag.endswith("text")]
        assert min(sizes) >= 11


def test_names_are_escaped():
    names = ['<b>&"', "</td>\x00'"]
    model, x, targets = stacked(2, names=names)
    for make in (tm.MGDA, tm.Alternating):
        trace = tm.trace(make(model, tm.SGD(0.1)), x, targets)
        html = trace._repr_html_()
        page = Page(html)
        assert "<b>&amp;" not in html and "b" not in page.tags[1:2]
        assert '<b>&"' in page.words and "</td>·'" in page.words
        assert '<b>&"' in page.images[0]["alt"]
        texts = [t.text for t in picture(page.images[0]).iter() if t.tag.endswith("text")]
        assert '<b>&"' in texts
        assert '<b>&"' in repr(trace)
        assert "\x00" not in html + repr(trace)


def bars(root):
    """The widths of the bars of the picture of losses, in pixels: outlined (predicted), filled (actual)."""
    boxes = [box for box in root.iter() if box.tag.endswith("rect") and float(box.get("y", 0)) > 50]
    outlined = [float(box.get("width")) for box in boxes if box.get("fill") == "none"]
    return outlined, [float(box.get("width")) for box in boxes if box.get("fill") != "none"]


def test_the_bars_are_the_numbers(hand):
    model, x, targets = hand
    trace = tm.trace(tm.MGDAUB(model, tm.SGD(lr=0.1)), x, targets)
    predicted, actual = bars(picture(Page(trace._repr_html_()).images[0]))
    (turn,) = trace.turns
    scale = predicted[0] / abs(turn.predicted[0])
    np.testing.assert_allclose(predicted, abs(turn.predicted) * scale, atol=0.06)
    np.testing.assert_allclose(actual, abs(turn.actual) * scale, atol=0.06)


def test_the_arrows_have_true_lengths_and_angles(hand):
    model, x, targets = hand
    trace = tm.trace(tm.MGDAUB(model, tm.SGD(lr=0.1)), x, targets)
    root = picture(Page(trace._repr_html_()).images[0])
    arrows = [p.get("d") for p in root.iter() if p.tag.endswith("path") and "url" in p.get("marker-end", "")]
    points = [np.array(re.findall(r"-?[\d.]+", d), dtype=float).reshape(2, 2) for d in arrows]
    g1, g2, v = (end - start for start, end in points)
    assert np.hypot(*g1) / np.hypot(*g2) == pytest.approx(np.sqrt(8), rel=1e-2)
    assert np.hypot(*v) / np.hypot(*g2) == pytest.approx(np.sqrt(4 / 13), rel=1e-2)
    assert g1 @ g2 / np.hypot(*g1) / np.hypot(*g2) == pytest.approx(-1 / np.sqrt(2), abs=1e-2)
    assert abs(v[0]) < 0.11 and v[1] < 0  # v points up
    np.testing.assert_allclose(3 / 13 * g1 + 10 / 13 * g2, v, atol=0.2)


def test_short():
    assert [short(v) for v in (0.0, -0.0, 48.0, -28.0, 0.25, 123456.0)] == ["0", "0", "48", "−28", "0.25", "1.235e5"]
    assert [short(v) for v in (3 / 13, -51 / 338, 7 / 3, 999 / 998)] == ["3/13", "−51/338", "7/3", "999/998"]
    assert short(3 / 13 + 1e-9) == "0.2308"
    assert short(float(np.float32(3 / 13))) == "0.2308"  # float32 holds another number
    assert short(0.13875) == "0.1388"  # no fraction where a decimal says it
    assert [short(v) for v in (1.0001e-7, -2.5e-300, 6.02e23)] == ["1e−7", "−2.5e−300", "6.02e23"]
    assert [short(v) for v in (float("inf"), -float("inf"), float("nan"))] == ["∞", "−∞", "NaN"]
    assert signed(0.01234) == "+0.0123" and signed(-3.0) == "−3" and signed(0.0) == "0"


def test_small_words():
    assert [degrees(v) for v in (0.0, 0.04, 0.3, 89.6, 90.0, 179.96, 143.4)] == [
        "0°",
        "0°",
        "0.3°",
        "89.6°",
        "90°",
        "180°",
        "143°",
    ]
    assert [listing(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert clip("abcdef", 4) == "abc…" and clip("abcd", 4) == "abcd"
    assert shorten("task number 12", 10) == "task n… 12" and shorten("abcd", 4) == "abcd"
    assert clean("a\nb\x00") == "a·b·"
    assert some(3, 4) == [0, 1, 2] and some(9, 5) == [0, 1, 2, None, 7, 8]
