"""The results as aligned text, CSV and one picture. Files are written beside their place, then renamed."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmark.footprint import ImportRow, MemoryRow
from tests.benchmark.gpu import GpuRow
from tests.benchmark.min_norm_table import SolverRow
from tests.benchmark.scaling import ScalingRow
from tests.benchmark.sides import AGAINST, FLOOR, SIDES
from tests.benchmark.strategies import StrategyRow
from tests.benchmark.timing import Row
from tinymtl import files
from tinymtl.text import ruled

# Okabe & Ito's colours (without the yellow, which is too light for a dot), told apart by shape as well.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
MARKERS = ("D", "o", "s", "^", "v", "P", "X", "*", "<", ">", "d", "h")


def step_table(rows: Sequence[Row]) -> str:
    """A line per step: the floor's milliseconds, then each side's ratio to it; tinymtl's to another checkout's last."""
    present = {row.side for row in rows}
    sides = [name for name in SIDES if name in present and name != FLOOR]
    found = {(row.threads, row.workload, row.strategy, row.optimizer, row.side): row for row in rows}
    steps = list(dict.fromkeys((r.threads, r.workload, r.strategy, r.optimizer) for r in rows))

    def cell(row: Row | None) -> str:
        if row is None:
            return "–"
        return three_digits(row.ratio) if row.status == "timed" else row.status

    lines = []
    for step in steps:
        threads, workload, strategy, optimizer = step
        floor = found.get((*step, FLOOR))
        time = three_digits(floor.milliseconds) if floor and floor.status == "timed" else "–"
        ratios = [cell(found.get((*step, side))) for side in sides]
        if AGAINST in present:
            ratios.append(against(found.get((*step, "tinymtl"))))
        lines.append([f"{workload} {strategy}, {optimizer}", str(threads), time, *ratios])
    last = ["tinymtl / against (quartiles)"] if AGAINST in present else []
    table = ruled([["step", "threads", "floor ms", *sides, *last], *lines])
    notes = [
        f"{r.workload} {r.strategy}, {r.optimizer}: {r.side} {r.status}: {r.note}" for r in rows if r.note
    ]
    got = [row.cores for row in rows if row.status == "timed"]
    if got and median(got) < 0.9:
        share = f"{median(got):.2f} of a core"
        notes.append(f"the machine was busy: the steps got {share}; --clock cpu leaves the wait out")
    return "\n".join([table, *notes])


def against(row: Row | None) -> str:
    """The ratio of a row to the other checkout's, with a digit more than the rest: a few percent are what it is for."""
    if row is None or math.isnan(row.against):
        return "–"
    return f"{row.against:.3f} ({row.against_low:.3f}–{row.against_high:.3f})"


def three_digits(value: float) -> str:
    """Enough digits to compare by, and no exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def solver_table(rows: Sequence[SolverRow]) -> str:
    """A line per solver: microseconds and the worst relative gap at each K."""
    sizes = list(dict.fromkeys(row.tasks for row in rows))
    names = list(dict.fromkeys(row.solver for row in rows))
    found = {(row.solver, row.tasks): row for row in rows}
    lines = [
        [name, *(f"{found[name, k].microseconds:.1f} / {found[name, k].gap:.0e}" for k in sizes)]
        for name in names
    ]
    table = ruled([["W5: µs / worst gap", *(f"K = {k}" for k in sizes)], *lines])
    ratios = [
        f"{row.solver} / {AGAINST} at K = {row.tasks}: {row.against:.3f}"
        for row in rows
        if not math.isnan(row.against) and not row.solver.startswith(AGAINST)
    ]
    return "\n".join([table, *ratios])


def gpu_table(device: str, rows: Sequence[GpuRow]) -> str:
    """A line per side, under the device's name."""
    lines = [[row.side, f"{row.milliseconds:.3f}", f"{row.ratio:.2f}"] for row in rows]
    return ruled([[device, "ms per step", "of tinymtl averaged"], *lines])


def memory_table(rows: Sequence[MemoryRow]) -> str:
    """A line per side: peak memory in MB of each workload and strategy."""
    steps = list(dict.fromkeys((row.workload, row.strategy) for row in rows))
    sides = list(dict.fromkeys(row.side for row in rows))
    found = {(row.side, row.workload, row.strategy): f"{row.megabytes:.0f}" for row in rows}
    lines = [[side, *(found.get((side, *step), "–") for step in steps)] for side in sides]
    return ruled([["peak memory, MB", *(f"{w} {s}" for w, s in steps)], *lines])


def import_table(rows: Sequence[ImportRow]) -> str:
    """A line per module."""
    lines = [
        [r.module, f"{r.milliseconds:.0f}", f"{r.beyond_python:.0f}", f"{r.beyond_numpy:.0f}"] for r in rows
    ]
    return ruled([["import", "ms", "beyond python", "beyond numpy"], *lines])


