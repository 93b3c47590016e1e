"""MGDA-UB: gradients at the representation, weights over the whole batch, one pass through the trunk. Lesson 6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.answers.weights import TWO_TASK_MISTAKES
from tinymtl.course.marking import close
from tinymtl.course.question import WRONG, Case, Mistake, Part, Question, Remote, Reply, Rng, variables
from tinymtl.hull import min_norm

Array = np.ndarray[Any, Any]
Trunk = Callable[[Array], Array]


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


_Z_MISTAKES: dict[str, list[Callable[[Array, Array, Array], Any]]] = {
    "1/N is missing: the loss is a mean over the samples": [lambda Z, V, Y: z_gradients(Z, V, Y) * len(Z)],
    "1/N is missing, and the factor ½ of the loss is lost": [lambda Z, V, Y: 2 * z_gradients(Z, V, Y) * len(Z)],
    "the mean is taken over samples and outputs; the loss here divides by N alone": [
        lambda Z, V, Y: z_gradients(Z, V, Y) / V.shape[2],
        lambda Z, V, Y: 2 * z_gradients(Z, V, Y) / V.shape[2],
    ],
    "this divides by the number of outputs: the loss divides by the number of samples": [
        lambda Z, V, Y: z_gradients(Z, V, Y) * len(Z) / V.shape[2]
    ],
    "this divides by the width d: the loss divides by the number of samples": [
        lambda Z, V, Y: z_gradients(Z, V, Y) * len(Z) / Z.shape[1]
    ],
    "this divides by the number of tasks: every task has its own loss, and its own gradient": [
        lambda Z, V, Y: z_gradients(Z, V, Y) / len(V),
        lambda Z, V, Y: z_gradients(Z, V, Y) * len(Z) / len(V),
    ],
    "the factor ½ of the loss is lost": [lambda Z, V, Y: 2 * z_gradients(Z, V, Y)],
    "the factor ½ is in the loss to cancel the 2 of the square: it does not stand in the gradient": [
        lambda Z, V, Y: z_gradients(Z, V, Y) / 2,
        lambda Z, V, Y: z_gradients(Z, V, Y) * len(Z) / 2,
    ],
    "the sign is turned: prediction minus target": [
        lambda Z, V, Y: -z_gradients(Z, V, Y),
        lambda Z, V, Y: -z_gradients(Z, V, Y) * len(Z),
    ],
    "the targets are left out: the gradient comes from the residual, prediction minus target": [
        lambda Z, V, Y: z_gradients(Z, V, 0 * Y),
        lambda Z, V, Y: z_gradients(Z, V, 0 * Y) * len(Z),
    ],
    "the samples are added up: one gradient per sample is asked for": [
        lambda Z, V, Y: z_gradients(Z, V, Y).sum(axis=1),
        lambda Z, V, Y: z_gradients(Z, V, Y).sum(axis=1) * len(Z),
    ],
    "these are averages over the batch: one gradient per sample is asked for": [
        lambda Z, V, Y: z_gradients(Z, V, Y).mean(axis=1)
    ],
    "the tasks are added up, or averaged: one array for each task is asked for": [
        lambda Z, V, Y: z_gradients(Z, V, Y).sum(axis=0),
        lambda Z, V, Y: z_gradients(Z, V, Y).mean(axis=0),
    ],
    "these are the residuals: going back through the head multiplies them by its transpose": [
        lambda Z, V, Y: (Z @ V - Y) / len(Z),
        lambda Z, V, Y: Z @ V - Y,
    ],
    "these are the gradients of the heads: asked for are those at Z": [
        lambda Z, V, Y: np.stack([Z.T @ (Z @ one - y) / len(Z) for one, y in zip(V, Y, strict=True)]),
        lambda Z, V, Y: np.stack([Z.T @ (Z @ one - y) for one, y in zip(V, Y, strict=True)]),
    ],
    "the first task's head, or its targets, are used for every task": [
        lambda Z, V, Y: z_gradients(Z, np.stack([V[0]] * len(V)), Y),
        lambda Z, V, Y: z_gradients(Z, V, np.stack([Y[0]] * len(Y))),
        lambda Z, V, Y: np.stack([z_gradients(Z, V, Y)[0]] * len(V)),
    ],
    "this is the gradient of the norm, not of its square: it is divided by the norm": [
        lambda Z, V, Y: z_gradients(Z, V, Y) / np.linalg.norm(Z @ V - Y, axis=(1, 2), keepdims=True)
    ],
    "only the sign of the residuals is used: that is the gradient of the absolute error": [
        lambda Z, V, Y: np.sign(Z @ V - Y) @ V.swapaxes(1, 2) / len(Z)
    ],
}

Z_GRADIENTS = Question(
    "z_gradients",
    "Gradients at the representation",
    "an array of shape (K, N, d)",
    (
        Part("two tasks", _linear_heads(((2, 4, 3, 2), (2, 3, 3, 3), (2, 5, 4, 1))), 2, exact=True),
        Part(
            "any number of tasks, samples and outputs",
            _linear_heads(((1, 3, 2, 2), (3, 1, 4, 2), (5, 6, 2, 3))),
            2,
            exact=True,
        ),
    ),
    {"z_gradients": z_gradients},
    tuple(Mistake(hint, "z_gradients", model) for hint, models in _Z_MISTAKES.items() for model in models),
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


def _per_sample(gradients: Array) -> Array:
    return np.array([min_norm(gradients[:, n]).weights for n in range(gradients.shape[1])])


def _of_rows(first: Callable[[Array], Array], weight: Callable[[Array, Array], float]) -> Callable[[Array], Array]:
    """Two weights from a formula for the first, after something was done to the gradients."""

    def model(gradients: Array) -> Array:
        w = float(weight(*first(gradients)))
        return np.array([w, 1 - w])

    return model


def _flat(gradients: Array) -> Array:
    return gradients.reshape(2, -1)


def _first_weight(a: Array, b: Array) -> float:
    return float(min_norm(np.stack([a, b])).weights[0])


_UB_MISTAKES: dict[str, list[Callable[[Array], Any]]] = {
    "α comes from gradients averaged, or added up, over the batch: what two samples want cancels before it is heard": [
        _of_rows(lambda g: g.mean(axis=1), _first_weight)
    ],
    "α comes from gradients averaged, or added up, over the width: an inner product sums over all numbers": [
        _of_rows(lambda g: g.mean(axis=2), _first_weight)
    ],
    "the weights are solved for each sample and then averaged: there is one problem for the whole batch": [
        lambda g: _per_sample(g).mean(axis=0)
    ],
    "the weights are solved for each sample: there is one problem for the whole batch": [_per_sample],
    "α comes from the first sample alone": [_of_rows(lambda g: g[:, 0], _first_weight)],
    "α comes from the last sample alone": [_of_rows(lambda g: g[:, -1], _first_weight)],
    "the two weights are exchanged": [lambda g: ub_weights(g)[::-1]],
}
_OF_ONE = ("this is the squared length of v, not the weight", "this is the weight of g2")  # where two are asked for

UB_WEIGHTS = Question(
    "ub_weights",
    "Weights over the whole batch",
    "an array of two weights, shape (2,)",
    (
        Part("random gradients, both tasks counting or one", _generic, 2),
        Part("gradients that cancel over the batch", _cancelling, 2),
    ),
    {"ub_weights": ub_weights},
    (
        *(Mistake(hint, "ub_weights", model) for hint, models in _UB_MISTAKES.items() for model in models),
        *(
            Mistake(hint, "ub_weights", _of_rows(_flat, model))
            for hint, models in TWO_TASK_MISTAKES.items()
            if hint not in _OF_ONE
            for model in models
        ),
    ),
)


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


_PASS_MISTAKES: dict[str, list[Callable[[Array, Array, Trunk], Any]]] = {
    "right, but with one trunk pass per task: weigh and add the gradients at Z first, then go back once": [
        lambda g, w, back: sum(weight * back(one) for weight, one in zip(w, g, strict=True))
    ],
    "the weights are not used: the tasks are just added up": [
        lambda g, w, back: back(g.sum(axis=0)),
        lambda g, w, back: sum(back(one) for one in g),
    ],
    "the gradients are averaged: use the weights": [
        lambda g, w, back: back(g.mean(axis=0)),
        lambda g, w, back: sum(back(one) for one in g) / len(g),
    ],
    "the weighted sum is divided by K as well: the weights already sum to one": [
        lambda g, w, back: trunk_gradient(g, w, back) / len(w),
        lambda g, w, back: sum(weight * back(one) for weight, one in zip(w, g, strict=True)) / len(w),
    ],
    "the weighted sum is divided by N as well: the mean over the samples is in the gradients already": [
        lambda g, w, back: trunk_gradient(g, w, back) / g.shape[1]
    ],
    "the weights are squared": [
        lambda g, w, back: trunk_gradient(g, w * w, back),
        lambda g, w, back: sum(weight * back(weight * one) for weight, one in zip(w, g, strict=True)),
    ],
    "the weights are in the wrong order": [lambda g, w, back: trunk_gradient(g, w[::-1], back)],
    "only the task with the largest weight is used": [
        lambda g, w, back: back(g[w.argmax()]),
        lambda g, w, back: back(w.max() * g[w.argmax()]),
    ],
    "only the first task's gradient is used": [
        lambda g, w, back: back(g[0]),
        lambda g, w, back: back(w[0] * g[0]),
    ],
    "only the last task's gradient is used: a loop overwrites the ones before it": [
        lambda g, w, back: back(g[-1]),
        lambda g, w, back: back(w[-1] * g[-1]),
        lambda g, w, back: [back(weight * one) for weight, one in zip(w, g, strict=True)][-1],
    ],
    "a list of gradients, one for each task, comes back: weigh them and add them up": [
        lambda g, w, back: [back(one) for one in g],
        lambda g, w, back: [back(weight * one) for weight, one in zip(w, g, strict=True)],
    ],
    "this is the gradient at Z: send it back through the trunk": [
        lambda g, w, back: np.tensordot(w, g, axes=1),
        lambda g, w, back: g.mean(axis=0),
        lambda g, w, back: g.sum(axis=0),
    ],
}

ONE_PASS = Question(
    "one_pass",
    "One pass through the trunk",
    "an array, as trunk_backward gives it back",
    (
        Part("the right gradient, with however many passes", _trunks, 1),
        Part("the right gradient, with a single pass", _trunks, 2, problem=_single_pass),
    ),
    {"trunk_gradient": trunk_gradient},
    tuple(Mistake(hint, "trunk_gradient", model) for hint, models in _PASS_MISTAKES.items() for model in models),
)


# ------------------------------------------------------------ lesson 6

_TWO_SAMPLES = variables(
    "06.two_samples",
    {"alpha_ub": "1 / 2", "alpha_full": "9 / 10"},
    {
        "alpha_ub": {
            "at Z both gradients have length 1 and are orthogonal: nothing tells them apart": [
                0.9,
                0.1,
                1,
                0,
                0.75,
                0.25,
            ]
        },
        "alpha_full": {
            "½ is right at Z; on θ the second gradient is (0, 3), three times as long as the first": 0.5,
            "this is task 2's weight: the short gradient gets the large weight": 0.1,
            "use the squared lengths: α is proportional to 1/‖g‖², not to 1/‖g‖": 0.75,
            "this is task 2's, and with 1/‖g‖ in place of 1/‖g‖²": 0.25,
            "the first gradient alone would be v = (1, 0); a little of the second makes it shorter": 1,
            "these are 1/9 to 1: they have to be divided by their sum": 1 / 9,
        },
    },
    hints=(
        "how long are the two gradients at Z, and how long on θ? Which one gets the large weight?",
        "both pairs are orthogonal, so α is proportional to 1/‖g‖², with lengths 1 and 1 at Z, 1 and 3 on θ",
        "at Z 1 : 1; on θ 1 : 1/9, divided by the sum",
    ),
    praise="½ at Z, where both gradients have one length, and 9/10 on θ, where the second is three times as long",
)


def _ub_cases() -> list[Case]:
    """One batch that cancels, then random ones."""
    rng = np.random.default_rng(6)
    cancelling = np.array([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]])
    cases = [Case("ub_direction", (cancelling, _trunk(np.array([[1.0, 2.0], [0.0, 1.0]]), (2, 2))))]
    for tasks, rows, width in ((2, 3, 4), (3, 5, 2), (5, 4, 3)):
        trunk = _trunk(rng.normal(size=(rows, 3)), (rows, width))
        cases.append(Case("ub_direction", (rng.normal(size=(tasks, rows, width)), trunk)))
    return cases


_UB_CASES = _ub_cases()


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


_ALPHAS: dict[str, Callable[[Array, Trunk], Any]] = {
    "it comes from gradients averaged, or added up, over the batch: what two samples want cancels before it is heard": (
        lambda g, back: min_norm(g.mean(axis=1)).weights
    ),
    "min_norm took the Gram matrix for the gradients: write min_norm(gram=…)": (
        lambda g, back: min_norm(_stacked_gram(g)).weights
    ),
    "this is MGDA's, from the gradients on θ, which take a pass through the trunk for each task": (
        lambda g, back: min_norm(np.stack([back(one).ravel() for one in g])).weights
    ),
    "equal weights: that is the averaged loss": lambda g, back: np.full(len(g), 1 / len(g)),
    "the weights are in the wrong order": lambda g, back: ub_weights(g)[::-1],
}
_DIRECTIONS: dict[str, Callable[[Array, Array, Trunk], Any]] = {
    "this is the average of the tasks: weigh them with α": lambda g, w, back: back(g.mean(axis=0)),
    "this is the sum of the tasks: weigh them with α": lambda g, w, back: back(g.sum(axis=0)),
    "this is still a gradient at Z: send it back through the trunk": lambda g, w, back: np.tensordot(w, g, axes=1),
    "this is −v, the step; asked for is v itself": lambda g, w, back: -trunk_gradient(g, w, back),
    "this is divided by K: the weights already sum to one": lambda g, w, back: trunk_gradient(g, w, back) / len(g),
    "this has a row for each task: add them up, weighted, before they go back": lambda g, w, back: np.stack(
        [weight * back(one) for weight, one in zip(w, g, strict=True)]
    ),
}

_UB_DIRECTION = Question(
    "06.ub_direction",
    "",
    "two arrays, (α, v): the K weights, and what trunk_backward gives back",
    (
        Part("α", lambda rng: _UB_CASES, item=0),
        Part("v", lambda rng: _UB_CASES, item=1),
        Part("the number of passes", lambda rng: _UB_CASES, problem=_one_pass_only),
    ),
    {"ub_direction": _pair(lambda g, back: ub_weights(g), trunk_gradient)},
    (
        *(Mistake(hint, "ub_direction", _pair(lambda g, back: ub_weights(g), v)) for hint, v in _DIRECTIONS.items()),
        *(Mistake(hint, "ub_direction", _pair(model, trunk_gradient)) for hint, model in _ALPHAS.items()),
    ),
    hints=(
        "which numbers belong to one task? And how many vectors does the trunk have to carry back?",
        "each task's gradient is one row of N·d numbers; their Gram matrix gives α; the weighted sum goes back",
        "rows = at_z.reshape(K, -1); α from min_norm(gram=rows @ rows.T); v = trunk_backward(Σ αₖ at_z[k])",
    ),
    praise="the whole batch stacked, α from its Gram matrix, and one pass through the trunk",
)

_THEOREM = variables(
    "06.theorem",
    {"g1_v": 5, "g2_v": -1},
    {
        "g1_v": {
            "this is the inner product at Z; send the gradients and their mean through Jᵀ first": 1,
            "v is still at Z here: send the mean through Jᵀ as well": 3,
            "you multiplied by J: gradients travel back through its transpose": 8,
            "v is the mean of the two: halve their sum": 10,
            "the text asks for g₁·v; the step goes along −v": -5,
            "this is g₁·g₂: the second vector is v": -3,
            "this is ‖g₁‖²: the second vector is v": 13,
        },
        "g2_v": {
            "check the sign of g₂ = Jᵀ(1, −1). (At Z the product would be 1 too: send all three through Jᵀ)": 1,
            "you multiplied by J: gradients travel back through its transpose": 2,
            "v is the mean of the two: halve their sum": -2,
            "this is g₁·g₂: the second vector is v": -3,
        },
    },
    hints=(
        "three vectors on θ are needed: g₁, g₂ and v",
        "gₖ = Jᵀ ∇_Z Lₖ, and v = Jᵀ(½ ∇_Z L₁ + ½ ∇_Z L₂)",
        "Jᵀ(1, 1) = (3, 2) and Jᵀ(1, −1) = (−1, 0); v is half of their sum",
    ),
    praise="g₂·v = −1: a small step along −v raises the second loss",
)

LESSONS = (_TWO_SAMPLES, _UB_DIRECTION, _THEOREM)
