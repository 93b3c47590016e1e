"""One GPU: tinymtl's strategies beside PyTorch eager, on the network where launches count.

Trunk 784-512-512, ten heads of ten classes, batch 1024, Adam, float32 without TF32. Every side starts from the same
weights and is compared with the others after three steps of the averaged loss before anything is timed.
A figure is the median over rounds of a block's time between two device events, divided by its steps; the sides take
turns block by block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import tinymtl as tm
from tinymtl.backend import module_for, to_host

ROWS, SIZES, TASKS, CLASSES = 1024, (784, 512, 512), 10, 10
STEPS = 20  # in a block
STRATEGIES: dict[str, Callable[[Any, Any], Any]] = {
    "averaged": tm.Averaged,
    "mgda-ub": tm.MGDAUB,
    "mgda": tm.MGDA,
    "alternating": tm.Alternating,
    "grouped": lambda model, rule: tm.RandomGrouped(model, rule, group_size=5),
}


@dataclass(frozen=True)
class GpuRow:
    """A side's median milliseconds per step, and its ratio to tinymtl's averaged step."""

    side: str
    milliseconds: float
    ratio: float


class Side(NamedTuple):
    """One step, the clock of its library, and its parameters on the host (trunk, then all heads side by side)."""

    step: Callable[[], Any]
    clock: Callable[[Callable[[], Any], int], float]
    parameters: Callable[[], list[np.ndarray]]


def network() -> Any:
    """The model, on the host."""
    heads = [tm.Task(f"task {k}", tm.nn.Linear(SIZES[-1], CLASSES, rng=k), tm.cross_entropy) for k in range(TASKS)]
    return tm.SharedBottom(tm.nn.MLP(SIZES, rng=100), heads)


def data() -> tuple[np.ndarray, np.ndarray]:
    """A batch: x (ROWS, 784), labels (ROWS, TASKS)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, SIZES[0]), dtype=np.float32), rng.integers(0, CLASSES, (ROWS, TASKS))


def side_by_side(model: Any) -> list[np.ndarray]:
    """The parameters on the host: the trunk's, then all heads' weights as one matrix, and their biases."""
    heads = [[to_host(p.data) for p in model.task_parameters(name)] for name in model.task_names]
    trunk = [to_host(p.data) for p in model.shared_parameters()]
    return [*trunk, np.concatenate([w for w, _ in heads], axis=1), np.concatenate([b for _, b in heads])]


def tinymtl_side(strategy: str) -> Side:
    """A strategy of tinymtl's."""
    cupy = module_for("cuda")
    model = network().to(device="cuda")
    step = STRATEGIES[strategy](model, tm.Adam(1e-3))
    x, targets = (cupy.asarray(array) for array in data())

    def clock(run: Callable[[], Any], steps: int) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        for _ in range(steps):
            run()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end)) / steps

    return Side(lambda: step(x, targets), clock, lambda: side_by_side(model))


def torch_side(heads: str) -> Side:
    """PyTorch eager on the averaged loss: "loop" over ten heads, or one "stacked" matrix with the fused Adam."""
    import torch
    from torch.nn.functional import cross_entropy, linear, relu

    torch.backends.cuda.matmul.allow_tf32 = False
    x, targets = (torch.from_numpy(array).cuda() for array in data())
    w1, b1, w2, b2, v, c = (torch.from_numpy(p.copy()).cuda() for p in side_by_side(network()))
    columns = [slice(k * CLASSES, (k + 1) * CLASSES) for k in range(TASKS)]
    split = [(v[:, task].contiguous(), c[task].clone()) for task in columns]
    parameters = [w1, b1, w2, b2, *([v, c] if heads == "stacked" else [p for head in split for p in head])]
    for parameter in parameters:
        parameter.requires_grad_()
    adam = torch.optim.Adam(parameters, lr=1e-3, fused=heads == "stacked")

    def step() -> None:
        adam.zero_grad()
        z = relu(linear(relu(linear(x, w1.T, b1)), w2.T, b2))
        loss: Any
        if heads == "stacked":
            loss = cross_entropy(linear(z, v.T, c).view(ROWS * TASKS, CLASSES), targets.view(-1))
        else:
            loss = sum(cross_entropy(linear(z, w.T, b), targets[:, k]) for k, (w, b) in enumerate(split)) / TASKS
        loss.backward()
        adam.step()

    def clock(run: Callable[[], Any], steps: int) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(steps):
            run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / steps

    def on_host() -> list[np.ndarray]:
        found = [p.detach().cpu().numpy() for p in parameters]
        if heads == "stacked":
            return found
        return [*found[:4], np.concatenate(found[4::2], axis=1), np.concatenate(found[5::2])]

    return Side(step, clock, on_host)


def sides() -> dict[str, Side]:
    """Every side that can be built here; tinymtl's averaged step first."""
    built = {f"tinymtl {name}": tinymtl_side(name) for name in STRATEGIES}
    if find_spec("torch") is not None:
        built |= {"torch loop of heads": torch_side("loop"), "torch stacked, fused Adam": torch_side("stacked")}
    return built


def disagreement(one: Side, other: Side, steps: int = 3) -> float:
    """The largest difference of their parameters after a few steps, relative to the largest parameter."""
    for _ in range(steps):
        one.step()
        other.step()
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def gpu_rows(rounds: int) -> tuple[str, list[GpuRow]]:
    """The device's name, and a row per side. Raises RuntimeError where there is no usable GPU."""
    cupy = module_for("cuda")
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"]
    built = sides()
    for label in [label for label in built if label.startswith("torch")]:
        difference = disagreement(tinymtl_side("averaged"), torch_side("loop" if "loop" in label else "stacked"))
        if difference > 1e-2:  # Adam divides by √v: where a gradient is near 0, rounding decides its first steps
            print(f"{label} disagrees after three steps by {difference:.0e}: left out")
            del built[label]
    times: dict[str, list[float]] = {label: [] for label in built}
    for side in built.values():
        side.clock(side.step, STEPS)  # compiles kernels, fills pools
    for _ in range(rounds):
        for label, side in built.items():
            times[label].append(side.clock(side.step, STEPS))
    base = median(times["tinymtl averaged"])
    return (
        name.decode() if isinstance(name, bytes) else str(name),
        [GpuRow(label, median(found), median(found) / base) for label, found in times.items()],
    )
