"""Sweeps over a tape: reuse, the diamond, and two losses.

A tape is in the order of computation: ["input"], ["add", i, j] or ["mul", i, j], with `values[i]` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.autodiff.tensor import Tensor, grad, tensor
from tinymtl.course.question import Case, Mistake, Part, Question, Reply, Rng, function, variables

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


def _recursion(turned: bool) -> Callable[[Tape, list[float], int], list[float]]:
    """Pushes a node's whole sum so far on, each time that a share arrives: 72 and 44 for 48 and 28."""

    def model(tape: Tape, values: list[float], output: int) -> list[float]:
        gradient = [0.0] * len(tape)
        gradient[output] = 1.0

        def push(node: int) -> None:
            shares = _local(tape[node], values)
            for parent, derivative in reversed(shares) if turned else shares:
                gradient[parent] += gradient[node] * derivative
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


def _as_sums(entry: list[Any], values: list[float]) -> list[tuple[int, float]]:
    return [(parent, 1.0) for parent, _ in _local(entry, values)]


def _once(entry: list[Any], values: list[float]) -> list[tuple[int, float]]:
    return list(dict(_local(entry, values)).items())


def _all_nodes(output: int, last: int) -> Any:
    return range(last, -1, -1)


def _sweep_mistakes() -> list[tuple[str, Callable[[Tape, list[float], int], list[float]]]]:
    """Wrong sweeps by their hints; a hint may have several spellings."""
    passed_early = (
        "a node passes its gradient on before all of it has arrived, as the recursion does that gives 72 and 44"
    )
    last_wins = "when a node is used twice the last write wins: add the shares up"
    overwrites = (
        lambda old, share, place: share,
        lambda old, share, place: share if place == 0 else old + share,
        lambda old, share, place: share if place == 1 else old + share,
    )
    return [
        (passed_early, _recursion(False)),
        (passed_early, _recursion(True)),
        *((last_wins, _wrong(add=add, nodes=nodes)) for add in overwrites for nodes in (_down, _all_nodes)),
        ("x·x and x + x use x twice: both shares count", _wrong(local=_once)),
        ("the tape is walked from the oldest node to the newest", _wrong(nodes=lambda out, last: range(out + 1))),
        ("the tape is walked from the oldest node to the newest", _wrong(nodes=lambda out, last: range(last + 1))),
        ("the derivative of a·b with respect to a is b, not a", _wrong(local=_own_factor)),
        ("a sum passes the gradient on as it is: only a product multiplies it", _wrong(local=_as_products)),
        (
            "a product multiplies the gradient by the other factor: only a sum passes it on as it is",
            _wrong(local=_as_sums),
        ),
        ("the gradient that has arrived at the node is left out of its shares", _wrong(passed=lambda gradient: 1.0)),
        ("nothing is passed on: the derivative of the output with respect to itself is 1", _wrong(start=0.0)),
        (
            "the sweep starts at the last node of the tape; it should start at `output`",
            lambda tape, values, output: sweep(tape, values, len(tape) - 1),
        ),
        ("these are the values of the nodes, not the derivatives", lambda tape, values, output: values),
    ]


def _down(output: int, last: int) -> Any:
    return range(output, -1, -1)


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
        Part("inputs that are used more than once", _reused, 2),
        Part("computed nodes that are used more than once, and nodes that are not used", _diamonds, 2),
    ),
    {"sweep": sweep},
    tuple(Mistake(hint, "sweep", model) for hint, model in _sweep_mistakes()),
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


def _same_row(place: int) -> Callable[..., list[list[float]]]:
    return lambda tape, values, losses: [two_losses(tape, values, losses)[place]] * len(losses)


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
        Part("losses on one trunk", _two_loss_tapes, 2),
        Part("a loss that the other one uses, in either order", _nested_losses, 2),
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
            Mistake(f"each row is the {which} loss's", "two_losses", _same_row(place))
            for place, which in ((0, "first"), (1, "second"))
        ),
        *(
            Mistake(f"each row is what a wrong sweep gives (question 2): {hint}", "two_losses", _rows(model))
            for hint, model in _sweep_mistakes()
        ),
    ),
)


# Lesson 1: the diamond by hand, and the shares of a product

