"""A stand-in for CuPy on a machine without a GPU: NumPy underneath, CuPy's rules on top, and a tally.

It refuses what CuPy 14 refuses (host and device arrays in one expression, NumPy functions on device arrays,
implicit conversion to NumPy, names that CuPy lacks) and some of what CuPy merely makes slow or undefined
(duplicate indices in an assignment). It counts what a GPU would feel: launches (kernels), uploads, and
synchronisations; within `no_sync()` the latter two are errors. Views cost nothing, as on a device.

It proves nothing about speed, CUDA source, races or rounding; those need a GPU (marker `gpu`) or a compiler.

    cupy = fake_cupy.install()     # sys.modules["cupy"]
    fake_cupy.uninstall()
"""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import sys
import time
import types
from pathlib import Path

import numpy as np

from tinymtl import kernels

NAMES = json.loads((Path(__file__).parent / "cupy_names.json").read_text())  # the names that CuPy 14.2.0 has
MODULES = ("cupy", "cupyx", "cupy.cuda", "cupy.cuda.runtime", "cupy.random", "cupy.linalg", "cupy.lib")

# Functions and methods whose result shares memory with their argument: no kernel runs.
VIEWS = {
    "broadcast_to", "expand_dims", "transpose", "swapaxes", "moveaxis", "squeeze", "reshape", "ravel", "view",
    "as_strided", "sliding_window_view", "diagonal", "empty", "empty_like", "result_type", "may_share_memory",
    "shares_memory", "T",
}  # fmt: skip


class Tally:
    """What has happened on the device since `reset`."""

    def __init__(self) -> None:
        self.reset()
        self.forbidden = False

    def reset(self) -> None:
        self.launches = self.uploads = self.syncs = 0
        self.log: list[str] = []

    def launch(self, name: str) -> None:
        self.launches += 1
        self.log.append(name)

    def upload(self, why: str) -> None:
        self._transfer(why)
        self.uploads += 1

    def sync(self, why: str) -> None:
        self._transfer(why)
        self.syncs += 1

    def _transfer(self, why: str) -> None:
        if self.forbidden:
            raise RuntimeError(f"{why} inside no_sync(): host and device wait for each other here")
        self.log.append(why)


tally = Tally()


@contextlib.contextmanager
def no_sync():
    """A region in which any transfer between host and device raises."""
    tally.forbidden = True
    try:
        yield tally
    finally:
        tally.forbidden = False


