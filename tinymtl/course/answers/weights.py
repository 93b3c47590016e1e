"""The min-norm point: weights for two tasks and for K, the test for stationarity, and numbers by hand. Lesson 5."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.linalg import norm

from tinymtl.course.comparing import close, described
from tinymtl.course.comparing import numbers as array_of
from tinymtl.course.question import WRONG, Case, Reply, Rng
from tinymtl.course.topic import questions
from tinymtl.hull import frank_wolfe, min_norm, two_point_weights  # noqa: F401 (weights.toml uses them)
from tinymtl.ties import CLOSE, first_largest  # noqa: F401

Array = np.ndarray[Any, Any]

# ------------------------------------------------------------ two tasks


def two_task_weight(g1: Array, g2: Array) -> float:
    """The weight of g₁ at the point of the segment from g₁ to g₂ that is nearest to the origin."""
    return two_point_weights(float(g1 @ g1), float(g1 @ g2), float(g2 @ g2))[0]


def _clip(weight: Any) -> float:
    return float(np.clip(weight, 0, 1))


def _unclipped(g1: Array, g2: Array) -> float:
    return float((g2 - g1) @ g2 / ((g2 - g1) @ (g2 - g1)))


def _unit(g: Array) -> Array:
    return g / norm(g)


def _share(one: Any, other: Any) -> float:
    return float(one / (one + other))


def _between(rng: Rng) -> list[Case]:
    """Pairs that pull apart enough for both to count, of clearly different lengths."""
    cases = []
    for size in (2, 3, 5, 2, 4, 3):
        g1 = rng.normal(size=size)
        across = rng.normal(size=size)
        across -= g1 * (across @ g1) / (g1 @ g1)
        g2 = across / norm(across) * norm(g1) * rng.uniform(1.5, 3.0) - rng.uniform(0.0, 0.8) * g1
        cases.append(Case("two_task_weight", (g1, g2) if rng.random() < 0.5 else (g2, g1)))
    return cases


def _clamped(rng: Rng) -> list[Case]:
    """Pairs of nearly one direction, where the shorter gradient alone is the answer; either may be it."""
    cases = []
    for i, size in enumerate((2, 4, 3, 5)):
        short = rng.normal(size=size)
        long = rng.uniform(2.2, 3.5) * short + 0.1 * norm(short) * rng.uniform(-1, 1, size=size)
        cases.append(Case("two_task_weight", (short, long) if i % 2 else (long, short)))
    return cases


def _equal(rng: Rng) -> list[Case]:
    """Whole numbers of a whole length: g₁·g₂ = ‖g₁‖² holds to the last bit, however a student computes it."""
    same = rng.permutation([(1, 2, 2), (2, 3, 6), (1, 4, 8), (2, 6, 9)][rng.integers(4)]) * rng.choice([-1.0, 1.0], 3)
    return [Case("two_task_weight", (same, same)), Case("two_task_weight", (2 * same, 2 * same))]


def _one_is_asked_for(case: Case, reply: Reply, right: Reply) -> str:
    if close(reply.value, right.value):
        return ""
    weight = array_of(reply.value)
    if weight is None or weight.size != 1:
        return f"two_task_weight gives back {described(reply.value)}; asked for: one number, the weight of g1"
    return "every weight gives the same v here; the question asks for 1" if np.isfinite(weight).all() else WRONG


# ------------------------------------------------------------ K tasks


def weights_problem(value: Any, gram: Array, tolerance: float = 1e-6) -> str:
    """What keeps weights from solving the min-norm problem: the simplex, or the certificate; "" if nothing does.

    αᵀGα − minₖ (Gα)ₖ ≤ tolerance · Σ αₖ Gₖₖ proves it for any G, whether or not α is the only answer.

    >>> weights_problem([36 / 49, 9 / 49, 4 / 49], np.diag([1.0, 4.0, 9.0])), weights_problem([1, 1, 1], np.eye(3))
    ('', 'the weights do not add up to 1')
    """
    alpha = array_of(value)
    if alpha is None or alpha.size != len(gram):
        return f"for {len(gram)} tasks {len(gram)} weights are asked for, not {described(value)}"
    alpha = alpha.ravel()
    if not np.isfinite(alpha).all():
        return WRONG
    if abs(alpha.sum() - 1) > 1e-6:
        return "the weights do not add up to 1"
    if alpha.min() < -1e-9:
        return "some weights are negative: they are no averages of the gradients any more"
    product = gram @ alpha
    gap, scale = alpha @ product - product.min(), alpha @ gram.diagonal()
    if gap <= tolerance * scale:
        return ""
    if gap <= 1e-2 * scale:
        return "near, but not there: a gap is left. Are they rounded, or from an iteration? Can you solve exactly?"
    if alpha.max() > 1 - CLOSE and alpha @ gram.diagonal() <= (1 + CLOSE) * gram.diagonal().min():
        return "the shortest gradient alone is a corner of the hull; most of the time the hull comes nearer"
    return WRONG


def min_norm_weights(gram: Array) -> Array:
    """The min-norm weights for a Gram matrix, (K,)."""
    return min_norm(gram=gram).weights


def _certified(case: Case, reply: Reply, right: Reply) -> str:
    return weights_problem(reply.value, case.arguments[0])  # type: ignore[index]


def _gram(*rows: tuple[float, ...]) -> Array:
    g = np.array(rows, dtype=np.float64)
    return g @ g.T


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
    """One gradient is long and goes the others' way: it counts for nothing. None is a sum of the others: whether a
    singular system is found to be one is a matter of rounding."""
    *rest, across = _orthogonal(rng, tasks)
    return np.vstack([*rest, rng.uniform(1.5, 3, size=tasks - 1) @ np.array(rest) + across])


def _idle(rng: Rng) -> list[Case]:
    """Tasks that count for nothing, among them one that is dropped too early when negative weights are dropped.

    What is left then is not the first set with positive weights either, which is another mistake.
    """
    while True:
        gradients = rng.normal(size=(4, 4)) * rng.uniform(1, 4, size=(4, 1))
        gram = gradients @ gradients.T
        first, wrong = _first_support(gram, range(4, 0, -1)), [dropped(gram, each) for each in (False, True)]
        if all(weights_problem(one, gram, 1e-2) and not close(one, first, 1e-3) for one in wrong):
            return [*_grams(_one_too_many, (3, 4, 5))(rng), Case("min_norm_weights", (gram,))]


def _dependent(rng: Rng, tasks: int) -> Array:
    """Equal, doubled and opposite gradients: G is singular, and for the opposite ones v = 0.

    All numbers are powers of two, so that G is found to be singular on every processor, not now and then.
    """
    rest = np.eye(tasks - 1) * 2.0 ** rng.integers(0, 3, size=(tasks - 1, 1))
    kind = tasks % 3
    return np.vstack([rest, rest[:1] if kind == 0 else 2 * rest[:1] if kind == 1 else -2 * rest[:1]])


def _ill_scaled(rng: Rng, tasks: int) -> Array:
    return _pulling_apart(rng, tasks) * np.logspace(0, 3, tasks)[:, None]


def _raw(gram: Array) -> Array:
    return np.linalg.pinv(gram) @ np.ones(len(gram))


def _unclamped(gram: Array) -> Array:
    return _raw(gram) / _raw(gram).sum()


def _by_clipping(gram: Array, most: float | None = None) -> Array:
    alpha = np.clip(_unclamped(gram), 0, most)
    return alpha / alpha.sum()


def dropped(gram: Array, each: bool) -> Array:
    """Negative weights dropped for good and the others solved again: the most negative one each time, or all."""
    left = list(range(len(gram)))
    while True:
        raw = np.linalg.pinv(gram[np.ix_(left, left)]) @ np.ones(len(left))
        if (raw > 0).all() or not (raw > 0).any():
            weights = np.zeros(len(gram))
            weights[left] = raw / raw.sum()
            return weights
        worst = raw.argmin()
        left = (
            [task for task, x in zip(left, raw, strict=True) if x > 0] if not each else left[:worst] + left[worst + 1 :]
        )


def _first_support(gram: Array, sizes: Any) -> Array:
    """The first set of tasks whose weights come out positive, without asking whether it is the best."""
    for size in sizes:
        for chosen in combinations(range(len(gram)), size):
            raw = np.linalg.pinv(gram[np.ix_(chosen, chosen)]) @ np.ones(size)
            if (raw > 1e-12).all():
                weights = np.zeros(len(gram))
                weights[list(chosen)] = raw / raw.sum()
                return weights
    return np.full(len(gram), 1 / len(gram))


def _best_pair(gram: Array) -> Array:
    best, least = np.zeros(len(gram)), float("inf")
    for i, j in combinations(range(len(gram)), 2):
        weights = np.zeros(len(gram))
        weights[[i, j]] = two_point_weights(float(gram[i, i]), float(gram[i, j]), float(gram[j, j]))
        if weights @ gram @ weights < least:
            best, least = weights, float(weights @ gram @ weights)
    return best


def _by_length(power: float) -> Callable[[Array], Array]:
    return lambda gram: gram.diagonal() ** power / (gram.diagonal() ** power).sum()


def _softmax(sign: float, root: bool) -> Callable[[Array], Array]:
    def model(gram: Array) -> Array:
        size = gram.diagonal() ** (0.5 if root else 1.0)
        raw = np.exp(sign * (size - (sign * size).max() * sign))
        return raw / raw.sum()

    return model


# ------------------------------------------------------------ stationarity


def is_stationary(gradients: Array, weights: Array, tolerance: float) -> bool:
    """Whether ‖Σ αₖ gₖ‖ ≤ tolerance · maxₖ ‖gₖ‖."""
    return bool(norm(weights @ gradients) <= tolerance * _lengths(gradients).max())


def _lengths(gradients: Array) -> Array:
    return norm(gradients, axis=1)


_RELATIVE: list[Callable[..., Any]] = []


def _relative(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Notes a wrong rule that is relative to some length, as the right one is."""
    _RELATIVE.append(rule)
    return rule


