"""The K gradients at Z: as they are, and as factors of linear heads. Both must say the same."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.nn.heads import DenseGradients, FactoredGradients


def draw(tasks, outputs, rows=9, width=6, seed=0):
    """Rₖ (N, C) at the logits and Vₖ (d, C), side by side; and the products Rₖ Vₖᵀ."""
    rng = np.random.default_rng(seed)
    R, V = rng.normal(size=(tasks, rows, outputs)), rng.normal(size=(tasks, width, outputs))
    factors = FactoredGradients(np.concatenate(R, axis=1), np.concatenate(V, axis=1), tasks)
    return factors, [r @ v.T for r, v in zip(R, V, strict=True)]


@pytest.mark.parametrize("tasks, outputs", [(1, 3), (2, 1), (2, 4), (5, 1), (5, 3), (40, 2)])
def test_factors_equal_the_products(tasks, outputs):
    factors, D = draw(tasks, outputs)
    dense = DenseGradients(D)
    gram = np.array([[(a * b).sum() for b in D] for a in D])
    scale = gram.max()
    assert_allclose(factors.gram(), gram, rtol=0, atol=1e-14 * scale)
    assert_allclose(dense.gram(), gram, rtol=0, atol=1e-14 * scale)
    alpha = np.random.default_rng(1).dirichlet(np.ones(tasks))
    total = sum(a * d for a, d in zip(alpha, D, strict=True))
    assert_allclose(factors.combine(alpha), total, rtol=0, atol=1e-13)
    assert_allclose(dense.combine(alpha), total, rtol=0, atol=1e-13)
    for k in range(tasks):
        assert_allclose(factors[k], D[k], rtol=0, atol=1e-13)
        assert dense[k] is D[k]


@pytest.mark.parametrize("tasks", [1, 3, 4, 5, 9])
def test_the_gram_matrix_is_of_the_whole_batch(tasks):
    """Rows of opposite sign do not cancel, and every layout of the gradients is read as it should be."""
    D = list(np.random.default_rng(2).normal(size=(tasks, 6, 4)))
    D[0] = np.vstack([D[0][:3], -D[0][:3]])  # its mean over the batch is 0
    expected = np.einsum("iab,jab->ij", D, D)
    assert_allclose(DenseGradients(D).gram(), expected, rtol=0, atol=1e-13)
    D[-1] = np.asfortranarray(D[-1])
    assert_allclose(DenseGradients(D).gram(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("loss, classes", [(tm.cross_entropy, 3), (tm.binary_cross_entropy_with_logits, 1)])
@pytest.mark.parametrize("tasks", [2, 5])
def test_one_sweep_over_stacked_heads(network, batch, loss, classes, tasks):
    """Stacked heads: losses, own gradients, Gram matrix, weighted sum and each Dₖ as one task at a time finds them."""
    model, alone = network(tasks, True, loss, classes), network(tasks, False, loss, classes)
    x, labels = batch(tasks)
    if classes == 1:
        labels = {name: (y > 0).astype(float) for name, y in labels.items()}
    found = model.task_gradients(model.represent(x), model.read(x, labels))
    separate = alone.task_gradients(alone.represent(x), alone.read(x, labels))
    assert isinstance(found[1], FactoredGradients) and isinstance(separate[1], DenseGradients)

    z = alone.trunk(x)
    D, own = [], []
    for task in alone.tasks:
        value = task.loss(task.head(z), labels[task.name])
        parts = tm.grad(value, [z, *alone.task_parameters(task.name)])
        D.append(parts[0])
        own.append(np.concatenate([part.ravel() for part in parts[1:]]))
        assert_allclose(found[0][len(D) - 1], value.item(), rtol=0, atol=1e-13)
    gram = np.array([[(a * b).sum() for b in D] for a in D])
    alpha = np.random.default_rng(0).dirichlet(np.ones(tasks))
    for network, (_, at_z, heads) in ((model, found), (alone, separate)):
        flat = network.flatten(heads)
        assert (flat[network.layout.trunk] == 0).all()
        assert_allclose(flat[network.layout.trunk.stop :], np.concatenate(own), rtol=0, atol=1e-13)
        assert_allclose(at_z.gram(), gram, rtol=0, atol=1e-12)
        assert_allclose(at_z.combine(alpha), np.tensordot(alpha, D, 1), rtol=0, atol=1e-13)
        for k in range(tasks):
            assert_allclose(at_z[k], D[k], rtol=0, atol=1e-13)
            assert_allclose(network.flatten_head(heads, k), own[k], rtol=0, atol=1e-13)


def test_the_graph_is_cut_at_z(network, batch, stacked):
    """The sweep over the heads does not enter the trunk."""
    model = network(3, stacked)
    x, labels = batch(3)
    model.task_gradients(model.represent(x), model.read(x, labels))
    assert (model.passes.trunk_forwards, model.passes.trunk_backwards, model.passes.head_backwards) == (1, 0, 3)
    assert all(p.grad is None for p in [*model.shared_parameters(), *model.task_parameters("t0")])


def test_a_head_that_ignores_z():
    """Its gradient at Z is zero, not missing."""

    class Constant(tm.nn.Linear):
        def forward(self, z):
            return super().forward(z.detach())

    heads = [tm.Task("a", tm.nn.Linear(3, 1), tm.mse_loss), tm.Task("b", Constant(3, 1), tm.mse_loss)]
    model = tm.SharedBottom(tm.nn.MLP([2, 3]), heads).to("float64")
    x, y = np.ones((4, 2)), np.zeros((4, 2))
    _, at_z, own = model.task_gradients(model.represent(x), model.read(x, y))
    assert (at_z[1] == 0).all() and at_z[1].shape == (4, 3)
    assert (model.flatten_head(own, 1) != 0).any()
