"""Figures: learning curves, and the comparison of strategies. Colours of Okabe & Ito, and a marker per strategy.

Nothing here touches pyplot: a figure is made as an object, and every function draws into the axes it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymtl.lab.history import History
from tinymtl.lab.statistics import mean_interval
from tinymtl.lab.strategies import SINGLE, label_of

if TYPE_CHECKING:
    from tinymtl.lab.comparison import Comparison

FONT = 11

#: Colour and marker of each strategy (Okabe & Ito 2008); the markers tell them apart in print.
STYLES = {
    SINGLE: ("#000000", "|"),
    "averaged": ("#0072B2", "o"),
    "mgda": ("#D55E00", "s"),
    "mgda-ub": ("#E69F00", "D"),
    "alternating-shared": ("#56B4E9", "^"),
    "alternating": ("#009E73", "v"),
    "grouped": ("#CC79A7", "P"),
}
DASHES = {
    SINGLE: ":",
    "averaged": "-",
    "mgda": "--",
    "mgda-ub": "-.",
    "alternating-shared": (0, (1, 1)),
    "alternating": (0, (6, 1)),
    "grouped": (0, (3, 1, 1, 1, 1, 1)),
}

QUANTITIES = {
    "train_losses": "training loss",
    "validation_losses": "validation loss",
    "validation_metrics": "validation metric (accuracy or R²)",
}


def learning_curves(
    ax: Any, histories: Mapping[str, Sequence[History]], task: str, quantity: str = "validation_metrics"
) -> Any:
    """One task's learning curve per strategy: the mean over seeds, and the range of the seeds as a band.

    Parameters
    ----------
    ax : Matplotlib axes
    histories : {strategy name: one History per seed}
    task : str
    quantity : "validation_metrics" (default), "validation_losses" or "train_losses"

    Returns
    -------
    The axes.
    """
    for strategy, runs in histories.items():
        curves = [run.curve(quantity, task) for run in runs]
        epochs = min((found for found, _ in curves), key=len)  # an early stop may have ended some runs before others
        values = np.array([curve[: len(epochs)] for _, curve in curves])
        colour, marker = STYLES.get(strategy, ("#000000", "x"))
        every = max(1, len(epochs) // 8)
        ax.plot(
            epochs,
            values.mean(axis=0),
            color=colour,
            linestyle=DASHES.get(strategy, "-"),
            marker=marker,
            markevery=every,
            label=label_of(strategy),
        )
        ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    ax.set_xlabel("epochs", fontsize=FONT)
    ax.set_ylabel(QUANTITIES[quantity], fontsize=FONT)
    ax.set_title(task, fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    ax.legend(fontsize=FONT, frameon=False)
    return ax


def deltas(ax: Any, comparison: Comparison, data: str) -> Any:
    """Δ against single-task nets (the line at 0): each seed as a small point, the mean and its 95 % interval.

    Returns the axes.
    """
    strategies = [name for name in comparison.strategies(data) if name != SINGLE]
    ax.axvline(0, color="black", linestyle="--", linewidth=1.5)
    for row, strategy in enumerate(strategies):
        values = comparison.deltas(data, strategy)
        interval = mean_interval(values)
        colour, marker = STYLES[strategy]
        ax.errorbar(
            interval.mean, row, xerr=interval.half_width, color=colour, marker=marker, markersize=10, capsize=4, lw=1.5
        )
        ax.plot(values, np.full(len(values), row + 0.28), ".", color=colour, markersize=8)
    labels = [f"{label_of(name)}\n{comparison.passes(data, name)} passes" for name in strategies]
    ax.set_yticks(range(len(strategies)), labels, fontsize=FONT)
    ax.set_ylim(len(strategies) - 0.4, -0.6)
    ax.set_xlabel("Δ against single-task nets, % (right is better)", fontsize=FONT)
    ax.tick_params(labelsize=FONT)
    ax.grid(axis="x", alpha=0.3)
    return ax


def task_metrics(ax: Any, comparison: Comparison, data: str) -> Any:
    """Each task's metric on the test part: a marker per strategy (mean over seeds, bar: lowest to highest seed).

    The black line over each task is its single-task net, the grey band behind it the range of its seeds.
    Returns the axes.
    """
    tasks = comparison.data[data].tasks
    strategies = [name for name in comparison.strategies(data) if name != SINGLE]
    single = comparison.metrics(data, SINGLE)
    for k in range(len(tasks)):
        ax.fill_between([k - 0.42, k + 0.42], single[:, k].min(), single[:, k].max(), color="0.85", linewidth=0)
        ax.plot([k - 0.42, k + 0.42], [single[:, k].mean()] * 2, color="black", linestyle="--", linewidth=1.5)
    offsets = np.linspace(-0.32, 0.32, len(strategies)) if len(strategies) > 1 else np.zeros(1)
    for strategy, offset in zip(strategies, offsets, strict=True):
        values = comparison.metrics(data, strategy)
        mean = values.mean(axis=0)
        reach = np.abs(np.stack([values.min(axis=0), values.max(axis=0)]) - mean)
        colour, marker = STYLES[strategy]
        ax.errorbar(
            np.arange(len(tasks)) + offset, mean, yerr=reach, color=colour, marker=marker, linestyle="none", lw=1.2
        )
    names = [task.name.replace("_", " ") for task in tasks]
    slanted = len(tasks) > 3
    ax.set_xticks(range(len(tasks)), names, rotation=30 * slanted, ha="right" if slanted else "center")
    kinds = {"R²" if task.kind == "regression" else "accuracy (share of rows)" for task in tasks}
    ax.set_ylabel(" or ".join(sorted(kinds)), fontsize=FONT)
    ax.tick_params(labelsize=FONT)
    ax.grid(axis="y", alpha=0.3)
    return ax


def comparison_figure(comparison: Comparison) -> Any:
    """The figure of `tinymtl compare`: for each data set a row, Δ on the left and the tasks one by one on the right."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = len(comparison.data)
    figure = Figure(figsize=(13, 0.8 + 4.4 * rows), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.subplots(rows, 2, squeeze=False, width_ratios=[1, 1.15])
    for (left, right), (data, facts) in zip(axes, comparison.data.items(), strict=True):
        deltas(left, comparison, data)
        task_metrics(right, comparison, data)
        seeds = len(comparison.of(data, SINGLE))
        left.set_title(f"{data} ({len(facts.tasks)} tasks): all tasks together", fontsize=FONT + 1)
        right.set_title(f"{data}: task by task", fontsize=FONT + 1)
    figure.suptitle(
        f"Dashed: single-task nets. Left: mean, its 95 % t interval, and {seeds} seeds as dots. "
        "Right: mean and range of the seeds.\nPasses: trunk forwards + backwards per minibatch.",
        fontsize=FONT,
    )
    return figure
