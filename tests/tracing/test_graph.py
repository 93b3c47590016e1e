"""The picture of a graph: what is in the boxes, and that no line runs through one."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import tinymtl as tm
from tests.tracing.conftest import network, stacked
from tests.tracing.test_table import Page, picture
from tinymtl.tracing.graph import operation_name
from tinymtl.tracing.layers import Layers, _apart


def lesson_1():
    """x = 2, y = 3, c = xy, d = c + x, L = cd."""
    x, y = tm.tensor(2.0, requires_grad=True), tm.tensor(3.0, requires_grad=True)
    c = x * y
    d = c + x
    return {"x": x, "y": y, "c": c, "d": d, "L": c * d}


def texts(svg):
    return [t.text for t in ElementTree.fromstring(svg).iter() if t.tag.endswith("text")]


def test_lesson_1_as_text():
    named = lesson_1()
    assert repr(tm.draw(named["L"], **named)) == (
        "sweep  operation  name  value  gradient\n"
        "    1  mul        L        48         1\n"
        "    2  add        d         8         6\n"
        "    3  mul        c         6        14\n"
        "    –  leaf       y         3        28\n"
        "    –  leaf       x         2        48"
    )


def test_lesson_1_as_a_picture():
    named = lesson_1()
    drawn = tm.draw(named["L"], **named)
    words = texts(drawn.svg)
    boxes = [("L = mul", "48", "1"), ("d = add", "8", "6"), ("c = mul", "6", "14"), ("x", "2", "48"), ("y", "3", "28")]
    for title, value, gradient in boxes:
        start = words.index(title)
        assert words[start + 1 : start + 5] == ["value", value, "grad", gradient]
    assert words[words.index("L = mul") + 5] == "1" and words[words.index("c = mul") + 5] == "3"  # the sweep's order
    root = ElementTree.fromstring(drawn.svg)
    assert sum("url" in p.get("marker-end", "") for p in root.iter()) == 6  # x → c, y → c, c → d, x → d, c → L, d → L
    (image,) = Page(drawn._repr_html_()).images
    assert image["alt"] == drawn.alt
    assert picture(image).tag.endswith("svg")
    assert "x has value 2 and gradient 48" in drawn.alt and "number 1 of the sweep" in drawn.alt
    sizes = [float(t.get("font-size", 12)) for t in root.iter() if t.tag.endswith("text")]
    assert min(sizes) >= 11


def test_nothing_is_written_to_grad():
    named = lesson_1()
    named["x"].grad = np.array(7.0)
    tm.draw(named["L"])
    assert named["x"].grad == 7.0
    assert named["y"].grad is None and named["c"].grad is None


def test_values_of_arrays():
    w = tm.tensor(np.full((2, 3), 2.0), requires_grad=True)
    v = tm.tensor(np.array([1.0, 0.0, -1.0]), requires_grad=True)
    text = repr(tm.draw((w * v).sum(), w=w, v=v))
    assert re.search(r"leaf +w +2×3, ‖·‖ 4.9 +2×3, ‖·‖ 2$", text, re.M)
    assert re.search(r"leaf +v +\[1, 0, −1\] +\[4, 4, 4\]$", text, re.M)


def test_several_elements_mean_their_sum():
    x = tm.tensor([1.0, 2.0], requires_grad=True)
    drawn = tm.draw(x * x, x=x)
    assert "gradients of the sum of its elements" in drawn.alt
    assert "x has value [1, 2] and gradient [2, 4]" in drawn.alt


def test_a_constant():
    assert repr(tm.draw(tm.tensor(3.0))).splitlines()[1].split() == ["–", "leaf", "3", "none"]


@pytest.mark.parametrize("length", [59, 60, 10_000])
def test_collapse(length):
    x = tm.tensor(np.array(1.0), requires_grad=True)
    z = x
    for _ in range(length):
        z = z * 1.0
    drawn = tm.draw(z)
    rows = repr(drawn).splitlines()[1:]
    words = texts(drawn.svg)
    if length + 1 <= 60:
        assert len(rows) == length + 1 and "hidden" not in drawn.alt
        return
    assert len(rows) == 17
    hidden = f"{length + 1 - 16} tensors hidden"
    assert hidden in rows[8] and hidden in words and f"and {hidden}" in drawn.alt
    assert [row.split()[0] for row in rows[:8]] == [str(n) for n in range(1, 9)]
    assert rows[-1].split() == ["–", "leaf", "1", "1"] and rows[-2].split()[0] == str(length)
    arrows = sum("url" in p.get("marker-end", "") for p in ElementTree.fromstring(drawn.svg).iter())
    assert arrows == 16  # a chain of 17 boxes


def test_a_graph_with_many_leaves_collapses_too():
    leaves = [tm.tensor(np.array(float(k)), requires_grad=True) for k in range(50)]
    total = leaves[0] * leaves[0]
    for leaf in leaves[1:]:
        total = total + leaf
    rows = repr(tm.draw(total)).splitlines()[1:]
    assert sum("hidden" in row for row in rows) == 1
    assert len(rows) == 17


def test_names_of_operations():
    x = tm.tensor(np.full((2, 2), 0.5), requires_grad=True)
    made = {
        "add": x + 1, "sub": x - 1, "mul": x * x, "div": x / 2, "power": x**2, "matmul": x @ x, "neg": -x,
        "exp": tm.exp(x), "relu": tm.relu(x), "softmax": tm.softmax(x), "sum": x.sum(), "mean": x.mean(),
        "max": x.max(), "reshape": x.reshape(4), "transpose": x.T, "getitem": x[0], "stack": tm.stack([x, x]),
        "concatenate": tm.concatenate([x, x]), "where": tm.where(x.data > 0, x, x), "tanh": tm.tanh(x),
        "mse loss": tm.mse_loss(x, np.zeros((2, 2))), "cross entropy": tm.cross_entropy(x, [0, 1]),
    }  # fmt: skip
    assert {operation_name(tensor) for tensor in made.values()} == set(made)
    assert all(operation_name(tensor) == name for name, tensor in made.items())


def test_a_network():
    for model, x, targets in (stacked(2), network()):
        batch = model.read(x, targets)
        z = model.represent(batch.x)
        drawn = tm.draw(model.losses(z, batch).mean(), Z=z)
        assert "Z = represent" in texts(drawn.svg)
        assert ("stacked logits" if (model.separate_because is None) else "side by side") in texts(drawn.svg)
        assert all(word.strip() for word in texts(drawn.svg))


def test_names_are_escaped_and_checked():
    named = lesson_1()
    drawn = tm.draw(named["L"], **{'<b>&"': named["x"]})
    assert '<b>&"' in texts(drawn.svg)
    assert '<b>&"' in Page(drawn._repr_html_()).images[0]["alt"]
    with pytest.raises(TypeError, match="x= is a float"):
        tm.draw(named["L"], x=2.0)
    with pytest.raises(TypeError, match="not ndarray"):
        tm.draw(np.zeros(3))


def test_save(tmp_path):
    drawn = tm.draw(lesson_1()["L"])
    drawn.save(tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawn.svg
    with pytest.raises(ValueError, match=r"ends in \.svg, not 'graph.png'"):
        drawn.save(tmp_path / "graph.png")
    with pytest.raises(OSError):
        drawn.save(tmp_path / "no such directory" / "graph.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["graph.svg"]


# ------------------------------------------------------------ the layout


def random_edges(count, rng):
    return [(int(rng.integers(child)), child) for child in range(1, count) for _ in range(2)]


@pytest.mark.parametrize("seed", range(5))
def test_every_edge_goes_forward_and_nothing_overlaps(seed):
    edges = random_edges(25, np.random.default_rng(seed))
    layers = Layers(25, edges)
    assert all(layers.depth[a] < layers.depth[b] for a, b in edges)
    spots = [(layers.depth[v], layers.place[v], 1.0) for v in range(25)]
    for (a, b), route in layers.routes.items():
        assert [layer for layer, _ in route] == list(range(layers.depth[a] + 1, layers.depth[b]))
        spots += [(layer, place, 0.4) for layer, place in route]
    for (layer, place, room), (other, second, space) in itertools.combinations(spots, 2):
        assert layer != other or abs(place - second) >= (room + space) / 2 - 1e-9


def test_a_tree_has_no_crossings():
    """Eight leaves, added two by two: drawn without a crossing whatever the order in which they were made."""
    order = [0, 4, 2, 6, 1, 5, 3, 7]
    parents = [[order[2 * i], order[2 * i + 1]] for i in range(4)] + [[8, 9], [10, 11], [12, 13]]
    edges = [(p, 8 + i) for i, pair in enumerate(parents) for p in pair]
    layers = Layers(15, edges)
    for (a, b), (c, d) in itertools.combinations(edges, 2):
        if layers.depth[a] == layers.depth[c] and a != c and b != d:
            assert (layers.place[a] < layers.place[c]) == (layers.place[b] < layers.place[d])


def test_apart():
    assert _apart([0.0, 0.0], [1.0, 1.0]) == [-0.5, 0.5]
    assert _apart([0.0, 5.0], [1.0, 1.0]) == [0.0, 5.0]
    assert _apart([0.0, 0.2, 0.1, 9.0], [1.0] * 4) == pytest.approx([-0.9, 0.1, 1.1, 9.0])
