"""One run of a comparison: a plain description of everything it depends on, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from tinymtl import data as datasets
from tinymtl.data import MultiTaskData
from tinymtl.lab.evaluation import Score, evaluate
from tinymtl.lab.history import History
from tinymtl.lab.networks import build
from tinymtl.lab.strategies import SINGLE, Make, label_of, make_step
from tinymtl.lab.training import fit
from tinymtl.optim import Adam
from tinymtl.steps import Averaged

MEASURE_EVERY = 10  # steps between two looks at the task gradients


@dataclass(frozen=True)
class Run:
    """Everything that a run depends on; plain values, as they stand in results.json.

    Attributes
    ----------
    data : str
        A name that `tinymtl.data.load` knows, or that of a data set of one's own.
    strategy : str
        "single", a key of `STRATEGIES`, or the name of a strategy of one's own.
    seed : int
        Draws the initial weights, the order of the rows and the random groups, each from a stream of its own:
        runs with one seed start from the same weights and see the same minibatches.
    trunk, epochs, batch_size, lr
        As for `build`, `fit` and Adam.
    group_size : int
        Of random grouping.
    device : "cpu" or "cuda"
    data_options : dict
        The options of `tinymtl.data.load`.
    """

    data: str
    strategy: str
    seed: int
    trunk: Sequence[int] | str
    epochs: int
    batch_size: int
    lr: float
    group_size: int
    device: str = "cpu"
    data_options: dict[str, Any] = field(default_factory=dict)


    @property
    def name(self) -> str:
        """What a sentence calls it: data set, strategy, seed."""
        return f"{self.data}, {label_of(self.strategy)}, seed {self.seed}"


@dataclass
class Failure:
    """A run that came to nothing: the kind of its error, and the error's sentence."""

    run: Run
    kind: str
    reason: str

    def __str__(self) -> str:
        unusual = "" if self.kind in ("FloatingPointError", "RuntimeError", "ValueError") else f"{self.kind}: "
        return f"{self.run.name}: {unusual}{self.reason}"


@dataclass
class Result:
    """What came of a run.

    Attributes
    ----------
    run : Run
    test : dict
        {task: {"loss", "metric", "labelled"}} on the test part, with the parameters of the best epoch on validation.
    histories : list[History]
        One per network: of single-task nets there are K.
    """

    run: Run
    test: dict[str, Score]
    histories: list[History]

    @property
    def seconds(self) -> float:
        """Time in training steps, over all networks."""
        return sum(sum(history.seconds) for history in self.histories)

    @property
    def trunk_forwards(self) -> int:
        """Forward passes through a trunk, over all networks."""
        return sum(sum(history.trunk_forwards) for history in self.histories)

    @property
    def trunk_backwards(self) -> int:
        """Backward passes through a trunk, over all networks."""
        return sum(sum(history.trunk_backwards) for history in self.histories)

    @property
    def conflicting_share(self) -> float | None:
        """As in `History`; None for single-task nets."""
        return None if self.run.strategy == SINGLE else self.histories[0].conflicting_share

    @property
    def conflicting_pairs_share(self) -> float | None:
        """As in `History`; None for single-task nets."""
        return None if self.run.strategy == SINGLE else self.histories[0].conflicting_pairs_share

    @property
    def raising_share(self) -> float | None:
        """As in `History`; None for single-task nets."""
        return None if self.run.strategy == SINGLE else self.histories[0].raising_share

    def to_dict(self) -> dict[str, Any]:
        """Everything but the histories, as plain values for JSON."""
        return {
            "run": asdict(self.run),
            "test": self.test,
            "best_epochs": [history.best_epoch for history in self.histories],
            "trunk_forwards": self.trunk_forwards,
            "trunk_backwards": self.trunk_backwards,
            "conflicting_share": self.conflicting_share,
            "conflicting_pairs_share": self.conflicting_pairs_share,
            "raising_share": self.raising_share,
            "seconds": self.seconds,
        }


def execute(run: Run, data: MultiTaskData | None = None, make: Make | None = None) -> Result:
    """Do one run: all its epochs with Adam, then the test part with the parameters of its best validation epoch.

    Parameters
    ----------
    run : Run
        `Run(**entry["run"])` repeats an entry of results.json.
    data : MultiTaskData, optional
        The data set, if it is not one of those that `tinymtl.data.load` knows.
    make : callable, optional
        What makes the step from (model, optimizer), if the strategy is not one of the registry.

    Examples
    --------
    >>> run = Run("attributes", "mgda", seed=0, trunk=[4], epochs=1, batch_size=256, lr=0.01, group_size=2)
    >>> result = execute(run)
    >>> result.trunk_forwards, result.trunk_backwards  # 5 minibatches, K = 8
    (5, 40)
    """
    if data is None:
        data = _load(run.data, tuple(sorted(run.data_options.items())))
    if run.strategy != SINGLE:
        return Result(run, *_train(run, data, None, make))
    test: dict[str, Score] = {}
    histories = []
    for task in data.tasks:
        scores, found = _train(run, data, task.name, None)
        test |= scores
        histories += found
    return Result(run, test, histories)


def attempt(run: Run, data: MultiTaskData | None = None, make: Make | None = None) -> Result | Failure:
    """As `execute`; if it raises an error, that is what came of the run."""
    try:
        with np.errstate(all="ignore"):  # a run that diverges says so itself
            return execute(run, data, make)
    except Exception as error:  # whatever a strategy of one's own raises: it costs this run only
        return Failure(run, type(error).__name__, " ".join(str(error).split()))


def _train(
    run: Run, data: MultiTaskData, only: str | None, make: Make | None
) -> tuple[dict[str, Score], list[History]]:
    """Train one network: of all tasks, or of `only` one."""
    initial, order, groups = (np.random.default_rng([run.seed, stream]) for stream in range(3))
    model = build(data, run.trunk, initial, None if only is None else [only]).to(device=run.device)
    rule = Adam(lr=run.lr)
    step = Averaged(model, rule) if only else make_step(run.strategy, make, model, rule, run.group_size, groups)
    history = fit(
        step,
        data,
        run.epochs,
        batch_size=run.batch_size,
        rng=order,
        patience=run.epochs,  # never stops before the end: budgets are equal; keeps the best epoch
        measure_every=None if only else MEASURE_EVERY,
        progress=False,
    )
    scores = evaluate(model, data.test.to(run.device))
    for name, score in scores.items():
        if not math.isfinite(score["loss"]) or math.isinf(score["metric"]):  # NaN: R² of equal targets
            raise FloatingPointError(f"task {name!r}: its test loss is {score['loss']}; lower the learning rate")
    return scores, [history]


@lru_cache(maxsize=2)
def _load(name: str, options: tuple[tuple[str, Any], ...]) -> MultiTaskData:
    return datasets.load(name, **dict(options))
