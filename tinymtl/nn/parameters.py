"""Parameters: the leaves that a module learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.arrays import as_numbers, cast
from tinymtl.autodiff import Tensor
from tinymtl.autodiff.tensor import tensor
from tinymtl.backend import Array, device_of, is_array, to_device, to_host
from tinymtl.checks import shown


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` as NumPy's; a ValueError where it is not float32 or float64: integers would cut parameters to 0."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"parameters are float32 or float64, not {shown(dtype)}")
    return found


class Parameter(Tensor):
    """A leaf that a module learns.

    Assigning `.data` replaces a free parameter's array. Once the parameter belongs to a model, assigning copies the
    values into the model's vector (and into its dtype and device): a view stays a view.
    """

    __slots__ = ("_array", "_bound", "owner")

    def __init__(self, data: Array):
        self._bound = False
        self.owner: Any = None  # the layout of the model that it belongs to
        super().__init__(data, requires_grad=True)

    @property
    def data(self) -> Array:
        """The values."""
        return self._array

    @data.setter
    def data(self, values: Any) -> None:
        if not self._bound:
            keep = is_array(values) and values.dtype.kind == "f"
            self._array = as_numbers(values, "a parameter") if keep else tensor(values).data
            return
        found: Array = values.data if isinstance(values, Tensor) else as_numbers(values, "a parameter")
        if found.shape != self._array.shape:
            raise ValueError(f"values of shape {found.shape} do not fit a parameter of shape {self._array.shape}")
        found = cast(to_host(found), self._array.dtype, "a parameter")
        self._array[...] = to_device(found, device_of(self._array))

    @property
    def bound(self) -> bool:
        """Whether the values are a part of a model's vector."""
        return self._bound

    def bind(self, view: Array, owner: Any) -> None:
        """Make this parameter a view of a model's vector; the view's values count from now on."""
        self._array, self._bound, self.owner = view, True, owner


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
        self.data: Array = as_numbers(data, "a buffer")

    def to(self, dtype: Any = None, device: str | None = None) -> None:
        """Change the device, and the dtype if the values are floats."""
        keep = dtype is None or self.data.dtype.kind != "f"
        values = to_host(self.data).astype(self.data.dtype if keep else dtype)
        self.data = to_device(values, device or device_of(self.data))

    def __repr__(self) -> str:
        return f"Buffer({np.array2string(to_host(self.data), separator=', ', prefix='Buffer(')})"
