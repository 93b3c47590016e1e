"""When a GPU has work, and when a loop waits for it. Lesson 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymtl.backend import Array, to_device, to_host
from tinymtl.course.question import Case, Reply, fixed
from tinymtl.course.topic import questions
from tinymtl.fake_cupy import pretend_gpu
from tinymtl.nn import MLP, Linear, SharedBottom, Task, cross_entropy
from tinymtl.optim import SGD
from tinymtl.steps import Averaged, Step

BATCHES = 5
Batches = Sequence[tuple[Any, Any]]


def _step(device: str) -> Step:
    tasks = [Task(name, Linear(4, 3, rng=k), cross_entropy) for k, name in enumerate(("left", "right"))]
    model = SharedBottom(MLP([6, 4], rng=2), tasks).to("float64", device)
    return Averaged(model, SGD(lr=0.5))


def _batches() -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(10)
    return [(rng.normal(size=(8, 6)), rng.integers(0, 3, (8, 2))) for _ in range(BATCHES)]


def _on_the_gpu(answer: Callable[[Step, Batches], Any]) -> Callable[[], Any]:
    """From `epoch` to a function without arguments: what it returns, how often it waited, and what it trained."""

    def run() -> Any:
        with pretend_gpu() as tally:
            there = _step("cuda")
            batches = [(to_device(x, "cuda"), to_device(y, "cuda")) for x, y in _batches()]
            tally.reset()
            found = answer(there, batches)
            if found is None or found is ...:
                return found
            waits = tally.waits
            value = to_host(found) if hasattr(found, "get") and not isinstance(found, dict) else found
            return {"value": value, "waits": waits, "weights": np.array(to_host(there.model.vector.data))}

    return run


def _waits(case: Case, reply: Reply, right: Reply) -> str:
    waits = reply.value["waits"]
    if waits <= 1:
        return ""
    return f"the loop waits {waits} times for {BATCHES} batches: keep the reports, and read their losses after it"


def _trained(case: Case, reply: Reply, right: Reply) -> str:
    same = np.allclose(reply.value["weights"], right.value["weights"], rtol=1e-9)
    return "" if same else "the step must run once on every batch, in their order"


def _losses(step: Step, batches: Batches) -> Array:
    """All losses, (batches, tasks)."""
    return np.array([report.losses for report in [step(x, targets) for x, targets in batches]])


_asked = fixed([Case("epoch", (), shown=f"{BATCHES} batches and two tasks")])


QUESTIONS = questions(__file__, globals())
