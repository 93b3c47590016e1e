"""The order of a sweep. `parents[i]` has the numbers of the nodes that node i was computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.autodiff.tensor import Tensor, tensor
from tinymtl.course.comparing import described, numbers
from tinymtl.course.question import Case, Problem, Rng
from tinymtl.course.topic import questions


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


def order_problem(order: Any, parents: list[list[int]], root: int, *, node: str = "node") -> str:
    """What keeps `order` from being exactly the nodes that `root` depends on, each after every node that uses it.

    >>> order_problem([2, 1, 0], [[], [0], [0, 1]], 2), order_problem([2, 1], [[], [0], [0, 1]], 2)
    ('', 'nodes are missing: those that were computed from nothing belong to the order as well')
    """
    found = numbers(order)
    if found is None or found.ndim != 1 or not found.size or not all(map(float.is_integer, found.tolist())):
        odd = (
            next((described(one) for one in order if numbers(one) is None or np.size(one) != 1), "")
            if isinstance(order, list)
            else ""
        )
        return f"the answer should be a list of {node}s; " + (
            f"in yours is {odd}" if odd else f"it is {described(order)}"
        )
    listed = [int(number) for number in found]
    needed = set(backward_order(parents, root))
    missing = needed - set(listed)
    if set(listed) - set(range(len(parents))):
        return f"something is listed that is not a {node} of this graph"
    if missing == {root}:
        return f"the {node} at which the sweep starts is missing: it comes first"
    if missing and not any(parents[one] for one in missing - {root}):
        return f"{node}s are missing: those that were computed from nothing belong to the order as well"
    if missing:
        return f"{node}s are missing: all belong to it that the first one depends on, through others too"
    if len(listed) > len(set(listed)):
        return f"a {node} stands in the order more than once: a sweep visits it once, when its gradient is complete"
    if set(listed) - needed:
        return f"{node}s are listed that the first one does not depend on: a sweep never comes to them"
    if _users_first(listed, parents):
        return ""
    if _users_first(listed[::-1], parents):
        return "this is the order of the forward pass: the sweep begins at the other end"
    if listed in (sorted(listed), sorted(listed, reverse=True)):
        return "the nodes are sorted by number, but here the numbers say nothing about the order of computation"
    return f"a {node} stands before one that uses it: it would pass its gradient on before every share has arrived"


def _users_first(order: list[int], parents: list[list[int]]) -> bool:
    place = {node: i for i, node in enumerate(order)}
    return all(place[node] < place[parent] for node in order for parent in parents[node])


def _orders(node: str) -> Problem:
    return lambda case, reply, right: order_problem(reply.value, *(case.arguments or ()), node=node)


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


def _depth_first(parents: list[list[int]], root: int, turned: bool) -> list[int]:
    waiting, order = [root], dict[int, None]()
    while waiting:
        node = waiting.pop()
        if node not in order:
            order[node] = None
            waiting += reversed(parents[node]) if turned else parents[node]
    return list(order)


def _breadth_first(parents: list[list[int]], root: int) -> list[int]:
    order, seen = [root], {root}
    for node in order:
        new = [parent for parent in dict.fromkeys(parents[node]) if parent not in seen]
        order += new
        seen.update(new)
    return order


# Lesson 1: the same for tensors, which have their parents in `edges`


def _on_tensors(answer: Callable[[Tensor], Any]) -> Callable[[list[list[int]], int], Any]:
    """From a function of a tensor to one of node numbers; a tensor of another graph becomes −1."""

    def order_of(parents: list[list[int]], root: int) -> Any:
        nodes: list[Tensor] = []
        for above in parents:
            if not above:
                nodes.append(
                    tensor(1 + 2**0.5 * len(nodes), requires_grad=True)
                )  # == and `in` compare values: no two alike
            else:
                nodes.append(nodes[above[0]] + (nodes[above[1]] if len(above) > 1 else 1.0))
        found = answer(nodes[root])
        place = {node: i for i, node in enumerate(nodes)}
        if isinstance(found, list | tuple | set | dict):
            numbered = [place.get(one, -1) if isinstance(one, Tensor) else one for one in found]
            return set(numbered) if isinstance(found, set) else numbered
        return found

    return order_of


_TENSORS = [
    Case("sweep_order", ([[], [], [0, 1], [2, 0], [2, 3]], 4), shown="the lesson's graph"),
    Case(
        "sweep_order",
        ([[], [0, 0], [1, 0], [1, 2], [3, 1], [4, 0], [4, 1]], 5),
        shown="a graph in which b = a·a is used three times, and a at the very end",
    ),
]
_CHAIN: list[list[int]] = [[], *([node] for node in range(3000)), [3000, 3000]]
_DEEP = [Case("sweep_order", (_CHAIN, len(_CHAIN) - 1), shown="a chain of 3000 operations")]

QUESTIONS = questions(__file__, globals())
