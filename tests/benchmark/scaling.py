"""How the cost of a strategy grows with the number of tasks, and falls with the size of a group.

W2's network with K = 2 … 40 binary tasks. Every cost is relative to the same side's averaged step in the
same round, so it says what a strategy costs, not how fast a side is.
"""

import statistics
from contextlib import suppress
from dataclasses import dataclass, replace

from tests.benchmark.sides import build
from tests.benchmark.worker import time_block
from tests.benchmark.workloads import WORKLOADS, Unsupported

SIZES = (2, 5, 10, 20, 40)
STRATEGIES = ("averaged", "mgda-ub", "mgda", "alternating")


@dataclass(frozen=True)
class ScalingRow:
    """One strategy of one side at one K; `group_size` is 0 for all but the grouped step."""

    side: str
    tasks: int
    strategy: str
    group_size: int
    milliseconds: float
    ratio: float


def scaling_rows(side: str, rounds: int, seconds: float, clock: str) -> list[ScalingRow]:
    """All strategies of a side at every K, taking turns block by block."""
    rows = []
    for tasks in SIZES:
        forms = [(strategy, 0) for strategy in STRATEGIES]
        forms += [("grouped", size) for size in (1, *SIZES) if tasks % size == 0]
        steps = {}
        for strategy, size in forms:
            workload = replace(WORKLOADS["W2"], tasks=tasks, group_size=size)
            with suppress(Unsupported):
                steps[strategy, size] = build(side, workload, strategy, "sgd")[0]
        times: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
        for _ in range(rounds):
            for key, step in steps.items():
                times[key].append(time_block(step, seconds, clock)[0])
        averaged = times["averaged", 0]
        for (strategy, size), own in times.items():
            ratio = statistics.median(a / b for a, b in zip(own, averaged, strict=True))
            rows.append(ScalingRow(side, tasks, strategy, size, 1e3 * statistics.median(own), ratio))
    return rows
