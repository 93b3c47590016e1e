"""The search for a counterexample: small whole numbers first, then draws, then a climb; what is found is made smaller.

All numbers that it tries are whole, and it moves on only by more than rounding: every machine finds the same.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.hull import min_norm
from tinymtl.lab.promises.properties import PROPERTIES, Property, Seen
from tinymtl.lab.promises.rules import TINY, Answer, Point, Rule, lengths

Size = tuple[int, int, int]

#: Tasks, coordinates, and the largest entry of the gradients: all of them, up to turns and the tasks' order.
GRIDS = ((2, 2, 1), (2, 2, 2), (2, 2, 3), (3, 2, 1), (3, 2, 2), (3, 3, 1), (4, 2, 1))
LOSSES = ((1, 1, 1, 1), (1, 2, 3, 4), (4, 3, 2, 1))
TRUNKS: Sequence[Any] = (
    [[1, 0], [0, 1]], [[1, 0], [0, 0]], [[1, 0], [1, 1]], [[1, 0], [2, 1]], [[1, 0], [-2, 1]], [[2, 0], [0, 1]]
)  # fmt: skip
ROUNDED = 1e-5  #: Of a singular value between this part of the largest and 0, its square is a matter of rounding.
FINDS = 5  #: So many violations among the draws are made smaller, to keep the smallest.
CLIMBS, MOVES = 4, 150  #: From how many of the best points a climb starts, and how many moves each tries at most.


@dataclass(frozen=True)
class Found:
    """What is known of one property.

    Attributes
    ----------
    seen : Seen, optional
        The smallest violation found.
    draws : int
        How many were tried.
    reason : str
        The proof that there is none; or, if `seen` is at a Pareto-stationary point, that there is none elsewhere.
    """

    seen: Seen | None
    draws: int
    reason: str = ""


def search(
    rule: Rule, names: Iterable[str] = PROPERTIES, draws: int = 1000, sizes: Sequence[Size] = GRIDS, seed: int = 0
) -> dict[str, Found]:
    """Look for a counterexample to each property.

    One at a Pareto-stationary point, where no direction serves every task, is only taken if there is no other.

    Parameters
    ----------
    rule : Rule
    names : names of properties, default all
    draws : int, default 1,000
        How many random points are tried for what no small one breaks; from the best of them a climb starts.
    sizes : (K, n, largest entry) each, default `GRIDS`
        Which small points are tried: all that there are.
    seed : int, default 0

    Returns
    -------
    dict
        name → Found, in the order of `names`.

    Examples
    --------
    >>> import tinymtl as tm
    >>> found = search(Rule(tm.CAGrad), ["raises no loss"])["raises no loss"].seen
    >>> found.answers[0].at.gradients, found.inequality()
    (array([[ 2.,  1.],
           [-1.,  0.]]), 'g₂·v = −0.2172 < 0')
    """
    names, found = list(names), {name: list[Seen]() for name in names}
    weak: dict[str, Seen] = {}
    best: dict[str, list[tuple[float, int, Point]]] = {name: [] for name in names}
    few, left = list(small(rule, sizes)), names
    for number, at in enumerate(itertools.chain(few, drawn(rule, draws, seed))):
        enough = 1 if number <= len(few) else FINDS
        left = [name for name in left if len(found[name]) < enough]
        here = asked(rule, at) if left else None
        if here is None:
            continue
        for name in left:
            seen = worst(rule, PROPERTIES[name], here)
            if seen is not None and seen.excess > 0.0:
                if is_telling(name, here):
                    found[name].append(smaller(rule, name, seen))
                else:
                    weak.setdefault(name, seen)
            elif seen is not None and not found[name]:
                best[name] = sorted([*best[name], (-round(seen.excess, 6), number, at)])[:CLIMBS]
    for name in names:
        for _, _, at in best[name] if not found[name] else []:
            seen = climb(rule, name, at, min(draws, MOVES), seed)
            if seen is not None:
                found[name].append(smaller(rule, name, seen))
    smallest = {name: min(seen, key=lambda one: size(one.answers[0].at)) for name, seen in found.items() if seen}
    return {name: Found(smallest.get(name) or weak.get(name), draws) for name in names}


def size(at: Point) -> tuple[int, int, float, float]:
    """Tasks, coordinates, the largest number, and the sum of all: a smaller one is easier to check."""
    numbers = np.concatenate([at.gradients.ravel(), [] if at.trunk is None else at.trunk.ravel()])
    return *at.gradients.shape, float(abs(numbers).max()), float(abs(numbers).sum() + at.losses.sum())


def asked(rule: Rule, at: Point) -> Answer | None:
    """The answer; None if the strategy refuses the point, or if the gradients' rank is a matter of rounding."""
    n = np.maximum(lengths(at.gradients), 1e-300)
    for matrix in (at.gradients, at.gradients / n[:, None]):
        singular = np.linalg.svd(matrix, compute_uv=False)
        if ((singular > 1e-14 * singular[0]) & (singular < ROUNDED * singular[0])).any():
            return None
    try:
        return rule(at)
    except (ValueError, FloatingPointError):
        return None


