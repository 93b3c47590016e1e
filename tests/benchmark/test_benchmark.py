"""The benchmark's NumPy sides take the same steps, its answers are checked, its files are whole. Nothing is timed."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.benchmark import command, footprint, min_norm_table, report, scaling, sides, timing, worker
from tests.benchmark.workloads import STRATEGIES, WORKLOADS, Unsupported, Workload, batch, start

TINY = {
    "W1": replace(WORKLOADS["W1"], trunk=(5, 7, 6), head=(6, 3), batch=9, dtype="float64"),
    "W2": replace(WORKLOADS["W2"], trunk=(5, 7, 6), head=(6, 1), batch=9, tasks=6, group_size=2, dtype="float64"),
    "W3": replace(WORKLOADS["W3"], trunk=(6,), head=(6, 5, 3), image=16, batch=4, dtype="float64"),
    "W4": replace(WORKLOADS["W4"], dtype="float64"),
}
STEPS = [(n, s, o) for n, tiny in TINY.items() for s in tiny.strategies for o in tiny.optimizers]


def stacks(name: str, strategy: str) -> bool:
    """Whether there is something to stack: linear heads, several at a time."""
    return name in ("W1", "W2") and strategy != "alternating"


SIDES_AND_STEPS = [("tinymtl", *step) for step in STEPS]
SIDES_AND_STEPS += [("floor-stacked", *step) for step in STEPS if stacks(*step[:2])]


def after_three_steps(side: str, workload: Workload, strategy: str, optimizer: str) -> list[np.ndarray]:
    return worker.three_steps(sides.build(side, workload, strategy, optimizer))


def test_all_numpy_sides_are_compared() -> None:
    numpy_sides = {name for name, side in sides.SIDES.items() if side.library == "numpy"}
    assert numpy_sides == {sides.FLOOR, sides.AGAINST, *(side for side, *_ in SIDES_AND_STEPS)}
    for name, strategy, optimizer in STEPS:
        if not stacks(name, strategy):
            with pytest.raises(Unsupported):
                sides.build("floor-stacked", TINY[name], strategy, optimizer)


@pytest.mark.parametrize(("side", "name", "strategy", "optimizer"), SIDES_AND_STEPS)
def test_sides_agree(side: str, name: str, strategy: str, optimizer: str) -> None:
    expected = after_three_steps(sides.FLOOR, TINY[name], strategy, optimizer)
    found = after_three_steps(side, TINY[name], strategy, optimizer)
    initial = timing.initial_parameters(TINY[name])
    assert timing.disagreement(found, expected, initial) < 1e-9
    assert all(np.abs(a - b).max() > 1e-6 for a, b in zip(expected, initial, strict=True))  # everything moved


@pytest.mark.parametrize("name", ["W1", "W2", "W3"])
def test_strategies_differ(name: str) -> None:
    """Else agreement would say little: each strategy ends elsewhere after three steps."""
    tiny = TINY[name]
    ends = [after_three_steps(sides.FLOOR, tiny, s, "sgd") for s in tiny.strategies]
    initial = timing.initial_parameters(tiny)
    for i, first in enumerate(ends):
        for second in ends[:i]:
            assert timing.disagreement(first, second, initial) > timing.TOLERANCE["sgd"]


def test_real_sizes() -> None:
    assert [p.shape for p in timing.initial_parameters(WORKLOADS["W1"])] == [
        (144, 256), (256,), (256, 128), (128,), (128, 10), (10,), (128, 10), (10,),
    ]  # fmt: skip
    assert WORKLOADS["W3"].trunk_shapes() == [(10, 1, 5, 5), (10,), (20, 10, 5, 5), (20,), (720, 50), (50,)]
    assert [array.shape for array in start(WORKLOADS["W3"]).heads[1]] == [(50, 50), (50,), (50, 10), (10,)]
    wide = WORKLOADS["W2"]
    assert len(start(wide).heads) == 40 and wide.groups()[3] == list(range(30, 40))
    labels = batch(WORKLOADS["W1"]).targets
    assert set(labels[:, 0].tolist()) == set(range(10)) and (labels[:, 0] != labels[:, 1]).any()
    assert batch(wide).x.dtype == np.float32 and batch(wide).targets.shape == (256, 40)


def test_disagreement() -> None:
    initial, expected = [np.zeros(4)], [np.array([3.0, 0.0, 4.0, 0.0])]
    assert timing.disagreement(expected, expected, initial) == 0.0
    assert timing.disagreement([expected[0] + [0.0, 0.5, 0.0, 0.0]], expected, initial) == 0.1
    assert timing.disagreement([expected[0] * np.nan], expected, initial) == np.inf
    assert timing.disagreement([np.zeros(3)], expected, initial) == np.inf
    assert timing.disagreement([np.ones(4)], initial, initial) == np.inf


class Answers:
    """A worker's near end with made-up answers."""

    def __init__(self, name: str, parameters: list[np.ndarray] | None, times: list[float]) -> None:
        self.name, self.parameters, self.times = name, parameters, iter(times)

    def prepare(self, *_: object) -> tuple[str, object]:
        return ("unsupported", None) if self.parameters is None else ("parameters", self.parameters)

    def block(self, seconds: float, clock: str) -> tuple[str, object]:
        return "times", (next(self.times), 1.0)


