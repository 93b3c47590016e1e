"""Tables in plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,), space: int = 2) -> list[str]:
    """The rows of a table as lines, each column as wide as its widest cell.

    Parameters
    ----------
    rows : R rows of C strings
    left : column numbers, default (0,)
        The columns that are set to the left; the others are set to the right.
    space : int, default 2
        Blanks between two columns.

    >>> print("\\n".join(aligned([["", "loss"], ["left", "0.25"], ["both", "12"]])))
          loss
    left  0.25
    both    12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (" " * space)
        .join(
            cell.ljust(width) if j in left else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in rows
    ]


def ruled(rows: Sequence[Sequence[str]]) -> str:
    """The rows of a table, aligned, with a line under the first.

    >>> print(ruled([["step", "ms"], ["averaged", "1.5"]]))
    step       ms
    -------------
    averaged  1.5
    """
    head, *body = aligned(rows)
    return "\n".join([head, "-" * max(map(len, [head, *body])), *body])