def is_telling(name: str, here: Answer) -> bool:
    """Whether a violation counts for more than that the point is Pareto-stationary."""
    return name == "stops at all Pareto" or not here.is_stationary


def worst(rule: Rule, holds: Property, here: Answer | None) -> Seen | None:
    """The first violation among the variations of a point, else what comes nearest to one."""
    nearest = None
    try:
        for seen in holds(rule, here) if here else ():
            if seen.excess > 0.0:
                return seen
            if nearest is None or seen.excess > nearest.excess + 1e-9:
                nearest = seen
    except (ValueError, FloatingPointError):
        pass
    return nearest


# ------------------------------------------------------------ small whole numbers


@functools.cache
def grid(K: int, n: int, largest: int) -> list[Array]:
    """All whole gradients up to `largest`, one for each Gram matrix up to the tasks' order; the simplest first."""
    rows = sorted(itertools.product(range(-largest, largest + 1), repeat=n), key=lambda row: _plain(row), reverse=True)
    seen: dict[tuple, tuple] = {}
    for J in itertools.combinations_with_replacement(rows, K):
        # every order of the tasks has the same inner products: of all, keep the simplest gradients
        products = tuple(tuple(sum(a * b for a, b in zip(g, h, strict=True)) for h in J) for g in J)
        key = min(tuple(products[i][j] for i in p for j in p) for p in itertools.permutations(range(K)))
        if any(map(any, J)) and (key not in seen or _plain(sum(J, ())) < _plain(sum(seen[key], ()))):
            seen[key] = J
    return [np.array(J, dtype=float) for J in sorted(seen.values(), key=lambda J: _plain(sum(J, ())))]


def _plain(numbers: tuple[int, ...]) -> tuple:
    """Small numbers before large ones, positive before negative."""
    return max(map(abs, numbers)), sum(map(abs, numbers)), sum(x < 0 for x in numbers), tuple(-x for x in numbers)


def small(rule: Rule, sizes: Sequence[Size]) -> Iterator[Point]:
    """The small points with every vector of losses and trunk that matter; for two tasks then with every past."""
    for K in (2, 3, 4):
        points = [at for size in sizes if size[0] == K for at in _small(rule, *size)]
        yield from points
        if rule.remembers and K == 2:
            conflicts = [at for at in points if (at.gradients @ at.gradients.sum(axis=0)).min() < 0.0]
            telling = [at for at in conflicts if min_norm(at.gradients).squared_norm > TINY]
            yield from (replace(at, past=at) for at in (*points[:1], *telling[:1]))
            yield from (replace(at, past=past) for at in points for past in pasts(K))


def _small(rule: Rule, K: int, n: int, largest: int) -> Iterator[Point]:
    losses, trunks = LOSSES[: len(LOSSES) if rule.reads_losses else 1], TRUNKS if n == 2 else [np.eye(n)]
    for J in grid(K, n, largest):
        if abs(J).max() == largest:  # the others were in a smaller grid
            for L, trunk in itertools.product(losses, trunks if rule.at_z else [None]):
                yield Point(J, np.array(L[:K], dtype=float), None if trunk is None else np.array(trunk, dtype=float))


@functools.cache
def pasts(K: int) -> tuple[Point, ...]:
    """What a strategy may remember: losses that are unequal, fall unequally, are near 0 or large; tasks that agree."""
    unequal, one, first = np.full(K, 4.0), np.ones(K), np.arange(K) == 0
    unequal[0] = 1.0
    return (
        Point(np.zeros((K, 2)), unequal),
        Point(np.where(first, [[5.0], [0.0]], [[0.0], [1.0]]).T, np.full(K, 9.0)),
        Point(np.array([[1.0, 0.0]] * K), one),
        Point(np.where(first, [[100.0], [0.0]], [[0.0], [1.0]]).T, np.full(K, 1e6)),
        Point(np.zeros((K, 2)), np.where(first, 1e-6, one)),
    )


# ------------------------------------------------------------ draws


