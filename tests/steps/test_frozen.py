"""A parameter that requires no gradient stays as it is, to the bit, and so does what any memory keeps of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.steps.memory import arrays_in

RULES = {
    "SGD, decay": tm.SGD(0.1, weight_decay=0.1),
    "momentum, decay": tm.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "Adam, decay": tm.Adam(0.05, weight_decay=0.1),
    "AdamW": tm.AdamW(0.05, weight_decay=0.1),
    "Adam, clipped": tm.Adam(0.05, clip_norm=0.1),
}
FROZEN = {
    "the trunk": lambda model: model.shared_parameters(),
    "its first weight": lambda model: model.shared_parameters()[:1],
    "its last bias": lambda model: model.shared_parameters()[3:],
    "a head": lambda model: model.task_parameters("t1"),
    "a head's bias": lambda model: model.task_parameters("t2")[1:],
    "a weight and a head": lambda model: [*model.shared_parameters()[2:3], *model.task_parameters("t0")],
}


def places(model):
    """The numbers of the vector that are frozen."""
    mask, start = np.zeros(model.layout.size, bool), 0
    for p in model.layout.parameters:
        mask[start : start + p.size] = not p.requires_grad
        start += p.size
    return mask


def remembered(step):
    """Every array that a memory has for a part of the model's vector: {its path: (the part, a copy)}."""
    layout, found = step.model.layout, {}
    heads = {f"head of {name}": part for name, part in zip(step.model.task_names, layout.heads, strict=True)}
    for name, memory in step.memory.items():
        part = slice(0, layout.size) if name == "all" else heads.get(name, layout.trunk)
        for path, array in arrays_in(memory, name):
            if array.shape == (part.stop - part.start,):
                found[path] = (part, array.copy())
    return found


@pytest.mark.filterwarnings("ignore:task .* has a zero gradient")
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("freeze", FROZEN.values(), ids=FROZEN)
def test_frozen_is_untouched(strategy, network, batch, stacked, rule, freeze):
    model = network(3, stacked)
    step = strategy(model, rule)
    for seed in range(2):  # the memories hold something before
        step(*batch(3, seed))
    for p in freeze(model):
        p.requires_grad = False
    frozen, before, memory = places(model), model.vector.data.copy(), remembered(step)
    for seed in range(2, 5):
        step(*batch(3, seed))
    assert before[frozen].tobytes() == model.vector.data[frozen].tobytes()
    assert (before[~frozen] != model.vector.data[~frozen]).mean() > 0.5
    for path, (part, values) in remembered(step).items():
        if path in memory:
            assert values[frozen[part]].tobytes() == memory[path][1][frozen[part]].tobytes(), path
    for p in freeze(model):
        p.requires_grad = True
    step(*batch(3, 5))
    assert (before[frozen] != model.vector.data[frozen]).mean() > 0.5  # thawed, it trains again


def test_a_task_without_anything_to_train_is_refused(strategy, network, batch, stacked, bits):
    model = network(3, stacked)
    step = strategy(model)
    for p in [*model.shared_parameters(), *model.task_parameters("t1")]:
        p.requires_grad = False
    before = bits(step)
    with pytest.raises(ValueError, match="task 't1': its loss reaches no parameter that is trained"):
        step(*batch(3))
    assert bits(step) == before


def test_mgda_weighs_what_is_left(network, batch):
    """α is the min-norm point of the gradients without the frozen coordinates."""
    model = network(3)
    first = model.shared_parameters()[0]
    x, labels = batch(3)
    whole = tm.lab.task_gradients(model, x, labels)
    first.requires_grad = False
    report = tm.MGDA(model, tm.SGD(0.1))(x, labels)
    assert_allclose(report.weights, tm.min_norm(whole[:, first.size :]).weights, rtol=0, atol=1e-12)
    assert np.abs(report.weights - tm.min_norm(whole).weights).max() > 1e-3


def test_a_frozen_part_does_not_count_in_the_norm(network, batch, stacked):
    """Clipping by norm: of the gradient of what is trained."""
    model, twin = network(3, stacked), network(3, stacked)
    for p in model.task_parameters("t1"):
        p.requires_grad = False
    x, labels = batch(3)
    before = model.vector.data.copy()
    tm.Averaged(model, tm.SGD(1.0, clip_norm=1e-3))(x, labels)
    moved = before - model.vector.data
    assert np.linalg.norm(moved) == pytest.approx(1e-3, rel=1e-2)
    tm.Averaged(twin, tm.SGD(1.0))(x, labels)
    free = (before - twin.vector.data) * ~places(model)
    assert_allclose(moved / np.linalg.norm(moved), free / np.linalg.norm(free), rtol=0, atol=1e-9)
