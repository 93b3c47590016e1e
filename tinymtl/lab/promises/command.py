"""The command `tinymtl promises`: what a strategy promises, and the smallest counterexample to what it does not."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from tinymtl.checks import choose
from tinymtl.lab.promises.page import DRAWS, about, promises
from tinymtl.lab.promises.properties import PROPERTIES
from tinymtl.steps import STRATEGIES


def add_promises_parser(subparsers: Any) -> None:
    """Add `promises` to the subparsers of a command; its `func` takes the parsed arguments, returns an exit code."""
    says = [f"  {name}: {' '.join((holds.__doc__ or '').split())}" for name, holds in PROPERTIES.items()]
    parser = subparsers.add_parser(
        "promises",
        help="what strategies promise: proofs, and the smallest counterexamples",
        description="For every property of a strategy the proof in two lines, or the smallest counterexample that a\n"
        "search finds: whole gradients, weights, v, and the violated inequality. A few seconds each.",
        epilog="example: tinymtl promises pcgrad upgrad\n\nproperties:\n"
        + "\n".join(textwrap.fill(line, 110, subsequent_indent="      ") for line in says),
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"strategies: {', '.join(STRATEGIES)}")
    parser.add_argument("--draws", type=_whole, default=DRAWS, metavar="N",
                        help=f"how many random gradients are tried for what is not proved (default {DRAWS})")
    parser.set_defaults(func=_promises)


def _promises(args: argparse.Namespace) -> int:
    for name in [choose("strategy", name, STRATEGIES) for name in args.names]:
        row = promises(name, args.draws)
        print(STRATEGIES[name].label)
        for line in ["– takes turns: there is no one v for all tasks."] if row is None else about(row):
            print(textwrap.fill(line.replace("**", ""), 110, initial_indent="  ", subsequent_indent="      "))
        print(flush=True)
    return 0


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
