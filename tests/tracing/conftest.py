"""Small models whose traces are looked at."""

from __future__ import annotations

import numpy as np
import pytest

import tinymtl as tm

RULES = {
    "sgd": lambda: tm.SGD(lr=0.1),
    "momentum": lambda: tm.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda: tm.Adam(lr=0.01),
}
STRATEGIES = {
    "averaged": lambda model, rule: tm.Averaged(model, rule),
    "mgda": lambda model, rule: tm.MGDA(model, rule),
    "mgda l2, alpha": lambda model, rule: tm.MGDA(model, rule, normalize="l2", head_weighting="alpha"),
    "mgda-ub": lambda model, rule: tm.MGDAUB(model, rule),
    "alternating": lambda model, rule: tm.Alternating(model, rule),
    "alternating shared shuffled": lambda model, rule: tm.Alternating(model, rule, "shared", "shuffled", rng=3),
    "grouped": lambda model, rule: tm.RandomGrouped(model, rule, 2, rng=5),
    "grouped redrawn": lambda model, rule: tm.RandomGrouped(model, rule, 2, redraw="step", rng=5),
    "grouped shared": lambda model, rule: tm.RandomGrouped(model, rule, 2, moments="shared", reduction="sum", rng=5),
}


def network(dtype: str = "float64", dropout: float = 0.0, tasks: int = 3, rng: int = 0, norm: bool = False):
    """A network with `tasks` heads that are not alike, and a batch: (model, x, targets)."""
    draw = np.random.default_rng(rng)
    masks = np.random.default_rng(100 + rng)  # one generator for the trunk's masks and all the heads'
    norms = [tm.nn.BatchNorm1d(6)] if norm else []
    trunk = tm.nn.Sequential(tm.nn.MLP([5, 6], draw), *norms, tm.nn.Dropout(dropout, masks))
    heads = [
        tm.nn.Sequential(tm.nn.Dropout(dropout, masks), tm.nn.Linear(6, 3, draw), tm.nn.Dropout(dropout, masks))
        if k % 2 == 0
        else tm.nn.Linear(6, 1, draw)
        for k in range(tasks)
    ]
    losses = [tm.cross_entropy if k % 2 == 0 else tm.mse_loss for k in range(tasks)]
    names = [f"task {k}" for k in range(tasks)]
    model = tm.SharedBottom(trunk, [tm.Task(*parts) for parts in zip(names, heads, losses, strict=True)])
    x = draw.normal(size=(8, 5)).astype(dtype)
    targets = {
        name: draw.integers(0, 3, 8) if k % 2 == 0 else draw.normal(size=8).astype(dtype)
        for k, name in enumerate(names)
    }
    return model.to(dtype), x, targets


def stacked(tasks: int, rng: int = 0, names=None):
    """A network whose heads are held as one matrix, in float32, and a batch."""
    draw = np.random.default_rng(rng)
    names = names or [f"task {k}" for k in range(tasks)]
    heads = [tm.Task(name, tm.nn.Linear(6, 2, draw), tm.cross_entropy) for name in names]
    model = tm.SharedBottom(tm.nn.MLP([5, 6], draw), heads)
    x = draw.normal(size=(8, 5)).astype(np.float32)
    return model, x, {name: draw.integers(0, 2, 8) for name in names}


PROBLEMS = {
    "quadratics": lambda: tm.problems.Quadratics(
        [[1.0, 9.0], [9.0, 1.0], [2.0, 2.0]], [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], start=[0.5, 0.25]
    ),
    "fonseca-fleming": lambda: tm.problems.FonsecaFleming([0.3, -0.4, 0.2]),
    "linear": lambda: tm.problems.LinearSharedBottom(
        [[1.0, 0.5], [0.0, 3.0]], np.eye(2), [[[1.0], [0.3]], [[0.2], [-1.0]]], [[[0.0], [1.0]], [[2.0], [1.0]]]
    ),
}


@pytest.fixture
def hand():
    """The hand example of lesson 3: (model, x, targets)."""
    from tinymtl.lab.walk import hand_example

    return hand_example()
