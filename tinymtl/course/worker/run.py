"""The process that runs one student's notebook: `python -I worker.py SETTINGS`.

It reads one JSON message a line from its standard input and answers each with one line. It is told inputs and
never a right answer; what it says is only ever read as plain values. Messages, each with a fresh `id` that
the answer has to repeat:

    {"id", "load": [[number, source], …]}    run the cells in order → {"id", "value": [[number, exception, text], …]}
    {"id", "call": name, "arguments": […]}   call the student's function → {"id", "value"} or {"id", "error", "detail"}
    {"id", "read": name}                     the value of a variable → likewise

An argument spelled {"remote": name} is a function that lives with the grader: calling it sends
{"id", "ask": name, "arguments"} and waits for {"id", "value"}; so the grader, not the student, counts the calls.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def main() -> None:
    """Lower the limits, then answer messages until the grader closes the channel."""
    settings = json.loads(sys.argv[1])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)  # python -I leaves it out; the three neighbours are all that is taken from it
    guard, standin, values = (importlib.import_module(name) for name in ("guard", "standin", "values"))
    sys.path.remove(here)

    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what the student prints is not an answer, and input() finds nothing
        os.dup2(nowhere, stream)

    standin.install()
    guard.limit_resources(**settings["limits"])
    guard.watch(scratch=os.getcwd(), numpy_home=os.path.dirname(os.path.dirname(np.__file__)))
    serve(questions, answers, values)


def serve(questions: Any, answers: Any, values: Any) -> None:
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


def run_cells(cells: list[tuple[int, str]], namespace: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Run the notebook's cells in order; a cell that raises is noted, and the next one runs."""
    notes = []
    for number, source in cells:
        try:
            exec(compile_cell(number, source), namespace)
        except BaseException as problem:
            notes.append((number, type(problem).__name__, str(problem)[:200]))
    return notes


def compile_cell(number: int, source: str) -> Any:
    """The cell as code; lines that only IPython understands (`%matplotlib inline`, `!ls`) are left out."""
    try:
        return compile(source, f"<cell {number}>", "exec")
    except SyntaxError:
        lines = source.splitlines()
        kept = ["" if line.lstrip().startswith(("%", "!")) else line for line in lines]
        if kept == lines:
            raise
        return compile("\n".join(kept), f"<cell {number}>", "exec")


if __name__ == "__main__":
    main()
