"""The IDX format, in which MNIST is distributed."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from os import PathLike
from pathlib import Path

import numpy as np

from tinymtl.backend import Array

UNSIGNED_BYTE = 0x08


def read_idx(path: str | PathLike[str]) -> Array:
    """The array in an IDX file of unsigned bytes, plain or compressed with gzip.

    An IDX file is big-endian: two zero bytes, a type code (8 for unsigned bytes), the number of axes, the
    length of each axis as a 32-bit number, then the values. The content, not the name, tells compression.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    array
        uint8, in the shape that the file states.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not an IDX file of unsigned bytes, or is shorter or longer than its header says. The
        sentence names the file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "small-idx2-ubyte"
    ...     _ = file.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]))
    ...     read_idx(file)
    array([[1, 2, 3],
           [4, 5, 6]], dtype=uint8)
    """
    path = Path(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":  # gzip's own mark; an IDX file begins with two zeros
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}): get a fresh copy of it") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{path} is not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    code, axes = content[2], content[3]
    if code != UNSIGNED_BYTE:
        raise ValueError(f"{path} has IDX type code 0x{code:02x}: only unsigned bytes (0x08) can be read")
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(f"{path} is damaged (it ends inside its header): get a fresh copy of it")
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{path} is damaged (its header promises {expected} bytes for shape {shape}, "
            f"it has {len(content)}): get a fresh copy of it"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