BY_HAND = variables(
    "01.by_hand",
    {"at_d": "1 * 6", "at_c": "8 + at_d", "at_y": "at_c * 2", "at_x": "at_c * 3 + at_d"},
    {
        "at_d": {"8 is d itself: from a product each factor receives the gradient times the *other* factor": 8},
        "at_c": {
            "you left out the share that d passes to c: c is used twice": 8,
            "the share that L passes to c is missing, or was overwritten by the last one: shares are added": "at_d",
            "c has two shares: they are added, not multiplied": ["8 * at_d", 48],
            "the share that L passes to c is the other factor, d, and not c itself": "6 + at_d",
        },
        "at_y": {
            "y is multiplied by x in c, so its share is the gradient at c times x": "at_c * 3",
            "this is the gradient at c as it is: c is a product, and multiplies it": "at_c",
            "c passed its first share on before the second had come: that share is counted twice": "2 * (8 + 8 + 6)",
            "3 is y itself: asked for is how L changes when y does": 3,
        },
        "at_x": {
            "the share that d passes to x is missing, or was overwritten by the last one: shares are added": "at_c * 3",
            "the share that c passes to x is missing: x is used twice": "at_d",
            "c passed its first share on before the second had come: that share is counted twice": "3 * 8 + 3 * 14 + 6",
            "x is multiplied by y in c, so that share is the gradient at c times y": "at_c * 2 + at_d",
            "2 is x itself: asked for is how L changes when x does": 2,
        },
    },
    hints=(
        "draw the five boxes, and beside each arrow write the share that goes back along it",
        "a sum passes its gradient on to both, a product multiplies it by the other factor; then add what arrives",
        "∂L/∂c = d + ∂L/∂d, ∂L/∂y = x ∂L/∂c, ∂L/∂x = y ∂L/∂c + ∂L/∂d",
    ),
    praise="c was complete (14) before it passed anything on, and so 28 and 48 come out",
)

MUL = function(
    "01.mul",
    "mul_backward",
    lambda g, x, y: (g * y, g * x),
    [(1.0, 2.0, 3.0), (14.0, 2.0, 3.0), (-0.5, 4.0, 0.25)],
    "two shares, (share for x, share for y)",
    {
        "the two are exchanged: when x grows by a little, z grows by y times that": lambda g, x, y: (g * x, g * y),
        "you left out g: a share is the gradient at z times the slope": lambda g, x, y: (y, x),
        "this is the share of a sum, which passes g on as it is": lambda g, x, y: (g, g),
        "that is g times z itself; the slope of z = x·y has only one of the factors": lambda g, x, y: (
            g * x * y,
            g * x * y,
        ),
        "the gradient and the slope are multiplied, not added": lambda g, x, y: (g + y, g + x),
    },
    items={"the share for x": 0, "the share for y": 1},
    hints=(
        "what does z = x·y become when x grows by a little, and y stays?",
        "the slope of z in the direction of x, times the gradient that arrives at z; and the same for y",
        "with respect to x the slope of x·y is y, and with respect to y it is x",
    ),
    praise="the share for x is g·y, and for y it is g·x",
)


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


def _backward(clear: str, copied: bool) -> Callable[[list[Tensor], Tensor], list[Any]]:
    """loss.backward() for every loss, with `.grad` cleared "never", "once" before all, or "always"."""

    def answer(losses: list[Tensor], parameter: Tensor) -> list[Any]:
        gradients: list[Any] = []
        for number, loss in enumerate(losses):
            if clear == "always" or (clear == "once" and number == 0):
                parameter.grad = None
            loss.backward()
            gradients.append(np.copy(parameter.grad) if copied else parameter.grad)  # type: ignore[arg-type]
        return gradients

    return answer


def _grad_is_kept(case: Case, reply: Reply, right: Reply) -> str:
    return "" if reply.value["kept"] else "parameter.grad is not what it was before: put it back, or do not touch it"


_ADDS_UP = "every gradient contains those before it: .grad adds up, so 51 comes out for 15"

PER_TASK = Question(
    "03.per_task",
    "",
    "a list with one array for each loss (tm.grad returns a list: take its [0])",
    tuple(
        Part(
            name,
            lambda rng: [
                Case("per_task_gradients", (1,), shown="w = 2, z = 3w and the losses z² and 5z"),
                Case("per_task_gradients", (2,), shown="θ = (1, −2, ½) with 7 in .grad, and three losses of it"),
            ],
            item=item,
            problem=problem,
        )
        for name, item, problem in (("the gradients", "gradients", None), (".grad afterwards", "kept", _grad_is_kept))
    ),
    {"per_task_gradients": _with_problem(_per_task)},
    tuple(
        Mistake(hint, "per_task_gradients", _with_problem(model))
        for hint, model in (
            (_ADDS_UP, _backward("never", True)),
            (_ADDS_UP, _backward("never", False)),
            (_ADDS_UP, _backward("once", True)),
            (_ADDS_UP, _backward("once", False)),
            (
                "all of them are the gradient of the sum: each sweep starts at one loss",
                lambda losses, parameter: [grad(losses, [parameter])[0] for _ in losses],
            ),
            (
                "these are divided by the number of tasks: a loss has its own gradient, whole",
                lambda losses, parameter: [g / len(losses) for g in _per_task(losses, parameter)],
            ),
            (
                "these are differences between one gradient and the next",
                lambda losses, parameter: list(np.diff(_per_task(losses, parameter), axis=0, prepend=0)),
            ),
            (
                "each of them is the first loss's gradient",
                lambda losses, parameter: [_per_task(losses, parameter)[0] for _ in losses],
            ),
        )
    ),
    hints=(
        "for w = 2, z = 3w and the losses z² and 5z, what does your function return, and what should it?",
        "either one tm.grad for each loss, or backward with .grad put aside, cleared before each loss, and put back",
        "tm.grad(loss, [parameter])[0] touches no .grad and starts at one loss",
    ),
    praise="each loss has its own gradient, and .grad is as it was",
    adapt=_with_problem,
)

LESSONS = (BY_HAND, MUL, PER_TASK)
