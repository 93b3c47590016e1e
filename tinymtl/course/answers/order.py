"""The order of a sweep. `parents[i]` has the numbers of the nodes that node i was computed from."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Reply

Rng = np.random.Generator


def backward_order(parents: list[list[int]], root: int) -> list[int]:
    """The nodes that `root` depends on, each after every node that uses it (Kahn's algorithm, from the root)."""
    reached, waiting = {root}, [root]
    while waiting:
        for parent in parents[waiting.pop()]:
            if parent not in reached:
                reached.add(parent)
                waiting.append(parent)
    users = dict.fromkeys(reached, 0)
    for node in reached:
        for parent in set(parents[node]):
            users[parent] += 1
    order, ready = [], [root]
    while ready:
        node = ready.pop()
        order.append(node)
        for parent in set(parents[node]):
            users[parent] -= 1
            if not users[parent]:
                ready.append(parent)
    return order


def is_backward_order(order: Any, parents: list[list[int]], root: int) -> bool:
    """Whether `order` has exactly the nodes that `root` depends on, each after every node that uses it.

    >>> is_backward_order([2, 1, 0], [[], [0], [0, 1]], 2), is_backward_order([2, 0, 1], [[], [0], [0, 1]], 2)
    (True, False)
    """
    order = order.tolist() if isinstance(order, np.ndarray) else order
    if not isinstance(order, list) or any(type(node) is not int for node in order):
        return False
    place = {node: i for i, node in enumerate(order)}
    needed = set(backward_order(parents, root))
    return (
        len(order) == len(place)
        and place.keys() == needed
        and all(place[node] < place[parent] for node in needed for parent in parents[node])
    )


def _orders_hold(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    return all(is_backward_order(reply.value, *case.arguments) for case, reply in zip(cases, replies, strict=True))  # type: ignore[misc]


def _dag(rng: Rng, unused: int = 0) -> Case:
    """A random graph whose numbers are shuffled; `unused` extra nodes hang on it that the root does not use."""
    size = int(rng.integers(7, 13))
    parents: list[list[int]] = [[]]
    for node in range(1, size):  # the node before is always a parent, so that the last one reaches them all
        others = rng.choice(node, size=min(node, int(rng.integers(1, 4))), replace=False).tolist()
        parents.append([node - 1, *(other for other in others if other != node - 1)] if rng.random() < 0.6 else others)
    used = {parent for nodes in parents for parent in nodes}
    parents[-1] = sorted({*parents[-1], *(set(range(size - 1)) - used)})  # nothing is left over
    for _ in range(unused):
        parents.append(rng.choice(size, size=2, replace=False).tolist())
    number = rng.permutation(len(parents)).tolist()
    shuffled: list[list[int]] = [[] for _ in parents]
    for node, nodes in enumerate(parents):
        shuffled[number[node]] = [number[parent] for parent in rng.permutation(nodes).tolist()]
    return Case("backward_order", (shuffled, number[size - 1]))


def _deep(rng: Rng) -> list[Case]:
    """A chain of 3000 nodes, every tenth of them used by the next and by the one after."""
    size = 3000
    number = rng.permutation(size).tolist()
    parents: list[list[int]] = [[] for _ in range(size)]
    for node in range(1, size):
        parents[number[node]] = [number[node - 1]] + ([number[node - 2]] if node % 10 == 1 and node > 1 else [])
    return [Case("backward_order", (parents, number[-1]))]


def _preorder(parents: list[list[int]], root: int) -> list[int]:
    seen, waiting, order = set(), [root], []
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            order.append(node)
            waiting += reversed(parents[node])
    return order


def _breadth_first(parents: list[list[int]], root: int) -> list[int]:
    order, seen = [root], {root}
    for node in order:
        new = [parent for parent in dict.fromkeys(parents[node]) if parent not in seen]
        order += new
        seen.update(new)
    return order


ORDER = Question(
    "order",
    "The order of a sweep",
    "a list of node numbers, root first",
    (
        Property("10 random graphs", 2, lambda rng: [_dag(rng) for _ in range(10)], _orders_hold),
        Property(
            "10 random graphs with nodes that the root does not depend on",
            2,
            lambda rng: [_dag(rng, unused=3) for _ in range(10)],
            _orders_hold,
        ),
        Property("a graph that is 3000 nodes deep", 1, _deep, _orders_hold),
    ),
    {"backward_order": backward_order},
    (
        Mistake(
            "a node is listed when it is first reached (depth first), perhaps before another node that uses it",
            "backward_order",
            _preorder,
        ),
        Mistake(
            "nodes are listed by their distance from the root (breadth first): a node that is near it along one path "
            "and far along another comes too early",
            "backward_order",
            _breadth_first,
        ),
        Mistake("this is the forward order: turn it round", "backward_order", lambda p, r: backward_order(p, r)[::-1]),
        Mistake(
            "the nodes are sorted by number, but here the numbers say nothing about the order of computation",
            "backward_order",
            lambda parents, root: sorted(backward_order(parents, root), reverse=True),
        ),
    ),
)