def rows_of(*answers: Answers) -> dict[str, timing.Row]:
    tiny = TINY["W1"]
    return {row.side: row for row in timing.time_sides(list(answers), tiny, "averaged", "sgd", 1, 3, 0.0, "wall")}


def test_ratios_are_taken_round_by_round() -> None:
    end = [array + 1.0 for array in timing.initial_parameters(TINY["W1"])]
    wrong = [array * 1.01 for array in end]
    rows = rows_of(
        Answers(sides.FLOOR, end, [1.0, 10.0, 4.0]),
        Answers("torch", end, [2.0, 30.0, 6.0]),
        Answers("jax", wrong, []),  # would run out of times if it were asked for any
        Answers("mygrad", None, []),
    )
    assert set(rows) == {sides.FLOOR, "torch", "jax"}
    assert rows["torch"].status == "timed" and rows["torch"].milliseconds == 6000.0
    assert rows["torch"].ratio == 2.0  # of 2, 3 and 1.5; the ratio of the medians would be 1.5
    assert rows[sides.FLOOR].ratio == 1.0
    assert rows["jax"].status == "disagrees" and "distance" in rows["jax"].note
    text = report.step_table(list(rows.values()))
    assert "2.00" in text and "disagrees" in text


def test_gap_of_min_norm_weights() -> None:
    gram = np.diag([1.0, 4.0, 9.0])
    assert min_norm_table.relative_gap(gram, np.array([36.0, 9.0, 4.0])) < 1e-15  # scaled onto the simplex
    assert min_norm_table.relative_gap(gram, np.array([1.0, 0.0, 0.0])) == pytest.approx(3.0 / 14.0)
    assert len(min_norm_table.families(10)) == 4
    for grams in min_norm_table.families(10).values():
        assert np.linalg.eigvalsh(grams[0])[0] > -1e-9 * grams[0].max()


def test_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "SIZES", (2, 4))
    monkeypatch.setitem(WORKLOADS, "W2", TINY["W2"])
    rows = scaling.scaling_rows(sides.FLOOR, rounds=2, seconds=0.0, clock="cpu")
    forms = {(row.tasks, row.strategy, row.group_size) for row in rows}
    ungrouped = {(k, strategy, 0) for k in (2, 4) for strategy in STRATEGIES[:4]}
    assert forms == ungrouped | {(k, "grouped", s) for k, s in ((2, 1), (2, 2), (4, 1), (4, 2), (4, 4))}
    assert all(row.ratio == 1.0 for row in rows if row.strategy == "averaged")
    assert "floor grouped by 4" in report.scaling_table(rows)
    assert report.scaling_picture(rows).startswith(b"\x89PNG")


def test_a_run_writes_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The smallest run there is: two processes, one round of the quadratics."""
    arguments = ["--workloads", "W4", "--strategies", "averaged", "--sides", "tinymtl", "--rounds", "1"]
    assert command.main([*arguments, "--seconds", "0", "--out", str(tmp_path)]) == 0
    rows = list(csv.DictReader((tmp_path / "steps-1.csv").open()))
    assert [(row["side"], row["status"]) for row in rows] == [("floor", "timed"), ("tinymtl", "timed")]
    assert "W4 averaged, plain" in capsys.readouterr().out
    assert (tmp_path / "steps-1.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"steps-1.csv", "steps-1.png"}


#: Another version of the package: as much of it as one step and one solver need.
OTHER = """
from types import SimpleNamespace

import numpy as np


class Quadratics:
    def __init__(self, curvatures, centers, start):
        self.curvatures, self.centers, self.theta = curvatures, centers, SimpleNamespace(data=np.array(start))


class Averaged:
    def __init__(self, model, lr):
        self.model, self.lr = model, lr

    def __call__(self):
        away = self.model.theta.data - self.model.centers
        self.model.theta.data -= self.lr * np.einsum("kij,kj->i", self.model.curvatures, away) / len(away)


def SGD(lr, momentum):
    return LR * lr


