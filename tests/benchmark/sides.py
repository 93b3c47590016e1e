"""The sides: what each is called, where it is built, and which library it needs."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from tests.benchmark.workloads import Workload

Built = tuple[Callable[[], Any], Callable[[], list[np.ndarray]]]

FLOOR = "floor"
AGAINST = "against"  # the tinymtl of another checkout


class Side(NamedTuple):
    """Where a side is built: ``module.build(workload, strategy, optimizer, **options)``."""

    module: str
    library: str = "numpy"
    options: dict[str, Any] = {}


SIDES = {
    "tinymtl": Side("tinymtl_side"),
    AGAINST: Side("tinymtl_side"),
    FLOOR: Side("floor"),
    "floor-stacked": Side("floor_stacked"),
    "torch": Side("torch_side", "torch"),
    "torch-stacked": Side("torch_side", "torch", {"heads": "stacked"}),
    "torch-gram": Side("torch_side", "torch", {"heads": "gram"}),
    "torch-channels-last": Side("torch_side", "torch", {"channels_last": True}),
    "torchjd": Side("torchjd_side", "torchjd"),
    "jax": Side("jax_side", "jax"),
    "jax-stacked": Side("jax_side", "jax", {"stacked": True}),
    "autograd": Side("autograd_side", "autograd"),
    "mygrad": Side("mygrad_side", "mygrad"),
}


def missing(names: list[str]) -> list[str]:
    """Libraries that some of the sides need and that are not installed."""
    return sorted({SIDES[name].library for name in names if find_spec(SIDES[name].library) is None})


def build(name: str, workload: Workload, strategy: str, optimizer: str) -> Built:
    """The step and the parameters of one side; raises `Unsupported` if it has no such form."""
    side = SIDES[name]
    module = importlib.import_module(f"{__package__}.{side.module}")
    built: Built = module.build(workload, strategy, optimizer, **side.options)
    return built
