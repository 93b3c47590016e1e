"""Networks that fit a data set: a trunk, and one linear head per task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinymtl import nn
from tinymtl.checks import did_you_mean, random_generator, require, whole_number
from tinymtl.data import MultiTaskData
from tinymtl.nn.shared_bottom import SharedBottom, Task

LOSSES = {
    "classes": nn.cross_entropy,
    "binary": nn.binary_cross_entropy_with_logits,
    "regression": nn.mse_loss,
}


def build(
    data: MultiTaskData,
    trunk: Sequence[int] | str = (64,),
    rng: int | np.random.Generator = 0,
    tasks: Sequence[str] | None = None,
) -> SharedBottom:
    """A shared-bottom network for a data set: an MLP or LeNet as the trunk, and a linear head per task.

    The trunk and every head draw from a random stream of their own. So networks with the same `rng` and other
    `tasks` start from the same trunk and the same heads: a fair single-task net is `build(…, tasks=["left"])`.

    An MLP's first biases are −(mean input)·W: its units start in the middle of the training data. Pixels
    are never negative; with biases near 0 some units of a narrow trunk would start dead, and stay dead.

    Parameters
    ----------
    data : MultiTaskData
        Its tasks choose the losses: cross-entropy for "classes", binary cross-entropy for "binary", mean squared
        error for "regression".
    trunk : sequence of int, or "lenet", default (64,)
        The widths of the MLP's layers (images are flattened), or the LeNet of Sener & Koltun 2018 for images.
    rng : int or numpy Generator, default 0
    tasks : sequence of str, default all
        The tasks that get a head.

    Examples
    --------
    >>> import tinymtl as tm
    >>> model = build(tm.data.load("multidigits"), trunk=[8])
    >>> [p.shape for p in model.shared_parameters()], [p.shape for p in model.task_parameters("left")]
    ([(144, 8), (8,)], [(8, 10), (10,)])
    """
    require("data", data, MultiTaskData, "a MultiTaskData, such as tinymtl.data.load('weather')")
    names = [task.name for task in data.tasks]
    for name in tasks or []:
        if name not in names:
            raise ValueError(f"{data.name} has no task {name!r}: {did_you_mean(name, names)}")
    trunk_stream, *streams = random_generator(rng).spawn(1 + len(names))
    module, width = _trunk(data, trunk, trunk_stream)
    return SharedBottom(
        module,
        [
            Task(task.name, nn.Linear(width, task.outputs, stream), LOSSES[task.kind])
            for task, stream in zip(data.tasks, streams, strict=True)
            if tasks is None or task.name in tasks
        ],
    )


def _trunk(data: MultiTaskData, trunk: Sequence[int] | str, rng: np.random.Generator) -> tuple[nn.Module, int]:
    """The trunk, and the width of its representation."""
    if trunk == "lenet":
        if len(data.input_shape) != 3 or data.input_shape[1] != data.input_shape[2]:
            raise ValueError(f"trunk='lenet' takes square images, but one input of {data.name} is {data.input_shape}")
        channels, side, _ = data.input_shape
        return nn.LeNet(image_size=side, in_channels=channels, rng=rng), 50
    if isinstance(trunk, str) or not len(trunk):
        raise ValueError(f"trunk is 'lenet' or the widths of an MLP's layers such as [64, 32], got {trunk!r}")
    widths = [whole_number("a width of the trunk", width, 1) for width in trunk]
    try:
        mlp = nn.MLP([data.features, *widths], rng)
    except (MemoryError, OverflowError, ValueError) as error:
        raise ValueError(f"a trunk of the widths {widths} does not fit into memory: give smaller ones") from error
    first = mlp.layers[0]
    first.bias.data = -(data.train.x.reshape(len(data.train), -1).mean(axis=0) @ first.weight.data)
    return mlp if len(data.input_shape) == 1 else nn.Sequential(nn.Flatten(), mlp), widths[-1]
