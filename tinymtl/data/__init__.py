"""Data sets for multi-task learning: four that ship with the package, and MultiMNIST from MNIST's files.

Each shipped file has its source, licence and citation beside it (digits.md, weather.md, penguins.md).
Nothing is downloaded, and nothing is unpickled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tinymtl.checks import choose, did_you_mean
from tinymtl.data import digits, penguins, weather
from tinymtl.data.idx import read_idx
from tinymtl.data.mnist import multi_mnist
from tinymtl.data.multitask import MultiTaskData, Split, TaskSpec

__all__ = ["NAMES", "MultiTaskData", "Split", "TaskSpec", "load", "multi_mnist", "read_idx"]

_LOADERS: dict[str, Callable[..., MultiTaskData]] = {
    "multidigits": digits.multidigits,
    "attributes": digits.attributes,
    "weather": weather.weather,
    "penguins": penguins.penguins,
    "multi_mnist": multi_mnist,
}

#: The names that `load` knows. All but "multi_mnist", which needs a directory, ship with the package.
NAMES = tuple(_LOADERS)


def load(name: str, **options: Any) -> MultiTaskData:
    """A data set by its name.

    Parameters
    ----------
    name
        "multidigits" (K = 2, two digits on one canvas), "attributes" (K = 8, yes-or-no attributes of one
        digit), "weather" (K = 6, tomorrow's weather), "penguins" (K = 5, species, sex, mass, isotopes)
        or "multi_mnist" (K = 2, from MNIST's files; give `directory`).
    **options
        multidigits: offset=4, pairs=(4000, 1000, 2000), seed=0, flat=True. penguins: seed=0.
        multi_mnist: directory, validation=10000, seed=0. The other two have none.

    Raises
    ------
    ValueError
        For an unknown name or option, a bad value, or a damaged file.
    OSError
        For a file that is missing or cannot be read.

    Examples
    --------
    >>> data = load("multidigits", offset=8, seed=1)
    >>> data.train.x.shape, data.train.targets["left"].shape, [task.name for task in data.tasks]
    ((4000, 256), (4000,), ['left', 'right'])
    >>> load("multidigit")
    Traceback (most recent call last):
    ValueError: unknown data set 'multidigit': did you mean 'multidigits'?
    """
    loader = _LOADERS[choose("data set", name, NAMES)]
    parameters = inspect.signature(loader).parameters
    for option in options:
        if option not in parameters:
            known = did_you_mean(option, parameters) if parameters else "it has none"
            raise ValueError(f"{name} has no option {option!r}: {known}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise ValueError(f"{name} needs the option {option!r}: load({name!r}, {option}=...)")
    return loader(**options)
