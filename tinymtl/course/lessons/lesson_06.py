"""Checks of lesson 6: MGDA-UB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.course.lessons.checks import Check, numbers, results_on, same
from tinymtl.hull import min_norm


class _Trunk:
    """A linear trunk Z = X W that counts how often it runs backwards."""

    def __init__(self, inputs: Array):
        self.inputs = inputs
        self.passes = 0

    def backward(self, seed: Any) -> Array:
        seed = np.asarray(seed, dtype=np.float64)
        if seed.ndim != 2 or len(seed) != len(self.inputs):
            rows = len(self.inputs)
            raise ValueError(
                f"trunk_backward takes one gradient at Z, a row for each of {rows} samples, not {seed.shape}"
            )
        self.passes += 1
        return self.inputs.T @ seed


def _cases() -> list[tuple[Array, Array]]:
    """(inputs of the trunk, gradients at Z): one that cancels over the batch, then random ones."""
    rng = np.random.default_rng(6)
    cancelling = np.array([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]])
    cases = [(np.array([[1.0, 2.0], [0.0, 1.0]]), cancelling)]
    for tasks, rows, width in ((2, 3, 4), (3, 5, 2), (5, 4, 3)):
        cases.append((rng.normal(size=(rows, 3)), rng.normal(size=(tasks, rows, width))))
    return cases


def _judged(answer: Any) -> Any:
    """For each case: α, v, and how often the trunk ran backwards."""

    def run(inputs: Array, at_z: Array) -> dict[str, Any]:
        trunk = _Trunk(inputs)
        alpha, v = answer(at_z, trunk.backward)
        return {"alpha": alpha, "v": v, "passes": trunk.passes}

    return results_on(_cases())(run if callable(answer) else answer)


def _right(at_z: Array, trunk_backward: Callable[[Array], Array]) -> tuple[Array, Array]:
    rows = at_z.reshape(len(at_z), -1)
    alpha = min_norm(gram=rows @ rows.T).weights
    return alpha, trunk_backward(np.tensordot(alpha, at_z, axes=1))


def _averaged_first(at_z: Array, trunk_backward: Callable[[Array], Array]) -> tuple[Array, Array]:
    alpha = min_norm(at_z.mean(axis=1)).weights
    return alpha, trunk_backward(np.tensordot(alpha, at_z, axes=1))


def _pass_per_task(at_z: Array, trunk_backward: Callable[[Array], Array]) -> tuple[Array, Array]:
    alpha, _ = _right(at_z, lambda seed: seed)
    return alpha, sum(a * trunk_backward(g) for a, g in zip(alpha, at_z, strict=True))


def _full(at_z: Array, trunk_backward: Callable[[Array], Array]) -> tuple[Array, Array]:
    rows = np.stack([trunk_backward(g).ravel() for g in at_z])
    alpha = min_norm(rows).weights
    return alpha, (alpha @ rows).reshape(-1, at_z.shape[-1])


def _uniform(at_z: Array, trunk_backward: Callable[[Array], Array]) -> tuple[Array, Array]:
    alpha, _ = _right(at_z, lambda seed: seed)
    return alpha, trunk_backward(at_z.mean(axis=0))


def _not_through_the_trunk(at_z: Array, trunk_backward: Callable[[Array], Array]) -> tuple[Array, Array]:
    return _right(at_z, lambda seed: seed)


def _look(found: Any) -> str:
    expected = _judged(_right)
    for name, hint in (
        ("alpha", "α is wrong: each task's gradient is one row of N·d numbers, and the Gram matrix is rows · rowsᵀ"),
        ("passes", "the trunk does not run backwards exactly once"),
        ("v", "v is wrong: it is what trunk_backward returns for Σ αₖ ∇_Z Lₖ"),
    ):
        if not same([case[name] for case in found], [case[name] for case in expected]):
            return hint
    return ""


CHECKS: dict[str, Check] = {
    "06.two_samples": numbers(
        (0.5, 0.9),
        praise="½ at Z, where both gradients have one length, and 9/10 on θ, where the second is three times as long",
        look="at Z both squared lengths are 1; on θ they are 1 and 9; both pairs are orthogonal",
        mistakes={
            "½ is right at Z; on θ the second gradient is (0, 3), three times as long as the first": (0.5, 0.5),
            "½ is right at Z; on θ you have task 2's weight: the short gradient gets the large weight": (0.5, 0.1),
            "½ is right at Z; for θ use the squared lengths: α is proportional to 1/‖g‖², not to 1/‖g‖": (0.5, 0.75),
        },
    ),
    "06.ub_direction": Check(
        lambda found: same(found, _judged(_right)),
        praise="the whole batch stacked, α from its Gram matrix, and one pass through the trunk",
        look=_look,
        mistakes={
            "α comes from gradients averaged over the batch: what two samples want cancels before it is heard": (
                _averaged_first
            ),
            "α and v are right, but the trunk runs backwards once per task: weigh the gradients first": _pass_per_task,
            "this is MGDA: α from the gradients on θ, which takes a pass through the trunk for each task": _full,
            "α is right, but v is the average of the tasks: weigh them with α": _uniform,
            "α is right, but v is still a gradient at Z: send it through the trunk": _not_through_the_trunk,
        },
        judged=_judged,
    ),
    "06.theorem": numbers(
        (3, -1),
        praise="g₂·v = −1: a small step along −v raises the second loss",
        look="gₖ = Jᵀ ∇_Z Lₖ and v = Jᵀ(½ ∇_Z L₁ + ½ ∇_Z L₂), three vectors of two numbers",
        mistakes={
            "these are the inner products at Z; send the gradients and their mean through Jᵀ first": (1, 1),
            "you multiplied by J: gradients travel back through its transpose": (7, 3),
            "check the sign of g₂ = Jᵀ(1, −1)": (3, 1),
        },
    ),
}
