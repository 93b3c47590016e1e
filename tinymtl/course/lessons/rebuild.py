"""`python -m tinymtl.course.lessons.rebuild`: run the lessons again and write their outputs, in place.

Two kernels work at a time. A lesson whose cells raise, or which breaks a rule that a reader would notice, is not
written. The thumbnails in lessons/figures are made from each lesson's last figure. The same commit on the same
machine gives the same bytes, but for the picture of measured times in lesson 10.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.lessons.runner import folder, notebooks, run
from tinymtl.files import write

THUMBNAIL = (320, 220)  # pixels, at most


def rebuild(path: Path) -> str:
    """Run one notebook again, write it and its thumbnail; returns a line that says so."""
    import nbformat

    begun = time.perf_counter()
    notebook = run(nbformat.read(path, as_version=4))
    seconds = time.perf_counter() - begun
    text = nbformat.writes(notebook) + "\n"
    nbformat.validate(notebook)
    write_text(path, text)
    figure = last_figure(notebook)
    if figure is not None:
        target = path.parent / "figures" / f"{path.stem}{figure[0]}"
        target.parent.mkdir(exist_ok=True)
        write(target, figure[1])
    return f"{path.name}: {seconds:.1f} s, {len(text.encode()) // 1000} KB"


def last_figure(notebook: Any) -> tuple[str, bytes] | None:
    """The last figure of a notebook, small, as (suffix, content): a PNG, or a drawing that is an SVG."""
    for cell in reversed(notebook.cells):
        for output in reversed(cell.get("outputs", [])):
            data = output.get("data", {})
            if "image/png" in data:
                return ".png", thumbnail(base64.b64decode(data["image/png"]))
            drawing = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', data.get("text/html", ""))
            if drawing:
                return ".svg", base64.b64decode(drawing[1])
    return None


def thumbnail(png: bytes) -> bytes:
    """A small copy of a picture: 64 colours are enough for it."""
    from PIL import Image  # Matplotlib brings it

    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild all lessons, or those whose numbers are given."""
    parser = argparse.ArgumentParser(prog="python -m tinymtl.course.lessons.rebuild", description=__doc__)
    parser.add_argument("lessons", nargs="*", metavar="NN", help="numbers of lessons, such as 05 (default: all)")
    parser.add_argument("--folder", type=Path, help="where the notebooks are (default: this checkout's lessons)")
    arguments = parser.parse_args(argv)
    try:
        found = notebooks(arguments.folder or folder())
    except CourseError as error:
        parser.error(str(error))
    wanted = [number.zfill(2) for number in arguments.lessons]
    chosen = [path for path in found if not wanted or path.name[:2] in wanted]
    if not chosen:
        parser.error(f"no such lesson; there are {', '.join(path.name[:2] for path in found) or 'none'}")
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        for path, job in [(path, pool.submit(rebuild, path)) for path in chosen]:
            try:
                print(job.result(), flush=True)
            except Exception as error:  # nbclient's errors differ; each is a lesson that was not written
                failed += 1
                print(f"{path.name}: not written: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
