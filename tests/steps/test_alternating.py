import numpy as np
from numpy.testing import assert_allclose

import tinymtl as tm


def single(network, name):
    """A network of one task that starts as that task does in `network(3)`."""
    return network(1, order=[int(name[1:])])


def test_every_turn_is_a_step_of_the_single_task_network(network, batch, stacked):
    """Turn by turn: an averaged step on task k alone, with task k's own memory, from where the last turn left θ."""
    model = network(3, stacked)
    step = tm.Alternating(model, tm.Adam(0.05))
    alone = {name: single(network, name) for name in model.task_names}
    own = {name: tm.Averaged(alone[name], tm.Adam(0.05)) for name in alone}
    trunk = model.vector.data[model.layout.trunk].copy()
    for seed in range(3):
        x, labels = batch(3, seed)
        expected = []
        for name in model.task_names:
            alone[name].vector.data[alone[name].layout.trunk] = trunk
            expected.append(own[name](x, {name: labels[name]}).losses[0])
            trunk = alone[name].vector.data[alone[name].layout.trunk].copy()
        report = step(x, labels)
        assert_allclose(report.losses, expected, rtol=0, atol=1e-13)
        assert_allclose(model.vector.data[model.layout.trunk], trunk, rtol=0, atol=1e-13)
        for name in alone:
            for mine, other in zip(model.task_parameters(name), alone[name].task_parameters(name), strict=True):
                assert_allclose(mine.data, other.data, rtol=0, atol=1e-13)


def test_memories_per_task_are_complete(network, batch):
    """The trunk's moments and the head's, and a step count, for each task: K times the trunk's size."""
    model = network(3)
    step = tm.Alternating(model, tm.Adam())
    for seed in range(4):
        step(*batch(3, seed))
    trunk, head = model.layout.trunk.stop, model.layout.head_parameters[0][0].size + 3
    assert sorted(step.memory) == sorted(f"{part} of t{k}" for part in ("trunk", "head") for k in range(3))
    for name, memory in step.memory.items():
        assert memory.t == 4
        size = trunk if name.startswith("trunk") else head
        assert [m.size for m in memory.m] == [v.size for v in memory.v] == [size]
    assert not np.allclose(step.memory["trunk of t0"].m[0], step.memory["trunk of t1"].m[0])


def test_shared_moments_are_one_memory_of_the_trunk_and_one_of_each_head(network, batch):
    model = network(3)
    step = tm.Alternating(model, tm.Adam(), moments="shared")
    for seed in range(4):
        step(*batch(3, seed))
    memory = step.memory
    assert [m.size for m in memory["trunk"].m] == [model.layout.trunk.stop] and memory["trunk"].t == 12
    for k, part in enumerate(model.layout.heads):
        assert [m.size for m in memory[f"head of t{k}"].m] == [part.stop - part.start]
        assert memory[f"head of t{k}"].t == 4


def test_shared_moments_feed_the_trunk_in_turn_and_each_head_alone(network, batch, stacked):
    """Against the same rule applied by hand to gradients taken one task at a time."""
    model, by_hand = network(3, stacked), network(3, stacked)
    rule = tm.SGD(0.2, momentum=0.9)
    step = tm.Alternating(model, rule, moments="shared")
    trunk, heads = by_hand.shared_parameters(), [by_hand.task_parameters(name) for name in by_hand.task_names]
    trunk_memory, head_memories = rule.init(trunk), [rule.init(head) for head in heads]
    for seed in range(3):
        x, labels = batch(3, seed)
        step(x, labels)
        for k, task in enumerate(by_hand.tasks):
            loss = task.loss(task.head(by_hand.trunk(x)), labels[task.name])
            found = tm.grad(loss, [*trunk, *heads[k]])
            rule.update(trunk, found[: len(trunk)], trunk_memory)
            rule.update(heads[k], found[len(trunk) :], head_memories[k])
    assert_allclose(model.vector.data, by_hand.vector.data, rtol=0, atol=1e-13)


def test_the_two_kinds_of_moments_differ(network, batch):
    """With a memory the two are different methods; for plain SGD they are the same."""
    for rule, same in [(tm.Adam(0.05), False), (tm.SGD(0.1, momentum=0.9), False), (tm.SGD(0.1), True)]:
        per_task, shared = tm.Alternating(network(3), rule), tm.Alternating(network(3), rule, moments="shared")
        for step in (per_task, shared):
            step(*batch(3))
            step(*batch(3))
        difference = np.abs(per_task.model.vector.data - shared.model.vector.data).max()
        assert (difference == 0) if same else (difference > 1e-3)


def turns(step, x, targets):
    return [stage.update.group[0] for stage in step.stages(x, targets) if stage.name == "update"]


def test_the_order_is_fixed_by_default_and_drawn_for_every_minibatch_when_shuffled(network, batch):
    fixed, shuffled = tm.Alternating(network(5), tm.SGD(0.1)), tm.Alternating(network(5), tm.SGD(0.1), order="shuffled")
    assert [turns(fixed, *batch(5)) for _ in range(3)] == [[0, 1, 2, 3, 4]] * 3
    drawn = [turns(shuffled, *batch(5)) for _ in range(8)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in drawn)
    assert len({tuple(order) for order in drawn}) > 4


def test_the_seed_decides_the_orders(network, batch):
    def orders(rng):
        step = tm.Alternating(network(5), tm.SGD(0.1), order="shuffled", rng=rng)
        return [turns(step, *batch(5)) for _ in range(4)]

    assert orders(7) == orders(7) == orders(np.random.default_rng(7))
    assert orders(7) != orders(8)


def test_each_turn_draws_its_own_dropout_mask(network, batch):
    """Each task's forward is a pass of its own; MGDA and the average draw one mask for all tasks."""
    masks = []

    class Dropped(tm.nn.Sequential):
        def forward(self, x):
            z = super().forward(x)
            masks.append((z.data == 0).tobytes())
            return z

    def trunk():
        return Dropped(tm.nn.Linear(4, 5), tm.nn.Dropout(0.5, rng=1))

    tm.Alternating(network(3, trunk=trunk()), tm.SGD(0.0))(*batch(3))
    assert len(masks) == len(set(masks)) == 3
    for strategy in (tm.Averaged, tm.MGDA, tm.MGDAUB):
        masks.clear()
        strategy(network(3, trunk=trunk()), tm.SGD(0.0))(*batch(3))
        assert len(masks) == 1
