"""A step's memory as a value: any nest of dicts, lists, dataclasses, tensors, arrays, generators and plain values.

`kept` copies it, `put_back` restores it in place; `to_arrays` and `from_arrays` are the way into a file and back.
In place, since a strategy may hold a part of its memory under a name of its own as well (`self.s`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np

from tinymtl.autodiff import Tensor
from tinymtl.backend import Array, device_of, is_array, to_device, to_host

PLAIN = (int, float, str, bool, type(None), np.number, np.bool_)


def kept(value: Any) -> Any:
    """A copy that shares nothing with `value`: what `put_back` takes."""
    if isinstance(value, Tensor):
        return value.data.copy()
    if is_array(value):
        return value.copy()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if dataclasses.is_dataclass(value):
        return {field.name: kept(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: kept(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [kept(item) for item in value]
    if not isinstance(value, PLAIN):
        raise TypeError(
            f"a step's memory is made of arrays, tensors, numbers, strings, generators, lists, dicts and dataclasses, "
            f"not {type(value).__name__}"
        )
    return value


def put_back(value: Any, saved: Any) -> Any:
    """`value` as it was when `kept` made `saved`: in place if `value` can change, else what replaces it."""
    if isinstance(value, Tensor):
        value.data[...] = saved
    elif is_array(value) and is_array(saved) and value.shape == saved.shape and value.dtype == saved.dtype:
        value[...] = saved
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = saved
    elif dataclasses.is_dataclass(value) and isinstance(saved, dict):
        for field in dataclasses.fields(value):
            setattr(value, field.name, put_back(getattr(value, field.name), saved[field.name]))
    elif isinstance(value, dict) and isinstance(saved, dict):
        for key in [key for key in value if key not in saved]:
            del value[key]
        for key, item in saved.items():
            value[key] = put_back(value.get(key), item)
    elif isinstance(value, list) and isinstance(saved, list):
        value[:] = [put_back(*pair) for pair in zip(value, saved, strict=True)] if len(value) == len(saved) else saved
    elif isinstance(value, tuple):
        return tuple(put_back(*pair) for pair in zip(value, saved, strict=True))
    else:
        return saved
    return value


def arrays_in(value: Any, path: str) -> Iterator[tuple[str, Array]]:
    """(path, array) for every array of a nest: the arrays themselves."""
    if isinstance(value, Tensor):
        value = value.data
    if is_array(value):
        yield path, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from arrays_in(getattr(value, field.name), f"{path}/{field.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from arrays_in(item, f"{path}/{step_in_path(key)}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from arrays_in(item, f"{path}/{i}")


def to_arrays(value: Any, path: str) -> Iterator[tuple[str, Array]]:
    """(path, array) for every leaf of a nest, on the host; what is no array is JSON in an array of text."""
    if isinstance(value, Tensor):
        value = value.data
    if is_array(value):
        yield path, np.array(to_host(value))
    elif isinstance(value, np.random.Generator):
        yield path, np.array(json.dumps(value.bit_generator.state, default=_array_as_json))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from to_arrays(getattr(value, field.name), f"{path}/{field.name}")
    elif isinstance(value, dict) and not _is_plain(value):
        for key, item in value.items():
            yield from to_arrays(item, f"{path}/{step_in_path(key)}")
    elif isinstance(value, list | tuple) and not _is_plain(value):
        for i, item in enumerate(value):
            yield from to_arrays(item, f"{path}/{i}")
    elif isinstance(value, bool | float | np.number | np.bool_) or (isinstance(value, int) and abs(value) < 2**63):
        yield path, np.array(value)
    else:
        yield path, np.array(json.dumps(kept(value), default=_array_as_json))


def from_arrays(value: Any, arrays: Mapping[str, Array], path: str) -> Any:
    """What `put_back` takes to make `value`, a nest of the same kind, what `to_arrays` wrote.

    Raises ValueError for an array of another shape or a part that is missing; nothing has changed then.
    """
    saved = arrays.get(path)
    if isinstance(value, Tensor):
        value = value.data
    if is_array(value):
        if saved is None or saved.shape != value.shape:
            was = "is not there" if saved is None else f"was saved with shape {saved.shape}"
            raise ValueError(f"{path!r} {was}, this step has {value.shape}")
        return to_device(saved.astype(value.dtype), device_of(value))
    if saved is not None:
        if saved.dtype.kind != "U":
            return saved if saved.ndim else saved.item()
        decoded = json.loads(str(saved), object_hook=_json_as_array)
        if isinstance(value, np.random.Generator):
            _check_generator(value, decoded, path)
        return decoded
    inside = list(dict.fromkeys(key[len(path) + 1 :].split("/")[0] for key in arrays if key.startswith(path + "/")))
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        for name in inside:
            if name not in names:
                raise ValueError(f"{f'{path}/{name}'!r} is in the saved memory alone: it is another step's")
        return {name: from_arrays(getattr(value, name), arrays, f"{path}/{name}") for name in names}
    if isinstance(value, list | tuple | dict) and value and not inside:
        raise ValueError(f"{path!r} is not in the saved memory: it is another step's")
    if isinstance(value, list | tuple):
        old = [*value, *[None] * (len(inside) - len(value))]
        return [from_arrays(old[i], arrays, f"{path}/{i}") for i in range(len(inside))]
    if inside or isinstance(value, dict):
        known = {step_in_path(key): (key, item) for key, item in (value or {}).items()}
        pairs = [(known.get(name, (unquote(name), None)), f"{path}/{name}") for name in inside]
        return {key: from_arrays(item, arrays, where) for (key, item), where in pairs}
    raise ValueError(f"{path!r} is not in the saved memory")


def step_in_path(key: Any) -> str:
    """A name as a part of a path: a slash in it is no border.

    >>> step_in_path("head of a/b")
    'head of a%2Fb'
    """
    return str(key).replace("%", "%25").replace("/", "%2F")


def _check_generator(value: np.random.Generator, state: Any, path: str) -> None:
    kind = type(value.bit_generator).__name__
    saved = state.get("bit_generator") if isinstance(state, dict) else None
    if saved != kind:
        raise ValueError(f"{path!r} was saved as a generator of kind {saved}, this step has {kind}: make it alike")


def _is_plain(value: Any) -> bool:
    """Whether a dict or list holds plain values alone, at any depth: then it is one line of JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, PLAIN)


def _array_as_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    raise TypeError(f"{type(value).__name__} cannot be saved")


def _json_as_array(pairs: dict[str, Any]) -> Any:
    return np.array(pairs["array"], pairs["dtype"]) if set(pairs) == {"array", "dtype"} else pairs
