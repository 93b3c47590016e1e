"""Alternating steps with Adam on linear losses: moments that are shared, or kept per task."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinymtl.autodiff.tensor import tensor
from tinymtl.course.assignment import Case, Mistake, Property, Question
from tinymtl.optim import Adam

Rng = np.random.Generator
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
    correction: bool = True,
    count: str = "own",
    root: Callable[[float], float] = lambda v: v**0.5 + EPS,
    square: bool = True,
    sign: float = -1.0,
    memory: Callable[[bool], bool] = lambda per_task: per_task,
) -> Callable[[list[float], float, int, bool], list[float]]:
    """Adam with one thing changed."""

    def model(gradients: list[float], lr: float, steps: int, per_task: bool) -> list[float]:
        separate = memory(per_task)
        m, v, t = [0.0] * len(gradients), [0.0] * len(gradients), [0] * len(gradients)
        theta, path = 0.0, []
        for i in range(steps):
            task = i % len(gradients)
            k, g = task if separate else 0, gradients[task]
            m[k] = BETA1 * m[k] + (1 - BETA1) * g
            v[k] = BETA2 * v[k] + (1 - BETA2) * (g * g if square else abs(g))
            t[k] += 1
            n = t[k] if count == "own" else i + 1
            mean, spread = (m[k] / (1 - BETA1**n), v[k] / (1 - BETA2**n)) if correction else (m[k], v[k])
            theta += sign * lr * mean / root(spread)
            path.append(theta)
        return path

    return model


def _case(rng: Rng, tasks: int, steps: int, per_task: bool) -> Case:
    sizes = rng.permutation(np.geomspace(0.5, 80.0, tasks)) * rng.uniform(0.8, 1.25, size=tasks)
    signs = rng.choice([-1.0, 1.0], size=tasks)
    return Case("alternating_adam", ((sizes * signs).tolist(), float(rng.uniform(0.05, 0.2)), steps, per_task))


MOMENTS = Question(
    "moments",
    "Adam's six numbers",
    "a list of numbers, one per sub-step",
    (
        Property("two tasks, one shared memory", 2, lambda rng: [_case(rng, 2, 6, False) for _ in range(3)]),
        Property("two tasks, a memory per task", 2, lambda rng: [_case(rng, 2, 6, True) for _ in range(3)]),
        Property(
            "three and four tasks, longer runs, either memory",
            1,
            lambda rng: [_case(rng, tasks, 11, per_task) for tasks in (3, 4) for per_task in (False, True)],
        ),
    ),
    {"alternating_adam": alternating_adam},
    (
        Mistake("the bias correction is missing", "alternating_adam", _variant(correction=False)),
        Mistake(
            "with a memory per task, every task also counts its own steps for the bias correction",
            "alternating_adam",
            _variant(count="all"),
        ),
        Mistake(
            "per_task is not looked at: the memory is always shared",
            "alternating_adam",
            _variant(memory=lambda p: False),
        ),
        Mistake(
            "per_task is not looked at: every task always has its own memory",
            "alternating_adam",
            _variant(memory=lambda p: True),
        ),
        Mistake("per_task is read the wrong way round", "alternating_adam", _variant(memory=lambda p: not p)),
        Mistake("the root of the second moment is missing", "alternating_adam", _variant(root=lambda v: v + EPS)),
        Mistake("the second moment averages g², not |g|", "alternating_adam", _variant(square=False)),
        Mistake("the step goes up the gradient: θ falls by the step", "alternating_adam", _variant(sign=1.0)),
    ),
)
