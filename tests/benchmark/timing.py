"""Compare, then time: sides take turns block by block, and every ratio is taken within a round."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.benchmark.sides import AGAINST, FLOOR
from tests.benchmark.worker import Worker
from tests.benchmark.workloads import Workload, start

# Relative to the distance moved. Adam turns the rounding of a gradient near zero into a whole step.
TOLERANCE = {"sgd": 2e-3, "plain": 2e-3, "adam": 2e-2}


@dataclass(frozen=True)
class Row:
    """One side on one workload, strategy and optimizer.

    `status` is "timed", "disagrees" or "failed"; `note` says how far or why. `ratio` is the median over the
    rounds of this side's time over the floor's in the same round, `low` and `high` its quartiles; `against` is
    the same over the other checkout's time, if there is one. `cores` is the CPU time used per second: below one,
    the machine was busy with something else.
    """

    threads: int
    workload: str
    strategy: str
    optimizer: str
    side: str
    status: str
    milliseconds: float = float("nan")
    ratio: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    against: float = float("nan")
    against_low: float = float("nan")
    against_high: float = float("nan")
    cores: float = float("nan")
    note: str = ""


def disagreement(found: list[np.ndarray], expected: list[np.ndarray], initial: list[np.ndarray]) -> float:
    """Largest distance of a parameter array from the expected one, relative to how far it should have moved."""
    if [array.shape for array in found] != [array.shape for array in expected]:
        return float("inf")
    worst = 0.0
    for a, b, c in zip(found, expected, initial, strict=True):
        moved = float(np.linalg.norm(b - c))
        distance = float(np.linalg.norm(a - b))
        if not np.isfinite(distance):
            return float("inf")
        worst = max(worst, distance / moved if moved else (0.0 if distance == 0.0 else float("inf")))
    return worst


def initial_parameters(workload: Workload) -> list[np.ndarray]:
    """Trunk, then head after head."""
    initial = start(workload)
    return initial.trunk + [array for head in initial.heads for array in head]


def quartiles(own: list[float], others: list[float]) -> list[float]:
    """The quartiles (lower, median, upper) over the rounds of one side's time over another's in the same round."""
    found: list[float] = np.quantile(np.divide(own, others), (0.25, 0.5, 0.75)).tolist()
    return found


def time_sides(
    workers: list[Worker], workload: Workload, strategy: str, optimizer: str,
    threads: int, rounds: int, seconds: float, clock: str,
) -> Iterator[Row]:  # fmt: skip
    """Rows for the sides that have this step. The first worker is the floor: its parameters are the measure."""

    def row(worker: Worker, status: str, **values: float | str) -> Row:
        found: dict = values
        return Row(threads, workload.name, strategy, optimizer, worker.name, status, **found)

    initial = initial_parameters(workload)
    expected: list[np.ndarray] | None = None
    agreeing: list[Worker] = []
    for worker in workers:
        status, answer = worker.prepare(workload, strategy, optimizer)
        if status == "failed":
            yield row(worker, "failed", note=answer)
        elif status == "parameters":
            expected = answer if expected is None else expected
            distance = disagreement(answer, expected, initial)
            if distance <= TOLERANCE[optimizer]:
                agreeing.append(worker)
            else:
                yield row(worker, "disagrees", note=f"relative distance {distance:.1e}")
        if worker.name == FLOOR and not agreeing:
            return  # no yardstick, no ratios

    times: dict[str, list[float]] = {worker.name: [] for worker in agreeing}
    cores: dict[str, list[float]] = {worker.name: [] for worker in agreeing}
    for turn in range(rounds):
        # forwards, then backwards: no side always runs in the wake of the same neighbour
        for worker in agreeing if turn % 2 == 0 else reversed(agreeing):
            status, answer = worker.block(seconds, clock)
            if status == "times":
                times[worker.name].append(answer[0])
                cores[worker.name].append(answer[1])
    for worker in agreeing:
        own = times[worker.name]
        if len(own) < rounds:
            yield row(worker, "failed", note="a block of steps failed")
            continue
        low, ratio, high = quartiles(own, times[FLOOR])
        found = {"milliseconds": 1e3 * statistics.median(own), "low": low, "ratio": ratio, "high": high}
        if len(times.get(AGAINST, [])) == rounds:
            low, ratio, high = quartiles(own, times[AGAINST])
            found |= {"against_low": low, "against": ratio, "against_high": high}
        yield row(worker, "timed", cores=statistics.median(cores[worker.name]), **found)
