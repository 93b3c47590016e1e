"""The main job: every strategy, on every data set, with paired seeds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinymtl import data as datasets
from tinymtl.backend import module_for
from tinymtl.checks import whole_number
from tinymtl.data import MultiTaskData
from tinymtl.lab.networks import build
from tinymtl.lab.progress import progress_bar
from tinymtl.lab.results import Comparison, DataFacts
from tinymtl.lab.run_log import RunLog
from tinymtl.lab.runs import Failure, Result, Run, attempt
from tinymtl.lab.strategies import SINGLE, Make, chosen, make_step
from tinymtl.lab.workers import Job, in_processes
from tinymtl.optim import Adam


class Setting(NamedTuple):
    """How a data set is trained unless told otherwise, the same for all strategies."""

    trunk: Sequence[int] | str
    epochs: int
    batch_size: int
    lr: float


#: Chosen by hand: the averaged loss and the single-task nets have stopped improving on validation by then. The
#: trunks of 8 units are narrow on purpose: there the tasks fight for them.
SETTINGS = {
    "multidigits": Setting((8,), 50, 64, 0.001),
    "attributes": Setting((8,), 80, 64, 0.003),
    "weather": Setting((32,), 60, 64, 0.003),
    "penguins": Setting((32,), 100, 32, 0.003),
    "multi_mnist": Setting("lenet", 10, 256, 0.001),
}
OTHER_DATA = Setting((32,), 60, 64, 0.003)


def compare(
    data: str | MultiTaskData | Sequence[str | MultiTaskData] = ("multidigits", "attributes"),
    steps: str | Make | Sequence[str | Make] | None = None,
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
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
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
    steps : names of `tinymtl.STRATEGIES`, classes and functions, default those of the two papers; "all" for all names
        A name of the registry ("averaged", "mgda", "mgda-ub", …); a subclass of `Step`; or any function of (model,
        optimizer) that makes a step, such as `functools.partial(tinymtl.MGDA, normalize="l2")`. A class or function
        with a parameter `rng` gets the run's. The single-task nets, the reference, are trained always.
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
        their number. They end with this process, however it ends.
    out : path, optional
        A directory in whose runs.jsonl each run is written as soon as it is finished. (The tables and the picture
        are written by `Comparison.save`.)
    resume : bool, default False
        Take from `out` what is finished there: runs with the same settings, on data with the same contents.
    progress : bool, optional
        Show a progress bar over the runs (on stderr). By default only on a terminal.

    Returns
    -------
    Comparison
        Of all runs that were finished. A run that fails (it diverges, or its process is killed) costs itself, and a
        warning; `failures` lists them.

    Raises
    ------
    ValueError, OSError
        For an unknown name or a bad option, or data that cannot be read: before anything is trained.
    FloatingPointError, RuntimeError
        If no run could be finished; or a GPU is asked for and cannot be used: it says which part is missing.

    Examples
    --------
    >>> found = compare("attributes", ["mgda"], trunk=[4], epochs=1, seeds=2)
    >>> found.strategies("attributes"), found.metrics("attributes", "mgda").shape
    (['single', 'mgda'], (2, 8))
    """
    module_for(device)
    jobs, facts, notes = planned(
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
    if resume and out is None:
        raise ValueError("resume=True needs to know from where: give out=")
    log = None if out is None else RunLog(out, {name: found.digest for name, found in facts.items()})
    done = log.finished() if log is not None and resume else {}
    outcomes: list[Result | Failure | None] = [done.get(log.key(run)) if log else None for run, _, _ in jobs]
    left = [number for number, outcome in enumerate(outcomes) if outcome is None]
    todo = [jobs[number] for number in left]
    shared = workers > 1 and device == "cpu" and len(todo) > 1
    found = in_processes(todo, min(workers, len(todo))) if shared else enumerate(attempt(*job) for job in todo)
    bar = progress_bar(len(jobs), len(jobs) - len(todo), "run", progress)
    try:
        for number, outcome in found:
            outcomes[left[number]] = outcome
            if log is not None and isinstance(outcome, Result):
                log.add(outcome)
            bar.update()
    finally:
        bar.close()
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if not results:
        raise (FloatingPointError if failures[0].kind == "FloatingPointError" else RuntimeError)(str(failures[0]))
    for failure in failures:
        warnings.warn(f"a run failed: {failure}", stacklevel=2)
    return Comparison(results, facts, notes, failures)


# ------------------------------------------------------------ what will be done


def planned(
    data: str | MultiTaskData | Sequence[str | MultiTaskData],
    steps: str | Make | Sequence[str | Make] | None,
    seeds: int | Sequence[int],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **wishes: Any,
) -> tuple[list[Job], dict[str, DataFacts], dict[str, list[str]]]:
    """The runs of a comparison, the facts of its data sets, and notes on what is left out; options as for `compare`.

    Raises a ValueError or OSError for anything that a run would fail on: names, options, data, network.
    """
    strategies = chosen(steps)
    given = [data] if isinstance(data, str | MultiTaskData) else list(data)
    if not given:
        raise ValueError("there is nothing to compare on: give the name of a data set")
    if data_dir is not None and "multi_mnist" not in given:
        raise ValueError("data_dir is where MNIST's files lie, but 'multi_mnist' is not among the data sets")
    if data_dir is None and "multi_mnist" in given:
        raise ValueError(
            "multi_mnist is made from MNIST's own files: say where they lie (data_dir, on the command line --data-dir)"
        )
    seed_list = _seeds(seeds)
    jobs: list[Job] = []
    facts: dict[str, DataFacts] = {}
    notes: dict[str, list[str]] = {}
    for item in given:
        options = {"directory": os.fspath(data_dir)} if item == "multi_mnist" and data_dir is not None else {}
        own = item if isinstance(item, MultiTaskData) else None
        loaded = datasets.load(str(item), **options) if own is None else own
        if loaded.name in facts:
            raise ValueError(f"the data set {loaded.name!r} is given twice")
        facts[loaded.name] = DataFacts.of(loaded)
        settings = _settings(loaded, **wishes)
        for name, make in strategies.items():
            if make is not None:  # raises if it does not make a step
                model = build(loaded, settings["trunk"])
                make_step(name, make, model, Adam(), settings["group_size"], np.random.default_rng(0))
        here: dict[str, Make | None] = {SINGLE: None, **strategies}
        if "grouped" in here and len(loaded.tasks) < 3:
            del here["grouped"]
            notes[loaded.name] = [
                "No random groups: with two tasks, groups of 1 are alternating steps, a group of 2 the averaged loss."
            ]
        jobs += [
            (Run(data=loaded.name, strategy=name, seed=seed, data_options=options, **settings), own, make)
            for name, make in here.items()
            for seed in seed_list
        ]
    return jobs, facts, notes


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    """A number of seeds, or the seeds themselves, as a list."""
    if not isinstance(seeds, Sequence):
        return list(range(whole_number("seeds", seeds, 1, 100_000)))
    found = [whole_number("a seed", seed, 0) for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds are a number of seeds, or different whole numbers, got {seeds!r}")
    return found


def _settings(
    data: MultiTaskData,
    trunk: Sequence[int] | str | None,
    epochs: int | None,
    lr: float | None,
    batch_size: int | None,
    group_size: int | None,
    device: str,
) -> dict[str, Any]:
    """The settings of every run on `data`: what was wished for, else the usual ones."""
    usual = SETTINGS.get(data.name, OTHER_DATA)
    trunk = usual.trunk if trunk is None else trunk
    build(data, trunk)  # raises if the trunk does not fit the data
    lr = usual.lr if lr is None else lr
    if not 0 < lr < float("inf"):
        raise ValueError(f"the learning rate is {lr}: give a number above 0")
    tasks = len(data.tasks)
    return {
        "trunk": trunk if isinstance(trunk, str) else [int(width) for width in trunk],
        "epochs": whole_number("epochs", usual.epochs if epochs is None else epochs, 1),
        "batch_size": whole_number("batch_size", usual.batch_size if batch_size is None else batch_size, 1),
        "lr": float(lr),
        "group_size": max(1, tasks // 2) if group_size is None else whole_number("group_size", group_size, 1, tasks),
        "device": device,
    }
