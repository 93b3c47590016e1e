"""A student's notebook in a process of its own: started, asked, and ended.

What is asked are the cases' names and inputs. What comes back is read as plain values, one line each, and only
the line that repeats the number drawn for its question counts: a line written ahead of time, or by anything
else, ends the process and with it the question.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinymtl.course.marking import not_plain, raised
from tinymtl.course.question import Case, Remote, Reply
from tinymtl.course.worker.values import LONGEST_LINE, NotPlain, decode, encode, loads

WORKER = Path(__file__).parents[1] / "worker" / "run.py"


@dataclass(frozen=True)
class Limits:
    """What one submission may use; everything but the wall-clock limits needs a POSIX system."""

    cpu_seconds: int = 20
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20
    load_seconds: float = 10.0  # for all cells of the notebook
    question_seconds: float = 5.0
    submission_seconds: float = 30.0


@dataclass(frozen=True)
class Answers:
    """What a notebook replied, per question, property and case; and what happened while its cells ran.

    `problem` is "" or the sentence that says why the notebook could not be asked at all. `notes` has
    (cell, exception, text) for every cell that raised.
    """

    replies: list[list[list[Reply]]]
    notes: list[tuple[int, str, str]]
    problem: str = ""


class Lost(Exception):
    """The process can be asked nothing more; the text is the grader's own sentence about why."""


