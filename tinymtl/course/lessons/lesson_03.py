"""Checks of lesson 3: two tasks, one trunk."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor, grad
from tinymtl.autodiff.tensor import tensor
from tinymtl.backend import Array
from tinymtl.course.lessons.checks import Check, Mistake, Problem, given, numbers, same


def _problems() -> list[tuple[list[Tensor], Tensor, Array | None]]:
    """(losses, parameter, the `.grad` that the parameter has before), made anew for every answer."""
    w = tensor(2.0, requires_grad=True)
    z = w * 3.0
    lesson = [z * z, 5.0 * z], w

    theta = tensor(np.array([1.0, -2.0, 0.5]), requires_grad=True)
    shared = theta * theta
    three = [shared.sum(), (shared * np.array([0.0, 1.0, 2.0])).sum(), (shared * theta).sum()], theta
    before = np.array([7.0, 7.0, 7.0])
    theta.grad = before.copy()
    return [(*lesson, None), (*three, before)]


def _judged(answer: Any) -> list[tuple[list[Any], bool]] | None:
    """For each problem the gradients, and whether `.grad` is what it was."""
    if not callable(answer):
        raise Problem(f"this answer is a function, not a {type(answer).__name__}")
    results = []
    for losses, parameter, before in _problems():
        try:
            gradients = answer(losses, parameter)
        except Exception as error:
            raise Problem(f"your function raises {type(error).__name__}: {error}") from None
        if not given(gradients):
            return None
        if not isinstance(gradients, list | tuple) or len(gradients) != len(losses):
            raise Problem(f"for {len(losses)} losses the answer is a list of {len(losses)} arrays")
        after = parameter.grad
        untouched = after is None if before is None else after is not None and same(after, before)
        results.append((list(gradients), untouched))
    return results


def _expected() -> list[list[Array]]:
    return [[grad(loss, [parameter])[0] for loss in losses] for losses, parameter, _ in _problems()]


def _gradients_are(expected: list[list[Array]], results: Any) -> bool:
    return all(same(got, wanted) for (got, _), wanted in zip(results, expected, strict=True))


def _running_sums() -> list[list[Array]]:
    return [list(np.cumsum(each, axis=0)) for each in _expected()]


def _sums() -> list[list[Array]]:
    return [[np.sum(each, axis=0)] * len(each) for each in _expected()]


# Named wrong answers, as a student would write them


def _clears_first(losses: list[Tensor], parameter: Tensor) -> list[Any]:
    gradients: list[Any] = []
    for loss in losses:
        parameter.grad = None
        loss.backward()
        gradients.append(parameter.grad)
    return gradients


def _never_clears(losses: list[Tensor], parameter: Tensor) -> list[Any]:
    gradients: list[Any] = []
    parameter.grad = None
    for loss in losses:
        loss.backward()
        gradients.append(parameter.grad)
    return gradients


def _of_the_sum(losses: list[Tensor], parameter: Tensor) -> list[Any]:
    return [grad(losses, [parameter])[0] for _ in losses]


PER_TASK = Check(
    lambda results: _gradients_are(_expected(), results) and all(untouched for _, untouched in results),
    praise="each loss has its own gradient, and .grad is as it was",
    look="for w = 2, z = 3w and the losses z² and 5z, what does your function return?",
    mistakes={
        "every gradient contains those before it: .grad adds up": Mistake(
            _never_clears, lambda results: _gradients_are(_running_sums(), results)
        ),
        "all of them are the gradient of the sum: each sweep starts at one loss": Mistake(
            _of_the_sum, lambda results: _gradients_are(_sums(), results)
        ),
        "the gradients are right, but parameter.grad is not what it was before": Mistake(
            _clears_first, lambda results: _gradients_are(_expected(), results)
        ),
    },
    judged=_judged,
)

CHECKS: dict[str, Check] = {
    "03.gradients": numbers(
        (2, 2, 0, -1),
        praise="the residuals are 2 and 1, times the heads",
        look="the residual of task 1 is 3 − 1, that of task 2 is −2 − (−3)",
        mistakes={
            "these are the heads alone: multiply each by its residual": (1, 1, 0, -1),
            "the sign of the second residual is wrong: −2 is above −3": (2, 2, 0, 1),
            "these point downhill: the gradient points where its loss grows": (-2, -2, 0, 1),
            "you multiplied by the predictions; the residual is prediction minus target": (3, 3, 0, 2),
        },
    ),
    "03.gram": numbers(
        (8, -2, 1),
        praise="squared lengths 8 and 1, and −2 between them",
        look="an inner product is the sum of the products of the components",
        mistakes={
            "on the diagonal stand the squared lengths, not the lengths": (8**0.5, -2, 1),
            "g₁·g₂ is negative: the second components have opposite signs": (8, 2, 1),
        },
    ),
    "03.cosine": numbers(
        -(2**-0.5),
        praise="−1/√2: the gradients stand at 135°",
        look="divide g₁·g₂ by the product of both lengths",
        mistakes={
            "you divided by the product of the squared lengths: take its root": -2 / 8,
            "this is the inner product itself: divide it by both lengths": -2,
            "the sign is lost: the gradients point away from each other": 2**-0.5,
            "this is the angle: the cosine lies between −1 and 1": 135,
        },
    ),
    "03.per_task": PER_TASK,
}
