"""A trace as a table: for a terminal in at most 100 columns, and as HTML."""

from __future__ import annotations

from html import escape

import numpy as np

from tinymtl.backend import Array
from tinymtl.text import aligned
from tinymtl.ties import nudged, rounding
from tinymtl.tracing.explain import sentences
from tinymtl.tracing.numerals import clean, clip, degrees, listing, short, shorten, vector
from tinymtl.tracing.record import Record, Turn

WIDTH = 100
GAP = "…"


def text(trace: Record) -> str:
    """The trace in at most 100 columns; of many tasks or turns, the first and the last."""
    trace = trace.settled()
    lines = [*_opening(trace)]
    several = len(trace.turns) > 1
    for i in some(len(trace.turns), 4):
        if i is None:
            lines += ["", f"{GAP} {len(trace.turns) - 4} more turns {GAP}"]
            continue
        turn = trace.turns[i]
        if several:
            lines += ["", clip(turn_title(trace, i), WIDTH)]
        lines += ["", *_aligned(trace, turn)]
    if several:
        lines += ["", "over all turns", "", *_totals(trace)]
    lines += ["", *_gram(trace)]
    lines += [clip(line, WIDTH) for line in facts(trace)]
    return "\n".join(line.rstrip() for line in lines)


def some(count: int, room: int) -> list[int | None]:
    """The indices 0 … count−1 if they fit into `room`; otherwise the first and last ones with None between."""
    if count <= room:
        return list(range(count))
    first = (room + 1) // 2
    return [*range(first), None, *range(count - room + first, count)]


def _opening(trace: Record) -> list[str]:
    tasks = "1 task" if len(trace.task_names) == 1 else f"{len(trace.task_names)} tasks"
    if trace.x_shape is None:
        batch = "no data (an analytic problem)"
    else:
        rows = "1 row" if trace.x_shape[0] == 1 else f"{trace.x_shape[0]} rows"
        batch = f"batch of {rows}, x {trace.x_shape}"
    return [
        clip(f"One step of {trace.strategy} with {trace.optimizer}", WIDTH),
        f"{tasks}, {batch}, {trace.dtype}",
        *_gaps(trace),
    ]


def _gaps(trace: Record) -> list[str]:
    """How many labels there were, and who had none; nothing if all rows were labelled."""
    if trace.labelled is None:
        return []
    counts = listing([f"{clean(name)} {count}" for name, count in trace.labelled.items() if count])
    absent = [clean(name) for name, count in trace.labelled.items() if not count]
    left_out = f"; left out without a label: {listing(absent)}" if absent else ""
    return [clip(f"labelled rows: {counts}{left_out}", WIDTH)]


def turn_title(trace: Record, i: int) -> str:
    """turn 2 of 2: task right only."""
    turn = trace.turns[i]
    whose = "all tasks" if len(turn.group) == len(trace.task_names) else clean(turn.label)
    return f"turn {i + 1} of {len(trace.turns)}: {whose}"


# ------------------------------------------------------------ the table of numbers


def headings(trace: Record) -> list[str]:
    """The columns' names."""
    through = ["by trunk", "by head"] if trace.heads_have_parameters else ["by trunk"]
    return ["loss", "‖gₖ‖ Z", "‖gₖ‖ θ", "weight", "gₖ·v", *through, "actual", "gap"]


def rows(trace: Record, turn: Turn) -> tuple[Array, Array]:
    """The table's numbers, a row for each task, NaN where there is nothing to say; and how far each may be rounding."""
    nothing, exact = np.full_like(turn.losses, np.nan), np.zeros_like(turn.losses)
    norms, descent = (turn.norms, turn.descent) if turn.v.size else (nothing, nothing)
    by_head = [turn.predicted_head] if trace.heads_have_parameters else []
    changes = [turn.predicted_trunk, *by_head, turn.actual, turn.gap]
    numbers = [turn.losses, turn.norms_z, norms, turn.weights, descent, *changes]
    noise = [exact, exact, exact, exact, turn.descent_noise, *[turn.noise] * len(changes)]
    return np.stack(numbers, axis=1), np.stack(noise, axis=1)


