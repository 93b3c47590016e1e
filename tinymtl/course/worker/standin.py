"""Stand-ins for what a notebook has around it in Jupyter, and for Matplotlib if it is not installed.

A name under a package that is stood in for imports, can be called, indexed, unpacked in two, and used in a `with`
statement; it does nothing.
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

JUPYTER = ("IPython", "ipywidgets")


class Silent(ModuleType):
    """An object, or a module, on which everything can be done and nothing happens.

    >>> plt = Silent("matplotlib.pyplot")
    >>> figure, axes = plt.subplots()
    >>> axes.plot([1, 2], marker="o")[0]
    <Silent>
    """

    __path__: list[str] = []
    version_info = (99,)  # Matplotlib asks IPython for it, and whether `get_ipython()` gives anything

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # __wrapped__, __iter__ and so on: the questions that Python itself asks
            raise AttributeError(name)
        return Silent(name)

    def __repr__(self) -> str:
        return "<Silent>"

    def __call__(self, *arguments: Any, **options: Any) -> Silent:  # noqa: D102
        return self

    def __getitem__(self, key: Any) -> Silent:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Silent]:
        return iter((self, self))

    def __bool__(self) -> bool:
        return False

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *problem: Any) -> None:
        pass


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] == "tinymtl":
            raise ImportError("tinymtl is not available while a notebook is graded")
        if name.split(".")[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Silent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Put the stand-ins before the real packages, in this process, and Jupyter's two own names into every cell."""
    missing = () if importlib.util.find_spec("matplotlib") else ("matplotlib",)
    sys.meta_path.insert(0, _Finder((*JUPYTER, *missing)))
    for name in ("display", "get_ipython"):
        setattr(builtins, name, Silent(name))
