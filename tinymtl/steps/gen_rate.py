"""GeN: the learning rate at the bottom of a parabola (Bu & Xu 2024, with NGDiff in arXiv 2410.22086)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymtl.nn.shared_bottom import BeforeForward
from tinymtl.steps.losses import losses_again
from tinymtl.steps.step import Step, Update, Updates


class GeN(Step):
    """Any strategy's step, made longer or shorter to where the mean loss along it is least.

    The strategy moves θ by Δ with its own optimizer and learning rate. With L₋, L₀, L₊ the mean loss of the tasks that
    moved, at θ + fΔ, θ and θ − fΔ, the parabola through them is least at f* = (f/2)(L₊ − L₋)/(L₊ − 2L₀ + L₋). If it
    opens upwards and falls along Δ, f ← keep·f + (1 − keep)·f*, with f* held in [f/2, 2f]. Then θ ← θ + fΔ. As every
    rule here moves by its learning rate times something, f is a factor of that rate: f = 1 at the start.

    For a quadratic loss f* is exact from any start. Two more forwards of the same batch, with the same random masks.
    In float32 the second difference of the losses is mostly rounding if a step changes them by less than one part in
    a thousand. Where tasks take turns every turn is measured by its own losses.

    The authors fit three probes, one of them θ itself, by least squares and take the fit only if r² > 0.99: through
    three points it always is 1.

    Parameters
    ----------
    step : Step
        Made for the model as usual; it is used through this one alone from then on.
    keep : float in [0, 1), default 0.9

    Attributes
    ----------
    memory : dict
        The step's own, and "factor", the f.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([2.0], [[0.0]], start=[1.0])  # best rate: 1/2
    >>> step = tm.GeN(tm.Averaged(problem, tm.SGD(lr=0.25)), keep=0.0)
    >>> report = step()
    >>> step.memory["factor"], problem.theta.data
    (2.0, array([0.]))
    """

    def __init__(self, step: Step, keep: float = 0.9):
        if not isinstance(step, Step):
            raise TypeError(f"GeN makes a step's length right: give a Step, not a {type(step).__name__}")
        super().__init__(step.model, step.optimizer)
        if not 0.0 <= keep < 1.0:
            raise ValueError(f"keep is {keep}: give a number from 0 to below 1, such as 0.9")
        self.step, self.keep = step, keep
        self.memory = step.memory
        self.memory["factor"] = 1.0
        self.equivariant, self.one_update = step.equivariant, step.one_update

    def updates(self, batch: Any) -> Updates:
        """Those of the strategy, each of which ends where the parabola says."""
        self.step.group, self.step._run, self.step._copies = self.group, self._run, True
        before, start = BeforeForward(self.model), self.model.vector.data.copy()
        for name, now in self.step.updates(batch):
            if name == "update":
                self._measure(now, batch, before, start)
            yield name, now
            if name == "update":
                before, start = BeforeForward(self.model), self.model.vector.data.copy()

    def _measure(self, now: Update, batch: Any, before: BeforeForward, start: Any) -> None:
        """f, and the update's end."""
        theta, f = self.model.vector.data, self.memory["factor"]
        moved = theta - start

        def mean_loss(along: float) -> float:
            theta[...] = start + along * moved
            return float(losses_again(self.model, batch, before, now.group).mean())

        here, ahead, behind = float(now.losses.mean()), mean_loss(f), mean_loss(-f)
        best = lowest(f, behind, here, ahead)
        if best is not None:
            f = self.keep * f + (1.0 - self.keep) * min(max(best, f / 2), 2 * f)
        self.memory["factor"] = f
        theta[...] = start + f * moved

    def end_epoch(self) -> None:
        """As the strategy's."""
        self.step.end_epoch()


def lowest(probe: float, behind: float, here: float, ahead: float) -> float | None:
    """Where the parabola through losses at −probe, 0 and probe is least; None if it opens downwards or rises ahead.

    >>> lowest(0.5, 2.25, 1.0, 0.25)  # (1 − x)²
    1.0
    """
    curvature, fall = ahead - 2.0 * here + behind, behind - ahead
    if not (np.isfinite(curvature + fall) and curvature > 0.0 and fall > 0.0):
        return None
    return probe / 2 * fall / curvature
