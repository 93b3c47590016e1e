"""When a GPU has work, and when a loop waits for it. Lesson 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymtl.backend import Array, to_device, to_host
from tinymtl.course.question import Case, Mistake, Part, Question, Reply, Rng, variables
from tinymtl.fake_cupy import pretend_gpu
from tinymtl.nn import MLP, Linear, SharedBottom, Task, cross_entropy
from tinymtl.optim import SGD
from tinymtl.steps import Averaged, Step

_WIDTH = variables(
    "10.width",
    {"d": "(5e-6 * 1e13 / (2 * 256)) ** (1 / 2)"},
    {
        "d": {
            "a product of N × d and d × d takes a multiplication and an addition for each of its N·d² terms": 442,
            "this is d²: take the root": [97656, 195312],
            "5 µs are 5·10⁻⁶ s: in that time 5·10⁷ operations are done": 9882,
            "the batch has N = 256 rows, and each of them is multiplied with all d² weights": [5000, 7071],
            "d stands squared: take the square root, not the cube root": [46.05, 58.02],
        }
    },
    tolerance=1e-2,
    hints=(
        "how many operations can the GPU do while one launch is made?",
        "set the 2·N·d² operations equal to what fits into 5 µs at 10¹³ per second, and solve for d",
        "2·256·d² = 5·10⁻⁶ · 10¹³",
    ),
    praise="d² = 5·10⁷ / 512, so below a width of about 312 the GPU waits for its host",
)

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


def _epoch(step: Step, batches: Batches) -> Any:
    reports = [step(x, targets) for x, targets in batches]
    return np.mean([report.losses for report in reports])


def _in_every_step(step: Step, batches: Batches) -> float:
    return float(np.mean([step(x, targets).losses.mean() for x, targets in batches]))


def _waits(case: Case, reply: Reply, right: Reply) -> str:
    waits = reply.value["waits"]
    if waits <= 1:
        return ""
    return f"the loop waits {waits} times for {BATCHES} batches: keep the reports, and read their losses after it"


def _trained(case: Case, reply: Reply, right: Reply) -> str:
    same = np.allclose(reply.value["weights"], right.value["weights"], rtol=1e-9)
    return "" if same else "the step must run once on every batch, in their order"


def _asked(rng: Rng) -> list[Case]:
    return [Case("epoch", (), shown=f"{BATCHES} batches and two tasks")]


_EPOCH = Question(
    "10.epoch",
    "",
    "one number, the mean loss",
    (
        Part("the mean loss", _asked, item="value"),
        Part("the training", _asked, problem=_trained),
        Part("the waiting", _asked, problem=_waits),
    ),
    {"epoch": _on_the_gpu(_epoch)},
    tuple(
        Mistake(hint, "epoch", _on_the_gpu(model))
        for hint, model in (
            (
                "this is the loss of the last batch; the mean is over all of them",
                lambda step, batches: [step(x, targets) for x, targets in batches][-1].losses.mean(),
            ),
            (
                "this is the loss of the first batch; the mean is over all of them",
                lambda step, batches: [step(x, targets) for x, targets in batches][0].losses.mean(),
            ),
            (
                "this is a sum; the mean is over the batches and the tasks",
                lambda step, batches: np.sum([report.losses for report in [step(x, y) for x, y in batches]]),
            ),
            (
                "this is the mean over the batches of the *sum* over the tasks: take the mean over both",
                lambda step, batches: BATCHES**-1 * np.sum([r.losses for r in [step(x, y) for x, y in batches]]),
            ),
            (
                "this is the sum over the batches of the mean over the tasks: take the mean over both",
                lambda step, batches: 0.5 * np.sum([r.losses for r in [step(x, y) for x, y in batches]]),
            ),
            (
                "this is a mean for each task: take the mean over both",
                lambda step, batches: np.mean([r.losses for r in [step(x, y) for x, y in batches]], axis=0),
            ),
            (
                "this is a mean for each batch: take the mean over all of them",
                lambda step, batches: np.mean([r.losses for r in [step(x, y) for x, y in batches]], axis=1),
            ),
            (
                "this is the first task's mean: take the mean over both",
                lambda step, batches: np.mean([r.losses for r in [step(x, y) for x, y in batches]], axis=0)[0],
            ),
        )
    ),
    hints=(
        "when does the loop look at a loss, and when would it be early enough?",
        "keep the reports of all steps in a list, and take the mean of all their losses after the loop",
        "reports = [step(x, targets) for x, targets in batches], then np.mean over every report.losses",
    ),
    praise="all steps are in the queue before the first loss is read: one wait in place of one per step",
    adapt=_on_the_gpu,
)

LESSONS = (_WIDTH, _EPOCH)
