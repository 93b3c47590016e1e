"""Parameters, and blocks of them that share one flat vector.

An optimizer that updates one vector instead of twenty small arrays makes one pass instead of twenty. So a model
lays its parameters out one after another in a flat vector, and every parameter's `.data` is a view of its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.autodiff.tensor import tensor
from tinymtl.backend import Array, array_module, device_of, is_array, to_device, to_host


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` as NumPy's; a ValueError where it is not float32 or float64: integers would cut parameters to 0."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"parameters are float32 or float64, not {dtype!r}")
    return found


class Parameter(Tensor):
    """A leaf that a module learns.

    Assigning `.data` replaces a free parameter's array. Once the parameter belongs to a `Block`, assigning copies
    the values into the block's vector (and into its dtype and device), so that views stay views.
    """

    __slots__ = ("_array", "_bound")

    def __init__(self, data: Array):
        self._bound = False
        super().__init__(data, requires_grad=True)

    @property
    def data(self) -> Array:
        """The values."""
        return self._array

    @data.setter
    def data(self, values: Any) -> None:
        if not self._bound:
            keep = is_array(values) and values.dtype.kind == "f"
            self._array = values if keep else tensor(values).data
            return
        shape = values.shape if is_array(values) else np.shape(values)
        if shape != self._array.shape:
            raise ValueError(f"values of shape {shape} do not fit a parameter of shape {self._array.shape}")
        self._array[...] = to_device(to_host(values), device_of(self._array)).astype(self._array.dtype, copy=False)

    @property
    def bound(self) -> bool:
        """Whether the values are a part of a block's vector."""
        return self._bound

    def bind(self, view: Array) -> None:
        """Make this parameter a view of a block's vector; the view's values count from now on."""
        self._array = view
        self._bound = True


class Buffer:
    """An array that a module keeps but does not learn, such as a running mean.

    It is saved, moved to another dtype or device, copied and, after a step that is refused, put back together with
    the parameters. A forward may assign `.data`, or write into it.

    Parameters
    ----------
    data : array, or nested list of numbers

    Examples
    --------
    >>> seen = Buffer(np.zeros(2))
    >>> seen.data = 0.9 * seen.data + 0.1 * np.ones(2)
    >>> seen
    Buffer([0.1, 0.1])
    """

    def __init__(self, data: Any):
        self.data: Array = data if is_array(data) else np.asarray(data)
        if self.data.dtype.kind not in "fiub":
            raise TypeError(f"a buffer holds numbers; these values have dtype {self.data.dtype}")

    def to(self, dtype: Any = None, device: str | None = None) -> None:
        """Change the device, and the dtype if the values are floats."""
        keep = dtype is None or self.data.dtype.kind != "f"
        values = to_host(self.data).astype(self.data.dtype if keep else dtype)
        self.data = to_device(values, device or device_of(self.data))

    def __repr__(self) -> str:
        return f"Buffer({np.array2string(to_host(self.data), separator=', ', prefix='Buffer(')})"


class Block:
    """Parameters as consecutive parts of one flat vector.

    Attributes
    ----------
    parameters : list of Parameter
    vector : Tensor
        All of them as one leaf of shape (size,), the same memory: what an optimizer is given.
    """

    def __init__(self, parameters: Iterable[Parameter]):
        self.parameters = list(parameters)
        self.size = sum(p.size for p in self.parameters)
        self.vector = Tensor(np.empty(0, np.float32), requires_grad=True)

    def bind(self, flat: Array) -> None:
        """Let `flat`, a part of the model's vector with this block's values, hold the parameters from now on."""
        self.vector.data = flat
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.size
            parameter.bind(flat[start:stop].reshape(parameter.shape))
            start = stop

    def flatten(self, gradients: Mapping[Tensor, Array], out: Array | None = None) -> Array:
        """The block's gradient as one vector, zeros for parameters that `gradients` does not hold.

        Written to `out` if that is given.
        """
        xp = array_module(self.vector.data)
        parts = [gradients[p].reshape(-1) if p in gradients else xp.zeros(p.size, p.dtype) for p in self.parameters]
        if len(parts) == 1 and out is None:
            return parts[0]
        flat: Array = xp.concatenate(parts, out=out) if parts else xp.zeros_like(self.vector.data)
        return flat


def pack(blocks: list[Block], dtype: Any, device: str) -> Array:
    """Lay the blocks' present values out one after another in one new vector, bind the blocks to it, return it."""
    parts = [to_host(p.data).ravel().astype(dtype) for block in blocks for p in block.parameters]
    whole = to_device(np.concatenate(parts) if parts else np.zeros(0, dtype), device)
    start = 0
    for block in blocks:
        block.bind(whole[start : start + block.size])
        start += block.size
    return whole
