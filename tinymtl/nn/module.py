"""`Module`, what every layer and network is, and the search for what a module holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Self, TypeVar

import numpy as np

from tinymtl.autodiff import Tensor, ops
from tinymtl.backend import device_of, to_device, to_host
from tinymtl.nn.parameters import Buffer, Parameter, float_dtype

Found = TypeVar("Found")


class Module:
    """Something with parameters that maps an input to an output: subclasses write `forward`.

    A module's parameters are the `Parameter` objects that its attributes hold: an attribute itself; one in a list,
    tuple, deque or dict (its values), or in a field of a dataclass; and those of a module that is found in one of
    these places; however deep. They come in the order in which the attributes were set, and one that is found twice
    counts once. A plain Tensor is a constant, and a set or an object of another class is not searched: a set that
    holds a module or a parameter is refused, since it has no order.

    Buffers (`Buffer`: kept, but not learned) and random generators (`numpy.random.Generator`) are found in the same
    way.

    Examples
    --------
    >>> class Gate(Module):
    ...     def __init__(self):
    ...         self.slope = Parameter(np.ones(2, np.float32))
    ...         self.branches = {"left": [Parameter(np.zeros(3, np.float32))]}
    ...     def forward(self, x):
    ...         return x * self.slope
    >>> [p.shape for p in Gate().parameters()]
    [(2,), (3,)]
    """

    def forward(self, x: Tensor) -> Tensor:
        """The output for the input `x`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it maps its input: write forward(self, x)")

    def __call__(self, x: Any) -> Tensor:
        """`forward(x)`, for a Tensor or an array."""
        return self.forward(x if isinstance(x, Tensor) else Tensor(ops.operand(x)))

    def parameters(self) -> Iterator[Parameter]:
        """What the module learns: weight, bias, weight, bias …"""
        return (found for _, found in held(self, Parameter))

    def buffers(self) -> Iterator[Buffer]:
        """The arrays that the module keeps but does not learn, such as running means."""
        return (found for _, found in held(self, Buffer))

    def generators(self) -> Iterator[np.random.Generator]:
        """The random generators that draw the module's masks."""
        return (found for _, found in held(self, np.random.Generator))

    def to(self, dtype: Any = None, device: str | None = None) -> Self:
        """Change the dtype ("float32", "float64") or the device ("cpu", "cuda") in place; returns self.

        Both hold for parameters and buffers; a buffer of whole numbers keeps its dtype.
        """
        if dtype is not None:
            dtype = float_dtype(dtype)
        for p in self.parameters():
            if p.bound:  # its values would be copied back into the vector, in the vector's dtype
                raise ValueError("this module is part of a SharedBottom: call `to` of the whole model")
            p.data = to_device(to_host(p.data).astype(dtype or p.dtype), device or device_of(p.data))
        for buffer in self.buffers():
            buffer.to(dtype, device)
        return self


def output_of(what: str, module: Module, x: Tensor) -> Tensor:
    """The module's output for x; a TypeError that names it if that is not one Tensor."""
    z = module(x)
    if not isinstance(z, Tensor):
        raise TypeError(
            f"{what}: the forward of {type(module).__name__} returned {_kind_of(z)}; it has to return one Tensor with "
            "a row for each row of its input"
        )
    return z


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing (is a return missing?)"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} (tinymtl.concatenate makes one Tensor of several)"
    return f"a {type(value).__name__} (no gradient gets past it)"


def held(
    value: Any, kind: type[Found], path: str = "", seen: dict[int, Any] | None = None
) -> Iterator[tuple[str, Found]]:
    """Every object of class `kind` that `value` holds, with its attribute path ("layers.0.weight"), each once.

    >>> from tinymtl.nn import MLP
    >>> [path for path, _ in held(MLP([3, 4, 2]), Parameter)]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """
    seen = {} if seen is None else seen
    if id(value) in seen:  # tied, or a module that knows its parent
        return
    if isinstance(value, kind):
        seen[id(value)] = value
        yield path, value
        return
    items = _items(value)
    if items is None:
        return
    seen[id(value)] = value
    for name, item in items:
        yield from held(item, kind, f"{path}.{name}" if path else str(name), seen)


def _items(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """The named things in a module or container; None for anything that is not searched."""
    if isinstance(value, Module):
        return list(vars(value).items())
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple | deque):
        return enumerate(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value) if hasattr(value, field.name)]
    if isinstance(value, set | frozenset) and any(isinstance(v, Module | Parameter | Buffer) for v in value):
        raise TypeError("a set has no order, and so its modules' parameters have none: keep them in a list or a dict")
    return None
