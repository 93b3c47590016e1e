"""The min-norm point of the convex hull of K gradients, with a certificate of how near it is.

    minimise  ‖v‖²,  v = Σₖ αₖ gₖ,   over the simplex  αₖ ≥ 0, Σₖ αₖ = 1

Only the Gram matrix G = [gᵢ·gⱼ] enters: it is formed where the gradients are, fetched once, and the K × K
problem is solved on the host in float64. Every solver answers with the same certificate,

    gap = αᵀGα − minᵢ (Gα)ᵢ  ≥  ‖v − v*‖²  ≥  0,

which is zero only at the minimum. Since gₖ·v = (Gα)ₖ ≥ ‖v‖² − gap, a gap below ‖v‖² proves that a small
step along −v lowers every loss.

First comes what the paper says (Sener & Koltun 2018, section 3.2): the two-point formula and Frank-Wolfe. Then
what is exact, which is what `min_norm` uses; then the Gram matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinymtl.arrays import as_numbers
from tinymtl.backend import Array, array_module, is_array, to_host
from tinymtl.checks import choose
from tinymtl.nn.functional import inner_products

EPS = float(np.finfo(np.float64).eps)
SLACK = 1.0 + 1e-4  # by how much |gᵢ·gⱼ| may be larger than ‖gᵢ‖‖gⱼ‖ in a Gram matrix that was rounded to float32
LARGEST = 1e300  # beyond it, sums of K entries of a Gram matrix could overflow
NO_GRAM = "gram is not a matrix of inner products: it has a negative eigenvalue"


class MinNorm(NamedTuple):
    """What a solver found, and how far from the minimum it can be at most.

    Attributes
    ----------
    weights : (K,) float64 array on the host
        α, on the simplex, in the order of the gradients.
    squared_norm : float
        ‖v‖² = αᵀGα, the squared length of v = Σ αₖ gₖ.
    gap : float
        αᵀGα − minᵢ (Gα)ᵢ ≥ ‖v − v*‖². The exact gap is never negative; if rounding makes the computed one
        negative, it is given as 0.0.
    iterations : int
        Rounds of Frank-Wolfe, or linear systems solved by the active set; 0 if a formula gave the answer.
    """

    weights: Array
    squared_norm: float
    gap: float
    iterations: int


# ------------------------------------------------------------ what the paper says
# Each solver takes a checked (K, K) Gram matrix in float64.


def two_point_weights(g11: float, g12: float, g22: float) -> tuple[float, float]:
    """Weights of g₁ and g₂ at the point of the segment between them that is nearest to the origin.

    Algorithm 1 of Sener & Koltun (2018), from the inner products g₁·g₁, g₁·g₂ and g₂·g₂. The weights are
    exactly 1 and 0 if an end of the segment is nearest. Both are quotients (the second is not one minus
    the first): the tiny weight of a long gradient keeps its digits.

    >>> two_point_weights(8, -2, 1)  # 3/13 and 10/13
    (0.23076923076923078, 0.7692307692307693)
    """
    if g12 >= g11:
        return 1.0, 0.0
    if g12 >= g22:
        return 0.0, 1.0
    towards_1, towards_2 = g22 - g12, g11 - g12  # both positive; their sum is ‖g₁ − g₂‖²
    length2 = towards_1 + towards_2
    return towards_1 / length2, towards_2 / length2


def frank_wolfe(
    gram: Array, tolerance: float = 1e-6, max_iterations: int = 10_000, smallest_step: float = 0.0
) -> MinNorm:
    """Algorithm 2 of Sener & Koltun (2018), its FrankWolfeSolver: exact line search, from uniform weights.

    The paper stops at "γ ∼ 0 or Number of Iterations Limit". A small step is no sign of a minimum, so here
    the rule is the gap, `tolerance` · minₖ‖gₖ‖²; `smallest_step` adds the paper's rule.

    >>> frank_wolfe(np.diag([1.0, 4.0, 9.0])).gap < 1e-6
    True
    """
    M = gram
    alpha = np.full(len(M), 1.0 / len(M))
    enough = tolerance * float(M.diagonal().min())
    iterations = 0
    while iterations < max_iterations:
        M_alpha = M @ alpha
        squared_norm = float(alpha @ M_alpha)
        t = int(M_alpha.argmin())  # t̂ = argmin_r Σ_t α_t M_rt
        if squared_norm - M_alpha.item(t) <= enough:
            break
        gamma, rest = two_point_weights(M.item(t, t), M_alpha.item(t), squared_norm)  # γ̂, by Algorithm 1
        alpha *= rest  # α = (1 − γ̂) α + γ̂ e_t̂
        alpha[t] += gamma
        iterations += 1
        if gamma <= smallest_step:
            break
    return _certified(gram, alpha, iterations)


# ------------------------------------------------------------ what is exact


def closed_form(gram: Array) -> MinNorm:
    """The exact answer for two gradients, in Python floats: a NumPy call alone would take as long."""
    if len(gram) != 2:
        raise ValueError(f"solver='closed-form' is for two gradients, got {len(gram)}: use 'active-set'")
    (g11, g12), (_, g22) = gram.tolist()
    a1, a2 = two_point_weights(g11, g12, g22)
    v_g1, v_g2 = a1 * g11 + a2 * g12, a1 * g12 + a2 * g22
    squared_norm = a1 * v_g1 + a2 * v_g2
    gap = squared_norm - (v_g1 if v_g1 < v_g2 else v_g2)
    return MinNorm(np.array((a1, a2)), squared_norm, 0.0 if gap < 0.0 else gap, 0)


def active_set(gram: Array) -> MinNorm:
    """The exact answer for any K: Wolfe (1976), "Finding the nearest point in a polytope".

    The point nearest to the origin in the *plane* through some of the gradients, the support S, costs one
    linear system: (G_SS + c 11ᵀ) y = 1 for any c > 0, and α = y / Σy. If all of y is positive, that point
    lies inside the hull of S. The method looks for the support whose point no other gradient can improve.

    Scaling rows and columns by 1/‖gₖ‖ makes the gradients' lengths harmless: A below is the matrix of their
    cosines plus d dᵀ, with dₖ = minⱼ‖gⱼ‖ / ‖gₖ‖, the system is A_SS u = d_S, and α ∝ u d.

    v is always unique. If gradients are dependent α need not be: then it is the one of least Σ (αₖ‖gₖ‖)², in which
    equal gradients have equal weights (of those on a set of gradients that needs none of the others).

    >>> active_set(np.diag([1.0, 4.0, 9.0])).weights * 49
    array([36.,  9.,  4.])
    """
    K = len(gram)
    if K == 1:
        return _certified(gram, np.ones(1), 0)
    if K == 2:
        return closed_form(gram)
    lengths = np.sqrt(gram.diagonal())
    shortest = lengths.item(lengths.argmin())
    d = shortest / lengths
    A = (gram + shortest * shortest) / (lengths[:, None] * lengths)
    # Dependent gradients make A singular. A ridge the size of A's rounding error makes every system solvable; a Gram
    # matrix formed in float32 may need a larger one.
    for ridge in (4 * K * EPS, 1e-9, 1e-6, 1e-3):
        A.flat[:: K + 1] += ridge
        try:
            u, solves = _wolfe(A, d, ridge)
        except np.linalg.LinAlgError:
            continue
        return _certified(gram, u * d, solves)
    raise ValueError(NO_GRAM)


def _wolfe(A: Array, d: Array, ridge: float) -> tuple[Array, int]:
    """u ≥ 0 with (Au)ᵢ ≥ dᵢ up to `ridge`, equal where uᵢ > 0; and the number of systems solved."""
    K = len(d)
    solves = 0

    def nearest_in_plane(support: Array) -> Array:
        nonlocal solves
        solves += 1
        d_S = d.take(support)
        A_SS = A if len(support) == K else A.take(support, 0).take(support, 1)
        y: Array = np.linalg.solve(A_SS, d_S)
        # A matrix of inner products gives 0 < d·y = yᵀAy ≤ 1, and takes fewer systems than this.
        if not 0.0 < d_S.dot(y) < 1.0 + 1e-6 or solves > 5 * K + 20:
            raise np.linalg.LinAlgError
        return y

    # Start from all gradients; drop those with a negative weight until there are none. Inner products make A positive
    # definite, and d·y ≤ 1 on all of it: only then is the problem convex, and the certificate worth anything.
    dependent = np.linalg.cholesky(A).diagonal().min() < 1e-4
    support = np.arange(K)
    y = nearest_in_plane(support)
    while y.item(y.argmin()) <= 0.0:
        support = support[y > 0.0]
        y = nearest_in_plane(support)

    # Major cycles: u is the nearest point of the hull of its support; which gradients would shorten it?
    # ‖v‖² falls every time, so no support comes twice.
    u = np.zeros(K)
    while True:
        u[support] = y
        slack = A.dot(u) - d  # (gᵢ·v − ‖v‖²) / ‖gᵢ‖, up to one positive factor
        tolerance = ridge * (1.0 + u.sum())
        if slack.item(slack.argmin()) >= -tolerance:
            return _evened(A, d, u, ridge) if dependent else u, solves
        support = ((u > 0.0) | (slack < -tolerance)).nonzero()[0]
        y = nearest_in_plane(support)
        # Minor cycles: the plane's nearest point is outside the hull; go there until the hull ends.
        while y.item(y.argmin()) <= 0.0:
            x = u[support]
            leaving = (y <= 0.0).nonzero()[0]
            reach = x[leaving] / (x[leaving] - y[leaving] + 1e-300)  # where on the way xᵢ reaches 0
            x = np.maximum(x + reach.min() * (y - x), 0.0)
            stays = np.ones(len(support), dtype=bool)
            stays[leaving[reach == reach.min()]] = False
            u[support] = np.where(stays, x, 0.0)
            support = support[stays]
            y = nearest_in_plane(support)


def _evened(A: Array, d: Array, u: Array, ridge: float) -> Array:
    """The shortest u' ≥ 0 with the same Au, where rounding, not A, decides which one u is; else u itself.

    The gradients that count are those with gᵢ·v = ‖v‖². Of A's eigenvectors on them those with eigenvalue 0 can be
    added to u without a change of v: u' has none of them. A negative entry is left out, and the rest solved again.
    """
    whole = support = (A.dot(u) - d <= 1e-9 * (1.0 + u.sum())).nonzero()[0]
    while len(support):
        values, vectors = np.linalg.eigh(A[np.ix_(support, support)])
        kept = values > 1e-9 * values[-1]
        if kept.all() and support is whole:
            return u
        y = vectors[:, kept] @ (d[support] @ vectors[:, kept] / values[kept])
        if y.min() > -1e-9 * y.max():
            even = np.zeros(len(u))
            even[support] = np.maximum(y, 0.0)
            return even if (A.dot(even) - d).min() >= -ridge * (1.0 + even.sum()) else u
        support = support[y > 1e-9 * y.max()]
    return u


# ------------------------------------------------------------ the solvers by their names


SOLVERS: dict[str, Callable[[Array], MinNorm]] = {
    "active-set": active_set,
    "closed-form": closed_form,
    "frank-wolfe": frank_wolfe,
}


def min_norm(
    gradients: Array | Sequence[Any] | None = None,
    *,
    gram: Array | None = None,
    solver: str = "active-set",
    floor: float = 0.0,
) -> MinNorm:
    """The shortest vector in the convex hull of K gradients, from the gradients or from their Gram matrix.

    Parameters
    ----------
    gradients : (K, n) array, or a list of K arrays of one shape
        NumPy or CuPy; each gradient is flattened.
    gram : (K, K) array
        The inner products gᵢ·gⱼ, in place of the gradients.
    solver : str
        "active-set" (default): exact, any K; one or two gradients take the closed form.
        "closed-form": exact, K = 2. "frank-wolfe": iterative, stops at a gap of 1e-6 · minₖ‖gₖ‖² or after
        10 000 rounds.
    floor : float, default 0.0
        The least weight that a gradient may have, up to 1/K: the shortest Σ αₖgₖ with αₖ ≥ floor, Σ αₖ = 1. The gap is
        then over these weights.

    Returns
    -------
    MinNorm
        weights, squared_norm, gap, iterations. A zero gradient is a right answer, v = 0.

    Raises
    ------
    ValueError
        For K = 0, shapes that do not fit, a value that is not finite (named by its index), a matrix that is
        not symmetric, an unknown solver, a floor that is not in 0 … 1/K.

    Notes
    -----
    The active set reaches the rounding error of G: a gap of at most 1e-12 · maxₖ‖gₖ‖ · Σₖ αₖ‖gₖ‖ (seen up to
    K = 100: a tenth of it), for duplicated, collinear, opposite and ill-scaled gradients as well.
    From gradients in float32, whose Gram matrix is rounded to float32, up to 1e-5 on the same scale.

    Sener & Koltun, "Multi-task learning as multi-objective optimization", 2018, section 3.2.

    Examples
    --------
    >>> found = min_norm([[2, 2], [0, -1]])
    >>> found.weights * 13
    array([ 3., 10.])
    >>> round(found.squared_norm * 13, 12)
    4.0
    >>> min_norm(gram=[[1, 0, 0], [0, 4, 0], [0, 0, 9]]).weights * 49
    array([36.,  9.,  4.])
    >>> min_norm([[10, 0], [-1, 1]], floor=0.25).weights  # without it 2/122 and 120/122
    array([0.25, 0.75])
    """
    solve = SOLVERS[choose("solver", solver, SOLVERS)]
    if gram is None:
        if gradients is None:
            raise ValueError("nothing to solve: give gradients, (K, n), or gram=, their (K, K) inner products")
        G, unit = fetch_gram(gradients)
        if unit != 1.0:
            found = min_norm(gram=G, solver=solver, floor=floor)
            return found._replace(squared_norm=found.squared_norm * unit * unit, gap=found.gap * unit * unit)
    elif gradients is None:
        G = _check_gram(gram)
    else:
        raise ValueError("got both gradients and gram=: give one of the two")
    if floor:
        return _above(G, floor, solver)
    if solve is active_set and len(G) == 2:
        return closed_form(G)
    squares = G.diagonal()
    shortest = int(squares.argmin())
    if squares.item(shortest) <= 0.0 and solve is not closed_form:  # v = 0 is one of the gradients
        return _certified(G, np.eye(len(G))[shortest], 0)
    if solve is frank_wolfe and np.linalg.eigvalsh(_cosines(G))[0] < -1e-3:  # the others look for themselves
        raise ValueError(NO_GRAM)
    return solve(G)


def _above(gram: Array, floor: float, solver: str) -> MinNorm:
    """The weights are α = Bw with w on the simplex, B = floor·11ᵀ + (1 − K·floor) I: a min-norm problem again."""
    K = len(gram)
    free = 1.0 - K * floor
    if not (floor >= 0.0 and free >= -K * EPS):
        raise ValueError(f"floor is {floor}: give each of {K} weights a floor from 0 to 1/{K}")
    B = floor + max(free, 0.0) * np.eye(K)
    found = min_norm(gram=B @ gram @ B, solver=solver)
    return found._replace(weights=B @ found.weights)


def _certified(gram: Array, alpha: Array, iterations: int) -> MinNorm:
    """α scaled to sum to one, with ‖v‖² and the gap computed from it afresh."""
    alpha = alpha / alpha.sum()
    G_alpha = gram.dot(alpha)
    squared_norm = float(alpha.dot(G_alpha))
    gap = squared_norm - float(G_alpha.item(G_alpha.argmin()))
    return MinNorm(alpha, squared_norm, 0.0 if gap < 0.0 else gap, iterations)


# ------------------------------------------------------------ the Gram matrix: formed, normalised, checked


def gram_matrix(gradients: Array | Sequence[Any]) -> Array:
    """The inner products G = [gᵢ·gⱼ] of K gradients, on their device and in their dtype.

    On the host G is formed in float64 if float32 cannot hold the squares of gradients in float32: lengths of 1e-30
    and of 1e30 are right. On a GPU nobody looks, for that would mean to wait; `min_norm(gradients)` does.

    Parameters
    ----------
    gradients : (K, n) array, or a list of K arrays of one shape
        Each gradient is flattened. Whole numbers become float64.

    >>> gram_matrix([[2, 2], [0, -1]])
    array([[ 8., -2.],
           [-2.,  1.]])
    """
    rows = _as_rows(gradients)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        gram = inner_products(rows)
        if array_module(rows) is np and gram.dtype == np.float32 and not is_exact(gram):
            gram = inner_products(rows.astype(np.float64))
    return gram


def is_exact(gram: Array) -> bool:
    """Whether a Gram matrix, on the host and in the dtype in which it was formed, is right up to rounding.

    It is not if squares have left the dtype's range, or if rounding has made some |gᵢ·gⱼ| larger than ‖gᵢ‖‖gⱼ‖. Then
    form it again in float64: that holds all products of two float32 numbers.

    >>> is_exact(np.eye(2, dtype=np.float32)), is_exact(np.full((2, 2), 1e-40, np.float32))
    (True, False)
    """
    smallest, largest = (1e-30, np.inf) if gram.dtype == np.float32 else (1e-280, LARGEST)
    if len(gram) == 2:  # as below, in the time of one NumPy call
        (g11, g12), (g21, g22) = gram.tolist()
        in_range = smallest < g11 < largest and smallest < g22 < largest
        return in_range and max(abs(g12), abs(g21)) <= SLACK * math.sqrt(g11) * math.sqrt(g22)
    squares = gram.diagonal().astype(np.float64)
    if not (squares.min() > smallest and squares.max() < largest):
        return False
    lengths = np.sqrt(squares)
    return bool((np.abs(gram) <= SLACK * lengths[:, None] * lengths).all())


def normalized_gram(gram: Array, losses: Array | Sequence[float] | None, how: str) -> Array:
    """The Gram matrix of the normalised gradients gₖ / nₖ, in float64 on the host.

    α is solved on the normalised gradients and applied to the raw ones.

    Parameters
    ----------
    gram : (K, K) array
        Inner products of the raw gradients.
    losses : (K,) array or None
        Read by "loss" and "loss+" alone.
    how : str
        nₖ: "none" 1, "l2" ‖gₖ‖, "loss" Lₖ, "loss+" Lₖ‖gₖ‖.

    Raises
    ------
    ValueError
        For an unknown name, a zero gradient under "l2" or "loss+", a loss that is not positive under "loss"
        or "loss+".

    >>> normalized_gram([[4.0, 0.0], [0.0, 9.0]], [1.0, 3.0], "loss")
    array([[4., 0.],
           [0., 1.]])
    """
    choose("normalisation", how, ("none", "l2", "loss", "loss+"))
    G = _check_gram(gram)
    scales = np.ones(len(G))
    if how in ("loss", "loss+"):
        values = np.asarray(to_host(losses), dtype=np.float64) if losses is not None else np.empty(0)
        if values.shape != (len(G),):
            raise ValueError(
                f"normalisation {how!r} needs one loss per gradient, ({len(G)},), got shape {values.shape}"
            )
        for k, loss in enumerate(values.tolist()):
            if not 0.0 < loss < np.inf:
                raise ValueError(f"normalisation {how!r} divides by each loss, but loss {k} is {loss}: use 'l2'")
        scales = scales * values
    if how in ("l2", "loss+"):
        lengths = np.sqrt(np.maximum(G.diagonal(), 0.0))
        if not lengths.all():
            k = int(lengths.argmin())
            raise ValueError(f"normalisation {how!r} divides by each length, but gradient {k} is zero: use 'none'")
        scales = scales * lengths
    return G / (scales[:, None] * scales)


def _as_rows(gradients: Any) -> Array:
    """The gradients as one (K, n) float array, on their device."""
    if not isinstance(gradients, list | tuple):
        rows = as_numbers(gradients, "the array of gradients")
    else:
        each = [as_numbers(g, f"gradient {k}") for k, g in enumerate(gradients)]
        for k, gradient in enumerate(each):
            if gradient.shape != each[0].shape:
                raise ValueError(
                    f"gradients must have one shape, but gradient 0 has {each[0].shape} and gradient {k} "
                    f"has {gradient.shape}"
                )
        rows = array_module(each[0]).stack(each) if each else np.empty((0, 0))
    if rows.ndim < 2 or len(rows) == 0:
        raise ValueError(f"expected K ≥ 1 gradients as a (K, n) array or a list of arrays, got shape {rows.shape}")
    if rows.dtype.char not in "fd":  # float32 and float64 stay as they are
        rows = rows.astype(np.float64)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)


def fetch_gram(gradients: Any) -> tuple[Array, float]:
    """The Gram matrix of the gradients, fetched to the host in one copy, checked, in float64; and its unit.

    G · unit² are the inner products. The unit is 1, unless the squares of the gradients leave the range of their
    dtype: G is then formed a second time, in float64, of gradients divided by the unit, a power of two.
    """
    rows = _as_rows(gradients)
    with np.errstate(all="ignore"):  # what is not finite is named below
        gram = to_host(inner_products(rows))
        if is_exact(gram) or not rows.size:
            return _check_gram(gram), 1.0
        rows = rows.astype(np.float64)
        largest = to_host(abs(rows).max(axis=1))
        for k, size in enumerate(largest.tolist()):
            if not size < np.inf:
                raise ValueError(f"gradient {k} is not finite: it holds {size}")
        unit = 2.0 ** (int(np.frexp(largest.max())[1]) - 1)
        return _check_gram(to_host(inner_products(rows / unit))), unit


def _check_gram(gram: Any) -> Array:
    """`gram` on the host in float64: square, finite, symmetric, no negative square on the diagonal."""
    try:
        G = np.asarray(as_numbers(to_host(gram) if is_array(gram) else gram, "gram"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"gram must be a (K, K) array of real numbers: {error}") from None
    if G.shape == (2, 2):  # the usual case in the time of one NumPy call; whatever fails is named below
        (g11, g12), (g21, g22) = G.tolist()
        bound = SLACK * (g11 * g22)
        in_range = 0.0 < g11 < LARGEST and 0.0 < g22 < LARGEST and 1e-290 < bound < LARGEST
        if in_range and abs(g12 - g21) <= 1e-5 * max(g11, g22) and max(g12 * g12, g21 * g21) <= bound:
            return G if g12 == g21 else (G + G.T) / 2.0
    if G.ndim != 2 or G.shape[0] != G.shape[1] or len(G) == 0:
        raise ValueError(f"gram must be the (K, K) inner products of K ≥ 1 gradients, got shape {G.shape}")
    if not (G.item(G.argmin()) > -LARGEST and G.item(G.argmax()) < LARGEST):  # both stop at a NaN
        i, j = np.argwhere(~(np.abs(G) < LARGEST))[0].tolist()
        raise ValueError(f"gram must be finite (and less than {LARGEST:g}), but gram[{i}, {j}] is {G[i, j]}")
    squares = G.diagonal()
    k = int(squares.argmin())
    if squares.item(k) < -1e-6 * squares.item(squares.argmax()):
        raise ValueError(f"gram[{k}, {k}] is a squared length, but it is {squares[k]}")
    if G.tobytes() != G.T.tobytes():  # equal bytes are the quick proof of symmetry
        i, j = divmod(int(np.abs(G - G.T).argmax()), len(G))
        if abs(G[i, j] - G[j, i]) > 1e-5 * squares.max():
            raise ValueError(f"gram must be symmetric, but [{i}, {j}] is {G[i, j]} and [{j}, {i}] is {G[j, i]}")
        G = (G + G.T) / 2.0  # a product formed on a device is symmetric up to rounding
    if len(G) == 2 or squares.item(k) <= 0.0:  # of longer ones the solvers see more
        off = np.abs(_cosines(G)).max()
        if off > SLACK:
            raise ValueError(NO_GRAM)
    return G


def _cosines(gram: Array) -> Array:
    """gᵢ·gⱼ / ‖gᵢ‖‖gⱼ‖; a gradient of length 0 is taken as one that is 1e-8 of the longest."""
    lengths = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    lengths = np.where(lengths > 0.0, lengths, 1e-8 * lengths.max() or 1.0)
    cosines: Array = gram / lengths[:, None] / lengths
    return cosines
