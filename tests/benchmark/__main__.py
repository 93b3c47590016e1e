"""``python tests/benchmark``, from anywhere: the tinymtl that is timed is this checkout's."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmark.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
