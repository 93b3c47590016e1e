"""What the tests of this room share: small networks, a batch for them, and every strategy with its cost."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import tinymtl as tm

ROWS, FEATURES, WIDTH, CLASSES = 7, 4, 5, 3


class SeparateLinear(tm.nn.Linear):
    """A linear head that is run on its own: only plain `Linear` heads of one shape are stacked."""


def network(tasks, stacked=True, loss=tm.cross_entropy, classes=CLASSES, order=None, trunk=None, head=None):
    """Tasks "t0", "t1", …, in `order`, in float64; a head's start depends on its name alone."""
    head = head or (tm.nn.Linear if stacked else SeparateLinear)
    heads = [tm.Task(f"t{k}", head(WIDTH, classes, rng=10 + k), loss) for k in order or range(tasks)]
    model = tm.SharedBottom(trunk or tm.nn.MLP([FEATURES, 6, WIDTH], rng=1), heads).to("float64")
    assert (model.separate_because is None) == (stacked and tasks > 1)
    return model


def batch(tasks, seed=0):
    """x (ROWS, FEATURES) and labels {task: (ROWS,)}; every label occurs in every task."""
    rng = np.random.default_rng(seed)
    labels = {f"t{k}": rng.permutation(np.arange(ROWS) % CLASSES) for k in range(tasks)}
    return rng.normal(size=(ROWS, FEATURES)), labels


def bits(step):
    """Parameters and optimizer memories (not the generator's state), to the bit."""
    memories = {key: value.tobytes() for key, value in step.state().items() if key != "rng"}
    return memories | {"parameters": step.model.vector.data.tobytes()}


@dataclass(frozen=True)
class Strategy:
    """How to make a step, and what it costs for K tasks: trunk forwards and trunk backwards."""

    name: str
    make: Callable
    cost: Callable

    def __call__(self, model, optimizer=None):
        return self.make(model, optimizer or tm.Adam(lr=0.05))


def _grouped(**options):
    return lambda model, rule: tm.RandomGrouped(model, rule, group_size=min(2, len(model.tasks)), rng=3, **options)


def _groups(K):
    return -(-K // min(2, K))


def _weighted(model, rule):
    return tm.Averaged(model, rule, weights=[k + 1 for k in range(len(model.tasks))])


STRATEGIES = [
    Strategy("averaged", tm.Averaged, lambda K: (1, 1)),
    Strategy("averaged, weights", _weighted, lambda K: (1, 1)),
    Strategy("averaged, sum", lambda m, o: tm.Averaged(m, o, reduction="sum"), lambda K: (1, 1)),
    Strategy("MGDA", tm.MGDA, lambda K: (1, K)),
    Strategy("MGDA, l2, alpha", lambda m, o: tm.MGDA(m, o, "l2", "alpha"), lambda K: (1, K)),
    Strategy("MGDA-UB", tm.MGDAUB, lambda K: (1, 1)),
    Strategy("MGDA-UB, loss+, alpha", lambda m, o: tm.MGDAUB(m, o, "loss+", "alpha"), lambda K: (1, 1)),
    Strategy("alternating", tm.Alternating, lambda K: (K, K)),
    Strategy("alternating, shared", lambda m, o: tm.Alternating(m, o, moments="shared"), lambda K: (K, K)),
    Strategy("alternating, shuffled", lambda m, o: tm.Alternating(m, o, order="shuffled", rng=3), lambda K: (K, K)),
    Strategy("grouped", _grouped(), lambda K: (_groups(K), _groups(K))),
    Strategy("grouped, sum, per task", _grouped(reduction="sum", moments="per-task"), lambda K: (_groups(K), K)),
    Strategy("grouped, shared", _grouped(moments="shared"), lambda K: (_groups(K), _groups(K))),
    Strategy("grouped, each step", _grouped(redraw="step"), lambda K: (_groups(K), K)),
    Strategy("grouped, each step, shared", _grouped(redraw="step", moments="shared"), lambda K: (_groups(K),) * 2),
    Strategy("IMTL-L", lambda m, o: tm.IMTLL(m, o, start=-0.5, lr=0.1), lambda K: (1, 1)),
    Strategy("SLAW, short", lambda m, o: tm.SLAW(m, o, beta=0.5), lambda K: (1, 1)),
    Strategy("FAMO, adam", lambda m, o: tm.FAMO(m, o, rule="adam"), lambda K: (2, 1)),
    Strategy("DTP, gamma", lambda m, o: tm.DTP(m, o, gamma=2.0, rate=0.5), lambda K: (1, 1)),
    Strategy("RLW, dirichlet", lambda m, o: tm.RLW(m, o, "dirichlet", rng=3), lambda K: (1, 1)),
    Strategy("STCH, first", lambda m, o: tm.STCH(m, o, scale="first"), lambda K: (1, 1)),
    Strategy("STCH, log", lambda m, o: tm.STCH(m, o, 1.0, scale="log"), lambda K: (1, 1)),
]


def reads(step):
    """How often a step waits for a GPU: for the Gram matrix, or for losses that it weighs by; FAMO for those after."""
    weighs = isinstance(step, tm.GradientWeighted) or getattr(step, "on_host", False)
    return weighs + isinstance(step, tm.FAMO)


@pytest.fixture(params=STRATEGIES, ids=lambda strategy: strategy.name)
def strategy(request):
    return request.param


@pytest.fixture(params=[1, 2, 5], ids="K={}".format)
def tasks(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["stacked", "separate"])
def stacked(request):
    return request.param


@pytest.fixture(name="network")
def network_fixture():
    return network


@pytest.fixture(name="batch")
def batch_fixture():
    return batch


@pytest.fixture(name="bits")
def bits_fixture():
    return bits


@pytest.fixture(name="make")
def make_fixture():
    """Any strategy by its name."""
    named = {strategy.name: strategy for strategy in STRATEGIES}
    return lambda name, model, optimizer=None: named[name](model, optimizer)
