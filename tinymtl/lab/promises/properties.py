"""The properties: each says in symbols what a strategy would have to keep, and how clearly an answer breaks it.

A property goes through its variations of one point (another order of the tasks, another unit, …) and gives each an
`excess`: above 0 it is violated. Nothing counts that rounding could decide: relative numbers must exceed `MARGIN`,
a thousandth, and the largest bounds are wide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinymtl.backend import Array
from tinymtl.lab.promises.rules import TINY, Answer, Point, Rule, lengths
from tinymtl.ties import first_smallest, settled
from tinymtl.tracing.numerals import short, vector

MARGIN = 1e-3  #: A relative number below this is no violation.
NUDGE, JUMP = 1e-4, 0.1  #: Continuity: what v may do (√NUDGE is allowed) if one entry of a gradient moves by NUDGE.
WIDE = 10.0  #: Every bound that was proved is 1 or less in units of K·max(1, maxₖ‖gₖ‖).

SUB = "₁₂₃₄₅₆₇₈₉"


class Seen(NamedTuple):
    """What a property saw at one variation of a point.

    Attributes
    ----------
    excess : float
        Above 0 the property is violated.
    change : str
        The variation, in words; "" for the point itself.
    answers : tuple of Answer
        What the strategy says at the point, and then at the changed ones.
    inequality : callable
        () → the violated inequality with its numbers.
    """

    excess: float
    change: str
    answers: tuple[Answer, ...]
    inequality: Callable[[], str]


Property = Callable[[Rule, Answer], Iterator[Seen]]


def raises_no_loss(rule: Rule, here: Answer) -> Iterator[Seen]:
    """gₖ·v ≥ 0 for every task k."""
    slopes = here.g @ here.v
    cosines = slopes / np.maximum(lengths(here.g) * _length(here.v), 1e-300)
    k = first_smallest(cosines)
    yield Seen(-cosines[k] - MARGIN, "", (here,), _says(f"g{SUB[k]}·v = {{}} < 0", slopes[k]))


def permutation(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v is the same in whatever order the tasks are given."""
    K = len(here.weights)
    for order in ([*range(1, K), 0], [1, 0, *range(2, K)])[: K - 1]:
        there = rule(here.at.take(order))
        yield _differ(f"tasks in the order {', '.join(str(k + 1) for k in order)}", here, there)


