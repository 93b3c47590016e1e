"""Checks of lesson 10: the same code on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymtl.backend import Array, to_device, to_host
from tinymtl.course.lessons.checks import Check, Mistake, Problem, given, numbers
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


def _judged(answer: Any) -> dict[str, Any] | None:
    """What the answer returns, whether it has trained, and how often it waited for the pretend GPU."""
    if not callable(answer):
        raise Problem(f"this answer is a function, not a {type(answer).__name__}")
    here = _step("cpu")
    reports = [here(*batch) for batch in _batches()]
    with pretend_gpu() as tally:
        there = _step("cuda")
        batches = [(to_device(x, "cuda"), to_device(y, "cuda")) for x, y in _batches()]
        tally.reset()
        try:
            found = answer(there, batches)
        except Exception as error:
            raise Problem(f"your function raises {type(error).__name__}: {error}") from None
        if not given(found):
            return None
        waits = tally.waits
        value = np.asarray(to_host(found) if hasattr(found, "get") else found, dtype=np.float64)
        if value.size != 1:
            raise Problem(f"epoch returns one number, the mean loss; yours returns {value.size}")
        trained = np.allclose(to_host(there.model.vector.data), here.model.vector.data, rtol=1e-9)
    losses = np.array([report.losses for report in reports])
    return {"value": value.item(), "waits": waits, "trained": bool(trained), "losses": losses}


def _is(value: float, expected: float) -> bool:
    return bool(abs(value - expected) <= 1e-9 * abs(expected))


def _in_every_step(step: Step, batches: Batches) -> float:
    total = 0.0
    for x, targets in batches:
        total += step(x, targets).losses.mean()
    return float(total / len(batches))


EPOCH = Check(
    lambda found: found["trained"] and found["waits"] <= 1 and _is(found["value"], found["losses"].mean()),
    praise="all steps are in the queue before the first loss is read: one wait in place of one per step",
    look="keep the reports of all steps in a list, and take the mean of all their losses after the loop",
    mistakes={
        "the step must run once on every batch, in their order": Mistake(
            lambda step, batches: step(*batches[0]).losses.mean(), lambda found: not found["trained"]
        ),
        "right, but the loop still waits in every step: keep the reports, and read their losses after it": Mistake(
            _in_every_step, lambda found: found["waits"] > 1 and _is(found["value"], found["losses"].mean())
        ),
        "this is the loss of the last batch; the mean is over all of them": Mistake(
            lambda step, batches: [step(x, targets) for x, targets in batches][-1].losses.mean(),
            lambda found: _is(found["value"], found["losses"][-1].mean()),
        ),
        "this is a sum; the mean is over the batches and the tasks": Mistake(
            lambda step, batches: np.sum([report.losses for report in [step(x, y) for x, y in batches]]),
            lambda found: any(_is(found["value"], f * found["losses"].mean()) for f in (2, BATCHES, 2 * BATCHES)),
        ),
    },
    judged=_judged,
)

CHECKS: dict[str, Check] = {
    "10.width": numbers(
        312.5,
        praise="d² = 5·10⁷ / 512, so below a width of about 312 the GPU waits for its host",
        look="set 2·256·d² operations equal to what fits into 5 µs at 10¹³ per second",
        mistakes={
            "a product of N × d and d × d takes a multiplication and an addition for each of its N·d² terms": 442,
            "this is d²: take the root": 97656,
            "5 µs are 5·10⁻⁶ s: in that time 5·10⁷ operations are done": 9882,
        },
        tolerance=1e-2,
    ),
    "10.epoch": EPOCH,
}
