"""The fake device for a test: `cupy` is the fake module while the test runs."""

import sys

import numpy as np
import pytest

from tinymtl import fake_cupy


@pytest.fixture
def cupy():
    with fake_cupy.pretend_gpu():
        yield sys.modules["cupy"]


def on_device(cupy, array):
    """`array` on the fake device, with its strides: a transposed view stays one."""
    return fake_cupy.ndarray(array)


def on_host(array):
    """The values of a fake device array (or of a host array), without counting a synchronisation."""
    return np.asarray(array._host if isinstance(array, fake_cupy.ndarray) else array)
