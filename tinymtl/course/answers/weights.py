"""The min-norm point: weights for two tasks and for K, the test for stationarity, and numbers by hand. Lesson 5."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from tinymtl.course.marking import close, described
from tinymtl.course.marking import numbers as array_of
from tinymtl.course.question import WRONG, Case, Mistake, Part, Question, Reply, Rng, function, variables
from tinymtl.hull import frank_wolfe, min_norm, two_point_weights
from tinymtl.ties import CLOSE, first_largest

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
    return g / np.linalg.norm(g)


def _share(one: Any, other: Any) -> float:
    return float(one / (one + other))


TWO_TASK_MISTAKES: dict[str, list[Callable[[Array, Array], Any]]] = {
    "this is the weight of g2": [
        lambda a, b: 1 - two_task_weight(a, b),
        lambda a, b: 1 - _unclipped(a, b),
    ],
    "the weight is not limited to 0 … 1": [_unclipped],
    "the weight is one half: so it is for the averaged loss, and for gradients that are normalised first": [
        lambda a, b: 0.5,
        lambda a, b: two_task_weight(_unit(a), _unit(b)),
    ],
    "the numerator has g1 where g2 belongs: (g2 − g1)·g2": [
        lambda a, b: _clip(a @ (b - a) / ((b - a) @ (b - a))),
        lambda a, b: a @ (b - a) / ((b - a) @ (b - a)),
    ],
    "the sign of the numerator is turned: it is (g2 − g1)·g2": [
        lambda a, b: _clip(-_unclipped(a, b)),
        lambda a, b: -_unclipped(a, b),
        lambda a, b: abs(_unclipped(a, b)),
    ],
    "the denominator is ‖g1 − g2‖, squared": [
        lambda a, b: _clip((b - a) @ b / np.linalg.norm(b - a)),
        lambda a, b: (b - a) @ b / np.linalg.norm(b - a),
    ],
    "the denominator is ‖g1 − g2‖², not ‖g1‖² + ‖g2‖²": [
        lambda a, b: _clip((b - a) @ b / (a @ a + b @ b)),
        lambda a, b: (b - a) @ b / (a @ a + b @ b),
    ],
    "the denominator is ‖g1 − g2‖², not ‖g1 + g2‖²": [
        lambda a, b: _clip((b - a) @ b / ((a + b) @ (a + b))),
        lambda a, b: (b - a) @ b / ((a + b) @ (a + b)),
    ],
    "this is right for orthogonal gradients only: the angle counts as well": [
        lambda a, b: _share(b @ b, a @ a),
    ],
    "the weight falls with the length, but squared, and the angle counts": [
        lambda a, b: _share(np.linalg.norm(b), np.linalg.norm(a))
    ],
    "the long gradient gets the large weight; v would be shorter the other way round": [
        lambda a, b: _share(a @ a, b @ b),
        lambda a, b: _share(np.linalg.norm(a), np.linalg.norm(b)),
    ],
    "this is the shorter gradient alone: most of the time the segment comes nearer in between": [
        lambda a, b: float(a @ a <= b @ b),
        lambda a, b: float(a @ a < b @ b),
    ],
    "only right where both tasks count; 0 and 1 are exchanged where one is enough": [
        lambda a, b: (lambda w: w if 0 < w < 1 else 1 - w)(two_task_weight(a, b)),
    ],
    "a weight below 0 is cut to 0, but one above 1 is let through": [lambda a, b: max(_unclipped(a, b), 0.0)],
    "a weight above 1 is cut to 1, but one below 0 is let through": [lambda a, b: min(_unclipped(a, b), 1.0)],
    "a weight outside 0 … 1 is replaced by one half; the nearer end is asked for": [
        lambda a, b: (lambda w: w if 0 <= w <= 1 else 0.5)(_unclipped(a, b))
    ],
    "the absolute value does not limit a weight: below 0 the answer is 0": [
        lambda a, b: min(abs(_unclipped(a, b)), 1.0)
    ],
    "the cosine alone does not say where the nearest point is: the lengths count": [
        lambda a, b: float(_unit(a) @ _unit(b)),
        lambda a, b: _clip(_unit(a) @ _unit(b)),
    ],
    "this is the squared length of v, not the weight": [
        lambda a, b: (lambda w: float((w * a + (1 - w) * b) @ (w * a + (1 - w) * b)))(two_task_weight(a, b))
    ],
}


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


def _one_is_asked_for(case: Case, reply: Reply, right: Reply) -> str:
    if close(reply.value, right.value):
        return ""
    weight = array_of(reply.value)
    if weight is None or weight.size != 1:
        return f"two_task_weight gives back {described(reply.value)}; asked for: one number, the weight of g1"
    return "every weight gives the same v here; the question asks for 1" if np.isfinite(weight).all() else WRONG


TWO_TASKS = Question(
    "two_tasks",
    "The weight of two tasks",
    "one number, the weight of g1",
    (
        Part("both tasks count", _between, 3),
        Part("one task alone is the answer, whichever it is", _clamped, 2),
        Part("equal gradients", _equal, 1, problem=_one_is_asked_for),
    ),
    {"two_task_weight": two_task_weight},
    tuple(Mistake(hint, "two_task_weight", model) for hint, models in TWO_TASK_MISTAKES.items() for model in models),
)

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
        return "near, but not there: a gap is left. An iteration takes thousands of rounds; can you solve exactly?"
    if alpha.max() > 1 - CLOSE and alpha @ gram.diagonal() <= (1 + CLOSE) * gram.diagonal().min():
        return "the shortest gradient alone is a corner of the hull; most of the time the hull comes nearer"
    return WRONG


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
    """One gradient is a long sum of the others: it counts for nothing."""
    rest = _orthogonal(rng, tasks - 1)
    return np.vstack([rest, rng.uniform(1.5, 3, size=tasks - 1) @ rest])


def _idle(rng: Rng) -> list[Case]:
    """Tasks that count for nothing, among them one that is dropped too early when negative weights are dropped."""
    while True:
        gradients = rng.normal(size=(4, 4)) * rng.uniform(1, 4, size=(4, 1))
        gram = gradients @ gradients.T
        if all(weights_problem(dropped(gram, each), gram, 1e-2) for each in (False, True)):
            return [*_grams(_one_too_many, (3, 4, 5))(rng), Case("min_norm_weights", (gram,))]


def _dependent(rng: Rng, tasks: int) -> Array:
    """Equal, doubled and opposite gradients: G is singular, and twice the answer is the vector zero."""
    rest = _orthogonal(rng, tasks - 1)
    kind = tasks % 3
    return np.vstack([rest, rest[:1] if kind == 0 else 2 * rest[:1] if kind == 1 else -1.7 * rest[:1]])


def _ill_scaled(rng: Rng, tasks: int) -> Array:
    return _pulling_apart(rng, tasks) * np.logspace(0, 3, tasks)[:, None]


def _raw(gram: Array) -> Array:
    return np.linalg.pinv(gram) @ np.ones(len(gram))


def _unclamped(gram: Array) -> Array:
    return _raw(gram) / _raw(gram).sum()


def _by_clipping(gram: Array) -> Array:
    alpha = np.clip(_unclamped(gram), 0, None)
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


K_TASK_MISTAKES: dict[str, list[Callable[[Array], Any]]] = {
    "equal weights: that is the averaged loss": [lambda gram: np.full(len(gram), 1 / len(gram))],
    "negative weights are let through: such a set of tasks is not the right one": [_unclamped],
    "the weights do not add up to 1": [
        _raw,
        lambda gram: 1 / gram.diagonal(),
        lambda gram: np.clip(_raw(gram), 0, None),
    ],
    "setting negative weights to 0 and rescaling is not enough: without that task the others' best weights "
    "are different ones": [_by_clipping, lambda gram: np.abs(_unclamped(gram)) / np.abs(_unclamped(gram)).sum()],
    "a task that was dropped may have to come back: look at (Gα)ₖ of the dropped ones": [
        lambda gram: dropped(gram, False),
        lambda gram: dropped(gram, True),
    ],
    "only the lengths are used, 1/‖gₖ‖², which is right for orthogonal gradients: the angles count too": [
        _by_length(-1)
    ],
    "the weights are 1/‖gₖ‖ scaled to sum to 1: the lengths count squared, and the angles count": [_by_length(-0.5)],
    "weights grow with the gradient's length: the short gradient counts most": [
        _by_length(1),
        _by_length(0.5),
        _softmax(1, False),
        _softmax(1, True),
    ],
    "a softmax of the lengths is no solution of the min-norm problem": [_softmax(-1, False), _softmax(-1, True)],
    "the longest gradient alone is a corner of the hull, and the farthest one": [
        lambda gram: np.eye(len(gram))[first_largest(gram.diagonal())]
    ],
    "this is the best pair of tasks: more than two may count": [_best_pair],
    "this is the first set of tasks whose weights are positive: several are, compare their ‖v‖²": [
        lambda gram: _first_support(gram, range(1, len(gram) + 1)),
        lambda gram: _first_support(gram, range(len(gram), 0, -1)),
        lambda gram: _first_support(gram, range(2, len(gram) + 1)),
    ],
    "Frank-Wolfe, stopped after 100 rounds: it is still far from the certificate that the question asks for": [
        lambda gram: frank_wolfe(gram, tolerance=0.0, max_iterations=100).weights
    ],
    "min_norm took the Gram matrix for the gradients: write min_norm(gram=…)": [lambda gram: min_norm(gram).weights],
    "these are the products g_k·v of the averaged gradient, not weights": [
        lambda gram: gram.sum(axis=1) / gram.sum(),
        lambda gram: gram.mean(axis=1),
    ],
}

K_TASKS = Question(
    "k_tasks",
    "The weights of K tasks",
    "an array of shape (K,)",
    (
        Part("orthogonal gradients of different lengths", _grams(_orthogonal, (3, 4, 5)), 1, problem=_certified),
        Part("all tasks count", _grams(_pulling_apart, (3, 4, 6)), 2, problem=_certified),
        Part("a task that counts for nothing", _idle, 2, problem=_certified),
        Part("equal, collinear and opposite gradients", _grams(_dependent, (3, 4, 5)), 1, problem=_certified),
        Part("lengths from 1 to 1000", _grams(_ill_scaled, (4, 6)), 1, problem=_certified),
    ),
    {"min_norm_weights": lambda gram: min_norm(gram=gram).weights},
    tuple(Mistake(hint, "min_norm_weights", model) for hint, models in K_TASK_MISTAKES.items() for model in models),
)

# ------------------------------------------------------------ stationarity

Norm = Callable[[Array], float]


def is_stationary(gradients: Array, weights: Array, tolerance: float) -> bool:
    """Whether ‖Σ αₖ gₖ‖ ≤ tolerance · maxₖ ‖gₖ‖."""
    return bool(np.linalg.norm(weights @ gradients) <= tolerance * np.linalg.norm(gradients, axis=1).max())


def _compared(size: Norm, of: Norm = lambda v: float(np.linalg.norm(v))) -> Callable[[Array, Array, float], bool]:
    """The test with something else for maxₖ ‖gₖ‖, or for the length of v."""
    return lambda g, w, tolerance: bool(of(w @ g) <= tolerance * size(g))


def _longest(g: Array) -> float:
    return float(np.linalg.norm(g, axis=1).max())


_RELATIVE: dict[str, Any] = {
    "the tolerance is relative to the shortest gradient, not to the longest": _compared(
        lambda g: float(np.linalg.norm(g, axis=1).min())
    ),
    "the tolerance is relative to the mean length: the longest gradient is asked for": _compared(
        lambda g: float(np.linalg.norm(g, axis=1).mean())
    ),
    "the tolerance is relative to the sum of the lengths: the longest gradient is asked for": _compared(
        lambda g: float(np.linalg.norm(g, axis=1).sum())
    ),
    "np.linalg.norm of the whole array is one number for all gradients together: take the rows' (axis=1), then the "
    "longest": _compared(lambda g: float(np.linalg.norm(g))),
    "np.linalg.norm(…, 2) of the whole array is its largest singular value: take the rows' lengths (axis=1)": _compared(
        lambda g: float(np.linalg.norm(g, 2))
    ),
    "the largest entry is no length: take ‖g_k‖ of every row": _compared(lambda g: float(np.abs(g).max())),
    "these are the lengths of the columns (axis 0): a gradient is a row": _compared(
        lambda g: float(np.linalg.norm(g, axis=0).max())
    ),
    "the tolerance is relative to the first gradient: the longest is asked for": _compared(
        lambda g: float(np.linalg.norm(g[0]))
    ),
    "the largest entry of v is compared: its length ‖v‖ is asked for": _compared(
        _longest, of=lambda v: float(np.abs(v).max())
    ),
    "the absolute values of v are added up: its length ‖v‖ is asked for": _compared(
        _longest, of=lambda v: float(np.abs(v).sum())
    ),
    "the tolerance is relative to the weighted mean of the lengths: the longest gradient is asked for": (
        lambda g, w, tolerance: bool(np.linalg.norm(w @ g) <= tolerance * (w @ np.linalg.norm(g, axis=1)))
    ),
    "the verdicts are the wrong way round": lambda g, w, t: not is_stationary(g, w, t),
}
_ABSOLUTE = "the tolerance is compared with ‖v‖ itself: measure the losses in other units and the verdict changes"


def _stationarity(scales: tuple[float, ...]) -> Callable[[Rng], list[Case]]:
    """Gradients, weights and a tolerance around which the verdict turns; `scales` multiply all gradients.

    A third of the verdicts is decided by a few per cent, and no two rules of `_RELATIVE` agree in all cases.
    """

    def one(rng: Rng, scale: float, factor: float) -> Case:
        weights = rng.uniform(0.1, 1.0, size=3)
        weights /= weights.sum()
        gradients = rng.normal(size=(3, 4))
        gradients *= rng.uniform(0.6, 1.0, size=(3, 1)) / np.linalg.norm(gradients, axis=1, keepdims=True)
        ratio = 10 ** rng.uniform(-5, -2)
        v = rng.normal(size=4)
        v *= ratio / np.linalg.norm(v)
        gradients[2] = (v - weights[:2] @ gradients[:2]) / weights[2]
        gradients /= _longest(gradients)  # in this unit the length of v itself may be compared
        tolerance = factor * float(np.linalg.norm(weights @ gradients)) / _longest(gradients)
        return Case("is_stationary", (gradients * scale, weights, tolerance))

    def draw(rng: Rng) -> list[Case]:
        while True:
            factors = [(1 + rng.uniform(0.02, 0.1)) ** sign for sign in (-1, 1) for _ in range(5)]
            factors += [float(np.exp(rng.uniform(-1.2, 1.2))) for _ in range(20)]
            cases = [one(rng, float(rng.choice(scales)), factor) for factor in rng.permutation(factors).tolist()]
            verdicts = {
                tuple(rule(*case.arguments) for case in cases)  # type: ignore[misc]
                for rule in (is_stationary, *_RELATIVE.values())
            }
            if len(verdicts) == 1 + len(_RELATIVE):
                return cases

    return draw


STATIONARY = Question(
    "stationary",
    "A test for stationarity",
    "True or False",
    (
        Part("gradients of length about 1", _stationarity((1.0,)), 1),
        Part("the same verdict whatever the unit of the losses", _stationarity((1e-8, 1e-3, 1e8)), 2),
    ),
    {"is_stationary": is_stationary},
    (
        Mistake(_ABSOLUTE, "is_stationary", lambda g, w, tolerance: bool(np.linalg.norm(w @ g) <= tolerance)),
        Mistake(_ABSOLUTE, "is_stationary", lambda g, w, tolerance: bool((np.abs(w @ g) <= tolerance).all())),
        Mistake(_ABSOLUTE, "is_stationary", lambda g, w, tolerance: bool((w @ g) @ (w @ g) <= tolerance)),
        Mistake(
            "every verdict is False, as when v is computed without the weights, or compared with 0 exactly",
            "is_stationary",
            lambda g, w, tolerance: False,
        ),
        Mistake(
            "every verdict is True, as when squared lengths are compared with a tolerance that is for lengths",
            "is_stationary",
            lambda g, w, tolerance: True,
        ),
        Mistake("np.allclose has a tolerance of its own", "is_stationary", lambda g, w, t: bool(np.allclose(w @ g, 0))),
        *(Mistake(hint, "is_stationary", rule) for hint, rule in _RELATIVE.items()),
    ),
)

# ------------------------------------------------------------ the worksheet: its numbers are in the notebook

WORKSHEET = variables(
    "worksheet",
    {
        "answer_a": "16 / 64",
        "answer_b": "(6 * answer_a - 2 * (1 - answer_a)) ** 2 + 2 ** 2",
        "answer_c": 1,
        "answer_d": "(16 / 21, 4 / 21, 1 / 21)",
        "answer_e": "-0.3 * answer_b",
    },
    {
        "answer_a": {
            "this is the weight of g2": 3 / 4,
            "equal weights would be the averaged loss": 1 / 2,
            "this is right for orthogonal gradients only": [1 / 6, 5 / 6],
            "the denominator is ‖g1 − g2‖², not ‖g1‖² + ‖g2‖²": 16 / 48,
            "the denominator is ‖g1 − g2‖, squared": [16 / 8, 1],
            "this is the numerator alone: divide it by ‖g1 − g2‖²": 16,
            "the numerator has g1 where g2 belongs: (g2 − g1)·g2": -48 / 64,
            "a sign: g2 − g1 points from g1 to g2": -1 / 4,
        },
        "answer_b": {
            "this is the length: its square is asked for": "((6 * answer_a - 2 * (1 - answer_a)) ** 2 + 4) ** 0.5",
            "this is the squared length of the average": 8,
            "this is one of the two gradients alone: v is shorter": [40],
            "this is the squared length, squared again": 16,
        },
        "answer_c": {
            "the short gradient alone is nearest to the origin": 0,
            "equal weights would be the averaged loss": 1 / 2,
            "without the limit the formula leaves the segment": 2,
            "the gradients are not orthogonal": [4 / 5, 1 / 5],
            "the gradients have one direction: every other point of the segment is farther away": [2 / 3, 1 / 3],
        },
        "answer_d": {
            "the weights go with 1/‖g‖², not with 1/‖g‖": (4 / 7, 2 / 7, 1 / 7),
            "the short gradient has the large weight": [(1 / 21, 4 / 21, 16 / 21), (1 / 7, 2 / 7, 4 / 7)],
            "these are in the right proportion: divide them by their sum": [(16, 4, 1), (1, 1 / 4, 1 / 16)],
            "equal weights would be the averaged loss": (1 / 3, 1 / 3, 1 / 3),
            "the shortest alone is a corner; the triangle comes nearer in between": (1, 0, 0),
        },
        "answer_e": {
            "the losses fall, so the change is negative": "0.3 * answer_b",
            "this is −0.3·‖v‖: a gradient times v is ‖v‖²": "-0.3 * answer_b ** 0.5",
            "the step's 0.3 is missing": ["-answer_b", "answer_b"],
            "to first order the step stands once in it, not squared": "-0.09 * answer_b",
        },
    },
    tolerance=1e-6,
    names={
        "answer_a": "a: the weight of g1",
        "answer_b": "b: the squared length of v",
        "answer_c": "c: the weight of g1 when g2 is twice g1",
        "answer_d": "d: three orthogonal gradients",
        "answer_e": "e: the predicted change of each loss",
    },
    title="The worksheet",
)

# ------------------------------------------------------------ lesson 5

_ALPHA = variables(
    "05.alpha",
    {"alpha": "((0 - 2) * 0 + (-1 - 2) * (-1)) / (2 ** 2 + 3 ** 2)"},
    {
        "alpha": {
            "this is the weight of g₂: which of the two did you differentiate for?": 10 / 13,
            "this is the plain average: it is not perpendicular to the segment": 1 / 2,
            "a sign: g₂ − g₁ points from g₁ to g₂": [-3 / 13, -10 / 13],
            "the squared length below is that of g₁ − g₂, not the sum of both squared lengths": 3 / 9,
            "1/‖g₁‖² to 1/‖g₂‖² is right for orthogonal gradients only": 1 / 9,
            "this grows with the length of g₁: the short gradient gets the large weight": 8 / 9,
            "the length below the fraction stands squared": 3 / 13**0.5,
            "this would be g₂ alone: the segment comes nearer to the origin": 0,
            "this would be g₁ alone: the segment comes nearer to the origin": 1,
            "this is the numerator alone: divide it by ‖g₁ − g₂‖²": 3,
        }
    },
    hints=(
        "the nearest point of a segment: where does the vector from the origin stand on it?",
        "differentiate ‖g₂ + α (g₁ − g₂)‖² with respect to α, set it to 0, and solve for α",
        "α = (g₂ − g₁)·g₂ / ‖g₁ − g₂‖², with g₁ − g₂ = (2, 3)",
    ),
    praise="3/13, as (g₂ − g₁)·g₂ = 3 and ‖g₁ − g₂‖² = 13",
)

_V = variables(
    "05.v",
    {"v_by_hand": "(2 * alpha, 2 * alpha - (1 - alpha))"},
    {
        "v_by_hand": {
            "the weights are exchanged: the first is that of g₁": "(2 * (1 - alpha), 2 * (1 - alpha) - alpha)",
            "g₂ has the weight 1 − α": "(2 * alpha, 2 * alpha - 1)",
            "this is the plain average of the two gradients": (1, 0.5),
            "this is −v, the step: asked for is v": "(-2 * alpha, -2 * alpha + (1 - alpha))",
            "divide by 13": (6, -4),
            "a sign: g₂ = (0, −1) pulls the second component down": "(2 * alpha, 2 * alpha + (1 - alpha))",
            "this is the part of g₁ alone: add that of g₂": "(2 * alpha, 2 * alpha)",
            "this is the part of g₂ alone: add that of g₁": "(0, -(1 - alpha))",
            "g₁ has a weight in both components": "(2 * alpha, -(1 - alpha))",
        }
    },
    after=_ALPHA,
    hints=(
        "v is a mixture of the two gradients: with which weights?",
        "α times the components of g₁, plus 1 − α times those of g₂",
        "v = (2α + 0, 2α − (1 − α))",
    ),
    praise="v = (6, −4)/13, perpendicular to g₁ − g₂ = (2, 3)",
)

_SQUARED_NORM = variables(
    "05.squared_norm",
    {"squared_norm": "v_by_hand[0] ** 2 + v_by_hand[1] ** 2"},
    {
        "squared_norm": {
            "this is the length: its square was asked for": "(v_by_hand[0] ** 2 + v_by_hand[1] ** 2) ** 0.5",
            "52/169 can be shortened, but not to this: divide both by 13": 4 / 169,
            "one of the squares has been subtracted: a square is never negative": [20 / 169, -20 / 169],
            "these are the components added up: square them first": 2 / 13,
            "13 stands squared below both: 52/169": [52 / 13, 52],
        }
    },
    after=_V,
    hints=(
        "Pythagoras, without the root",
        "square both components of v and add",
        "(6/13)² + (4/13)²",
    ),
    praise="4/13, and g₁·v and g₂·v are the same number",
)

_ORTHOGONAL = variables(
    "05.orthogonal",
    {"weights": "(36 / 49, 9 / 49, 4 / 49)"},
    {
        "weights": {
            "the other way round: αₖ‖gₖ‖² is the same for all, so a longer gradient needs less weight": [
                (1 / 14, 4 / 14, 9 / 14),
                (4 / 49, 9 / 49, 36 / 49),
                (4, 9, 36),
                (1 / 6, 2 / 6, 3 / 6),
            ],
            "the squared lengths count, not the lengths": (6 / 11, 3 / 11, 2 / 11),
            "these are in the right proportion: divide them by their sum": [(36, 9, 4), (1, 1 / 4, 1 / 9)],
            "the squared lengths count, not the lengths; and the weights have to add up to 1": (1, 1 / 2, 1 / 3),
            "equal weights make the three products 1/3, 4/3 and 3": (1 / 3, 1 / 3, 1 / 3),
        }
    },
    hints=(
        "if the three products are equal, which gradient needs the most weight?",
        "αₖ‖gₖ‖² is the same for all three, and the weights add up to 1",
        "1 : 1/4 : 1/9, divided by their sum",
    ),
    praise="in proportion to 1/‖gₖ‖²: the shortest gradient gets the most",
)


def _drawn(lengths: tuple[float, ...], seed: int) -> Array:
    g = np.random.default_rng(seed).standard_normal((len(lengths), 8))
    g *= np.array(lengths)[:, None] / np.linalg.norm(g, axis=1, keepdims=True)
    return g @ g.T


_SOLVER = function(
    "05.solver",
    "solve",
    lambda G: min_norm(gram=G).weights,
    [
        (_gram((2, 2), (0, -1)),),
        (np.diag([1.0, 4.0, 9.0]),),
        (_gram((1, 0), (3, 1)),),  # the first alone
        (_gram((2, 0, 0), (0, 2, 0), (1.5, 1.5, 0.1)),),  # the third gets nothing
        (_gram((1, 0, 0), (2, 0, -1), (-1, -1, 3)),),  # (6, 0, 1)/7: two weights are negative at first, one comes back
        (_gram((0, -1, 0), (2, 0, -1), (-1, -2, 0)),),  # (5, 1, 0)/6
        (_gram((-2, 0, 0), (0, 0, 1), (3, -1, 3)),),  # (1, 4, 0)/5: so does one that was the most negative
        (_gram((-4, 1, 1), (6, 1, 1)),),
        (_drawn((1, 1, 1, 1, 1), seed=3),),
        (_drawn((1, 5, 30, 200), seed=4),),
    ],
    "one weight for each task",
    {hint: models for hint, models in K_TASK_MISTAKES.items() if "100 rounds" not in hint},
    problem=_certified,
    hints=(
        "compute (Gα)ₖ for your α: no entry may lie below αᵀGα",
        "for every set of tasks that might be the positive ones, solve for their weights; keep the best set that works",
        "for a set S solve G_SS y = 1 and divide y by its sum; of all S with y > 0 take the α with the least αᵀGα",
    ),
    praise="every α is on the simplex and its gap is zero up to rounding: nobody can do better",
)

LESSONS = (_ALPHA, _V, _SQUARED_NORM, _ORTHOGONAL, _SOLVER)
