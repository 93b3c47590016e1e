"""The process that runs one student's notebook: started by `isolation.start`, asked by `collect`.

It reads one JSON message a line from its standard input and answers each with one line. It is told inputs and
never a right answer; what it says is only ever read as plain values. Messages, each with a fresh `id` that
the answer has to repeat:

    {"id", "trees": {name: source}}          the numbers of the answers' syntax trees → {"id", "value"}
    {"id", "load": [[number, source], …]}    run the cells in order → {"id", "value": [[number, exception, text], …]}
    {"id", "call": name, "arguments": […]}   call the student's function → {"id", "value"} or {"id", "error", "detail"}
    {"id", "read": name}                     the value of a variable → likewise

An argument spelled {"remote": name} is a function that lives with the grader: calling it sends
{"id", "ask": name, "arguments"} and waits for {"id", "value"}; so the grader, not the student, counts the calls.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import standin, values


def main() -> None:
    """Lower the limits, then answer messages until the grader closes the channel."""
    settings = json.loads(sys.argv[1])
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what the student prints is not an answer, and input() finds nothing
        os.dup2(nowhere, stream)
    threading.Timer.start = lambda self: None  # type: ignore[method-assign]  # Matplotlib's, which lists its fonts
    standin.install()
    limit_resources(**settings)
    serve(questions, answers)


def limit_resources(cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    """Lower the limits of this process. On Windows there are none: the grader's wall clock is what is left."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS refuses some of them
            continue


def serve(questions: Any, answers: Any) -> None:
    """Answer the grader's messages, one line each."""
    dumps = json.dumps
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def send(message: dict[str, Any]) -> None:
        answers.write(dumps(message) + "\n")
        answers.flush()

    def remote(identifier: str, name: str) -> Callable[..., Any]:
        def ask_the_grader(*arguments: Any) -> Any:
            send({"id": identifier, "ask": name, "arguments": [values.encode(argument) for argument in arguments]})
            reply = json.loads(questions.readline())
            if "problem" in reply:
                raise ValueError(reply["problem"])
            return values.decode(reply["value"])

        return ask_the_grader

    for line in questions:
        message = json.loads(line)
        identifier = message["id"]
        try:
            if "trees" in message:
                send({"id": identifier, "value": {name: tree(code) for name, code in message["trees"].items()}})
                continue
            if "load" in message:
                send({"id": identifier, "value": run_cells(message["load"], namespace)})
                continue
            name = message["call"] if "call" in message else message["read"]
            if name not in namespace:
                send({"id": identifier, "error": "missing"})
                continue
            value = namespace[name]
            if "call" in message:
                given = [
                    remote(identifier, argument["remote"])
                    if isinstance(argument, dict) and "remote" in argument
                    else values.decode(argument)
                    for argument in message["arguments"]
                ]
                value = value(*given)
            send({"id": identifier, "value": values.encode(value)})
        except values.NotPlain as problem:
            send({"id": identifier, "error": problem.code, "detail": problem.detail})
        except BaseException as problem:  # SystemExit and KeyboardInterrupt too: the next question is still asked
            send({"id": identifier, "error": "raised", "detail": type(problem).__name__})


def tree(source: str) -> tuple[str, int]:
    """A number for code that stays the same if names and comments change, and its size in nodes; ("", 0) without one.

    >>> one, other = "def f(x):\\n    return x + 1  # sum", "def f(value):\\n    'A text.'\\n    return value + 1"
    >>> tree(one) == tree(other), tree("f(")
    (True, ('', 0))
    """
    try:
        parsed = ast.parse(source[:50_000])
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "", 0
    names: dict[str, str] = {}
    for node in ast.walk(parsed):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    for node in ast.walk(parsed):
        for field in ("id", "arg"):
            if isinstance(getattr(node, field, None), str):
                name = names.setdefault(getattr(node, field), f"n{len(names)}")
                setattr(node, field, name)
    spelled = ast.dump(parsed)
    return hashlib.sha256(spelled.encode(errors="replace")).hexdigest()[:16], spelled.count("(")


def run_cells(cells: list[tuple[int, str]], namespace: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Run the notebook's cells in order; a cell that raises is noted, and the next one runs."""
    notes = []
    for number, source in cells:
        try:
            exec(compile_cell(number, source), namespace)
        except BaseException as problem:
            notes.append((number, type(problem).__name__, said(problem)))
    return notes


def said(problem: BaseException) -> str:
    """The text of an exception, which may be of a class that cannot say it."""
    try:
        return str(problem)[:200]
    except BaseException:
        return ""


TIMED = re.compile(r"(\s*)%%?time\b(?! *-)(.*)", re.DOTALL)  # what it times is the student's own code
OTHER_LANGUAGE = re.compile(r"\s*%%(?!time\b|timeit\b|capture\b|prun\b)")  # %%bash, %%html, %%writefile, …
JUPYTER = re.compile(r"(\s*)(?:[%!?].*|\w+(?:\.\w+)*\?\??\s*|([\w, ]+=\s*)[%!].*)")  # %magic, !command, name?, x = !ls


def compile_cell(number: int, source: str) -> Any:
    """The cell as code. Where Python stops at a line that only Jupyter understands, it is left out.

    A line that is timed runs, `x = !command` and `x = %magic` give an empty list, a cell in another language does
    nothing.

    >>> space = {}
    >>> exec(compile_cell(1, "%%time\\n%matplotlib inline\\n%time x = 3\\nfiles = !ls\\nx?\\ny = 7\\\\\\n% 4"), space)
    >>> space["x"], space["files"], space["y"]
    (3, [], 3)
    """
    if OTHER_LANGUAGE.match(source):
        return compile("", f"<cell {number}>", "exec")
    lines = source.splitlines()
    while True:
        try:
            return compile("\n".join(lines), f"<cell {number}>", "exec")
        except SyntaxError as problem:
            place = (problem.lineno or 0) - 1
            line = lines[place] if 0 <= place < len(lines) else ""
            timed, other = TIMED.fullmatch(line), JUPYTER.fullmatch(line)
            if timed:
                lines[place] = f"{timed[1]}{timed[2].strip() or 'pass'}"
            elif other:
                lines[place] = f"{other[1]}{other[2] + '[]' if other[2] else 'pass'}"
            else:
                raise
