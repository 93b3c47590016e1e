"""One vector for all of a model's parameters: where each of them stands, and where its gradient does.

An optimizer that updates one vector instead of twenty small arrays makes one pass instead of twenty. So a model lays
its parameters out in one flat vector, the trunk first, then head after head, and every parameter's `.data` is a view
of its part. A gradient lies like the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, array_module, to_device, to_host
from tinymtl.nn.parameters import Parameter


class Layout:
    """The trunk's and the heads' parts of the vector.

    Attributes
    ----------
    trunk_parameters : list of Parameter
    head_parameters : list of K lists of Parameter
    trunk : slice
        The trunk's part of the vector.
    heads : list of K slices
    size : int
        How many numbers the vector has.
    """

    def __init__(self, trunk: Sequence[Parameter], heads: Sequence[Sequence[Parameter]]):
        self.trunk_parameters = list(trunk)
        self.head_parameters = [list(head) for head in heads]
        blocks = [self.trunk_parameters, *self.head_parameters]
        ends = np.cumsum([sum(p.size for p in block) for block in blocks]).tolist()
        self.trunk, *self.heads = (slice(a, b) for a, b in zip([0, *ends], ends, strict=False))
        self.parameters = [p for block in blocks for p in block]
        self.size: int = ends[-1]

    def pack(self, dtype: Any, device: str) -> Array:
        """Lay the present values out in a new vector, make every parameter a view of its part, return the vector."""
        parts = [to_host(p.data).ravel().astype(dtype) for p in self.parameters]
        whole = to_device(np.concatenate(parts) if parts else np.zeros(0, dtype), device)
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.size
            parameter.bind(whole[start:stop].reshape(parameter.shape), self)
            start = stop
        return whole

    def frozen(self) -> list[slice]:
        """The parts of the parameters that require no gradient."""
        found, start = [], 0
        for parameter in self.parameters:
            stop = start + parameter.size
            if not parameter.requires_grad:
                found.append(slice(start, stop))
            start = stop
        return found


def flatten(parameters: Sequence[Parameter], found: Mapping[Tensor, Array]) -> list[Array]:
    """Each parameter's gradient in `found` as a flat array; zeros for a parameter that is not there."""
    return [
        found[p].reshape(-1) if p in found else array_module(p.data).zeros(p.size, p.dtype) for p in parameters
    ]


def joined(parts: Sequence[Array], like: Array) -> Array:
    """Flat arrays as one, in one launch; `like` tells the dtype and the device of none."""
    if len(parts) == 1:
        return parts[0]
    xp = array_module(like)
    flat: Array = xp.concatenate(parts) if parts else xp.zeros(0, like.dtype)
    return flat
