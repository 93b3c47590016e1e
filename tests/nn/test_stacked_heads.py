"""K linear heads as one matrix give what K separate heads give: losses, gradients, counts."""

import re

import numpy as np
import pytest

from tinymtl import SharedBottom, Task, nn
from tinymtl.autodiff import grad, sweep
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn.heads import SeparateHeads, StackedHeads, stacked_linear

LOSSES = {
    "cross-entropy": (nn.cross_entropy, 4),
    "cross-entropy of two classes": (nn.cross_entropy, 2),
    "binary": (nn.binary_cross_entropy_with_logits, 1),
}
kinds = pytest.mark.parametrize(("loss", "outputs"), LOSSES.values(), ids=LOSSES)
counts = pytest.mark.parametrize("tasks", [2, 3, 6])


def pair(loss, outputs, tasks):
    """The same network twice: heads stacked, and heads that cannot be."""
    models = []
    for wrap in (False, True):
        heads = [nn.Linear(4, outputs, rng=20 + k) for k in range(tasks)]
        if wrap:
            heads = [nn.Sequential(head, nn.Sequential()) for head in heads]
        model = SharedBottom(nn.MLP([5, 4], rng=1), [Task(f"t{k}", head, loss) for k, head in enumerate(heads)])
        models.append(model.to("float64"))
    stacked, separate = models
    assert isinstance(stacked.heads, StackedHeads)
    assert isinstance(separate.heads, SeparateHeads)
    np.testing.assert_array_equal(stacked.vector.data, separate.vector.data)
    rng = np.random.default_rng(tasks)
    x = rng.standard_normal((9, 5))
    y = rng.integers(0, max(outputs, 2), (9, tasks))
    return stacked, separate, x, y


@kinds
@counts
def test_losses_and_gradients_are_equal(loss, outputs, tasks):
    stacked, separate, x, y = pair(loss, outputs, tasks)
    weights = np.random.default_rng(0).standard_normal(tasks)
    results = []
    for model in (stacked, separate):
        batch = model.read(x, y)
        z = model.represent(batch.x)
        losses = model.losses(z, batch)
        gradients = sweep([losses], [weights], [z, *model.shared_parameters()])
        results.append((losses.data, gradients[z], model.flatten(gradients)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    assert stacked.passes == separate.passes


@kinds
def test_groups_of_tasks(loss, outputs):
    stacked, separate, x, y = pair(loss, outputs, 5)
    for group in ([3, 1], [0, 4, 2], [4], [0, 1, 2, 3, 4]):
        weights = np.arange(1.0, len(group) + 1)
        results = []
        for model in (stacked, separate):
            batch = model.read(x, y)
            losses = model.losses(model.represent(batch.x), batch, group)
            found = model.sweep(losses, weights)
            results.append((losses.data, model.flatten(found), *(model.flatten_head(found, k) for k in group)))
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@kinds
def test_k_seeds_in_one_sweep(loss, outputs):
    """One sweep seeded with the identity: every task's gradient at Z, and at its own head only."""
    stacked, separate, x, y = pair(loss, outputs, 3)
    results = []
    for model in (stacked, separate):
        batch = model.read(x, y)
        z = model.represent(batch.x)
        own = [p for name in model.task_names for p in model.task_parameters(name)]
        gradients = sweep([model.losses(z, batch)], [np.eye(3)], [z, *own])
        results.append((gradients[z], np.concatenate([gradients[p].reshape(3, -1) for p in own], 1)))
    (z_one, heads_one), (z_other, heads_other) = results
    assert z_one.shape == (3, 9, 4)
    np.testing.assert_allclose(z_one, z_other, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(heads_one, heads_other, rtol=1e-12, atol=1e-15)
    size = heads_one.shape[1] // 3
    for k in range(3):
        for other in range(3):
            assert heads_one[k, other * size : (other + 1) * size].any() == (k == other)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_stacked_linear_is_k_linear_layers(tasks, outputs):
    rng = np.random.default_rng(0)
    z = tensor(rng.standard_normal((6, 4)), requires_grad=True)
    rows = tensor(rng.standard_normal((tasks, 4 * outputs + outputs)), requires_grad=True)
    together, weights = stacked_linear(z, rows, 4)
    separate = [
        z @ rows[k, : 4 * outputs].reshape(4, outputs) + rows[k, 4 * outputs :].reshape(outputs) for k in range(tasks)
    ]
    np.testing.assert_allclose(together.data, np.concatenate([s.data for s in separate], 1), rtol=1e-13)
    side_by_side = [row[: 4 * outputs].reshape(4, outputs) for row in rows.data]
    np.testing.assert_array_equal(weights, np.concatenate(side_by_side, 1))
    seed = rng.standard_normal(together.shape)
    expected = grad(separate, [z, rows], np.split(seed, tasks, axis=1))
    for g, e in zip(grad(together, [z, rows], [seed]), expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-14)


def test_a_column_of_more_than_one_number_per_row_is_refused():
    model, _, x, y = pair(nn.cross_entropy, 4, 2)
    with pytest.raises(ValueError, match=r"task 't1': targets of shape \(9, 2\) for a batch of 9 rows"):
        model.read(x, {"t0": y[:, 0], "t1": y})


def test_a_float_column_is_the_fault_of_its_task():
    model, _, x, y = pair(nn.cross_entropy, 4, 2)
    batch = model.read(x, {"t0": y[:, 0], "t1": y[:, 1] + 0.5})
    with pytest.raises(TypeError, match="task 't1': labels must be integers, these are float64"):
        model.losses(model.represent(batch.x), batch)


@kinds
def test_the_gradient_reaches_the_heads_own_parameters(loss, outputs):
    """Not the matrix alone: `tinymtl.grad` and `backward` see through the stacking."""
    stacked, separate, x, y = pair(loss, outputs, 3)
    found = []
    for model in (stacked, separate):
        batch = model.read(x, y)
        losses = model.losses(model.represent(batch.x), batch)
        found.append(grad(losses[1], [p for name in model.task_names for p in model.task_parameters(name)]))
        losses.sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in model.task_parameters("t2"))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    assert [g.any() for g in found[0]] == [False, False, True, True, False, False]


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 3)])
def test_a_representation_that_does_not_fit_is_refused_in_a_sentence(shape):
    heads = [Task(name, nn.Linear(4, 2), nn.cross_entropy) for name in "ab"]
    model = SharedBottom(nn.Flatten() if len(shape) == 2 else nn.ReLU(), heads)
    assert model.separate_because is None
    batch = model.read(np.ones(shape), np.zeros((6, 2), int))
    with pytest.raises(ValueError, match="linear heads for 4 features got Z of shape " + re.escape(str(shape))):
        model.losses(model.represent(batch.x), batch)