def drawn(rule: Rule, draws: int, seed: int) -> Iterator[Point]:
    """Whole gradients of 2 to 4 tasks: short and long ones, nearly dependent ones, with losses and trunks."""
    rng = np.random.default_rng(seed)
    for number in range(draws):
        K, n = (int(number) for number in rng.integers(2, 5, 2))
        largest = int(rng.choice([1, 3, 10, 100]))
        J = rng.integers(-largest, largest + 1, (K, n)).astype(float)
        kind = rng.integers(4)
        if kind == 1:
            J *= 10.0 ** rng.integers(0, 3, (K, 1))  # very different lengths
        elif kind == 2:  # the last almost a combination of the others
            J[-1] = rng.choice([1, 10, 1000]) * (rng.integers(-2, 3, K - 1) @ J[:-1]) + rng.integers(-1, 2, n)
        L = rng.integers(1, 10, K).astype(float)
        trunk = rng.integers(-2, 3, (n, n)).astype(float)
        if J.any():
            at = Point(J, L if rule.reads_losses else np.ones(K), trunk if rule.at_z else None)
            lives = rule.remembers and (K == 2 or not rule.draws)
            yield replace(at, past=(None, *pasts(K))[number % 6]) if lives else at


def climb(rule: Rule, name: str, at: Point, moves: int, seed: int) -> Seen | None:
    """Change the point's numbers, keep what comes nearer to a violation; the violation, if there is one."""
    rng, holds = np.random.default_rng(seed), PROPERTIES[name]
    best = worst(rule, holds, asked(rule, at))
    for _ in range(moves):
        J = at.gradients.copy()
        k, j = rng.integers(J.shape[0]), rng.integers(J.shape[1])
        kind = rng.integers(4)
        if kind == 0:
            J[k, j] += rng.choice([-1, 1])
        elif kind == 1:
            J[k, j] += round(float(rng.normal()) * max(1.0, abs(J).max()))
        elif kind == 2:
            J[k] *= 3
        else:
            J = np.delete(np.insert(3 * J, k, 3 * J[k] + rng.integers(-1, 2, J.shape[1]), axis=0), j % len(J), axis=0)
        if not J.any() or abs(J).max() > 1e4:
            continue
        here = asked(rule, replace(at, gradients=J))
        seen = worst(rule, holds, here) if here and is_telling(name, here) else None
        if seen is not None and (best is None or seen.excess > best.excess + 1e-6):
            at, best = replace(at, gradients=J), seen
            if seen.excess > 0.0:
                return seen
    return None


# ------------------------------------------------------------ smaller


def smaller(rule: Rule, name: str, seen: Seen) -> Seen:
    """The violation with fewer tasks, fewer coordinates and smaller numbers, as far as single changes lead."""
    while True:
        for at in simpler(seen.answers[0].at):
            here = asked(rule, at)
            found = worst(rule, PROPERTIES[name], here) if here and is_telling(name, here) else None
            if found is not None and found.excess > 0.0:
                seen = found
                break
        else:
            return seen


def simpler(at: Point) -> Iterator[Point]:
    """Points that are simpler by one change, the largest changes first."""
    J, K = at.gradients, len(at.losses)
    if at.past is not None:
        yield replace(at, past=None)
        if at.was_there:
            yield from (replace(simple, past=simple) for simple in simpler(replace(at, past=None)))
            return
    if K > 2:
        yield from (at.take([j for j in range(K) if j != k]) for k in range(K))
    if J.shape[1] > 2 and at.trunk is None:
        yield from (replace(at, gradients=np.delete(J, j, axis=1)) for j in range(J.shape[1]))
    if (at.losses != 1.0).any():
        yield replace(at, losses=np.ones(K))
    for largest in (1, 2, 3, 4, 6, 9):
        for longest in (abs(J).max(), np.maximum(abs(J).max(axis=1, keepdims=True), 1.0)):
            rough = np.round(J * (largest / longest) * (1 + 1e-9))
            if abs(rough).sum() < abs(J).sum() and rough.any():
                yield replace(at, gradients=rough)
    yield from (replace(at, gradients=nearer) for nearer in towards_0(J))
    if at.trunk is not None:
        yield from (replace(at, trunk=nearer) for nearer in towards_0(at.trunk))
    if (at.losses != 1.0).any():
        for k in range(K):
            if at.losses[k] > 1.0:
                yield replace(at, losses=at.losses - (np.arange(K) == k))


def towards_0(array: Array) -> Iterator[Array]:
    """The array with one number halved, or one step nearer to 0; whole numbers stay whole."""
    for nearer in (np.trunc(array / 2), array - np.sign(array)):
        for place in zip(*np.nonzero(nearer != array), strict=True):
            changed = array.copy()
            changed[place] = nearer[place]
            if changed.any():
                yield changed
