"""Two templates for strategies that move all tasks together: by weighted gradients, or by weighted losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymtl.backend import Array, array_module, to_host
from tinymtl.checks import choose
from tinymtl.hull import is_exact
from tinymtl.nn.functional import inner_products
from tinymtl.nn.heads import TaskGradients
from tinymtl.nn.layout import flatten, joined
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.step import Step, Update, Updates, require_finite_gradient


class GradientWeighted(Step):
    """One step along v = Σ wₖ gₖ, with w = weigh(G, L) and G = [gᵢ·gⱼ].

    The heads take their own gradients, as in Algorithm 2 of Sener & Koltun (2018), or wₖ times them as in the
    authors' code.

    Cost: one trunk forward; K trunk backwards at θ, one at Z; K head backwards.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        With one memory for all parameters; v is what it is given as the trunk's gradient.
    at : "θ" or "Z", default the strategy's own
        Whose gradients are weighed: gₖ = ∇_θ Lₖ, or gₖ = ∇_Z Lₖ over the whole batch (N·d numbers, not averaged).
    weigh : callable, optional
        (G, L) → w, in place of the method: a strategy in one line.
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> step = tm.GradientWeighted(problem, tm.SGD(lr=0.1), weigh=lambda G, L: 1 / np.sqrt(G.diagonal()))
    >>> step().weights  # gradients (2, 2) and (0, −1)
    array([0.35355339, 1.        ])
    """

    at = "θ"

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        at: str | None = None,
        weigh: Callable[[Array, Array], Any] | None = None,
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer)
        self.at = choose("at", self.at if at is None else at, ("θ", "Z"))
        self.head_weighting = choose("head_weighting", head_weighting, ("own", "alpha"))
        if weigh is not None:
            self.weigh = weigh  # type: ignore[method-assign,assignment]
        self.require_trunk(f"{type(self).__name__} weighs the tasks' gradients at the trunk", "use Averaged")

    def weigh(self, G: Array, L: Array) -> Any:
        """The weights w (K,) of the K gradients, or an object that has them as `.weights`, such as a MinNorm.

        G (K, K) and L (K,) are in float64 on the host and finite. If labels are missing, K counts the tasks that have
        one in this batch: those in `self.group`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it weighs: write weigh(self, G, L)")

    def updates(self, batch: Any) -> Updates:
        """forward, task gradients, gram, weights, at Z trunk backward, update."""
        model, trunk = self.model, self.model.layout.trunk
        now = Update(group=self.group, at=self.at)
        Z = now.Z = self.represent(batch)
        yield "forward", now

        L, D, own = model.task_gradients(Z, batch)  # Lₖ, Dₖ = ∇_Z Lₖ, and ∇_φₖ Lₖ
        now.losses = L
        g = now.gradients = D if self.at == "Z" else TrunkGradients(model, Z, D, len(L))
        yield "task gradients", now

        now.gram, losses = self._fetch(g, L)
        yield "gram", now

        if self.at == "θ" and not Z.requires_grad:  # a frozen trunk: there is nothing to weigh, the heads train
            now.solution, w = None, np.full(len(L), 1 / len(L))
        else:
            now.solution, w = self._solve(now.gram, losses)
        now.weights = w
        v = g.combine(w)  # Σ wₖ gₖ
        if self.at == "θ":
            now.v = v
        yield "weights", now

        if self.at == "Z":
            gradient = model.flatten(own | model.sweep(Z, v))
            now.v = gradient[trunk]
            yield "trunk backward", now
        else:
            gradient = joined([v, *model.heads.gradients(own)], v)

        if self.head_weighting == "alpha":
            gradient[trunk.stop :] *= self._per_head_parameter(w, now.group, gradient)
        require_finite_gradient(gradient)  # G shows neither the heads' gradients nor, at Z, the trunk's

        self.move_all(gradient, now.group)
        now.memory = ["all"]
        yield "update", now

    def _fetch(self, g: TaskGradients, L: Array) -> tuple[Array, Array]:
        """Gram matrix and losses on the host in float64, checked: from a GPU, in one transfer.

        A second one, if the inner products are too small or too large for float32, for those formed in float64.
        """
        gram = g.gram()
        if isinstance(gram, np.ndarray):
            G, L = gram, L.astype(np.float64)
        else:
            both = to_host(array_module(gram).concatenate([gram, L[:, None]], axis=1))
            G, L = both[:, :-1], both[:, -1].astype(np.float64)
        if G.dtype != np.float64 and not is_exact(G):
            G = to_host(g.gram(np.float64))
        G = G.astype(np.float64)
        self.require_finite(L)
        self.require_finite(G.diagonal(), "squared gradient norm")
        return G, L

    def _solve(self, G: Array, L: Array) -> tuple[Any, Array]:
        """`weigh`'s answer, split into the solution that certifies the weights (or None) and the weights, checked."""
        found = self.weigh(G, L)
        solution = found if hasattr(found, "weights") else None
        w = np.asarray(found if solution is None else solution.weights, dtype=np.float64)
        if w.shape != L.shape:
            raise ValueError(f"weigh must return {len(L)} weights, one per task in self.group; it returned {w.shape}")
        self.require_finite(w, "weight")
        return solution, w

    def _per_head_parameter(self, w: Array, group: Sequence[int], gradient: Array) -> Array:
        xp, heads = array_module(gradient), self.model.layout.heads
        every = np.zeros(len(heads))
        every[group] = w
        return xp.asarray(np.repeat(every, [part.stop - part.start for part in heads]).astype(gradient.dtype))