def _aligned(trace: Record, turn: Turn) -> list[str]:
    return _fit(trace, headings(trace), *rows(trace, turn))


def _totals(trace: Record) -> list[str]:
    columns = ["predicted", "actual", "gap"]
    total = [sum(getattr(turn, name) for turn in trace.turns) for name in columns]
    noise = sum(turn.noise for turn in trace.turns)
    return _fit(trace, columns, np.stack(total, axis=1), np.stack([noise] * len(columns), axis=1))


def _fit(trace: Record, columns: list[str], numbers: Array, noise: Array) -> list[str]:
    """The rows with aligned columns, with as many digits and as much of the names as 100 columns hold."""
    shown = some(len(trace.task_names), 12)
    names = [GAP if k is None else clean(trace.task_names[k]) for k in shown]
    for digits, name_width, space in ((4, 24, 2), (3, 24, 2), (3, 16, 1), (3, 8, 1), (2, 8, 1)):
        cells = [[GAP] * len(columns) if k is None else _cells(numbers[k], noise[k], digits) for k in shown]
        body = [[shorten(name, name_width), *row] for name, row in zip(names, cells, strict=True)]
        lines = aligned([["task", *columns], *body], space=space)
        if len(lines[0]) <= WIDTH:
            break
    return ["change of the loss".rjust(len(lines[0])), *lines]


def _cells(numbers: Array, noise: Array, digits: int) -> list[str]:
    pairs = zip(numbers.tolist(), noise.tolist(), strict=True)
    return ["–" if np.isnan(value) else short(value, digits, least) for value, least in pairs]


# ------------------------------------------------------------ the Gram matrix and the rest


def _gram(trace: Record) -> list[str]:
    turn = trace.turns[0]
    shown = some(len(trace.task_names), 6)
    names = [GAP if k is None else shorten(clean(trace.task_names[k]), 10) for k in shown]
    body = [[name, *(gram_cell(turn, i, j) for j in shown)] for name, i in zip(names, shown, strict=True)]
    when = ", before the first turn" if len(trace.turns) > 1 else ""
    above = "; above its diagonal, cosine and angle" if len(names) > 1 else ""
    return [f"{gram_title(trace)}{when}{above}", *aligned([["", *names], *body]), ""]


def gram_title(trace: Record) -> str:
    """What the matrix is, and who computed it."""
    turn = trace.turns[0]
    return f"Gram matrix on {turn.space} ({'measured' if turn.gram_of_step is None else 'formed by the step'})"


def gram_cell(turn: Turn, i: int | None, j: int | None) -> str:
    """gᵢ·gⱼ on and below the diagonal, the cosine and the angle above it."""
    if i is None or j is None:
        return GAP
    if i >= j:
        noise = 0.0 if i == j else turn.rounding * float(np.prod(np.sqrt(turn.gram.diagonal()[[i, j]])))
        return short(float(turn.gram[i, j]), 4, noise)
    if np.isnan(turn.cosines[i, j]):
        return "–"
    return f"{short(round(nudged(float(turn.cosines[i, j])), 2))}, {degrees(float(turn.angles[i, j]))}"


def facts(trace: Record) -> list[str]:
    """What belongs to the step and not to one task: v, the certificate, passes, memories."""
    lines = []
    for turn in trace.turns[:1]:
        lengths = f"‖v‖² = {short(float(turn.v_z @ turn.v_z))} on Z"
        if turn.v.size:
            lengths += f", {short(float(turn.v @ turn.v))} on θ"
        which = "v, the weighted gradient" if len(trace.turns) == 1 else "v of the first turn"
        lines.append(f"{which}: {lengths}{_spelled_out(turn)}")
    solved = trace.min_norm
    if solved is not None:
        noise = rounding() * float(trace.turns[0].gram.diagonal().max())
        proof = "α is optimal" if solved.gap == 0 else "‖v − v*‖² is at most that"
        lines.append(
            f"min-norm on {trace.turns[0].space}: αᵀGα = {short(solved.squared_norm, noise=noise)}, "
            f"certificate: gap {short(solved.gap, 2)} ({proof})"
        )
    rate = trace.learning_rate
    moved = "gₖ·Δθ, Δθ being what the optimizer made of v" if rate is None else f"−η gₖ·v with η = {short(rate)}"
    lines.append(f"predicted by trunk, to first order: {moved}")
    if trace.heads_have_parameters:
        lines.append("predicted by head, to first order: its own gradient times its own displacement")
    lines.append("gap: actual − predicted")
    lines.append(
        f"passes: {_count(trace.trunk_forwards, 'trunk forward')}, {_count(trace.trunk_backwards, 'trunk backward')}, "
        f"{_count(trace.head_backwards, 'head backward')}"
    )
    touched = list(dict.fromkeys(clean(name) for turn in trace.turns for name in turn.memories))
    if len(touched) > 6:
        touched = [*touched[:3], GAP, *touched[-2:]]
    lines.append(f"memory changed: {', '.join(touched) or 'none'}")
    return [*lines, *(f"note: {clean(note)}" for note in trace.notes)]


