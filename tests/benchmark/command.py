"""The command line: ``python tests/benchmark --help``."""

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tests.benchmark import report
from tests.benchmark.footprint import MemoryRow, import_rows, known_sides, memory_rows
from tests.benchmark.gpu import gpu_rows
from tests.benchmark.min_norm_table import solver_rows
from tests.benchmark.scaling import ScalingRow, scaling_rows
from tests.benchmark.sides import AGAINST, FLOOR, SIDES, missing
from tests.benchmark.strategies import strategy_rows
from tests.benchmark.timing import Row, time_sides
from tests.benchmark.worker import CLOCKS, Worker, in_fresh_process
from tests.benchmark.workloads import STRATEGIES, WORKLOADS

SOLVERS = "W5"
OWN_SIDES = [name for name in SIDES if name != AGAINST]


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python tests/benchmark",
        description="Time whole training steps of tinymtl, hand-written NumPy (the floor) and the installed "
        "peers, after checking that they agree. Ratios are to the floor, within one run.",
    )
    for name, known in (("workloads", [*WORKLOADS, SOLVERS]), ("strategies", STRATEGIES), ("sides", OWN_SIDES)):
        options.add_argument(f"--{name}", help=f"separated by commas; all by default: {', '.join(known)}")
    options.add_argument("--threads", type=int, choices=(1, 2), default=1, help="for every side (default 1)")
    options.add_argument("--rounds", type=int, default=9, help="blocks per side (default 9)")
    options.add_argument("--seconds", type=float, default=0.2, help="length of a block (default 0.2)")
    options.add_argument(
        "--clock", choices=CLOCKS, default="wall",
        help="cpu counts processor time, for one thread on a machine that is busy (default wall)",
    )  # fmt: skip
    options.add_argument(
        "--against", type=Path, metavar="CHECKOUT",
        help="time the tinymtl of another checkout, too, in a process of its own within the same rounds, and "
        "print the ratio of this one's time to that one's",
    )  # fmt: skip
    options.add_argument("--out", type=Path, help="folder for the CSV files and the picture")
    options.add_argument("--memory", action="store_true", help="peak memory instead of times")
    options.add_argument(
        "--scaling", action="store_true", help="the strategies' cost for 2 to 40 tasks instead"
    )
    options.add_argument(
        "--costs", action="store_true", help="every strategy's cost for 2, 10 and 40 tasks, beside TorchJD's, instead"
    )
    options.add_argument("--imports", action="store_true", help="import times instead of step times")
    options.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda: the GPU's own workload, on one GPU"
    )
    return options


class Refused(Exception):
    """One sentence about a wrong option."""


def choose(given: str | None, known: Sequence[str], what: str) -> list[str]:
    """The names given, in the order of `known`; all where none is given."""
    if given is None:
        return list(known)
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise Refused(f"there is no {what} {name!r}: choose from {', '.join(known)}")
    return [name for name in known if name in names]


def run(arguments: argparse.Namespace) -> None:
    """Measure what was asked for, print it, and write it where `--out` says."""
    workloads = choose(arguments.workloads, [*WORKLOADS, SOLVERS], "workload")
    strategies = choose(arguments.strategies, STRATEGIES, "strategy")
    sides = choose(arguments.sides, OWN_SIDES, "side")
    if arguments.rounds < 1:
        raise Refused(f"--rounds is {arguments.rounds}: at least one is needed")
    if arguments.clock == "cpu" and arguments.threads > 1:
        raise Refused("--clock cpu adds up the threads' time, so it goes with --threads 1")
    if arguments.against is not None:
        check_against(arguments)
    if arguments.device == "cuda":
        measure_gpu(arguments)
        return
    if arguments.imports:
        imports = import_rows(arguments.rounds)
        print(report.import_table(imports))
        save(arguments.out, "imports.csv", imports)
        return
    for library in missing(sides):
        print(f"{library} is not installed: its sides are left out")
    sides = known_sides([FLOOR, *(name for name in sides if name != FLOOR)])
    if arguments.memory:
        measure_memory(arguments, workloads, strategies, sides)
        return
    if arguments.scaling:
        measure_scaling(arguments, sides)
        return
    if arguments.costs:
        measure_costs(arguments, sides)
        return
    if arguments.against is not None:
        sides = [FLOOR, "tinymtl", AGAINST, *(name for name in sides if name not in (FLOOR, "tinymtl"))]
    if SOLVERS in workloads:
        solved = in_fresh_process(solver_rows, arguments.threads, arguments.rounds, arguments.against)
        print(report.solver_table(solved), end="\n\n")
        save(arguments.out, f"solvers-{arguments.threads}.csv", solved)
    if any(name != SOLVERS for name in workloads):
        measure_steps(arguments, workloads, strategies, sides)


