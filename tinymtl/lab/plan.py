"""What a comparison will do, checked before anything is trained: a list of runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from tinymtl import data as datasets
from tinymtl.checks import whole_number
from tinymtl.data import MultiTaskData
from tinymtl.lab.comparison import DataFacts
from tinymtl.lab.networks import build
from tinymtl.lab.runs import Run
from tinymtl.lab.strategies import SINGLE, STRATEGIES, check_names


class Setting(NamedTuple):
    """How a data set is trained unless told otherwise, the same for all strategies."""

    trunk: Sequence[int] | str
    epochs: int
    batch_size: int
    lr: float


#: Chosen by hand, so that the averaged loss and the single-task nets have stopped improving on validation. The
#: trunks of 8 units are narrow on purpose: there the tasks fight for them.
SETTINGS = {
    "multidigits": Setting((8,), 50, 64, 0.001),
    "attributes": Setting((8,), 80, 64, 0.003),
    "weather": Setting((32,), 60, 64, 0.003),
    "penguins": Setting((32,), 100, 32, 0.003),
    "multi_mnist": Setting("lenet", 10, 256, 0.001),
}
OTHER_DATA = Setting((32,), 60, 64, 0.003)


def plan(
    data: str | MultiTaskData | Sequence[str | MultiTaskData],
    steps: Sequence[str] | None,
    seeds: int | Sequence[int],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **wishes: Any,
) -> tuple[list[tuple[Run, MultiTaskData | None]], dict[str, DataFacts], dict[str, list[str]]]:
    """The runs of a comparison, the facts of its data sets, and notes on what is left out; options as for `compare`.

    Raises a ValueError or OSError for anything that a run would fail on: names, options, data, network.
    """
    strategies = list(STRATEGIES) if steps is None else check_names(steps)
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
    jobs: list[tuple[Run, MultiTaskData | None]] = []
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
        chosen = [name for name in strategies if name != "grouped" or len(loaded.tasks) > 2]
        if chosen != strategies:
            notes[loaded.name] = [
                "No random groups: with two tasks, groups of 1 are alternating steps, a group of 2 the averaged loss."
            ]
        jobs += [
            (Run(data=loaded.name, strategy=name, seed=seed, data_options=options, **settings), own)
            for name in [SINGLE, *chosen]
            for seed in seed_list
        ]
    return jobs, facts, notes


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    """A number of seeds, or the seeds themselves, as a list."""
    if not isinstance(seeds, Sequence):
        return list(range(whole_number("seeds", seeds, 1)))
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
    build(data, trunk)  # raises where the trunk does not fit the data
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
