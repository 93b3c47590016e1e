"""Min-norm weights for two tasks and for K, the test for stationarity, and the worksheet by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Reply
from tinymtl.course.marking import numbers
from tinymtl.hull import frank_wolfe, min_norm, two_point_weights

Rng = np.random.Generator
Array = np.ndarray[Any, Any]


# Two tasks


def two_task_weight(g1: Array, g2: Array) -> float:
    """The weight of g₁ at the point of the segment from g₁ to g₂ that is nearest to the origin."""
    return two_point_weights(float(g1 @ g1), float(g1 @ g2), float(g2 @ g2))[0]


def _unclipped(g1: Array, g2: Array) -> float:
    difference = g2 - g1
    return float(difference @ g2 / (difference @ difference))


def _between(rng: Rng) -> list[Case]:
    """Pairs that pull apart enough for both to count, of clearly different lengths."""
    cases = []
    for size in (2, 3, 5, 2, 4, 3):
        g1 = rng.normal(size=size)
        across = rng.normal(size=size)
        across -= g1 * (across @ g1) / (g1 @ g1)
        g2 = across / np.linalg.norm(across) * np.linalg.norm(g1) * rng.uniform(1.5, 3.0) - rng.uniform(0.0, 0.8) * g1
        cases.append(Case("two_task_weight", (g1, g2) if rng.random() < 0.5 else (g2, g1)))
    return cases


def _clamped(rng: Rng) -> list[Case]:
    """Pairs of nearly one direction, where the shorter gradient alone is the answer; either may be it."""
    cases = []
    for i, size in enumerate((2, 4, 3, 5)):
        short = rng.normal(size=size)
        long = rng.uniform(2.2, 3.5) * short + 0.1 * np.linalg.norm(short) * rng.uniform(-1, 1, size=size)
        cases.append(Case("two_task_weight", (short, long) if i % 2 else (long, short)))
    return cases


def _equal(rng: Rng) -> list[Case]:
    """Whole numbers of a whole length: g₁·g₂ = ‖g₁‖² holds to the last bit, however a student computes it."""
    same = rng.permutation([(1, 2, 2), (2, 3, 6), (1, 4, 8), (2, 6, 9)][rng.integers(4)]) * rng.choice([-1.0, 1.0], 3)
    return [Case("two_task_weight", (same, same)), Case("two_task_weight", (2 * same, 2 * same))]


TWO_TASKS = Question(
    "two_tasks",
    "The weight of two tasks",
    "one number, the weight of g1",
    (
        Property("both tasks count", 3, _between),
        Property("one task alone is the answer, whichever it is", 2, _clamped),
        Property("equal gradients", 1, _equal),
    ),
    {"two_task_weight": two_task_weight},
    (
        Mistake("this is the weight of g2", "two_task_weight", lambda a, b: 1 - two_task_weight(a, b)),
        Mistake("the weight is not limited to 0 … 1", "two_task_weight", _unclipped),
        Mistake("always one half: that is the averaged loss", "two_task_weight", lambda a, b: 0.5),
        Mistake(
            "the numerator has g1 where g2 belongs: (g2 − g1)·g2",
            "two_task_weight",
            lambda a, b: float(np.clip(a @ (b - a) / ((b - a) @ (b - a)), 0, 1)),
        ),
        Mistake(
            "the gradients are normalised first, so that their lengths no longer count",
            "two_task_weight",
            lambda a, b: two_task_weight(a / np.linalg.norm(a), b / np.linalg.norm(b)),
        ),
        Mistake(
            "only right where both tasks count; 0 and 1 are exchanged where one is enough",
            "two_task_weight",
            lambda a, b: (lambda w: w if 0 < w < 1 else 1 - w)(two_task_weight(a, b)),
        ),
    ),
)


# K tasks


def is_min_norm(weights: Any, gram: Array, tolerance: float = 1e-6) -> bool:
    """Whether weights solve the min-norm problem: on the simplex, and with a small certificate.

    αᵀGα − minₖ (Gα)ₖ ≤ tolerance · Σ αₖ Gₖₖ proves it for any G, whether or not α is the only answer.

    >>> is_min_norm([36 / 49, 9 / 49, 4 / 49], np.diag([1.0, 4.0, 9.0])), is_min_norm([1, 1, 1], np.eye(3))
    (True, False)
    """
    alpha = numbers(weights)
    if alpha is None or alpha.shape != (len(gram),) or not np.isfinite(alpha).all():
        return False
    if abs(alpha.sum() - 1) > 1e-6 or alpha.min() < -1e-9:
        return False
    gradient = gram @ alpha
    return bool(alpha @ gradient - gradient.min() <= tolerance * (alpha @ gram.diagonal()))


def _kkt(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    return all(is_min_norm(reply.value, case.arguments[0]) for case, reply in zip(cases, replies, strict=True))  # type: ignore[index]


def _grams(make: Callable[[Rng, int], Array], sizes: tuple[int, ...]) -> Callable[[Rng], list[Case]]:
    def draw(rng: Rng) -> list[Case]:
        cases = []
        for tasks in sizes:
            gradients = make(rng, tasks)
            gradients = gradients[rng.permutation(len(gradients))]
            cases.append(Case("min_norm_weights", (gradients @ gradients.T,)))
        return cases

    return draw


def _orthogonal(rng: Rng, tasks: int) -> Array:
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    return basis[:tasks] * rng.uniform(1, 4, size=(tasks, 1))


def _pulling_apart(rng: Rng, tasks: int) -> Array:
    """Gradients that lean on one another a little: all of them count."""
    return (
        _orthogonal(rng, tasks)
        - 0.15 * rng.uniform(0.5, 1, size=(tasks, 1)) * _orthogonal(rng, tasks).sum(axis=0) / tasks
    )


def _one_too_many(rng: Rng, tasks: int) -> Array:
    """One gradient is a long sum of the others: it counts for nothing."""
    rest = _orthogonal(rng, tasks - 1)
    return np.vstack([rest, rng.uniform(1.5, 3, size=tasks - 1) @ rest])


def _dependent(rng: Rng, tasks: int) -> Array:
    """Equal, doubled and opposite gradients: G is singular, and twice the answer is the vector zero."""
    rest = _orthogonal(rng, tasks - 1)
    kind = tasks % 3
    return np.vstack([rest, rest[:1] if kind == 0 else 2 * rest[:1] if kind == 1 else -1.7 * rest[:1]])


def _ill_scaled(rng: Rng, tasks: int) -> Array:
    return _pulling_apart(rng, tasks) * np.logspace(0, 3, tasks)[:, None]


def _by_clipping(gram: Array) -> Array:
    alpha = np.clip(np.linalg.solve(gram, np.ones(len(gram))), 0, None)
    return alpha / alpha.sum()


def _unclamped(gram: Array) -> Array:
    alpha = np.linalg.solve(gram, np.ones(len(gram)))
    return alpha / alpha.sum()


def _by_length(power: float) -> Callable[[Array], Array]:
    return lambda gram: gram.diagonal() ** power / (gram.diagonal() ** power).sum()


K_TASKS = Question(
    "k_tasks",
    "The weights of K tasks",
    "an array of shape (K,)",
    (
        Property("orthogonal gradients of different lengths", 1, _grams(_orthogonal, (3, 4, 5)), _kkt),
        Property("all tasks count", 2, _grams(_pulling_apart, (3, 4, 6)), _kkt),
        Property("a task that counts for nothing", 2, _grams(_one_too_many, (3, 4, 5)), _kkt),
        Property("equal, collinear and opposite gradients", 1, _grams(_dependent, (3, 4, 5)), _kkt),
        Property("lengths from 1 to 1000", 1, _grams(_ill_scaled, (4, 6)), _kkt),
    ),
    {"min_norm_weights": lambda gram: min_norm(gram=gram).weights},
    (
        Mistake("equal weights: that is the averaged loss", "min_norm_weights", lambda G: np.full(len(G), 1 / len(G))),
        Mistake("negative weights are let through", "min_norm_weights", _unclamped),
        Mistake(
            "negative weights are cut off and the rest is scaled up: without the task that falls out, "
            "the others' weights have to be solved for again",
            "min_norm_weights",
            _by_clipping,
        ),
        Mistake("only the lengths are used, not the angles between gradients", "min_norm_weights", _by_length(-1)),
        Mistake(
            "weights grow with the gradient's length: the short gradient counts most", "min_norm_weights", _by_length(1)
        ),
        Mistake(
            "the weights are 1/‖g‖ scaled to sum to one: the lengths count squared, and the angles count",
            "min_norm_weights",
            _by_length(-0.5),
        ),
        Mistake(
            "Frank-Wolfe, stopped after 100 rounds: it is still far from the certificate that the question asks for",
            "min_norm_weights",
            lambda gram: frank_wolfe(gram, tolerance=0.0, max_iterations=100).weights,
        ),
    ),
)


# Stationarity


def is_stationary(gradients: Array, weights: Array, tolerance: float) -> bool:
    """Whether ‖Σ αₖ gₖ‖ ≤ tolerance · maxₖ ‖gₖ‖."""
    return bool(np.linalg.norm(weights @ gradients) <= tolerance * np.linalg.norm(gradients, axis=1).max())


def _stationarity(scales: tuple[float, ...]) -> Callable[[Rng], list[Case]]:
    """Gradients, weights and a tolerance around which the verdict turns; `scales` multiply all gradients."""

    def draw(rng: Rng) -> list[Case]:
        cases = []
        for scale in scales:
            for ratio, tolerance in ((1e-2, 1e-3), (1e-5, 1e-3), (1e-2, 1e-1), (1e-3, 1e-5)):
                weights = rng.uniform(0.1, 1.0, size=3)
                weights /= weights.sum()
                gradients = rng.normal(size=(3, 4))
                gradients *= np.array([[1.0], [0.02], [1.0]]) / np.linalg.norm(gradients, axis=1, keepdims=True)
                v = rng.normal(size=4)
                v *= ratio * np.linalg.norm(gradients, axis=1).max() / np.linalg.norm(v)
                gradients[2] = (v - weights[:2] @ gradients[:2]) / weights[2]
                cases.append(Case("is_stationary", (gradients * scale, weights, tolerance)))
        return cases

    return draw


STATIONARY = Question(
    "stationary",
    "A test for stationarity",
    "True or False",
    (
        Property("gradients of length about 1", 1, _stationarity((1.0,))),
        Property("the same verdict whatever the unit of the losses", 2, _stationarity((1e-8, 1e-3, 1e8))),
    ),
    {"is_stationary": is_stationary},
    (
        Mistake(
            "the tolerance is compared with ‖v‖ itself: measure the losses in other units and the verdict changes",
            "is_stationary",
            lambda g, w, tolerance: bool(np.linalg.norm(w @ g) <= tolerance),
        ),
        Mistake(
            "the squared length is compared with the tolerance",
            "is_stationary",
            lambda g, w, tolerance: bool((w @ g) @ (w @ g) <= tolerance * (g * g).sum(axis=1).max()),
        ),
        Mistake(
            "the weights are not used: the averaged gradient says nothing about the hull",
            "is_stationary",
            lambda g, w, tolerance: is_stationary(g, np.full(len(g), 1 / len(g)), tolerance),
        ),
        Mistake("the verdicts are the wrong way round", "is_stationary", lambda g, w, t: not is_stationary(g, w, t)),
        Mistake(
            "the tolerance is relative to the shortest gradient, not to the longest",
            "is_stationary",
            lambda g, w, t: bool(np.linalg.norm(w @ g) <= t * np.linalg.norm(g, axis=1).min()),
        ),
    ),
)


# The worksheet: the numbers are in the notebook, the same for everybody


def _variable(name: str) -> Callable[[Rng], list[Case]]:
    return lambda rng: [Case(name)]


WORKSHEET = Question(
    "worksheet",
    "The worksheet",
    "one number each for a, b, c and e, and a list of three numbers for d",
    (
        Property("a: the weight of g1", 1, _variable("answer_a")),
        Property("b: the squared length of v", 1, _variable("answer_b")),
        Property("c: the weight of g1 when g2 is twice g1", 1, _variable("answer_c")),
        Property("d: three orthogonal gradients", 1, _variable("answer_d")),
        Property("e: the predicted change of each loss", 1, _variable("answer_e")),
    ),
    {"answer_a": 1 / 4, "answer_b": 4.0, "answer_c": 1.0, "answer_d": [16 / 21, 4 / 21, 1 / 21], "answer_e": -1.2},
    (
        Mistake("a: this is the weight of g2", "answer_a", 3 / 4),
        Mistake("a: equal weights would be the averaged loss", "answer_a", 1 / 2),
        Mistake("c: the short gradient alone is nearest to the origin", "answer_c", 0.0),
        Mistake("c: equal weights would be the averaged loss", "answer_c", 1 / 2),
        Mistake("c: without the limit the formula leaves the segment", "answer_c", 2.0),
        Mistake("d: the weights go with 1/‖g‖², not with 1/‖g‖", "answer_d", [4 / 7, 2 / 7, 1 / 7]),
        Mistake("d: the short gradient has the large weight", "answer_d", [1 / 21, 4 / 21, 16 / 21]),
        Mistake("e: the losses fall, so the change is negative", "answer_e", 1.2),
    ),
)
