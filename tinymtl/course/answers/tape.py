"""Sweeps over a tape: reuse, the diamond, and two losses.

A tape is in the order of computation: ["input"], ["add", i, j] or ["mul", i, j], with `values[i]` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question

Rng = np.random.Generator
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


def _recursion(tape: Tape, values: list[float], output: int) -> list[float]:
    """Pushes a node's whole sum so far on, each time that a share arrives: 72 and 44 for 48 and 28."""
    gradient = [0.0] * len(tape)
    gradient[output] = 1.0

    def push(node: int) -> None:
        for parent, derivative in _local(tape[node], values):
            gradient[parent] += gradient[node] * derivative
            push(parent)

    push(output)
    return gradient


def _last_write_wins(tape: Tape, values: list[float], output: int) -> list[float]:
    gradient = [0.0] * len(tape)
    gradient[output] = 1.0
    for node in range(output, -1, -1):
        for parent, derivative in _local(tape[node], values):
            gradient[parent] = gradient[node] * derivative
    return gradient


def _oldest_first(tape: Tape, values: list[float], output: int) -> list[float]:
    gradient = [0.0] * len(tape)
    gradient[output] = 1.0
    for node in range(output + 1):
        for parent, derivative in _local(tape[node], values):
            gradient[parent] += gradient[node] * derivative
    return gradient


def _own_factor(tape: Tape, values: list[float], output: int) -> list[float]:
    gradient = [0.0] * len(tape)
    gradient[output] = 1.0
    for node in range(output, -1, -1):
        for parent, derivative in _local(tape[node], values):
            gradient[parent] += gradient[node] * (values[parent] if tape[node][0] == "mul" else derivative)
    return gradient


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


REUSE = Question(
    "reuse",
    "Reuse and the diamond",
    "a list with one number per node of the tape",
    (
        Property("inputs that are used more than once", 2, _reused),
        Property("computed nodes that are used more than once, and nodes that are not used", 2, _diamonds),
    ),
    {"sweep": sweep},
    (
        Mistake(
            "a node passes its gradient on before all of it has arrived, as the recursion does that gives 72 and 44",
            "sweep",
            _recursion,
        ),
        Mistake("when a node is used twice the last write wins: add the shares up", "sweep", _last_write_wins),
        Mistake("the tape is walked from the oldest node to the newest", "sweep", _oldest_first),
        Mistake("the derivative of a·b with respect to a is b, not a", "sweep", _own_factor),
    ),
)


def _rows(sweep: Callable[[Tape, list[float], int], list[float]]) -> Callable[..., list[list[float]]]:
    """A row per loss: by `sweep`, its derivative with respect to every *input* of the tape, in order."""

    def rows(tape: Tape, values: list[float], losses: list[int]) -> list[list[float]]:
        inputs = [node for node, entry in enumerate(tape) if entry[0] == "input"]
        return [[sweep(tape, values, loss)[node] for node in inputs] for loss in losses]

    return rows


two_losses = _rows(sweep)


def _leak(kept: Callable[[Tape, int], bool]) -> Callable[..., list[list[float]]]:
    """Both sweeps on one list of gradients, in which the first one's are kept where `kept` says so."""

    def model(tape: Tape, values: list[float], losses: list[int]) -> list[list[float]]:
        inputs = [node for node, entry in enumerate(tape) if entry[0] == "input"]
        gradient, rows = [0.0] * len(tape), []
        for loss in losses:
            gradient = [old if kept(tape, node) else 0.0 for node, old in enumerate(gradient)]
            gradient[loss] += 1.0
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


LOSSES = Question(
    "losses",
    "Two losses without leakage",
    "two rows, one per loss, with one number per input of the tape",
    (
        Property("losses on one trunk", 2, _two_loss_tapes),
        Property("a loss that the other one uses, in either order", 2, _nested_losses),
    ),
    {"two_losses": two_losses},
    (
        Mistake(
            "gradients of computed nodes are kept from the first loss to the second (51 where 15 is right)",
            "two_losses",
            _leak(lambda tape, node: tape[node][0] != "input"),
        ),
        Mistake(
            "the second row still holds the first loss's gradient: start the inputs from zero for every loss",
            "two_losses",
            _leak(lambda tape, node: tape[node][0] == "input"),
        ),
        Mistake(
            "nothing is cleared between the losses: both the inputs' and the computed nodes' gradients leak",
            "two_losses",
            _leak(lambda tape, node: True),
        ),
        Mistake(
            "every row is the gradient of the sum of the losses",
            "two_losses",
            lambda t, v, losses: [np.sum(two_losses(t, v, losses), axis=0)] * len(losses),
        ),
        Mistake("the rows are in the wrong order", "two_losses", lambda t, v, losses: two_losses(t, v, losses)[::-1]),
        *(
            Mistake(
                f"each row is what a wrong sweep gives (question 2): {one.hint}", "two_losses", _rows(one.model)
            )
            for one in REUSE.mistakes
        ),
    ),
)
