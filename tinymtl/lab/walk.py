"""The command `tinymtl walk`: one step, stage by stage, in a terminal."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, is_array, to_host
from tinymtl.checks import choose, listed
from tinymtl.data import load
from tinymtl.hull import MinNorm
from tinymtl.lab.networks import build
from tinymtl.lab.progress import is_terminal
from tinymtl.lab.strategies import SINGLE
from tinymtl.nn.layers import Module
from tinymtl.nn.parameters import Parameter
from tinymtl.nn.shared_bottom import SharedBottom, Task
from tinymtl.optim import SGD
from tinymtl.steps import STRATEGIES, Stage, Update
from tinymtl.steps.step import Step
from tinymtl.ties import rounding, settled
from tinymtl.tracing import Trace, traced_stages
from tinymtl.tracing.numerals import clean, short, vector

LEARNING_RATE = 0.1
BATCH = 64
WIDTH = 8  # of the trunk: so narrow that the tasks compete for it

MEANINGS = {
    "forward": "The trunk maps the batch to the representation Z.",
    "task gradients": "One sweep over the heads, cut at Z, gives every loss its own gradient.",
    "gram": "The inner products of the task gradients: from these and the losses the weights are made.",
    "weights": "The weights of the task gradients in v = Σ wₖgₖ.",
    "min-norm": "The weights α, on the simplex, of the shortest Σ αₖgₖ; the gap certifies how short it is.",
    "trunk backward": "One sweep through the trunk, seeded with Σ wₖ ∇_Z Lₖ, gives v.",
    "gradient": "One sweep from the weighted losses to the trunk's and the heads' parameters.",
    "update": "The optimizer moves the trunk along −v, and the heads.",
}


def add_walk_parser(subparsers: Any) -> None:
    """Add `walk` to the subparsers of a command; its `func` takes the parsed arguments, returns an exit code."""
    parser = subparsers.add_parser(
        "walk",
        help="one step, stage by stage",
        description="One step of a strategy, stage by stage, and what it did to every loss. In a terminal it waits for "
        "Enter after each stage; piped, it prints everything.",
        epilog="example: tinymtl walk --problem hand",
    )
    names = ", ".join(STRATEGIES)
    parser.add_argument("--step", default="mgda-ub", metavar="NAME", help=f"the strategy: {names} (default mgda-ub)")
    parser.add_argument(
        "--data", metavar="NAME", help=f"a minibatch of {BATCH} rows of this data set (default multidigits)"
    )
    parser.add_argument("--problem", metavar="NAME", help="in place of data: hand, two losses to check by hand")
    parser.set_defaults(func=walk)


def walk(arguments: argparse.Namespace) -> int:
    """Run the command; 2 if the arguments do not fit, with a sentence that says why."""
    try:
        opening, step, x, targets = _scene(arguments)
    except (ValueError, OSError) as error:
        print(f"tinymtl walk: {error}", file=sys.stderr)
        return 2
    ask = is_terminal(sys.stdin) and is_terminal(sys.stdout)
    print(opening)
    stages = traced_stages(step, x, targets)
    number, known, update = 0, dict[str, Any](), None
    while True:
        try:
            stage = next(stages)
        except StopIteration as end:
            trace: Trace = end.value
            break
        number += 1
        known = known if stage.update is update else {}
        print("\n".join(["", *_describe(number, stage, known, step.model)]))
        known, update = stage.values, stage.update
        if ask:
            _wait()
    print("\nWhat the step did\n")
    print(trace)
    print("\n" + textwrap.fill(trace.explain(), 100))
    return 0


def _wait() -> None:
    try:
        input("Enter: go on ")
    except EOFError:
        print()


def _scene(arguments: argparse.Namespace) -> tuple[str, Step, Any, Any]:
    """What is said first, the step, and its batch."""
    if arguments.step == SINGLE:
        raise ValueError(f"{SINGLE!r} trains one network per task: walk through {listed(STRATEGIES)}")
    choose("strategy", arguments.step, STRATEGIES)
    if arguments.problem is not None:
        if arguments.data is not None:
            raise ValueError("give --data or --problem, not both")
        choose("problem", arguments.problem, ["hand"])
        model, x, targets = hand_example()
        opening = (
            "The example to check by hand: x = (1, 2), the trunk W = I, so Z = (1, 2).\n"
            "Head 1 is (1, 1) with target 1: L₁ = ½(3 − 1)² = 2.\n"
            "Head 2 is (0, −1) with target −3: L₂ = ½(−2 + 3)² = ½.\n"
            "The heads stay as they are; only W learns"
        )
    else:
        name = arguments.data or "multidigits"
        data = load(name)
        model = build(data, [WIDTH])
        x, targets = next(data.train.batches(BATCH, rng=0))
        opening = f"{len(x)} rows of {name}, a trunk of {WIDTH} units, {len(model.tasks)} tasks"
    rule = SGD(LEARNING_RATE)
    step = STRATEGIES[arguments.step](model, rule)
    return f"{opening}. One step of {type(step).__name__}, η = {LEARNING_RATE}.", step, x, targets


# ------------------------------------------------------------ the example to check by hand


class _Product(Module):
    """x W."""

    def __init__(self, weight: Any, learns: bool):
        values = np.array(weight, dtype=np.float64)
        self.weight: Tensor = Parameter(values) if learns else Tensor(values)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in) → (N, out)."""
        return x @ self.weight