def check_against(arguments: argparse.Namespace) -> None:
    """Refuse a folder without a tinymtl, and what is not timed round by round."""
    if not (arguments.against / "tinymtl" / "__init__.py").is_file():
        raise Refused(f"--against {arguments.against}: there is no tinymtl/__init__.py; name a checkout's folder")
    for option in ("memory", "scaling", "costs", "imports"):
        if getattr(arguments, option):
            raise Refused(f"--against compares the times of steps and solvers: leave out --{option}")
    if arguments.device == "cuda":
        raise Refused("--against compares on the CPU: leave out --device cuda")


def save(folder: Path | None, name: str, rows: Sequence) -> None:
    """Write rows as CSV where a folder was named."""
    if folder is not None and rows:
        report.write(folder / name, report.csv_text(rows))


def measure_scaling(arguments: argparse.Namespace, sides: list[str]) -> None:
    """The strategies' cost against the number of tasks and the size of a group, a fresh process per side."""
    rows: list[ScalingRow] = []
    for side in sides:
        settings = (arguments.rounds, arguments.seconds, arguments.clock)
        rows += in_fresh_process(scaling_rows, arguments.threads, side, *settings)
    print(report.scaling_table(rows))
    save(arguments.out, "scaling.csv", rows)
    if arguments.out is not None:
        report.write(arguments.out / "scaling.png", report.scaling_picture(rows))


def measure_costs(arguments: argparse.Namespace, sides: list[str]) -> None:
    """Every strategy of the registry, beside TorchJD's if that is among the sides."""
    settings = (arguments.rounds, arguments.seconds, arguments.clock, "torchjd" in sides)
    rows = in_fresh_process(strategy_rows, arguments.threads, *settings)
    print(report.strategy_table(rows))
    save(arguments.out, "costs.csv", rows)


def measure_gpu(arguments: argparse.Namespace) -> None:
    """The strategies and PyTorch on one GPU."""
    try:
        device, rows = gpu_rows(arguments.rounds)
    except RuntimeError as error:
        raise Refused(str(error)) from error
    print(report.gpu_table(device, rows))
    save(arguments.out, "gpu.csv", rows)


def measure_memory(
    arguments: argparse.Namespace, workloads: list[str], strategies: list[str], sides: list[str]
) -> None:
    """Peak memory of one fresh process per step and side."""
    rows: list[MemoryRow] = []
    for name in workloads:
        if name == SOLVERS:
            continue
        for strategy in WORKLOADS[name].strategies:
            if strategy in strategies:
                rows += memory_rows(sides, WORKLOADS[name], strategy, arguments.threads)
    print(report.memory_table(rows))
    save(arguments.out, "memory.csv", rows)


def measure_steps(
    arguments: argparse.Namespace, workloads: list[str], strategies: list[str], sides: list[str]
) -> None:
    """All steps, the sides in processes of their own; results are on disk after every step."""
    threads = arguments.threads
    chosen = [WORKLOADS[name] for name in workloads if name != SOLVERS]
    settings = (threads, arguments.rounds, arguments.seconds, arguments.clock)
    rows: list[Row] = []
    workers = [Worker(name, threads, arguments.against if name == AGAINST else None) for name in sides]
    try:
        for workload in chosen:
            for strategy, optimizer in product(workload.strategies, workload.optimizers):
                if strategy not in strategies:
                    continue
                found = list(time_sides(workers, workload, strategy, optimizer, *settings))
                rows += found
                print(progress(found), flush=True)
                save(arguments.out, f"steps-{threads}.csv", rows)
    finally:
        for worker in workers:
            worker.close()
    print()
    print(report.step_table(rows))
    if arguments.out is not None and rows:
        report.write(arguments.out / f"steps-{threads}.png", report.picture(rows))


def progress(rows: Sequence[Row]) -> str:
    """One line about one step."""
    if not rows:
        return "nothing to time"
    first = rows[0]
    parts = []
    for row in rows:
        said = report.three_digits(row.ratio) if row.status == "timed" else row.status
        parts.append(f"{row.side} {said}")
    parts += [f"tinymtl / {AGAINST} {report.against(row)}" for row in rows if row.side == "tinymtl" and row.against > 0]
    return f"{first.workload} {first.strategy}, {first.optimizer}: {', '.join(parts)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 2 for a wrong option, said in one sentence."""
    try:
        run(parser().parse_args(argv))
    except Refused as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    return 0

