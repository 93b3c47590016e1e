"""Peak memory of a training process, and what an import costs: each in fresh processes."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.benchmark.sides import SIDES
from tests.benchmark.worker import Worker, peak_memory
from tests.benchmark.workloads import Workload

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = {
    "nothing": "",
    "numpy": "numpy",
    "tinymtl": "tinymtl",
    "torch": "torch",
    "torchjd": "torchjd",
    "jax": "jax",
    "autograd": "autograd.numpy",
    "mygrad": "mygrad",
    "quadprog": "quadprog",
}


@dataclass(frozen=True)
class MemoryRow:
    """Peak resident memory (MB) of a process that imported a side and trained with it."""

    workload: str
    strategy: str
    side: str
    megabytes: float


@dataclass(frozen=True)
class ImportRow:
    """Median milliseconds of a process that imports a module and ends, and the part that is the import's."""

    module: str
    milliseconds: float
    beyond_python: float
    beyond_numpy: float


def memory_rows(sides: list[str], workload: Workload, strategy: str, threads: int) -> Iterator[MemoryRow]:
    """One fresh process per side."""
    for name in sides:
        worker = Worker(name, threads)
        status, _ = worker.prepare(workload, strategy, workload.optimizers[0])
        if status == "parameters":
            worker.block(0.5, "wall")
            status, peak = worker.call(peak_memory)
            if status == "answer":
                yield MemoryRow(workload.name, strategy, name, peak)
        worker.close()


def import_rows(rounds: int) -> list[ImportRow]:
    """Wall time of `python -c "import …"`, the modules taking turns after one round that compiles them."""
    present = {name: module for name, module in MODULES.items() if not module or find_spec(module.split(".")[0])}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(CHECKOUT)
    times: dict[str, list[float]] = {name: [] for name in present}
    for turn in range(rounds + 1):
        for name, module in present.items():
            command = [sys.executable, "-c", f"import {module}" if module else ""]
            begin = time.perf_counter()
            subprocess.run(command, check=True, env=environment)
            if turn:
                times[name].append(1e3 * (time.perf_counter() - begin))
    median = {name: statistics.median(found) for name, found in times.items()}

    def beyond(name: str, base: str) -> float:
        """Median of the differences within a round."""
        return statistics.median(a - b for a, b in zip(times[name], times[base], strict=True))

    return [ImportRow(n, median[n], beyond(n, "nothing"), beyond(n, "numpy")) for n in present]


def known_sides(names: list[str]) -> list[str]:
    """The sides whose library is installed."""
    return [name for name in names if find_spec(SIDES[name].library)]
