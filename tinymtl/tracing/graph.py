"""The graph behind a tensor as a picture: what was computed, and in which order a sweep goes back through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinymtl.autodiff import Tensor, sweep
from tinymtl.autodiff.tensor import ancestors
from tinymtl.backend import Array, array_module, to_host
from tinymtl.text import aligned
from tinymtl.tracing.layers import Layers
from tinymtl.tracing.numerals import clean, clip, short
from tinymtl.tracing.svg import OKABE_ITO, PALE, Picture, box, document, label, path, px

MOST = 60  # boxes; a larger graph is collapsed
KEPT = 8  # boxes that are then kept at each end

HEIGHT = 58  # of a box, in pixels

Point = tuple[float, float]


def draw(tensor: Tensor, **names: Tensor) -> Picture:
    """The graph of `tensor`: value and gradient in every box, and the operations in the order of the sweep.

    The gradients are those of `tensor` (of the sum of its elements if it has several), from a sweep that leaves
    every `.grad` as it is. Numbers and arrays that require no gradient are not part of a graph and have no box.
    Of more than 60 tensors, the 8 that a sweep meets first and the 8 that it meets last are drawn, and a box says
    how many lie between.

    Parameters
    ----------
    tensor : Tensor
    **names : Tensor
        What to call tensors of the graph: `draw(loss, x=x, y=y)`.

    Returns
    -------
    Picture
        Shown by a notebook; `.svg`, `.alt`, `.save("graph.svg")`, and as text by `print`.

    Examples
    --------
    >>> import tinymtl as tm
    >>> x, y = tm.tensor(2.0, requires_grad=True), tm.tensor(3.0, requires_grad=True)
    >>> c = x * y
    >>> d = c + x
    >>> tm.draw(c * d, x=x, y=y, c=c, d=d)
    sweep  operation  name  value  gradient
        1  mul                 48         1
        2  add        d         8         6
        3  mul        c         6        14
        –  leaf       y         3        28
        –  leaf       x         2        48
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"draw takes a Tensor, not {type(tensor).__name__}")
    for name, named in names.items():
        if not isinstance(named, Tensor):
            raise TypeError(f"draw gives names to Tensors: {name}= is a {type(named).__name__}")
    nodes, edges, hidden = _collapsed(tensor, {id(named): clean(name) for name, named in names.items()})
    return Picture(_svg(nodes, edges), _alt(nodes, hidden, tensor), _text(nodes))


@dataclass
class _Node:
    operation: str  # "leaf" for a leaf, "" for the box that stands for hidden ones
    name: str = ""
    step: int | None = None  # its turn in the sweep; None for leaves, where the sweep ends
    value: str = ""
    gradient: str = ""


def _collapsed(output: Tensor, names: dict[int, str]) -> tuple[list[_Node], list[tuple[int, int]], int]:
    """The nodes from the oldest to the newest, (parent, child) edges between them, and how many are hidden."""
    newest_first = list(ancestors(output))
    steps: dict[Tensor, int] = {}
    for tensor in newest_first:
        if tensor.edges:
            steps[tensor] = len(steps) + 1
    hidden = len(newest_first) - 2 * KEPT if len(newest_first) > MOST else 0
    shown = newest_first if not hidden else newest_first[:KEPT] + newest_first[-KEPT:]
    gradients: dict[Tensor, Array] = {}
    if output.requires_grad:
        gradients = sweep([output], [array_module(output.data).ones_like(output.data)], shown)

    nodes: list[_Node] = []
    place: dict[Tensor, int] = {}  # hidden tensors share one
    visible = set(shown)
    for tensor in reversed(newest_first):
        if tensor not in visible:
            if nodes[-1].operation:
                nodes.append(_Node("", f"{hidden} tensors hidden"))
            place[tensor] = len(nodes) - 1
            continue
        place[tensor] = len(nodes)
        gradient = _short(gradients[tensor]) if tensor in gradients else "none"
        name = names.get(id(tensor), "")
        nodes.append(_Node(operation_name(tensor), name, steps.get(tensor), _short(tensor.data), gradient))
    edges = [(place[parent], place[child]) for child in newest_first for parent, _ in child.edges]
    return nodes, list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1])), hidden


def operation_name(tensor: Tensor) -> str:
    """The operation that made `tensor`, from the name of the function in which its first vjp was written.

    >>> import tinymtl as tm
    >>> operation_name(tm.tensor(2.0, requires_grad=True) * 3), operation_name(tm.tensor(2.0))
    ('mul', 'leaf')
    """
    if not tensor.edges:
        return "leaf"
    _, vjp = tensor.edges[0]
    around = getattr(vjp, "__qualname__", "operation").split(".<locals>.")  # "mul.<locals>.<lambda>"
    functions = [part for part in around[:-1] if not part.startswith("vjp")] or around[-1:]
    name = functions[-1].rpartition(".")[2].strip("_")  # "SharedBottom.represent" → "represent"
    return name.replace("_", " ")


def _short(array: Array) -> str:
    """A number, up to three numbers, or a shape and a length."""
    values = to_host(array).astype(np.float64)
    if values.size == 1:
        return short(values.item())
    if values.ndim == 1 and values.size <= 3:
        listed = "[" + ", ".join(short(value, 3) for value in values.tolist()) + "]"
        if len(listed) <= 18:
            return listed
    shape = "×".join(map(str, values.shape))
    return f"{shape}, ‖·‖ {short(float(np.sqrt((values * values).sum())), 3)}"


# ------------------------------------------------------------ in words


