"""200 SIGKILLs at random moments of `fit` with a checkpoint: each run resumes to the bit of one left alone."""

import os
import random
import signal
import time

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.data import MultiTaskData, Split, TaskSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of forking while threads (BLAS) are there
]

KILLS, EPOCHS = 200, 6


def data():
    rng = np.random.default_rng(0)
    specs = [TaskSpec(name, "classes", 3) for name in "abc"]
    parts = [Split(rng.normal(size=(48, 5)), {n: rng.integers(0, 3, 48) for n in "abc"}, specs) for _ in range(3)]
    return MultiTaskData("made", *parts)


def step(strategy):
    trunk = tm.nn.Sequential(tm.nn.MLP([5, 8], rng=1), tm.nn.Dropout(0.2, rng=2))
    tasks = [tm.Task(name, tm.nn.Linear(8, 3, rng=3 + k), tm.cross_entropy) for k, name in enumerate("abc")]
    return tm.STRATEGIES[strategy](tm.SharedBottom(trunk, tasks), tm.Adam(0.02))


def run(strategy, path, resume):
    made = step(strategy)
    tm.lab.fit(made, data(), EPOCHS, batch_size=8, checkpoint=path, resume=resume, progress=False)
    return made


def killed_after(seconds, strategy, path):
    """Run in a child that is killed; whether it was still running then."""
    child = os.fork()
    if child == 0:
        try:
            run(strategy, path, resume=path.exists())
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("strategy", tm.STRATEGIES)
def test_a_killed_run_resumes_to_the_bit(tmp_path, strategy):
    draws = random.Random(strategy)
    started = time.perf_counter()
    whole = run(strategy, tmp_path / "whole.npz", resume=False)
    lasts = time.perf_counter() - started
    path, hit = tmp_path / "run.npz", 0
    for _ in range(-(-KILLS // len(tm.STRATEGIES))):
        hit += killed_after(draws.uniform(0, 0.8 * lasts), strategy, path)
    resumed = run(strategy, path, resume=path.exists())
    assert hit > 0  # else nothing was tried
    assert resumed.model.vector.data.tobytes() == whole.model.vector.data.tobytes()
    memory, expected = resumed.state(), whole.state()
    assert {k: v.tobytes() for k, v in memory.items()} == {k: v.tobytes() for k, v in expected.items()}
