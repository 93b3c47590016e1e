"""tinymtl, through its public names alone, as its users write it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import tinymtl as tm
from tests.benchmark.floor_layers import Arrays
from tests.benchmark.workloads import BETAS, EPSILON, LEARNING_RATE, MOMENTUM, Workload, batch, quadratics, start


def rule(optimizer: str) -> Any:
    """The optimizer."""
    rate = LEARNING_RATE[optimizer]
    if optimizer == "adam":
        return tm.Adam(rate, betas=BETAS, eps=EPSILON)
    return tm.SGD(rate, momentum=MOMENTUM[optimizer])


def strategy_of(name: str, model: Any, optimizer: str, group_size: int) -> Any:
    """The step, bound to a model."""
    if name == "grouped":
        return tm.RandomGrouped(model, rule(optimizer), group_size=group_size)
    steps = {"averaged": tm.Averaged, "mgda-ub": tm.MGDAUB, "mgda": tm.MGDA, "alternating": tm.Alternating}
    return steps[name](model, rule(optimizer))


def head(workload: Workload) -> Any:
    """Linear layers with ReLU between them."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(workload.head):
        layers += [tm.nn.Linear(inputs, outputs), tm.nn.ReLU()]
    return layers[0] if len(layers) == 2 else tm.nn.Sequential(*layers[:-1])


def network(workload: Workload) -> Any:
    """A SharedBottom of the workload's sizes."""
    trunk: tm.nn.Module
    if workload.kind == "lenet":
        trunk = tm.nn.LeNet(image_size=workload.image, hidden=workload.width)
    else:
        trunk = tm.nn.MLP(workload.trunk)
    loss = tm.binary_cross_entropy_with_logits if workload.binary else tm.cross_entropy
    tasks = [tm.Task(f"task {k}", head(workload), loss) for k in range(workload.tasks)]
    return tm.SharedBottom(trunk, tasks).to(workload.dtype)


def build(workload: Workload, strategy: str, optimizer: str) -> tuple[Callable[[], Any], Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if workload.kind == "quadratics":
        bowls = quadratics(workload)
        problem = tm.problems.Quadratics(bowls.curvatures, bowls.centers, start(workload).trunk[0])
        return strategy_of(strategy, problem, optimizer, 1), lambda: [problem.theta.data]

    model = network(workload)
    step = strategy_of(strategy, model, optimizer, workload.group_size)
    seats = list(range(workload.tasks))  # which of the workload's tasks is task k of the model
    if strategy == "grouped":  # groups are drawn at random: seat the tasks so that they are the workload's
        drawn_groups = step.groups() if callable(step.groups) else step.groups  # a list in older versions
        for drawn, group in zip(drawn_groups, workload.groups(), strict=True):
            for k, task in zip(drawn, group, strict=True):
                seats[k] = task
    initial, data = start(workload), batch(workload)
    trunk = list(model.shared_parameters())
    heads = [list(model.task_parameters(f"task {k}")) for k in range(workload.tasks)]
    for parameter, array in zip(trunk, initial.trunk, strict=True):
        parameter.data = array
    for head_parameters, task in zip(heads, seats, strict=True):
        for parameter, array in zip(head_parameters, initial.heads[task], strict=True):
            parameter.data = array
    x, targets = data.x, data.targets[:, seats]

    def parameters() -> Arrays:
        in_order = [heads[seats.index(task)] for task in range(workload.tasks)]
        return [p.data for p in trunk] + [p.data for found in in_order for p in found]

    return lambda: step(x, targets), parameters
