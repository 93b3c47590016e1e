"""The command `tinymtl` (also `python -m tinymtl`)."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import tinymtl
from tinymtl.checks import did_you_mean
from tinymtl.files import occupy_standard_descriptors

#: Commands that other modules bring: where each one's parser is made.
COMMANDS = (
    ("tinymtl.lab.walk", "add_walk_parser"),
    ("tinymtl.lab.promises.command", "add_promises_parser"),
    ("tinymtl.course.commands", "add_release_parser"),
    ("tinymtl.course.commands", "add_grade_parser"),
    ("tinymtl.course.lessons.command", "add_lessons_parser"),
)

EXAMPLES = """\
examples:
  tinymtl compare
      the main job: multidigits and attributes, all strategies, three seeds; under a minute on two cores
  tinymtl compare --data weather --steps averaged mgda-ub --seeds 5
      one data set, two strategies (and the single-task nets), five seeds
  tinymtl compare --data multidigits --trunk 64 --epochs 20 --lr 0.003 --out wide
      a wider trunk and other settings; the files go to the directory wide
  tinymtl compare --trunk 32 16
      a trunk of two layers
  tinymtl compare --data multi_mnist --data-dir mnist --device auto
      MultiMNIST with a LeNet, from MNIST's four files in the directory mnist; on a GPU if there is one
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one sentence, without the usage around it."""

    def __init__(self, **options: Any):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options["allow_abbrev"] = False  # a shortened option would be taken today and be ambiguous tomorrow
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Say it, and leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Leave because of arguments that no option takes."""
        options = [name for name in self._option_string_actions if name.startswith("--")]
        name = unknown[0].partition("=")[0]
        hint = f": {did_you_mean(name, options)}" if name.startswith("-") else ""
        self.error(f"unknown argument {unknown[0]!r}{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0; 1 if part of the work failed and the rest is there; 2 for a wrong call or input; 130 for Ctrl-C; 141 if whoever
    read the output closed it, as `| head` does.

    >>> main(["--version"])
    tinymtl 0.1.0
    0
    """
    occupy_standard_descriptors()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # a service, pythonw, `2>&-`
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a console that cannot show Δ or ± gets a question mark instead
        with contextlib.suppress(AttributeError):  # not every stream (a notebook's, a test's) can be told so
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _on_stderr  # type: ignore[assignment]
                code = _run(arguments)
        except SystemExit as leave:  # argparse leaves this way, with --help as with an error
            code = int(leave.code or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a file descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        return 141
    except KeyboardInterrupt:
        print("tinymtl: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        print(f"tinymtl: there is not enough memory{f': {error}' if str(error) else ''}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
        print(f"tinymtl: {_sentence(error)}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    parser = Parser(prog="tinymtl", description="See how multi-task training strategies differ.")
    parser.add_argument("--version", action="version", version=f"tinymtl {tinymtl.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    _add_compare_parser(commands)
    for module, function in COMMANDS:
        if _is_there(module):
            getattr(importlib.import_module(module), function)(commands)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands.choices:
        parser.error(f"unknown command {arguments[0]!r}: {did_you_mean(arguments[0], commands.choices)}")
    args, unknown = parser.parse_known_args(arguments)
    if args.command is None:
        if unknown:
            parser.refuse(unknown)
        parser.print_help()
        return 0
    if unknown:
        commands.choices[args.command].refuse(unknown)
    code: int = args.func(args)
    return code


def _sentence(error: Exception) -> str:
    """What went wrong, without the error number that the operating system adds."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there either
        return False


# ------------------------------------------------------------ compare


def _add_compare_parser(commands: Any) -> None:
    from tinymtl.data import NAMES
    from tinymtl.lab.strategies import TOUR
    from tinymtl.steps import STRATEGIES

    parser = commands.add_parser(
        "compare",
        help="train every strategy on real data and show how they differ",
        description="Train single-task nets and every strategy on real data, several seeds each, and show how they\n"
        "differ: a table per data set, which differences are inside the noise, and three files\n"
        "(results.csv, results.json, comparison.png). Each run is in runs.jsonl as soon as it is finished.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--data", nargs="+", metavar="NAME", help=f"data sets: {', '.join(NAMES)} (default: multidigits attributes)")
    add("--data-dir", metavar="DIR", help="where MNIST's four files lie, for multi_mnist")
    names = f"strategies: all, or {', '.join(STRATEGIES)} (default: {', '.join(TOUR)})"
    add("--steps", nargs="+", metavar="NAME", help=names)
    add("--trunk", nargs="+", type=_width, metavar="WIDTH", help="widths of the trunk's layers, or lenet for images")
    add("--epochs", type=_whole, metavar="N", help="passes over the training rows (default: as fits the data set)")
    add("--seeds", type=_whole, default=3, metavar="N", help="how many seeds: 0 to N - 1 (default 3)")
    add("--lr", type=_positive, metavar="RATE", help="Adam's learning rate, for every strategy (default: as fits)")
    add(
        "--device",
        choices=("cpu", "cuda", "auto"),
        default="cpu",
        help="cpu (default, for small networks the fastest), cuda, or auto: the GPU if there is one",
    )
    add("--out", default="results", metavar="DIR", help="where the files go (default results)")
    add("--resume", action="store_true", help="take the runs that are finished in DIR/runs.jsonl, and do the others")
    parser.set_defaults(func=_compare)


def _compare(args: argparse.Namespace) -> int:
    from tinymtl.lab.comparison import compare
    from tinymtl.lab.results import FILES, check_out

    check_out(args.out)
    data = args.data or (["multi_mnist"] if args.data_dir else ["multidigits", "attributes"])
    if args.trunk and "lenet" in args.trunk and len(args.trunk) > 1:
        raise ValueError("--trunk takes widths or the one word lenet, not both")
    found = compare(
        data,
        args.steps,
        trunk="lenet" if args.trunk == ["lenet"] else args.trunk,
        epochs=args.epochs,
        seeds=args.seeds,
        lr=args.lr,
        device=_device(args.device),
        data_dir=args.data_dir,
        workers=min(8, _cores()),
        out=args.out,
        resume=args.resume,
    )
    try:
        print(found, flush=True)
    finally:  # if whoever reads has gone, the files are written all the same
        files = found.save(args.out)
    print(f"\nWritten: {', '.join(files)}")
    return 1 if found.failures or len(files) < len(FILES) else 0


def _on_stderr(message: Warning | str, *_: Any) -> None:
    print(f"tinymtl: {message}", file=sys.stderr, flush=True)


def _device(name: str) -> str:
    """The device that "auto" stands for; a line on stderr if it is the CPU."""
    if name != "auto":
        return name
    from tinymtl.backend import cuda_problem

    problem = cuda_problem()
    if problem is None:
        return "cuda"
    print(f"tinymtl: running on the CPU, since {problem}", file=sys.stderr)
    return "cpu"


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _width(text: str) -> int | str:
    return text if text == "lenet" else _whole(text)


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