def scaling_table(rows: Sequence[ScalingRow]) -> str:
    """A line per strategy: cost relative to the averaged step of the same side, at each K."""
    sizes = list(dict.fromkeys(row.tasks for row in rows))
    found = {(row.side, row.strategy, row.group_size, row.tasks): row for row in rows}
    lines = []
    for side, strategy, size in sorted({key[:3] for key in found}):
        name = f"{side} {strategy}" + (f" by {size}" if size else "")
        cells = [found.get((side, strategy, size, tasks)) for tasks in sizes]
        lines.append([name, *("–" if row is None else three_digits(row.ratio) for row in cells)])
    return ruled([["cost / averaged", *(f"K = {k}" for k in sizes)], *lines])


def strategy_table(rows: Sequence[StrategyRow]) -> str:
    """A line per strategy and K: passes, time, the ratio to its template's plainest step, and TorchJD's to it."""
    lines = [
        [
            f"K = {row.tasks}",
            f"{row.strategy} {row.at}".rstrip(),
            row.passes,
            f"{row.milliseconds:.2f}",
            f"{row.ratio:.3f} of {row.of}",
            "–" if math.isnan(row.torchjd) else f"{row.torchjd:.2f}",
        ]
        for row in rows
    ]
    return ruled([["", "strategy", "passes", "ms", "cost", "torchjd / it"], *lines])


def csv_text(rows: Sequence[Any]) -> str:
    """Dataclass rows as CSV."""
    text = io.StringIO()
    records = [asdict(row) for row in rows]
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def write(path: Path, content: str | bytes) -> None:
    """Write into a directory that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, content)


def picture(rows: Sequence[Row]) -> bytes:
    """A PNG: a line per step, a dot per side at its ratio to the floor, whiskers over the quartiles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    timed = [row for row in rows if row.status == "timed"]
    settings = sorted({row.threads for row in timed})
    steps = list(dict.fromkeys((row.workload, row.strategy, row.optimizer) for row in timed))
    sides = [name for name in SIDES if any(row.side == name for row in timed)]
    figure = Figure(figsize=(6 * len(settings) + 2.5, 0.5 * len(steps) + 2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for panel, threads in zip(panels, settings, strict=True):
        panel.axvline(1.0, color="0.6", linewidth=1)
        for number, side in enumerate(sides):
            own = [row for row in timed if row.side == side and row.threads == threads]
            ratios = [row.ratio for row in own]
            spread = [[row.ratio - row.low for row in own], [row.high - row.ratio for row in own]]
            dodge = 0.6 * (number / max(1, len(sides) - 1) - 0.5)  # the sides of a step side by side
            heights = [dodge + steps.index((row.workload, row.strategy, row.optimizer)) for row in own]
            panel.errorbar(
                ratios, heights, xerr=spread, linestyle="none", label=side, markersize=6, elinewidth=1,
                color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
                markerfacecolor="none" if number >= len(COLOURS) else None,
            )  # fmt: skip
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_title(f"{threads} thread{'s' if threads > 1 else ''}")
        panel.set_xlabel("time of a step, as a multiple of hand-written NumPy's (log scale)")
        for line in range(1, len(steps)):
            panel.axhline(line - 0.5, color="0.9", linewidth=1)
    panels[0].set_yticks(range(len(steps)), [f"{w} {s}, {o}" for w, s, o in steps])
    panels[0].set_ylim(len(steps) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return png_of(figure)


def scaling_picture(rows: Sequence[ScalingRow]) -> bytes:
    """A PNG: above, the strategies' cost against K; below, the grouped step's against the group size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = list(dict.fromkeys(row.side for row in rows))
    figure = Figure(figsize=(5 * len(sides) + 0.5, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(sides), sharey="row", squeeze=False)
    for column, side in enumerate(sides):
        above, below = panels[0][column], panels[1][column]
        own = [row for row in rows if row.side == side]
        strategies = list(dict.fromkeys(row.strategy for row in own if row.strategy not in ("averaged", "grouped")))
        for number, strategy in enumerate(strategies):
            line = [row for row in own if row.strategy == strategy]
            style = {"color": COLOURS[number], "marker": MARKERS[number], "label": strategy}
            above.plot([row.tasks for row in line], [row.ratio for row in line], **style)
        for number, tasks in enumerate(dict.fromkeys(row.tasks for row in own)):
            line = [row for row in own if row.strategy == "grouped" and row.tasks == tasks]
            style = {"color": COLOURS[number], "marker": MARKERS[number], "label": f"{tasks} tasks"}
            below.plot([row.group_size for row in line], [row.ratio for row in line], **style)
            first = line[0]
            below.plot(
                [row.group_size for row in line], [first.ratio / row.group_size for row in line],
                color=COLOURS[number], linestyle=":", linewidth=1,
            )  # fmt: skip
        above.set_title(side)
        above.set_xlabel("tasks")
        below.set_xlabel("tasks in a group, s (dotted: 1/s)")
        for panel in (above, below):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xticks(sorted({row.tasks for row in own} | ({1} if panel is below else set())))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
            panel.grid(color="0.9")
            panel.legend(frameon=False)
    for row in panels:
        row[0].set_ylabel("cost, as a multiple of the averaged step's")
    return png_of(figure)


def png_of(figure: Any) -> bytes:
    """The figure's PNG."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=130)
    return png.getvalue()
