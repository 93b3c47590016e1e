"""MGDA and MGDA-UB: the min-norm step (Sener & Koltun 2018, arXiv 1810.04650)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinymtl.autodiff import sweep
from tinymtl.backend import Array, array_module, to_host
from tinymtl.checks import choose
from tinymtl.hull import MinNorm, gram_matrix, min_norm, normalized_gram
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.step import (
    Stage,
    Stages,
    Step,
    StepReport,
    require_finite,
    require_finite_gradients,
    require_trunk_parameters,
)
from tinymtl.steps.task_gradients import sweep_heads


class _MinNormStep(Step):
    """What MGDA and MGDA-UB share: their options, their one memory, and how a Gram matrix becomes weights."""

    def __init__(self, model: SharedBottom, optimizer: Optimizer, normalize: str = "none", head_weighting: str = "own"):
        super().__init__(model, optimizer)
        name = type(self).__name__
        require_trunk_parameters(model, f"{name} weighs the tasks' gradients at the trunk", "use Averaged")
        self.normalize = choose("normalize", normalize, ("none", "l2", "loss", "loss+"))
        self.head_weighting = choose("head_weighting", head_weighting, ("own", "alpha"))
        self.memory = optimizer.init(model.blocks())

    def memories(self) -> dict[str, Any]:
        """One memory for all parameters."""
        return {"memory": self.memory}

    def _fetch(self, gram: Array, losses: Array) -> tuple[Array, Array]:
        """Gram matrix and losses on the host, checked: from a GPU, in one transfer."""
        names = self.model.task_names
        if isinstance(gram, np.ndarray):
            gram, losses = gram.astype(np.float64), losses.astype(np.float64)
        else:
            both = to_host(array_module(gram).concatenate([gram, losses[:, None]], axis=1)).astype(np.float64)
            gram, losses = both[:, :-1], both[:, -1]
        require_finite(losses, names)
        squares = gram.diagonal()
        require_finite(squares, names, "squared gradient norm")
        for name, square in zip(names, squares.tolist(), strict=True):
            if square == 0.0:
                warnings.warn(
                    f"task {name!r} has a zero gradient: the min-norm point is 0 and no task moves the trunk",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return gram, losses

    def _solve(self, gram: Array, losses: Array) -> MinNorm:
        """The min-norm point, of the normalised gradients if so asked."""
        if self.normalize == "none":
            return min_norm(gram=gram)
        return min_norm(gram=normalized_gram(gram, losses, self.normalize))

    def _weigh_heads(self, own: list[Array], alpha: Array) -> list[Array]:
        """The heads' gradients: each its own (Algorithm 2), or times αₖ as in the authors' code."""
        if self.head_weighting == "own" or not own:
            return own
        xp = array_module(own[0])
        sizes = [block.size for block in self.model.head_blocks]
        scale = xp.asarray(np.repeat(alpha, sizes).astype(own[0].dtype))
        return [own[0] * scale.reshape(own[0].shape)]

    def _update(self, v: Array, own: list[Array], alpha: Array) -> None:
        """The one update: v for the trunk, and the heads' gradients."""
        gradients = [v, *self._weigh_heads(own, alpha)]
        require_finite_gradients(gradients)  # the Gram matrix shows neither the heads' gradients nor MGDA-UB's v
        self.optimizer.update(self.model.blocks(), gradients, self.memory)


