"""MGDA-UB by hand: gradients at the representation, weights over the whole batch, one pass through the trunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Remote, Reply
from tinymtl.course.marking import all_close
from tinymtl.hull import min_norm

Rng = np.random.Generator
Array = np.ndarray[Any, Any]


# Gradients at Z, for linear heads and half the mean squared error


def z_gradients(Z: Array, heads: Array, targets: Array) -> Array:
    """∇_Z Lₖ = (Z Vₖ − Yₖ) Vₖᵀ / N for every task, (K, N, d)."""
    residuals = (Z @ heads - targets) / len(Z)
    return residuals @ heads.swapaxes(1, 2)


def _linear_heads(sizes: tuple[tuple[int, int, int, int], ...]) -> Callable[[Rng], list[Case]]:
    """Cases of (tasks, samples, width, outputs)."""
    return lambda rng: [
        Case(
            "z_gradients",
            (rng.normal(size=(n, d)), rng.normal(size=(tasks, d, c)), rng.normal(size=(tasks, n, c))),
        )
        for tasks, n, d, c in sizes
    ]


Z_GRADIENTS = Question(
    "z_gradients",
    "Gradients at the representation",
    "an array of shape (K, N, d)",
    (
        Property("two tasks", 2, _linear_heads(((2, 4, 3, 2), (2, 3, 3, 3), (2, 5, 4, 1)))),
        Property(
            "any number of tasks, samples and outputs", 2, _linear_heads(((1, 3, 2, 2), (3, 1, 4, 2), (5, 6, 2, 3)))
        ),
    ),
    {"z_gradients": z_gradients},
    (
        Mistake(
            "1/N is missing: the loss is a mean over the samples",
            "z_gradients",
            lambda Z, V, Y: z_gradients(Z, V, Y) * len(Z),
        ),
        Mistake(
            "the mean is taken over samples and outputs; the loss here divides by N alone",
            "z_gradients",
            lambda Z, V, Y: z_gradients(Z, V, Y) / V.shape[2],
        ),
        Mistake("the factor ½ of the loss is lost", "z_gradients", lambda Z, V, Y: 2 * z_gradients(Z, V, Y)),
        Mistake("the sign is turned: prediction minus target", "z_gradients", lambda Z, V, Y: -z_gradients(Z, V, Y)),
        Mistake(
            "the samples are added up: one gradient per sample is asked for",
            "z_gradients",
            lambda Z, V, Y: z_gradients(Z, V, Y).sum(axis=1),
        ),
        Mistake(
            "these are averages over the batch: one gradient per sample is asked for",
            "z_gradients",
            lambda Z, V, Y: z_gradients(Z, V, Y).mean(axis=1),
        ),
    ),
)


# Weights over the whole batch


def ub_weights(gradients: Array) -> Array:
    """The min-norm weights of the tasks' gradients, each flattened over samples and width, (K,)."""
    return min_norm(gradients.reshape(len(gradients), -1)).weights


def _generic(rng: Rng) -> list[Case]:
    cases = [Case("ub_weights", (rng.normal(size=(2, n, d)),)) for n, d in ((3, 2), (1, 4), (5, 3))]
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


def _averaged_first(gradients: Array) -> Array:
    return min_norm(gradients.mean(axis=1)).weights


def _per_sample(gradients: Array) -> Array:
    return np.mean([min_norm(gradients[:, n]).weights for n in range(gradients.shape[1])], axis=0)


UB_WEIGHTS = Question(
    "ub_weights",
    "Weights over the whole batch",
    "an array of two weights, shape (2,)",
    (
        Property("random gradients, both tasks counting or one", 2, _generic),
        Property("gradients that cancel over the batch", 2, _cancelling),
    ),
    {"ub_weights": ub_weights},
    (
        Mistake(
            "the gradients are averaged over the batch first: stack the samples into one long vector per task",
            "ub_weights",
            _averaged_first,
        ),
        Mistake(
            "the weights are solved for each sample and then averaged: there is one problem for the whole batch",
            "ub_weights",
            _per_sample,
        ),
        Mistake("the two weights are exchanged", "ub_weights", lambda g: ub_weights(g)[::-1]),
        Mistake("equal weights: that is the averaged loss", "ub_weights", lambda g: np.array([0.5, 0.5])),
    ),
)


# One pass through the trunk, which stays with the grader


def trunk_gradient(gradients: Array, weights: Array, trunk_backward: Callable[[Array], Array]) -> Array:
    """The trunk's gradient for Σ αₖ ∇_Z Lₖ, from a single backward pass."""
    return trunk_backward(np.tensordot(weights, gradients, axes=1))


def _trunks(rng: Rng) -> list[Case]:
    """Z = X W with X known to the grader alone: the pass back is seed ↦ Xᵀ seed, and the grader counts it."""
    cases = []
    for tasks, n, width, inputs in ((2, 3, 2, 4), (3, 4, 3, 2), (5, 2, 4, 3)):
        X = rng.normal(size=(n, inputs))
        weights = rng.uniform(0.1, 1.0, size=tasks)

        def backward(seed: Any, X: Array = X, shape: tuple[int, int] = (n, width)) -> Array:
            seed = np.asarray(seed, dtype=np.float64)
            if seed.shape != shape:
                raise ValueError("trunk_backward takes one array of the shape of Z, (N, d)")
            return X.T @ seed

        cases.append(
            Case("trunk_gradient", (rng.normal(size=(tasks, n, width)), weights / weights.sum(), Remote(backward)))
        )
    return cases


def _single_pass(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    return all_close(cases, replies, expected) and all(reply.calls == 1 for reply in replies)


def _pass_per_task(gradients: Array, weights: Array, trunk_backward: Callable[[Array], Array]) -> Array:
    return sum(weight * trunk_backward(gradient) for weight, gradient in zip(weights, gradients, strict=True))


ONE_PASS = Question(
    "one_pass",
    "One pass through the trunk",
    "an array, as trunk_backward gives it back",
    (
        Property("the right gradient, with however many passes", 1, _trunks),
        Property("the right gradient, with a single pass", 2, _trunks, _single_pass),
    ),
    {"trunk_gradient": trunk_gradient},
    (
        Mistake(
            "right, but with one trunk pass per task: weight and add the gradients at Z first, then go back once",
            "trunk_gradient",
            _pass_per_task,
        ),
        Mistake(
            "the weights are not used",
            "trunk_gradient",
            lambda g, w, back: back(g.sum(axis=0)),
        ),
        Mistake(
            "the gradients are averaged: use the weights", "trunk_gradient", lambda g, w, back: back(g.mean(axis=0))
        ),
        Mistake(
            "the weighted sum is divided by K as well: the weights already sum to one",
            "trunk_gradient",
            lambda g, w, back: trunk_gradient(g, w, back) / len(w),
        ),
    ),
)
