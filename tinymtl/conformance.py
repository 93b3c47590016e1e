"""What every strategy must keep, as a suite for anybody's own: `tinymtl.check_strategy(make)`.

Each check takes `make` on small networks of its own, in float64, and raises an AssertionError with one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinymtl import nn
from tinymtl.autodiff import Tensor, no_grad
from tinymtl.backend import Array, to_host
from tinymtl.fake_cupy import pretend_gpu
from tinymtl.nn.shared_bottom import SharedBottom, Task
from tinymtl.optim import Adam
from tinymtl.steps.memory import arrays_in
from tinymtl.steps.step import Step, StepReport
from tinymtl.tracing import trace

ROWS, FEATURES, WIDTH, CLASSES = 7, 4, 5, 3
CLOSE = 1e-9  # between two right ways to the same number

Make = Callable[..., Step]


class Check(NamedTuple):
    """One named check: whether the strategy keeps it, and if not, what was seen."""

    name: str
    passed: bool
    seen: str = ""

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.name}{': ' + self.seen if self.seen else ''}"


def check_strategy(make: Make) -> list[Check]:
    """Put a strategy through every check, and print one line for each.

    Parameters
    ----------
    make : callable
        (model, optimizer) → step: a subclass of `Step`, an entry of `tinymtl.STRATEGIES`, or a function. A strategy
        that draws random numbers draws them from a fixed seed.

    Returns
    -------
    list of Check
        If all of them passed.

    Raises
    ------
    AssertionError
        Once all lines are printed, if the strategy does not keep one of them; it says which.

    Examples
    --------
    >>> import tinymtl as tm
    >>> by_length = lambda G, L: 1 / np.sqrt(G.diagonal())
    >>> done = check_strategy(lambda model, optimizer: tm.GradientWeighted(model, optimizer, weigh=by_length))
    ✓ makes a step
    ✓ deterministic
    ✓ the report is right
    ✓ stages equal a call
    ✓ resumes to the bit
    ✓ one task
    ✓ stacked heads equal separate ones
    ✓ float32 stays float32
    ✓ the order of the tasks does not matter
    ✓ bad input moves nothing
    ✓ a failure on the way moves nothing
    ✓ no path from a loss is an error
    ✓ a task without a label takes no part
    ✓ traced equals untraced
    ✓ on a device as on the host
    """
    done = []
    for name, check in CHECKS.items():
        try:
            skipped = check(make)
            done.append(Check(name, True, skipped or ""))
        except AssertionError as error:
            done.append(Check(name, False, " ".join(str(error).split())))
        except Exception as error:  # the strategy's own: it must not end the suite
            done.append(Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}"))
        print(done[-1])
    failed = [check.name for check in done if not check.passed]
    if failed:
        raise AssertionError(f"the strategy does not keep {len(failed)} of {len(done)}: {', '.join(failed)}")
    return done


# ------------------------------------------------------------ the networks


class _Head(nn.Linear):
    """A head that is run on its own, since only plain `Linear` heads are stacked; it can be told to fail."""

    fails: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.fails is not None:
            raise self.fails
        return super().forward(x)


class _Detached(nn.Linear):
    """A head whose prediction depends on nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def _network(
    tasks: int, head: type[nn.Linear] = nn.Linear, order: Any = None, last: Any = None, moving: bool = False
) -> SharedBottom:
    """A trunk 4-6-5 and heads of 3 classes; a head's start depends on its name alone.

    In a `moving` trunk a forward changes more than its output: running means and a generator.
    """
    names = list(order if order is not None else range(tasks))
    kinds = {k: head for k in names} | ({tasks - 1: last} if last else {})
    made = [Task(f"t{k}", kinds[k](WIDTH, CLASSES, rng=10 + k), nn.cross_entropy) for k in names]
    trunk: nn.Module = nn.MLP([FEATURES, 6, WIDTH], rng=1)
    if moving:
        trunk = nn.Sequential(trunk, nn.BatchNorm1d(WIDTH), nn.Dropout(0.2, rng=2))
    return SharedBottom(trunk, made).to("float64")


