"""Alternating steps with Adam: moments that are shared, or kept per task. Lesson 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.autodiff.tensor import Tensor, tensor
from tinymtl.course.question import Case, Mistake, Part, Question, Rng, function, variables
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
    root: Callable[[float], float] = lambda v: v**0.5 + EPS,
    square: bool = True,
    sign: float = -1.0,
    memory: Callable[[bool], bool] = lambda per_task: per_task,
    turn: Callable[[int, int, int], int] = lambda i, tasks, steps: i % tasks,
    betas: tuple[float, float] = (BETA1, BETA2),
    weigh: bool = True,
    shown: str = "theta",
    start: int = 0,
) -> Callable[[list[float], float, int, bool], list[float]]:
    """Adam with one thing changed."""

    def model(gradients: list[float], lr: float, steps: int, per_task: bool) -> list[float]:
        separate = memory(per_task)
        m, v, t = ([0.0] * len(gradients) for _ in range(3))
        beta1, beta2 = betas
        theta, path = 0.0, []
        for i in range(steps):
            task = turn(i, len(gradients), steps)
            k, g = task if separate else 0, gradients[task]
            m[k] = beta1 * m[k] + (1 - beta1 if weigh else 1) * g
            v[k] = beta2 * v[k] + (1 - beta2 if weigh else 1) * (g * g if square else abs(g))
            t[k] += 1
            n = {"own": t[k], "all": i + 1, "round": i // len(gradients) + 1}[count] + start
            mean = m[k] / (1 - beta1**n) if correction in ("both", "mean") else m[k]
            spread = v[k] / (1 - beta2**n) if correction in ("both", "spread") else v[k]
            step = lr * mean / root(spread) if n else 0.0
            theta += sign * step
            path.append(theta if shown == "theta" else sign * step)
        return path

    return model


def _case(rng: Rng, tasks: int, steps: int, per_task: bool) -> Case:
    sizes = rng.permutation(np.geomspace(0.5, 80.0, tasks)) * rng.uniform(0.8, 1.25, size=tasks)
    signs = rng.choice([-1.0, 1.0], size=tasks)
    return Case("alternating_adam", ((sizes * signs).tolist(), float(rng.uniform(0.05, 0.2)), steps, per_task))


_ADAM_MISTAKES: dict[str, list[Any]] = {
    "the bias correction is missing": [_variant(correction="none")],
    "the bias correction of v is missing": [_variant(correction="mean")],
    "the bias correction of m is missing": [_variant(correction="spread")],
    "with a memory per task, every task also counts its own steps for the bias correction": [_variant(count="all")],
    "the memory that all share counts every sub-step, not every round": [_variant(count="round")],
    "the count is one behind, or one ahead: t is 1 in the first sub-step of a memory": [_variant(start=1)],
    "per_task is not looked at: the memory is always shared": [_variant(memory=lambda per_task: False)],
    "these are the numbers of a memory for each task, or of one that remembers nothing, where it should be shared": [
        _variant(memory=lambda per_task: True)
    ],
    "per_task is read the wrong way round": [_variant(memory=lambda per_task: not per_task)],
    "the root of the second moment is missing": [_variant(root=lambda v: v + EPS)],
    "the second moment averages g², not |g|": [_variant(square=False), _variant(square=False, root=lambda v: v + EPS)],
    "the step goes up the gradient: θ falls by the step": [_variant(sign=1.0)],
    "the tasks do not take turns: sub-step i is task i % K's": [
        _variant(turn=lambda i, tasks, steps: min(i * tasks // steps, tasks - 1)),
        _variant(turn=lambda i, tasks, steps: 0),
        _variant(turn=lambda i, tasks, steps: tasks - 1 - i % tasks),
        _variant(turn=lambda i, tasks, steps: (i + 1) % tasks),
    ],
    "the two β are exchanged": [_variant(betas=(BETA2, BETA1))],
    "both moments use one β": [_variant(betas=(BETA1, BETA1)), _variant(betas=(BETA2, BETA2))],
    "the factors 1 − β are missing in the averages": [_variant(weigh=False), _variant(weigh=False, correction="none")],
    "these are the steps; θ itself is asked for, the steps added up": [_variant(shown="step")],
    "this is plain gradient descent, without moments": [
        lambda gradients, lr, steps, per_task: -lr * np.cumsum([gradients[i % len(gradients)] for i in range(steps)])
    ],
    "θ starts at 0, and the list has it only *after* each sub-step": [
        lambda gradients, lr, steps, per_task: [0.0, *_variant()(gradients, lr, steps, per_task)[:-1]]
    ],
}

MOMENTS = Question(
    "moments",
    "Adam's six numbers",
    "a list of numbers, one per sub-step",
    (
        Part("two tasks, one shared memory", lambda rng: [_case(rng, 2, 6, False) for _ in range(3)], 2),
        Part("two tasks, a memory per task", lambda rng: [_case(rng, 2, 6, True) for _ in range(3)], 2),
        Part(
            "three and four tasks, longer runs, either memory",
            lambda rng: [_case(rng, tasks, 11, per_task) for tasks in (3, 4) for per_task in (False, True)],
            1,
        ),
    ),
    {"alternating_adam": alternating_adam},
    tuple(Mistake(hint, "alternating_adam", model) for hint, models in _ADAM_MISTAKES.items() for model in models),
)


# ------------------------------------------------------------ lesson 7

_SECOND_TURN = variables(
    "07.second_turn",
    {
        "fraction": "((0.9 * 10 + 0.1 * (-1)) / 0.19) / ((0.999 * 10 + 0.001 * 1) / 0.001999) ** (1 / 2)",
        "theta": "-0.1 - 0.1 * fraction",
    },
    {
        "fraction": {
            "that is task 2 with a memory of its own; the shared one holds m = 10 and v = 10 from task 1": -1,
            "the bias corrections are missing: divide m by 0.19 and v by 0.001999": 2.8157,
            "these are the corrections of turn 1 (0.1 and 0.001): the shared count is at t = 2": 0.8904,
            "the root is missing: divide by √(v/0.001999)": 0.009372,
            "task 2's gradient is −1: m = 0.9·10 − 0.1": 0.6775,
            "the correction of v is missing: divide v by 0.001999 before the root": 14.8196,
            "the correction of m is missing: divide m by 0.19": 0.12589,
            "m is 0.9·10 and v 0.999·10 here: task 2's own gradient is missing": 0.67005,
        },
        "theta": {
            "the fraction is right; θ falls by η times it": "-0.1 + 0.1 * fraction",
            "θ was at −0.1 before this turn, not at 0": "-0.1 * fraction",
            "the learning rate is missing: θ falls by η times the fraction": "-0.1 - fraction",
            "the step goes down from −0.1; this is from +0.1": "0.1 - 0.1 * fraction",
        },
    },
    tolerance=2e-3,
    hints=(
        "which numbers does the shared memory hold after turn 1, and how much does task 2 change of them?",
        "first m = 0.9·10 + 0.1·(−1) and v = 0.999·10 + 0.001·1, then the two corrections, then the root",
        "(8.9/0.19) / √(9.991/0.001999), and θ = −0.1 − 0.1 times that",
    ),
    praise="task 2 wants θ to rise, and in its own turn θ falls by two thirds of η",
)

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


_MEMORIES = function(
    "07.memories",
    "alternate",
    _on_a_run(_alternate()),
    [Case("alternate", (run,), shown=f"{run}, {SWEEPS} sweeps") for run in _RUNS],
    f"one point for every turn, {SWEEPS} sweeps of K turns",
    {
        hint: [_on_a_run(model) for model in models]
        for hint, models in {
            "all tasks share one memory: make one for each, before the loop": [_alternate(memories="one")],
            "new memories remember nothing: make one for each task, before all loops": [
                _alternate(memories="anew"),
                _alternate(memories="per sweep"),
            ],
            "a gradient is older than the move before it: call gradient(theta.data) in the task's own turn": [
                _alternate(stale=True)
            ],
            "all your points are one array: theta.data changes in place, so append theta.data.copy()": [
                _alternate(copied=False)
            ],
            "the tasks do not take turns: within one sweep every task has one turn": [
                _alternate(orders=lambda tasks: [[task] * SWEEPS for task in range(tasks)])
            ],
            "the tasks have their turns in the wrong order: that of gradient_of is asked for": [
                _alternate(orders=lambda tasks: [list(range(tasks))[::-1]] * SWEEPS)
            ],
            "there is one point per sweep; one after every turn is asked for": [_alternate(kept="sweeps")],
            "the start is in the list as well; only the points *after* a turn are asked for": [
                _alternate(kept="start too")
            ],
            "these are the points before each turn; those after it are asked for": [_alternate(kept="before")],
        }.items()
    },
    hints=(
        "go through two turns with a pencil: which memory is used, and at which θ is the gradient taken?",
        "make K memories before the loops; in a turn take the gradient at the present θ, update with the task's memory",
        "for every sweep, for gradient, memory in zip(…): rule.update([theta], [gradient(theta.data)], memory)",
    ),
    praise="every task has its own moments and its own count, made once and kept, and sees the θ of its turn",
    adapt=_on_a_run,
)

LESSONS = (_SECOND_TURN, _MEMORIES)
