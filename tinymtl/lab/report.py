"""A comparison in words: the table's cells, how to read it, and which differences are noise."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from tinymtl.lab.runs import MEASURE_EVERY, Result
from tinymtl.lab.statistics import Interval, t_quantile
from tinymtl.ties import nudged

WIDTH = 100


def filled(*sentences: str) -> str:
    """The sentences as one paragraph of at most 100 columns."""
    return textwrap.fill(" ".join(sentences), WIDTH)


def spread(values: Any, digits: int, sign: str = "") -> str:
    """Mean ± standard deviation over seeds; the mean alone for one seed; a dash if it is defined for none.

    >>> spread([0.5, 0.7], 3), spread([-0.01], 1, sign="+")
    ('0.600 ± 0.141', '+0.0')
    """
    values = np.asarray(values)
    values = values[~np.isnan(values)]
    if not len(values):
        return "-"
    mean = f"{nudged(np.mean(values)):{sign}z.{digits}f}"  # z: never "-0.0"
    return mean if len(values) == 1 else f"{mean} ± {nudged(np.std(values, ddof=1)):.{digits}f}"


def conflict(results: list[Result], two_tasks: bool) -> str:
    """The share of conflicting steps; with more than two tasks also that of conflicting pairs."""
    shares = [[result.conflicting_share for result in results]]
    shares += [] if two_tasks else [[result.conflicting_pairs_share for result in results]]
    return "/".join(f"{nudged(100 * float(np.mean(share))):.0f}" for share in shares) + " %"  # type: ignore[arg-type]


def legend(seeds: int, regression: bool) -> str:
    """How to read the tables of a comparison with so many seeds, with or without regression tasks."""
    ways = [
        "How to read this.",
        f"Mean ± standard deviation over {seeds} seeds." if seeds > 1 else "One seed.",
        "A seed draws the initial weights and the order of the minibatches, the same for every strategy; the data "
        "stay. Tested are the parameters of the epoch that was best on validation.",
        "Δ single: mean relative change of the tasks against single-task nets of the same seed; positive is better."
        + " Regression tasks enter by their loss." * regression,
        "conflict: share of steps in which at least one pair of task gradients has a negative inner product (after "
        f"the slash: share of pairs); gradients of the trunk's parameters, every {MEASURE_EVERY}th step looked at.",
        "passes: trunk forwards + backwards per minibatch. s: seconds in training steps.",
        "alternating: one Adam memory of the trunk (shared) or one for each task (per task).",
        "Alternating and grouped steps update the trunk several times per minibatch, the others once.",
    ]
    if seeds > 1:
        ways.append(
            f"Noise: 95 % t intervals of differences paired by seed, not corrected for their number; with n = "
            f"{seeds} the factor is t = {t_quantile(seeds - 1):.1f}. Inside the noise means that these "
            "seeds cannot tell, not that the strategies are equal."
        )
    return filled(*ways)


def noise_sentence(differences: dict[str, Interval], reference: str) -> str:
    """Which differences from a reference are inside the noise (their interval holds 0), and which outside.

    >>> noise_sentence({"MGDA": Interval(0.2, 1.5), "MGDA-UB": Interval(-3.0, 1.0)}, "the averaged loss")
    'Against the averaged loss, inside the noise: MGDA +0.2 ± 1.5; outside: MGDA-UB -3.0 ± 1.0 (worse).'
    """
    inside, outside = [], []
    for label, interval in differences.items():
        text = f"{label} {nudged(interval.mean):+z.1f}"
        text += "" if interval.half_width is None else f" ± {nudged(interval.half_width):.1f}"
        if interval.holds_zero:
            inside.append(text)
        else:
            outside.append(f"{text} ({'better' if interval.mean > 0 else 'worse'})")
    if not outside:
        return f"Against {reference}, every difference is inside the noise: {', '.join(inside)}."
    if not inside:
        return f"Against {reference}, every difference is outside the noise: {', '.join(outside)}."
    return f"Against {reference}, inside the noise: {', '.join(inside)}; outside: {', '.join(outside)}."