def _batch(tasks: int, seed: int = 0) -> tuple[Array, dict[str, Array]]:
    rng = np.random.default_rng(seed)
    labels = {f"t{k}": rng.permutation(np.arange(ROWS) % CLASSES) for k in range(tasks)}
    return rng.normal(size=(ROWS, FEATURES)), labels


def _step(make: Make, model: SharedBottom) -> Step:
    step = make(model, Adam(lr=0.02))
    assert isinstance(step, Step), f"it must make a tinymtl.Step, not {type(step).__name__}"
    assert step.model is model, "the step is not one of the model that was given"
    return step


def _several(step: Step, start: int, stop: int) -> list[StepReport]:
    reports = []
    for seed in range(start, stop):
        reports.append(step(*_batch(len(step.model.tasks), seed)))
        step.end_epoch()  # every minibatch an epoch of its own
    return reports


def _bits(step: Step) -> dict[str, bytes]:
    """Everything that the next step depends on, to the bit."""
    arrays = {f"memory/{key}": value for key, value in step.state().items()} | step.model.state()
    return {key: to_host(value).tobytes() for key, value in arrays.items()}


def _same(found: dict[str, bytes], expected: dict[str, bytes], when: str) -> None:
    odd = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    assert not odd, f"{when}, {odd[0]!r} differs" + (f" and {len(odd) - 1} more" if len(odd) > 1 else "")


def _near(found: Array, expected: Array, what: str) -> None:
    gap = float(np.max(np.abs(found - expected), initial=0.0))
    assert gap <= CLOSE, f"{what} differ by {gap:.1e}"


# ------------------------------------------------------------ the checks


def _makes_a_step(make: Make) -> None:
    step = _step(make, _network(3))
    before = step.model.vector.data.copy()
    _several(step, 0, 2)
    assert (before != step.model.vector.data).any(), "after two steps no parameter has moved"


def _deterministic(make: Make) -> None:
    for tasks in (2, 5):
        first, second = _step(make, _network(tasks)), _step(make, _network(tasks))
        for one, other in zip(_several(first, 0, 3), _several(second, 0, 3), strict=True):
            assert one.losses.tobytes() == other.losses.tobytes(), "two steps made alike see other losses"
        _same(_bits(second), _bits(first), "of two steps made alike")


def _report(make: Make) -> None:
    """Task order, finite, and each loss as it stood just before its own update."""
    for tasks in (2, 5):
        step = _step(make, _network(tasks))
        for seed in range(3):
            x, labels = _batch(tasks, seed)
            seen: dict[int, float] = {}
            predicted = step.model.predict(x)
            stages = step.stages(x, labels)
            try:
                while True:
                    stage = next(stages)
                    if stage.name == "update":
                        group = [k for k in stage.update.group if k not in seen]
                        seen |= {k: _loss(predicted[f"t{k}"], labels[f"t{k}"]) for k in group}
                        predicted = step.model.predict(x)
            except StopIteration as end:
                report: StepReport = end.value
            assert report.losses.shape == (tasks,), f"report.losses has shape {report.losses.shape}, not ({tasks},)"
            assert sorted(seen) == list(range(tasks)), f"the updates are of the tasks {sorted(seen)} of {tasks}"
            expected = np.array([seen[k] for k in range(tasks)])
            _near(report.losses, expected, "report.losses and the losses before each update")
            weights = report.weights
            assert weights is None or (weights.shape == (tasks,) and np.isfinite(weights).all()), (
                f"report.weights is {weights}, not {tasks} finite numbers or None"
            )
            assert report.trunk_forwards >= 1, "the report counts no forward pass"


def _loss(logits: Array, labels: Array) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    picked = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - picked).mean())


def _stages(make: Make) -> None:
    walked, called = _step(make, _network(3)), _step(make, _network(3))
    for seed in range(2):
        names = [stage.name for stage in walked.stages(*_batch(3, seed))]
        called(*_batch(3, seed))
        assert names and names[-1] == "update", f"the last stage is {names[-1:]}, not 'update'"
    _same(_bits(walked), _bits(called), "after walking through the stages")


