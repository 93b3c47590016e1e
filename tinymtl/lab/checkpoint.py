"""Checkpoints: everything that the rest of a training run depends on, in one .npz file without pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.files import load_arrays, save_arrays
from tinymtl.lab.history import History
from tinymtl.lab.measure import generators
from tinymtl.steps.step import Step


@dataclass
class Progress:
    """How far a run has come: its history, the best parameters so far, and the generator of the batch order."""

    history: History
    best: dict[str, Array] | None
    rng: np.random.Generator


def settings_of(step: Step, data_name: str, rows: int, **options: Any) -> dict[str, Any]:
    """What must be the same for a run to be resumed: the strategy, the optimizer, the data and the options."""
    strategy = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(step).items()
        if isinstance(value, str | int | float | bool | np.ndarray) and not name.startswith("_")
    }
    return {
        "strategy": type(step).__name__,
        **strategy,
        "optimizer": repr(step.optimizer),
        "parameters": str(step.model.vector.dtype),
        "tasks": step.model.task_names,
        "data": data_name,
        "rows": rows,
        **options,
    }


def save(path: Path, step: Step, progress: Progress, settings: dict[str, Any]) -> None:
    """Write a checkpoint beside `path`, then rename it over it: at every moment a whole one is there."""
    arrays = {f"model/{key}": value for key, value in step.model.state().items()}
    arrays |= {f"step/{key}": value for key, value in step.state().items()}
    arrays |= {f"best/{key}": value for key, value in (progress.best or {}).items()}
    states = [g.bit_generator.state for g in [progress.rng, *generators(step.model)]]
    for key, value in (("random", states), ("history", progress.history.to_dict()), ("settings", settings)):
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
        states, history, saved = (json.loads(str(arrays.pop(key))) for key in ("random", "history", "settings"))
        parts = {part: _part(arrays, part) for part in ("model", "step", "best")}
        history = History(**history)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint of tinymtl.lab.fit, or it is damaged ({error})") from error
    _check_same(path, saved, json.loads(json.dumps(settings)))
    inside = generators(step.model)
    if len(states) != 1 + len(inside):
        raise ValueError(f"{path} keeps {len(states) - 1} generators of dropout masks, this model has {len(inside)}")
    before = step.model.state()
    try:
        step.model.load_state(parts["model"])
        step.load_state(parts["step"])
    except ValueError as error:
        step.model.load_state(before)
        raise ValueError(f"{path} is of another network or step: {error}") from error
    for generator, state in zip([rng, *inside], states, strict=True):
        generator.bit_generator.state = state
    return Progress(history, parts["best"] or None, rng)


def _part(arrays: dict[str, Array], name: str) -> dict[str, Array]:
    return {key.removeprefix(name + "/"): value for key, value in arrays.items() if key.startswith(name + "/")}


def _check_same(path: Path, saved: dict[str, Any], settings: dict[str, Any]) -> None:
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