def _spelled_out(turn: Turn) -> str:
    """v itself if it is short enough to read."""
    if turn.v_z.size <= 3 and turn.space == "Z":
        return f"; on Z v = {vector(turn.v_z.tolist())}"
    return f"; v = {vector(turn.v.tolist())}" if 0 < turn.v.size <= 4 else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# ------------------------------------------------------------ HTML

_CELL = "padding:2px 8px;text-align:right;white-space:nowrap"
_NAME = "padding:2px 8px;text-align:left"
_LEFT = ";border-left:1px solid #8a8a8a"
_LINE = ";border-top:1px solid #8a8a8a"


def html(trace: Record) -> str:
    """The table as HTML, complete in itself: inline styles, no script. It leaves out what `text` does, but less."""
    trace = trace.settled()
    columns = headings(trace)
    names = [clean(name) for name in trace.task_names]
    gram = names if len(names) <= 6 else []
    width = 1 + len(columns) + len(gram)
    opening = escape(". ".join(_opening(trace)))
    parts = [f'<table style="border-collapse:collapse"><caption style="{_NAME}"><b>{opening}</b>']
    parts.append(f'<br>{escape(" ".join(sentences(trace)))}</caption><thead><tr><td colspan="6"></td>')
    parts.append(f'<th colspan="{len(columns) - 5}" style="{_NAME}{_LEFT}">change of the loss</th>')
    if gram:
        parts.append(f'<th colspan="{len(gram)}" style="{_NAME}{_LEFT}">{escape(gram_title(trace))}</th>')
    parts.append("</tr>" + _row("th", "task", [*columns, *gram]) + "</thead>")
    for i in some(len(trace.turns), 6):
        parts.append("<tbody>")
        if len(trace.turns) > 1:
            title = f"{len(trace.turns) - 6} more turns" if i is None else turn_title(trace, i)
            parts.append(f'<tr><th colspan="{width}" style="{_NAME}{_LINE}">{escape(title)}</th></tr>')
        if i is not None:
            parts += _task_rows(trace, trace.turns[i], names, bool(gram))
        parts.append("</tbody>")
    parts.append(f'<tfoot><tr><td colspan="{width}" style="{_NAME}{_LINE}">')
    about = ["Gram matrix: above its diagonal, cosine and angle"] if len(gram) > 1 else []
    parts.append("<br>".join(escape(line) for line in [*about, *facts(trace)]) + "</td></tr></tfoot></table>")
    return "".join(parts)


def _task_rows(trace: Record, turn: Turn, names: list[str], gram: bool) -> list[str]:
    numbers, noise = rows(trace, turn)
    parts = []
    for k in some(len(names), 40 if len(trace.turns) == 1 else 12):
        if k is None:
            parts.append(_row("td", GAP, [GAP] * numbers.shape[1]))
        else:
            matrix = [gram_cell(turn, k, j) for j in range(len(names))] if gram else []
            parts.append(_row("td", names[k], _cells(numbers[k], noise[k], 4) + matrix))
    return parts


def _row(tag: str, name: str, cells: list[str]) -> str:
    inner = "".join(f'<{tag} style="{_CELL}">{escape(cell)}</{tag}>' for cell in cells)
    return f'<tr><th scope="row" style="{_NAME};white-space:nowrap">{escape(name)}</th>{inner}</tr>'
