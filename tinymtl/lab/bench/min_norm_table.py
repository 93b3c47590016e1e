"""W5: the min-norm solvers alone, K gradients of length 200, from a Gram matrix in float64.

Four families: random; ill-scaled (lengths over three decades); low-rank (rank K/2 and a little noise);
duplicated (every gradient twice). Each solver's answer is judged by its own certificate, the gap
αᵀGα − min Gα relative to the mean squared length, so an inexact solver is seen to be one.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

SIZES = (2, 10, 40)
DRAWS = 3
DIMENSIONS = 200

Solver = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SolverRow:
    """One solver at one K: median microseconds over families and draws, and the worst relative gap."""

    solver: str
    tasks: int
    microseconds: float
    gap: float


def families(tasks: int) -> dict[str, list[np.ndarray]]:
    """Gram matrices (K, K) of every family, seeded."""
    rng = np.random.default_rng(tasks)

    def gram(rows: np.ndarray) -> np.ndarray:
        product: np.ndarray = rows @ rows.T
        return product

    def draw(rank: int) -> np.ndarray:
        return rng.standard_normal((rank, DIMENSIONS))

    found: dict[str, list[np.ndarray]] = {"random": [], "ill-scaled": [], "low-rank": [], "duplicated": []}
    for _ in range(DRAWS):
        found["random"].append(gram(draw(tasks)))
        found["ill-scaled"].append(gram(10.0 ** rng.uniform(-1.5, 1.5, (tasks, 1)) * draw(tasks)))
        mixing = rng.standard_normal((tasks, max(1, tasks // 2)))
        found["low-rank"].append(gram(mixing @ draw(mixing.shape[1]) + 1e-4 * draw(tasks)))
        found["duplicated"].append(gram(np.repeat(draw(tasks // 2), 2, axis=0)))
    return found


def relative_gap(gram: np.ndarray, weights: np.ndarray) -> float:
    """αᵀGα − min Gα over the mean squared length; α is first put on the simplex."""
    weights = np.maximum(np.asarray(weights, np.float64), 0.0)
    weights = weights / weights.sum()
    products = gram @ weights
    gap = float(weights @ products - products.min())
    return max(gap, 0.0) / float(gram.diagonal().mean())


def tinymtl_solver(solver: str) -> Solver:
    """tinymtl's own, by name."""
    from tinymtl import min_norm

    return lambda gram: min_norm(gram=gram, solver=solver).weights


def quadprog_solver() -> Solver:
    """quadprog on min ½ αᵀGα; it wants a positive definite matrix, hence the small ridge."""
    from quadprog import solve_qp

    def solve(gram: np.ndarray) -> np.ndarray:
        k = len(gram)
        scaled = gram / gram.diagonal().mean() + 1e-10 * np.eye(k)
        constraints = np.hstack([np.ones((k, 1)), np.eye(k)])
        bounds = np.zeros(k + 1)
        bounds[0] = 1.0
        weights: np.ndarray = solve_qp(scaled, np.zeros(k), constraints, bounds, 1)[0]
        return weights

    return solve


def torchjd_solver() -> Solver:
    """TorchJD's Frank-Wolfe as it comes: 100 iterations, or a step below 1e-3."""
    import torch
    from torchjd.aggregation import MGDAWeighting

    weighting = MGDAWeighting()
    return lambda gram: weighting(torch.from_numpy(gram)).numpy()


def solvers() -> dict[str, Solver]:
    """The solvers that are installed."""
    found = {"tinymtl": tinymtl_solver("active-set"), "tinymtl frank-wolfe": tinymtl_solver("frank-wolfe")}
    if find_spec("quadprog"):
        found["quadprog"] = quadprog_solver()
    if find_spec("torchjd"):
        found["torchjd"] = torchjd_solver()
    return found


def time_solver(solve: Solver, gram: np.ndarray, seconds: float) -> float:
    """Median seconds per call over a short block."""
    solve(gram)
    times: list[float] = []
    first = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - first < seconds:
        begin = time.perf_counter()
        solve(gram)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def solver_rows(rounds: int, seconds: float = 0.002) -> list[SolverRow]:
    """All solvers at every K; the solvers take turns on each matrix."""
    rows = []
    for tasks in SIZES:
        grams = [gram for family in families(tasks).values() for gram in family]
        contenders = solvers()
        gaps = {name: max(relative_gap(g, solve(g)) for g in grams) for name, solve in contenders.items()}
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for gram in grams:
                for name, solve in contenders.items():
                    times[name].append(time_solver(solve, gram, seconds))
        for name in contenders:
            rows.append(SolverRow(name, tasks, 1e6 * statistics.median(times[name]), gaps[name]))
    return rows
