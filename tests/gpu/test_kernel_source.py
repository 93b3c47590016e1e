"""The CUDA source itself, compiled for the CPU: every kernel against its NumPy twin."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests import exact
from tinymtl import kernels
from tinymtl.nn import functional, losses  # noqa: F401  (they register their fused operations)

COMPILER = shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile the CUDA source for the CPU")

SHIM = """
#include <cmath>
using std::exp; using std::log; using std::log1p; using std::tanh; using std::sqrt;
struct Index { int x; };
static thread_local Index blockIdx, threadIdx, blockDim;
#define __global__
"""
LOOP = """
extern "C" void run_%s(int blocks, int threads, %s) {
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) %s(%s);
}
"""


@pytest.fixture(scope="module", params=["float32", "float64"])
def compiled(request, tmp_path_factory):
    """Runs a kernel by name on NumPy arrays, in the way that kernels.py launches it."""
    dtype = np.dtype(request.param)
    source = kernels.source(dtype)
    text = SHIM + source
    for name, signature in re.findall(r"void (\w+)\((.*?)\)", source, re.DOTALL):
        names = ", ".join(part.split()[-1].lstrip("*") for part in signature.split(","))
        text += LOOP % (name, signature, name, names)
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels.cpp").write_text(text)
    library = folder / "kernels.so"
    command = [COMPILER, "-O1", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(folder / "kernels.cpp")], check=True)
    functions = ctypes.CDLL(str(library))
    real = ctypes.c_float if dtype == np.float32 else ctypes.c_double

    def run(name, *arguments):
        c_arguments = []
        for value in arguments:
            if isinstance(value, np.ndarray):
                c_arguments += [value.ctypes.data_as(ctypes.c_void_p), ctypes.c_longlong(value.size)]
            else:
                c_arguments.append(real(value) if isinstance(value, float) else ctypes.c_longlong(value))
        blocks = (arguments[0].size + kernels.THREADS - 1) // kernels.THREADS
        getattr(functions, f"run_{name}")(blocks, kernels.THREADS, *c_arguments)

    return dtype, run


def normal(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def positive(dtype, *shape, seed=0):
    return np.abs(normal(dtype, *shape, seed=seed))


LABELS = np.random.default_rng(0).integers(0, 7, (50, 3))
ARGUMENTS = {
    "add_bias": lambda d: (normal(d, 60, 11), normal(d, 11), 0),
    "relu_gradient": lambda d: (np.empty((2, 60, 11), d), normal(d, 2, 60, 11), normal(d, 60, 11)),
    "softmax_cross_entropy": lambda d: (
        np.empty((50, 3), d),
        np.empty((50, 3, 7), d),
        30 * normal(d, 50, 3, 7),
        LABELS,
        np.array([1 / 50], d),
    ),
    "binary_cross_entropy": lambda d: (
        np.empty((50, 3), d),
        np.empty((50, 3), d),
        np.append(normal(d, 49, 3), [[900, -900, 0]], axis=0).astype(d),
        np.random.default_rng(1).random((50, 3)).astype(d),
        np.array([1 / 50], d),
    ),
    "sgd": lambda d: (normal(d, 700), normal(d, 700, seed=1), normal(d, 700, seed=2), 0.1, 0.9, 0.01),
    "adam": lambda d: (
        normal(d, 700),
        normal(d, 700, seed=1),
        normal(d, 700, seed=2),
        positive(d, 700, seed=3),
        *(0.9, 0.999, 0.1, 0.001, 0.05, 1.2, 1e-8, 0.01, 1.0),
    ),
}
SHARES = np.random.default_rng(2).random((50, 3)) * (np.arange(150).reshape(50, 3) % 4 > 0)  # some cells count nothing
CASES = ARGUMENTS | {
    "softmax_cross_entropy, weights": lambda d: (*ARGUMENTS["softmax_cross_entropy"](d)[:-1], SHARES.astype(d)),
    "binary_cross_entropy, weights": lambda d: (*ARGUMENTS["binary_cross_entropy"](d)[:-1], SHARES.astype(d)),
    "add_bias, relu": lambda d: (normal(d, 60, 11), normal(d, 11), 1),
    "sgd, no decay": lambda d: (*ARGUMENTS["sgd"](d)[:-1], 0.0),
    "adam, no decay": lambda d: (*ARGUMENTS["adam"](d)[:-2], 0.0, 1.0),
    "adam, decoupled decay": lambda d: (*ARGUMENTS["adam"](d)[:-2], 0.0, 0.97),
}


def test_every_kernel_is_here():
    declared = set(re.findall(r"__global__ void (\w+)\(", kernels.source(np.dtype("float32"))))
    assert declared == set(kernels.TWINS) == set(ARGUMENTS)


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_equals_its_twin(compiled, case):
    dtype, run = compiled
    name = case.split(",")[0]
    by_kernel, by_twin = CASES[case](dtype), CASES[case](dtype)
    run(name, *by_kernel)
    kernels.TWINS[name](*by_twin)
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    for found, expected in zip(by_kernel, by_twin, strict=True):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def test_a_nan_stays_one(compiled):
    dtype, run = compiled
    z, bias = np.array([[np.nan, -1.0, 2.0]], dtype), np.zeros(3, dtype)
    run("add_bias", z, bias, 1)
    np.testing.assert_array_equal(z, [[np.nan, 0.0, 2.0]])


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_binary_cross_entropy_is_exact_in_both_tails(compiled, target):
    dtype, run = compiled
    x = exact.points(dtype)
    values, gradient = np.empty_like(x), np.empty_like(x)
    run("binary_cross_entropy", values, gradient, x, np.full_like(x, target), np.ones(1, dtype))
    towards = 1 if target else -1
    assert exact.ulps(values, [-exact.log_sigmoid(towards * p) for p in x]) < 4
    assert exact.ulps(gradient, [-towards * exact.sigmoid(-towards * p) for p in x]) < 4


def test_cross_entropy_is_exact_in_both_tails(compiled):
    dtype, run = compiled
    x = exact.points(dtype)
    x = x[np.isfinite(x)]
    logits = np.stack([np.zeros_like(x), x], axis=1)
    values, gradient = np.empty_like(x), np.empty_like(logits)
    run("softmax_cross_entropy", values, gradient, logits, np.ones(len(x), np.int64), np.ones(1, dtype))
    assert exact.ulps(values, [-exact.log_sigmoid(p) for p in x]) < 4
    assert exact.ulps(gradient[:, 1], [-exact.sigmoid(-p) for p in x]) < 4
