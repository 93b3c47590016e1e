"""A fake CuPy for a machine without a GPU: NumPy underneath, CuPy's rules on top, and a tally.

Within `pretend_gpu()` this module stands in for CuPy, so that `model.to(device="cuda")` works on any computer and the
library takes the very paths that it takes on a GPU. It refuses what CuPy 14 refuses (host and device arrays in one
expression, NumPy's functions on device arrays, names that CuPy lacks) and one thing that CuPy leaves undefined
(duplicate indices in an assignment). It counts what a GPU would be asked for: launches, uploads, and reads, for which
the host may have to wait; within `no_transfers()` the latter two are errors. Views and allocations cost nothing.

It counts and does not measure: nothing about speed, memory, CUDA source, races or rounding is proven here.
"""

from __future__ import annotations

import functools
import json
import operator
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import numpy as np

from tinymtl import kernels
from tinymtl.backend import Array

#: The names that CuPy 14.2.0 has: of the package, of its arrays, of cupy.linalg.
NAMES = json.loads(resources.files("tinymtl").joinpath("cupy_names.json").read_text())
FREE = {"empty", "empty_like", "result_type", "may_share_memory", "shares_memory"}  # nothing runs on the device
MIXED = "a host array met a device array: bring it over with to_device first"


class Tally:
    """What the fake device was asked for since the last `reset`.

    Attributes
    ----------
    log : list of str
        Every event, in order.
    launches : int
        Operations put into the device's queue; the host goes on at once.
    uploads : int
        Arrays copied from the host.
    reads : int
        Values copied to the host: each needs everything before it to be done.
    waits : int
        Reads that found operations in the queue, for which the host had to wait.
    """

    def __init__(self) -> None:
        self.transfers_forbidden = False
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

    def upload(self, what: str = "upload") -> None:
        """An array is copied from the host."""
        self._transfer(what)
        self.uploads += 1

    def read(self, how: str) -> None:
        """The host looks at a value."""
        self._transfer(how)
        self.reads += 1
        self.waits += self._queued
        self._queued = False

    def _transfer(self, what: str) -> None:
        if self.transfers_forbidden:
            raise RuntimeError(f"{what} within no_transfers()")
        self.log.append(what)


tally = Tally()


