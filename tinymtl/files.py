"""Files that are whole at every moment: written under another name, then renamed. And arrays in an .npz file."""

from __future__ import annotations

import os
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from zipfile import ZIP_STORED, ZipFile

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Array: TypeAlias = np.ndarray[Any, Any]
StrPath: TypeAlias = str | os.PathLike[str]


@contextmanager
def replacing(path: StrPath) -> Iterator[BinaryIO]:
    """A new file to write into, which takes the place of `path` in one step when the block ends well.

    If the block or a write fails, the old file stays as it is and nothing else is left. A file that is replaced
    keeps its mode; a symbolic link stays, and what it points to is replaced. Two writers of one path do not meet:
    each has a file of its own, and the last to end wins. (A process that is killed within the block leaves its
    file behind, whose name begins with a point and ends in ".part".)

    Parameters
    ----------
    path : str or path
        In a directory that exists.

    Raises
    ------
    OSError
        If `path` is a directory, a device or read-only, its directory is missing, or the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/one.txt") as file:
    ...         _ = file.write(b"done")
    ...     os.listdir(folder)
    ['one.txt']
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    mode = _mode_of(path)
    # of the name only the start, as a long name may already be as long as the file system allows
    part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        try:
            with open(part, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # else a crash of the machine could leave an empty file under the name
            if mode is not None:
                os.chmod(part, mode)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)  # after a failure; the rename leaves nothing to remove
    except OSError as error:
        if error.strerror and error.filename in (None, str(part)):  # say which file was meant
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _mode_of(path: Path) -> int | None:
    """The mode of the file that is to be replaced, None without one; an OSError for what is not to be replaced."""
    try:
        found = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise IsADirectoryError(f"{path} is a directory: give the name of a file")
    if not stat.S_ISREG(found):
        raise OSError(f"{path} is not a regular file: give another name")
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only: make it writable, or give another name")
    return stat.S_IMODE(found)


def write(path: StrPath, content: str | bytes) -> Path:
    """Make `path` a file with this content, in one step; text is written as UTF-8, its line ends as they are."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return Path(path)


@contextmanager
def held(path: StrPath) -> Iterator[None]:
    """While the block runs no other process or thread can hold `path`, which need not exist.

    By a lock on a file beside it, which is removed at the end and is free once its process has ended, however it
    ended. Nothing is locked on a system or a disk without such locks (Windows, some network disks).

    Raises
    ------
    BlockingIOError
        If another one holds it.
    """
    path = Path(path)
    lock = path.with_name(f".{path.name[:40]}.{zlib.crc32(path.name.encode()):08x}.lock")
    if fcntl is None:
        yield
        return
    while True:
        file = open(lock, "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BlockingIOError(f"another run is writing {path}: let it end, or give another name") from None
        except OSError:
            break
        if lock.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
            break
        file.close()  # its holder has just removed it
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.close()


def occupy_standard_descriptors() -> None:
    """Open the null device for each of stdin, stdout and stderr that is closed.

    Else the next file that is opened would take the place, and what a process writes there would land in the file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one


def save_arrays(path: StrPath, arrays: Mapping[str, Array]) -> None:
    """Write named arrays to an .npz file at exactly `path`, in one step."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"{name!r} is an array of Python objects: only numbers, booleans and text can be kept")
    with replacing(path) as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]


def load_arrays(path: StrPath) -> dict[str, Array]:
    """The arrays of an .npz file that `save_arrays` wrote; nothing is unpickled, and nothing takes more than it does.

    A damaged file gets a ValueError that names it. So does one with compressed arrays: a small file could hold any
    number of gigabytes, which would be in memory before their shapes can be looked at.
    """
    with open(Path(path), "rb") as file:
        try:
            with ZipFile(file) as members:
                sizes = [member.compress_size for member in members.infolist()]
                if any(member.compress_type != ZIP_STORED for member in members.infolist()):
                    raise ValueError("its arrays are compressed: write them again with np.savez")
                if sum(sizes) > os.fstat(file.fileno()).st_size:
                    raise ValueError("its arrays overlap")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except Exception as error:  # what is raised depends on the damaged byte: ten classes without a common parent
            raise ValueError(f"{path} is not an .npz file of arrays, or it is damaged: {error}") from error
