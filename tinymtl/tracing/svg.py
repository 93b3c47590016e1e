"""Pictures written by hand as SVG: the few shapes that the trace and the graph need.

A notebook shows them through an `<img>` with the picture in its address: a bare `<svg>` vanishes from a notebook that
is not trusted, which is every notebook that somebody has just downloaded.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tinymtl.files import write

#: Okabe and Ito's eight colours, which stay apart for colour-blind readers: black last.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
FALLS, RISES = OKABE_ITO[0], OKABE_ITO[1]
TINY = 1e-6  # pixels: less than that decides nothing
INK, PALE = "#222222", "#8a8a8a"


class Picture:
    """A finished picture.

    Attributes
    ----------
    svg : str
        The picture as an SVG document.
    alt : str
        What it shows, in words.
    text : str
        The same content for a terminal: this is its `repr`.
    """

    def __init__(self, svg: str, alt: str, text: str):
        self.svg, self.alt, self.text = svg, alt, text

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to `path`, an .svg file, in one step."""
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise ValueError(f"the picture is an SVG: give a path that ends in .svg, not {path.name!r}")
        write(path, self.svg)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return image_tag(self.svg, self.alt)


def image_tag(svg: str, alt: str) -> str:
    """The picture as an `<img>` that needs nothing else: no script, no other file."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def document(width: float, height: float, shapes: Sequence[str], alt: str) -> str:
    """An SVG of `width` × `height` pixels on white, with the arrow heads that `arrow` uses."""
    heads = "".join(
        f'<marker id="head{i}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for i, colour in enumerate((*OKABE_ITO, INK, PALE))
    )
    w, h = round(width + TINY), round(height + TINY)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">'
        f"<title>{escape(alt)}</title><defs>{heads}</defs>"
        f'<rect width="100%" height="100%" fill="white"/>{"".join(shapes)}</svg>'
    )


def px(*coordinates: float) -> str:
    """Coordinates to a tenth of a pixel; halves go up on every machine."""
    return " ".join(f"{value + TINY:z.1f}" for value in coordinates)


def label(x: float, y: float, words: str, anchor: str = "start", **style: object) -> str:
    """Text with its baseline at (x, y); `style` is further attributes, an underscore for a hyphen."""
    attributes = _attributes({"fill": INK, **style})
    return f'<text x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"{attributes}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, **style: object) -> str:
    """A rectangle."""
    return f'<rect x="{px(x)}" y="{px(y)}" width="{px(width)}" height="{px(height)}"{_attributes(style)}/>'


def path(d: str, colour: str = INK, head: bool = False, **style: object) -> str:
    """A line along the path `d`, with an arrow head at its end if asked."""
    marker = f' marker-end="url(#head{(*OKABE_ITO, INK, PALE).index(colour)})"' if head else ""
    return f'<path d="{d}" fill="none" stroke="{colour}"{marker}{_attributes(style)}/>'


def line(x0: float, y0: float, x1: float, y1: float, colour: str = INK, head: bool = False, **style: object) -> str:
    """A straight line."""
    return path(f"M{px(x0, y0)}L{px(x1, y1)}", colour, head, **style)


def _attributes(style: dict[str, object]) -> str:
    return "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())


def blend(colour: str, strength: float) -> str:
    """`colour` mixed with white: 0 is white, 1 the colour."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * strength + TINY):02x}" for part in parts)
