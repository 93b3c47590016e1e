"""Checkpoints: everything that the rest of a training run depends on, in one .npz file without pickle."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinymtl.backend import Array, to_host
from tinymtl.data import MultiTaskData
from tinymtl.files import load_arrays, save_arrays
from tinymtl.lab.history import History
from tinymtl.lab.measure import generators
from tinymtl.steps.memory import from_arrays, put_back, to_arrays
from tinymtl.steps.step import Step


@dataclass
class Progress:
    """How far a run has come: its history, the best parameters so far, and the generator of the batch order."""

    history: History
    best: dict[str, Array] | None
    rng: np.random.Generator


def settings_of(step: Step, data: MultiTaskData, **options: Any) -> dict[str, Any]:
    """What must be the same for a run to be resumed: the strategy, the optimizer, the data by contents, the options."""
    return {
        "strategy": type(step).__name__,
        **_plain(step),
        "optimizer": {"rule": type(step.optimizer).__name__, **_plain(step.optimizer)},
        "parameters": str(step.model.vector.dtype),
        "tasks": step.model.task_names,
        "losses": [_name_of(task.loss) for task in step.model.tasks],
        "data": data.name,
        "rows": len(data.train),
        "contents": digest_of(data),
        **options,
    }


def _plain(settings: Any) -> dict[str, Any]:
    """An object's public attributes that are numbers, strings, arrays, steps or functions (by their names)."""
    plain = {}
    for name, value in vars(settings).items():
        if isinstance(value, np.ndarray):
            plain[name] = value.tolist()
        elif isinstance(value, str | int | float | bool | tuple | list | type(None)):
            plain[name] = value
        elif isinstance(value, Step):  # one that works on another
            plain[name] = {"strategy": type(value).__name__, **_plain(value)}
        elif callable(value) and not isinstance(value, type):
            plain[name] = _name_of(value)
    return {name: value for name, value in plain.items() if not name.startswith("_")}


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def digest_of(data: MultiTaskData) -> str:
    """A digest of the contents and the split of a data set.

    >>> from tinymtl.data import load
    >>> digest_of(load("attributes")) == digest_of(load("attributes")) != digest_of(load("multidigits"))
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for split in (data.train, data.validation, data.test):
        for name, array in {"x": split.x, **split.targets}.items():
            values = np.ascontiguousarray(to_host(array))
            digest.update(f"{name} {values.dtype} {values.shape} ".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()


def save(path: Path, step: Step, progress: Progress, settings: dict[str, Any]) -> None:
    """Write a checkpoint beside `path`, then rename it over it: at every moment a whole one is there."""
    arrays = {f"model/{key}": value for key, value in step.model.state().items()}
    arrays |= {f"step/{key}": value for key, value in step.state().items()}
    arrays |= {f"best/{key}": value for key, value in (progress.best or {}).items()}
    for i, generator in enumerate([progress.rng, *generators(step.model)]):
        arrays |= dict(to_arrays(generator, f"random/{i}"))
    for key, value in (("history", progress.history.to_dict()), ("settings", settings)):
        arrays[key] = np.array(json.dumps(value))
    save_arrays(path, arrays)


def load(path: Path, step: Step, rng: np.random.Generator, settings: dict[str, Any]) -> Progress:
    """Bring `step`, its model and `rng` to where the checkpoint at `path` left them.

    Raises
    ------
    ValueError
        For a file that is damaged, or a checkpoint of another run. Nothing has changed then.
    """
    arrays = load_arrays(path)
    try:
        kept, saved = (json.loads(str(arrays.pop(key))) for key in ("history", "settings"))
        history = History.from_dict(kept)
        if not isinstance(saved, dict):
            raise ValueError("its settings are not a dictionary")
        parts = {part: _part(arrays, part) for part in ("model", "step", "best", "random")}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no checkpoint of tinymtl.lab.fit, or it is damaged ({error})") from error
    _check_same(path, saved, json.loads(json.dumps(settings)))
    inside = [rng, *generators(step.model)]
    if len(parts["random"]) != len(inside):
        count = len(parts["random"]) - 1
        raise ValueError(f"{path} keeps {count} generators of dropout masks, this model has {len(inside) - 1}")
    before = step.model.state()
    try:
        states = [from_arrays(g, arrays, f"random/{i}") for i, g in enumerate(inside)]
        for generator, state in zip(inside, states, strict=True):
            type(generator.bit_generator)(0).state = state  # on one that nobody uses: a state may be damaged
        step.model.load_state(parts["model"])
        step.load_state(parts["step"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        step.model.load_state(before)
        raise ValueError(f"{path} is of another network or step, or it is damaged: {error}") from error
    for generator, state in zip(inside, states, strict=True):
        put_back(generator, state)
    return Progress(history, parts["best"] or None, rng)


def _part(arrays: dict[str, Array], name: str) -> dict[str, Array]:
    return {key.removeprefix(name + "/"): value for key, value in arrays.items() if key.startswith(name + "/")}


def _check_same(path: Path, saved: dict[str, Any], settings: dict[str, Any]) -> None:
    """A ValueError that names what differs; a learning rate that was changed by hand is a schedule, and is told."""
    before, after = (rule if isinstance(rule := by.get("optimizer"), dict) else {} for by in (saved, settings))
    rates = before.get("lr"), after.get("lr")
    if rates[0] != rates[1] and all(isinstance(rate, int | float) for rate in rates):
        warnings.warn(f"{path} was written with lr={rates[0]}; the run goes on with lr={rates[1]}", stacklevel=4)
        before["lr"] = rates[1]
    for key in [*settings, *saved]:
        if saved.get(key) != settings.get(key):
            was, now = saved.get(key), settings.get(key)
            raise ValueError(f"{path} is the checkpoint of another run: its {key} is {was!r}, this run has {now!r}")


def check_place(path: Path, resume: bool) -> None:
    """Refuse a checkpoint that could not be written, or that would be lost, before any time is spent."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the checkpoint's directory {path.parent} does not exist: make it first")
    if path.is_dir():
        raise IsADirectoryError(f"the checkpoint {path} is a directory: give the name of a file")
    if path.exists() and not resume:
        raise FileExistsError(
            f"the checkpoint {path} exists: pass resume=True to go on from it, or delete it, or give another name"
        )