@contextmanager
def pretend_gpu() -> Iterator[Tally]:
    """Within it device "cuda" is the fake one; arrays made there are of no use afterwards.

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
    sys.modules["cupy"] = _cupy()
    tally.reset()
    try:
        yield tally
    finally:
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before


@contextmanager
def no_transfers() -> Iterator[None]:
    """Within it every transfer between host and device raises RuntimeError."""
    tally.transfers_forbidden = True
    try:
        yield
    finally:
        tally.transfers_forbidden = False


# ------------------------------------------------------------ arrays


class ndarray:  # noqa: N801 (CuPy's name)
    """An array on the fake device."""

    __hash__ = None  # type: ignore[assignment]  # == compares the elements

    def __init__(self, host: Array) -> None:
        self._host = host

    # what CuPy refuses

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError("a device array does not become a host array by itself: use to_host(x), which waits")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, np.ndarray) for value in inputs):
            raise TypeError(MIXED)
        raise TypeError(f"np.{ufunc.__name__} met a device array: use xp.{ufunc.__name__}")

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"np.{function.__name__} met a device array: use xp.{function.__name__}")

    def __index__(self) -> int:
        raise TypeError("a device array is not an index on the host: int(x) is, and waits")

    # what the host has to wait for

    def get(self) -> Array:
        """A copy on the host."""
        tally.read(".get()")
        return self._host.copy()

    def item(self, *args: Any) -> Any:
        """One element as a Python number."""
        tally.read(".item()")
        return self._host.item(*args)

    def tolist(self) -> Any:
        """All elements as Python numbers."""
        tally.read(".tolist()")
        return self._host.tolist()

    def __float__(self) -> float:
        tally.read("float(x)")
        return float(self._host)

    def __int__(self) -> int:
        tally.read("int(x)")
        return int(self._host)

    def __bool__(self) -> bool:
        tally.read("if x:")
        return bool(self._host)

    def __repr__(self) -> str:
        tally.read("print(x)")
        return repr(self._host)

    # the rest

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._host)))

    def __getitem__(self, index: Any) -> Any:
        key = _index(index)
        if any(isinstance(part, np.ndarray) for part in _parts(key)):  # otherwise the result is a view
            tally.launch("take")
        return _to_device(self._host[key])

    def __setitem__(self, index: Any, value: Any) -> None:
        key = _index(index)
        if isinstance(key, np.ndarray) and key.dtype != bool and len(np.unique(key)) < key.size:
            raise IndexError("duplicate indices in an assignment: which value stays is undefined in CuPy")
        tally.launch("setitem")
        self._host[key] = _to_host(value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in NAMES["ndarray"]:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r} (CuPy {NAMES['version']})")
        value = getattr(self._host, name)
        return _operation(value, name, self._host) if callable(value) else _to_device(value)


def _operator(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: ndarray, *others: Any) -> Any:
        operands = [self._host, *map(_to_host, others)]
        if any(isinstance(value, list | tuple) for value in operands):
            raise TypeError(f"CuPy's {name} takes device arrays and numbers, not lists and tuples")
        tally.launch(name)
        result = function(*operands)
        return self if result is self._host else _to_device(result)

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    _function = getattr(operator, _name)
    setattr(ndarray, f"__{_name}__", _operator(_name, _function))
    setattr(ndarray, f"__r{_name}__", _operator(_name, lambda a, b, f=_function: f(b, a)))
    setattr(ndarray, f"__i{_name}__", _operator(f"i{_name}", getattr(operator, f"i{_name}")))
for _name in ("lt", "le", "eq", "ne", "gt", "ge", "and", "or", "xor", "neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _operator(_name, getattr(operator, f"__{_name}__")))


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _index(index: Any) -> Any:
    """`index` with arrays of the host, which is what NumPy's arrays take."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if isinstance(index, list | np.ndarray):
        tally.upload()
        return np.asarray(index)
    if isinstance(index, ndarray):
        if index.dtype == bool:
            tally.read("x[mask]")  # how long the result is depends on the values
        return index._host
    return index


