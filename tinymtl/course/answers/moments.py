"""Alternating steps with Adam: moments that are shared, or kept per task. Lesson 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.autodiff.tensor import Tensor, tensor
from tinymtl.course.question import Case, Rng
from tinymtl.course.topic import questions
from tinymtl.optim import SGD, Adam, Optimizer

Array = np.ndarray[Any, Any]
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def alternating_adam(gradients: list[float], lr: float, steps: int, per_task: bool) -> list[float]:
    """θ after each of `steps` sub-steps from θ = 0, when task k's gradient is always `gradients[k]`."""
    rule = Adam(lr=lr, betas=(BETA1, BETA2), eps=EPS)
    theta = tensor(np.zeros(1), requires_grad=True)
    memories = [rule.init([theta]) for _ in (gradients if per_task else gradients[:1])]
    path = []
    for i in range(steps):
        task = i % len(gradients)
        rule.update([theta], [np.array([gradients[task]])], memories[task if per_task else 0])
        path.append(float(theta.data[0]))
    return path


def _variant(
    *,
    correction: str = "both",
    count: str = "own",
    root: Callable[[float, float], float] = lambda v, c: (v / c) ** 0.5 + EPS,
    square: bool = True,
    sign: float = -1.0,
    memory: Callable[[bool], bool] = lambda per_task: per_task,
    turn: Callable[[int, int, int], int] = lambda i, tasks, steps: i % tasks,
    betas: tuple[float, float] = (BETA1, BETA2),
    mix: Callable[[float], tuple[float, float]] = lambda beta: (beta, 1 - beta),
    shown: str = "theta",
    start: int = 0,
) -> Callable[[list[float], float, int, bool], list[float]]:
    """Adam with one thing changed."""

    def model(gradients: list[float], lr: float, steps: int, per_task: bool) -> list[float]:
        separate = memory(per_task)
        m, v, t = ([0.0] * len(gradients) for _ in range(3))
        (old1, new1), (old2, new2) = map(mix, betas)
        theta, path = 0.0, []
        for i in range(steps):
            task = turn(i, len(gradients), steps)
            k, g = task if separate else 0, gradients[task]
            m[k] = old1 * m[k] + new1 * g
            v[k] = old2 * v[k] + new2 * (g * g if square else abs(g))
            t[k] += 1
            n = {"own": t[k], "all": i + 1, "round": i // len(gradients) + 1}[count] + start
            first = 1 - betas[0] ** n if correction in ("both", "mean") else 1.0
            second = 1 - betas[1] ** n if correction in ("both", "spread") else 1.0
            step = lr * m[k] / first / root(v[k], second)
            theta += sign * step
            path.append(theta if shown == "theta" else sign * step)
        return path

    return model


def _case(rng: Rng, tasks: int, steps: int, per_task: bool) -> Case:
    sizes = rng.permutation(np.geomspace(0.5, 80.0, tasks)) * rng.uniform(0.8, 1.25, size=tasks)
    signs = rng.choice([-1.0, 1.0], size=tasks)
    return Case("alternating_adam", ((sizes * signs).tolist(), float(rng.uniform(0.05, 0.2)), steps, per_task))


# ------------------------------------------------------------ lesson 7

SWEEPS = 4
#: Quadratics hₖ/2 ‖θ − cₖ‖²: the curvatures, the centres, the start, the rule.
_RUNS: dict[str, tuple[list[float], list[list[float]], list[float], Optimizer]] = {
    "two parabolas of curvature 100 and 1 with Adam(0.1)": ([100.0, 1.0], [[1.0], [-1.0]], [0.3], Adam(0.1)),
    "three tasks in two dimensions with Adam(0.03)": (
        [1.0, 30.0, 0.1],
        [[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]],
        [0.5, -0.5],
        Adam(0.03),
    ),
    "two tasks with SGD(0.1, momentum=0.9)": ([1.0, 2.0], [[1.0, 1.0], [-1.0, 0.5]], [0.0, 0.0], SGD(0.1, 0.9)),
}


def _pull(curvature: float, centre: list[float]) -> Callable[[Array], Array]:
    return lambda theta: curvature * (theta - np.array(centre))


def _on_a_run(answer: Callable[..., Any]) -> Callable[[str], Any]:
    """From a function as the exercise wants it to one of a run's name: θ after every turn, (turns, n)."""

    def path_of(run: str) -> Any:
        curvatures, centres, start, rule = _RUNS[run]
        gradient_of = [_pull(h, c) for h, c in zip(curvatures, centres, strict=True)]
        theta = tensor(start, requires_grad=True, dtype="float64")
        path = answer(gradient_of, theta, rule, SWEEPS)
        points = (
            [point.data if isinstance(point, Tensor) else point for point in path] if isinstance(path, list) else []
        )
        fits = points and all(isinstance(one, np.ndarray | list) and np.size(one) == len(start) for one in points)
        return [np.ravel(one) for one in points] if fits else path

    return path_of


def _alternate(
    *,
    memories: str = "own",
    stale: bool = False,
    copied: bool = True,
    orders: Callable[[int], list[list[int]]] = lambda tasks: [list(range(tasks))] * SWEEPS,
    kept: str = "turns",
) -> Callable[..., Any]:
    """The exercise's function with one thing changed: whose memory, at which θ, in which order, what is returned."""

    def answer(gradient_of: list[Callable[[Array], Array]], theta: Any, rule: Optimizer, sweeps: int) -> Any:
        made = [rule.init([theta]) for _ in gradient_of]
        path = [theta.data.copy()] if kept == "start too" else []
        for order in orders(len(gradient_of)):
            gradients = [gradient(theta.data.copy()) for gradient in gradient_of]
            if memories == "per sweep":
                made = [rule.init([theta]) for _ in gradient_of]
            for task in order:
                memory = {"one": made[0], "anew": rule.init([theta])}.get(memories, made[task])
                gradient = gradients[task] if stale else gradient_of[task](theta.data)
                if kept == "before":
                    path.append(theta.data.copy())
                rule.update([theta], [gradient], memory)
                if kept in ("turns", "start too"):
                    path.append(theta.data.copy() if copied else theta.data)
            if kept == "sweeps":
                path.append(theta.data.copy())
        return path

    return answer


QUESTIONS = questions(__file__, globals())
