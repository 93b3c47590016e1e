"""One side in a process of its own, so that thread pools and memory allocators do not meet."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.benchmark.sides import SIDES, Built, build
from tests.benchmark.workloads import Unsupported, Workload

STEPS_COMPARED = 3


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that hold NumPy's BLAS, PyTorch and JAX to the same number of threads."""
    count = str(threads)
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NPROC")
    variables = dict.fromkeys(names, count)
    if threads == 1:
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return variables


def in_fresh_process(function: Callable[..., Any], threads: int, *arguments: Any) -> Any:
    """The result of a function of this package, run where the BLAS has not yet been given its threads."""
    spawn = multiprocessing.get_context("spawn")
    with patch.dict(os.environ, thread_environment(threads)), ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def three_steps(built: Built) -> list[np.ndarray]:
    """The parameters after three steps, as copies."""
    step, parameters = built
    for _ in range(STEPS_COMPARED):
        step()
    return [np.array(array) for array in parameters()]


#: What a step's time is read from: the wall, or the processor time of all threads of the process.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def time_block(step: Callable[[], Any], seconds: float, clock: str = "wall") -> tuple[float, float]:
    """Seconds per step over a block, and CPU seconds per second. The first step is not counted.

    A block is summed up by the lower quartile of its steps: on a machine that others use too, half of them may
    have been interrupted, and the wait is not the step's cost.
    """
    now = CLOCKS[clock]
    step()
    begin = time.perf_counter()
    step()
    once = time.perf_counter() - begin
    repeats = max(1, int(2e-4 / once))  # short steps in bunches, so that reading the clock costs nothing
    times: list[float] = []
    first, cpu = time.perf_counter(), time.process_time()
    while len(times) < 3 or time.perf_counter() - first < seconds:
        begin = now()
        for _ in range(repeats):
            step()
        times.append((now() - begin) / repeats)
    return float(np.quantile(times, 0.25)), (time.process_time() - cpu) / (time.perf_counter() - first)


def peak_memory() -> float:
    """Peak resident memory of this process in MB."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            peak = next(line for line in status if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    except (OSError, StopIteration):  # not Linux; there getrusage would count the parent's memory as well
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def use_checkout(checkout: Path) -> None:
    """Make `import tinymtl` in this process take that checkout's. This module and `sides` must not have imported it."""
    sys.path.insert(0, str(checkout))
    import tinymtl

    if not Path(tinymtl.__file__).resolve().is_relative_to(checkout.resolve()):
        raise RuntimeError(f"tinymtl came from {tinymtl.__file__}, not from {checkout}")


def serve(connection: Connection, name: str, threads: int, checkout: Path | None) -> None:
    """Answer requests until the other end closes: prepare a step, time a block of it, call a function."""
    if checkout is not None:
        use_checkout(checkout)
    if SIDES[name].library in ("torch", "torchjd"):
        import torch

        torch.set_num_threads(threads)
    step: Callable[[], Any] | None = None
    while True:
        try:
            request, *arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if request == "prepare":
                built = build(name, *arguments)
                step = built[0]
                connection.send(("parameters", three_steps(built)))
            elif request == "block" and step is not None:
                connection.send(("times", time_block(step, *arguments)))
            elif request == "call":
                function, *values = arguments
                connection.send(("answer", function(*values)))
        except Unsupported:
            connection.send(("unsupported", None))
        except Exception as problem:  # the other sides go on; the table names the problem
            connection.send(("failed", f"{type(problem).__name__}: {problem}"))


class Worker:
    """The near end: a process that runs one side, with the tinymtl of `checkout` if one is given."""

    def __init__(self, name: str, threads: int, checkout: Path | None = None) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, far = context.Pipe()
        self._process = context.Process(target=serve, args=(far, name, threads, checkout), daemon=True)
        with patch.dict(os.environ, thread_environment(threads)):
            self._process.start()
        far.close()

    def _ask(self, *request: Any) -> tuple[str, Any]:
        try:
            self._connection.send(request)
            answer: tuple[str, Any] = self._connection.recv()
        except (EOFError, OSError):
            return "failed", "its process ended"
        return answer

    def prepare(self, workload: Workload, strategy: str, optimizer: str) -> tuple[str, Any]:
        """("parameters", arrays after three steps), ("unsupported", None) or ("failed", message)."""
        return self._ask("prepare", workload, strategy, optimizer)

    def block(self, seconds: float, clock: str) -> tuple[str, Any]:
        """("times", (seconds per step, CPU seconds per second)) or ("failed", message)."""
        return self._ask("block", seconds, clock)

    def call(self, function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
        """("answer", what a function of this package returns there) or ("failed", message)."""
        return self._ask("call", function, *arguments)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()
