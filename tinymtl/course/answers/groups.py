"""Random groups of tasks, and what a step of each strategy costs. Lesson 8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tinymtl.course.comparing import described, numbers
from tinymtl.course.question import Case, Reply, Rng
from tinymtl.course.topic import questions
from tinymtl.course.worker.values import Unordered
from tinymtl.steps.grouped import random_partition

Groups = frozenset[frozenset[int]]
Sampler = Callable[[int, int, int], Any]
DRAWS = 600
UNLIKELY = 41.4  # a χ² of two degrees of freedom beyond this: once in 10⁹ fair samplers


def random_groups(tasks: int, group_size: int, seed: int) -> list[list[int]]:
    """Tasks 0 … tasks−1 split at random into groups of `group_size`; the last may be smaller."""
    return random_partition(tasks, group_size, np.random.default_rng(seed))


def _members(value: Any) -> list[list[int]] | None:
    """The groups as lists of whole numbers, or None if they are none. Sets will do: a group has no order."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple | np.ndarray) or getattr(value, "ndim", 1) == 0:
        return None
    groups = []
    for group in value:
        found = numbers(list(group) if isinstance(group, Unordered) else group)
        if found is None or found.ndim != 1 or (found != np.round(found)).any():
            return None
        groups.append(found.astype(int).tolist())
    return groups


def partition_problem(value: Any, tasks: int, group_size: int) -> str:
    """What keeps a value from being a partition: every task once, all groups full except at most one.

    >>> partition_problem([[2, 0], [1]], 3, 2), partition_problem([[0], [2]], 3, 2)
    ('', 'with 3 tasks in groups of 2 some task is in no group')
    """
    groups = _members(value)
    these = f"with {tasks} tasks in groups of {group_size}"
    if groups is None:
        return f"the answer should be a list of groups, each a list of task numbers; it is {described(value)}"
    members = [task for group in groups for task in group]
    if members and not set(members) <= set(range(tasks)):
        if sorted(members) == list(range(1, tasks + 1)):
            return "the tasks are called 0 … tasks − 1; these are counted from 1"
        return "the tasks are called 0 … tasks − 1, and something else is in a group"
    if len(members) > len(set(members)):
        return "some task is in two groups: shuffle all tasks once and cut, instead of drawing every group anew"
    full, rest = divmod(tasks, group_size)
    wanted = [group_size] * full + [rest] * bool(rest)
    sizes = sorted((len(group) for group in groups), reverse=True)
    if len(members) < tasks:
        dropped = rest and sizes == [group_size] * full
        return f"{these} some task is in no group" + (": the rest makes a smaller group of its own" if dropped else "")
    if sizes == wanted:
        return ""
    if len(groups) == group_size != len(wanted):
        return "group_size is how many tasks are in a group, not how many groups there are"
    if 0 in sizes:
        return f"{these} one group is empty: leave it out"
    text = " + ".join(map(str, wanted))
    return (
        f"{these} the sizes are {text}: one smaller group takes the whole rest; yours are {' + '.join(map(str, sizes))}"
    )


def _as_groups(value: Any) -> Groups:
    return frozenset(frozenset(group) for group in _members(value) or [])


def _partition(case: Case, reply: Reply, right: Reply) -> str:
    return partition_problem(reply.value, *case.arguments[:2])  # type: ignore[index]


_SAME = "every seed gives the same groups: shuffle the tasks, with a generator made from seed"


def _drawn(cases: list[Case], replies: list[Reply]) -> str:
    """For each number of tasks more than one partition turns up."""
    kinds: dict[Any, set[Groups]] = {}
    for case, reply in zip(cases, replies, strict=True):
        kinds.setdefault(case.arguments[:2], set()).add(_as_groups(reply.value))  # type: ignore[index]
    alike = [
        f"{tasks} tasks in groups of {size}"
        for tasks, size in kinds
        if len(kinds[tasks, size]) == 1 and 1 < size < tasks
    ]
    return f"with {alike[0]} every seed gives the same groups" if alike else ""


def _repeatable(cases: list[Case], replies: list[Reply]) -> str:
    """The first half of the replies is the second half again, and not all of one half are alike."""
    found = [_as_groups(reply.value) for reply in replies]
    half = len(found) // 2
    if found[:half] != found[half:]:
        return "the same seed gives different groups: make the generator from seed, inside the function"
    return _SAME if len(set(found[:half])) == 1 else ""


