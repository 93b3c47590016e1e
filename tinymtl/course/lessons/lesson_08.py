"""Checks of lesson 8: random groups."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinymtl.course.lessons.checks import Check, Mistake, Problem, given, numbers

SIZES = ((1, 1), (4, 2), (6, 2), (6, 6), (5, 1), (7, 3), (8, 5))  # tasks, group size
DRAWS = 600
PAIRINGS = ([[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 3], [1, 2]])

Sampler = Callable[[int, int, int], Any]


def _groups(answer: Sampler, tasks: int, group_size: int, seed: int) -> list[list[int]] | None:
    """The groups that `answer` draws, sorted; None where it is still open."""
    call = f"({tasks}, {group_size}, {seed})"
    try:
        drawn = answer(tasks, group_size, seed)
    except Exception as error:
        raise Problem(f"your function raises {type(error).__name__} for {call}: {error}") from None
    if not given(drawn):
        return None
    try:
        return sorted(sorted(int(task) for task in group) for group in drawn)
    except (TypeError, ValueError):
        raise Problem(f"the answer for {call} is a list of groups, each a list of task numbers") from None


def _judged(answer: Any) -> dict[str, Any] | None:
    """Groups of several sizes, twice with the same seed, and how often each pairing of four tasks comes."""
    if not callable(answer):
        raise Problem(f"this answer is a function, not a {type(answer).__name__}")
    first = {(tasks, size): _groups(answer, tasks, size, 3) for tasks, size in SIZES}
    if None in first.values():
        return None
    again = {(tasks, size): _groups(answer, tasks, size, 3) for tasks, size in SIZES}
    pairings = [_groups(answer, 4, 2, seed) for seed in range(DRAWS)]
    return {"groups": first, "again": again, "counts": [pairings.count(pairing) for pairing in PAIRINGS]}


def _tasks(groups: Iterable[Iterable[int]]) -> list[int]:
    return sorted(itertools.chain.from_iterable(groups))


def _any(seen: Callable[[int, int, list[list[int]]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda found: any(seen(tasks, size, groups) for (tasks, size), groups in found["groups"].items())


def _sizes_are_right(tasks: int, group_size: int, groups: list[list[int]]) -> bool:
    full, rest = divmod(tasks, group_size)
    return sorted(map(len, groups), reverse=True) == [group_size] * full + [rest] * (rest > 0)


def _test(found: dict[str, Any]) -> bool:
    partitions = all(
        _tasks(groups) == list(range(tasks)) and _sizes_are_right(tasks, size, groups)
        for (tasks, size), groups in found["groups"].items()
    )
    usual = DRAWS / 3
    return partitions and found["groups"] == found["again"] and all(abs(n - usual) < 60 for n in found["counts"])


def _cut(order: Any, group_size: int) -> list[Any]:
    return [order[i : i + group_size] for i in range(0, len(order), group_size)]


def _rest_dropped(tasks: int, group_size: int, seed: int) -> Any:
    order = np.random.default_rng(seed).permutation(tasks)
    return order[: tasks // group_size * group_size].reshape(-1, group_size)


def _independent(tasks: int, group_size: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return [rng.choice(tasks, group_size, replace=False) for _ in range(-(-tasks // group_size))]


def _one_based(tasks: int, group_size: int, seed: int) -> Any:
    return _cut(np.random.default_rng(seed).permutation(tasks) + 1, group_size)


def _rotated(tasks: int, group_size: int, seed: int) -> Any:
    return _cut(np.roll(np.arange(tasks), np.random.default_rng(seed).integers(tasks)), group_size)


PARTITION = Check(
    _test,
    praise="every task in one group, the same seed gives the same groups, and all three pairings come equally often",
    look="three things are asked: a partition, the same one for the same seed, and all of them equally likely",
    mistakes={
        "the tasks are called 0 … tasks − 1": Mistake(
            _one_based, _any(lambda tasks, size, groups: not set(_tasks(groups)) <= set(range(tasks)))
        ),
        "some task is in two groups: shuffle all tasks once and cut, instead of drawing every group anew": Mistake(
            _independent, _any(lambda tasks, size, groups: len(set(_tasks(groups))) < len(_tasks(groups)))
        ),
        "7 tasks in groups of 3 leave a rest: its tasks make a smaller group of their own": Mistake(
            _rest_dropped, _any(lambda tasks, size, groups: len(_tasks(groups)) < tasks)
        ),
        "group_size is how many tasks are in a group, not how many groups there are": Mistake(
            lambda tasks, group_size, seed: np.array_split(np.random.default_rng(seed).permutation(tasks), group_size),
            _any(lambda tasks, size, groups: tasks > size > 1 and len(groups) == size != -(-tasks // size)),
        ),
        "the same seed gives different groups: make the generator from seed, inside the function": Mistake(
            lambda tasks, group_size, seed: _cut(np.random.default_rng().permutation(tasks), group_size),
            lambda found: bool(found["groups"] != found["again"]),
        ),
        "every seed gives the same groups: shuffle the tasks, with a generator made from seed": Mistake(
            lambda tasks, group_size, seed: _cut(np.random.default_rng(0).permutation(tasks), group_size),
            lambda found: DRAWS in found["counts"],
        ),
        "some of the three pairings of four tasks never comes: shuffle, do not rotate": Mistake(
            _rotated, lambda found: 0 in found["counts"]
        ),
    },
    judged=_judged,
)

CHECKS: dict[str, Check] = {
    "08.by_hand": numbers(
        (3, 1 / 3, 1, 2, 4),
        praise="three pairings, each a third of the time, for 2 passes between the average's 1 and alternating's 4",
        look="task 0's partner decides everything: who can it be? And a group takes one pass, however large it is",
        mistakes={
            "6 is the number of pairs; a partition is two of them at once (01|23)": (6, 1 / 3, 1, 2, 4),
            "task 0 has one partner, and three tasks can be it, all equally likely": (3, 1 / 2, 1, 2, 4),
            "not a sixth: there are six pairs, and every pairing has two of them": (3, 1 / 6, 1, 2, 4),
            "a group of two is one loss (their mean), so its turn takes one trunk backward": (3, 1 / 3, 1, 4, 4),
        },
    ),
    "08.partition": PARTITION,
}