class TrunkGradients:
    """gₖ = ∇_θ Lₖ as the rows of one (K, P) array: a backward pass through the trunk for each."""

    def __init__(self, model: SharedBottom, Z: Any, D: Any, tasks: int):
        parameters, size = model.layout.trunk_parameters, model.layout.trunk.stop
        self.rows = array_module(Z.data).empty((tasks, size), Z.dtype)
        for k in range(tasks):
            parts = flatten(parameters, model.sweep(Z, D[k]))
            array_module(self.rows).concatenate(parts, out=self.rows[k])

    def __getitem__(self, k: int) -> Array:
        row: Array = self.rows[k]
        return row

    def gram(self, dtype: Any = None) -> Array:
        """G = [gᵢ·gⱼ]."""
        return inner_products(self.rows.astype(dtype or self.rows.dtype, copy=False))

    def combine(self, w: Array) -> Array:
        """Σ wₖ gₖ."""
        return array_module(self.rows).asarray(w, dtype=self.rows.dtype).dot(self.rows)


class LossWeighted(Step):
    """One backward pass of Σ wₖ Lₖ, with w = weigh(L).

    Cost: one trunk forward, one trunk backward, K head backwards.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
        With one memory for all parameters.
    weigh : callable, optional
        L → w, in place of the method.

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 3.0], [[0.0], [1.0]], start=[2.0])
    >>> tm.LossWeighted(problem, tm.SGD(lr=0.1), weigh=lambda L: 1 / L)().weights  # losses 2 and 3/2
    array([0.5       , 0.66666667])
    """

    #: Whether `weigh` and `learn` get the losses in float64 on the host; on a GPU the step then waits for them, once.
    on_host = False
    #: Whether `learn` is called after the update, to look at the model, or just before it: then nothing can fail once
    #: the parameters have moved, and no copies are made to go back to.
    learns_after = True

    def __init__(
        self, model: SharedBottom, optimizer: Optimizer, weigh: Callable[[Array], Array] | None = None
    ):
        super().__init__(model, optimizer)
        self._copies |= self.learns_after and type(self).learn is not LossWeighted.learn
        self._seed: tuple[Any, Array] | None = None
        if weigh is not None:
            self.weigh = weigh  # type: ignore[method-assign,assignment]

    def weigh(self, L: Array) -> Array:
        """The weights w (K,) of the losses L (K,), which are where the model is unless `on_host`. It changes nothing.

        If labels are missing, K counts the tasks that have one in this batch: those in `self.group`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it weighs: write weigh(self, L)")

    def learn(self, L: Array, w: Array) -> None:
        """What the strategy learns from a minibatch: called with the update, never for a batch that was refused.

        L and w are those of the tasks in `self.group`: what is kept of other tasks stays as it is.
        """

    def updates(self, batch: Any) -> Updates:
        """forward, gradient, update."""
        model = self.model
        now = Update(group=self.group)
        now.Z = self.represent(batch)
        L = model.losses(now.Z, batch)
        now.losses = L.data
        seen = to_host(L.data).astype(np.float64) if self.on_host else L.data
        self.require_finite(seen)
        yield "forward", now

        now.weights = w = self.weigh(seen)
        gradient = model.flatten(model.sweep(L, self._as_seed(w, L.data)))
        require_finite_gradient(gradient)
        now.v = gradient[model.layout.trunk]
        yield "gradient", now

        if not self.learns_after:
            self.learn(seen, w)
        self.move_all(gradient, now.group)
        if self.learns_after:
            self.learn(seen, w)
        now.memory = ["all"]
        yield "update", now

    def _as_seed(self, w: Any, L: Array) -> Array:
        """w in the losses' dtype and on their device; an upload is made once for the same weights."""
        if not isinstance(w, np.ndarray):
            w = w if array_module(w) is not np else np.asarray(w)
        if w.shape != L.shape:
            raise ValueError(f"weigh must return {len(L)} weights, one per task in self.group; it returned {w.shape}")
        if type(w) is not np.ndarray:
            return w.astype(L.dtype)
        key = w.tobytes(), type(L), L.dtype
        if self._seed is None or self._seed[0] != key:
            self.require_finite(w, "weight")
            self._seed = key, array_module(L).asarray(w, dtype=L.dtype)
        return self._seed[1]
