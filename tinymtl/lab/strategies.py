"""Which strategies a comparison is about: names of the registry, and steps of one's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

import numpy as np

from tinymtl.checks import choose
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps import STRATEGIES, Step, Strategy

#: What makes a step of one's own from (model, optimizer): a subclass of `Step`, or a function.
Make = Callable[..., Step]

SINGLE = "single"  #: One network per task, each trained alone: the reference.
ALL = "all"  #: Every strategy of the registry.

#: What a comparison is about if nobody says: the strategies of the two papers that the package begins with.
TOUR = ("averaged", "mgda", "mgda-ub", "alternating-shared", "alternating", "grouped")


def label_of(strategy: str) -> str:
    """What tables and figures call a strategy; one of one's own goes by its name.

    >>> label_of("mgda-ub"), label_of("single"), label_of("MyStep")
    ('MGDA-UB', 'single-task nets', 'MyStep')
    """
    if strategy == SINGLE:
        return "single-task nets"
    return STRATEGIES[strategy].label if strategy in STRATEGIES else strategy


def chosen(steps: str | Make | Sequence[str | Make] | None) -> dict[str, Make | None]:
    """The strategies that are asked for, by name: first those of the registry, in its order, then one's own.

    Parameters
    ----------
    steps : names, classes and functions of (model, optimizer), default those of `TOUR`; "all" is all of the registry
        A class or function goes by its name, a `functools.partial` also by its keywords; a class of the registry,
        such as `tinymtl.MGDA`, is the registry's.

    Returns
    -------
    dict
        name → None for a strategy of the registry, or what makes the step. The reference is not among them.

    Raises
    ------
    ValueError
        For a name that is not known, a lambda (which has no name), or one name for two strategies.

    Examples
    --------
    >>> import tinymtl as tm
    >>> from functools import partial
    >>> list(chosen(["mgda-ub", tm.Averaged, partial(tm.MGDA, normalize="l2")]))
    ['averaged', 'mgda-ub', "MGDA(normalize='l2')"]
    >>> chosen(["mgda_ub"])
    Traceback (most recent call last):
    ValueError: unknown strategy 'mgda_ub': did you mean 'mgda-ub'?
    """
    if steps is None:
        return dict.fromkeys(TOUR)
    if steps in (ALL, [ALL], (ALL,)):
        return dict.fromkeys(STRATEGIES)
    given = [steps] if isinstance(steps, str) or callable(steps) else list(steps)
    names: set[str] = set()
    own: dict[str, Make | None] = {}
    for item in given:
        if not callable(item):
            names.add(SINGLE if item == SINGLE else choose("strategy", item, STRATEGIES))
            continue
        registered = [name for name, entry in STRATEGIES.items() if item is entry or item is entry.make]
        if registered:
            names.update(registered)
            continue
        name = _name_of(item)
        if name in STRATEGIES or name == SINGLE or own.get(name, item) is not item:
            raise ValueError(f"two strategies are called {name!r}: give yours a name of its own")
        own[name] = item
    return {name: None for name in STRATEGIES if name in names} | own


def _name_of(make: Make) -> str:
    if isinstance(make, functools.partial):
        words = [repr(value) for value in make.args] + [f"{key}={value!r}" for key, value in make.keywords.items()]
        return f"{_name_of(make.func)}({', '.join(words)})"
    if isinstance(make, Strategy):
        return make.label
    name = str(getattr(make, "__name__", type(make).__name__))
    if name == "<lambda>":
        raise ValueError("a lambda has no name for the table: write `def`, or give functools.partial(a class, …)")
    return name


def make_step(
    strategy: str,
    make: Make | None,
    model: SharedBottom,
    optimizer: Optimizer,
    group_size: int,
    rng: np.random.Generator,
) -> Step:
    """The step of a strategy of the registry, or of one's own, which gets `rng` if it has a parameter of that name."""
    if make is None:
        sized = {"group_size": group_size} if strategy == "grouped" else {}
        return STRATEGIES[choose("strategy", strategy, STRATEGIES)](model, optimizer, rng, **sized)
    try:
        draws = "rng" in inspect.signature(make).parameters and "rng" not in getattr(make, "keywords", {})
        step = make(model, optimizer, rng=rng) if draws else make(model, optimizer)
    except TypeError as error:
        raise ValueError(f"{strategy} does not make a step from (model, optimizer): {error}") from error
    if not isinstance(step, Step) or step.model is not model:
        raise ValueError(f"{strategy} must return a step of the model that it is given, it returned {step!r}")
    return step
