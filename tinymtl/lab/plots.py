"""Figures: learning curves, and what a comparison found. A colour, a marker and a dash for each strategy.

Nothing here touches pyplot: a figure is made as an object, and every function draws into the axes it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinymtl.backend import Array
from tinymtl.data import TaskSpec
from tinymtl.lab.history import History
from tinymtl.lab.statistics import mean_interval
from tinymtl.lab.strategies import SINGLE, label_of
from tinymtl.steps import STRATEGIES

FONT = 11

#: Okabe & Ito (2008) without the yellow, which is too light for a line, and with a wine red for it.
COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#882255")
SHAPES = ("o", "s", "D", "^", "v", "P", ">", "<", "d", "*", "p")
FILLS = ("full", "white", "half")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (6, 2, 1, 2, 1, 2)))


class Style(NamedTuple):
    """How a strategy is drawn: in print and to a colour-blind eye, its marker alone tells it from the others."""

    colour: str
    marker: str
    fill: str
    dash: Any

    @classmethod
    def at(cls, position: int) -> Style:
        """The style of the strategy at a position of the registry, each of 33 with a shape and fill of its own.

        The numbers of colours, shapes and dashes have no common divisor: two strategies that share one of them
        differ in the others.

        >>> Style.at(0).marker, Style.at(11).marker, Style.at(0).fill, Style.at(11).fill
        ('o', 'o', 'full', 'white')
        """
        return cls(
            COLOURS[position % len(COLOURS)],
            SHAPES[position % len(SHAPES)],
            FILLS[position // len(SHAPES) % len(FILLS)],
            DASHES[position % len(DASHES)],
        )

    @property
    def marks(self) -> dict[str, Any]:
        """The marker, as Matplotlib's functions take it; no line is seen through its white face."""
        face = {"markerfacecolor": "white" if self.fill == "white" else self.colour, "markerfacecoloralt": "white"}
        shape = {"marker": self.marker, "fillstyle": "bottom" if self.fill == "half" else "full"}
        return {"color": self.colour, "markeredgewidth": 1.3} | shape | face


def styles(strategies: Iterable[str]) -> dict[str, Style]:
    """A style for each strategy by its position in the registry; one's own come after it, in the order given.

    >>> styles(["MyStep", "averaged"])["averaged"] == Style.at(0)
    True
    """
    names = list(strategies)
    order = dict.fromkeys([*STRATEGIES, *(name for name in names if name != SINGLE)])
    found = {name: Style.at(position) for position, name in enumerate(order)}
    return {name: Style("#000000", "|", "full", ":") if name == SINGLE else found[name] for name in names}


def plain(text: str) -> str:
    """A name as it is: two dollar signs in it do not make a formula."""
    return text.replace("$", r"\$")


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
    style = styles(histories)
    for number, (strategy, runs) in enumerate(histories.items()):
        curves = [run.curve(quantity, task) for run in runs]
        epochs = min((found for found, _ in curves), key=len)  # an early stop may have ended some runs before others
        values = np.array([curve[: len(epochs)] for _, curve in curves])
        every = max(1, len(epochs) // 8)
        ax.plot(
            epochs,
            values.mean(axis=0),
            linestyle=style[strategy].dash,
            markevery=(number * every // len(histories), every),  # not all at the same epochs
            label=plain(label_of(strategy)),
            **style[strategy].marks,
        )
        low, high = values.min(axis=0), values.max(axis=0)
        ax.fill_between(epochs, low, high, color=style[strategy].colour, alpha=0.15, linewidth=0)
    ax.set_xlabel("epochs", fontsize=FONT)
    ax.set_ylabel(QUANTITIES[quantity], fontsize=FONT)
    ax.set_title(plain(task), fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    many = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if len(histories) > 8 else {}
    ax.legend(fontsize=FONT, frameon=False, handlelength=4, **many)
    return ax


def deltas(ax: Any, found: Mapping[str, Array], passes: Mapping[str, str]) -> Any:
    """Δ against single-task nets (the line at 0): each seed as a small point, the mean and its 95 % interval.

    Parameters
    ----------
    ax : Matplotlib axes
    found : {strategy name: Δ in per cent, (seeds,)}
    passes : {strategy name: trunk passes per minibatch, such as "1+2"}

    Returns
    -------
    The axes.
    """
    ax.axvline(0, color="black", linestyle="--", linewidth=1.5)
    style = styles(found)
    for row, (strategy, values) in enumerate(found.items()):
        values = values[~np.isnan(values)]
        if not len(values):  # defined for no seed
            continue
        interval = mean_interval(values)
        ax.errorbar(
            interval.mean, row, xerr=interval.half_width, markersize=10, capsize=4, lw=1.5, **style[strategy].marks
        )
        ax.plot(values, np.full(len(values), row + 0.28), ".", color=style[strategy].colour, markersize=8)
    labels = [f"{plain(label_of(name))}\n{passes[name]} passes" for name in found]
    ax.set_yticks(range(len(found)), labels, fontsize=FONT)
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.set_xlabel("Δ against single-task nets, % (right is better)", fontsize=FONT)
    ax.tick_params(labelsize=FONT)
    ax.grid(axis="x", alpha=0.3)
    return ax


def task_metrics(ax: Any, tasks: Sequence[TaskSpec], found: Mapping[str, Array], single: Array) -> Any:
    """Each task's metric on the test part: a marker per strategy (mean over seeds, bar: lowest to highest seed).

    The black line over each task is its single-task net, the grey band behind it the range of its seeds.

    Parameters
    ----------
    ax : Matplotlib axes
    tasks : K tasks
    found : {strategy name: metrics, (seeds, K)}
    single : (seeds, K)
        The single-task nets'.

    Returns
    -------
    The axes.
    """
    for k in range(len(tasks) if len(single) else 0):
        ax.fill_between([k - 0.42, k + 0.42], single[:, k].min(), single[:, k].max(), color="0.85", linewidth=0)
        ax.plot([k - 0.42, k + 0.42], [single[:, k].mean()] * 2, color="black", linestyle="--", linewidth=1.5)
    offsets = np.linspace(-0.32, 0.32, len(found)) if len(found) > 1 else np.zeros(1)
    style = styles(found)
    for (strategy, values), offset in zip(found.items(), offsets, strict=True):
        mean = values.mean(axis=0)
        reach = np.abs(np.stack([values.min(axis=0), values.max(axis=0)]) - mean)
        at = np.arange(len(tasks)) + offset
        ax.errorbar(at, mean, yerr=reach, linestyle="none", lw=1.2, markersize=7, **style[strategy].marks)
    ax.vlines(np.arange(1, len(tasks)) - 0.5, 0, 1, transform=ax.get_xaxis_transform(), color="0.9", linewidth=0.8)
    ax.set_xlim(-0.5, len(tasks) - 0.5)
    names = [plain(task.name.replace("_", " ")) for task in tasks]
    slanted = len(tasks) > 3
    ax.set_xticks(range(len(tasks)), names, rotation=30 * slanted, ha="right" if slanted else "center")
    kinds = {"R²" if task.kind == "regression" else "accuracy (share of rows)" for task in tasks}
    ax.set_ylabel(" or ".join(sorted(kinds)), fontsize=FONT)
    ax.tick_params(labelsize=FONT)
    ax.grid(axis="y", alpha=0.3)
    return ax
