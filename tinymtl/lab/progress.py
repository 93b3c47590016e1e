"""A progress bar on a terminal; silence everywhere else."""

from __future__ import annotations

import sys
from typing import Any


class NoBar:
    """Takes what a tqdm bar takes, and shows nothing."""

    def update(self, steps: int = 1) -> None:
        """Some steps are done."""

    def set_postfix_str(self, text: str) -> None:
        """A text at the end of the bar."""

    def close(self) -> None:
        """No more steps."""


def is_terminal(stream: Any) -> bool:
    """Whether a person sits at a stream; False for one that is closed or, as in a service, None."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def progress_bar(total: int, done: int, unit: str, wanted: bool | None) -> Any:
    """A bar on stderr if it is wanted (by default only on a terminal), `done` of `total` units filled.

    tqdm is imported only for a bar that is shown: even a disabled one makes a lock that outlives a killed process.
    """
    if sys.stderr is None or not (is_terminal(sys.stderr) if wanted is None else wanted):
        return NoBar()
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit=unit, leave=False, file=sys.stderr)
