from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.steps.grouped import random_partition


def trunk_memories(step):
    return [name for name in step.memory if name.startswith("trunk")]


# ------------------------------------------------------------ partitions


class Next(np.random.Generator):
    """A generator whose next permutation is given."""

    def __init__(self, order):
        super().__init__(np.random.PCG64())
        self.order = order

    def permutation(self, count):
        assert count == len(self.order)
        return np.array(self.order)


@pytest.mark.parametrize("tasks, size", [(1, 1), (4, 1), (4, 2), (4, 4), (5, 2), (7, 3), (40, 6)])
def test_a_partition_has_every_task_once_in_groups_of_the_size(tasks, size):
    for seed in range(20):
        groups = random_partition(tasks, size, np.random.default_rng(seed))
        assert sorted(k for group in groups for k in group) == list(range(tasks))
        sizes = sorted(len(group) for group in groups)
        assert sizes == sorted([size] * (tasks // size) + [tasks % size] * (tasks % size > 0))
        assert groups == [sorted(group) for group in groups]


def test_the_three_partitions_of_four_tasks_are_equally_likely():
    """Each of the 24 permutations gives one of 3 partitions, 8 each; so P(i and j together) = 1/3."""
    counts = {}
    for order in permutations(range(4)):
        groups = random_partition(4, 2, Next(order))
        assert sorted(order[:2]) in groups  # neighbours in the permutation are a group
        key = tuple(sorted(map(tuple, groups)))
        counts[key] = counts.get(key, 0) + 1
    assert counts == {((0, 1), (2, 3)): 8, ((0, 2), (1, 3)): 8, ((0, 3), (1, 2)): 8}


def test_any_two_tasks_meet_equally_often_where_the_last_group_is_smaller():
    met = dict.fromkeys(combinations(range(5), 2), 0)
    for order in permutations(range(5)):
        for group in random_partition(5, 2, Next(order)):
            for pair in combinations(group, 2):
                met[pair] += 1
    assert set(met.values()) == {120 * 2 // 10}


def test_drawn_partitions_are_uniform():
    """The real generator: 3000 draws, χ² with 2 degrees of freedom."""
    rng = np.random.default_rng(0)
    counts = {}
    for _ in range(3000):
        key = str(sorted(random_partition(4, 2, rng)))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 3 and sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 13.8  # p = 0.001


def visits(step, x, targets):
    return [stage.update.group for stage in step.stages(x, targets) if stage.name == "update"]


def test_drawn_once_per_run_or_at_every_step(network, batch):
    once = tm.RandomGrouped(network(5), tm.SGD(0.1), 2, rng=4)
    drawn = [visits(once, *batch(5)) for _ in range(6)]
    assert drawn == [once.memory["partition"]] * 6
    anew = tm.RandomGrouped(network(5), tm.SGD(0.1), 2, redraw="step", rng=4)
    drawn = [visits(anew, *batch(5)) for _ in range(12)]
    assert len({str(groups) for groups in drawn}) > 5
    seeds = {str(tm.RandomGrouped(network(5), tm.SGD(0.1), 2, rng=seed).memory["partition"]) for seed in range(12)}
    assert len(seeds) > 5


# ------------------------------------------------------------ the two ends


RULES = pytest.mark.parametrize("rule", [tm.Adam(0.05), tm.SGD(0.1, momentum=0.9)], ids=["Adam", "momentum"])


def assert_same_to_the_bit(one, other, tasks, batch):
    for seed in range(4):
        report, again = one(*batch(tasks, seed)), other(*batch(tasks, seed))
        assert report.losses.tobytes() == again.losses.tobytes()
    assert one.model.vector.data.tobytes() == other.model.vector.data.tobytes()


@RULES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_group_of_all_tasks_is_the_averaged_step(network, batch, tasks, stacked, rule, reduction):
    grouped = tm.RandomGrouped(network(tasks, stacked), rule, tasks, reduction=reduction)
    assert_same_to_the_bit(grouped, tm.Averaged(network(tasks, stacked), rule, reduction=reduction), tasks, batch)


@RULES
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"redraw": "step"}, {"moments": "per-task"}], ids=str)
def test_groups_of_one_are_the_alternating_step(network, batch, tasks, stacked, rule, options):
    grouped = tm.RandomGrouped(network(tasks, stacked), rule, 1, rng=9, **options)
    order = "shuffled" if options.get("redraw") == "step" else "fixed"
    assert_same_to_the_bit(grouped, tm.Alternating(network(tasks, stacked), rule, order=order, rng=9), tasks, batch)


@RULES
@pytest.mark.parametrize("redraw", ["run", "step"])
def test_groups_of_one_with_shared_moments(network, batch, tasks, stacked, rule, redraw):
    grouped = tm.RandomGrouped(network(tasks, stacked), rule, 1, redraw=redraw, moments="shared")
    order = "shuffled" if redraw == "step" else "fixed"
    alternating = tm.Alternating(network(tasks, stacked), rule, moments="shared", order=order)
    assert_same_to_the_bit(grouped, alternating, tasks, batch)


