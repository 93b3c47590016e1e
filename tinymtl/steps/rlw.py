"""RLW: random loss weighting (Lin et al. 2022, arXiv 2111.10603)."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import choose, random_generator
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.losses import softmax
from tinymtl.steps.weighted import LossWeighted


class RLW(LossWeighted):
    """New random weights for every minibatch, which add up to 1.

    w = softmax of K normal numbers, or a draw from the flat Dirichlet distribution. On average it is the averaged step,
    with noise: for two tasks a weight has variance 0.0684, or 1/12. What a study should compare with: a method that
    is no better than this has learned nothing about the tasks.

    Weights that are random once, or fixed, are `Averaged`'s: `tm.Averaged(model, optimizer, weights=[2, 1])`.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    draw : "normal" (default) or "dirichlet"
    rng : int or numpy.random.Generator, default 0

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0], [1.0]], start=[2.0])
    >>> step = tm.RLW(problem, tm.SGD(lr=0.1))
    >>> step().weights, step().weights
    (array([0.56410403, 0.43589597]), array([0.63077023, 0.36922977]))
    """

    equivariant = False  # in law alone

    def __init__(
        self, model: SharedBottom, optimizer: Optimizer, draw: str = "normal", rng: int | np.random.Generator = 0
    ):
        super().__init__(model, optimizer)
        self.draw = choose("draw", draw, ("normal", "dirichlet"))
        self.memory["rng"] = random_generator(rng)

    def weigh(self, L: Array) -> Array:
        """A draw for the tasks that have a label."""
        rng: np.random.Generator = self.memory["rng"]
        return softmax(rng.standard_normal(len(L))) if self.draw == "normal" else rng.dirichlet(np.ones(len(L)))
