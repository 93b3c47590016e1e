"""Checks of lesson 5: the min-norm point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.course.lessons.checks import Check, Mistake, Problem, numbers, results_on
from tinymtl.hull import frank_wolfe
from tinymtl.ties import CLOSE, first_smallest

# ------------------------------------------------------------ a solver for K tasks, judged by KKT


def _gram(*rows: tuple[float, ...]) -> Array:
    g = np.array(rows, dtype=np.float64)
    product: Array = g @ g.T
    return product


def _drawn(lengths: tuple[float, ...], seed: int) -> Array:
    g = np.random.default_rng(seed).standard_normal((len(lengths), 8))
    g *= np.array(lengths)[:, None] / np.linalg.norm(g, axis=1, keepdims=True)
    product: Array = g @ g.T
    return product


GRAMS = [
    _gram((2, 2), (0, -1)),
    np.diag([1.0, 4.0, 9.0]),
    _gram((1, 0), (3, 1)),  # the first alone
    _gram((2, 0, 0), (0, 2, 0), (1.5, 1.5, 0.1)),  # the third gets nothing
    _gram((-4, 1, 1), (6, 1, 1)),
    _drawn((1, 1, 1, 1, 1), seed=3),
    _drawn((1, 5, 30, 200), seed=4),
]
EXACT = 1e-6  # how large a gap may be, relative to ‖v‖²
NEAR = 0.3


def _weights(answer: Any) -> list[Array] | None:
    results = results_on([(G,) for G in GRAMS])(answer)
    if results is None:
        return None
    found = []
    for G, result in zip(GRAMS, results, strict=True):
        alpha = np.asarray(result, dtype=np.float64)
        if alpha.shape != (len(G),):
            raise Problem(f"for a Gram matrix of {len(G)} tasks your function returns an array of shape {alpha.shape}")
        found.append(alpha)
    return found


def _on_simplex(alpha: Array) -> bool:
    return bool(np.isfinite(alpha).all() and (alpha >= -1e-9).all() and abs(alpha.sum() - 1) < 1e-9)


def _relative_gap(G: Array, alpha: Array) -> float:
    product = G @ alpha
    squared_norm = float(alpha @ product)
    return (squared_norm - float(product.min())) / squared_norm


def _all(passes: Callable[[Array, Array], bool]) -> Callable[[Any], bool]:
    return lambda found: all(passes(G, alpha) for G, alpha in zip(GRAMS, found, strict=True))


def _interior(G: Array) -> Array:
    y = np.linalg.solve(G, np.ones(len(G)))
    weights: Array = y / y.sum()
    return weights


def _clipped(G: Array) -> Array:
    alpha = np.maximum(_interior(G), 0.0)
    weights: Array = alpha / alpha.sum()
    return weights


def _same_as(wrong: Callable[[Array], Array]) -> Callable[[Any], bool]:
    return _all(lambda G, alpha: bool(np.allclose(alpha, wrong(G), atol=1e-6)))


def _shortest(G: Array) -> Array:
    weights: Array = np.eye(len(G))[first_smallest(G.diagonal())]
    return weights


def _is_shortest(G: Array, alpha: Array) -> bool:
    """Whether α is one of the shortest gradients: of equal ones an `argmin` finds now this one, now that."""
    return bool(np.sort(alpha)[-1] > 1 - CLOSE and alpha @ G.diagonal() <= (1 + CLOSE) * G.diagonal().min())


def _by_length(G: Array) -> Array:
    weights: Array = (1 / G.diagonal()) / (1 / G.diagonal()).sum()
    return weights


SOLVER = Check(
    _all(lambda G, alpha: _on_simplex(alpha) and _relative_gap(G, alpha) <= EXACT),
    praise="every α is on the simplex and its gap is zero up to rounding: nobody can do better",
    look="compute (Gα)ₖ for your α: no entry may lie below αᵀGα",
    mistakes={
        "some weights are negative: they are no averages of the gradients any more. A task whose weight would be "
        "negative gets none, and the others are solved again": Mistake(
            _interior, lambda found: any((alpha < -1e-9).any() for alpha in found)
        ),
        "the weights do not add up to 1": Mistake(
            lambda G: 1 / G.diagonal(), lambda found: any(abs(alpha.sum() - 1) > 1e-9 for alpha in found)
        ),
        "setting negative weights to 0 and rescaling is not enough: without that task the others' best weights are "
        "different ones": Mistake(_clipped, _same_as(_clipped)),
        "this is the plain average": Mistake(
            lambda G: np.full(len(G), 1 / len(G)), _same_as(lambda G: np.full(len(G), 1 / len(G)))
        ),
        "the shortest gradient alone is a corner of the hull; most of the time the hull comes nearer": Mistake(
            _shortest, _all(_is_shortest)
        ),
        "weights in proportion to 1/‖gₖ‖² are right for orthogonal gradients only": Mistake(
            _by_length, _same_as(_by_length)
        ),
        "near, but not there: a gap is left. Frank-Wolfe takes thousands of rounds; can you solve exactly?": Mistake(
            lambda G: frank_wolfe(G, tolerance=0.0, max_iterations=1000).weights,
            _all(lambda G, alpha: _on_simplex(alpha) and _relative_gap(G, alpha) < NEAR),
        ),
    },
    judged=_weights,
)

CHECKS: dict[str, Check] = {
    "05.alpha": numbers(
        3 / 13,
        praise="3/13, as (g₂ − g₁)·g₂ = 3 and ‖g₁ − g₂‖² = 13",
        look="α = (g₂ − g₁)·g₂ / ‖g₁ − g₂‖², with g₁ − g₂ = (2, 3)",
        mistakes={
            "this is the weight of g₂: which of the two did you differentiate for?": 10 / 13,
            "this is the plain average: it is not perpendicular to the segment": 1 / 2,
            "a sign: g₂ − g₁ points from g₁ to g₂": -3 / 13,
            "the squared length below is that of g₁ − g₂, not the sum of both squared lengths": 3 / 9,
            "1/‖g₁‖² to 1/‖g₂‖² is right for orthogonal gradients only": 1 / 9,
        },
    ),
    "05.v": numbers(
        (6 / 13, -4 / 13),
        praise="v = (6, −4)/13, perpendicular to g₁ − g₂ = (2, 3)",
        look="v = α g₁ + (1 − α) g₂, component by component",
        mistakes={
            "the weights are exchanged: the first is that of g₁": (20 / 13, 17 / 13),
            "g₂ has the weight 1 − α": (6 / 13, 6 / 13 - 1),
            "this is the plain average of the two gradients": (1, 0.5),
        },
    ),
    "05.squared_norm": numbers(
        4 / 13,
        praise="4/13, and g₁·v and g₂·v are the same number",
        look="square both components of v and add",
        mistakes={
            "this is the length: its square was asked for": (4 / 13) ** 0.5,
            "52/169 can be shortened, but not to this: divide both by 13": 4 / 169,
        },
    ),
    "05.orthogonal": numbers(
        (36 / 49, 9 / 49, 4 / 49),
        praise="in proportion to 1/‖gₖ‖²: the shortest gradient gets the most",
        look="αₖ‖gₖ‖² is the same for all three, and the weights add up to 1",
        mistakes={
            "the other way round: αₖ‖gₖ‖² is the same for all, so a longer gradient needs less weight": (
                1 / 14,
                4 / 14,
                9 / 14,
            ),
            "the squared lengths count, not the lengths": (6 / 11, 3 / 11, 2 / 11),
            "these are in the right proportion: divide them by their sum": (36, 9, 4),
            "so are these in the right proportion: divide by their sum": (1, 1 / 4, 1 / 9),
            "equal weights make the three products 1/3, 4/3 and 3": (1 / 3, 1 / 3, 1 / 3),
        },
    ),
    "05.solver": SOLVER,
}
