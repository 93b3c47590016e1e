"""A trace as a picture: how the gradients stand to each other, and what became of every loss."""

from __future__ import annotations

import math

import numpy as np

from tinymtl.backend import Array
from tinymtl.ties import CLOSE, nudged, settled
from tinymtl.tracing.numerals import MINUS, clean, degrees, short, shorten, signed
from tinymtl.tracing.record import Record, Turn
from tinymtl.tracing.svg import FALLS, INK, OKABE_ITO, PALE, RISES, TINY, blend, box, document, label, line, path, px

LEFT, RIGHT, TOP = 360, 470, 46  # the panels' widths, and the room for their titles


def draw_trace(trace: Record) -> str:
    """The picture as SVG: on the left the gradients, on the right the losses."""
    trace = trace.settled()
    names = [clean(name) for name in trace.task_names]
    turn = trace.turns[0]
    shapes, left_height = _arrows(turn, names) if len(names) <= 2 else _cosines(turn, names)
    if len(trace.turns) > 1:
        more, right_height = _turns(trace, names)
    else:
        more, right_height = _bars(trace, turn, names)
    height = max(left_height, right_height) + 12
    return document(LEFT + RIGHT, height, [*shapes, *more], f"One step of {trace.strategy}")


def _title(x: float, words: str, below: str = "") -> list[str]:
    return [
        label(x, 20, words, font_weight="bold", font_size=13),
        label(x, 36, below, fill="#555555", font_size=11),
    ]


# ------------------------------------------------------------ the gradients


