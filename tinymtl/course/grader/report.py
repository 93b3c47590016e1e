"""A page about the class: points, how hard each part is, the commonest mistakes, and answers that are alike."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from tinymtl.course.assignment import Assignment
from tinymtl.course.grader.feedback import STYLE
from tinymtl.course.grader.grades import Grade

SMALLEST = 50  # nodes of a syntax tree: below that, answers are alike because there is one way to write them
MOST_MISTAKES = 20  # rows
Rows = Sequence[Sequence[str]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]


def class_page(assignment: Assignment, grades: Sequence[Grade]) -> str:
    """The report as one HTML file that needs no other."""
    there = [one for one in grades if not one.problem]
    earned: Numbers = np.array([one.points for one in there], dtype=np.float64)
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>{assignment.name}: the class</title><style>{STYLE} img {{ max-width: 100% }}</style></head><body>",
        f"<h1>{assignment.name} · {escape(assignment.title)}: the class</h1>",
        f"<p>{len(grades)} on the list, {len(there)} notebooks marked, {len(grades) - len(there)} without a result "
        "(see their notes in the table). The numbers below are of the notebooks that were marked.</p>",
    ]
    if there:
        low, middle, high = np.quantile(earned, (0.25, 0.5, 0.75)).tolist()
        parts += [
            "<h2>Points</h2>",
            f"<p>Of {assignment.automatic_points:g} automatic points half of the class has {middle:g} or more, and the "
            f"middle half from {low:g} to {high:g}.</p>",
            _histogram(earned, assignment.automatic_points),
            "<h2>The parts</h2>",
            "<p><em>Solved</em>: the share for whom it holds. <em>Tells apart</em>: the correlation with the rest "
            "of the points, from −1 to 1; near 0 the part says nothing about the rest, below 0 look at the part itself."
            "</p>",
            _table(("question", "part", "points", "solved", "tells apart"), _items(assignment, there), (2, 3, 4)),
            "<h2>What is said most often</h2>",
            _table(("question", "part", "hint", "students"), _mistakes(assignment, there), (3,)),
        ]
    alike = _alike(assignment, grades)
    parts.append("<h2>Answers that are alike</h2>")
    if alike:
        parts += [
            "<p>The same code but for names, comments and blanks. There may be good reasons: a short answer can hardly "
            "be written in two ways, and students may have been allowed to work together.</p>",
            _table(("question", "students", "size"), alike, (2,)),
        ]
    else:
        parts.append("<p>None that is longer than a few lines.</p>")
    return "\n".join([*parts, "</body></html>\n"])


def _items(assignment: Assignment, grades: Sequence[Grade]) -> Rows:
    rows = []
    for question in assignment.questions:
        for i, part in enumerate(question.parts):
            held = np.array([one.marks[question.name].held[i] for one in grades], dtype=float)
            rest = np.array([one.points for one in grades]) - held * part.points
            rows.append((question.title, part.name, f"{part.points:g}", f"{held.mean():.0%}", _correlation(held, rest)))
    return rows


def _correlation(a: Numbers, b: Numbers) -> str:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return f"{float(a @ b) / size:.2f}" if size > 1e-9 else "–"


def _mistakes(assignment: Assignment, grades: Sequence[Grade]) -> Rows:
    """What is said of a part, by how many students it is said to; parts of a question of which it is said to the same
    students stand together."""
    rows = []
    for question in assignment.questions:
        told: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for one in grades:
            for part, said in zip(question.parts, one.marks[question.name].said, strict=True):
                if said:
                    told[part.name, said].add(one.student)
        together: defaultdict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
        for (name, said), who in told.items():
            together[said, frozenset(who)].append(name)
        for (said, students), names in together.items():
            where = "all parts" if 1 < len(names) == len(question.parts) else "; ".join(names)
            rows.append((question.title, where, said, str(len(students))))
    return sorted(rows, key=lambda row: -int(row[3]))[:MOST_MISTAKES]


def _alike(assignment: Assignment, grades: Sequence[Grade]) -> Rows:
    groups: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
    for one in grades:
        for name, (number, size) in one.trees.items():
            if number and size >= SMALLEST:
                groups[name, number, size].append(one.student)
    titles = {question.name: question.title for question in assignment.questions}
    found = [(titles.get(name, name), ", ".join(who), str(size)) for (name, _, size), who in groups.items() if who[1:]]
    return sorted(found, key=lambda row: (-int(row[2]), row))


def _histogram(earned: Numbers, most: float) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 2.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    counts, edges = np.histogram(earned, bins=np.arange(-0.5, most + 1.0))
    axes.bar(edges[:-1] + 0.5, counts, width=0.9, color="#0072B2")
    axes.set_xlabel(f"automatic points, of {most:g}", fontsize=11)
    axes.set_ylabel("students", fontsize=11)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    image = io.BytesIO()
    FigureCanvasAgg(figure).print_png(image, metadata={"Software": None})
    spoken = ", ".join(f"{count} with {edge + 0.5:g}" for count, edge in zip(counts, edges, strict=False) if count)
    source = base64.b64encode(image.getvalue()).decode()
    return f'<p><img alt="Students by points: {spoken}." src="data:image/png;base64,{source}"></p>'


def _table(head: Sequence[str], rows: Rows, right: Sequence[int]) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if i in right else ''}>{escape(text)}</{tag}>" for i, text in enumerate(row))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>\n{body}</tbody></table>"
