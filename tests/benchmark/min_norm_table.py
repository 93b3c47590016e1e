"""W5: the min-norm solvers alone, K gradients of length 200, from a Gram matrix in float64.

Four families: random; ill-scaled (lengths over three decades); low-rank (rank K/2 and a little noise);
duplicated (every gradient twice). Each solver's answer is judged by its own certificate, the gap
αᵀGα − min Gα relative to the mean squared length, so an inexact solver is seen to be one.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.benchmark.sides import AGAINST
from tests.benchmark.worker import Worker

SIZES = (2, 10, 40)
DRAWS = 3
DIMENSIONS = 200
TINYMTL = {"active-set": "", "frank-wolfe": " frank-wolfe"}

Solver = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SolverRow:
    """One solver at one K: median microseconds over families and draws, and the worst relative gap.

    `against` is the median ratio of its time to that of the other checkout's solver in the same turn, if there is one.
    """

    solver: str
    tasks: int
    microseconds: float
    gap: float
    against: float = float("nan")


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


def tinymtl_weights(solver: str, gram: np.ndarray) -> np.ndarray:
    """The weights that tinymtl's solver of that name finds."""
    from tinymtl import min_norm

    return min_norm(gram=gram, solver=solver).weights


def tinymtl_seconds(solver: str, gram: np.ndarray, seconds: float) -> float:
    """Median seconds per call of tinymtl's solver of that name."""
    from tinymtl import min_norm

    return time_solver(lambda gram: min_norm(gram=gram, solver=solver).weights, gram, seconds)


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


class Contender(NamedTuple):
    """A solver: its weights for a Gram matrix, and its median seconds per call over a block of so many seconds."""

    weights: Solver
    seconds: Callable[[np.ndarray, float], float]


def tinymtl_contender(solver: str, other: Worker | None = None) -> Contender:
    """A solver of tinymtl's, of this checkout or in the process of another."""
    if other is None:
        return Contender(partial(tinymtl_weights, solver), partial(tinymtl_seconds, solver))

    def there(function: Callable[..., Any]) -> Any:
        def ask(*arguments: Any) -> Any:
            status, answer = other.call(function, solver, *arguments)
            if status != "answer":
                raise RuntimeError(f"the other checkout's solver {solver!r}: {answer}")
            return answer

        return ask

    return Contender(there(tinymtl_weights), there(tinymtl_seconds))


def contenders(other: Worker | None) -> dict[str, Contender]:
    """The solvers that are installed, and those of another checkout, if there is one."""
    found = {}
    for solver, label in TINYMTL.items():
        found[f"tinymtl{label}"] = tinymtl_contender(solver)
        if other is not None:
            found[f"{AGAINST}{label}"] = tinymtl_contender(solver, other)
    peers = {"quadprog": quadprog_solver, "torchjd": torchjd_solver}
    for name, make in peers.items():
        if find_spec(name):
            solve = make()
            found[name] = Contender(solve, partial(time_solver, solve))
    return found


def solver_rows(rounds: int, checkout: Path | None = None, seconds: float = 0.002) -> list[SolverRow]:
    """All solvers at every K; the solvers take turns on each matrix."""
    other = None if checkout is None else Worker(AGAINST, 1, checkout)
    try:
        return [row for tasks in SIZES for row in rows_of(tasks, contenders(other), rounds, seconds)]
    finally:
        if other is not None:
            other.close()


def rows_of(tasks: int, solvers: dict[str, Contender], rounds: int, seconds: float) -> Iterator[SolverRow]:
    """A row per solver at one K."""
    grams = [gram for family in families(tasks).values() for gram in family]
    times: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(rounds):
        for gram in grams:
            for name, solver in solvers.items():
                times[name].append(solver.seconds(gram, seconds))
    for name, solver in solvers.items():
        gap = max(relative_gap(gram, solver.weights(gram)) for gram in grams)
        others = times.get(name.replace("tinymtl", AGAINST))
        ratio = statistics.median(np.divide(times[name], others)) if others else math.nan
        yield SolverRow(name, tasks, 1e6 * statistics.median(times[name]), gap, ratio)
