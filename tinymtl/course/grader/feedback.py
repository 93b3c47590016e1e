"""The page that a student gets back: points, what holds and what does not, one hint a question.

It has neither hidden inputs nor answers: its sentences are the grader's own, apart from the text of exceptions
that the notebook's cells raised before anything was asked.
"""

from __future__ import annotations

from html import escape

from tinymtl.course.assignment import Assignment
from tinymtl.course.grader.grades import Grade

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap }
.hint { background: #fdf6e3; border-left: 4px solid #b58900; padding: .5rem .8rem }
.problem { background: #fdecea; border-left: 4px solid #b3261e; padding: .5rem .8rem }
"""


def page(assignment: Assignment, grade: Grade) -> str:
    """The feedback of one student as one HTML file that needs no other."""
    total = grade.total(assignment)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{assignment.name}: feedback for {escape(grade.student)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{assignment.name} · {escape(assignment.title)}</h1>",
        f"<p><strong>{escape(grade.student)}</strong>: {grade.points:g} of {assignment.automatic_points:g} automatic "
        f"points. The written part, {assignment.manual_points:g} points, is marked by hand and is not in this number."
        "</p>",
    ]
    if grade.deduction:
        parts.append(f"<p>{grade.late} days late: {grade.deduction:g} points less.</p>")
    if total is not None:
        points = assignment.automatic_points + assignment.manual_points
        parts.append(f"<p><strong>In all: {total:g} of {points:g}.</strong></p>")
    if grade.problem:
        parts.append(f'<p class="problem">Your notebook could not be graded: {escape(grade.problem)}.</p>')
    if grade.notes:
        parts += ["<p>While your notebook ran from the top:</p><ul>"]
        parts += [f"<li>{escape(note)}</li>" for note in grade.notes]
        parts += ["</ul>"]
    for number, question in enumerate(() if grade.problem else assignment.questions, 1):
        mark = grade.marks[question.name]
        parts += [
            f"<h2>{number}. {escape(question.title)}: {mark.points:g} of {question.points:g}</h2>",
            "<table><thead><tr><th>checked</th><th>result</th><th class='n'>points</th></tr></thead><tbody>",
        ]
        for part, holds in zip(question.parts, mark.held, strict=True):
            parts.append(
                f"<tr><td>{escape(part.name)}</td><td>{'✓ holds' if holds else '✗ does not hold'}</td>"
                f"<td class='n'>{part.points if holds else 0:g} of {part.points:g}</td></tr>"
            )
        parts.append("</tbody></table>")
        if mark.hint:
            parts.append(f'<p class="hint">Hint: {escape(mark.hint)}{"" if mark.hint.endswith("?") else "."}</p>')
    for number, written in enumerate(assignment.written, len(assignment.questions) + 1):
        given = grade.manual.get(written.name)
        said = f"up to {written.points:g}" if given is None else f"{given:g} of {written.points:g}"
        parts.append(f"<h2>{number}. {escape(written.title)}: marked by hand, {said}</h2>")
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"