def _resumes(make: Make) -> None:
    for tasks in (1, 5):
        whole = _step(make, _network(tasks))
        _several(whole, 0, 3)
        parameters, memory = whole.model.state(), whole.state()
        _several(whole, 3, 7)  # what was saved holds copies: this does not reach it
        resumed = _step(make, _network(tasks))
        resumed.model.load_state(parameters)
        resumed.load_state(memory)
        _several(resumed, 3, 7)
        _same(_bits(resumed), _bits(whole), "four steps after a resume")


def _one_task(make: Make) -> None:
    step = _step(make, _network(1))
    first, *_, last = _several(step, 0, 1) + [step(*_batch(1)) for _ in range(30)]
    assert np.isfinite(last.losses).all() and last.losses[0] < first.losses[0], (
        f"thirty steps on one batch take its loss from {first.losses[0]:.4g} to {last.losses[0]:.4g}"
    )


def _stacked(make: Make) -> None:
    stacked, separate = _step(make, _network(5)), _step(make, _network(5, _Head))
    for one, other in zip(_several(stacked, 0, 3), _several(separate, 0, 3), strict=True):
        _near(other.losses, one.losses, "the losses")
    _near(separate.model.vector.data, stacked.model.vector.data, "the parameters")


def _float32(make: Make) -> None:
    step = _step(make, _network(3).to("float32"))
    for report in _several(step, 0, 2):
        assert report.losses.dtype == np.float32, f"the losses became {report.losses.dtype}"
    assert step.model.vector.dtype == np.float32, f"the parameters became {step.model.vector.dtype}"


def _equivariant(make: Make) -> str | None:
    """With the tasks given in another order, the trunk moves as before and every task keeps what is its own."""
    order = [3, 0, 4, 2, 1]
    straight, permuted = _step(make, _network(5)), _step(make, _network(5, order=order))
    if not straight.equivariant:
        return "not claimed"
    for seed in range(3):
        report, other = straight(*_batch(5, seed)), permuted(*_batch(5, seed))
        _near(other.losses, report.losses[order], "with the tasks in another order the losses")
    state = permuted.model.state()
    for key, value in straight.model.state().items():
        _near(state[key], value, f"with the tasks in another order the parameters {key!r}")
    return None


def _bad_batches(tasks: int) -> Iterator[tuple[str, Any, Any]]:
    x, labels = _batch(tasks)
    last = f"t{tasks - 1}"
    nan = x.copy()
    nan[3, 1] = np.nan
    yield "an empty batch", x[:0], {name: y[:0] for name, y in labels.items()}
    yield "a NaN in x", nan, labels
    yield "a task without targets", x, {name: y for name, y in labels.items() if name != last}
    yield "targets of other rows", x, labels | {last: labels[last][:-1]}
    yield "a label out of range", x, labels | {last: labels[last] + 1}
    yield "too few features", x[:, :-1], labels


def _bad_input(make: Make) -> None:
    for tasks in (1, 3):
        for head in (nn.Linear, _Head):
            step, twin = (_step(make, _network(tasks, head, moving=True)) for _ in "ab")
            _several(step, 0, 2), _several(twin, 0, 2)
            before = _bits(step)
            for what, x, targets in _bad_batches(tasks):
                _refuses(step, x, targets, what, (ValueError, TypeError, FloatingPointError))
                _same(_bits(step), before, f"after {what}")
            _several(step, 2, 4), _several(twin, 2, 4)
            _same(_bits(step), _bits(twin), "two steps after input that was refused")


def _refuses(step: Step, x: Any, targets: Any, what: str, errors: Any) -> BaseException:
    try:
        step(x, targets)
    except errors as error:
        caught: BaseException = error
        return caught
    raise AssertionError(f"{what} is not refused")


class _Interruption(BaseException):
    """Neither an Exception nor Ctrl-C."""


def _late_failure(make: Make) -> None:
    step, twin = (_step(make, _network(3, _Head, moving=True)) for _ in "ab")
    _several(step, 0, 2), _several(twin, 0, 2)
    before, head = _bits(step), step.model.tasks[-1].head
    for error in (RuntimeError("the last head fails"), KeyboardInterrupt(), _Interruption()):
        head.fails = error  # type: ignore[attr-defined]
        _refuses(step, *_batch(3), f"a {type(error).__name__} in the last head", type(error))
        _same(_bits(step), before, f"after a {type(error).__name__} in the last head")
    head.fails = None  # type: ignore[attr-defined]
    _several(step, 2, 4), _several(twin, 2, 4)
    _same(_bits(step), _bits(twin), "two steps after a failure")


