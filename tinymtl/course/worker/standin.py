"""A stand-in for plotting: while a notebook is graded, figures are neither drawn nor waited for.

Importing matplotlib takes longer than everything else that the worker does. A name under one of `PACKAGES`
imports, can be called, indexed, unpacked in two, and used in a `with` statement; it does nothing.
Loaded by the worker by its path: it imports nothing of tinymtl.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

PACKAGES = ("matplotlib", "IPython", "ipywidgets")


class Silent(ModuleType):
    """An object, or a module, on which everything can be done and nothing happens.

    >>> plt = Silent("matplotlib.pyplot")
    >>> figure, axes = plt.subplots()
    >>> axes.plot([1, 2], marker="o")[0]
    <Silent>
    """

    __path__: list[str] = []

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

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *problem: Any) -> None:
        pass


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Silent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Put the stand-ins before the real packages, in this process."""
    sys.meta_path.insert(0, _Finder())
