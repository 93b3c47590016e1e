"""Ask one notebook everything and write down what it answered, as JSON that knows neither points nor right answers.

What is asked are names and inputs. What comes back is read as plain values, one line each, limited in length before
it is decoded, and only the line that repeats the number drawn for its question counts. A question during which the
process hangs, dies or lies loses what was not answered by then; the next one gets a fresh process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .isolation import Limits, end, start
from .notebook import Notebook, Unreadable, digest, read_notebook
from .values import LONGEST_LINE, encode, loads, printable, received

Json = dict[str, Any]
MOST_NOTES, MOST_CALLS = 50, 1000  # cells that raised; calls of a function that lives here, in one answer


class Lost(Exception):
    """The process can be asked nothing more: "late" with the seconds, "died" or "forged"."""


class Worker:
    """One running `run.py`, and the two threads that carry its lines: they may hang, whoever waits for them does not.

    Raises OSError if it cannot be started.
    """

    def __init__(self, limits: Limits, isolation: str) -> None:
        self.isolation = isolation
        self.started = start(limits, isolation)
        self.process = self.started.process
        self.clock = clock(self.started.pid)
        self.outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.inbox: queue.Queue[bytes] = queue.Queue(8)  # chunks; whoever floods it waits
        self.rest = b""
        for target in (self._write, self._read):
            threading.Thread(target=target, daemon=True).start()

    def load(self, cells: list[tuple[int, str]], seconds: float) -> list[list[Any]]:
        """Run the notebook's cells; what is returned lists those that raised."""
        with self.within(seconds):
            notes = self.exchange({"load": cells}).get("value")
        if not isinstance(notes, list) or not all(isinstance(note, list) and len(note) == 3 for note in notes):
            raise Lost("forged")
        if not all(type(number) is int and number < 10**6 for number, _, _ in notes):
            raise Lost("forged")
        return [[number, printable(name, 60), printable(text, 120)] for number, name, text in notes[:MOST_NOTES]]

    def trees(self, answers: dict[str, str], seconds: float) -> dict[str, list[Any]]:
        """The numbers and sizes of the answers' syntax trees: asked before any of the student's code has run."""
        with self.within(seconds):
            found = self.exchange({"trees": answers}).get("value")
        return {name: [str(number)[:64], int(size)] for name, (number, size) in found.items()}  # type: ignore

    def ask(self, case: Json) -> Json:
        """The answer to one case: `{"value", "calls"}`, or `{"error", "detail"}`."""
        remotes = {}
        message = dict(case)
        if "arguments" in case:
            message["arguments"] = list(case["arguments"])
            for i, item in enumerate(case["arguments"]):
                if isinstance(item, dict) and "remote" in item:
                    there = item["remote"]
                    remotes[f"remote{i}"] = product(there["name"], received(there["matrix"]), tuple(there["shape"]))
                    message["arguments"][i] = {"remote": f"remote{i}"}
        calls = 0
        reply = self.exchange(message)
        while "ask" in reply:
            calls += 1
            if not isinstance(reply["ask"], str) or reply["ask"] not in remotes or calls > MOST_CALLS:
                raise Lost("forged")
            reply = self.exchange(_answer(remotes[reply["ask"]], reply.get("arguments")), reply["id"])
        if "value" not in reply:
            return {"error": printable(reply.get("error"), 20), "detail": printable(reply.get("detail", ""), 60)}
        try:
            received(reply["value"])
        except ValueError:
            raise Lost("forged") from None
        return {"value": reply["value"], "calls": calls}

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit what the process may use, and send, until the block ends."""
        self.seconds, self.end, self.room = seconds, self.clock() + seconds, LONGEST_LINE
        yield

    def exchange(self, message: Json, identifier: str | None = None) -> Json:
        """Send one message and wait for the line that answers it."""
        identifier = identifier or secrets.token_hex(16)
        self.outbox.put(json.dumps({"id": identifier, **message}).encode() + b"\n")
        while b"\n" not in self.rest:
            with contextlib.suppress(queue.Empty):
                chunk = self.inbox.get(timeout=0.05)
                if not chunk:
                    raise Lost("died")
                self.rest += chunk
                self.room -= len(chunk)
            if self.room < 0:
                raise Lost("forged")
            if b"\n" not in self.rest and self.clock() > self.end:
                raise Lost("late", self.seconds)
        line, self.rest = self.rest.split(b"\n", 1)
        try:
            reply = loads(line)
        except ValueError:
            raise Lost("forged") from None
        if not isinstance(reply, dict) or reply.get("id") != identifier:
            raise Lost("forged")
        return reply

    def stop(self) -> None:
        """End the process and whatever it started, and remove its scratch directory."""
        end(self.started, self.isolation)
        self.outbox.put(None)
        last = time.monotonic() + 1.0
        with contextlib.suppress(queue.Empty):  # let the reader go on to the end; a grandchild may keep the pipe open
            while self.inbox.get(timeout=1.0) and time.monotonic() < last:
                pass
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _write(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.process.stdin as pipe:  # type: ignore[union-attr]
            while (message := self.outbox.get()) is not None:
                pipe.write(message)
                pipe.flush()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.process.stdout as pipe:  # type: ignore[union-attr]
            while chunk := os.read(pipe.fileno(), 1 << 16):
                self.inbox.put(chunk)
        self.inbox.put(b"")


def clock(pid: int) -> Callable[[], float]:
    """The seconds in which a process ran or slept; those in which it waited for a processor are not among them."""

    def waited() -> float:
        try:
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # not Linux, or the process has ended
            return 0.0

    def ran() -> float:
        try:
            return time.clock_gettime(~pid << 3 | 2)  # the processor time of all its threads: man 3 clock_getcpuclockid
        except (OSError, AttributeError):
            return 0.0

    begun = time.monotonic()
    return lambda: max(ran(), time.monotonic() - begun - waited())


def product(name: str, matrix: Any, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """A function that a student calls and the grader counts: seed ↦ matrix @ seed, for a seed of this shape."""

    def times(seed: Any) -> Any:
        seed = np.asarray(seed, dtype=np.float64)
        if seed.shape != shape:
            raise ValueError(f"{name} takes one array of shape {shape}, not {seed.shape}")
        return matrix @ seed

    return times


def _answer(function: Callable[..., Any], arguments: Any) -> Json:
    try:
        return {"value": encode(function(*(received(argument) for argument in arguments)))}
    except Exception as problem:  # whatever a student's call may run into is a sentence for the student
        return {"problem": f"the call did not fit: {printable(problem)}"}


# ------------------------------------------------------------ a whole notebook


def collect(path: str | Path, asked: Json, isolation: str) -> Json:
    """What a notebook answers to `asked`, the content of a questions file. Never raises for anything in the file.

    Returns
    -------
    dict
        "problem", "" or why the notebook could not be asked at all; "notes", the cells that raised, as (cell,
        exception, text); "replies", per question, part and case; "trees", for each answer's code a number that is
        the same for code that differs in names and comments only, and its size.

    Raises
    ------
    OSError
        If no process can be started: that is no fault of the notebook's.
    """
    kept = {"assignment": asked["assignment"], "asked": asked["number"], "file": digest(path),
            "notebook": printable(Path(path).name)}  # fmt: skip
    try:
        notebook = read_notebook(path, asked["locked"])
    except Unreadable as problem:
        return {**kept, "problem": str(problem), "notes": [], "replies": []}
    others = sorted(notebook.of & set(asked["assignments"]))
    if others and asked["assignment"] not in others:
        sentence = f"this is a notebook of {', '.join(others)}, not of {asked['assignment']}"
        return {**kept, "problem": sentence, "notes": [], "replies": []}
    return {**kept, **_interview(notebook, asked, isolation)}


def _interview(notebook: Notebook, asked: Json, isolation: str) -> Json:
    limits = Limits(**asked["limits"])
    replies, notes, used, loaded = [], None, 0.0, False
    worker: Worker | None = None
    trees: Json = {}
    try:
        try:
            worker = Worker(limits, isolation)
            trees = worker.trees(notebook.answers, limits.load_seconds)
        except Lost:  # code that even the parser does not survive
            worker.stop()  # type: ignore[union-attr]
            worker = None
        for question in asked["questions"]:
            live = [case for part in question for case in part if "saved" not in case]
            answered: list[Json] = []
            try:
                if live and used >= limits.notebook_seconds:
                    raise Lost("unreached", limits.notebook_seconds)
                if live and (worker is None or not loaded):
                    worker = worker or Worker(limits, isolation)
                    loaded = True
                    found = worker.load(notebook.cells, limits.load_seconds)
                    notes = found if notes is None else notes
                    used += worker.clock()
                if live and worker is not None:
                    begun = worker.clock()
                    with worker.within(limits.question_seconds):
                        for case in live:
                            answered.append(worker.ask(case))
                    used += worker.clock() - begun
            except Lost as lost:
                error = dict(zip(("error", "detail"), (*lost.args, ""), strict=False))
                if notes is None:
                    return {"problem": _while_loading(error), "notes": [], "replies": []}
                used += float(error["detail"] or 0.0)  # the limit, not what was measured: that varies a little
                answered += [error] * (len(live) - len(answered))
                if worker is not None:
                    worker.stop()
                    worker, loaded = None, False
            rest = iter(answered)
            replies.append([[_saved(case, notebook) or next(rest) for case in part] for part in question])
    finally:
        if worker is not None:
            worker.stop()
    return {"problem": "", "notes": notes or [], "replies": replies, "trees": trees}


def _saved(case: Json, notebook: Notebook) -> Json | None:
    if "saved" not in case:
        return None
    name = case["saved"]
    return {"value": notebook.saved[name], "calls": 0} if name in notebook.saved else {"error": "not saved"}


def _while_loading(error: Json) -> str:
    what = {
        "late": f"the notebook's cells did not finish within {error['detail'] or 0:g} s: a loop without an end?",
        "died": "running the notebook's cells ended the process: out of memory, too much processor time, or an exit",
    }.get(error["error"], "running the notebook's cells wrote on the grader's own channel, where only answers belong")
    return f"{what} (run all cells from a fresh kernel before handing in)"