class MGDA(_MinNormStep):
    """The min-norm step on the trunk's gradients gₖ = ∇_θ Lₖ: K backward passes through the trunk.

    Solve min ‖Σ αₖgₖ‖² over the simplex (equation 3 of Sener & Koltun 2018), then step along v = Σ αₖgₖ. Where
    v ≠ 0, gₖ·v ≥ ‖v‖² for every task: to first order no loss rises. Where v = 0 the point is Pareto-stationary.

    The heads take their own, unweighted gradients, as in Algorithm 2; the authors' code weights them by αₖ
    (`head_weighting="alpha"`). Their two-task solver answers 0.999 and 0.001 in the clamped cases, ours 1 and 0.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        With one memory for all parameters; v is what it is given as the trunk's gradient.
    normalize : "none" (default, the paper), "l2", "loss" or "loss+"
        Solve for α on gₖ/‖gₖ‖, gₖ/Lₖ or gₖ/(Lₖ‖gₖ‖); α is applied to the raw gₖ.
        `report.min_norm` is then of the normalised gradients, and the raw v need not descend on every loss.
    head_weighting : "own" (default, the paper) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> report = tm.MGDA(problem, tm.SGD(lr=1.0))()  # gradients (2, 2) and (0, -1)
    >>> report.weights * 13
    array([ 3., 10.])
    """

    def stages(self, x: Any, targets: Any) -> Stages:
        """forward, task gradients, gram, weights, update."""
        model = self.model
        before = model.passes.copy()
        batch = model.read(x, targets)

        z = model.represent(batch.x)
        yield Stage("forward", {"Z": z.data})

        heads = sweep_heads(model, z, batch)  # ∇_φₖ Lₖ and ∇_Z Lₖ
        xp = array_module(z.data)
        g = xp.empty((len(model.tasks), model.trunk_block.size), z.dtype)
        for k in range(len(g)):  # gₖ = ∇_θ Lₖ, one pass through the trunk each
            model.trunk_block.flatten(sweep([z], [heads.at_z[k]]), out=g[k])
        yield Stage("task gradients", {"losses": heads.losses, "g": g})

        gram, losses = self._fetch(gram_matrix(g), heads.losses)
        yield Stage("gram", {"G": gram})

        solution = self._solve(gram, losses)
        alpha = solution.weights
        v = xp.asarray(alpha, dtype=g.dtype).dot(g)
        yield Stage("weights", {"alpha": alpha, "min_norm": solution, "v": v})

        self._update(v, heads.own, alpha)
        yield Stage("update", {"memory": "all tasks"})
        return StepReport(heads.losses, model.passes.since(before), alpha, solution)


class MGDAUB(_MinNormStep):
    """The min-norm step on the representation's gradients ∇_Z Lₖ: one backward pass through the trunk.

    Algorithm 2 with the upper bound of section 3.3 of Sener & Koltun 2018: ‖Σ αₖ∇_θLₖ‖² ≤ ‖∂Z/∂θ‖² ‖Σ αₖ∇_ZLₖ‖², so
    minimise the second factor, whose gradients every head delivers without touching the trunk. Z is the whole
    batch, N·d numbers, stacked and not averaged over the batch.

    What it guarantees is descent on every loss as a function of Z. That this carries over to θ (the paper's
    Theorem 1(b)) fails in general: with J = [[1, 0], [2, 1]] and ∇_Z L = (1, 1), (1, −1) the second loss rises.
    `tinymtl.trace` therefore measures gₖ·v.

    Differences from the authors' code: head_weighting as for MGDA; theirs runs the trunk twice and draws dropout
    masks twice, here the graph is cut at Z and the trunk runs once.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        With one memory for all parameters.
    normalize : "none" (default, the paper), "l2", "loss" or "loss+"
        Solve for α on gₖ/‖gₖ‖, gₖ/Lₖ or gₖ/(Lₖ‖gₖ‖); α is applied to the raw gₖ.
        `report.min_norm` is then of the normalised gradients, and the raw v need not descend on every loss.
    head_weighting : "own" (default, the paper) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> report = tm.MGDAUB(problem, tm.SGD(lr=1.0))()  # here Z = θ: the same α as MGDA's
    >>> report.weights * 13
    array([ 3., 10.])
    >>> report.trunk_backwards
    1
    """

    def stages(self, x: Any, targets: Any) -> Stages:
        """forward, task gradients, gram, weights, trunk backward, update."""
        model = self.model
        before = model.passes.copy()
        batch = model.read(x, targets)

        z = model.represent(batch.x)
        yield Stage("forward", {"Z": z.data})

        heads = sweep_heads(model, z, batch)  # ∇_φₖ Lₖ and ∇_Z Lₖ
        yield Stage("task gradients", {"losses": heads.losses, "g": heads.at_z})

        gram, losses = self._fetch(heads.at_z.gram(), heads.losses)
        yield Stage("gram", {"G": gram})

        solution = self._solve(gram, losses)
        alpha = solution.weights
        yield Stage("weights", {"alpha": alpha, "min_norm": solution})

        v = model.trunk_block.flatten(sweep([z], [heads.at_z.weighted_sum(alpha)]))
        yield Stage("trunk backward", {"v": v})

        self._update(v, heads.own, alpha)
        yield Stage("update", {"memory": "all tasks"})
        return StepReport(heads.losses, model.passes.since(before), alpha, solution)
