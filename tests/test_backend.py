"""The array library and the device, with a stand-in for CuPy where one is needed."""

import builtins
import sys
import types

import numpy as np
import pytest

from tinymtl import backend


class DeviceArray:
    """An array that NumPy does not know."""

    def __init__(self, values):
        self.values = np.array(values)

    def get(self):
        return self.values.copy()


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy on a machine with one GPU."""
    module = types.ModuleType("cupy")
    module.__version__ = "14.0.1"
    module.ndarray = DeviceArray
    module.is_available = lambda: True
    module.asarray = lambda a: a if isinstance(a, DeviceArray) else DeviceArray(a)
    module.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: 1))
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.fixture
def no_cupy(monkeypatch):
    """A machine on which `import cupy` fails, and that has not imported it yet."""
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "cupy":
            raise ImportError("No module named 'cupy'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("value", [np.zeros(2), np.zeros(()), np.float32(1), 1.0, 1, True, [1.0], None, "x"])
def test_everything_on_the_host_belongs_to_numpy(value):
    assert backend.array_module(value) is np
    assert backend.is_array(value) is isinstance(value, np.ndarray)
    if isinstance(value, np.ndarray):
        assert backend.device_of(value) == "cpu"


def test_a_device_array_belongs_to_cupy(cupy):
    array = DeviceArray([1.0, 2.0])
    assert backend.array_module(array) is cupy
    assert backend.is_array(array)
    assert backend.device_of(array) == "cuda"
    assert backend.array_module(np.zeros(2)) is np
    assert not backend.is_array([1.0])


def test_to_host():
    array = np.zeros(2)
    assert backend.to_host(array) is array
    assert isinstance(backend.to_host(np.float32(1)), np.ndarray)
    assert backend.to_host([1, 2]).tolist() == [1, 2]


def test_there_and_back(cupy):
    array = np.array([1.0, 2.0])
    there = backend.to_device(array, "cuda")
    assert isinstance(there, DeviceArray)
    assert backend.to_device(there, "cuda") is there
    back = backend.to_device(there, "cpu")
    assert isinstance(back, np.ndarray)
    assert back.tolist() == backend.to_host(there).tolist() == [1.0, 2.0]
    assert backend.to_device(array, "cpu") is array


def test_module_for(cupy):
    assert backend.module_for("cpu") is np
    assert backend.module_for("cuda") is cupy
    assert backend.cuda_problem() is None


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:0", "", None])
def test_an_unknown_device_is_named(device):
    with pytest.raises(ValueError, match=f"unknown device {device!r}: use 'cpu' or 'cuda'"):
        backend.module_for(device)
    with pytest.raises(ValueError, match="unknown device"):
        backend.to_device(np.zeros(2), device)


def test_without_cupy_the_error_says_how_to_get_it(no_cupy):
    with pytest.raises(RuntimeError, match=r"no GPU to use: CuPy is not installed: run `pip install 'tinymtl\[gpu\]'`"):
        backend.module_for("cuda")
    with pytest.raises(RuntimeError, match="CuPy is not installed"):
        backend.to_device(np.zeros(2), "cuda")


def test_cupy_without_a_driver(cupy):
    def fails():
        raise RuntimeError("cudaErrorInsufficientDriver")

    cupy.is_available = lambda: False
    cupy.cuda.runtime.getDeviceCount = fails
    assert backend.cuda_problem() == (
        "CuPy 14.0.1 is installed, but the NVIDIA driver does not answer (cudaErrorInsufficientDriver)"
    )
    with pytest.raises(RuntimeError, match="no GPU to use: CuPy 14.0.1 is installed, but the NVIDIA driver"):
        backend.module_for("cuda")


def test_cupy_without_a_device(cupy):
    cupy.is_available = lambda: False
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    assert backend.cuda_problem() == "CuPy 14.0.1 is installed, but it sees 0 CUDA devices"


def test_asking_for_the_cpu_never_imports_cupy(no_cupy):
    array = np.ones(3)
    assert backend.to_device(array, "cpu") is array
    assert backend.module_for("cpu") is np
    assert backend.array_module(array) is np
