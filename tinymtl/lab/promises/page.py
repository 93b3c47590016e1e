"""What was found, written down: the table, the proofs, the counterexamples, and the picture of the table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tinymtl.lab.promises.proofs import ELSEWHERE, PROOFS
from tinymtl.lab.promises.properties import PROPERTIES, SUB, Seen, pair
from tinymtl.lab.promises.rules import STEPS, Answer, Point, Rule
from tinymtl.lab.promises.search import GRIDS, Found, asked, is_telling, search, worst
from tinymtl.steps import STRATEGIES
from tinymtl.tracing.numerals import MINUS

DRAWS = 1000  #: For what is not proved.
QUICK = GRIDS[:2], 30  #: Sizes and draws for what is proved: a look whether the proof is one.
PAST = f"after {STEPS:,} steps with "

Row = dict[str, Found]


def promises(name: str, draws: int = DRAWS) -> Row | None:
    """Every property of a strategy of the registry, searched; None if it has no one v for all tasks.

    Parameters
    ----------
    name : str
        In `tinymtl.STRATEGIES`.
    draws : int, default 1,000
        For what is not proved.

    Examples
    --------
    >>> found = promises("averaged", draws=10)
    >>> {name: cell(name, found[name]) for name in ("linear", "raises no loss")}
    {'linear': '✓', 'raises no loss': '✗'}
    """
    rule = Rule(STRATEGIES[name])
    if not rule.has_v:
        return None
    reasons = PROOFS.get(name, {}) | ELSEWHERE.get(name, {})
    sizes, few = QUICK
    row = search(rule, [p for p in PROPERTIES if p in reasons], few, sizes)
    row |= search(rule, [p for p in PROPERTIES if p not in reasons], draws)
    return {p: replace(row[p], reason=reasons.get(p, "")) for p in PROPERTIES}


def cell(name: str, found: Found) -> str:
    """✓ (in brackets if not proved) or ✗: with 3 for a counterexample of three tasks, with ° for a stationary one."""
    if found.seen is None:
        return "✓" if found.reason else "(✓)"
    here = found.seen.answers[0]
    tasks = len(here.weights)
    return "✗" + (SUB[tasks - 1] if tasks > 2 else "") + ("" if is_telling(name, here) else "°")


# ------------------------------------------------------------ a counterexample as a line


def written(seen: Seen) -> str:
    """The point, what the strategy answers, and the violated inequality.

    >>> import tinymtl as tm
    >>> print(written(promises("averaged", draws=0)["raises no loss"].seen))
    g₁ = (2, 1), g₂ = (−1, 0): w = (0.5, 0.5), v = (0.5, 0.5); g₂·v = −0.5 < 0
    """
    at = seen.answers[0].at
    words = [_named(at, "g" if at.trunk is None else "D", "L")]
    if at.trunk is not None:
        words.append("∂Z/∂θ = " + ", ".join(map(pair, at.trunk)))
    if at.past is not None:
        words.append(PAST + ("these gradients" if at.was_there else _named(at.past, "γ", "Λ")))
    text = f"{', '.join(words)}: {_answered(seen.answers[0])}"
    for answer in seen.answers[1:]:
        text += f"; {seen.change if answer is seen.answers[1] else 'c + c′'}: {_answered(answer)}"
    return f"{text}; {seen.inequality()}"


def _named(at: Point, gradient: str, loss: str) -> str:
    words = [f"{gradient}{SUB[k]} = {pair(g)}" for k, g in enumerate(at.gradients)]
    return ", ".join(words + [f"{loss} = {pair(at.losses)}"] * bool((at.losses != 1.0).any()))


def _answered(answer: Answer) -> str:
    return f"w = {pair(answer.weights)}, v = {pair(answer.v)}"


def read(line: str) -> Point:
    """The point of a line that `written` made.

    >>> read("g₁ = (2, 1), g₂ = (−1, 0), L = (1, 2): w = …").losses
    array([1., 2.])
    """
    head = line.split(": ")[0]

    def rows(name: str) -> list[list[float]]:
        """The vectors after each `name`."""
        lists = "".join(re.findall(rf"{name} = ((?:(?:, )?\([^)]*\))+)", head))
        return [[float(x) for x in row.replace(MINUS, "-").split(",")] for row in re.findall(r"\((.*?)\)", lists)]

    def point(gradient: str, loss: str) -> Point:
        """Gradients and losses by their letters."""
        gradients, losses = np.array(rows(f"{gradient}[₁-₉]")), rows(loss)
        return Point(gradients, np.array(losses[0]) if losses else np.ones(len(gradients)))

    at, trunk = point("[gD]", "L"), rows("∂Z/∂θ")
    if trunk:
        at = replace(at, trunk=np.array(trunk))
    if PAST in head:
        at = replace(at, past=point("γ", "Λ") if "γ" in head else at)
    return at


def recomputed(name: str, property_name: str, line: str) -> str:
    """What a strategy answers today at the point of a line, as such a line; "" if it no longer breaks the property."""
    rule = Rule(STRATEGIES[name])
    seen = worst(rule, PROPERTIES[property_name], asked(rule, read(line)))
    return written(seen) if seen is not None and seen.excess > 0.0 else ""


# ------------------------------------------------------------ the page


def about(row: Row) -> Iterator[str]:
    """A strategy's lines: for each property the proof, the draws, or the counterexample."""
    for name, found in row.items():
        if found.seen is None:
            yield f"{cell(name, found)} **{name}**: {found.reason or f'no counterexample in {found.draws:,} draws.'}"
        else:
            elsewhere = f". Elsewhere: {found.reason}" if found.reason else ""
            yield f"{cell(name, found)} **{name}**: {written(found.seen)}{elsewhere}"


