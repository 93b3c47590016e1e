"""Looking at a network without touching it: the task gradients at the trunk, between two training steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinymtl.backend import Array, array_module
from tinymtl.nn import training
from tinymtl.nn.shared_bottom import BeforeForward, SharedBottom


def generators(model: SharedBottom) -> list[np.random.Generator]:
    """The random generators inside a model (those that draw dropout masks), trunk first, then head by head."""
    model.find_state()
    return model.generators


@contextmanager
def undisturbed(model: SharedBottom) -> Iterator[None]:
    """Within it a model may be run; afterwards its pass counts, random generators and buffers are as they were."""
    before = BeforeForward(model)
    try:
        yield
    finally:
        before.restore()


def task_gradients(model: SharedBottom, x: Any, targets: Any) -> Array:
    """gₖ = ∇_θ Lₖ on one minibatch, each loss's gradient with respect to the trunk's parameters.

    Costs one forward, and one backward through the trunk per task. Parameters, pass counts and random states
    stay as they were; a dropout mask is the one that the next step will draw.

    Parameters
    ----------
    model : SharedBottom
    x : array, shape (N, …)
    targets : {task: array}, or one array (N, K) with a column per task

    Returns
    -------
    array (K, n)
        On the model's device. If labels are missing, K counts the tasks that have one in this minibatch.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> task_gradients(problem, None, None)
    array([[ 2.,  2.],
           [ 0., -1.]])
    """
    with undisturbed(model), training():
        batch = model.read(x, targets)
        z = model.represent(batch.x)
        _, at_z, _ = model.task_gradients(z, batch)
        rows = [model.flatten_trunk(model.sweep(z, at_z[k])) for k in range(len(batch.group))]
    gradients: Array = array_module(rows[0]).stack(rows)
    return gradients