def _half_squared_error(prediction: Tensor, target: Array) -> Tensor:
    difference = prediction - target[:, None]
    return (difference * difference).mean() * 0.5


def hand_example() -> tuple[SharedBottom, Array, dict[str, Array]]:
    """Two tasks whose numbers are whole: g₁ = (2, 2) and g₂ = (0, −1) at Z = (1, 2), so α = 3/13 and 10/13.

    Returns the model, in float64, and the batch x (1, 2) with its targets. The trunk is Z = xW, W = I; head 1 is
    (1, 1) with target 1, head 2 is (0, −1) with target −3; they are fixed; Lₖ = ½(prediction − target)².

    Examples
    --------
    >>> import tinymtl as tm
    >>> model, x, targets = hand_example()
    >>> report = tm.MGDAUB(model, tm.SGD(lr=0.1))(x, targets)
    >>> report.losses, report.weights * 13
    (array([2. , 0.5]), array([ 3., 10.]))
    """
    heads = {"task 1": [[1.0], [1.0]], "task 2": [[0.0], [-1.0]]}
    tasks = [Task(name, _Product(weight, learns=False), _half_squared_error) for name, weight in heads.items()]
    model = SharedBottom(_Product(np.eye(2), learns=True), tasks)
    return model, np.array([[1.0, 2.0]]), {"task 1": np.array([1.0]), "task 2": np.array([-3.0])}


# ------------------------------------------------------------ a stage in words


def _describe(number: int, stage: Stage, known: dict[str, Any], model: SharedBottom) -> list[str]:
    """The stage's title, what it means, and the values that are new since `known`."""
    update = stage.update
    names = [clean(model.task_names[k]) for k in update.group]
    whose = f", {', '.join(names)}" if len(names) < len(model.tasks) else ""
    title = f"── {number}. {stage.name}{whose} "
    certified = stage.name == "weights" and isinstance(update.solution, MinNorm)
    lines = [title + "─" * max(0, 80 - len(title)), MEANINGS.get("min-norm" if certified else stage.name, "")]
    for key, value in stage.values.items():
        if known.get(key) is not value and key not in ("group", "at"):
            lines += _value(key, value, names, update)
    return [line for line in lines if line]


def _value(key: str, value: Any, names: list[str], update: Update) -> Iterator[str]:
    if key == "gradients":
        for k, name in enumerate(names):
            yield from _shown(f"g of {name}", to_host(value[k]))
    elif key in ("losses", "weights"):
        one = "loss" if key == "losses" else "α" if isinstance(update.solution, MinNorm) else "weight"
        numbers = to_host(value)
        for name, number in zip(names, (settled(numbers) if key == "weights" else numbers).tolist(), strict=True):
            yield f"   {f'{one} of {name}':<18} {short(number)}"
    elif key == "gram":
        lengths = np.sqrt(value.diagonal())
        yield from _shown(key, settled(value, rounding(update.losses.dtype) * np.outer(lengths, lengths)))
    elif isinstance(value, MinNorm):
        noise = 0.0 if update.gram is None else rounding() * float(update.gram.diagonal().max())
        yield f"   {'‖v‖²':<18} {short(value.squared_norm, noise=noise)}"
        yield f"   {'gap':<18} {short(value.gap, noise=noise)}"
    elif isinstance(value, Tensor) or is_array(value):
        yield from _shown(key, to_host(value.data if isinstance(value, Tensor) else value))
    elif key == "memory":
        yield from textwrap.wrap(", ".join(value), 98, initial_indent=f"   {key:<18} ", subsequent_indent=" " * 22)


def _shown(name: str, array: Array) -> Iterator[str]:
    """A small array row by row, a larger one as its shape and length."""
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[None]
    if rows.shape[0] <= 6 and rows.shape[1] <= 8:
        for i, row in enumerate(rows):
            yield f"   {name if i == 0 else '':<18} {vector(settled(row).tolist())}"
    else:
        shape = " × ".join(map(str, array.shape))
        length = float(np.sqrt((array.astype(np.float64) ** 2).sum()))
        yield f"   {name:<18} {shape} numbers, length {short(length)}"