class ndarray:
    """A device array."""

    __array_priority__ = 100
    __hash__ = None

    def __init__(self, array: np.ndarray) -> None:
        self._host = array

    # what CuPy refuses

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` explicitly.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        raise TypeError(f"np.{ufunc.__name__} met a device array: use xp.{ufunc.__name__}, and no host arrays with it")

    def __array_function__(self, function, kinds, args, kwargs):
        raise TypeError(f"np.{function.__name__} met a device array: use xp.{function.__name__}")

    def __index__(self):
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    # what waits for the device

    def get(self, **_):
        tally.sync(".get()")
        return self._host.copy()

    def item(self, *args):
        tally.sync(".item()")
        return self._host.item(*args)

    def tolist(self):
        tally.sync(".tolist()")
        return self._host.tolist()

    def __float__(self):
        tally.sync("float(x)")
        return float(self._host)

    def __int__(self):
        tally.sync("int(x)")
        return int(self._host)

    def __bool__(self):
        tally.sync("if x:")
        return bool(self._host)

    def __repr__(self):
        tally.sync("repr(x)")
        return repr(self._host)

    # the rest

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self._host)))

    def __getitem__(self, index):
        key = _index(index)
        out = self._host[key]
        if not (isinstance(out, np.ndarray) and np.may_share_memory(out, self._host)) and not _is_basic(index):
            tally.launch("take")
        return _device(out)

    def __setitem__(self, index, value):
        key = _index(index)
        for part in key if isinstance(key, tuple) else (key,):
            picks = isinstance(part, np.ndarray) and part.dtype != bool and not isinstance(key, tuple)
            if picks and len(np.unique(part)) < part.size:
                raise IndexError("duplicate indices in an assignment: which value stays is undefined in CuPy")
        tally.launch("setitem")
        self._host[key] = _host(value)

    def __getattr__(self, name):
        if name.startswith("__") or name not in NAMES["ndarray"]:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        value = getattr(self._host, name)
        return _wrap(value, name, self._host) if callable(value) else _device(value)

    @property
    def dtype(self):
        return self._host.dtype

    @property
    def shape(self):
        return self._host.shape


def _binary(name):
    function = getattr(operator, name)
    in_place = name.startswith("i") and name not in ("invert",)

    def method(self, other):
        if isinstance(other, np.ndarray | list | tuple):
            raise TypeError(f"Unsupported type {type(other)}")
        tally.launch(name)
        out = function(self._host, _host(other))
        return self if in_place and out is self._host else _device(out)

    def reflected(self, other):
        if not np.isscalar(other):
            raise TypeError(f"Unsupported type {type(other)}")
        tally.launch(name)
        return _device(function(other, self._host))

    return method, reflected


for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]:
    _method, _reflected = _binary(_name)
    setattr(ndarray, f"__{_name}__", _method)
    setattr(ndarray, f"__r{_name}__", _reflected)
    setattr(ndarray, f"__i{_name}__", _binary("i" + _name)[0])
for _name in ["lt", "le", "eq", "ne", "gt", "ge", "and_", "or_", "xor"]:
    setattr(ndarray, f"__{_name.strip('_')}__", _binary(_name)[0])


def _unary(name):
    function = getattr(operator, name)

    def method(self):
        tally.launch(name)
        return _device(function(self._host))

    return method


for _name in ["neg", "pos", "abs", "invert"]:
    setattr(ndarray, f"__{_name}__", _unary(_name))


def _is_basic(index):
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, int | np.integer | slice) for part in parts)


def _index(index):
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    if isinstance(index, list | np.ndarray):
        tally.upload("an index from the host")
        return np.asarray(index)
    if isinstance(index, ndarray):
        if index.dtype == bool:
            tally.sync("a boolean index, whose result's shape depends on the data")
        return index._host
    return index


def _host(value):
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}: a host array where a device array is expected")
    if isinstance(value, list | tuple):
        return type(value)(_host(part) for part in value)
    return value


def _device(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_device(part) for part in value)
    return value


def _wrap(function, name, owner=None):
    is_ufunc = isinstance(function, np.ufunc)

    @functools.wraps(function, updated=())
    def call(*args, **kwargs):
        if is_ufunc and any(isinstance(arg, list | tuple) for arg in args):
            raise TypeError(f"Unsupported type {list}: CuPy's {name} takes device arrays and scalars")
        out = kwargs.get("out")
        result = function(*_host(args), **{key: _host(value) for key, value in kwargs.items()})
        shared = isinstance(result, np.ndarray) and owner is not None and np.may_share_memory(result, owner)
        if name not in VIEWS | {"astype"} or (name in ("reshape", "ravel", "astype") and not shared):
            tally.launch(name)
        return out if out is not None else _device(result)

    if is_ufunc and name in ("add", "subtract", "maximum", "minimum"):
        call.at = lambda x, index, value: (tally.launch("add.at"), function.at(x._host, _index(index), _host(value)))
    return call


class _Module(types.ModuleType):
    """A module of CuPy's: NumPy's functions under the names that CuPy has."""

    def __init__(self, name, source, names):
        super().__init__(name)
        self._source, self._names = source, set(names)

    def __getattr__(self, name):
        if name.startswith("__") or name not in self._names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} (CuPy {NAMES['version']})")
        value = getattr(self._source, name)
        return value if isinstance(value, type) or not callable(value) else _wrap(value, name)


def _asarray(x, dtype=None, copy=None, order="K", **_):
    if isinstance(x, ndarray):
        if copy is None and (dtype is None or x.dtype == dtype) and (order == "K" or x._host.flags.c_contiguous):
            return x
        tally.launch("copy")
        return ndarray(np.array(x._host, dtype=dtype, order=order))
    tally.upload("an upload of host values")
    return ndarray(np.array(_host(x) if isinstance(x, list | tuple) else x, dtype=dtype))


def _array(x, dtype=None, copy=True, **_):
    return _asarray(x, dtype, copy=True if copy and isinstance(x, ndarray) else None)


def _ascontiguousarray(x, dtype=None):
    if x._host.flags.c_contiguous and dtype in (None, x.dtype):
        return x
    tally.launch("ascontiguousarray")
    return ndarray(np.ascontiguousarray(x._host, dtype))


class RawModule:
    """Runs, in place of each kernel, its NumPy twin, and refuses arguments that a kernel would misread."""

    def __init__(self, code, options=()):
        self._code = code

    def get_function(self, name):
        if f"void {name}(" not in self._code:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return functools.partial(self._run, kernels.TWINS[name])

    def _run(self, twin, grid, block, args):
        values = []
        for value in args:
            if isinstance(value, ndarray):
                if not value._host.flags.c_contiguous:
                    raise ValueError(f"kernel {twin.__name__}: a strided array would be read as a contiguous one")
                values.append(value._host)
            elif isinstance(value, np.int64) and isinstance(values[-1], np.ndarray):
                if value != values[-1].size:
                    raise ValueError(f"kernel {twin.__name__}: a size of {value} for an array of {values[-1].size}")
                values.append(None)
            elif isinstance(value, np.generic):
                values.append(value.item())
            else:
                raise TypeError(f"kernel {twin.__name__}: {type(value)} is no device array and no NumPy scalar")
        if grid[0] * block[0] < values[0].size:
            raise ValueError(f"kernel {twin.__name__}: {grid[0]} × {block[0]} threads for {values[0].size} elements")
        tally.launch(twin.__name__)
        twin(*(value for value in values if value is not None))


class Event:
    """A moment on the device's clock."""

    time: float

    def record(self):
        self.time = time.perf_counter()

    def synchronize(self):
        tally.sync("event.synchronize()")


class _Generator:
    """CuPy's Generator, which has no normal, permutation or shuffle."""

    def __init__(self, seed=None):
        self._generator = np.random.default_rng(seed)

    def __getattr__(self, name):
        if name not in NAMES["generator"]:
            raise AttributeError(f"cupy.random.Generator has no method {name!r}")
        return _wrap(getattr(self._generator, name), name)


def install() -> types.ModuleType:
    """Put the fake in sys.modules under CuPy's names and return it."""
    cupy = _Module("cupy", np, NAMES["cupy"])
    cupy.ndarray, cupy.__version__ = ndarray, NAMES["version"] + "+fake"
    cupy.array, cupy.asarray, cupy.ascontiguousarray = _array, _asarray, _ascontiguousarray
    cupy.asnumpy = lambda x, **_: x.get() if isinstance(x, ndarray) else np.asarray(x)
    cupy.get_array_module = lambda *a: cupy if any(isinstance(x, ndarray) for x in a) else np
    cupy.is_available = lambda: True
    cupy.RawModule = RawModule
    cupy.linalg = _Module("cupy.linalg", np.linalg, NAMES["linalg"])
    cupy.lib = types.ModuleType("cupy.lib")
    cupy.lib.stride_tricks = types.SimpleNamespace(
        as_strided=_wrap(np.lib.stride_tricks.as_strided, "as_strided"),
        sliding_window_view=_wrap(np.lib.stride_tricks.sliding_window_view, "sliding_window_view"),
    )
    cupy.random = types.ModuleType("cupy.random")
    cupy.random.default_rng, cupy.random.Generator = _Generator, _Generator
    cupy.cuda = types.ModuleType("cupy.cuda")
    cupy.cuda.is_available = lambda: True
    cupy.cuda.runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        deviceSynchronize=lambda: None,
        getDeviceProperties=lambda device: {"name": b"a fake device"},
    )
    cupy.cuda.Event, cupy.cuda.get_elapsed_time = Event, lambda begin, end: 1e3 * (end.time - begin.time)
    cupyx = types.ModuleType("cupyx")
    cupyx.scatter_add = lambda a, index, value: np.add.at(a._host, _index(index), _host(value))
    found = {"cupy": cupy, "cupyx": cupyx, "cupy.cuda": cupy.cuda, "cupy.random": cupy.random}
    sys.modules.update(found | {"cupy.linalg": cupy.linalg, "cupy.lib": cupy.lib})
    tally.reset()
    return cupy


def uninstall() -> None:
    """Take the fake out of sys.modules."""
    for name in MODULES:
        sys.modules.pop(name, None)
