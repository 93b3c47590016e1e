"""The finished runs of a comparison, a line of JSON each, written as they end: what is done is never lost."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tinymtl
from tinymtl.lab.history import History
from tinymtl.lab.runs import Result, Run

FILE = "runs.jsonl"


class RunLog:
    """The file `runs.jsonl` of a directory, which only grows.

    Parameters
    ----------
    out : path
        The directory; it is made with the first line.
    digests : {data set: digest of its contents}
        A run is known again by these, all its settings and the version of tinymtl; a strategy of one's own by its name.
    """

    def __init__(self, out: str | os.PathLike[str], digests: Mapping[str, str]):
        self.path = Path(out) / FILE
        self.digests = digests
        self._works = True

    def key(self, run: Run) -> str:
        """All that a run depends on, as text."""
        return json.dumps([asdict(run), self.digests[run.data], tinymtl.__version__], sort_keys=True)

    def add(self, result: Result) -> None:
        """Write one line, and see it onto the disk. If that fails it is said once, and nothing else is lost."""
        if not self._works:
            return
        entry = {
            "key": self.key(result.run),
            **result.to_dict(),
            "histories": [history.to_dict() for history in result.histories],
        }
        line = json.dumps(without_nan(entry), allow_nan=False).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+") as file:
                if file.tell() and not _ends_a_line(self.path):
                    line = b"\n" + line  # what a killed process or a full disk left is a line of its own
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._works = False
            warnings.warn(
                f"{self.path} cannot be written ({error.strerror}): a resume would do its runs again", stacklevel=2
            )

    def finished(self) -> dict[str, Result]:
        """The runs in the file by their keys; a damaged line counts as not done."""
        found: dict[str, Result] = {}
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                entry = json.loads(line)
                run = Run(**entry["run"])
                histories = [History.from_dict(_with_nan(history)) for history in entry["histories"]]
                test = {
                    name: {part: _with_nan([value])[0] for part, value in score.items()}
                    for name, score in entry["test"].items()
                }
                found[entry["key"]] = Result(run, test, histories)  # type: ignore[arg-type]
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue
        return found


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def without_nan(value: Any) -> Any:
    """Nested lists and dicts with None for every number that JSON does not know.

    >>> without_nan({"a": [1.5, float("nan")]})
    {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _with_nan(value: Any) -> Any:
    """The inverse, in lists: there None stands for NaN."""
    if isinstance(value, dict):
        return {name: _with_nan(item) if isinstance(item, list) else item for name, item in value.items()}
    return [_with_nan(item) if isinstance(item, list) else float("nan") if item is None else item for item in value]
