"""Checks of lesson 7: alternating steps, a memory per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.autodiff.tensor import tensor
from tinymtl.backend import Array
from tinymtl.course.lessons.checks import Check, Problem, given, numbers, same
from tinymtl.optim import SGD, Adam, Optimizer

SWEEPS = 4

#: Quadratics hₖ/2 ‖θ − cₖ‖²: the curvatures, the centres, the start, the rule.
CASES: dict[str, tuple[Sequence[float], Any, Any, Optimizer]] = {
    "two parabolas of curvature 100 and 1 with Adam(0.1)": ([100.0, 1.0], [[1.0], [-1.0]], [0.3], Adam(0.1)),
    "three tasks in two dimensions with Adam(0.03)": (
        [1.0, 30.0, 0.1],
        [[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]],
        [0.5, -0.5],
        Adam(0.03),
    ),
    "two tasks with SGD(0.1, momentum=0.9)": ([1.0, 2.0], [[1.0, 1.0], [-1.0, 0.5]], [0.0, 0.0], SGD(0.1, 0.9)),
}

Gradients = list[Callable[[Array], Array]]


def _pull(curvature: float, centre: Any) -> Callable[[Array], Array]:
    return lambda theta: curvature * (theta - np.array(centre))


def _judged(answer: Any) -> list[Array] | None:
    """For each case: θ after every turn, (turns, n)."""
    if not callable(answer):
        raise Problem(f"this answer is a function, not a {type(answer).__name__}")
    paths = []
    for name, (curvatures, centres, start, rule) in CASES.items():
        gradient_of = [_pull(h, c) for h, c in zip(curvatures, centres, strict=True)]
        theta = tensor(start, requires_grad=True, dtype="float64")
        try:
            path = answer(gradient_of, theta, rule, SWEEPS)
        except Exception as error:
            raise Problem(f"{name}: your function raises {type(error).__name__}: {error}") from None
        if not given(path):
            return None
        values = np.array([np.asarray(point, dtype=np.float64).reshape(-1) for point in path])
        if values.shape != (SWEEPS * len(gradient_of), len(start)):
            expected = f"{SWEEPS * len(gradient_of)} points, one after every turn"
            raise Problem(f"{name}, {SWEEPS} sweeps: expected {expected}; yours has {len(values)}")
        paths.append(values)
    return paths


def _right(gradient_of: Gradients, theta: Tensor, rule: Optimizer, sweeps: int) -> list[Array]:
    memories = [rule.init([theta]) for _ in gradient_of]
    path = []
    for _ in range(sweeps):
        for gradient, memory in zip(gradient_of, memories, strict=True):
            rule.update([theta], [gradient(theta.data)], memory)
            path.append(theta.data.copy())
    return path


def _one_memory(gradient_of: Gradients, theta: Tensor, rule: Optimizer, sweeps: int) -> list[Array]:
    memory = rule.init([theta])
    path = []
    for _ in range(sweeps):
        for gradient in gradient_of:
            rule.update([theta], [gradient(theta.data)], memory)
            path.append(theta.data.copy())
    return path


def _forgetful(gradient_of: Gradients, theta: Tensor, rule: Optimizer, sweeps: int) -> list[Array]:
    path = []
    for _ in range(sweeps):
        for gradient in gradient_of:
            rule.update([theta], [gradient(theta.data)], rule.init([theta]))
            path.append(theta.data.copy())
    return path


def _stale(gradient_of: Gradients, theta: Tensor, rule: Optimizer, sweeps: int) -> list[Array]:
    memories = [rule.init([theta]) for _ in gradient_of]
    path = []
    for _ in range(sweeps):
        gradients = [gradient(theta.data) for gradient in gradient_of]
        for gradient, memory in zip(gradients, memories, strict=True):
            rule.update([theta], [gradient], memory)
            path.append(theta.data.copy())
    return path


def _not_copied(gradient_of: Gradients, theta: Tensor, rule: Optimizer, sweeps: int) -> list[Array]:
    return [theta.data for _ in _right(gradient_of, theta, rule, sweeps)]


def _task_by_task(gradient_of: Gradients, theta: Tensor, rule: Optimizer, sweeps: int) -> list[Array]:
    return [point for gradient in gradient_of for point in _right([gradient], theta, rule, sweeps)]


CHECKS: dict[str, Check] = {
    "07.second_turn": numbers(
        (0.6626, -0.1663),
        praise="task 2 wants θ to rise, and in its own turn θ falls by two thirds of η",
        look="first m = 0.9·10 + 0.1·(−1) and v = 0.999·10 + 0.001·1, then the two corrections, then the root",
        mistakes={
            "that is task 2 with a memory of its own; the shared one holds m = 10 and v = 10 from task 1": (-1, 0),
            "the bias corrections are missing: divide m by 0.19 and v by 0.001999": (2.8157, -0.3816),
            "these are the corrections of turn 1 (0.1 and 0.001): the shared count is at t = 2": (0.8904, -0.1890),
            "the root is missing: divide by √(v/0.001999)": (0.009372, -0.10094),
            "the fraction is right; θ falls by η times it": (0.6626, -0.0337),
            "task 2's gradient is −1: m = 0.9·10 − 0.1": (0.6775, -0.1677),
        },
        tolerance=2e-3,
    ),
    "07.memories": Check(
        lambda found: same(found, _judged(_right)),
        praise="every task has its own moments and its own count, made once and kept, and sees the θ of its turn",
        look="go through two turns with a pencil: which memory is used, and at which θ is the gradient taken?",
        mistakes={
            "all tasks share one memory: make one for each, before the loop": _one_memory,
            "new memories remember nothing: make one for each task, before all loops": _forgetful,
            "a gradient is older than the move before it: call gradient(theta.data) in the task's own turn": _stale,
            "all your points are one array: theta.data changes in place, so append theta.data.copy()": _not_copied,
            "the tasks do not take turns: within one sweep every task has one turn": _task_by_task,
        },
        judged=_judged,
    ),
}
