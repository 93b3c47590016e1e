"""The command `tinymtl lessons`: a copy of the lessons to work in, opened in JupyterLab."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinymtl.course.errors import CourseError
from tinymtl.course.files import write_text
from tinymtl.course.lessons.runner import folder, notebooks

DEFAULT = "tinymtl-lessons"
START = "README.md"


def add_lessons_parser(subparsers: Any) -> None:
    """Add `lessons` to the subparsers of a command; its `func` takes the parsed arguments, returns an exit code."""
    parser = subparsers.add_parser(
        "lessons",
        help="copy the lessons into a folder and open them in JupyterLab",
        description="Copy the ten lessons into a folder of your own, without their outputs (so that you can predict "
        "before you run), and open JupyterLab there. Files that are there already are left as they are: call it as "
        "often as you like. Needs JupyterLab: pip install 'tinymtl[lessons]'.",
        epilog="example: tinymtl lessons my-lessons",
    )
    parser.add_argument("directory", nargs="?", default=DEFAULT, metavar="DIR", help=f"default: {DEFAULT}")
    parser.add_argument("--no-open", action="store_true", help="only copy the lessons")
    parser.set_defaults(func=_lessons)


def copy_lessons(directory: str | Path) -> tuple[list[str], list[str]]:
    """Copy the lessons, their README and its figures into `directory`, leaving alone every file that is there.

    Returns
    -------
    The names of the files that were copied, and of those that were there already.

    Raises
    ------
    CourseError
        Where there are no lessons to copy, or the directory cannot be made or is the lessons' own.
    """
    source, target = folder(), Path(directory)
    if target.resolve().is_relative_to(source.resolve()):
        raise CourseError(f"{target} is inside the lessons' own folder: choose a folder of your own")
    figures = sorted((source / "figures").glob("[0-9][0-9]_*"))
    copied, kept = [], []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in [*notebooks(source), *([source / START] if (source / START).exists() else []), *figures]:
            name = path.relative_to(source)
            place = target / name
            if os.path.lexists(place):
                kept.append(name.as_posix())
                continue
            if path.suffix == ".ipynb":
                write_text(place, _without_outputs(path.read_text(encoding="utf-8")))
            else:
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, place)
            copied.append(name.as_posix())
    except OSError as problem:
        raise CourseError(f"cannot copy the lessons to {target}: {problem.strerror}; choose another folder") from None
    return copied, kept


def _without_outputs(text: str) -> str:
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _lessons(arguments: argparse.Namespace) -> int:
    copied, kept = copy_lessons(arguments.directory)
    if copied:
        print(f"copied {len([name for name in copied if name.endswith('.ipynb')])} lessons to {arguments.directory}")
    if kept:
        print(f"left as they were: {len(kept)} files that were there already")
    if arguments.no_open:
        return 0
    if find_spec("jupyterlab") is None:
        raise CourseError(
            "JupyterLab is not installed here: pip install 'tinymtl[lessons]', or open the folder "
            f"{arguments.directory} in your own notebook editor"
        )
    print("opening JupyterLab; Ctrl-C here ends it", flush=True)
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", arguments.directory])
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:  # Jupyter has seen the Ctrl-C as well, asks, and ends its kernels itself
            continue
