import itertools

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


def with_gaps(split, every=3, missing=(), no_label=()):
    """The same rows: of task k the labels of rows k, k + 3, … are missing, and all of some tasks and of some rows."""
    targets = {}
    for k, (name, column) in enumerate(split.targets.items()):
        targets[name] = column.astype(float)
        targets[name][k::every] = np.nan
        targets[name][list(no_label)] = np.nan
        if name in missing:
            targets[name][:] = np.nan
    return Split(split.x, targets, split.tasks)


def with_dropout(data, seed=0):
    """A network with batch normalisation, a dropout mask in the trunk and one in a head, its own stream for each."""
    norm = tm.nn.BatchNorm1d(6)
    trunk = tm.nn.Sequential(tm.nn.MLP([data.features, 6], rng=seed), norm, tm.nn.Dropout(0.3, rng=seed + 50))
    heads = [
        tm.nn.Sequential(tm.nn.Linear(6, task.outputs, rng=seed + 1 + k), *([tm.nn.Dropout(0.2, rng=7)] if k else []))
        for k, task in enumerate(data.tasks)
    ]
    losses = {"classes": tm.cross_entropy, "binary": tm.binary_cross_entropy_with_logits, "regression": tm.mse_loss}
    tasks = [tm.Task(t.name, head, losses[t.kind]) for t, head in zip(data.tasks, heads, strict=True)]
    return tm.SharedBottom(trunk, tasks)


ADAM = tm.Adam(lr=0.02)
MAKE = {
    "averaged": lambda model: tm.Averaged(model, ADAM),
    "mgda": lambda model: tm.MGDA(model, ADAM),
    "mgda-ub": lambda model: tm.MGDAUB(model, ADAM),
    "alternating, shuffled": lambda model: tm.Alternating(model, ADAM, order="shuffled", rng=3),
    "alternating, shared": lambda model: tm.Alternating(model, ADAM, moments="shared"),
    "grouped, redrawn": lambda model: tm.RandomGrouped(model, ADAM, 2, redraw="step", rng=4),
    "grouped": lambda model: tm.RandomGrouped(model, ADAM, 2, rng=5),
}


def everything(step):
    """All that a run leaves behind, as plain arrays."""
    return {**step.model.state(), **{f"step/{key}": value for key, value in step.state().items()}}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def without_time(history):
    return {key: value for key, value in history.to_dict().items() if key != "seconds"}


class Scripted:
    """A metric that follows a script, one value per evaluation, so that the best epoch is known."""

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, prediction, target):
        return next(self.values)


def scripted_model(data, values, second=None):
    """A network whose first task has `values` as its metric, epoch by epoch, and the second 0 or those of `second`."""
    model = tm.lab.build(data, [4])
    script = [Scripted(values), Scripted(second or itertools.repeat(0.0))]
    tasks = [tm.Task(t.name, t.head, t.loss, metric) for t, metric in zip(model.tasks, script, strict=True)]
    return tm.SharedBottom(model.trunk, tasks)


@pytest.fixture
def pair():
    return make_data()


@pytest.fixture
def mixed():
    return make_data(MIXED)
