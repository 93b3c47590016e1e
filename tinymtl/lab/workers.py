"""Runs that several processes share."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator

from tinymtl.data import MultiTaskData
from tinymtl.files import occupy_standard_descriptors
from tinymtl.lab.runs import Failure, Result, Run, attempt
from tinymtl.lab.strategies import Make

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

#: A run, its data set if it is one's own, and what makes its step if the strategy is one's own.
Job = tuple[Run, MultiTaskData | None, Make | None]


def in_processes(jobs: list[Job], workers: int) -> Iterator[tuple[int, Result | Failure]]:
    """Each job's number and outcome, as they are finished, by fresh processes with one BLAS thread each.

    If a process dies (killed, or out of memory) that is said at once. The runs that were under way are done again,
    one at a time, so that a run that kills its process every time is known, and costs only itself.

    The processes are loky's: they do not import the script that started them, and take what was defined there as code.
    """
    from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait  # here: they take long to import

    from joblib.externals.loky import ProcessPoolExecutor

    for run, _, make in jobs:
        if make is not None:
            _check_sendable(run.strategy, make)
    occupy_standard_descriptors()
    waiting, alone = deque(range(len(jobs))), deque[int]()
    while waiting or alone:
        source, width = (alone, 1) if alone else (waiting, workers)
        # one BLAS thread each: several small matrix products share the cores better so
        one_thread = dict.fromkeys(THREAD_VARIABLES, "1")
        pool = ProcessPoolExecutor(width, initializer=_end_with, initargs=(os.getpid(),), env=one_thread)
        under_way: dict[Future[Result | Failure], int] = {}
        try:
            while source or under_way:
                while source and len(under_way) < width:
                    number = source.popleft()
                    under_way[pool.submit(attempt, *jobs[number])] = number
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    yield under_way.pop(future), outcome
        except BrokenExecutor:
            if source is alone:
                for number in under_way.values():
                    reason = "its process died twice: it was killed, or the memory ran out"
                    yield number, Failure(jobs[number][0], "RuntimeError", reason)
            else:
                again = "; ".join(jobs[number][0].name for number in under_way.values())
                warnings.warn(f"a worker process died; its run is done again, one of: {again}", stacklevel=2)
                alone.extend(under_way.values())
        finally:  # also on Ctrl-C: end the runs that are under way
            pool.shutdown(kill_workers=True)


def _end_with(parent: int) -> None:
    """In a worker: leave Ctrl-C to the parent, and end within a second of it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _check_sendable(name: str, make: Make) -> None:
    """Raise a ValueError if what makes the strategy's step cannot be sent to another process."""
    from joblib.externals.loky.backend.reduction import dumps

    try:
        dumps(make)
    except Exception as error:  # pickling has no exception of its own for this
        raise ValueError(
            f"{name} cannot be sent to another process ({error}): define it at the top of a module, or use workers=1"
        ) from error
