"""Random groups of tasks, and what a step of each strategy costs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tinymtl.course.assignment import Case, Mistake, Property, Question, Reply
from tinymtl.steps.grouped import random_partition

Rng = np.random.Generator
Groups = frozenset[frozenset[int]]
DRAWS = 300


def random_groups(tasks: int, group_size: int, seed: int) -> list[list[int]]:
    """Tasks 0 … tasks−1 split at random into groups of `group_size`; the last may be smaller."""
    return random_partition(tasks, group_size, np.random.default_rng(seed))


def as_partition(value: Any, tasks: int, group_size: int) -> Groups | None:
    """The partition without its order, or None where it is none: every task once, only one group smaller.

    >>> as_partition([[2, 0], [1]], 3, 2) == frozenset({frozenset({0, 2}), frozenset({1})})
    True
    >>> as_partition([[0], [1], [2]], 3, 2) is None
    True
    """
    groups = (
        [group.tolist() if isinstance(group, np.ndarray) else group for group in value]
        if isinstance(value, list | np.ndarray)
        else []
    )
    if not groups or not all(isinstance(group, list) for group in groups):
        return None
    members = [task for group in groups for task in group]
    if any(type(task) is not int for task in members) or sorted(members) != list(range(tasks)):
        return None
    sizes = sorted((len(group) for group in groups), reverse=True)
    full, rest = divmod(tasks, group_size)
    if sizes != [group_size] * full + [rest] * bool(rest):
        return None
    return frozenset(frozenset(group) for group in groups)


def _partitions(cases: list[Case], replies: list[Reply]) -> list[Groups | None]:
    return [as_partition(reply.value, *case.arguments[:2]) for case, reply in zip(cases, replies, strict=True)]  # type: ignore[index]


def _valid_and_drawn(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    """Every reply is a partition, and for each number of tasks more than one of them turns up."""
    found = _partitions(cases, replies)
    kinds: dict[Any, set[Groups | None]] = {}
    for case, groups in zip(cases, found, strict=True):
        kinds.setdefault(case.arguments[:2], set()).add(groups)  # type: ignore[index]
    several = all(len(kinds[tasks, size]) > 1 for tasks, size in kinds if 1 < size < tasks)
    return None not in found and several


def _repeatable(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    """The first half of the replies is the second half again, and not all of one half are alike."""
    found = _partitions(cases, replies)
    half = len(found) // 2
    return None not in found and found[:half] == found[half:] and len(set(found[:half])) > 1


def _uniform(cases: list[Case], replies: list[Reply], expected: list[Reply]) -> bool:
    """The three partitions of four tasks in pairs: each within 4.5 standard deviations of a third of the draws."""
    found = _partitions(cases, replies)
    counts = Counter(found)
    spread = 4.5 * (DRAWS * (1 / 3) * (2 / 3)) ** 0.5
    return None not in found and all(abs(count - DRAWS / 3) < spread for count in counts.values())


def _seeds(rng: Rng, count: int) -> list[int]:
    return rng.choice(2**31, size=count, replace=False).tolist()


def _sizes(rng: Rng) -> list[Case]:
    sizes = [(4, 2), (6, 3), (5, 2), (7, 3), (3, 1), (4, 4), (5, 4)]
    return [Case("random_groups", (tasks, size, seed)) for tasks, size in sizes for seed in _seeds(rng, 6)]


def _twice(rng: Rng) -> list[Case]:
    cases = [Case("random_groups", (8, 3, seed)) for seed in _seeds(rng, 6)]
    return cases + cases


PARTITIONS = Question(
    "partitions",
    "Random groups",
    "a list of lists of task numbers",
    (
        Property(
            "every task in one group, only one group smaller, more than one partition in sight",
            1,
            _sizes,
            _valid_and_drawn,
        ),
        Property("the same seed gives the same groups, another seed others", 1, _twice, _repeatable),
        Property(
            "four tasks in pairs: each of the three partitions a third of the time",
            2,
            lambda rng: [Case("random_groups", (4, 2, seed)) for seed in _seeds(rng, DRAWS)],
            _uniform,
        ),
    ),
    {"random_groups": random_groups},
    (
        Mistake(
            "nothing is drawn: the groups follow the numbers of the tasks",
            "random_groups",
            lambda tasks, size, seed: [list(range(i, min(i + size, tasks))) for i in range(0, tasks, size)],
        ),
    ),
)


def pass_counts(strategy: str, tasks: int, group_size: int) -> list[int]:
    """Passes of one step: forward through the trunk, back through the trunk, back through heads."""
    groups = -(-tasks // group_size)
    trunk = {
        "averaged": (1, 1),
        "mgda": (1, tasks),
        "mgda-ub": (1, 1),
        "alternating": (tasks, tasks),
        "grouped": (groups, groups),
    }[strategy]
    return [*trunk, tasks]


def _counts(*strategies: str) -> Any:
    def draw(rng: Rng) -> list[Case]:
        cases = []
        for tasks in rng.choice(np.arange(3, 41), size=4, replace=False).tolist():
            size = int(rng.integers(2, tasks))
            cases += [Case("pass_counts", (strategy, tasks, size)) for strategy in strategies]
        return [*cases, *(Case("pass_counts", (strategy, 7, 3)) for strategy in strategies)]

    return draw


PASSES = Question(
    "passes",
    "What a step costs",
    "three whole numbers",
    (
        Property("averaged, MGDA and MGDA-UB", 1, _counts("averaged", "mgda", "mgda-ub")),
        Property("alternating and grouped", 1, _counts("alternating", "grouped")),
    ),
    {"pass_counts": pass_counts},
    (
        Mistake(
            "the last, smaller group is forgotten: the number of groups is rounded up",
            "pass_counts",
            lambda s, k, n: [k // n, k // n, k] if s == "grouped" else pass_counts(s, k, n),
        ),
        Mistake(
            "MGDA-UB goes back through the trunk once, not once per task: that is its point",
            "pass_counts",
            lambda s, k, n: pass_counts("mgda" if s == "mgda-ub" else s, k, n),
        ),
        Mistake(
            "the alternating step computes the trunk anew for every task, since the one before has just moved it",
            "pass_counts",
            lambda s, k, n: [1, k, k] if s == "alternating" else pass_counts(s, k, n),
        ),
        Mistake(
            "MGDA needs every task's own gradient at the trunk: one backward pass per task",
            "pass_counts",
            lambda s, k, n: pass_counts("mgda-ub" if s == "mgda" else s, k, n),
        ),
    ),
)
