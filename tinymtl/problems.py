"""Analytic problems: losses of a few parameters whose optima, Pareto sets and fixed points are known in closed form.

Each is a `SharedBottom`, so every step takes it as its model, with its data inside: `step()` without x and targets.
For functions of θ alone the trunk is θ itself (Z = θ) and the heads are empty. All of them compute in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymtl.arrays import as_doubles
from tinymtl.autodiff import Tensor, record
from tinymtl.backend import Array
from tinymtl.checks import shown
from tinymtl.nn import functional
from tinymtl.nn.batch import Batch
from tinymtl.nn.layers import Module
from tinymtl.nn.parameters import Parameter
from tinymtl.nn.shared_bottom import SharedBottom, Task


class _Theta(Module):
    """A trunk that is its one parameter, whatever its input."""

    def __init__(self, start: Any):
        self.theta = Parameter(np.array(as_doubles(start, "the start")))
        if self.theta.ndim != 1 or not np.isfinite(self.theta.data).all():
            raise ValueError(f"start is a vector of finite numbers, got {start!r}")

    def forward(self, x: Any) -> Tensor:
        return self.theta

    __call__ = forward


class _Nothing(Module):
    """A head without parameters: the prediction is Z."""

    def __call__(self, x: Any) -> Tensor:
        prediction: Tensor = x
        return prediction


def _without_target(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    return lambda prediction, _: loss(prediction)


class AnalyticProblem(SharedBottom):
    """K losses as functions of θ.

    Attributes
    ----------
    theta : Tensor, float64
        The trunk's parameters: where the problem stands. Steps move it in place.
    """

    def __init__(
        self, trunk: Module, theta: Tensor, heads: Sequence[Module], losses: Sequence[Callable[[Tensor], Tensor]]
    ):
        self.theta = theta
        tasks = [
            Task(f"loss {k + 1}", head, _without_target(loss))
            for k, (head, loss) in enumerate(zip(heads, losses, strict=True))
        ]
        super().__init__(trunk, tasks)
        self._batch = Batch(None, [None] * len(self.tasks), list(range(len(self.tasks))))

    def read(self, x: Any, targets: Any) -> Batch:
        """An analytic problem has no data: x and targets are None."""
        if x is not None or targets is not None:
            raise ValueError("an analytic problem takes no data: call the step without x and targets")
        return self._batch

    def losses(self, z: Tensor | None = None, batch: Any = None, group: Sequence[int] | None = None) -> Tensor:
        """The losses (K,) at θ (or, for a step, those of a group of tasks at z)."""
        return super().losses(self.trunk(None) if z is None else z, self._batch, group)


class Quadratics(AnalyticProblem):
    """fₖ(θ) = ½ (θ − cₖ)ᵀ Hₖ (θ − cₖ).

    Parameters
    ----------
    curvatures : K scalars, K vectors (diagonals) or K symmetric matrices
        Positive definite.
    centers : (K, n)
    start : (n,)

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([100.0, 1.0], [[1.0], [-1.0]], start=[0.0])
    >>> problem.averaged_optimum()  # 99/101
    array([0.98019802])
    """

    def __init__(self, curvatures: Any, centers: Any, start: Any):
        self.centers = np.array(as_doubles(centers, "the array of centers"))
        if self.centers.ndim != 2 or len(self.centers) == 0:
            raise ValueError(f"centers is a (K, n) array with K ≥ 1, got shape {self.centers.shape}")
        n = self.centers.shape[1]
        self.curvatures = np.array([_symmetric(h, n) for h in curvatures])
        if len(self.curvatures) != len(self.centers):
            raise ValueError(f"{len(self.centers)} centers need as many curvatures, got {len(self.curvatures)}")
        if np.shape(start) != (n,):
            raise ValueError(f"start has shape {np.shape(start)}, the centers live in {n} dimensions")
        trunk = _Theta(start)
        losses = [self._loss(h, c) for h, c in zip(self.curvatures, self.centers, strict=True)]
        super().__init__(trunk, trunk.theta, [_Nothing() for _ in losses], losses)

    @staticmethod
    def _loss(h: Array, c: Array) -> Callable[[Tensor], Tensor]:
        def loss(theta: Tensor) -> Tensor:
            d = theta.data - c
            gradient = h.dot(d)
            return record(0.5 * d.dot(gradient), (theta, lambda g: gradient * g[..., None] if g.ndim else gradient * g))

        return loss

    def averaged_optimum(self) -> Array:
        """θ_avg = (Σ Hₖ)⁻¹ Σ Hₖcₖ, where the averaged step comes to rest."""
        return self.pareto_point(np.ones(len(self.centers)))

    def pareto_point(self, weights: Any) -> Array:
        """θ(w) = (Σ wₖHₖ)⁻¹ Σ wₖHₖcₖ for w on the simplex: there v = 0 and α = w."""
        w = _weights(weights, len(self.centers))
        total = np.einsum("k,kij->ij", w, self.curvatures)
        pull = np.einsum("k,kij,kj->i", w, self.curvatures, self.centers)
        return np.linalg.solve(total, pull)

    def alternating_map(self, lr: float, order: Sequence[int] | None = None) -> tuple[Array, Array]:
        """One sweep of alternating SGD is θ ← Pθ + q; returns P and q."""
        n = self.centers.shape[1]
        p, q = np.eye(n), np.zeros(n)
        for k in range(len(self.centers)) if order is None else order:
            m = np.eye(n) - lr * self.curvatures[k]
            p, q = m @ p, m @ q + lr * self.curvatures[k] @ self.centers[k]
        return p, q

    def alternating_fixed_point(self, lr: float, order: Sequence[int] | None = None) -> Array:
        """(I − P)⁻¹ q: where alternating SGD with step size `lr` comes to rest (before the first task's turn)."""
        p, q = self.alternating_map(lr, order)
        return np.linalg.solve(np.eye(len(q)) - p, q)


class FonsecaFleming(AnalyticProblem):
    """f₁,₂(θ) = 1 − exp(−‖θ ∓ 1/√n‖²): a concave front, which no weighted sum can reach in its middle.

    Parameters
    ----------
    start : (n,)

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.FonsecaFleming([0.0, 0.0])
    >>> problem.losses().data  # both 1 − 1/e in the middle of the front
    array([0.63212056, 0.63212056])
    """

    def __init__(self, start: Any):
        trunk = _Theta(start)
        self.direction = np.ones(trunk.theta.size) / np.sqrt(trunk.theta.size)
        losses = [self._loss(self.direction), self._loss(-self.direction)]
        super().__init__(trunk, trunk.theta, [_Nothing(), _Nothing()], losses)

    @staticmethod
    def _loss(c: Array) -> Callable[[Tensor], Tensor]:
        def loss(theta: Tensor) -> Tensor:
            d = theta.data - c
            e = float(np.exp(-d.dot(d)))
            gradient = (2.0 * e) * d
            return record(np.asarray(1.0 - e), (theta, lambda g: gradient * g[..., None] if g.ndim else gradient * g))

        return loss

    def averaged_optimum(self) -> Array:
        """s*·1/√n with s* = tanh(2s*) > 0: where the equal-weight average ends from s > 0 (from s < 0, at −s*)."""
        s = 1.0
        for _ in range(200):  # a contraction: its slope at the fixed point is 2(1 − s*²) = 0.17
            s = float(np.tanh(2.0 * s))
        return s * self.direction

    def pareto_point(self, weights: Any) -> Array:
        """The point of the Pareto set s·1/√n, |s| ≤ 1, that is stationary for the weights w: w₁(1−s)e^{4s} = w₂(1+s).

        Its stationarity is MGDA's (v = 0 with α = w); for a weighted sum it is a minimum only near the ends. Of
        several such points, the one with the smallest |s| is returned.
        """
        w1, w2 = _weights(weights, 2).tolist()
        s = np.linspace(-1.0, 1.0, 20001)
        values = w1 * (1 - s) * np.exp(4 * s) - w2 * (1 + s)
        brackets = np.flatnonzero(values[:-1] * values[1:] <= 0)
        best = min(brackets, key=lambda i: abs(s[i] + s[i + 1]))
        low, high = s[best], s[best + 1]
        rising = values[best] <= values[best + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            value = w1 * (1 - middle) * np.exp(4 * middle) - w2 * (1 + middle)
            if (value < 0) == rising:
                low = middle
            else:
                high = middle
        root: Array = 0.5 * (low + high) * self.direction
        return root

    def alternating_fixed_point(self, lr: float, order: Sequence[int] = (0, 1)) -> Array:
        """Where alternating SGD with step size `lr` comes to rest from s > 0, by iterating its map on the line."""
        s = float(self.averaged_optimum() @ self.direction)
        for _ in range(100_000):
            before = s
            for k in order:
                d = s - (1.0, -1.0)[k]
                s -= lr * 2.0 * d * float(np.exp(-d * d))
            if s == before:
                break
        return s * self.direction

    @staticmethod
    def front(f1: Any) -> Array:
        """f₂ on the Pareto front as a function of f₁: 1 − exp(−(2 − √(−ln(1 − f₁)))²)."""
        f1 = as_doubles(f1, "f1")
        front: Array = 1 - np.exp(-((2 - np.sqrt(-np.log(1 - f1))) ** 2))
        return front


class _LinearTrunk(Module):
    """Z = X W with the data X inside."""

    def __init__(self, inputs: Array, weight: Array):
        self.inputs = inputs
        self.weight = Parameter(weight)

    def forward(self, x: Any) -> Tensor:
        return functional.linear(Tensor(self.inputs), self.weight)

    __call__ = forward


class _LinearHead(Module):
    """Z V."""

    def __init__(self, weight: Array):
        self.weight = Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight)


class LinearSharedBottom(AnalyticProblem):
    """Linear regression tasks on a linear trunk: Z = X W, Lₖ = ‖Z Vₖ − Yₖ‖² / 2N, in float64.

    Its gradients are known: Rₖ = (Z Vₖ − Yₖ)/N, ∇_Z Lₖ = Dₖ = Rₖ Vₖᵀ, ∇_W Lₖ = Xᵀ Dₖ, ∇_Vₖ Lₖ = Zᵀ Rₖ. Steps
    update W and the heads Vₖ. Where X Xᵀ = I, MGDA-UB and MGDA see the same Gram matrix.

    Parameters
    ----------
    inputs : (N, D), the X
    weight : (D, d), the start of W, which is `.theta`
    heads : K arrays (d, Cₖ), the starts of Vₖ
    targets : K arrays (N, Cₖ), the Yₖ

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.LinearSharedBottom([[1.0]], [[1.0]], [[[1.0]], [[2.0]]], [[[0.0]], [[6.0]]])
    >>> [d.item() for d in problem.representation_gradients()]  # D = (1, −8): α = (8/9, 1/9), v = 0
    [1.0, -8.0]
    """

    def __init__(self, inputs: Any, weight: Any, heads: Sequence[Any], targets: Sequence[Any]):
        self.inputs = np.array(as_doubles(inputs, "the array of inputs"))
        self.targets = [np.array(as_doubles(y, f"target {k}")) for k, y in enumerate(targets)]
        trunk = _LinearTrunk(self.inputs, np.array(as_doubles(weight, "the weight")))
        linear = [_LinearHead(np.array(as_doubles(v, f"head {k}"))) for k, v in enumerate(heads)]
        rows = len(self.inputs)
        if self.inputs.ndim != 2 or trunk.weight.shape[0] != self.inputs.shape[1]:
            raise ValueError(f"inputs (N, D) {self.inputs.shape} and weight (D, d) {trunk.weight.shape} do not fit")
        if len(linear) != len(self.targets):
            raise ValueError(f"{len(linear)} heads need as many targets, got {len(self.targets)}")
        for k, (head, y) in enumerate(zip(linear, self.targets, strict=True)):
            if head.weight.shape[0] != trunk.weight.shape[1] or y.shape != (rows, head.weight.shape[1]):
                raise ValueError(f"task {k + 1}: head {head.weight.shape} and targets {y.shape} do not fit the rest")
        super().__init__(trunk, trunk.weight, linear, [self._loss(y, rows) for y in self.targets])

    @staticmethod
    def _loss(y: Array, rows: int) -> Callable[[Tensor], Tensor]:
        def loss(prediction: Tensor) -> Tensor:
            r = prediction.data - y
            return record(0.5 / rows * (r * r).sum(), (prediction, lambda g: g[..., None, None] * (r / rows)))

        return loss

    def residuals(self) -> list[Array]:
        """Rₖ = (Z Vₖ − Yₖ)/N, shape (N, Cₖ)."""
        z = self.inputs @ self.theta.data
        heads = [parameters[0].data for parameters in self.layout.head_parameters]
        return [(z @ v - y) / len(z) for v, y in zip(heads, self.targets, strict=True)]

    def representation_gradients(self) -> list[Array]:
        """∇_Z Lₖ = Dₖ = Rₖ Vₖᵀ, shape (N, d)."""
        heads = [parameters[0].data for parameters in self.layout.head_parameters]
        return [r @ v.T for r, v in zip(self.residuals(), heads, strict=True)]

    def weight_gradients(self) -> list[Array]:
        """∇_W Lₖ = Xᵀ Dₖ, shape (D, d)."""
        return [self.inputs.T @ d for d in self.representation_gradients()]

    def head_gradients(self) -> list[Array]:
        """∇_Vₖ Lₖ = Zᵀ Rₖ, shape (d, Cₖ)."""
        return [(self.inputs @ self.theta.data).T @ r for r in self.residuals()]


def _weights(weights: Any, tasks: int) -> Array:
    w = as_doubles(weights, "the array of weights")
    if w.shape != (tasks,) or not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
        raise ValueError(f"weights are {tasks} finite numbers, none negative and not all 0; got {shown(weights)}")
    return w


def _symmetric(h: Any, n: int) -> Array:
    matrix = as_doubles(h, "a curvature")
    if matrix.shape in ((), (n,)):
        matrix = np.eye(n) * matrix
    if matrix.shape != (n, n) or not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError(f"a curvature is a positive number, {n} of them, or a positive definite {n}×{n} matrix")
    return matrix
