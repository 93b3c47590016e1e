"""A pretend GPU for lesson 10: NumPy underneath, and a tally of what a real GPU would be asked to do.

Within `pretend_gpu()` this module stands in for CuPy, so that `model.to(device="cuda")` works on any computer and the
library takes the very paths that it takes on a GPU. It counts; it does not measure: no time, no memory, no rounding.
Views and allocations cost nothing here, and everything that computes new values is one launch.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinymtl import kernels
from tinymtl.backend import Array

ALLOCATIONS = ("empty", "empty_like", "broadcast_to")
CONVERSIONS = {"get": ".get()", "item": ".item()", "tolist": ".tolist()", "__float__": "float(x)", "__int__": "int(x)"}
BINARY = ("add", "sub", "mul", "truediv", "pow", "matmul")
OTHERS = ("neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "invert", "setitem")
OPERATORS = [f"{way}{name}__" for name in BINARY for way in ("__", "__r", "__i")] + [f"__{name}__" for name in OTHERS]


class Tally:
    """What the pretend GPU was asked for since the last `reset`.

    Attributes
    ----------
    log : list of str
        Every event, in order.
    launches : int
        Operations put into the GPU's queue; the host goes on at once.
    uploads : int
        Arrays copied from the host.
    reads : int
        Values copied to the host: for each one the host needs everything before it to be done.
    waits : int
        Reads that found operations in the queue, for which the host had to wait.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.log: list[str] = []
        self.launches = self.uploads = self.reads = self.waits = 0
        self._queued = False

    def launch(self, name: str) -> None:
        """An operation is put into the queue."""
        self.launches += 1
        self._queued = True
        self.log.append(name)

    def upload(self) -> None:
        """An array is copied from the host."""
        self.uploads += 1
        self.log.append("upload")

    def read(self, how: str) -> None:
        """The host looks at a value."""
        self.reads += 1
        self.waits += self._queued
        self._queued = False
        self.log.append(how)


_tally = Tally()


@contextmanager
def pretend_gpu() -> Iterator[Tally]:
    """Within it device "cuda" is the pretend GPU; arrays made there are of no use afterwards.

    Examples
    --------
    >>> from tinymtl.backend import to_device
    >>> with pretend_gpu() as tally:
    ...     x = to_device([1.0, 2.0], "cuda")
    ...     y = float((x * x).sum())
    >>> y, tally.log
    (5.0, ['upload', 'mul', 'sum', 'float(x)'])
    """
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = _PretendCuPy("cupy")
    _tally.reset()
    try:
        yield _tally
    finally:
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before


class DeviceArray:
    """An array on the pretend GPU. It does not mix with arrays on the host, and looking at it is counted."""

    __array_ufunc__ = None  # NumPy's functions and operators leave it alone, as they do CuPy's arrays
    __hash__ = None  # type: ignore[assignment]  # == compares the elements

    def __init__(self, host: Array):
        self._host = host

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError("a device array does not become a host array by itself: use to_host(x), which waits")

    def __bool__(self) -> bool:
        _tally.read("if x:")
        return bool(self._host)

    def __repr__(self) -> str:
        _tally.read("print(x)")
        return repr(self._host)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._host)))

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        if not any(isinstance(part, list | np.ndarray | DeviceArray) for part in parts):
            return _wrap(self._host[index])  # a view
        if any(isinstance(part, list | np.ndarray) for part in parts):
            _tally.upload()
        if any(isinstance(part, DeviceArray) and part._host.dtype == bool for part in parts):
            _tally.read("x[mask]")  # how long the result is depends on the values
        _tally.launch("take")
        return _wrap(self._host[tuple(map(_values, parts))])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # not by way of __array_interface__ either
        value = getattr(self._host, "copy" if name == "get" else name)
        if name in CONVERSIONS:
            return _read(value, name)
        return _operation(value, name, self._host) if callable(value) else _wrap(value)


def _read(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        _tally.read(CONVERSIONS[name])
        return method(*args)

    return call


def _operation(function: Callable[..., Any], name: str, owner: Array | None = None) -> Callable[..., Any]:
    """`function` on device arrays: one launch, unless its result is a view of `owner`, the array it belongs to."""

    @functools.wraps(function, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*_unwrap(args), **{key: _unwrap(value) for key, value in kwargs.items()})
        if name in ("concatenate", "stack"):
            result = np.ascontiguousarray(result)  # as CuPy has it; NumPy may choose another order
        view = isinstance(result, np.ndarray) and owner is not None and np.may_share_memory(result, owner)
        if not view and name not in ALLOCATIONS:
            _tally.launch(name.removeprefix("__r").strip("_"))
        out = kwargs.get("out")
        return _wrap(result) if out is None else out

    return call


def _method(name: str) -> Callable[..., Any]:
    in_place = name.startswith("__i") and name != "__invert__"

    def call(self: DeviceArray, *others: Any) -> Any:
        result = _operation(getattr(self._host, name), name)(*others)
        return self if in_place else result

    return call


for _name in OPERATORS:
    setattr(DeviceArray, _name, _method(_name))
for _name in ("__float__", "__int__"):
    setattr(DeviceArray, _name, lambda self, name=_name: _read(getattr(self._host, name), name)())


def _wrap(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return DeviceArray(np.asarray(value))
    return type(value)(map(_wrap, value)) if isinstance(value, list) else value


def _values(value: Any) -> Any:
    return value._host if isinstance(value, DeviceArray) else value


def _unwrap(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("a host array met a device array: bring it over with to_device first")
    return type(value)(map(_unwrap, value)) if isinstance(value, list | tuple) else value


class _PretendCuPy(types.ModuleType):
    """NumPy's functions for device arrays, and the few names of CuPy's own that the library uses."""

    __version__ = "pretend"
    ndarray = DeviceArray

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        return _operation(value, name) if callable(value) and not isinstance(value, type) else value

    def is_available(self) -> bool:
        """There is always a pretend GPU."""
        return True

    def asarray(self, values: Any, dtype: Any = None, order: str | None = None) -> DeviceArray:
        """`values` on the device: an upload, if they come from the host."""
        if isinstance(values, DeviceArray):
            return _operation(np.asarray, "copy", values._host)(values, dtype, order)
        _tally.upload()
        return DeviceArray(np.array(values, dtype=dtype))

    def array(self, values: Any, dtype: Any = None, **_: Any) -> DeviceArray:
        """A copy on the device."""
        return self.asarray(values, dtype).copy() if isinstance(values, DeviceArray) else self.asarray(values, dtype)

    def ascontiguousarray(self, values: DeviceArray, dtype: Any = None) -> DeviceArray:
        """`values` itself where it is contiguous and of that dtype."""
        return _operation(np.ascontiguousarray, "ascontiguousarray", values._host)(values, dtype)

    class RawModule:
        """In place of a CUDA kernel its NumPy twin: one launch."""

        def __init__(self, code: str):
            self.code = code

        def get_function(self, name: str) -> Callable[..., None]:
            """The kernel of that name."""
            return functools.partial(_run_kernel, name)


def _run_kernel(name: str, grid: Any, block: Any, arguments: tuple[Any, ...]) -> None:
    values: list[Any] = []
    after_array = False
    for value in arguments:
        if not after_array:  # behind every array a kernel gets its size, which the twin does not need
            values.append(value._host if isinstance(value, DeviceArray) else value.item())
        after_array = isinstance(value, DeviceArray)
    _tally.launch(name)
    kernels.TWINS[name](*values)
