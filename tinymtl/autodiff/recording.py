"""What is recorded, and how carefully: `no_grad` and `checking`, each for the thread that enters it."""

from __future__ import annotations

import contextlib
import threading
import types
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from tinymtl.backend import is_array, to_host

Vjp = Callable[[Any], Any]

#: How an operation is recorded: not at all, as it is, or with a check of the arrays that its gradient will need.
OFF, ON, CHECKED = 0, 1, 2

CHANGED = (
    "an array was changed after a forward pass had used it, and the gradient would be that of neither the old nor the "
    "new values: run the forward pass again after an update, or take all gradients before it"
)


class _Mode(threading.local):
    recording = ON


mode = _Mode()


class _Setting(contextlib.ContextDecorator):
    """A context manager and decorator that sets `mode.recording`, and sets it back."""

    def __init__(self) -> None:
        self._outer = threading.local()  # one instance may decorate a function that several threads run

    def _within(self, outer: int) -> int:
        raise NotImplementedError

    def __enter__(self) -> None:
        if not hasattr(self._outer, "modes"):
            self._outer.modes = []
        self._outer.modes.append(mode.recording)
        mode.recording = self._within(mode.recording)

    def __exit__(self, *error: object) -> None:
        mode.recording = self._outer.modes.pop()


class no_grad(_Setting):
    """Within it nothing is recorded: `with no_grad():` or `@no_grad()`. Only the thread that entered it is affected.

    Examples
    --------
    >>> import tinymtl as tm
    >>> x = tm.tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    def _within(self, outer: int) -> int:
        return OFF


class checking(_Setting):
    """Within it a gradient is refused if an array that it needs has changed since the forward pass.

    Operations keep references, not copies. A batch buffer that is filled again, or a `w.data -= …` by hand, between
    forward and backward leaves a gradient of mixed old and new values, and nothing says so. In this mode every
    operation remembers a checksum of the arrays that its gradient needs, and a sweep compares them: a RuntimeError
    where they differ. That reads all arrays twice, so it is for looking for a fault. What costs nothing is always
    looked for: a parameter that an optimizer, or a `w -= …` under `no_grad`, has moved in between.

    Examples
    --------
    >>> import numpy as np
    >>> import tinymtl as tm
    >>> w, buffer = tm.tensor([2.0], requires_grad=True), tm.tensor([3.0])
    >>> with checking():
    ...     y = w * buffer
    >>> buffer.data[:] = 100.0
    >>> tm.grad(y, w)
    Traceback (most recent call last):
        ...
    RuntimeError: an array was changed after a forward pass had used it, ...
    """

    def _within(self, outer: int) -> int:
        return CHECKED if outer else OFF


def is_recording() -> bool:
    """Whether operations are being recorded in this thread, that is, whether no `no_grad` is active."""
    return bool(mode.recording)


def checked(vjp: Vjp) -> Vjp:
    """`vjp`, which raises a RuntimeError if an array that it holds has changed since now."""
    before = _digest(vjp)

    def compared(g: Any) -> Any:
        if _digest(vjp) != before:
            raise RuntimeError(CHANGED)
        return vjp(g)

    return compared


def _digest(vjp: Vjp) -> int:
    digest = 0
    for array in _held(vjp, set()):
        digest = zlib.crc32(to_host(array).tobytes(), digest)
    return digest


def _held(value: Any, seen: set[int]) -> Iterator[Any]:
    """The arrays that a function will find in its free variables and defaults, and in those of its functions."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if is_array(value):
        yield value
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):  # a cell that is still empty
                yield from _held(cell.cell_contents, seen)
        yield from _held(value.__defaults__, seen)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _held(item, seen)
    elif is_array(getattr(value, "data", None)):  # a tensor
        yield value.data
