"""Whether the network is being trained or evaluated: what dropout and batch normalisation ask.

Nothing else turns dropout off, `no_grad` neither: whether a graph is recorded says how much memory a forward may
take, not which function it is. A plain `module(x)` is in training, as in PyTorch: a loop written by hand trains. What
evaluates says so itself: `model.predict` and `tinymtl.lab.evaluate` do. Every step trains, wherever it is called.
"""

from __future__ import annotations

import contextlib
import threading


class _Modes(threading.local):
    def __init__(self) -> None:
        self.training = [True]


_modes = _Modes()


class Mode(contextlib.ContextDecorator):
    """A context manager and decorator; only the thread that entered it is affected."""

    def __init__(self, training: bool):
        self._training = training

    def __enter__(self) -> None:
        _modes.training.append(self._training)

    def __exit__(self, *error: object) -> None:
        _modes.training.pop()


_TRAINING, _EVALUATING = Mode(True), Mode(False)


def training() -> Mode:
    """Within it modules train: dropout drops, batch normalisation takes the batch's mean and variance.

    >>> with evaluating(), training():
    ...     is_training()
    True
    """
    return _TRAINING


def evaluating() -> Mode:
    """Within it modules evaluate: nothing is dropped, and batch normalisation takes its running mean and variance.

    >>> import numpy as np
    >>> from tinymtl.nn import Dropout
    >>> with evaluating():
    ...     Dropout(0.5)(np.ones(4, np.float32)).data
    array([1., 1., 1., 1.], dtype=float32)
    """
    return _EVALUATING


def is_training() -> bool:
    """Whether modules train in this thread now; true outside of every `evaluating()`."""
    return _modes.training[-1]
