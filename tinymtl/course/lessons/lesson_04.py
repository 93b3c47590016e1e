"""Checks of lesson 4: what the average hides."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.course.lessons.checks import Check, function, numbers


def _raised(g1: Array, g2: Array) -> list[int]:
    mean = (g1 + g2) / 2
    return [k for k, g in ((1, g1), (2, g2)) if mean @ g < 0]


def _by_the_cosine(g1: Array, g2: Array) -> list[int]:
    return [1, 2] if g1 @ g2 < 0 else []


def _the_other(g1: Array, g2: Array) -> list[int]:
    return [3 - k for k in _raised(g1, g2)]


def _lowered(g1: Array, g2: Array) -> list[int]:
    mean = (g1 + g2) / 2
    return [k for k, g in ((1, g1), (2, g2)) if mean @ g > 0]


def _vectors(*rows: tuple[float, ...]) -> tuple[Array, ...]:
    return tuple(np.array(row, dtype=np.float64) for row in rows)


CHECKS: dict[str, Check] = {
    "04.minimum": numbers(
        99 / 101,
        praise="99/101, almost where task 1 wants it",
        look="differentiate both losses with respect to θ, add, and solve for θ",
        mistakes={
            "the middle would be right for losses of one scale: here the first slope is 100 times the second": 0,
            "close, but task 2 pulls as well: the slope of its loss at θ = 1 is not 0": 1,
            "the sign: the task with the large scale wins": -99 / 101,
        },
    ),
    "04.weight": numbers(
        1 / 101,
        praise="1/101 for the task whose loss is 100 times as steep",
        look="at θ = 0 both slopes have to cancel: 200 w = 2 (1 − w)",
        mistakes={
            "almost: the other weight is 1 − w, not 1": 1 / 100,
            "this is the weight of task 2": 100 / 101,
        },
    ),
    "04.gradients": numbers(
        (-0.5, 2.25, 13.5, 0.25),
        praise="g₁ = (−½, 9/4) and g₂ = (27/2, ¼)",
        look="each component is its curvature times the distance from the centre",
        mistakes={
            "the centres are exchanged: L₁ is smallest at (1, 0)": (1.5, 2.25, -4.5, 0.25),
            "the curvatures are exchanged: L₁ is steep in the second component": (-4.5, 0.25, 1.5, 2.25),
            "you left out the curvatures": (-0.5, 0.25, 1.5, 0.25),
            "the ½ in front of the losses cancels with the 2 of the square": (-0.25, 1.125, 6.75, 0.125),
        },
    ),
    "04.descent": numbers(
        -7 / 16,
        praise="negative: to first order L₁ rises by 7/16 η",
        look="add the two gradients, halve, and take the inner product with g₁",
        mistakes={
            "this is the product with the sum of the gradients: halve it": -7 / 8,
            "this is g₁·g₂ alone: the mean has g₁ in it as well": -99 / 16,
            "this is half of g₁·g₂: the mean has g₁ in it as well": -99 / 32,
            "this is the product with g₂, and that loss falls": (13 / 2) * (27 / 2) + (5 / 4) / 4,
            "the sign: the first components of the mean and of g₁ have opposite signs": 7 / 16,
        },
    ),
    "04.raised": function(
        _raised,
        [
            _vectors((-0.5, 2.25), (13.5, 0.25)),  # the lesson's point
            _vectors((2, 2), (0, -1)),
            _vectors((1, 0), (-0.6, 0.8)),  # obtuse, of one length: nobody is hurt
            _vectors((1, 0), (-3, 0)),
            _vectors((3, 1, 0), (0, 1, 4)),
            _vectors((0, 5), (1, -1)),
        ],
        praise="a loss rises where its gradient has a negative product with the mean",
        look="a loss changes by −η times the product of its gradient with ḡ",
        mistakes={
            "this is conflict, g₁·g₂ < 0: it takes more than that to raise a loss": _by_the_cosine,
            "this names the other task: L₁ rises where ḡ·g₁ is negative": _the_other,
            "these are the losses that fall: the step goes along −ḡ": _lowered,
        },
    ),
}
