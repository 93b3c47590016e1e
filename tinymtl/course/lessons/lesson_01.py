"""Checks of lesson 1: one number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinymtl.autodiff import Tensor
from tinymtl.autodiff.tensor import tensor
from tinymtl.course.lessons.checks import Check, Mistake, Problem, function, given, numbers

# ------------------------------------------------------------ the order of a sweep


def _graphs() -> list[tuple[Tensor, list[Tensor]]]:
    """Outputs, each with all the tensors that it depends on, oldest first."""
    x, y = tensor(2.0, requires_grad=True), tensor(3.0, requires_grad=True)
    c = x * y
    d = c + x
    lesson = c * d, [x, y, c, d]

    a = tensor(1.0, requires_grad=True)
    b = a * a
    left = b + a
    right = b * left
    bottom = right + b
    _ = bottom * b  # used elsewhere, by something that the output does not depend on
    diamond = bottom * a, [a, b, left, right, bottom]

    z = tensor(1.0, requires_grad=True)
    nodes = [z]
    for _ in range(3000):  # deeper than Python's recursion goes
        z = z + 1.0
        nodes.append(z)
    chain = z * z, nodes
    return [(output, [*nodes, output]) for output, nodes in (lesson, diamond, chain)]


def _visits(answer: Any) -> list[tuple[list[int], list[list[int]]]] | None:
    """For each graph: the positions that the answer visits (−1: not in the graph), and each position's parents."""
    if not callable(answer):
        raise Problem(f"this answer is a function, not a {type(answer).__name__}")
    visits = []
    for output, nodes in _graphs():
        try:
            order = answer(output)
        except RecursionError:
            raise Problem("your function recurses too deeply for a graph 3000 operations deep: use a loop") from None
        if not given(order):
            return None
        if not isinstance(order, list | tuple) or not all(isinstance(node, Tensor) for node in order):
            raise Problem("the order is a list of tensors")
        place = {node: i for i, node in enumerate(nodes)}
        parents = [[place[parent] for parent, _ in node.edges] for node in nodes]
        visits.append(([place.get(node, -1) for node in order], parents))
    return visits


def _complete(order: list[int], parents: list[list[int]]) -> bool:
    return sorted(order) == list(range(len(parents)))


def _users_first(order: list[int], parents: list[list[int]]) -> bool:
    turn = {node: i for i, node in enumerate(order)}
    return all(turn[user] < turn[p] for user in turn for p in parents[user] if p in turn)


def _any(seen: Callable[[list[int], list[list[int]]], bool]) -> Callable[[Any], bool]:
    return lambda visits: any(seen(order, parents) for order, parents in visits)


def _depth_first(output: Tensor) -> list[Tensor]:
    order: dict[Tensor, None] = {}
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in order:
            order[node] = None
            waiting += [parent for parent, _ in reversed(node.edges)]
    return list(order)


def _every_path(output: Tensor) -> list[Tensor]:
    order: list[Tensor] = []
    waiting = [output]
    while waiting and len(order) < 5000:
        node = waiting.pop()
        order.append(node)
        waiting += [parent for parent, _ in node.edges]
    return order


def _newest_first(output: Tensor) -> list[Tensor]:
    found, waiting = {output}, [output]
    while waiting:
        for parent, _ in waiting.pop().edges:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return sorted(found, key=lambda node: -node.tick)


ORDER = Check(
    lambda visits: all(_complete(*visit) and _users_first(*visit) for visit in visits),
    praise="every tensor once, and after all that use it, even 3000 operations deep",
    look="go through the graph of the lesson by hand and compare",
    mistakes={
        "a tensor that is used twice stands in your order twice: a sweep visits it once": Mistake(
            _every_path, _any(lambda order, parents: len(set(order)) < len(order))
        ),
        "tensors are missing: the leaves belong to the order as well, and so does the output": Mistake(
            lambda output: [node for node in _newest_first(output) if node.edges],
            _any(lambda order, parents: len(order) < len(parents)),
        ),
        "this is the order of the forward pass, oldest first: the sweep begins at the output": Mistake(
            lambda output: _newest_first(output)[::-1],
            lambda visits: all(_users_first(order[::-1], parents) for order, parents in visits),
        ),
        "a tensor stands before one that was computed from it: it would pass on its gradient before every share "
        "has arrived": Mistake(_depth_first, _any(lambda order, parents: not _users_first(order, parents))),
    },
    judged=_visits,
)

# ------------------------------------------------------------

CHECKS: dict[str, Check] = {
    "01.by_hand": numbers(
        (6, 14, 28, 48),
        praise="c was complete (14) before it passed anything on, and so 28 and 48 come out",
        look="draw the five boxes, and beside each arrow write the share that goes back along it",
        mistakes={
            "you left out the share that d passes to c: c is used twice": (6, 8, 16, 30),
            "you left out the share that L passes to c itself: c is used twice": (6, 6, 12, 24),
            "you left out the share that d passes to x: x is used twice": (6, 14, 28, 42),
            "c passed its first share on before the second had come: that share is counted twice": (6, 14, 44, 72),
        },
    ),
    "01.order": ORDER,
    "01.mul": function(
        lambda g, x, y: (g * y, g * x),
        [(1.0, 2.0, 3.0), (14.0, 2.0, 3.0), (-0.5, 4.0, 0.25)],
        praise="the share for x is g·y, and for y it is g·x",
        look="what does z = x·y become when x grows by a little?",
        mistakes={
            "the two are exchanged: when x grows by a little, z grows by y times that": lambda g, x, y: (g * x, g * y),
            "you left out g: a share is the gradient at z times the slope": lambda g, x, y: (y, x),
            "these are the shares of a sum, which passes g on as it is": lambda g, x, y: (g, g),
        },
    ),
}
