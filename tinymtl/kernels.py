"""Fused operations: a NumPy function on the host, and on a GPU the CUDA kernel of the same name, in one launch.

A launch costs several microseconds however little it does, so a chain of small operations is one kernel there.

    @fused
    def scale(out, x, factor):          # out and x are arrays, factor is a Python number
        np.multiply(x, factor, out=out)

On NumPy arrays `scale` is just that function. On CuPy arrays it launches

    __global__ void scale(real* out, long long out_size, const real* x, long long x_size, real factor)

from kernels.cu, one thread per element of the first argument: an array becomes a pointer and its size, a float a
`real` (the first array's dtype), an int a `long long`. tests/gpu compiles the same source for the CPU and compares
the two.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from itertools import starmap
from operator import call
from typing import Any

import numpy as np

from tinymtl.backend import array_module

THREADS = 256

#: Every fused operation by name: the NumPy twin of the kernel.
TWINS: dict[str, Callable[..., None]] = {}

Call = tuple[Any, ...]  #: (function, its arguments …)


def at_once(calls: Iterable[Call]) -> None:
    """Make the calls, of functions written in C, with no moment in between at which a Ctrl-C could come.

    Python looks for signals between its own instructions alone, and here all calls are one of them. What a call
    itself raises does not keep the others from being made: NumPy has written a result before it says that the number
    is too large.

    >>> at_once([(setattr, at_once, "x", 1), (print, "done")])
    done
    """
    left = iter(calls)
    try:
        deque(starmap(call, left), 0)
    except BaseException:
        at_once(left)
        raise


def fused(twin: Callable[..., None]) -> Callable[..., None]:
    """Make `twin`, which writes its results into its arguments, run as the kernel of its name on a GPU."""
    TWINS[twin.__name__] = twin

    @functools.wraps(twin)
    def run(first: Any, *rest: Any) -> None:
        if isinstance(first, np.ndarray):
            twin(first, *rest)
        else:
            at_once(_launch_of(twin.__name__, first, *rest))

    return run


def fused_later(plan: Callable[..., list[Call]]) -> Callable[..., list[Call]]:
    """Like `fused` for an operation that is part of a larger change: it returns the calls that make it, for `at_once`.

    `plan` returns those of NumPy functions; on a GPU it is the one call that launches the kernel of its name.
    """
    TWINS[plan.__name__] = lambda *arguments: at_once(plan(*arguments))

    @functools.wraps(plan)
    def calls(first: Any, *rest: Any) -> list[Call]:
        return plan(first, *rest) if isinstance(first, np.ndarray) else _launch_of(plan.__name__, first, *rest)

    return calls


def source(dtype: np.dtype[Any]) -> str:
    """The CUDA source of all kernels with `real` meaning `dtype` (float32 or float64)."""
    from importlib import resources  # slow to import, and needed on a GPU alone

    real = {"float32": "float", "float64": "double"}.get(np.dtype(dtype).name)
    if real is None:
        raise TypeError(f"on a GPU this operation is for float32 and float64, not {np.dtype(dtype)}: convert it")
    return f"typedef {real} real;\n" + resources.files("tinymtl").joinpath("kernels.cu").read_text()


@functools.cache
def _module(cupy: Any, dtype: np.dtype[Any]) -> Any:
    return cupy.RawModule(code=source(dtype))  # compiled once and kept in CuPy's cache on disk


def _launch_of(name: str, first: Any, *rest: Any) -> list[Call]:
    """The call that launches a kernel; none for arrays without elements."""
    cupy, real = array_module(first), first.dtype.type
    arguments: list[Any] = []
    for value in (first, *rest):
        if isinstance(value, float):
            arguments.append(real(value))
        elif isinstance(value, int):
            arguments.append(np.int64(value))
        else:
            if not value.flags.c_contiguous or (value.dtype.kind == "f" and value.dtype != first.dtype):
                raise ValueError(f"kernel {name!r}: arrays must be contiguous and of one dtype, {first.dtype}")
            arguments += [value, np.int64(value.size)]
    blocks = (first.size + THREADS - 1) // THREADS
    return [(_module(cupy, first.dtype).get_function(name), (blocks,), (THREADS,), tuple(arguments))] if blocks else []
