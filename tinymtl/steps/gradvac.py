"""GradVac: gradient vaccine (Wang et al. 2020, arXiv 2010.05874)."""

from __future__ import annotations

import math

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import random_generator
from tinymtl.nn.shared_bottom import SharedBottom
from tinymtl.optim import Optimizer
from tinymtl.steps.weighted import GradientWeighted


class GradVac(GradientWeighted):
    """PCGrad with a cosine to reach in place of 0: the one that the pair had so far (Algorithm 1 of 2010.05874).

    For each i, over j ≠ i in random order, with φ the cosine of gᵢ′ and gⱼ and φ̂ᵢⱼ its average over steps: if φ < φ̂,
    gᵢ′ gets as much of gⱼ as makes their cosine φ̂. v = Σ gᵢ′. Then φ̂ᵢⱼ ← (1 − β)φ̂ᵢⱼ + βφ.

    The first step is PCGrad's, since φ̂ starts at 0. If the gradients stay, φ̂ goes to φ and nothing is left to do:
    the method fades to the plain sum, conflicts included. φ̂ → 1 has no bound. A zero gradient is passed over.

    The paper keeps a φ̂ for every layer; here the trunk is one. LibMTL and TorchJD have β = 0.5.

    Parameters
    ----------
    model : SharedBottom or an analytic problem
    optimizer : optimizer rule
    beta : float, default 0.01
        0 < β ≤ 1.
    rng : int or numpy.random.Generator, default 0
    at : "θ" (default, the paper) or "Z"
    head_weighting : "own" (default) or "alpha"

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])
    >>> step = tm.GradVac(problem, tm.SGD(lr=0.1))
    >>> step().weights  # gradients (2, 2) and (0, −1): as PCGrad
    array([1.25, 3.  ])
    >>> step.memory["target cosines"][0] * 100  # the cosine is −1/√2
    array([ 0.        , -0.70710678])
    """

    equivariant = False  # in law alone

    def __init__(
        self,
        model: SharedBottom,
        optimizer: Optimizer,
        beta: float = 0.01,
        rng: int | np.random.Generator = 0,
        at: str = "θ",
        head_weighting: str = "own",
    ):
        super().__init__(model, optimizer, at, head_weighting=head_weighting)
        if not 0.0 < beta <= 1.0:
            raise ValueError(f"beta is {beta}: give a number above 0 and up to 1")
        self.beta = beta
        self.memory |= {"rng": random_generator(rng), "target cosines": np.zeros([len(model.tasks)] * 2)}

    def weigh(self, G: Array, L: Array) -> Array:
        """The column sums of W, where gᵢ′ = Σⱼ Wᵢⱼ gⱼ; it moves the target cosines on."""
        K, target, group = len(G), self.memory["target cosines"], self.group
        W = np.eye(K)
        for i, row in enumerate(W):
            for j in self.memory["rng"].permutation(K):
                n_i, n_j = math.sqrt(max(float(row @ G @ row), 0.0)), math.sqrt(G[j, j])
                if j == i or n_i == 0.0 or n_j == 0.0:
                    continue
                phi, wanted = max(-1.0, min(1.0, float(row @ G[j]) / (n_i * n_j))), float(target[group[i], group[j]])
                if phi < wanted < 1.0 or phi < 0.0 == wanted:
                    ratio = wanted / math.sqrt(1.0 - wanted**2)
                    row[j] += n_i / n_j * (ratio * math.sqrt(1.0 - phi**2) - phi)
                target[group[i], group[j]] += self.beta * (phi - wanted)
        return W.sum(axis=0)