def min_norm(gram, solver):
    return SimpleNamespace(weights=np.ones(len(gram)) / len(gram))


problems = SimpleNamespace(Quadratics=Quadratics)
MGDA = MGDAUB = Alternating = None
"""


def checkout(folder: Path, lr: float = 1.0) -> Path:
    """A checkout whose tinymtl is `OTHER`, with the learning rate times `lr`."""
    (folder / "tinymtl").mkdir(parents=True)
    (folder / "tinymtl" / "__init__.py").write_text(OTHER.replace("LR", str(lr)))
    return folder


def test_another_checkout_is_a_side_of_the_same_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--workloads", "W4", "--strategies", "averaged", "--sides", "floor", "--rounds", "2", "--seconds", "0"]
    arguments += ["--against", str(checkout(tmp_path / "other")), "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    rows = {row["side"]: row for row in csv.DictReader((tmp_path / "steps-1.csv").open())}
    assert [(row["side"], row["status"]) for row in rows.values()] == [
        ("floor", "timed"), ("tinymtl", "timed"), ("against", "timed"),
    ]  # fmt: skip
    assert rows["against"]["against"] == "1.0" and float(rows["tinymtl"]["against"]) > 0
    table = capsys.readouterr().out.split("tinymtl / against (quartiles)")[1]
    assert f"{float(rows['tinymtl']['against']):.3f} ({float(rows['tinymtl']['against_low']):.3f}–" in table


def test_another_checkout_is_compared_before_it_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--workloads", "W4", "--strategies", "averaged", "--sides", "floor", "--rounds", "1", "--seconds", "0"]
    assert command.main([*arguments, "--against", str(checkout(tmp_path, lr=1.1))]) == 0
    assert "against disagrees: relative distance" in capsys.readouterr().out


def test_another_checkouts_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(min_norm_table, "SIZES", (3,))
    monkeypatch.setattr(min_norm_table, "find_spec", lambda name: None)
    rows = {row.solver: row for row in min_norm_table.solver_rows(1, checkout(tmp_path), seconds=0.0)}
    assert list(rows) == ["tinymtl", "against", "tinymtl frank-wolfe", "against frank-wolfe"]
    assert rows["tinymtl"].gap < 1e-12 < 0.01 < rows["against"].gap
    assert rows["against"].against == 1.0
    assert f"tinymtl / against at K = 3: {rows['tinymtl'].against:.3f}" in report.solver_table(list(rows.values()))


def test_ratios_to_another_checkout_are_taken_round_by_round() -> None:
    end = [array + 1.0 for array in timing.initial_parameters(TINY["W1"])]
    rows = rows_of(
        Answers(sides.FLOOR, end, [1.0, 1.0, 1.0]),
        Answers("tinymtl", end, [2.0, 30.0, 6.0]),
        Answers(sides.AGAINST, end, [1.0, 10.0, 4.0]),
    )
    found = rows["tinymtl"]
    assert (found.against_low, found.against, found.against_high) == (1.75, 2.0, 2.5)  # of 2, 3 and 1.5
    assert "2.000 (1.750–2.500)" in report.step_table(list(rows.values()))


def test_files_are_written_into_a_directory_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    for content in ("before", "after"):
        report.write(path, content)
        assert path.read_text() == content and [p.name for p in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workloads", "W1,W9"], "bench: there is no workload 'W9': choose from W1, W2, W3, W4, W5\n"),
        (["--strategies", "pcgrad"], f"bench: there is no strategy 'pcgrad': choose from {', '.join(STRATEGIES)}\n"),
        (["--sides", "tf"], f"bench: there is no side 'tf': choose from {', '.join(command.OWN_SIDES)}\n"),
        (
            ["--clock", "cpu", "--threads", "2"],
            "bench: --clock cpu adds up the threads' time, so it goes with --threads 1\n",
        ),
        (["--rounds", "0"], "bench: --rounds is 0: at least one is needed\n"),
        (
            ["--against", "nowhere"],
            "bench: --against nowhere: there is no tinymtl/__init__.py; name a checkout's folder\n",
        ),
        (
            ["--against", str(footprint.CHECKOUT), "--scaling"],
            "bench: --against compares the times of steps and solvers: leave out --scaling\n",
        ),
        (
            ["--against", str(footprint.CHECKOUT), "--device", "cuda"],
            "bench: --against compares on the CPU: leave out --device cuda\n",
        ),
    ],
)
def test_wrong_options(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == said and captured.out == ""


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sides.SIDES, "torch", sides.Side("torch_side", "no_such_library"))
    assert "no_such_library" in sides.missing(["torch", "floor"])
    assert sides.missing(["floor"]) == []
