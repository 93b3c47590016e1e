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
from tinymtl.steps.dtp import DTP
from tinymtl.steps.dwa import DWA
from tinymtl.steps.famo import FAMO
from tinymtl.steps.gls import GLS
from tinymtl.steps.gradnorm import GradNorm
from tinymtl.steps.gradvac import GradVac
from tinymtl.steps.grouped import RandomGrouped
from tinymtl.steps.mgda import MGDA, MGDAUB
from tinymtl.steps.nash import FairGrad, NashMTL
from tinymtl.steps.ngdiff import NGDiff
from tinymtl.steps.pcgrad import PCGrad
from tinymtl.steps.rlw import RLW
from tinymtl.steps.sdmgrad import SDMGrad
from tinymtl.steps.slaw import SLAW
from tinymtl.steps.stch import STCH
from tinymtl.steps.step import Step
from tinymtl.steps.uncertainty import UncertaintyWeighting
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
    choose : str
        What speaks for it, after "choose it if".
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
    choose: str
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


def _adatask(model: SharedBottom, optimizer: Optimizer, **options: Any) -> Step:
    return RandomGrouped(model, optimizer, len(model.tasks), moments="per-task", reduction="sum", **options)


_ONE_BACKWARD, _K_BACKWARDS = "f + b + K·h", "f + K·b + K·h"

