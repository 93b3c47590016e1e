"""K linear heads of one shape as one matrix: the fast path of `SharedBottom` for many small tasks.

K matrix products of width C become one of width K·C, and K loss operations one. Each head keeps its own
block (weight, then bias), and `matrix` is a view of all of them, one row a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinymtl.autodiff import Tensor, record
from tinymtl.backend import Array, array_module
from tinymtl.nn.functional import sum_rows
from tinymtl.nn.layers import Linear, Module, Sequential
from tinymtl.nn.losses import PER_TASK, binary_cross_entropy_with_logits


def stackable(heads: Sequence[Module], losses: Sequence[Callable[..., Tensor]]) -> list[Linear] | None:
    """The heads as linear layers where all are linear of one shape and their loss is one that `PER_TASK` has."""
    layers = [h.layers[0] if isinstance(h, Sequential) and len(h.layers) == 1 else h for h in heads]
    linear = [layer for layer in layers if type(layer) is Linear]
    if len(linear) < len(heads) or len(heads) < 2 or len(set(losses)) > 1 or losses[0] not in PER_TASK:
        return None
    shapes = {layer.weight.shape for layer in linear}
    one_output = losses[0] is binary_cross_entropy_with_logits  # its predictions are (N, K), a column a task
    if len(shapes) > 1 or (one_output and linear[0].weight.shape[1] != 1):
        return None
    return linear


def stacked_linear(z: Tensor, matrix: Tensor, features: int) -> tuple[Tensor, Array]:
    """Z Vₖ + cₖ for all K heads side by side, and the weights Vₖ side by side.

    Shapes: z (N, features), matrix (K, features·C + C) with a head's weight and bias in each row
    → (N, K·C), (features, K·C).
    """
    values, rows = z.data, matrix.data
    tasks = len(rows)
    outputs = rows.shape[1] // (features + 1)
    weights, biases = rows[:, :-outputs], rows[:, -outputs:]
    weight = weights.reshape(tasks, features, -1).swapaxes(0, 1).reshape(features, -1)
    out = values.dot(weight)
    by_task = out.reshape(len(out), tasks, -1)
    by_task += biases

    def vjp_matrix(g: Array) -> Array:
        leading = g.shape[:-2]
        by_feature = values.T.dot(g) if g.ndim == 2 else values.T @ g
        weights = by_feature.reshape(*leading, features, tasks, -1).swapaxes(-3, -2)
        biases = sum_rows(g).reshape(*leading, tasks, -1)
        xp = array_module(g)
        # in the order of the heads' own memory: for heads of one output the joined parts may be in the other
        rows: Array = xp.ascontiguousarray(xp.concatenate([weights.reshape(*leading, tasks, -1), biases], axis=-1))
        return rows

    return record(out, (z, lambda g: g.dot(weight.T)), (matrix, vjp_matrix)), weight