def _uniform(cases: list[Case], replies: list[Reply]) -> str:
    """The three partitions of four tasks in pairs come equally often."""
    counts = sorted(Counter(_as_groups(reply.value) for reply in replies).values())
    counts = [0] * (3 - len(counts)) + counts
    usual = len(cases) / 3
    if sum((count - usual) ** 2 for count in counts) / usual < UNLIKELY:
        return ""
    if len(cases) in counts:
        return _SAME
    missing = "some of the three pairings of four tasks never comes: shuffle all, and cut; " if 0 in counts else ""
    text = ", ".join(map(str, counts[:-1]))
    return (
        f"{missing}the three pairings come {text} and {counts[-1]} times in {len(cases)}, not each a third of the time"
    )


def _seeds(rng: Rng, count: int) -> list[int]:
    return rng.choice(2**31, size=count, replace=False).tolist()


def _sizes(called: str) -> Callable[[Rng], list[Case]]:
    """Cases of many sizes, each with so many seeds that a fair sampler draws one partition alone once in 10⁷ times."""
    sizes = {(4, 2): 16, (6, 3): 10, (5, 2): 8, (7, 3): 8, (3, 1): 1, (4, 4): 1, (5, 4): 12, (8, 5): 6, (3, 2): 16}
    return lambda rng: [
        Case(called, (tasks, size, seed)) for (tasks, size), draws in sizes.items() for seed in _seeds(rng, draws)
    ]


def _twice(called: str) -> Callable[[Rng], list[Case]]:
    def draw(rng: Rng) -> list[Case]:
        cases = [Case(called, (8, 3, seed)) for seed in _seeds(rng, 6)]
        return cases + cases

    return draw


def _pairings(called: str) -> Callable[[Rng], list[Case]]:
    return lambda rng: [Case(called, (4, 2, seed)) for seed in _seeds(rng, DRAWS)]


# What a step costs


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


def _counts(*strategies: str) -> Callable[[Rng], list[Case]]:
    def draw(rng: Rng) -> list[Case]:
        sizes = [
            (tasks, int(rng.choice([s for s in range(2, tasks) if tasks % s])))  # a rest is left over
            for tasks in [*rng.choice(np.arange(3, 41), size=4, replace=False).tolist(), 7]
        ]
        size, groups = rng.integers(2, 6, size=2).tolist()
        sizes.append((size * groups, size))  # and here none is
        cases = [Case("pass_counts", (strategy, *pair)) for pair in sizes for strategy in strategies]
        return [cases[i] for i in rng.permutation(len(cases))]

    return draw


_WHY: dict[tuple[str, int], str] = {
    ("averaged", 0): "the averaged step runs the trunk forward once",
    ("averaged", 1): "the averaged loss is one number, and goes back through the trunk once",
    ("mgda", 0): "MGDA takes all gradients at one point, so the trunk runs forward once",
    ("mgda", 1): "MGDA needs every task's own gradient at the trunk: one backward pass per task",
    ("mgda-ub", 0): "MGDA-UB takes all gradients at one point, so the trunk runs forward once",
    ("mgda-ub", 1): "MGDA-UB goes back through the trunk once, not once per task: that is its point",
    ("alternating", 0): (
        "the alternating step computes the trunk anew for every task, since the one before has just moved it"
    ),
    ("alternating", 1): "every task's turn goes back through the trunk once",
    ("grouped", 0): "every group's turn runs the trunk forward once",
    ("grouped", 1): "a group's mean loss goes back through the trunk once, however many tasks are in the group",
}
_ROUND_UP = "the last, smaller group is forgotten: the number of groups is rounded up"


def _counted(case: Case, reply: Reply, right: Reply) -> str:
    """What is true of the numbers that are wrong."""
    strategy, tasks, size = case.arguments  # type: ignore[misc]
    given = numbers(reply.value)
    if given is None or given.size != 3 or not np.isfinite(given).all():
        return f"pass_counts gives back {described(reply.value)} for {strategy!r}; asked for: three whole numbers"
    said = []
    for place, (one, other) in enumerate(zip(given.ravel(), right.value, strict=True)):
        if one != other and strategy == "grouped" and place < 2 and one in (tasks // size, tasks / size):
            said.append(_ROUND_UP)
        elif one != other and strategy == "grouped" and place < 2 and one == tasks // size + 1:
            said.append("a group too many is counted where the group size divides the number of tasks")
        elif one != other:
            said.append(_WHY.get((strategy, place), "every task's head goes back once in a step, in every strategy"))
    return "; ".join(dict.fromkeys(said))


QUESTIONS = questions(__file__, globals())
