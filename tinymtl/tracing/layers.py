"""Places for the boxes of a graph: in layers, so that every line goes forward (Sugiyama's method in small)."""

from __future__ import annotations

from collections.abc import Sequence

Edge = tuple[int, int]


class Layers:
    """Nodes 0 … n−1 in layers, and the points through which each edge runs.

    Parameters
    ----------
    count : int
    edges : (parent, child) pairs without a cycle; every parent has the smaller number

    Attributes
    ----------
    depth : list of int
        The layer of every node: parents lie in smaller ones.
    place : list of float
        Where in its layer every node stands, in units of one box; neighbours are at least 1 apart.
    routes : dict from edge to a list of (layer, place)
        The points between the two ends of an edge that crosses whole layers.
    """

    def __init__(self, count: int, edges: Sequence[Edge]):
        self.count = count
        edges = list(dict.fromkeys(edges))
        self.depth = _depths(count, edges)
        # An edge across several layers gets a bend in each of them, which takes a place like a box does.
        self._layer = list(self.depth)
        self._after: list[list[int]] = [[] for _ in range(count)]
        self._before: list[list[int]] = [[] for _ in range(count)]
        bends: dict[Edge, list[int]] = {}
        for parent, child in edges:
            last = parent
            bends[parent, child] = []
            for layer in range(self.depth[parent] + 1, self.depth[child]):
                bend = len(self._layer)
                self._layer.append(layer)
                self._after.append([])
                self._before.append([])
                bends[parent, child].append(bend)
                self._join(last, bend)
                last = bend
            self._join(last, child)
        self.rows: list[list[int]] = [[] for _ in range(max(self._layer, default=0) + 1)]
        for node, layer in enumerate(self._layer):
            self.rows[layer].append(node)
        self._order()
        places = self._settle()
        self.place = places[:count]
        self.routes = {edge: [(self._layer[b], places[b]) for b in through] for edge, through in bends.items()}

    def _join(self, parent: int, child: int) -> None:
        self._after[parent].append(child)
        self._before[child].append(parent)

    def _order(self) -> None:
        """Few crossings: sort each layer by the mean place of its neighbours, forwards and backwards in turn."""
        place = {node: float(i) for row in self.rows for i, node in enumerate(row)}
        for sweep in range(12):
            forwards = sweep % 2 == 0
            neighbours = self._before if forwards else self._after
            for row in self.rows if forwards else self.rows[::-1]:
                row.sort(key=lambda node: _mean([place[n] for n in neighbours[node]], place[node]))
                for i, node in enumerate(row):
                    place[node] = i - (len(row) - 1) / 2

    def _settle(self) -> list[float]:
        """Straight lines: pull every node towards its neighbours, then push a layer's nodes apart again."""
        place = [0.0] * len(self._layer)
        for row in self.rows:
            for i, node in enumerate(row):
                place[node] = i - (len(row) - 1) / 2
        for sweep in range(24):
            for row in self.rows if sweep % 2 else self.rows[::-1]:
                wanted = [_mean([place[n] for n in self._before[v] + self._after[v]], place[v]) for v in row]
                for node, at in zip(row, _apart(wanted, [self._room(v) for v in row]), strict=True):
                    place[node] = at
        return place

    def _room(self, node: int) -> float:
        return 1.0 if node < self.count else 0.4  # a bend is thinner than a box


def _depths(count: int, edges: Sequence[Edge]) -> list[int]:
    """The longest way from a source; a source stands next to its first reader."""
    depth = [0] * count
    for parent, child in sorted(edges, key=lambda edge: edge[1]):
        depth[child] = max(depth[child], depth[parent] + 1)
    readers: dict[int, list[int]] = {}
    for parent, child in edges:
        readers.setdefault(parent, []).append(depth[child])
    children = {child for _, child in edges}
    return [min(readers[v]) - 1 if v in readers and v not in children else d for v, d in enumerate(depth)]


def _apart(wanted: list[float], room: list[float]) -> list[float]:
    """The places nearest to `wanted` in the same order, with room for each: blocks that overlap move together."""
    blocks: list[tuple[float, int, float]] = []  # where its members on average want it to start, members, length
    for want, width in zip(wanted, room, strict=True):
        start, members, length = want - width / 2, 1, width
        while blocks and blocks[-1][0] + blocks[-1][2] > start:
            before, others, reach = blocks.pop()
            start = (before * others + (start - reach) * members) / (others + members)
            members, length = others + members, reach + length
        blocks.append((start, members, length))
    placed: list[float] = []
    i = 0
    for start, members, _ in blocks:
        for width in room[i : i + members]:
            placed.append(start + width / 2)
            start += width
        i += members
    return placed


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