def table(rows: Mapping[str, Row | None]) -> Iterator[str]:
    """The lines of the Markdown table."""
    yield "| | " + " | ".join(PROPERTIES) + " |"
    yield "|---" * (len(PROPERTIES) + 1) + "|"
    for name, row in rows.items():
        cells = ["–"] * len(PROPERTIES) if row is None else [cell(p, found) for p, found in row.items()]
        yield f"| {STRATEGIES[name].label} | " + " | ".join(cells) + " |"


def page(rows: Mapping[str, Row | None]) -> str:
    """The part of lessons/strategies.md that the machine writes."""
    lines = ["## The properties", ""]
    for p, holds in PROPERTIES.items():
        lines.append(f"- **{p}**: {' '.join((holds.__doc__ or '').split())}")
    lines += ["", "## The table", "", *table(rows), "", "## Reasons and counterexamples", ""]
    for name, row in rows.items():
        if row is not None:
            lines += [f"### {STRATEGIES[name].label} (`{name}`)", "", *(f"- {line}" for line in about(row)), ""]
    return "\n".join(lines)


#: Where the machine's part of the page begins and ends.
BEGIN, END = "<!-- from here on by `python -m tinymtl.lab.promises.rebuild` -->", "<!-- up to here -->"


def put_into(text: str, made: str) -> str:
    """The page with another part by the machine."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n{END}{rest.split(END)[1]}"


# ------------------------------------------------------------ the picture


def draw(rows: Mapping[str, Row | None]) -> Any:
    """The table as a Matplotlib figure: ✓ on white, ✗ on grey, told apart without colour."""
    from matplotlib.figure import Figure

    shown = {name: row for name, row in rows.items() if row is not None}
    figure = Figure(figsize=(9.6, 1.9 + 0.34 * len(shown)), layout="constrained")
    ax = figure.add_subplot()
    for i, row in enumerate(shown.values()):
        for j, (p, found) in enumerate(row.items()):
            broken = found.seen is not None
            square = {"facecolor": "0.78" if broken else "white", "edgecolor": "0.55", "linewidth": 0.8}
            ax.add_patch(_square(j, i, **square))
            ax.text(j, i, cell(p, found), ha="center", va="center", fontsize=12, color="black")
    ax.set_xlim(-0.5, len(PROPERTIES) - 0.5)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(PROPERTIES)), list(PROPERTIES), rotation=35, ha="left", rotation_mode="anchor", fontsize=11)
    ax.set_yticks(range(len(shown)), [STRATEGIES[name].label for name in shown], fontsize=11)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlabel(
        "✓ proved   (✓) not refuted   ✗ refuted with two tasks, ✗₃ with three, ✗₄ with four (grey)\n"
        "° refuted only at Pareto-stationary points",
        fontsize=11,
    )
    return figure


def _square(x: int, y: int, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, **style)
