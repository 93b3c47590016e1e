"""PCGrad: gradient surgery (Yu et al. 2020, arXiv 2001.06782)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose, random_generator
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import GradientWeighted


class PCGrad(GradientWeighted):
    """Each gradient loses its part against each other one, in turn; v is their sum (Algorithm 1 of 2001.06782).

    For each i, over the tasks j ≠ i in random order: if gᵢ′·gⱼ < 0, gᵢ′ −= (gᵢ′·gⱼ / ‖gⱼ‖²) gⱼ; v = Σ gᵢ′.

    With two tasks no loss rises. With three one may, in every order: (−2, 1, 0), (1, 0, 0), (0, −1, 1).
    Weights are at least 1, so that v = 0 only at Pareto-stationary points. A zero gradient is passed over.

    The authors' TensorFlow code drops the value of its shuffle: the order is always 0 … K−1, with j = i among them
    (`order="given"`). LibMTL shuffles and keeps j = i.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    order : "random" (default, the paper) or "given" (the authors' code)
    rng : int or numpy.random.Generator, default 0
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> tm.PCGrad(problem, tm.SGD(lr=0.1))().weights  # gradients (2, 2) and (0, −1)
    array([1.25, 3.  ])
    """

    equivariant = False  # in law alone

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        order: str = "random",
        rng: int | np.random.Generator = 0,
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        self.order = choose("order", order, ("random", "given"))
        self.memory["rng"] = random_generator(rng)

    def weigh(self, G: Array, L: Array) -> Array:
        """The column sums of W, where gᵢ′ = Σⱼ Wᵢⱼ gⱼ."""
        K = len(G)
        W = np.eye(K)
        for i, row in enumerate(W):
            for j in self.memory["rng"].permutation(K) if self.order == "random" else range(K):
                against = float(row @ G[j])  # gᵢ′·gⱼ
                if against < 0.0 < G[j, j] and (j != i or self.order == "given"):
                    row[j] -= against / G[j, j]
        return W.sum(axis=0)
