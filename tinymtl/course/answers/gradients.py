"""Two gradients by hand: lesson 3 (the Gram matrix and the cosine) and lesson 4 (what the average hides)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.course.question import Case, fixed
from tinymtl.course.topic import questions

Array = np.ndarray[Any, Any]


def _as_three(answer: Any) -> Any:
    """The Gram matrix of two gradients may come as it is: a symmetric 2 × 2 array, or its four numbers."""
    try:
        matrix = np.asarray(answer, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        return answer
    return matrix[[0, 1, 3]].tolist() if matrix.size == 4 and matrix[1] == matrix[2] else answer


def _raised(g1: Array, g2: Array) -> list[int]:
    mean = (g1 + g2) / 2
    return [k for k, g in ((1, g1), (2, g2)) if mean @ g < 0]


_POINTS = (
    ((-0.5, 2.25), (13.5, 0.25)),  # the lesson's point
    ((2, 2), (0, -1)),
    ((1, 0), (-0.6, 0.8)),  # obtuse, of one length: nobody is hurt
    ((0.8, 0.6), (-1, 0.1)),  # the same, the first one shorter by a little
    ((1, 0), (-3, 0)),
    ((3, 1, 0), (0, 1, 4)),
    ((0, 5), (1, -1)),
)
_pairs = fixed([Case("raised", (np.array(g1, float), np.array(g2, float))) for g1, g2 in _POINTS])

QUESTIONS = questions(__file__, globals())