def _arrows(turn: Turn, names: list[str]) -> tuple[list[str], float]:
    """One or two gradients in the plane that they span: lengths and angles are true, and v points up."""
    points = _plane(turn.gram, turn.rounding)
    longest = float(np.abs(points).max())
    v = turn.weights @ points
    up = v if _length(v) > 1e-6 * longest else points[0]
    turned = math.pi / 2 - math.atan2(up[1], up[0])
    cos, sin = math.cos(turned), math.sin(turned)
    points = points @ np.array([[cos, sin], [-sin, cos]])
    v = turn.weights @ points

    labels = [shorten(name, 12) for name in names]
    margin = 16 + 7.5 * max(len(words) for words in [*labels, "0.0000"])
    corners = np.vstack([points, v, [0.0, 0.0]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    room = LEFT - 2 * margin, 200.0
    scale = min((room[i] / (high[i] - low[i]) for i in range(2) if high[i] > low[i]), default=1.0)
    middle = LEFT / 2 - (low[0] + high[0]) / 2 * scale

    def place(p: Array) -> tuple[float, float]:
        return middle + p[0] * scale, TOP + 36 + (high[1] - p[1]) * scale

    known = len(names) == 2 and not np.isnan(turn.angles[0, 1])
    apart = f": {degrees(float(turn.angles[0, 1]))} apart" if known else ""
    shapes = _title(12, f"The gradients on {turn.space}{apart}", "true lengths and angles; the step goes against v")
    origin = place(np.zeros(2))
    if len(names) == 2:
        a, b = place(points[0]), place(points[1])
        shapes.append(line(*a, *b, PALE, stroke_dasharray="5 4"))
        shapes += _foot(turn, place(v), origin, a, b)
        shapes += _arc(turn, origin, a, b)
    for k, name in enumerate(labels):
        tip = place(points[k])
        shapes.append(line(*origin, *tip, OKABE_ITO[k], head=True, stroke_width=2.5))
        shapes += _at_tip(origin, tip, name, short(_length(points[k]), 3), OKABE_ITO[k])
    alone = np.count_nonzero(turn.weights) == 1  # then v is a gradient, or a multiple of one
    if not alone and _length(v) > 1e-6 * longest:
        shapes.append(line(*origin, *place(v), INK, head=True, stroke_width=2.5))
        if (np.abs(points @ v) > 0.97 * np.hypot(*points.T) * _length(v)).any():  # next to the shaft: a head is near
            x, y = place(v / 2)
            shapes += [label(x + 8, y, f"v {short(_length(v), 3)}", font_weight="bold")]
        else:
            shapes += _at_tip(origin, place(v), "v", short(_length(v), 3), INK)
    shapes.append(f'<circle cx="{px(origin[0])}" cy="{px(origin[1])}" r="3.5" fill="{INK}"/>')
    return shapes, TOP + 36 + (high[1] - low[1]) * scale + 40


def _plane(gram: Array, rounding: float) -> Array:
    """Points (K, 2) with these inner products, for K ≤ 2."""
    lengths = np.sqrt(gram.diagonal())
    if len(gram) == 1:
        return np.array([[lengths[0], 0.0]])
    along = gram[0, 1] / lengths[0] if lengths[0] > 0 else 0.0
    across = float(settled(gram[1, 1] - along * along, rounding * gram[1, 1]))
    return np.array([[lengths[0], 0.0], [along, math.sqrt(max(across, 0.0))]])


def _length(p: Array) -> float:
    return math.hypot(float(p[0]), float(p[1]))


Point = tuple[float, float]


def _foot(turn: Turn, v: Point, origin: Point, a: Point, b: Point) -> list[str]:
    """The right angle at the foot of the perpendicular from the origin to the segment between the gradients."""
    foot = np.array(v)
    down, along = np.array(origin) - foot, np.array(a) - np.array(b)
    lengths = _length(down) * _length(along)
    if turn.label != "α" or (turn.weights == 0).any() or lengths == 0 or abs(down @ along) > 1e-3 * lengths:
        return []
    size = min(9.0, 0.4 * _length(down))
    down, along = down / _length(down) * size, along / _length(along) * size
    corner = [foot + along, foot + along + down, foot + down]
    return [path("M" + "L".join(px(x, y) for x, y in corner), INK)]


def _arc(turn: Turn, origin: Point, a: Point, b: Point) -> list[str]:
    """An arc from one arrow to the other."""
    radius = 0.45 * min(math.dist(origin, a), math.dist(origin, b), 60.0)
    if radius < 6 or degrees(float(turn.angles[0, 1])) == "0°":
        return []
    first, second = (math.atan2(p[1] - origin[1], p[0] - origin[0]) for p in (a, b))
    (x0, y0), (x1, y1) = ((origin[0] + radius * math.cos(t), origin[1] + radius * math.sin(t)) for t in (first, second))
    clockwise = int((second - first) % (2 * math.pi) <= math.pi + TINY)
    return [path(f"M{px(x0, y0)}A{px(radius, radius)} 0 0 {clockwise} {px(x1, y1)}", PALE)]


def _at_tip(start: Point, end: Point, name: str, length: str, colour: str) -> list[str]:
    """A name and a length just beyond an arrow's head."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    reach = math.hypot(dx, dy) or 1.0
    upright = abs(dx) < 0.5 * reach - TINY
    anchor = "middle" if upright else "start" if dx > 0 else "end"
    x = end[0] + 8 * dx / reach
    y = end[1] + (-22 if upright and dy <= 0 else 16 if upright else 0)
    return [
        label(x, y, name, anchor, fill=colour, font_weight="bold"),
        label(x, y + 14, length, anchor, fill=colour),
    ]


def _cosines(turn: Turn, names: list[str]) -> tuple[list[str], float]:
    """The cosine of every pair: blue if the two tasks agree, orange if they pull against each other."""
    shapes = _title(12, f"Cosines of the gradients on {turn.space}", "blue: the same way; orange: against each other")
    words = [[_hundredths(c) for c in row] for row in turn.cosines.tolist()]
    table, bottom = _checks(12, LEFT - 36, names, names, np.nan_to_num(turn.cosines), words)
    return shapes + table, bottom


def _hundredths(cosine: float) -> str:
    """−.71: without the 0, so that eight of them fit side by side."""
    return "–" if math.isnan(cosine) else f"{nudged(cosine):z.2f}".replace("0.", ".").replace("-", MINUS)


def _checks(
    x0: float, width: float, rows: list[str], columns: list[str], strength: Array, words: list[list[str]]
) -> tuple[list[str], float]:
    """Coloured squares, blue for a strength up to 1 and orange down to −1, with words in them if there are few."""
    shapes: list[str] = []
    few = _few(strength)
    rows, columns = [shorten(row, 18) for row in rows], [shorten(column, 10) for column in columns]
    left = x0 + (12 + 6.5 * max(map(len, rows)) if few else 0)
    cell = min(56.0, (width + x0 - left) / len(columns))
    high = min(cell, 30.0) if few else min(cell, 360 / len(rows))
    slanted = 6.8 * max(map(len, columns)) > cell
    top = TOP + (8 if not few else 22 if not slanted else 16 + 4.6 * max(map(len, columns)))
    for j, column in enumerate(columns if few else []):
        x, y = left + (j + 0.5) * cell, top - 6
        style = {"transform": f"rotate(-40 {px(x, y)})"} if slanted else {}
        shapes.append(label(x, y, column, "start" if slanted else "middle", font_size=11, **style))
    for i, row in enumerate(rows):
        y = top + i * high
        if few:
            shapes.append(label(left - 6, y + high / 2 + 4, row, "end", font_size=11))
        for j in range(len(columns)):
            s = float(strength[i, j])
            fill = blend(FALLS if s > 0 else RISES, 0.9 * abs(s))
            x, edge = left + j * cell, 1 if few else 0.3
            shapes.append(box(x, y, cell, high, fill=fill, stroke="white", stroke_width=edge))
            if few and 6.2 * len(words[i][j]) <= cell:
                ink = "white" if s > 0.6 + CLOSE else INK  # dark on every orange
                shapes.append(label(x + cell / 2, y + high / 2 + 4, words[i][j], "middle", font_size=11, fill=ink))
    return shapes, top + len(rows) * high


# ------------------------------------------------------------ the losses


def _bars(trace: Record, turn: Turn, names: list[str]) -> tuple[list[str], float]:
    """A row for each task: the predicted change above the actual one, falling to the left."""
    x0 = LEFT + 12
    shapes = _title(x0, "What became of every loss", "left of the line it fell, right of it it rose")
    shapes += [
        box(x0 + 262, 27, 12, 9, fill="none", stroke=INK),
        label(x0 + 278, 36, "predicted", font_size=11),
    ]
    shapes += [box(x0 + 346, 27, 12, 9, fill=FALLS), box(x0 + 358, 27, 12, 9, fill=RISES)]
    shapes.append(label(x0 + 374, 36, "actual", font_size=11))
    name_width = 8 + 7 * max(len(shorten(name, 18)) for name in names)
    both = np.stack([settled(turn.predicted, turn.noise), turn.actual])
    finite = np.where(np.isfinite(both), both, 0.0)
    room = 64  # for the number at a bar's end
    left, right = x0 + name_width + room, LEFT + RIGHT - 12 - room
    low, high = min(finite.min(), 0.0), max(finite.max(), 0.0)
    scale = (right - left) / (high - low) if high > low else 0.0
    zero = left - low * scale
    row = 34.0 if len(names) <= 8 else 13.0
    top = TOP + 8
    for k, name in enumerate(names):
        y = top + k * row
        thick = row * 0.3
        shapes.append(label(x0, y + row * 0.5 + 4, shorten(name, 18), font_size=12 if row > 20 else 11))
        for value, offset, filled in ((finite[0, k], 0.14, False), (finite[1, k], 0.5, True)):
            colour = FALLS if value < 0 else RISES
            start = zero + min(value, 0.0) * scale
            style = {"fill": colour} if filled else {"fill": "none", "stroke": INK}
            shapes.append(box(start, y + offset * row, abs(value) * scale, thick, **style))
        actual = float(turn.actual[k])
        words = signed(actual, float(turn.noise[k]))
        end = zero + finite[1, k] * scale
        away, anchor = (-5, "end") if actual < 0 else (5, "start")
        shapes.append(label(end + away, y + row * 0.65 + 5, words, anchor, font_size=11))
    shapes.append(line(zero, top, zero, top + len(names) * row, INK))
    return shapes, top + len(names) * row


def _turns(trace: Record, names: list[str]) -> tuple[list[str], float]:
    """Whose turn moved whose loss."""
    changes = np.stack([turn.actual for turn in trace.turns])
    finite = np.where(np.isfinite(changes), changes, 0.0)
    most = float(np.abs(finite).max())
    exponent = 3 * math.floor(math.log10(most) / 3 + CLOSE) if most else 0
    unit = f"; numbers in 10{''.join(_RAISED[c] for c in str(exponent))}" if exponent and _few(changes) else ""
    x0 = LEFT + 12
    shapes = _title(x0, "Whose turn moved which loss", f"a row: a turn; blue: the loss fell; orange: it rose{unit}")
    turns = [", ".join(names[k] for k in turn.group) for turn in trace.turns]
    # the square root lets small changes show; the sign is kept
    strength = -np.sign(finite) * np.sqrt(np.abs(finite) / most) if most else finite
    scaled, noise = (values / 10.0**exponent for values in (changes, np.stack([turn.noise for turn in trace.turns])))
    words = [
        [("+" if c > 0 else "") + short(c, 2, e) for c, e in zip(*rows, strict=True)]
        for rows in zip(scaled.tolist(), noise.tolist(), strict=True)
    ]
    table, bottom = _checks(x0, RIGHT - 36, turns, names, strength, words)
    return shapes + table, bottom


def _few(values: Array) -> bool:
    return max(values.shape) <= 8


_RAISED = dict(zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))
