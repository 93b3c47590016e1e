"""MGDA-UB: gradients at the representation, weights over the whole batch, one pass through the trunk. Lesson 6."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinymtl.course.answers import weights
from tinymtl.course.comparing import close, numbers
from tinymtl.course.question import WRONG, Case, Remote, Reply, Rng, fixed
from tinymtl.course.topic import questions
from tinymtl.hull import min_norm

Array = np.ndarray[Any, Any]
Trunk = Callable[[Array], Array]


# Gradients at Z, for linear heads and half the mean squared error


def z_gradients(Z: Array, heads: Array, targets: Array) -> Array:
    """∇_Z Lₖ = (Z Vₖ − Yₖ) Vₖᵀ / N for every task, (K, N, d)."""
    residuals = (Z @ heads - targets) / len(Z)
    return residuals @ heads.swapaxes(1, 2)


def _linear_heads(*sizes: tuple[int, int, int, int]) -> Callable[[Rng], list[Case]]:
    """Cases of (tasks, samples, width, outputs)."""
    return lambda rng: [
        Case(
            "z_gradients",
            (rng.normal(size=(n, d)), rng.normal(size=(tasks, d, c)), rng.normal(size=(tasks, n, c))),
        )
        for tasks, n, d, c in sizes
    ]


# Weights over the whole batch


def ub_weights(gradients: Array) -> Array:
    """The min-norm weights of the tasks' gradients, each flattened over samples and width, (K,)."""
    return min_norm(gradients.reshape(len(gradients), -1)).weights


def _whole_weights(case: Case, reply: Reply, right: Reply) -> str:
    """Compared with the reference's; two numbers that do not add up to 1 are no weights at all."""
    if close(reply.value, right.value):
        return ""
    given = numbers(reply.value)
    if given is None or given.size != 2 or not np.isfinite(given).all() or abs(given.sum() - 1) <= 1e-6:
        return WRONG
    return "the weights do not add up to 1"


def _generic(rng: Rng) -> list[Case]:
    cases = []
    for n, d in ((3, 2), (1, 4), (5, 3)):
        pair = rng.normal(size=(2, n, d))  # not long: a weight without a denominator is not cut to 0 or 1 then
        cases.append(Case("ub_weights", (rng.uniform(0.3, 0.7) * pair / np.linalg.norm(pair[1] - pair[0]),)))
    short = rng.normal(size=(3, 2))
    long = 2.5 * short + 0.1 * rng.normal(size=(3, 2))
    return [*cases, Case("ub_weights", (np.stack([short, long]),)), Case("ub_weights", (np.stack([long, short]),))]


def _cancelling(rng: Rng) -> list[Case]:
    """Task 1's gradients cancel over the batch; task 2's do not."""
    cases = []
    for width in (2, 3, 4):
        first, second = rng.normal(size=(2, width)) * rng.uniform(0.5, 2.0, size=(2, 1))
        cases.append(Case("ub_weights", (np.stack([[first, -first], [second, 1.1 * second]]),)))
    return cases


def _per_sample(gradients: Array) -> Array:
    return np.array([min_norm(gradients[:, n]).weights for n in range(gradients.shape[1])])


def _of_rows(weight: Callable[[Array, Array], float]) -> Callable[[Array], Array]:
    """Both weights from a formula for the first."""

    def model(gradients: Array) -> Array:
        w = float(weight(*gradients.reshape(2, -1)))
        return np.array([w, 1 - w])

    return model


# One pass through the trunk, which stays with the grader


def trunk_gradient(gradients: Array, weights: Array, trunk_backward: Trunk) -> Array:
    """The trunk's gradient for Σ αₖ ∇_Z Lₖ, from a single backward pass."""
    return trunk_backward(np.tensordot(weights, gradients, axes=1))


def _trunk(X: Array, shape: tuple[int, int]) -> Remote:
    """Z = X W with X known to the grader alone: the pass back is seed ↦ Xᵀ seed, and the grader counts it."""
    return Remote("trunk_backward", X.T, shape)


def _trunks(rng: Rng) -> list[Case]:
    cases = []
    for tasks, n, width, inputs in ((2, 3, 2, 4), (3, 4, 3, 2), (5, 2, 4, 3)):
        trunk = _trunk(rng.normal(size=(n, inputs)), (n, width))
        weights = rng.uniform(0.1, 1.0, size=tasks)
        cases.append(Case("trunk_gradient", (rng.normal(size=(tasks, n, width)), weights / weights.sum(), trunk)))
    return cases


def _single_pass(case: Case, reply: Reply, right: Reply) -> str:
    if not close(reply.value, right.value):
        return WRONG
    return "" if reply.calls == 1 else f"right, but with {reply.calls} passes through the trunk where one is enough"


# ------------------------------------------------------------ lesson 6


def _batches() -> list[Case]:
    """One batch that cancels, then random ones."""
    rng = np.random.default_rng(6)
    cancelling = np.array([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]])
    cases = [Case("ub_direction", (cancelling, _trunk(np.array([[1.0, 2.0], [0.0, 1.0]]), (2, 2))))]
    for tasks, rows, width in ((2, 3, 4), (3, 5, 2), (5, 4, 3)):
        trunk = _trunk(rng.normal(size=(rows, 3)), (rows, width))
        cases.append(Case("ub_direction", (rng.normal(size=(tasks, rows, width)), trunk)))
    return cases


_ub_cases = fixed(_batches())


def _pair(alpha: Callable[[Array, Trunk], Array], v: Callable[[Array, Array, Trunk], Any]) -> Callable[..., Any]:
    """An answer from how it gets α, and what it does with it."""

    def answer(at_z: Array, trunk_backward: Trunk) -> tuple[Array, Any]:
        weights = alpha(at_z, trunk_backward)
        return weights, v(at_z, weights, trunk_backward)

    return answer


def _stacked_gram(g: Array) -> Array:
    rows = g.reshape(len(g), -1)
    return rows @ rows.T


def _one_pass_only(case: Case, reply: Reply, right: Reply) -> str:
    if reply.calls == 1:
        return ""
    return f"the trunk runs backwards {reply.calls} times: weigh the gradients first, then go back once"


QUESTIONS = questions(__file__, globals())
QUESTIONS["ub_weights"] = replace(
    QUESTIONS["ub_weights"],
    mistakes=QUESTIONS["ub_weights"].mistakes
    + tuple(
        replace(one, name="ub_weights", model=_of_rows(one.model))
        for one in weights.QUESTIONS["two_tasks"].mistakes
        if one.hint not in ("this is the squared length of v, not the weight", "this is the weight of g2")
    ),
)