def _to_host(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(MIXED)
    return type(value)(map(_to_host, value)) if isinstance(value, list | tuple) else value


def _to_device(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    return type(value)(map(_to_device, value)) if isinstance(value, list) else value


def _operation(function: Callable[..., Any], name: str, owner: Array | None = None) -> Callable[..., Any]:
    """`function` on device arrays: one launch, unless its result is a view of an argument, or of its `owner`."""

    @functools.wraps(function, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        if isinstance(function, np.ufunc) and any(isinstance(value, list | tuple) for value in args):
            raise TypeError(f"CuPy's {name} takes device arrays and numbers, not lists and tuples")
        out = kwargs.get("out")
        values = _to_host(args)
        result = function(*values, **{key: _to_host(value) for key, value in kwargs.items()})
        if name in ("concatenate", "stack"):
            result = np.ascontiguousarray(result)  # as CuPy has it; NumPy may choose another order
        arrays = [value for value in (owner, *values) if isinstance(value, np.ndarray)]
        view = isinstance(result, np.ndarray) and any(np.may_share_memory(result, array) for array in arrays)
        if out is not None or not (view or name in FREE):
            tally.launch(name)
        return _to_device(result) if out is None else out

    if isinstance(function, np.ufunc):
        call.at = functools.partial(_at, function, name)  # type: ignore[attr-defined]
    return call


def _at(function: np.ufunc, name: str, x: ndarray, index: Any, value: Any) -> None:
    tally.launch(f"{name}.at")
    function.at(x._host, _index(index), _to_host(value))


# ------------------------------------------------------------ the module


class _Module(types.ModuleType):
    """A module of CuPy's: NumPy's functions under the names that CuPy has."""

    def __init__(self, name: str, numpy: types.ModuleType, names: list[str]) -> None:
        super().__init__(name)
        self._numpy, self._names = numpy, frozenset(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._names:
            raise AttributeError(f"{self.__name__} has no {name!r} (CuPy {NAMES['version']})")
        value = getattr(self._numpy, name)
        if isinstance(value, types.ModuleType):
            raise AttributeError(f"this fake has no {self.__name__}.{name}")
        return value if isinstance(value, type) or not callable(value) else _operation(value, name)


def _cupy() -> types.ModuleType:
    """A fake module."""
    strides, device = np.lib.stride_tricks, {"name": b"a fake device"}
    cupy: Any = _Module("cupy", np, NAMES["cupy"])
    cupy.__version__ = NAMES["version"] + "+fake"
    cupy.ndarray, cupy.RawModule = ndarray, RawModule
    cupy.array, cupy.asarray, cupy.ascontiguousarray = _array, _asarray, _ascontiguousarray
    cupy.asnumpy = lambda x: x.get() if isinstance(x, ndarray) else np.asarray(x)
    cupy.is_available = lambda: True
    cupy.linalg = _Module("cupy.linalg", np.linalg, NAMES["linalg"])
    tricks = {name: _operation(getattr(strides, name), name) for name in ("as_strided", "sliding_window_view")}
    cupy.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(**tricks))
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda number: device)
    elapsed = lambda begin, end: 1e3 * (end.time - begin.time)  # noqa: E731
    cupy.cuda = types.SimpleNamespace(runtime=runtime, Event=Event, get_elapsed_time=elapsed)
    module: types.ModuleType = cupy
    return module


def _asarray(values: Any, dtype: Any = None, order: str = "K") -> ndarray:
    if not isinstance(values, ndarray):
        tally.upload()
        return ndarray(np.array(_to_host(values) if isinstance(values, list | tuple) else values, dtype=dtype))
    if dtype in (None, values.dtype) and (order == "K" or values.flags.c_contiguous):
        return values
    return _copy(values, dtype, order)


def _array(values: Any, dtype: Any = None, copy: bool = True) -> ndarray:
    return _copy(values, dtype) if copy and isinstance(values, ndarray) else _asarray(values, dtype)


def _copy(values: ndarray, dtype: Any, order: Any = "K") -> ndarray:
    tally.launch("copy")
    return ndarray(np.array(values._host, dtype=dtype, order=order))


def _ascontiguousarray(values: ndarray, dtype: Any = None) -> ndarray:
    if values.flags.c_contiguous and dtype in (None, values.dtype):
        return values
    tally.launch("ascontiguousarray")
    return ndarray(np.ascontiguousarray(values._host, dtype))


class RawModule:
    """Runs, in the place of each kernel, its NumPy twin, and refuses arguments that a kernel would misread."""

    def __init__(self, code: str) -> None:
        self._code = code

    def get_function(self, name: str) -> Callable[..., None]:
        """The kernel of that name."""
        if f"void {name}(" not in self._code:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return functools.partial(_run, name)


def _run(name: str, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
    values: list[Any] = []
    after_array = False
    for value in arguments:
        if isinstance(value, ndarray):
            if not value.flags.c_contiguous:
                raise ValueError(f"kernel {name}: a strided array would be read as a contiguous one")
            values.append(value._host)
        elif not isinstance(value, np.generic):
            raise TypeError(f"kernel {name}: {type(value)} is neither a device array nor a NumPy scalar")
        elif not after_array:
            values.append(value.item())
        elif value != values[-1].size:  # after every array a kernel gets its size, which the twin does not need
            raise ValueError(f"kernel {name}: a size of {value} for an array of {values[-1].size}")
        after_array = isinstance(value, ndarray)
    if grid[0] * block[0] < values[0].size:
        raise ValueError(f"kernel {name}: {grid[0]} × {block[0]} threads for {values[0].size} elements")
    tally.launch(name)
    kernels.TWINS[name](*values)


class Event:
    """A moment on the device's clock, which here is the host's."""

    time: float

    def record(self) -> None:
        """The moment is now."""
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Wait for it."""
        tally.read("event.synchronize()")
