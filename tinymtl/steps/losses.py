"""What the strategies on the losses share: a softmax, the same batch once more, a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymtl.autodiff.recording import no_grad
from tinymtl.backend import Array, to_host
from tinymtl.nn.shared_bottom import BeforeForward, SharedBottom


def softmax(x: Array) -> Array:
    """exp(xₖ) / Σ exp(xⱼ), for numbers of any size.

    >>> softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    e = np.exp(x - x.max())
    result: Array = e / e.sum()
    return result


def require_positive(values: Array, names: Sequence[str], why: str, instead: str = "") -> None:
    """Raise a ValueError that names the task whose number is not positive.

    >>> require_positive(np.array([1.0, 0.0]), ["left", "right"], "GLS divides by each loss")
    Traceback (most recent call last):
    ValueError: GLS divides by each loss, but that of task 'right' is 0.0
    """
    for name, value in zip(names, values.tolist(), strict=True):
        if not value > 0.0:
            raise ValueError(f"{why}, but that of task {name!r} is {value}{instead}")


def losses_again(
    model: SharedBottom, batch: Any, before: BeforeForward, group: Sequence[int] | None = None
) -> Array:
    """The losses of the same batch where the model is now, in float64 on the host: one more forward, without a graph.

    `before` was made before the batch's first forward: the random masks are the same ones, and generators and running
    means are left as that forward left them.
    """
    after = BeforeForward(model)
    before.restore()
    with no_grad():
        L = model.losses(model.represent(batch.x), batch, group)
    after.restore()
    model.passes.trunk_forwards += 1
    return to_host(L.data).astype(np.float64)
