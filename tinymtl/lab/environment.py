"""Environment variables for the processes that a block of code starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started inside, and put them back after.

    Examples
    --------
    >>> with environment({"TINYMTL_EXAMPLE": "1"}):
    ...     os.environ["TINYMTL_EXAMPLE"]
    '1'
    >>> "TINYMTL_EXAMPLE" in os.environ
    False
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
