"""The main job: every strategy, on every data set, with paired seeds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

from tinymtl.backend import module_for
from tinymtl.checks import whole_number
from tinymtl.data import MultiTaskData
from tinymtl.lab.comparison import Comparison
from tinymtl.lab.environment import environment
from tinymtl.lab.plan import plan
from tinymtl.lab.progress import progress_bar
from tinymtl.lab.runs import Result, Run, execute

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Job = tuple[Run, MultiTaskData | None]


def compare(
    data: str | MultiTaskData | Sequence[str | MultiTaskData] = ("multidigits", "attributes"),
    steps: Sequence[str] | None = None,
    *,
    trunk: Sequence[int] | str | None = None,
    epochs: int | None = None,
    seeds: int | Sequence[int] = 3,
    lr: float | None = None,
    batch_size: int | None = None,
    group_size: int | None = None,
    device: str = "cpu",
    data_dir: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: bool | None = None,
) -> Comparison:
    """Train single-task nets and every strategy on each data set, and put them side by side.

    A fair comparison: for one seed every strategy starts from the same weights and sees the same minibatches, the
    budget is the same number of minibatches for all, every strategy uses Adam with the same settings, the epoch
    is chosen on validation, and the test part is looked at once. Its limits: one learning rate for all, and
    strategies that update the trunk several times per minibatch take more steps (and time) within the budget.

    Parameters
    ----------
    data : name, MultiTaskData, or a list of them, default ("multidigits", "attributes")
    steps : list of names, default all
        "averaged", "mgda", "mgda-ub", "alternating-shared", "alternating" (moments per task), "grouped". The
        single-task nets, the reference, are trained always.
    trunk, epochs, lr, batch_size : optional
        For every data set; by default those of `SETTINGS`.
    seeds : int or list of int, default 3
        A number n means the seeds 0 … n − 1.
    group_size : int, optional
        Of random grouping; by default half the tasks. With two tasks random grouping is left out.
    device : "cpu" (default) or "cuda"
    data_dir : path, optional
        Where MNIST's files lie, for "multi_mnist".
    workers : int, default 1
        Processes that share the runs (on the CPU), each with one BLAS thread. What comes out does not depend on
        their number. A script that asks for more than one needs `if __name__ == "__main__":` around the call.
    progress : bool, optional
        Show a progress bar over the runs (on stderr). By default only on a terminal.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, OSError
        For an unknown name or a bad option, or data that cannot be read: before anything is trained.
    RuntimeError
        Where a GPU is asked for and cannot be used; it says which part is missing.

    Examples
    --------
    >>> found = compare("attributes", ["mgda"], trunk=[4], epochs=1, seeds=2)
    >>> found.strategies("attributes"), found.metrics("attributes", "mgda").shape
    (['single', 'mgda'], (2, 8))
    """
    module_for(device)
    jobs, facts, notes = plan(
        data,
        steps,
        seeds,
        trunk=trunk,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        group_size=group_size,
        device=device,
        data_dir=data_dir,
    )
    workers = whole_number("workers", workers, 1)
    shared = workers > 1 and device == "cpu" and len(jobs) > 1
    outcomes = _in_processes(jobs, min(workers, len(jobs))) if shared else (execute(*job) for job in jobs)
    return Comparison(_collected(outcomes, len(jobs), progress), facts, notes)


def _collected(outcomes: Iterator[Result], total: int, progress: bool | None) -> list[Result]:
    """All results, in the order of the jobs, with a bar on the way."""
    bar = progress_bar(total, 0, "run", progress)
    results = []
    try:
        for result in outcomes:
            results.append(result)
            bar.update()
    finally:
        bar.close()
    return results


def _in_processes(jobs: list[Job], workers: int) -> Iterator[Result]:
    """The jobs' results in their order, computed by fresh processes with one BLAS thread each."""
    from concurrent.futures import ProcessPoolExecutor  # here, since they take long to import
    from multiprocessing import active_children, get_context

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