def direction_unit(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v keeps its direction if a loss is multiplied by a positive number."""
    for there, change in _units(rule, here, (2.0, 100.0)):
        a, b = _unit(here.v), _unit(there.v)
        yield Seen(_length(a - b) - MARGIN, change, (here, there), _says("v/‖v‖ = {} ≠ {}", a, b))


def step_unit(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v stays the same if a loss is multiplied by a positive number."""
    for there, change in _units(rule, here, (2.0,)):
        yield _differ(change, here, there)


def linear(rule: Rule, here: Answer) -> Iterator[Seen]:
    """f(c) = v(c₁g₁, …, cKgK) is linear in c > 0: f(c) + f(c′) = f(c + c′). Losses, and what was learned, stay."""
    K = len(here.weights)
    for k in range(K):
        for factor in (2.0, 5.0):
            c = np.ones(K)
            c[k] = factor
            one, both = (rule(replace(here.at, gradients=here.at.gradients * a[:, None])) for a in (c, 1.0 + c))
            total = here.v + one.v
            largest = max(_length(total), _length(both.v), TINY)
            words = f"c = (1, …), c′ = c with c′{SUB[k]} = {factor:g}"
            inequality = _says("f(c) + f(c′) = {} ≠ f(c + c′) = {}", total, both.v)
            yield Seen(_length(total - both.v) / largest - MARGIN, words, (here, one, both), inequality)


def stops_only(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v → 0 only towards Pareto-stationary points: ‖v‖ ≥ ‖p‖/1000 for gradients of length up to 1, also next to others.

    p is the shortest vector of the hull of the gₖ. For longer gradients ‖p‖ is divided by maxₖ‖gₖ‖.
    """
    for at, change in ((here.at, ""), *_losses_small(rule, here), *_nudged(here)):
        there = rule(at) if change else here
        p = math.sqrt(there.nearest.squared_norm) / max(1.0, lengths(there.g).max())
        v = max(_length(there.v), 1e-30)
        if p > 1e-6:
            inequality = _says("‖v‖ = {}, but ‖p‖ = {}", _length(there.v), math.sqrt(there.nearest.squared_norm))
            yield Seen(math.log10(MARGIN * p / v), change, _both(here, there), inequality)


def stops_at_all(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v = 0 at every Pareto-stationary point: if Σ αₖgₖ = 0 with α ≥ 0 and Σ αₖ = 1."""
    there, change = here, ""
    if not here.is_stationary and here.at.trunk is None:
        J = here.at.gradients.copy()
        J[-1] = -J[:-1].sum(axis=0)
        change = f"g{SUB[len(J) - 1]} → {pair(J[-1])}"
        there = rule(replace(here.at, gradients=J))
    if there.is_stationary and there.g.any():
        inequality = _says("v = {} ≠ 0, but α = {} gives Σ αₖgₖ = 0", there.v, there.nearest.weights)
        yield Seen(_length(there.v) / lengths(there.g).max() - MARGIN, change, _both(here, there), inequality)


def bounded(rule: Rule, here: Answer) -> Iterator[Seen]:
    """‖v‖ ≤ 10·K·max(1, maxₖ‖gₖ‖), whatever the losses, the angles and the lengths are."""
    small = 1e-6
    tries = [("", here.at), (f"all gradients × {short(small)}", here.at.times(small))]
    for k in range(len(here.weights)) if rule.reads_losses else ():
        factors = np.ones(len(here.weights))
        factors[k] = small
        tries.append((f"L{SUB[k]} × {short(small)}", here.at.times(1.0, factors)))
        tries.append((f"L{SUB[k]} × 100", here.at.times(1.0, np.where(factors < 1.0, 100.0, 1.0))))
    for change, at in tries:
        there = here if at is here.at else rule(at)
        bound = WIDE * len(here.weights) * max(1.0, lengths(there.g).max())
        length = max(_length(there.v), 1e-30)
        inequality = _says("‖v‖ = {} > {}", length, bound)
        yield Seen(math.log10(length / bound), change, _both(here, there), inequality)


def duplicates(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v stays the same if a task is there twice."""
    for k in range(len(here.weights)):
        there = rule(here.at.take([*range(len(here.weights)), k]))
        yield _differ(f"task {k + 1} twice", here, there)


def continuous(rule: Rule, here: Answer) -> Iterator[Seen]:
    """v(g′) → v(g) as g′ → g: a gradient that moves by 10⁻⁴ moves v by less than 10⁻¹·max(1, maxₖ‖gₖ‖, ‖v‖)."""
    for at, change in _nudged(here):
        there = rule(at)
        jump = _length(there.v - here.v)
        excess = jump / max(1.0, lengths(here.g).max(), _length(here.v)) - JUMP
        yield Seen(excess, change, (here, there), _says("v jumps by {}", jump))


def descends_on_mean(rule: Rule, here: Answer) -> Iterator[Seen]:
    """g₀·v ≥ 0 for the mean gradient g₀."""
    mean = here.g.mean(axis=0)
    slope = float(mean @ here.v)
    cosine = slope / max(_length(mean) * _length(here.v), 1e-300)
    if _length(mean) > TINY * lengths(here.g).max():
        yield Seen(-cosine - MARGIN, "", (here,), _says("g₀·v = {} < 0", slope))


#: name → the property, in the order of the table's columns.
PROPERTIES: dict[str, Property] = {
    "raises no loss": raises_no_loss,
    "order of the tasks": permutation,
    "unit: direction": direction_unit,
    "unit: step": step_unit,
    "linear": linear,
    "stops only at Pareto": stops_only,
    "stops at all Pareto": stops_at_all,
    "bounded": bounded,
    "task twice": duplicates,
    "continuous": continuous,
    "mean falls": descends_on_mean,
}


# ------------------------------------------------------------ what they share


def _units(rule: Rule, here: Answer, factors: tuple[float, ...]) -> Iterator[tuple[Answer, str]]:
    """The answers for one loss, and its gradient, times a factor."""
    for factor, k in itertools.product(factors, range(len(here.weights))):
        unit = np.where(np.arange(len(here.weights)) == k, factor, 1.0)
        yield rule(here.at.times(unit, unit)), f"loss {k + 1} × {factor:g}"


def _nudged(here: Answer) -> Iterator[tuple[Point, str]]:
    """Points next to this one: an entry of a gradient moved by 10⁻⁴."""
    J = here.at.gradients
    for k, j in np.ndindex(J.shape):
        for sign in (1.0, -1.0):
            nudge = np.zeros_like(J)
            nudge[k, j] = sign * NUDGE
            yield replace(here.at, gradients=J + nudge), f"g{SUB[k]} → g{SUB[k]} + {pair(nudge[k])}"


def _losses_small(rule: Rule, here: Answer) -> Iterator[tuple[Point, str]]:
    if rule.reads_losses:
        yield here.at.times(1.0, 1e-3), "all losses × 0.001"


def _differ(change: str, here: Answer, there: Answer) -> Seen:
    """How far two v are from each other, as a part of the longer one."""
    longer = max(_length(here.v), _length(there.v), TINY)
    inequality = _says("v = {} ≠ {}", here.v, there.v)
    return Seen(_length(here.v - there.v) / longer - MARGIN, change, (here, there), inequality)


def _both(here: Answer, there: Answer) -> tuple[Answer, ...]:
    return (here,) if there is here else (here, there)


def _says(text: str, *values: Any) -> Callable[[], str]:
    """What makes the text with these numbers and vectors in it, once somebody wants to read it."""
    return lambda: text.format(*(pair(x) if np.ndim(x) else short(float(x)) for x in values))


def pair(values: Array) -> str:
    """A vector in short numbers, what is rounding left out."""
    return vector(settled(values, 1e-8 * max(np.abs(values).max(), 1e-8)).tolist())


def _length(a: Array) -> float:
    return math.sqrt(a @ a)


def _unit(a: Array) -> Array:
    length = _length(a)
    return a / length if length else a
