"""`tinymtl walk`: what it prints, when it waits, and how it refuses."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys

import pytest

import tinymtl as tm
from tinymtl.lab import walk as module
from tinymtl.lab.walk import add_walk_parser, hand_example
from tinymtl.steps import STRATEGIES


def run(*arguments):
    parser = argparse.ArgumentParser(prog="tinymtl")
    add_walk_parser(parser.add_subparsers())
    parsed = parser.parse_args(["walk", *arguments])
    return parsed.func(parsed)


def test_the_hand_example(capsys):
    assert run("--problem", "hand") == 0
    out = capsys.readouterr().out
    lines = [line.strip() for line in out.splitlines()]
    for expected in (
        "loss of task 1     2",
        "loss of task 2     0.5",
        "g of task 1        (2, 2)",
        "g of task 2        (0, −1)",
        "gram               (8, −2)",
        "α of task 1        3/13",
        "α of task 2        10/13",
        "‖v‖²               4/13",
        "v                  (6/13, −4/13, 12/13, −8/13)",
    ):
        assert expected in lines
    heads = [line for line in lines if line.startswith("── ")]
    titles = [line.strip("─ ").split(". ")[1] for line in heads]
    assert titles == ["forward", "task gradients", "gram", "weights", "trunk backward", "update"]
    model, x, targets = hand_example()
    trace = tm.trace(tm.MGDAUB(model, tm.SGD(0.1)), x, targets)
    assert repr(trace) in out
    assert trace.explain() in " ".join(out.splitlines())
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("step", STRATEGIES)
def test_every_strategy(step, capsys):
    assert run("--step", step, "--data", "penguins") == 0
    out = capsys.readouterr().out
    assert "64 rows of penguins, a trunk of 8 units, 5 tasks" in out
    assert out.count(". update") == {"alternating": 5, "alternating-shared": 5, "grouped": 3}.get(step, 1)
    assert "What the step did" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_default_is_a_minibatch_of_multidigits(capsys):
    assert run() == 0
    out = capsys.readouterr().out
    assert out.startswith("64 rows of multidigits, a trunk of 8 units, 2 tasks. One step of MGDAUB, η = 0.1.\n")
    assert "64 × 8 numbers, length " in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--step", "mgdaub"], "unknown strategy 'mgdaub': did you mean 'mgda-ub'?"),
        (["--step", "single"], "'single' trains one network per task"),
        (["--data", "multidigit"], "unknown data set 'multidigit': did you mean 'multidigits'?"),
        (["--data", "multi_mnist"], "multi_mnist needs the option 'directory'"),
        (["--problem", "hnd"], "unknown problem 'hnd': did you mean 'hand'?"),
        (["--problem", "hand", "--data", "weather"], "give --data or --problem, not both"),
    ],
)
def test_refusals_are_one_sentence(arguments, sentence, capsys):
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"tinymtl walk: {sentence}") and said.err.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_asked_after_every_stage(monkeypatch):
    out, asked = Terminal(), []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append((prompt, out.getvalue().count("── "))))
    assert run("--problem", "hand") == 0
    assert [seen for _, seen in asked] == [1, 2, 3, 4, 5, 6]  # each stage is printed before its prompt, and no other
    assert "Enter" in asked[0][0]


def test_the_end_of_the_input_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())  # its end is reached at once: input() raises EOFError
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    assert run("--problem", "hand") == 0


def test_piped_it_prints_all_and_waits_for_nothing():
    code = (
        "import argparse, sys; from tinymtl.lab.walk import add_walk_parser;"
        "p = argparse.ArgumentParser(); add_walk_parser(p.add_subparsers());"
        "a = p.parse_args(['walk', '--problem', 'hand']); sys.exit(a.func(a))"
    )
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], input="", capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and done.stderr == ""
    assert "α of task 1        3/13" in done.stdout and "What the step did" in done.stdout
    assert "Enter" not in done.stdout


def test_every_stage_has_a_meaning():
    model, x, targets = hand_example()
    names = set()
    for strategy in STRATEGIES.values():
        step = strategy(model, tm.SGD(0.1))
        names |= {stage.name for stage in step.stages(x, targets)}
    assert names == set(module.MEANINGS) - {"min-norm"}