class Worker:
    """One running `python -I worker.py`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.scratch = tempfile.mkdtemp(prefix="tinymtl-course-")
        settings = {
            "limits": {
                "cpu_seconds": limits.cpu_seconds,
                "memory_bytes": limits.memory_bytes,
                "file_bytes": limits.file_bytes,
                "wall_seconds": int(limits.load_seconds + limits.submission_seconds) + 5,
            },
        }
        # -I: no PYTHON… variables, no user site, no current directory
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(WORKER), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.scratch,
            env=_environment(self.scratch),
            start_new_session=True,
        )
        self.late = False

    def load(self, cells: list[tuple[int, str]]) -> list[tuple[int, str, str]]:
        """Run the notebook's cells; what is returned lists those that raised."""
        with self._deadline(self.limits.load_seconds, "the notebook's cells did not finish"):
            message = self._exchange({"load": cells})
        notes = message.get("value")
        try:
            return [(int(number), raised(str(name)), _one_line(text)) for number, name, text in notes]  # type: ignore
        except (TypeError, ValueError):
            raise Lost(FORGED) from None

    def ask(self, cases: list[Case]) -> list[Reply]:
        """The replies to some cases of one question; raises Lost, with the replies so far as `args[1]`."""
        replies: list[Reply] = []
        try:
            with self._deadline(self.limits.question_seconds, "did not answer"):
                for case in cases:
                    replies.append(self._ask(case))
        except Lost as lost:
            raise Lost(lost.args[0], replies) from None
        return replies

    def stop(self) -> None:
        """End the process and whatever it started, and remove its scratch directory."""
        self._kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _ask(self, case: Case) -> Reply:
        if case.arguments is None:
            message = self._exchange({"read": case.name})
            return _reply(message, calls=0)
        remotes = {f"remote{i}": item for i, item in enumerate(case.arguments) if isinstance(item, Remote)}
        arguments = [
            {"remote": f"remote{i}"} if isinstance(item, Remote) else encode(item)
            for i, item in enumerate(case.arguments)
        ]
        calls = 0
        message = self._exchange({"call": case.name, "arguments": arguments})
        while "ask" in message:
            if message["ask"] not in remotes:
                raise Lost(FORGED)
            calls += 1
            message = self._exchange(_answer(remotes[message["ask"]], message.get("arguments")), message["id"])
        return _reply(message, calls)

    def _exchange(self, message: dict[str, Any], identifier: str | None = None) -> dict[str, Any]:
        identifier = identifier or secrets.token_hex(16)
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"id": identifier, **message}).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline(LONGEST_LINE)
        except OSError:  # the pipe is broken: nobody reads any more
            line = b""
        if not line:
            raise Lost(DIED)
        try:
            reply = loads(line)
        except ValueError:
            raise Lost(FORGED) from None
        if not isinstance(reply, dict) or reply.get("id") != identifier:
            raise Lost(FORGED)
        return reply

    @contextlib.contextmanager
    def _deadline(self, seconds: float, what: str) -> Iterator[None]:
        """Kill the process when the time is up: the pending read then ends, on every system alike."""
        timer = threading.Timer(seconds, self._time_is_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Lost:
            if self.late:
                raise Lost(f"{what} within {seconds:g} s: a loop without an end?") from None
            raise
        finally:
            timer.cancel()

    def _time_is_up(self) -> None:
        self.late = True
        self._kill()

    def _kill(self) -> None:
        if self.process.poll() is not None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # it leads a session of its own
            else:
                self.process.kill()


DIED = "ended the process it ran in: out of memory, too much processor time, or an exit"
FORGED = "wrote on the grader's own channel, where only answers belong"


def collect(
    cells: list[tuple[int, str]], drawn: list[list[list[Case]]], saved: dict[str, Any], limits: Limits
) -> Answers:
    """Ask one notebook everything: `drawn` has, per question and property, the cases.

    A question during which the process hangs, dies or lies loses what was not answered by then; the next
    question gets a fresh process, in which the notebook's cells have run again. Never raises for anything
    that a notebook does. `saved` has the values for the cases that are not asked of the process.
    """
    replies: list[list[list[Reply]]] = []
    notes: list[tuple[int, str, str]] | None = None
    worker: Worker | None = None
    end = time.monotonic() + limits.submission_seconds
    try:
        for question in drawn:
            asked = [case for group in question for case in group if not case.saved]
            answered: list[Reply] = []
            if asked and time.monotonic() > end:
                answered = [
                    Reply(error=f"was not reached: the notebook had used up its {limits.submission_seconds:g} s")
                ]
            elif asked:
                try:
                    if worker is None:
                        worker = Worker(limits)
                        first = worker.load(cells)
                        notes = first if notes is None else notes
                    answered = worker.ask(asked)
                except Lost as lost:
                    worker, gone = None, worker
                    if gone is not None:
                        gone.stop()
                    if notes is None:
                        return Answers([], [], _while_loading(lost.args[0]))
                    answered = [*(lost.args[1] if len(lost.args) > 1 else []), Reply(error=lost.args[0])]
            answered += [Reply(error=answered[-1].error)] * (len(asked) - len(answered)) if answered else []
            rest = iter(answered)
            replies.append(
                [[_saved(case, saved) if case.saved else next(rest) for case in group] for group in question]
            )
    finally:
        if worker is not None:
            worker.stop()
    return Answers(replies, notes or [])


def _while_loading(sentence: str) -> str:
    if sentence in (DIED, FORGED):
        sentence = f"running the notebook's cells {sentence}"
    return f"{sentence} (run all cells from a fresh kernel before handing in)"


def _saved(case: Case, saved: dict[str, Any]) -> Reply:
    if case.name not in saved:
        return Reply(error="is not in the notebook: run the cell that shows it, and save the notebook with its output")
    return Reply(saved[case.name])


def _reply(message: dict[str, Any], calls: int) -> Reply:
    if "value" in message:
        try:
            return Reply(decode(message["value"]), calls=calls)
        except (ValueError, RecursionError, AttributeError):
            raise Lost(FORGED) from None
    error, detail = message.get("error"), message.get("detail", "")
    if error == "missing":
        return Reply(error="is not answered yet: there is no such name once all cells have run", calls=calls)
    if error == "raised":
        return Reply(error=raised(str(detail)), calls=calls)
    return Reply(error=not_plain(str(error)), calls=calls)


def _answer(remote: Remote, arguments: Any) -> dict[str, Any]:
    """What the grader's own function says to a student's call of it."""
    try:
        return {"value": encode(remote.function(*(decode(argument) for argument in arguments)))}
    except (ValueError, TypeError, IndexError, NotPlain) as problem:
        return {"problem": f"the call did not fit: {problem}"}


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())[:120]


def _environment(scratch: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**kept, **threads, "HOME": scratch, "TMPDIR": scratch, "TEMP": scratch, "LC_ALL": "C.UTF-8"}
