"""Named arrays in a file: written beside and renamed, and nothing is ever unpickled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinymtl.backend import Array


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write named arrays to an .npz file at exactly `path`: beside it first, then renamed over it."""
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)  # after a write that failed; the rename leaves nothing to remove


def load_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of an .npz file; nothing is unpickled. A damaged file gets a ValueError that names it."""
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except Exception as error:  # what is raised depends on the damaged byte: ten classes without a common parent
            raise ValueError(f"{path} is not an .npz file of arrays, or it is damaged: {error}") from error