# ------------------------------------------------------------ whose memory


def gradient_of_group(model, x, labels, group, reduction, wanted):
    """The gradient of a group's loss from the modules themselves, without the model's stacking or flat vectors."""
    z = model.trunk(x)
    losses = [model.tasks[k].loss(model.tasks[k].head(z), labels[f"t{k}"]) for k in group]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return tm.grad(total * (1 / len(group) if reduction == "mean" else 1.0), wanted)


@RULES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_per_group(network, batch, stacked, rule, reduction):
    """A group's turn is one update of the trunk and its heads by the group's own memory."""
    model, by_hand = network(5, stacked), network(5, stacked)
    step = tm.RandomGrouped(model, rule, 2, reduction=reduction, rng=2)
    parameters = [
        [*by_hand.shared_parameters(), *(p for k in group for p in by_hand.task_parameters(f"t{k}"))]
        for group in step.memory["partition"]
    ]
    memories = [rule.init(p) for p in parameters]
    for seed in range(3):
        x, labels = batch(5, seed)
        step(x, labels)
        for group, wanted, memory in zip(step.memory["partition"], parameters, memories, strict=True):
            rule.update(wanted, gradient_of_group(by_hand, x, labels, group, reduction, wanted), memory)
    assert_allclose(model.vector.data, by_hand.vector.data, rtol=0, atol=1e-12)
    assert len(trunk_memories(step)) == 3


@RULES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("options", [{"moments": "per-task"}, {"redraw": "step"}], ids=str)
def test_per_task(network, batch, stacked, rule, reduction, options):
    """Every task of the group updates its own memory with its part; all gradients are taken at the same θ."""
    model, by_hand = network(5, stacked), network(5, stacked)
    step = tm.RandomGrouped(model, rule, 2, reduction=reduction, rng=2, **options)
    parameters = [[*by_hand.shared_parameters(), *by_hand.task_parameters(f"t{k}")] for k in range(5)]
    memories = [rule.init(p) for p in parameters]
    for seed in range(3):
        x, labels = batch(5, seed)
        report = step(x, labels)
        for group in step.memory["partition"]:  # redrawn or not: those of the step just made
            share = 1 / len(group) if reduction == "mean" else 1.0
            found = {k: gradient_of_group(by_hand, x, labels, [k], "sum", parameters[k]) for k in group}
            for k in group:
                rule.update(parameters[k], [share * g for g in found[k]], memories[k])
    assert_allclose(model.vector.data, by_hand.vector.data, rtol=0, atol=1e-12)
    assert (report.trunk_forwards, report.trunk_backwards) == (3, 5)
    assert sorted(trunk_memories(step)) == [f"trunk of t{k}" for k in range(5)]


@RULES
@pytest.mark.parametrize("redraw", ["run", "step"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_shared(network, batch, stacked, rule, redraw, reduction):
    """One memory for the trunk, fed by every group in turn; one for each head."""
    model, by_hand = network(5, stacked), network(5, stacked)
    step = tm.RandomGrouped(model, rule, 2, redraw=redraw, moments="shared", reduction=reduction, rng=2)
    trunk, heads = by_hand.shared_parameters(), [by_hand.task_parameters(f"t{k}") for k in range(5)]
    trunk_memory, head_memories = rule.init(trunk), [rule.init(head) for head in heads]
    for seed in range(3):
        x, labels = batch(5, seed)
        report = step(x, labels)
        for group in step.memory["partition"]:
            wanted = [*trunk, *(p for k in group for p in heads[k])]
            found = gradient_of_group(by_hand, x, labels, group, reduction, wanted)
            rule.update(trunk, found[: len(trunk)], trunk_memory)
            for i, k in enumerate(group):
                rule.update(heads[k], found[len(trunk) + 2 * i :][:2], head_memories[k])
    assert_allclose(model.vector.data, by_hand.vector.data, rtol=0, atol=1e-12)
    assert (report.trunk_forwards, report.trunk_backwards) == (3, 3)
    assert trunk_memories(step) == ["trunk"]


def test_how_often_each_memory_is_used(network, batch):
    counts = {}
    for moments in ("per-group", "per-task", "shared"):
        step = tm.RandomGrouped(network(5), tm.Adam(), 2, moments=moments)
        for _ in range(4):
            step(*batch(5))
        counts[moments] = {name: memory.t for name, memory in step.memory.items() if name != "partition"}
        groups = ["{" + ", ".join(f"t{k}" for k in group) + "}" for group in step.memory["partition"]]
    heads = {f"head of t{k}": 4 for k in range(5)}
    assert counts["per-group"] == heads | {f"trunk of {group}": 4 for group in groups}
    assert counts["per-task"] == heads | {f"trunk of t{k}": 4 for k in range(5)}
    assert counts["shared"] == heads | {"trunk": 12}