#: name → how to make it, what to call it, its three answers, its cost and what speaks for it.
STRATEGIES: dict[str, Strategy] = {
    "averaged": Strategy(
        "averaged", Averaged, "all", "1/K, or fixed", "one", _ONE_BACKWARD,
        "you have not tried it yet: tuned well it is hard to beat",
    ),
    "mgda": Strategy(
        "MGDA", MGDA, "all", "min-norm of ∇_θ Lₖ", "one", _K_BACKWARDS,
        "no loss may rise, and you want a proof at every step that it could not be shorter",
    ),
    "mgda-ub": Strategy(
        "MGDA-UB", MGDAUB, "all", "min-norm of ∇_Z Lₖ", "one", _ONE_BACKWARD,
        "MGDA is what you want and K backwards are too many",
    ),
    "alternating-shared": Strategy(
        "alternating (shared)", _shared, "one at a time", "1", "one", "K·(f + b + h)",
        "you want to see what the moments per task do, by leaving them out",
    ),
    "alternating": Strategy(
        "alternating (per task)", Alternating, "one at a time", "1", "one per task", "K·(f + b + h)",
        "the losses have very different sizes and the optimizer is Adam",
    ),
    "grouped": Strategy(
        "random groups", _grouped, "random groups of s", "1/s", "one per group", "⌈K/s⌉·(f + b) + K·h",
        "there are many tasks, and alternating costs too much", draws=True,
    ),
    "nash": Strategy(
        "Nash-MTL", NashMTL, "all", "(Gα)ₖ = 1/αₖ", "one", _K_BACKWARDS,
        "no loss may rise, the losses' units mean nothing, and the learning rate decays",
    ),
    "fairgrad": Strategy(
        "FairGrad (a = 2)", _fairgrad, "all", "(Gα)ₖ = αₖ^(−1/a)", "one", _K_BACKWARDS,
        "one number shall say how much the worst-served task counts",
    ),
    "upgrad": Strategy(
        "UPGrad", UPGrad, "all", "mean of projections on {Gα ≥ 0}", "one", _K_BACKWARDS,
        "no loss may rise and a long gradient shall count for more",
    ),
    "dualproj": Strategy(
        "DualProj", DualProj, "all", "projection of the mean on {Gα ≥ 0}", "one", _K_BACKWARDS,
        "you want the averaged step, but for what would raise a loss",
    ),
    "cagrad": Strategy(
        "CAGrad", CAGrad, "all", "max minₖ (Gα)ₖ, ‖v − g₀‖ ≤ c‖g₀‖", "one", _K_BACKWARDS,
        "it shall end where the averaged step ends, and treat the worst-served task better on the way",
    ),
    "pcgrad": Strategy(
        "PCGrad", PCGrad, "all", "each less its part against another", "one", _K_BACKWARDS,
        "you compare with the literature, or have two tasks (where it is twice UPGrad)", draws=True,
    ),
    "config": Strategy(
        "ConFIG", ConFIG, "all", "equal cosines", "one", _K_BACKWARDS,
        "no loss may rise, units mean nothing, the gradients are independent, and steps shall shrink with them",
    ),
    "aligned": Strategy(
        "Aligned-MTL", AlignedMTL, "all", "equal singular values", "one", _K_BACKWARDS,
        "you study it: it stalls also where the tasks agree",
    ),
    "sdmgrad": Strategy(
        "SDMGrad", SDMGrad, "all", "min-norm of ∇_θ Lₖ, αₖ ≥ λ/(K(1+λ))", "one", _K_BACKWARDS,
        "MGDA is what you want, but no task may be left out",
    ),
    "db-mtl": Strategy(
        "DB-MTL (β = 0)", DBMTL, "all", "equal lengths, the longest of ∇ log Lₖ", "one", _K_BACKWARDS,
        "units mean nothing and no loss comes near 0",
    ),
    "ngdiff": Strategy(
        "NGDiff (sum)", NGDiff, "all", "1/‖∇_θ Lₖ‖", "one", _K_BACKWARDS,
        "every task shall pull equally hard, or one shall be forgotten",
    ),
    "gradvac": Strategy(
        "GradVac", GradVac, "all", "cosines up to their average", "one", _K_BACKWARDS,
        "you compare with the literature: it fades to the plain sum", draws=True,
    ),
    "gradnorm": Strategy(
        "GradNorm", GradNorm, "all", "learned: long for a slow task", "one", _K_BACKWARDS,
        "tasks shall train at the same pace, and a conflict does not matter",
    ),
    "uncertainty": Strategy(
        "uncertainty", UncertaintyWeighting, "all", "½e^(−sₖ), learned: towards 1/2Lₖ", "one", _ONE_BACKWARD,
        "units mean nothing and one backward must do",
    ),
    "slaw": Strategy(
        "SLAW", SLAW, "all", "1/σ of the last losses", "one", _ONE_BACKWARD,
        "you want Nash-MTL's weights for one backward, and every loss falls",
    ),
    "famo": Strategy(
        "FAMO", FAMO, "all", "zₖ/Lₖ, learned: all log Lₖ fall alike", "one", "2·f + b + K·h",
        "you want MGDA's balance of ∇ log Lₖ for one backward",
    ),
    "dwa": Strategy(
        "DWA", DWA, "all", "more for what fell less last epoch", "one", _ONE_BACKWARD,
        "weights shall stay near equal and lean a little to the slow tasks",
    ),
    "dtp": Strategy(
        "DTP", DTP, "all", "−(1 − κₖ)^γ log κₖ of an indicator κ", "one", _ONE_BACKWARD,
        "what counts is an indicator such as accuracy, and hard tasks come first",
    ),
    "rlw": Strategy(
        "RLW", RLW, "all", "random", "one", _ONE_BACKWARD,
        "you need to know whether a better method is better than chance", draws=True,
    ),
    "gls": Strategy(
        "GLS", GLS, "all", "geometric mean: ∝ 1/Lₖ", "one", _ONE_BACKWARD,
        "units mean nothing, nothing shall be learned or tuned, and no loss comes near 0",
    ),
    "stch": Strategy(
        "STCH (μ = 0.1)", STCH, "all", "softmax of Lₖ/μ: the worst loss", "one", _ONE_BACKWARD,
        "the worst loss is what counts, the units are one, or the front may be concave",
    ),
    "adatask": Strategy(
        "AdaTask", _adatask, "all", "1", "one per task", _K_BACKWARDS,
        "the optimizer is Adam, and no task's size may hide another in its moments",
    ),
}