def _no_path(make: Make) -> None:
    step = _step(make, _network(3))
    before = _bits(step)
    with no_grad():
        _refuses(step, *_batch(3), "a step under no_grad", ValueError)
    _same(_bits(step), before, "after a step under no_grad")
    step = _step(make, _network(3, _Head, last=_Detached))
    before = _bits(step)
    error = _refuses(step, *_batch(3), "a loss that depends on no parameter", ValueError)
    assert "t2" in str(error), f"the error does not name the task whose loss depends on no parameter: {error}"
    _same(_bits(step), before, "after a loss that depends on no parameter")


def _absent(make: Make) -> str | None:
    """A batch without a label for one task moves the others, and of that one neither head nor memory.

    A strategy may also refuse such a batch: then nothing moves.
    """
    for head in (nn.Linear, _Head):
        step = _step(make, _network(3, head))
        _several(step, 0, 2)
        before, everything = (_own(step, 1), step.model.vector.data.copy()), _bits(step)
        x, labels = _batch(3, 2)
        try:
            report = step(x, labels | {"t1": np.full(ROWS, np.nan)})
        except (ValueError, TypeError):
            _same(_bits(step), everything, "after a batch without a label for task t1, which was refused")
            return "refused, and nothing moved"
        _same(_own(step, 1), before[0], "after a batch without a label for task t1")
        assert np.isnan(report.losses).tolist() == [False, True, False], (
            f"of a batch without a label for task t1 report.losses is {report.losses}, not NaN for t1 alone"
        )
        for k in (0, 2):
            part = step.model.layout.heads[k]
            moved = step.model.vector.data[part] != before[1][part]
            assert moved.any(), f"a batch without a label for task t1 does not move the head of t{k}"
    return None


def _own(step: Step, task: int) -> dict[str, bytes]:
    """A task's head, and what the memory keeps of the task alone, to the bit."""
    model = step.model
    name, head = model.task_names[task], model.layout.heads[task]
    found = {"the head": model.vector.data[head]}
    for memory, value in step.memory.items():
        for path, array in arrays_in(value, memory):
            if array.shape == model.vector.shape:
                found[path] = array[head]
            elif memory.endswith(f" of {name}"):
                found[path] = array
            elif array.shape[-1:] == (len(model.tasks),):
                found[path] = array[..., task]
    return {path: to_host(array).tobytes() for path, array in found.items()}


def _traced(make: Make) -> None:
    traced, plain = (_step(make, _network(3, moving=True)) for _ in "ab")
    for seed in range(2):
        trace(traced, *_batch(3, seed))
        plain(*_batch(3, seed))
    _same(_bits(traced), _bits(plain), "after a trace")


def _on_a_device(make: Make) -> None:
    """On a device that refuses what CuPy refuses: no array of the host's meets one of the device's."""
    for head in (nn.Linear, _Head):
        here = _step(make, _network(3, head))
        expected = _several(here, 0, 3)
        with pretend_gpu():
            there = _step(make, _network(3, head).to(device="cuda"))
            for found, host in zip(_several(there, 0, 3), expected, strict=True):
                _near(found.losses, host.losses, "on the device the losses")
            _near(to_host(there.model.vector.data), here.model.vector.data, "on the device the parameters")


CHECKS: dict[str, Callable[[Make], str | None]] = {
    "makes a step": _makes_a_step,
    "deterministic": _deterministic,
    "the report is right": _report,
    "stages equal a call": _stages,
    "resumes to the bit": _resumes,
    "one task": _one_task,
    "stacked heads equal separate ones": _stacked,
    "float32 stays float32": _float32,
    "the order of the tasks does not matter": _equivariant,
    "bad input moves nothing": _bad_input,
    "a failure on the way moves nothing": _late_failure,
    "no path from a loss is an error": _no_path,
    "a task without a label takes no part": _absent,
    "traced equals untraced": _traced,
    "on a device as on the host": _on_a_device,
}
