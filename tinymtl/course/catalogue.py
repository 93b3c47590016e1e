"""The four assignments: their questions in order, and the rubrics of the parts that a person marks."""

from __future__ import annotations

from tinymtl.checks import choose
from tinymtl.course.answers.groups import PARTITIONS, PASSES
from tinymtl.course.answers.interval import INTERVAL
from tinymtl.course.answers.moments import MOMENTS
from tinymtl.course.answers.order import ORDER
from tinymtl.course.answers.representation import ONE_PASS, UB_WEIGHTS, Z_GRADIENTS
from tinymtl.course.answers.shapes import DERIVATIVES, UNBROADCAST
from tinymtl.course.answers.study import FIGURE, LOG, evidence
from tinymtl.course.answers.tape import LOSSES, REUSE
from tinymtl.course.answers.weights import K_TASKS, STATIONARY, TWO_TASKS, WORKSHEET
from tinymtl.course.assignment import Assignment, Written
from tinymtl.course.errors import CourseError

NUMPY = "import numpy as np"
T_TABLE = """T_975 = {
    1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469,
    7: 2.3646, 8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788,
    13: 2.1604, 14: 2.1448, 15: 2.1314, 16: 2.1199, 17: 2.1098, 18: 2.1009,
    19: 2.0930, 20: 2.0860, 21: 2.0796, 22: 2.0739, 23: 2.0687, 24: 2.0639,
    25: 2.0595, 26: 2.0555, 27: 2.0518, 28: 2.0484, 29: 2.0452, 30: 2.0423,
}"""

A1 = Assignment(
    "A1",
    "Reverse mode",
    (ORDER, REUSE, UNBROADCAST, DERIVATIVES, LOSSES),
    (
        Written(
            "explain",
            "Why 72 and 44",
            (
                (1, "says that c is used twice, by d and by L, and so receives two shares of its gradient"),
                (1, "says that the recursion passes c's first share, 8, on twice: alone, and again inside the sum 14"),
                (1, "accounts for both numbers: 8·3 = 24 = 72 − 48 too much for x, 8·2 = 16 = 44 − 28 for y"),
            ),
        ),
    ),
    locked={"A1-setup": NUMPY},
)

A2 = Assignment(
    "A2",
    "The min-norm point",
    (TWO_TASKS, K_TASKS, STATIONARY, WORKSHEET),
    (
        Written(
            "explain",
            "Why α favours the short gradient",
            (
                (
                    1,
                    "says that v is the point of the hull nearest to the origin, and that a short gradient is near it",
                ),
                (1, "gives an example with numbers, such as two orthogonal gradients of lengths 1 and 10"),
                (1, "shows from g₁·v = g₂·v that the long gradient needs little weight to fall as fast"),
                (1, "says what follows in practice: a loss in larger units, or a finished task, moves the compromise"),
            ),
        ),
    ),
    locked={"A2-setup": NUMPY},
)

A3 = Assignment(
    "A3",
    "Steps",
    (Z_GRADIENTS, UB_WEIGHTS, ONE_PASS, MOMENTS, PARTITIONS, PASSES),
    (
        Written(
            "choice",
            "When would you not use it?",
            (
                (1, "names one strategy and a situation, concrete enough to recognise in one's own work"),
                (1, "gives the reason as a property of the strategy: its cost, its memory, or the direction it takes"),
                (1, "supports it with a number from this notebook or one that is computed in the answer"),
            ),
        ),
    ),
    locked={"A3-setup": NUMPY},
)

A4 = Assignment(
    "A4",
    "A small study",
    (LOG, INTERVAL, FIGURE),
    (
        Written(
            "claim",
            "The claim",
            (
                (2, "states the mean difference, its 95 % interval, the metric and the number of pairs"),
                (2, "the claim is what the interval allows: an interval with zero in it is called no difference shown"),
                (1, "states the budget in minibatches and in trunk passes, and how the learning rates were chosen"),
                (1, "claims nothing about other data, other networks or other budgets"),
            ),
        ),
        Written(
            "limits",
            "The limits",
            (
                (1, "says how many seeds there are, and what difference this study could have seen"),
                (1, "names one choice of the design that favours a method, such as the grid or the budget"),
                (1, "says what the test set was used for, and that it was used once"),
                (1, "names one thing that was not varied and might turn the result"),
                (1, "says what the next experiment would be, and which result of it would change the claim"),
            ),
        ),
    ),
    evidence,
    locked={"A4-setup": "import json\n\nimport matplotlib.pyplot as plt\nimport numpy as np", "A4-t-table": T_TABLE},
)

ASSIGNMENTS: dict[str, Assignment] = {assignment.name: assignment for assignment in (A1, A2, A3, A4)}


def find(name: str) -> Assignment:
    """The assignment of that name, in capitals or not.

    >>> find("a2").title
    'The min-norm point'
    """
    return ASSIGNMENTS[choose("assignment", str(name).upper(), ASSIGNMENTS, CourseError)]
