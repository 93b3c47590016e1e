"""Reading the arrays that ship with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinymtl.backend import Array

FOLDER = Path(__file__).parent


def read_arrays(file: str, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """The arrays of a shipped .npz file, with their shapes checked; nothing is unpickled.

    Parameters
    ----------
    file
        The file's name inside this package.
    expected
        {array name: its shape}.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If it cannot be read, or holds other arrays than expected. Both sentences name the file and say how
        to get it back.

    Examples
    --------
    >>> read_arrays("digits.npz", {"labels": (1797,)})["labels"][:5]
    array([0, 1, 2, 3, 4], dtype=uint8)
    """
    path = FOLDER / file
    remedy = f"install tinymtl again, or take tinymtl/data/{file} from the project's repository"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, but ships with tinymtl: {remedy}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in expected}
    except Exception as error:  # a damaged archive can make zipfile, zlib or NumPy raise nearly anything
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}): {remedy}") from error
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            found = arrays[name].shape
            raise ValueError(f"{path} is damaged ({name} has shape {found}, expected {shape}): {remedy}")
    return arrays
