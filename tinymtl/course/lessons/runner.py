"""The ten lessons: where their notebooks are, and how one is run from a clean state."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from tinymtl.course.errors import CourseError

NAME = re.compile(r"\d\d_\w+\.ipynb")
SECONDS = 600  # a cell that takes longer has hung
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def folder() -> Path:
    """The folder with the lessons: beside the package in a checkout, otherwise where pip put them.

    Raises
    ------
    CourseError
        Where this installation has none.
    """
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").exists() and notebooks(checkout / "lessons"):
        return checkout / "lessons"
    try:
        installed = metadata.files("tinymtl") or []
    except metadata.PackageNotFoundError:
        installed = []
    for file in installed:
        if NAME.fullmatch(file.name):
            return Path(str(file.locate())).resolve().parent
    raise CourseError("this installation of tinymtl has no lessons: install it again, or work in a checkout of it")


def notebooks(directory: Path) -> list[Path]:
    """The lessons in a directory, in order."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if NAME.fullmatch(path.name))


def run(notebook: Any, seconds: int = SECONDS) -> Any:
    """Run every cell of a notebook in a fresh kernel and return it with its new outputs; the argument stays as it is.

    The kernel works in a temporary folder and imports this very package. Needs nbclient and ipykernel (the extra
    `lessons`).
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    package = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as work:
        client = NotebookClient(
            notebook,
            timeout=seconds,
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],  # newer kernels warn about talking over TCP, here on one machine
            resources={"metadata": {"path": work}},
        )
        client.execute(env=env)
    notebook.metadata = nbformat.from_dict(METADATA)  # the kernel has added its exact version
    return notebook
