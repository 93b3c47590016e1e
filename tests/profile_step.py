"""How often the reader of one MGDA-UB step has to change file, and how many functions the step enters.

    python tests/profile_step.py                          this checkout (where it is installed as editable)
    PYTHONPATH=CHECKOUT python tests/profile_step.py      another one

The rule: `sys.setprofile` reports every call of a Python function, method, comprehension or generator (a generator
once each time it goes on). Of the calls into files of the package, in order, a *change of file* is one whose file is
not the file of the call before it. Returns do not count, nor do NumPy and C. *Outside* is the same after all calls
into the engine have been left out: autodiff, backend, kernels, and of nn functional, losses, layers, parameters.

The step is the first one of a new model, plain SGD, targets by name: three classification tasks on a trunk of two
layers. Its heads are Linear, which are stacked, or a subclass of Linear, which is not. With Python 3.11, commit
8d695f9 has 100 and 188 changes of file in all, 28 and 24 outside. (From 3.12 on list comprehensions are no calls of
their own, and the figures a little lower.)
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinymtl as tm

PACKAGE = Path(tm.__file__).resolve().parent
#: The engine's rooms and files: those that 8d695f9 has, and `module`, which was part of its `layers`.
ENGINE = {"autodiff", "backend", "kernels", "functional", "losses", "layers", "module", "parameters"}


class Separate(tm.nn.Linear):
    """A head that is not stacked, as nobody knows what a subclass does."""


HEADS = {"stacked": tm.nn.Linear, "separate": Separate}


class Counted(NamedTuple):
    """Changes of file and functions entered, in all and outside the engine."""

    changes: int
    functions: int
    changes_outside: int
    functions_outside: int


def calls_of(run) -> list[Path]:
    """The package's file of every call that `run()` makes, in order, relative to the package."""
    files = []

    def profile(frame, event, _):
        if event == "call":
            files.append(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(before)
    paths = (Path(file) for file in files)
    return [path.relative_to(PACKAGE) for path in paths if path.is_relative_to(PACKAGE)]


def changes(files: list[Path]) -> int:
    """How many differ from the one before."""
    return sum(one != other for one, other in zip(files, files[1:], strict=False))


def first_step(heads: str):
    """The first MGDA-UB step of a new model with "stacked" or "separate" heads, as a function."""
    rng = np.random.default_rng(0)
    tasks = [tm.Task(f"task {k}", HEADS[heads](4, 3, rng=k), tm.cross_entropy) for k in range(3)]
    step = tm.MGDAUB(tm.SharedBottom(tm.nn.MLP([5, 4, 4], rng=9), tasks), tm.SGD(0.1))
    x = rng.normal(size=(8, 5)).astype(np.float32)
    targets = {f"task {k}": rng.integers(0, 3, 8) for k in range(3)}
    return lambda: step(x, targets)


def count(heads: str) -> Counted:
    """The calls of one step."""
    first_step(heads)()  # what is made once in a process is now there
    files = calls_of(first_step(heads))
    outside = [file for file in files if not ENGINE & set(file.with_suffix("").parts)]
    return Counted(changes(files), len(files), changes(outside), len(outside))


def main() -> None:
    """Print both."""
    print(f"one MGDA-UB step of {PACKAGE}")
    print(f"{'heads':10}{'changes of file':>17}{'outside':>9}{'functions':>11}{'outside':>9}")
    for heads in HEADS:
        found = count(heads)
        print(
            f"{heads:10}{found.changes:17}{found.changes_outside:9}{found.functions:11}{found.functions_outside:9}"
        )


if __name__ == "__main__":
    main()