def _text(nodes: list[_Node]) -> str:
    table = [["sweep", "operation", "name", "value", "gradient"]]
    for node in reversed(nodes):
        step = "–" if node.step is None else str(node.step)
        cells = [step, node.operation, node.name, node.value, node.gradient]
        table.append(cells if node.operation else ["…", node.name, "", "", ""])
    return "\n".join(aligned(table, left=(1, 2)))


def _alt(nodes: list[_Node], hidden: int, output: Tensor) -> str:
    operations = sum(node.step is not None for node in nodes)
    leaves = sum(node.operation == "leaf" for node in nodes)
    of = "" if output.size == 1 else " of the sum of its elements"
    start = f"Graph with {_count(operations, 'operation')} and {_count(leaves, 'leaf', 'leaves')} drawn"
    start += f" and {hidden} tensors hidden" if hidden else ""
    parts = [
        f"{node.name or node.operation} {'' if node.step is None else f'(number {node.step} of the sweep) '}"
        f"has value {node.value} and gradient {node.gradient}"
        for node in reversed(nodes)
        if node.operation
    ]
    return f"{start}, with gradients{of}: {'; '.join(parts)}."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


# ------------------------------------------------------------ as a picture


def _svg(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    """Left to right if that is not too wide, otherwise from the top to the bottom."""
    layers = Layers(len(nodes), edges)
    width = max([120.0, *(_needs(node) for node in nodes)])
    across = (max(layers.depth) + 1) * (width + 46) <= 1150
    step, side = (width + 46, HEIGHT + 22) if across else (HEIGHT + 34, width + 22)
    middles = [*layers.place, *(p for route in layers.routes.values() for _, p in route)]
    low, high = min(middles), max(middles)

    def centre(layer: float, place: float) -> Point:
        along, sideways = 20 + layer * step, 20 + (place - low) * side
        return (along + width / 2, sideways + HEIGHT / 2) if across else (sideways + width / 2, along + HEIGHT / 2)

    shapes = []
    for parent, child in edges:
        points = [centre(layers.depth[parent], layers.place[parent])]
        points += [centre(layer, place) for layer, place in layers.routes[parent, child]]
        points += [centre(layers.depth[child], layers.place[child])]
        shapes.append(_connection(points, across, width / 2 if across else HEIGHT / 2))
    for v, node in enumerate(nodes):
        shapes += _box(node, width, *centre(layers.depth[v], layers.place[v]))
    right, bottom = centre(max(layers.depth), high)
    bottom += HEIGHT / 2 + 30
    note = "numbers: the order in which the sweep visits the operations, newest first"
    shapes.append(label(16, bottom, note, fill="#555555", font_size=11))
    return document(max(right + width / 2 + 20, 470), bottom + 12, shapes, "Graph of an expression")


def _connection(points: list[Point], across: bool, half: float) -> str:
    """A smooth line from the side of one box to the side of the next, through the bends between."""

    def ahead(p: Point, by: float) -> Point:
        return (p[0] + by, p[1]) if across else (p[0], p[1] + by)

    # a bend lasts as long as a box does, so that the line passes the boxes of that layer straight
    through = [ahead(points[0], half)]
    for bend in points[1:-1]:
        through += [ahead(bend, -half), ahead(bend, half)]
    through.append(ahead(points[-1], -half))
    d = f"M{px(*through[0])}"
    for (x0, y0), (x1, y1) in zip(through[:-1], through[1:], strict=True):
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        c0, c1 = ((x, y0), (x, y1)) if across else ((x0, y), (x1, y))
        d += f"C{px(*c0)} {px(*c1)} {px(x1, y1)}"
    return path(d, PALE, head=True, stroke_width=1.5)


def _title(node: _Node) -> str:
    if not node.operation or node.step is None:
        return node.name or node.operation
    return f"{node.name} = {node.operation}" if node.name else node.operation


def _needs(node: _Node) -> float:
    """The width of the box, from the lengths of its lines."""
    return max(24 + 8 * len(clip(_title(node), 28)), 56 + 7 * len(node.value), 56 + 7 * len(node.gradient))


def _box(node: _Node, width: float, x: float, y: float) -> list[str]:
    left, right, top = x - width / 2, x + width / 2, y - HEIGHT / 2
    if not node.operation:
        dashed = box(left, top, width, HEIGHT, rx=8, fill="white", stroke=PALE, stroke_dasharray="4 3")
        return [dashed, label(x, y + 4, node.name, "middle")]
    fill, edge = ("#fdf3dc", OKABE_ITO[4]) if node.step is None else ("#e6f0f8", OKABE_ITO[0])
    shapes = [
        box(left, top, width, HEIGHT, rx=8, fill=fill, stroke=edge, stroke_width=1.5),
        label(x, top + 17, clip(_title(node), 28), "middle", font_weight="bold"),
        label(left + 8, top + 34, "value", font_size=11, fill="#555555"),
        label(right - 8, top + 34, node.value, "end"),
        label(left + 8, top + 50, "grad", font_size=11, fill="#555555"),
        label(right - 8, top + 50, node.gradient, "end"),
    ]
    if node.step is not None:
        badge = 13 + 7 * len(str(node.step))
        shapes.append(box(left - 10, top - 10, badge, 20, rx=10, fill=OKABE_ITO[1]))
        style = {"fill": "white", "font_size": 11, "font_weight": "bold"}
        shapes.append(label(left - 10 + badge / 2, top + 4, str(node.step), "middle", **style))
    return shapes
