import numpy as np
import pytest

import tinymtl as tm
from tests.gpu.conftest import cupy  # noqa: F401  (the fake device)
from tinymtl.data import MultiTaskData, Split, TaskSpec

PAIR = [TaskSpec("first", "classes", 3), TaskSpec("second", "classes", 3)]
MIXED = [TaskSpec("kind", "classes", 3), TaskSpec("size", "regression", 1), TaskSpec("yes", "binary", 1)]


def make_data(tasks=PAIR, rows=(70, 30, 40), features=5, name="made"):
    """A small data set whose targets depend on the inputs, with noise."""
    rng = np.random.default_rng(11)
    splits = []
    ways = rng.normal(size=(len(tasks), features, 3))
    for count in rows:
        x = rng.normal(size=(count, features))
        targets = {}
        for task, way in zip(tasks, ways, strict=True):
            scores = x @ way + 0.3 * rng.normal(size=(count, 3))
            targets[task.name] = {
                "classes": scores.argmax(axis=1),
                "binary": (scores[:, 0] > 0).astype(float),
                "regression": scores[:, 0],
            }[task.kind]
        splits.append(Split(x, targets, tasks))
    return MultiTaskData(name, *splits)


def with_dropout(data, seed=0):
    """A network with a dropout mask in the trunk and one in a head, and its own stream for each."""
    trunk = tm.nn.Sequential(tm.nn.MLP([data.features, 6], rng=seed), tm.nn.Dropout(0.3, rng=seed + 50))
    heads = [
        tm.nn.Sequential(tm.nn.Linear(6, task.outputs, rng=seed + 1 + k), *([tm.nn.Dropout(0.2, rng=7)] if k else []))
        for k, task in enumerate(data.tasks)
    ]
    losses = {"classes": tm.cross_entropy, "binary": tm.binary_cross_entropy_with_logits, "regression": tm.mse_loss}
    tasks = [tm.Task(t.name, head, losses[t.kind]) for t, head in zip(data.tasks, heads, strict=True)]
    return tm.SharedBottom(trunk, tasks)


@pytest.fixture
def pair():
    return make_data()


@pytest.fixture
def mixed():
    return make_data(MIXED)
