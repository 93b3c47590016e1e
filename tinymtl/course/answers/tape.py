"""Sweeps over a tape: reuse, the diamond, and two losses.

A tape is in the order of computation: ["input"], ["add", i, j] or ["mul", i, j], with `values[i]` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinymtl.autodiff.tensor import Tensor, grad, tensor
from tinymtl.course.question import Case, Mistake, Reply, Rng, fixed
from tinymtl.course.topic import questions

Tape = list[list[Any]]


def _local(entry: list[Any], values: list[float]) -> list[tuple[int, float]]:
    """The parents of a tape entry, each with the derivative of the entry with respect to it."""
    if entry[0] == "input":
        return []
    _, left, right = entry
    return [(left, 1.0), (right, 1.0)] if entry[0] == "add" else [(left, values[right]), (right, values[left])]


def sweep(tape: Tape, values: list[float], output: int) -> list[float]:
    """The derivative of node `output` with respect to every node: one pass, newest first."""
    gradient = [0.0] * len(tape)
    gradient[output] = 1.0
    for node in range(output, -1, -1):
        for parent, derivative in _local(tape[node], values):
            gradient[parent] += gradient[node] * derivative
    return gradient


def _wrong(
    *,
    local: Callable[[list[Any], list[float]], list[tuple[int, float]]] = _local,
    nodes: Callable[[int, int], Any] = lambda output, last: range(output, -1, -1),
    start: float = 1.0,
    add: Callable[[float, float, int], float] = lambda old, share, place: old + share,
    passed: Callable[[float], float] = lambda gradient: gradient,
) -> Callable[[Tape, list[float], int], list[float]]:
    """A sweep with one thing changed."""

    def model(tape: Tape, values: list[float], output: int) -> list[float]:
        gradient = [0.0] * len(tape)
        gradient[output] = start
        for node in nodes(output, len(tape) - 1):
            for place, (parent, derivative) in enumerate(local(tape[node], values)):
                gradient[parent] = add(gradient[parent], passed(gradient[node]) * derivative, place)
        return gradient

    return model


def _recursion(order: str) -> Callable[[Tape, list[float], int], list[float]]:
    """Pushes a node's whole sum so far on, each time that a share arrives: 72 and 44 for 48 and 28.

    It goes on to the "first" parent first, to the "second", or to them after "both" have their share.
    """

    def model(tape: Tape, values: list[float], output: int) -> list[float]:
        gradient = [0.0] * len(tape)
        gradient[output] = 1.0

        def push(node: int) -> None:
            shares = _local(tape[node], values)
            for parent, derivative in reversed(shares) if order == "second" else shares:
                gradient[parent] += gradient[node] * derivative
                if order != "both":
                    push(parent)
            for parent, _ in shares if order == "both" else ():
                push(parent)

        push(output)
        return gradient

    return model


def _own_factor(entry: list[Any], values: list[float]) -> list[tuple[int, float]]:
    return [
        (parent, values[parent] if entry[0] == "mul" else derivative) for parent, derivative in _local(entry, values)
    ]


def _as_products(entry: list[Any], values: list[float]) -> list[tuple[int, float]]:
    return _local(["mul", *entry[1:]], values) if entry[0] == "add" else _local(entry, values)


def _all_nodes(output: int, last: int) -> Any:
    return range(last, -1, -1)


def _run(tape: Tape, rng: Rng) -> list[float]:
    values: list[float] = []
    for entry in tape:
        if entry[0] == "input":
            values.append(round(float(rng.choice([-1, 1]) * rng.uniform(0.5, 2.0)), 3))
        else:
            left, right = values[entry[1]], values[entry[2]]
            values.append(left + right if entry[0] == "add" else left * right)
    return values


def _tape_case(tape: Tape, rng: Rng, name: str = "sweep", output: Any = None) -> Case:
    return Case(name, (tape, _run(tape, rng), len(tape) - 1 if output is None else output))


def _reused(rng: Rng) -> list[Case]:
    """x·x, x + x, and x in several products; never a node that was computed."""
    tapes: list[Tape] = [
        [["input"], ["mul", 0, 0]],
        [["input"], ["input"], ["add", 0, 0], ["mul", 2, 1]],
        [["input"], ["input"], ["mul", 0, 1], ["mul", 2, 0]],
        [["input"], ["input"], ["input"], ["mul", 1, 0], ["mul", 3, 1], ["add", 4, 0]],
    ]
    return [_tape_case(tape, rng) for tape in tapes]


def _diamonds(rng: Rng) -> list[Case]:
    """Computed nodes that are used twice, and nodes that the output does not use."""
    tapes: list[Tape] = [
        [["input"], ["input"], ["mul", 0, 1], ["add", 2, 0], ["mul", 2, 3]],
        [["input"], ["input"], ["input"], ["mul", 0, 1], ["mul", 3, 3], ["add", 4, 3], ["mul", 5, 2]],
    ]
    cases = [_tape_case(tape, rng) for tape in tapes]
    for _ in range(4):
        tape: Tape = [["input"], ["input"], ["input"]]
        for node in range(3, 9):
            other = int(rng.integers(node))
            tape.append([str(rng.choice(["add", "mul"])), node - 1, other])
        cases.append(_tape_case(tape, rng, output=7))  # node 8 is not used
    return cases


def _rows(sweep: Callable[[Tape, list[float], int], list[float]]) -> Callable[..., list[list[float]]]:
    """A row per loss: by `sweep`, its derivative with respect to every *input* of the tape, in order."""

    def rows(tape: Tape, values: list[float], losses: list[int]) -> list[list[float]]:
        inputs = [node for node, entry in enumerate(tape) if entry[0] == "input"]
        return [[sweep(tape, values, loss)[node] for node in inputs] for loss in losses]

    return rows


two_losses = _rows(sweep)


def _leak(kept: Callable[[Tape, int], bool], added: bool = True) -> Callable[..., list[list[float]]]:
    """Both sweeps on one list of gradients, in which the first one's are kept where `kept` says so.

    A loss starts from 1, `added` to what is there or in place of it.
    """

    def model(tape: Tape, values: list[float], losses: list[int]) -> list[list[float]]:
        inputs = [node for node, entry in enumerate(tape) if entry[0] == "input"]
        gradient, rows = [0.0] * len(tape), []
        for loss in losses:
            gradient = [old if kept(tape, node) else 0.0 for node, old in enumerate(gradient)]
            gradient[loss] = 1.0 + gradient[loss] * added
            for node in range(loss, -1, -1):
                for parent, derivative in _local(tape[node], values):
                    gradient[parent] += gradient[node] * derivative
            rows.append([gradient[node] for node in inputs])
        return rows

    return model


def _two_loss_tapes(rng: Rng) -> list[Case]:
    """z = w·x, L₁ = z², L₂ = c·z, and a deeper trunk: losses that share computed nodes."""
    tapes: list[tuple[Tape, list[int]]] = [
        ([["input"], ["input"], ["input"], ["mul", 0, 1], ["mul", 3, 3], ["mul", 2, 3]], [4, 5]),
        (
            [
                ["input"],
                ["input"],
                ["input"],
                ["mul", 0, 1],
                ["add", 3, 0],
                ["mul", 4, 3],
                ["mul", 5, 2],
                ["add", 5, 1],
            ],
            [6, 7],
        ),
    ]
    return [_tape_case(tape, rng, "two_losses", losses) for tape, losses in tapes for _ in range(2)]


def _nested_losses(rng: Rng) -> list[Case]:
    """One loss is used by the other, and they are asked for in either order."""
    tape: Tape = [["input"], ["input"], ["mul", 0, 1], ["mul", 2, 0], ["add", 3, 2], ["mul", 4, 3]]
    return [_tape_case(tape, rng, "two_losses", losses) for losses in ([3, 5], [5, 3], [4, 5], [5, 4])]


# Lesson 1: the diamond by hand, and the shares of a product

_products = fixed([Case("mul_backward", numbers) for numbers in ((1.0, 2.0, 3.0), (14.0, 2.0, 3.0), (-0.5, 4.0, 0.25))])


# Lesson 3: a gradient per task, on the engine itself


def _problem(number: int) -> tuple[list[Tensor], Tensor, Any]:
    """(losses, parameter, the `.grad` that the parameter has before), made anew for every answer."""
    if number == 1:
        w = tensor(2.0, requires_grad=True)
        z = w * 3.0
        return [z * z, 5.0 * z], w, None
    theta = tensor(np.array([1.0, -2.0, 0.5]), requires_grad=True)
    theta.grad = np.array([7.0, 7.0, 7.0])
    shared = theta * theta
    losses = [shared.sum(), (shared * np.array([0.0, 1.0, 2.0])).sum(), (shared * theta).sum()]
    return losses, theta, np.array([7.0, 7.0, 7.0])


def _with_problem(answer: Callable[[list[Tensor], Tensor], Any]) -> Callable[[int], Any]:
    def asked(number: int) -> Any:
        losses, parameter, before = _problem(number)
        gradients = answer(losses, parameter)
        if gradients is None or gradients is ...:
            return gradients
        after = parameter.grad
        kept = after is None if before is None else after is not None and np.array_equal(after, before)
        return {"gradients": gradients, "kept": bool(kept)}

    return asked


def _per_task(losses: list[Tensor], parameter: Tensor) -> list[Any]:
    return [grad(loss, [parameter])[0] for loss in losses]


def _backward(losses: list[Tensor], parameter: Tensor, clear: str, copied: bool) -> list[Any]:
    """loss.backward() for every loss, with `.grad` cleared "never", or "once" before all."""
    gradients: list[Any] = []
    if clear == "once":
        parameter.grad = None
    for loss in losses:
        loss.backward()
        gradients.append(np.copy(parameter.grad) if copied else parameter.grad)  # type: ignore[arg-type]
    return gradients


def _grad_is_kept(case: Case, reply: Reply, right: Reply) -> str:
    return "" if reply.value["kept"] else "parameter.grad is not what it was before: put it back, or do not touch it"


_problems = fixed(
    [
        Case("per_task_gradients", (1,), shown="w = 2, z = 3w and the losses z² and 5z"),
        Case("per_task_gradients", (2,), shown="θ = (1, −2, ½) with 7 in .grad, and three losses of it"),
    ]
)


QUESTIONS = questions(__file__, globals())
QUESTIONS["losses"] = replace(
    QUESTIONS["losses"],
    mistakes=QUESTIONS["losses"].mistakes
    + tuple(
        Mistake(f"each row is what a wrong sweep gives (question 2): {one.hint}", "two_losses", _rows(one.model))
        for one in QUESTIONS["reuse"].mistakes
    ),
)
