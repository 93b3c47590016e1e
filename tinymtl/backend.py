"""NumPy or CuPy, host or device: the only module that knows which array library is at work.

Everything else asks `array_module(array)` for the library that owns an array and writes the rest
against the names that the two libraries share. CuPy is imported when a device is asked for, never before.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

#: A NumPy array, or a CuPy array on a GPU. CuPy ships no types, so NumPy's stand for both.
Array: TypeAlias = np.ndarray[Any, Any]


def array_module(array: Any) -> ModuleType:
    """The library that owns `array`: `numpy`, or `cupy` for an array on a GPU.

    Examples
    --------
    >>> array_module(np.zeros(3)).__name__
    'numpy'
    """
    if isinstance(array, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")  # an array of CuPy's can only exist once somebody has imported CuPy
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    return np


def keep_freed_memory() -> None:
    """Let the C library hold on to the memory that a training step frees, for the next step to use.

    A step makes and frees the same few megabytes again and again. glibc hands blocks of that size back to the
    system, and each comes back as page faults: half the time of a small network's step, a tenth of LeNet's. It
    learns to keep them when a larger block has been freed once (mallopt(3), M_MMAP_THRESHOLD): this frees one of
    just under the 32 MiB up to which it learns, never touched and so never really there. From then on the process
    may hold up to 64 MiB that it has freed. Other C libraries do not care.
    """
    np.empty(32 * 2**20 - 2**16, np.uint8)


def is_array(value: Any) -> bool:
    """Whether `value` is an array of NumPy's or CuPy's (scalars and lists are not).

    >>> is_array(np.zeros(2)), is_array(2.0)
    (True, False)
    """
    if isinstance(value, np.ndarray):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def cuda_problem() -> str | None:
    """None if a CUDA device can be used; otherwise one sentence that names the part that is missing."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed: run `pip install 'tinymtl[gpu]'` (CUDA 13) or `'tinymtl[cuda12]'`"
    if cupy.is_available():
        return None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own CUDARuntimeError; its text names the driver problem
        return f"CuPy {cupy.__version__} is installed, but the NVIDIA driver does not answer ({error})"
    return f"CuPy {cupy.__version__} is installed, but it sees {count} CUDA devices"


def module_for(device: str) -> ModuleType:
    """The array library for `device` ("cpu" or "cuda"); raises if that device cannot be used.

    >>> module_for("cpu").__name__
    'numpy'
    """
    if device == "cpu":
        return np
    if device != "cuda":
        raise ValueError(f"unknown device {device!r}: use 'cpu' or 'cuda'")
    problem = cuda_problem()
    if problem is not None:
        raise RuntimeError(f"no GPU to use: {problem}")
    import cupy

    module: ModuleType = cupy
    return module


def device_of(array: Array) -> str:
    """The name of the device that holds `array`: "cpu" or "cuda".

    >>> device_of(np.zeros(3))
    'cpu'
    """
    return "cpu" if array_module(array) is np else "cuda"


def to_host(array: Any) -> Array:
    """`array` as a NumPy array; on a GPU this copies, and waits for the device.

    >>> to_host(np.arange(3))
    array([0, 1, 2])
    """
    if isinstance(array, np.ndarray):
        return array
    if array_module(array) is np:
        return np.asarray(array)
    host: Array = array.get()
    return host


def to_device(array: Any, device: str) -> Array:
    """`array` on `device`; the same object where it is there already."""
    if device == "cpu":
        return to_host(array)
    cupy = module_for(device)
    moved: Array = cupy.asarray(array)
    return moved
