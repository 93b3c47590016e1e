"""Two gradients by hand: lesson 3 (the Gram matrix and the cosine) and lesson 4 (what the average hides)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinymtl.course.question import function, variables

Array = np.ndarray[Any, Any]


def _as_three(answer: Any) -> Any:
    """The Gram matrix of two gradients may come as it is: a symmetric 2 × 2 array, or its four numbers."""
    try:
        matrix = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return answer
    if matrix.size != 4 or matrix.ravel()[1] != matrix.ravel()[2]:
        return answer
    return matrix.ravel()[[0, 1, 3]].tolist()


_GRADIENTS = variables(
    "03.gradients",
    {"g1": "(2, 2)", "g2": "(0, -1)"},
    {
        "g1": {
            "this is the head alone: multiply it by the residual": (1, 1),
            "this points downhill: the gradient points where its loss grows": (-2, -2),
            "you multiplied by the prediction; the residual is prediction minus target": (3, 3),
            "the ½ in front of the loss cancels with the 2 of the square": (4, 4),
            "this is the residual times z, which would be the gradient at the head": (2, 4),
            "this is the gradient of the other task: the two are exchanged": (0, -1),
        },
        "g2": {
            "this is the head alone, or the sign of the residual is wrong: −2 is above −3": (0, 1),
            "the ½ in front of the loss cancels with the 2 of the square": (0, -2),
            "you multiplied by the prediction; the residual is prediction minus target": (0, 2),
            "this is the loss times the head; the residual is 1": (0, -0.5),
            "this is the residual times z, which would be the gradient at the head": (1, 2),
            "this is the gradient of the other task: the two are exchanged": (2, 2),
        },
    },
    hints=(
        "how far is each prediction from its target, and on which side?",
        "prediction minus target is the residual; the gradient is this number times the head",
        "g₁ = (3 − 1)·(1, 1), and g₂ = (−2 − (−3))·(0, −1)",
    ),
    praise="the residuals are 2 and 1, times the heads",
)

_GRAM = variables(
    "03.gram",
    {
        "G11": "g1[0] * g1[0] + g1[1] * g1[1]",
        "G12": "g1[0] * g2[0] + g1[1] * g2[1]",
        "G22": "g2[0] * g2[0] + g2[1] * g2[1]",
    },
    {
        "G11": {
            "on the diagonal stand the squared lengths, not the lengths": 8**0.5,
            "this is g₂·g₂: G11 and G22 are exchanged": 1,
            "this is one component squared: add the squares of both": 4,
        },
        "G12": {
            "g₁·g₂ is negative: the second components have opposite signs": 2,
            "this is the cosine: the Gram matrix has the inner product itself": -(2**-0.5),
            "this is twice the inner product: it stands once in each corner": -4,
            "this is half the inner product": -1,
            "one of the two products is 2·0, which is 0; the other counts": 0,
        },
        "G22": {
            "this is g₁·g₁: G11 and G22 are exchanged": 8,
            "a squared length is never negative: (−1)·(−1) = 1": -1,
        },
    },
    hints=(
        "three inner products: each gradient with itself, and one with the other",
        "an inner product is the sum of the products of the components",
        "G₁₁ = 2·2 + 2·2, G₁₂ = 2·0 + 2·(−1), G₂₂ = 0·0 + (−1)·(−1)",
    ),
    praise="squared lengths 8 and 1, and −2 between them",
    adapt=_as_three,
    after=_GRADIENTS,
)

_COSINE = variables(
    "03.cosine",
    {"cosine": "G12 / (G11 * G22) ** (1 / 2)"},
    {
        "cosine": {
            "you divided by the product of the squared lengths: take its root": -2 / 8,
            "this is the inner product itself: divide it by both lengths": -2,
            "the sign is lost: the gradients point away from each other": 2**-0.5,
            "this is the angle in degrees: its cosine is asked for, between −1 and 1": [135, -45, 45],
            "this is the angle in radians: its cosine is asked for, between −1 and 1": 3 * math.pi / 4,
            "np.cos wants radians, and 135 are degrees": math.cos(135),
            "you divided by the sum of the lengths, or of their squares: multiply them": [-2 / 9, -2 / (1 + 8**0.5)],
            "this is −√2, upside down: −2 ** .5 has the root above, and a cosine lies between −1 and 1": -(2**0.5),
        }
    },
    hints=(
        "a cosine lies between −1 and 1; is it below 0 here?",
        "divide g₁·g₂ by the product of both lengths, that is by √(G₁₁ G₂₂)",
        "−2/√(8·1)",
    ),
    praise="−1/√2: the gradients stand at 135°",
    after=_GRAM,
)


# Lesson 4

_MINIMUM = variables(
    "04.minimum",
    {"minimum": "(200 - 2) / (200 + 2)"},
    {
        "minimum": {
            "the middle would be right for losses of one scale: here the first slope is 100 times the second": 0,
            "close, but task 2 pulls as well: the slope of its loss at θ = 1 is not 0": [1],
            "the sign: the task with the large scale wins": -99 / 101,
            "almost: the sum of the slopes is 100 (θ − 1) + 1 (θ + 1), in which θ stands 101 times": [0.99, 100 / 101],
            "upside down: θ lies between the two minima, −1 and 1": 101 / 99,
            "this is how far it is from 1": 2 / 101,
        }
    },
    tolerance=2e-3,
    hints=(
        "which of the two losses is steeper, and how much? The minimum is near its own",
        "differentiate both losses with respect to θ, add, and solve for θ",
        "100 (θ − 1) + (θ + 1) = 0",
    ),
    praise="99/101, almost where task 1 wants it",
)

_WEIGHT = variables(
    "04.weight",
    {"weight": "2 / (200 + 2)"},
    {
        "weight": {
            "if this is rounded, give three digits; if not: the other weight is 1 − w, not 1": 1 / 100,
            "this is the weight of task 2": 100 / 101,
            "this makes both losses equal in size; asked for is that their slopes cancel at 0": 1 / 11,
            "equal weights: then the minimum is where you found it above": 1 / 2,
            "the other weight is 1 − w: with 1 + w, or a sign exchanged, 101 becomes 99": [1 / 99, -1 / 99],
            "the scale does not stand squared: slopes, not losses, have to cancel": 1 / 10001,
        }
    },
    hints=(
        "at θ = 0 each loss pulls with its slope; which weight makes the pulls equal?",
        "write both slopes at θ = 0, weigh them with w and 1 − w, and let them cancel",
        "200 w = 2 (1 − w)",
    ),
    praise="1/101 for the task whose loss is 100 times as steep",
)

_POINT = variables(
    "04.gradients",
    {"g1": "(1 * (1 / 2 - 1), 9 * (1 / 4))", "g2": "(9 * (1 / 2 + 1), 1 * (1 / 4))"},
    {
        "g1": {
            "the centres are exchanged: L₁ is smallest at (1, 0)": (1.5, 2.25),
            "the curvatures are exchanged: L₁ is steep in the second component": (-4.5, 0.25),
            "you left out the curvatures": (-0.5, 0.25),
            "the ½ in front of the losses cancels with the 2 of the square": (-0.25, 1.125),
            "there is a 2 too many: the ½ in front of the loss cancels it": (-1, 4.5),
            "the sign of the first component: θ₁ = ½ lies to the left of the centre": (0.5, 2.25),
            "this is the gradient of the other loss: the two are exchanged": (13.5, 0.25),
            "this points downhill: the gradient points where its loss grows": (0.5, -2.25),
        },
        "g2": {
            "the centres are exchanged: L₂ is smallest at (−1, 0)": (-4.5, 0.25),
            "the curvatures are exchanged: L₂ is steep in the first component": (1.5, 2.25),
            "you left out the curvatures": (1.5, 0.25),
            "the ½ in front of the losses cancels with the 2 of the square": (6.75, 0.125),
            "there is a 2 too many: the ½ in front of the loss cancels it": (27, 0.5),
            "the distance is θ₁ − (−1), which is more than 1": [(4.5, 0.25), (-13.5, 0.25)],
            "this is the gradient of the other loss: the two are exchanged": (-0.5, 2.25),
            "this points downhill: the gradient points where its loss grows": (-13.5, -0.25),
        },
    },
    hints=(
        "for each loss and each component: how far is θ from the centre, on which side, and how steep is it there?",
        "a component of the gradient is its curvature times (θ − centre)",
        "g₁ = (1·(½ − 1), 9·¼), and g₂ = (9·(½ + 1), 1·¼)",
    ),
    praise="g₁ = (−½, 9/4) and g₂ = (27/2, ¼)",
)

_DESCENT = variables(
    "04.descent",
    {"mean_times_g1": "((g1[0] + g2[0]) * g1[0] + (g1[1] + g2[1]) * g1[1]) / 2"},
    {
        "mean_times_g1": {
            "this is the product with the sum of the gradients: halve it": -7 / 8,
            "this is g₁·g₂ alone: the mean has g₁ in it as well": -99 / 16,
            "this is half of g₁·g₂: the mean has g₁ in it as well": -99 / 32,
            "this is the product with g₂, and that loss falls": (13 / 2) * (27 / 2) + (5 / 4) / 4,
            "the sign: the first components of the mean and of g₁ have opposite signs": 7 / 16,
            "there is a learning rate in it: asked for is the product alone": [7 / 800, -7 / 800, -7 / 160, 7 / 160],
            "this is the product of the first components: add that of the second ones": -13 / 4,
            "this is the product of the second components: add that of the first ones": 45 / 16,
            "this is ‖g₁‖²: one of the two is the mean": 85 / 16,
            "this is ‖ḡ‖²: one of the two is g₁": 701 / 16,
        }
    },
    tolerance=4e-3,
    hints=(
        "is the mean of the two gradients on the side of g₁, or on the other one?",
        "add the two gradients, halve, and take the inner product with g₁",
        "ḡ = (13/2, 5/4), so ḡ·g₁ = 13/2·(−1/2) + 5/4·9/4",
    ),
    praise="negative: to first order L₁ rises by 7/16 η",
    after=_POINT,
)


def _raised(g1: Array, g2: Array) -> list[int]:
    mean = (g1 + g2) / 2
    return [k for k, g in ((1, g1), (2, g2)) if mean @ g < 0]


def _zero_based(g1: Array, g2: Array) -> list[int]:
    return [k - 1 for k in _raised(g1, g2)]


def _flags(g1: Array, g2: Array) -> list[bool]:
    return [k in _raised(g1, g2) for k in (1, 2)]


def _shorter(g1: Array, g2: Array) -> list[int]:
    return [1 if g1 @ g1 < g2 @ g2 else 2] if g1 @ g2 < 0 else []


def _longer(g1: Array, g2: Array) -> list[int]:
    return [2 if g1 @ g1 < g2 @ g2 else 1] if g1 @ g2 < 0 else []


def _lowered(g1: Array, g2: Array) -> list[int]:
    mean = (g1 + g2) / 2
    return [k for k, g in ((1, g1), (2, g2)) if mean @ g > 0]


def _vectors(*rows: tuple[float, ...]) -> tuple[Array, ...]:
    return tuple(np.array(row, dtype=np.float64) for row in rows)


_FORM = "the right task, in another form: give its number, 1 or 2, in a list: [], [1] or [2]"
_SHORTER = (
    "a negative cosine alone does not hurt the shorter one: (1, 0) and (−0.6, 0.8) have cos < 0, and the mean raises "
    "neither loss"
)

_HURT = function(
    "04.raised",
    "raised",
    _raised,
    [
        _vectors((-0.5, 2.25), (13.5, 0.25)),  # the lesson's point
        _vectors((2, 2), (0, -1)),
        _vectors((1, 0), (-0.6, 0.8)),  # obtuse, of one length: nobody is hurt
        _vectors((0.8, 0.6), (-1, 0.1)),  # the same, the first one shorter by a little
        _vectors((1, 0), (-3, 0)),
        _vectors((3, 1, 0), (0, 1, 4)),
        _vectors((0, 5), (1, -1)),
    ],
    "a list of task numbers: [], [1] or [2]",
    {
        "this is conflict, g₁·g₂ < 0: it takes more than that to raise a loss": [
            lambda g1, g2: [1, 2] if g1 @ g2 < 0 else [],
            lambda g1, g2: [1] if g1 @ g2 < 0 else [],
            lambda g1, g2: [2] if g1 @ g2 < 0 else [],
        ],
        _SHORTER: [_shorter, lambda g1, g2: [2] if g1 @ g2 < 0 and g1 @ g1 >= g2 @ g2 else _shorter(g1, g2)],
        "this is the longer gradient of two in conflict: the mean is on its side": [_longer],
        "the shorter gradient is not always hurt: that takes an obtuse angle": [
            lambda g1, g2: [1 if g1 @ g1 < g2 @ g2 else 2]
        ],
        "this names the other task: L₁ rises where ḡ·g₁ is negative": [lambda g1, g2: [3 - k for k in _raised(g1, g2)]],
        "these are the losses that fall: the step goes along −ḡ": [_lowered],
        "the tasks are called 1 and 2: Python's 0 and 1 are one less": [_zero_based],
        _FORM: [
            _flags,
            lambda g1, g2: [int(flag) for flag in _flags(g1, g2)],
            lambda g1, g2: [k * flag for k, flag in zip((1, 2), _flags(g1, g2), strict=True)],
            lambda g1, g2: (_raised(g1, g2) or [0])[0],
        ],
    },
    hints=(
        "to first order, by how much does L₁ change in the averaged step? And L₂?",
        "compute ḡ, and its inner product with each gradient: the sign decides",
        "L_k rises if ḡ·g_k < 0, with ḡ = (g₁ + g₂)/2",
    ),
    praise="a loss rises where its gradient has a negative product with the mean",
)

LESSONS = (_GRADIENTS, _GRAM, _COSINE, _MINIMUM, _WEIGHT, _POINT, _DESCENT, _HURT)
