"""The min-norm weights that the sides use, so that a side's solver is not what is compared."""

import numpy as np


def pair_weight(square_1: float, product: float, square_2: float) -> float:
    """Weight of g₁ in the shortest vector of the segment g₁ g₂, from Python floats."""
    if product >= square_1:
        return 1.0
    if product >= square_2:
        return 0.0
    return (square_2 - product) / (square_1 + square_2 - 2.0 * product)


def simplex_weights(gram: np.ndarray) -> np.ndarray:
    """Weights of the shortest vector of the hull, from the Gram matrix, in its dtype."""
    if len(gram) == 2:
        first = pair_weight(float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1]))
        return np.array((first, 1.0 - first), gram.dtype)
    from tinymtl import min_norm

    return np.asarray(min_norm(gram=gram).weights, gram.dtype)


def gram_of_rows(rows: np.ndarray) -> np.ndarray:
    """Inner products of the rows (K, n): K matrix-vector products while K is small, else one product."""
    if len(rows) == 2:
        first, second = rows
        product = np.dot(first, second)
        return np.array([[np.dot(first, first), product], [product, np.dot(second, second)]])
    if len(rows) <= 16:
        return np.stack([np.dot(rows, row) for row in rows])
    return np.dot(rows, rows.T)
