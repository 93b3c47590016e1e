"""The registry: every strategy by name. `compare`, the plots, `walk` and the README's table read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.aligned import AlignedMTL
from tinymtl.steps.alternating import Alternating
from tinymtl.steps.averaged import Averaged
from tinymtl.steps.cagrad import CAGrad
from tinymtl.steps.conflict_free import ConFIG
from tinymtl.steps.db_mtl import DBMTL
from tinymtl.steps.gradnorm import GradNorm
from tinymtl.steps.gradvac import GradVac
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.nash import FairGrad, NashMTL
from tinymtl.steps.ngdiff import NGDiff
from tinymtl.steps.pcgrad import PCGrad
from tinymtl.steps.sdmgrad import SDMGrad
from tinymtl.steps.step import Step
from tinymtl.steps.upgrad import DualProj, UPGrad


@dataclass(frozen=True)
class Strategy:
    """A strategy: how to make its step, what to call it, and its three answers.

    Attributes
    ----------
    label : str
        What tables and figures call it.
    make : callable
        (model, optimizer, rng) → Step; without rng if `draws` is False.
    moves, weighed, memory : str
        Who moves together, how it is weighed, whose memory the trunk's update uses.
    cost : str
        Of a step: f and b for a forward and a backward pass through the trunk, h both for a head.
    draws : bool, default False
        Whether it draws random numbers.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.5])
    >>> tm.STRATEGIES["mgda"](problem, tm.SGD(lr=0.1))().weights
    array([0.75, 0.25])
    """

    label: str
    make: Callable[..., Step]
    moves: str
    weighed: str
    memory: str
    cost: str
    draws: bool = False

    def __call__(
        self, model: SharedBottom, optimizer: Optimizer, rng: int | np.random.Generator = 0, **options: Any
    ) -> Step:
        """The strategy's step for a model and an optimizer; `options` are those of its class."""
        return self.make(model, optimizer, **({"rng": rng} if self.draws else {}), **options)


def _shared(model: SharedBottom, optimizer: Optimizer, **options: Any) -> Step:
    return Alternating(model, optimizer, moments="shared", **options)


def _grouped(model: SharedBottom, optimizer: Optimizer, group_size: int | None = None, **options: Any) -> Step:
    """By default groups of half the tasks."""
    return RandomGrouped(model, optimizer, group_size or max(1, len(model.tasks) // 2), **options)


def _fairgrad(model: SharedBottom, optimizer: Optimizer, a: float = 2.0, **options: Any) -> Step:
    """By default the authors' a: with 1 it is Nash-MTL."""
    return FairGrad(model, optimizer, a, **options)


_K_BACKWARDS = "f + K·b + K·h"

#: name → how to make it, what to call it and its three answers.
STRATEGIES: dict[str, Strategy] = {
    "averaged": Strategy("averaged", Averaged, "all", "1/K", "one", "f + b + K·h"),
    "mgda": Strategy("MGDA", MGDA, "all", "min-norm of ∇_θ Lₖ", "one", "f + K·b + K·h"),
    "mgda-ub": Strategy("MGDA-UB", MGDAUB, "all", "min-norm of ∇_Z Lₖ", "one", "f + b + K·h"),
    "alternating-shared": Strategy("alternating (shared)", _shared, "one at a time", "1", "one", "K·(f + b + h)"),
    "alternating": Strategy(
        "alternating (per task)", Alternating, "one at a time", "1", "one per task", "K·(f + b + h)"
    ),
    "grouped": Strategy(
        "random groups", _grouped, "random groups of s", "1/s", "one per group", "⌈K/s⌉·(f + b) + K·h", draws=True
    ),
    "nash": Strategy("Nash-MTL", NashMTL, "all", "(Gα)ₖ = 1/αₖ", "one", _K_BACKWARDS),
    "fairgrad": Strategy("FairGrad (a = 2)", _fairgrad, "all", "(Gα)ₖ = αₖ^(−1/a)", "one", _K_BACKWARDS),
    "upgrad": Strategy("UPGrad", UPGrad, "all", "mean of projections on {Gα ≥ 0}", "one", _K_BACKWARDS),
    "dualproj": Strategy("DualProj", DualProj, "all", "projection of the mean on {Gα ≥ 0}", "one", _K_BACKWARDS),
    "cagrad": Strategy("CAGrad", CAGrad, "all", "max minₖ (Gα)ₖ, ‖v − g₀‖ ≤ c‖g₀‖", "one", _K_BACKWARDS),
    "pcgrad": Strategy("PCGrad", PCGrad, "all", "each less its part against another", "one", _K_BACKWARDS, draws=True),
    "config": Strategy("ConFIG", ConFIG, "all", "equal cosines", "one", _K_BACKWARDS),
    "aligned": Strategy("Aligned-MTL", AlignedMTL, "all", "equal singular values", "one", _K_BACKWARDS),
    "sdmgrad": Strategy("SDMGrad", SDMGrad, "all", "min-norm of ∇_θ Lₖ, αₖ ≥ λ/(K(1+λ))", "one", _K_BACKWARDS),
    "db-mtl": Strategy("DB-MTL (β = 0)", DBMTL, "all", "equal lengths, the longest of ∇ log Lₖ", "one", _K_BACKWARDS),
    "ngdiff": Strategy("NGDiff (sum)", NGDiff, "all", "1/‖∇_θ Lₖ‖", "one", _K_BACKWARDS),
    "gradvac": Strategy("GradVac", GradVac, "all", "cosines up to their average", "one", _K_BACKWARDS, draws=True),
    "gradnorm": Strategy("GradNorm", GradNorm, "all", "learned: long for a slow task", "one", _K_BACKWARDS),
}
