"""`python -m tinymtl.lab.promises.rebuild`: search again, and write lessons/strategies.md and its figure, in place."""

from __future__ import annotations

import io
import time
from pathlib import Path

from tinymtl.files import write
from tinymtl.lab.promises.page import draw, page, promises, put_into
from tinymtl.steps import STRATEGIES


def main(lessons: Path = Path("lessons")) -> None:
    """In a checkout: `lessons` is its folder."""
    rows = {}
    for name in STRATEGIES:
        begun = time.perf_counter()
        rows[name] = promises(name)
        print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
    target = lessons / "strategies.md"
    write(target, put_into(target.read_text(encoding="utf-8"), page(rows)).encode())
    picture = io.BytesIO()
    draw(rows).savefig(picture, format="png", dpi=110, metadata={"Software": None})
    write(lessons / "figures" / "strategies.png", picture.getvalue())


if __name__ == "__main__":
    main()