def _stationarity(scales: tuple[float, ...]) -> Callable[[Rng], list[Case]]:
    """Gradients, weights and a tolerance around which the verdict turns; `scales` multiply all gradients.

    A third of the verdicts is decided by a few per cent, and no two rules of `_RELATIVE` agree in all cases; with
    several scales, no two mistakes at all.
    """

    def one(rng: Rng, scale: float, factor: float) -> Case:
        weights = rng.uniform(0.1, 1.0, size=3)
        weights /= weights.sum()
        gradients = rng.normal(size=(3, 4))
        gradients *= rng.uniform(0.6, 1.0, size=(3, 1)) / norm(gradients, axis=1, keepdims=True)
        ratio = 10 ** rng.uniform(-5, -2)
        v = rng.normal(size=4)
        v *= ratio / norm(v)
        gradients[2] = (v - weights[:2] @ gradients[:2]) / weights[2]
        gradients /= _lengths(gradients).max()  # in this unit the length of v itself may be compared
        tolerance = factor * float(norm(weights @ gradients)) / _lengths(gradients).max()
        return Case("is_stationary", (gradients * scale, weights, tolerance))

    def verdicts(rule: Callable[..., Any], cases: list[Case]) -> tuple[bool, ...]:
        return tuple(bool(rule(*case.arguments)) for case in cases)  # type: ignore[misc]

    def draw(rng: Rng) -> list[Case]:
        while True:
            factors = [(1 + rng.uniform(0.02, 0.1)) ** sign for sign in (-1, 1) for _ in range(5)]
            factors += [float(np.exp(rng.uniform(-1.6, 1.6))) for _ in range(20)]
            cases = [one(rng, float(rng.choice(scales)), factor) for factor in rng.permutation(factors).tolist()]
            found = {verdicts(rule, cases) for rule in (is_stationary, *_RELATIVE)}
            if len(found) < 1 + len(_RELATIVE) or not all(0 < sum(one) < len(one) for one in found):
                continue
            named = {(verdicts(one.model, cases), one.hint) for one in QUESTIONS["stationary"].mistakes}
            if len(scales) == 1 or len(dict(named)) == len(named):
                return cases

    return draw


# ------------------------------------------------------------ lesson 5


def _drawn(lengths: tuple[float, ...], seed: int) -> Array:
    g = np.random.default_rng(seed).standard_normal((len(lengths), 8))
    g *= np.array(lengths)[:, None] / norm(g, axis=1, keepdims=True)
    return g @ g.T


_SOLVED = (
    _gram((2, 2), (0, -1)),
    np.diag([1.0, 4.0, 9.0]),
    _gram((1, 0), (3, 1)),  # the first alone
    _gram((2, 0, 0), (0, 2, 0), (1.5, 1.5, 0.1)),  # the third gets nothing
    _gram((1, 0, 0), (2, 0, -1), (-1, -1, 3)),  # (6, 0, 1)/7: two weights are negative at first, one comes back
    _gram((0, -1, 0), (2, 0, -1), (-1, -2, 0)),  # (5, 1, 0)/6
    _gram((-2, 0, 0), (0, 0, 1), (3, -1, 4)),  # (1, 4, 0)/5: so does one that was the most negative
    _gram((-4, 1, 1), (6, 1, 1)),
    _drawn((1, 1, 1, 1, 1), seed=3),
    _drawn((1, 5, 30, 200), seed=4),
)


QUESTIONS = questions(__file__, globals())
