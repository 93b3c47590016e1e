"""What every strategy of the registry costs, for 2 to 40 tasks, beside TorchJD's aggregator of the same name.

W1's network with K tasks and plain SGD. A strategy that weighs losses is measured against the averaged step of the
same round, one that weighs gradients against MGDA (at θ) or MGDA-UB (at Z). TorchJD's step is timed in the same
process, in turn with them, and has a ratio to tinymtl's step at θ.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tests.benchmark.torchjd_side import step_with
from tests.benchmark.worker import time_block
from tests.benchmark.workloads import WORKLOADS, Workload, batch

SIZES = (2, 10, 40)
#: The name of TorchJD's aggregator, and its options; for NashMTL the number of tasks is one.
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "averaged": ("Mean", {}),
    "mgda": ("MGDA", {}),
    "nash": ("NashMTL", {}),
    "fairgrad": ("FairGrad", {"alpha": 2.0}),
    "upgrad": ("UPGrad", {}),
    "dualproj": ("DualProj", {}),
    "cagrad": ("CAGrad", {"c": 0.4}),
    "pcgrad": ("PCGrad", {}),
    "config": ("ConFIG", {}),
    "aligned": ("AlignedMTL", {}),
    "gradvac": ("GradVac", {}),
}


@dataclass(frozen=True)
class StrategyRow:
    """One strategy at one K: its passes and milliseconds per step, and its ratio to `of` in the same round."""

    tasks: int
    strategy: str
    at: str
    passes: str  # trunk forwards + trunk backwards + head backwards
    milliseconds: float
    of: str
    ratio: float
    torchjd: float = float("nan")  # TorchJD's time over this one's in the same round


def strategy_rows(rounds: int, seconds: float, clock: str, peers: bool) -> list[StrategyRow]:
    """All strategies at every K, taking turns block by block."""
    rows = []
    for tasks in SIZES:
        workload = replace(WORKLOADS["W1"], tasks=tasks)
        steps, kinds, passes = tinymtl_steps(workload)
        if peers:
            steps |= {(name, "TorchJD"): torchjd_step(workload, name) for name in PEERS}
        times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
        for _ in range(rounds):
            for key, step in steps.items():
                times[key].append(time_block(step, seconds, clock)[0])

        def ratio(a: tuple[str, str], b: tuple[str, str], times: dict = times) -> float:
            pairs = zip(times[a], times[b], strict=True)
            return statistics.median(x / y for x, y in pairs)

        for (name, at), of in kinds.items():
            milliseconds = 1e3 * statistics.median(times[name, at])
            peer = ratio((name, "TorchJD"), (name, at)) if (name, "TorchJD") in times and at != "Z" else float("nan")
            rows.append(
                StrategyRow(tasks, name, at, passes[name, at], milliseconds, of[0], ratio((name, at), of), peer)
            )
    return rows


def tinymtl_steps(workload: Workload) -> tuple[dict, dict, dict]:
    """By (name, where gradients are weighed): the step, what it is measured against, and its passes."""
    import tinymtl as tm
    from tests.benchmark.tinymtl_side import network, rule

    x, targets = batch(workload)
    steps, kinds, passes = {}, {}, {}
    for name, strategy in tm.STRATEGIES.items():
        made = {"": strategy(network(workload), rule("sgd"))}
        if name in ("mgda", "mgda-ub"):
            made = {made[""].at: made[""]}  # type: ignore[attr-defined]
        elif isinstance(made[""], tm.GradientWeighted):
            made = {at: strategy(network(workload), rule("sgd"), 0, at=at) for at in ("θ", "Z")}
        for at, step in made.items():
            steps[name, at] = partial(step, x, targets)
            report = step(x, targets)
            passes[name, at] = f"{report.trunk_forwards} + {report.trunk_backwards} + {report.head_backwards}"
            kinds[name, at] = {"θ": ("mgda", "θ"), "Z": ("mgda-ub", "Z"), "": ("averaged", "")}[at]
    return steps, kinds, passes


def torchjd_step(workload: Workload, name: str) -> Callable[[], Any]:
    """TorchJD's step with its aggregator."""
    from torchjd import aggregation

    aggregator, options = PEERS[name]
    options = options | ({"n_tasks": workload.tasks} if aggregator == "NashMTL" else {})
    return step_with(getattr(aggregation, aggregator)(**options), workload, "sgd")[0]
