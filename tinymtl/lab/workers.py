"""Runs that several processes share."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tinymtl.data import MultiTaskData
from tinymtl.lab.runs import Result, Run, execute
from tinymtl.lab.strategies import Make

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

#: A run, its data set if it is one's own, and what makes its step if the strategy is one's own.
Job = tuple[Run, MultiTaskData | None, Make | None]


def in_processes(jobs: list[Job], workers: int) -> Iterator[Result]:
    """The jobs' results in their order, computed by fresh processes with one BLAS thread each."""
    from concurrent.futures import ProcessPoolExecutor  # here, since they take long to import
    from multiprocessing import active_children, get_context

    for run, _, make in jobs:
        if make is not None:
            _check_sendable(run.strategy, make)
    others = set(active_children())
    # one BLAS thread each: several small matrix products share the cores better so
    with environment(dict.fromkeys(THREAD_VARIABLES, "1")):
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_leave_ctrl_c_to_the_parent)
        try:
            for future in [pool.submit(execute, *job) for job in jobs]:
                yield future.result()
        except BaseException:  # Ctrl-C, or a run that failed: end the runs that are under way
            for process in set(active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown()


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check_sendable(name: str, make: Make) -> None:
    """Raise a ValueError if another process could not find what makes the strategy's step."""
    reason = ""
    try:
        pickle.dumps(make)
    except Exception as error:  # pickle has no exception of its own for this
        reason = str(error)
    where = getattr(make, "func", make)  # a functools.partial is found where its function is
    if getattr(where, "__module__", "") == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        reason = "it was defined in a notebook or at a prompt"
    if reason:
        raise ValueError(
            f"{name} cannot be sent to another process ({reason}): define it at the top of a module, or use workers=1"
        )


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started inside, and put them back after.

    Examples
    --------
    >>> with environment({"TINYMTL_EXAMPLE": "1"}):
    ...     os.environ["TINYMTL_EXAMPLE"]
    '1'
    >>> "TINYMTL_EXAMPLE" in os.environ
    False
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
