"""The strategies that `compare` puts side by side, by the names that the command line knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps import MGDA, MGDAUB, Alternating, Averaged, RandomGrouped
from tinymtl.steps.step import Step


class Strategy(NamedTuple):
    """A strategy: what tables call it, and how its step is made from (model, optimizer, group size, rng)."""

    label: str
    make: Callable[[SharedBottom, Optimizer, int, np.random.Generator], Step]


SINGLE = "single"  #: One network per task, each trained alone: the reference.

STRATEGIES = {
    "averaged": Strategy("averaged", lambda model, rule, size, rng: Averaged(model, rule)),
    "mgda": Strategy("MGDA", lambda model, rule, size, rng: MGDA(model, rule)),
    "mgda-ub": Strategy("MGDA-UB", lambda model, rule, size, rng: MGDAUB(model, rule)),
    "alternating-shared": Strategy(
        "alternating (shared)", lambda model, rule, size, rng: Alternating(model, rule, moments="shared")
    ),
    "alternating": Strategy(
        "alternating (per task)", lambda model, rule, size, rng: Alternating(model, rule, moments="per-task")
    ),
    "grouped": Strategy(
        "random groups", lambda model, rule, size, rng: RandomGrouped(model, rule, group_size=size, rng=rng)
    ),
}


def label_of(strategy: str) -> str:
    """What tables and figures call a strategy.

    >>> label_of("mgda-ub"), label_of("single")
    ('MGDA-UB', 'single-task nets')
    """
    return "single-task nets" if strategy == SINGLE else STRATEGIES[strategy].label


def check_names(names: Iterable[str]) -> list[str]:
    """The names in the order of `STRATEGIES`, each once; a ValueError for a name that is not known.

    >>> check_names(["mgda", "averaged"])
    ['averaged', 'mgda']
    >>> check_names(["mgda_ub"])
    Traceback (most recent call last):
    ValueError: unknown strategy 'mgda_ub': did you mean 'mgda-ub'?
    """
    names = list(names)
    for name in names:
        if name != SINGLE:
            choose("strategy", name, STRATEGIES)
    return [name for name in STRATEGIES if name in names]
