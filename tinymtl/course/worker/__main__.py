"""`python -m worker QUESTIONS NOTEBOOK > REPLIES`: the first of grading's two steps by itself, as in a container."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .collect import collect


def main(arguments: list[str]) -> int:
    """Ask one notebook; the container around this program is its isolation."""
    if len(arguments) != 2:
        print("usage: python -m worker questions.json notebook.ipynb > replies.json", file=sys.stderr)
        return 2
    questions, notebook = arguments
    print(json.dumps(collect(notebook, json.loads(Path(questions).read_text(encoding="utf-8")), isolation="none")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
