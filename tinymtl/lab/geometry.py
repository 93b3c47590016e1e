"""Pictures of the geometry: gradients and their hull, paths to the Pareto set, the simplex, weights over time.

Every function draws into the Matplotlib `ax` that it is given, labels everything in it and returns it.
Methods and tasks differ by colour (Okabe and Ito's) and by marker or line style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinymtl.arrays import as_doubles
from tinymtl.autodiff import no_grad
from tinymtl.autodiff.tensor import tensor
from tinymtl.backend import Array, to_host
from tinymtl.hull import frank_wolfe, min_norm
from tinymtl.problems import AnalyticProblem
from tinymtl.steps import Step
from tinymtl.ties import CLOSE, first_largest, rounding, settled
from tinymtl.tracing.numerals import short, vector
from tinymtl.tracing.svg import OKABE_ITO

FONT = 12
MARKERS = "o^sDvPX*"
LINES = ("-", "--", "-.", ":")


def plot_gradients(ax: Any, gradients: Any, names: Sequence[str] | None = None) -> Any:
    """Two or three task gradients from the origin, their convex hull, and its point nearest to the origin.

    Gradients of two numbers are drawn as they are, and so are gradients of three numbers in an `ax` made with
    `projection="3d"`. Longer ones are turned into the plane (or, in 3-D, the space) that they span, which keeps
    every length and angle.

    Parameters
    ----------
    ax : matplotlib Axes
    gradients : (K, n) array or K arrays, K = 2 or 3
    names : K strings, default g₁, g₂, g₃

    Raises
    ------
    ValueError
        For another K, or for three gradients that span three dimensions in an `ax` that has two.
    """
    rows = np.stack([to_host(np.asarray(g)).reshape(-1).astype(np.float64) for g in gradients])
    if len(rows) not in (2, 3):
        raise ValueError(f"this picture takes two or three gradients, got {len(rows)}")
    dimensions = 3 if ax.name == "3d" else 2
    points, as_they_are = _coordinates(rows, dimensions)
    points = settled(points, rounding() * np.abs(points).max())
    names = [f"g{'₁₂₃'[k]}" for k in range(len(rows))] if names is None else list(names)
    alpha = settled(min_norm(rows).weights, CLOSE)
    v = settled(alpha @ points, CLOSE * np.abs(points).max())
    origin = np.zeros(dimensions)

    corners = np.vstack([points, points[:1]]) if len(points) == 3 else points
    ax.plot(*corners.T, color="0.45", linestyle="--", linewidth=1.5, label="hull: Σ αₖgₖ, α on the simplex")
    if dimensions == 2 and len(points) == 3:
        ax.fill(*points.T, color="0.92", zorder=0)
    for k, (point, name) in enumerate(zip(points, names, strict=True)):
        _arrow(ax, point, OKABE_ITO[k])
        ax.plot(
            *point[:, None],
            MARKERS[k],
            color=OKABE_ITO[k],
            label=f"{name}, length {short(_length(point), 3)}",
        )
        _name(ax, point, name, OKABE_ITO[k])
    length = _length(v)
    ax.plot(*origin[:, None], "+", color="black", markersize=10)
    if length:
        _arrow(ax, v, "black")
        _right_angle(ax, v, points, alpha)
    words = f"v, length {short(length, 3)}, α = {vector(alpha.tolist())}"
    ax.plot(*v[:, None], "*", color="black", markersize=13, label=words)
    _finish(ax, "The min-norm point of the hull")
    ends = np.vstack([points, v, origin])
    middle, half = (ends.max(axis=0) + ends.min(axis=0)) / 2, 0.68 * float(np.ptp(ends, axis=0).max()) or 1.0
    if dimensions == 2:
        ax.set_xlim(middle[0] - half, middle[0] + half)
        ax.set_ylim(middle[1] - half, middle[1] + half)
        ax.set_aspect("equal")
    else:
        ax.view_init(elev=20, azim=float(np.degrees(np.arctan2(v[1], v[0]))) + 60)  # v from its side
    for axis, which in zip("xyz"[:dimensions], ("first", "second", "third"), strict=False):
        words = f"{which} component" if as_they_are else f"{which} coordinate in the span"
        getattr(ax, f"set_{axis}label")(words, fontsize=FONT)
    ax.legend(fontsize=FONT - 1, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return ax


def _coordinates(rows: Array, dimensions: int) -> tuple[Array, bool]:
    """The gradients in two or three coordinates, and whether these are their own."""
    if rows.shape[1] == dimensions:
        return rows, True
    axes = np.zeros((0, rows.shape[1]))
    for g in rows:  # Gram and Schmidt: the first gradient points along the first axis, whatever ties there are
        rest = g - (axes @ g) @ axes
        if _length(rest) > CLOSE * max(map(_length, rows)):
            axes = np.vstack([axes, rest / _length(rest)])
    if len(axes) > dimensions:
        raise ValueError(
            "these three gradients span three dimensions: give an ax made with fig.add_subplot(projection='3d')"
        )
    return rows @ np.vstack([axes, np.zeros((dimensions - len(axes), rows.shape[1]))]).T, False


def _arrow(ax: Any, tip: Array, colour: str) -> None:
    if len(tip) == 3:
        ax.quiver(0, 0, 0, *tip, color=colour, linewidth=2, arrow_length_ratio=0.08)
        return
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", tip, (0, 0), arrowprops=arrow)


def _name(ax: Any, point: Array, name: str, colour: str) -> None:
    if len(point) == 3:
        ax.text(*(1.15 * point), name, color=colour, fontsize=FONT + 1)
        return
    away = 18 * point / (_length(point) or 1.0)
    style = {"color": colour, "fontsize": FONT + 1, "ha": "center", "va": "center"}
    ax.annotate(name, point, away, textcoords="offset points", **style)


def _right_angle(ax: Any, v: Array, points: Array, weights: Array) -> None:
    """The sign for 90°, if v is the foot of the perpendicular on an edge of the hull."""
    used = np.flatnonzero(weights > 0)
    if len(v) == 3 or len(used) < 2:
        return
    along = points[used[0]] - points[used[1]]
    size = 0.12 * min(_length(v), _length(along))
    if not size:
        return
    a, b = along / _length(along) * size, -v / _length(v) * size
    ax.plot(*np.stack([v + a, v + a + b, v + b]).T, color="black", linewidth=1)


def _length(point: Array) -> float:
    return float(np.sqrt((point * point).sum()))


# ------------------------------------------------------------ trajectories


def trajectory(step: Step, steps: int) -> Array:
    """Run `step` on its analytic problem that many times; every θ on the way, (steps + 1, n).

    Examples
    --------
    >>> import tinymtl as tm
    >>> problem = tm.problems.Quadratics([1.0, 1.0], [[1.0, 0.0], [-1.0, 0.0]], start=[0.0, 1.0])
    >>> trajectory(tm.MGDA(problem, tm.SGD(lr=0.5)), 2)
    array([[0.  , 1.  ],
           [0.  , 0.5 ],
           [0.  , 0.25]])
    """
    if not isinstance(step.model, AnalyticProblem):
        raise TypeError("a trajectory is that of a step on an analytic problem, such as tm.problems.Quadratics")
    theta = step.model.theta
    points = [theta.data.copy()]
    for _ in range(steps):
        step()
        points.append(theta.data.copy())
    return np.stack(points)


def plot_trajectories(ax: Any, problem: AnalyticProblem, paths: Mapping[str, Any]) -> Any:
    """Where strategies went on a problem of two parameters and two losses, over the contours of both losses.

    Parameters
    ----------
    ax : matplotlib Axes
    problem : Quadratics or FonsecaFleming with two parameters and two losses
        Only its functions are used: where it stands does not matter, and it stays there.
    paths : {name of the strategy: (T, 2) array}
        As `trajectory` returns them.
    """
    if problem.theta.shape != (2,) or len(problem.tasks) != 2 or not hasattr(problem, "pareto_point"):
        raise ValueError("this picture takes a problem of functions of two parameters, with two losses")
    points = {name: as_doubles(path, "a path") for name, path in paths.items()}
    for name, path in points.items():
        if path.ndim != 2 or path.shape[1] != 2:
            raise ValueError(f"the path of {name!r} has shape {path.shape}, expected (T, 2)")
    shares = np.linspace(0.0, 1.0, 101)
    pareto = np.stack([problem.pareto_point((w, 1.0 - w)) for w in shares])

    everything = np.vstack([pareto, *points.values()])
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.2 * float((high - low).max()) or 1.0
    grids = [np.linspace(low[i] - margin, high[i] + margin, 70) for i in range(2)]
    with no_grad():
        values = np.array([[problem.losses(tensor(np.array([a, b]))).data for a in grids[0]] for b in grids[1]])
    for k, name in enumerate(problem.task_names):
        heights = np.quantile(values[..., k], (0.02, 0.08, 0.18, 0.32, 0.5, 0.7, 0.9))
        colour = OKABE_ITO[3 + 2 * k]
        ax.contour(*grids, values[..., k], np.unique(heights), colors=colour, linestyles=LINES[k], linewidths=1)
        ax.plot([], [], color=colour, linestyle=LINES[k], linewidth=1, label=f"contours of {name}")
    ax.plot(*pareto.T, color="0.35", linewidth=5, alpha=0.5, solid_capstyle="round", label="Pareto set")
    for i, (name, path) in enumerate(points.items()):
        colour, marker = _METHOD_COLOURS[i % len(_METHOD_COLOURS)], MARKERS[i % len(MARKERS)]
        every = max(1, len(path) // 12)
        ax.plot(*path.T, color=colour, linewidth=2, marker=marker, markersize=5, markevery=every, label=name)
        ax.plot(*path[-1], marker=marker, markersize=11, color=colour, markeredgecolor="black")
    starts = np.unique(np.stack([path[0] for path in points.values()]), axis=0) if points else np.empty((0, 2))
    for start in starts:
        ax.annotate("start", start, (8, 8), textcoords="offset points", fontsize=FONT)
    _finish(ax, "Paths; the large marker is the end")
    ax.set_xlabel("θ₁", fontsize=FONT)
    ax.set_ylabel("θ₂", fontsize=FONT)
    ax.set_aspect("equal", adjustable="box")
    ax.legend(fontsize=FONT - 1, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


_METHOD_COLOURS = (OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[2], "#000000", OKABE_ITO[4])


# ------------------------------------------------------------ the simplex


def frank_wolfe_path(gram: Any, rounds: int) -> Array:
    """The weights of plain Frank-Wolfe after 0, 1, … `rounds` rounds, (rounds + 1, K).

    >>> frank_wolfe_path(np.diag([1.0, 4.0, 9.0]), 1).round(3).tolist()
    [[0.333, 0.333, 0.333], [0.765, 0.118, 0.118]]
    """
    G = as_doubles(gram, "gram")
    return np.stack([frank_wolfe(G, tolerance=0.0, max_iterations=n).weights for n in range(rounds + 1)])


def plot_simplex(ax: Any, gram: Any, names: Sequence[str] | None = None, path: Any = None) -> Any:
    """All weights α of three tasks, coloured by the length of Σ αₖgₖ, with the shortest marked.

    Parameters
    ----------
    ax : matplotlib Axes
    gram : (3, 3) array of the inner products gᵢ·gⱼ
    names : three strings, default task 1 to task 3
    path : (T, 3) array, optional
        Weights that a solver went through, such as `frank_wolfe_path(gram, 20)`.
    """
    G = as_doubles(gram, "gram")
    if G.shape != (3, 3):
        raise ValueError(f"the picture of the simplex is for three tasks: gram has shape {G.shape}, expected (3, 3)")
    names = [f"task {k + 1}" for k in range(3)] if names is None else list(names)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    n = 60
    alphas = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]) / n
    lengths = np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", alphas, G, alphas), 0.0))
    colours = ax.tripcolor(*(alphas @ corners).T, lengths, shading="gouraud", cmap="cividis")
    ax.tricontour(*(alphas @ corners).T, lengths, 8, colors="white", linewidths=0.6)
    bar = ax.figure.colorbar(colours, ax=ax, shrink=0.8)
    bar.set_label("‖Σ αₖgₖ‖", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 1)
    ax.plot(*np.vstack([corners, corners[:1]]).T, color="black", linewidth=1)
    for k, name in enumerate(names):
        outward = corners[k] - corners.mean(axis=0)
        away = (45, 28) * outward / _length(outward)
        words = f"{name}\nlength {short(float(np.sqrt(G[k, k])), 3)}"
        ax.annotate(words, corners[k], away, textcoords="offset points", ha="center", va="center", fontsize=FONT)
    if path is not None:
        way = as_doubles(path, "a path") @ corners
        style = {"color": OKABE_ITO[1], "markeredgecolor": "white", "markersize": 6, "linewidth": 1.5}
        ax.plot(*way.T, "o-", label=f"the solver's way, {len(way) - 1} rounds", **style)
    best = min_norm(gram=G)
    alpha, squared = settled(best.weights, CLOSE), float(settled(best.squared_norm, rounding() * G.diagonal().max()))
    at = alpha @ corners
    words = f"shortest: {short(float(np.sqrt(squared)), 3)}, α = {vector(alpha.tolist())}"
    ax.plot(*at, "*", color="white", markeredgecolor="black", markersize=17, label=words)
    _finish(ax, "The simplex of weights")
    ax.set_aspect("equal")
    ax.set_xlim(-0.2, 1.2)
    ax.set_ylim(-0.2, 1.12)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlabel("a corner: that task alone; the middle: the average", fontsize=FONT)
    ax.legend(fontsize=FONT - 1, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    return ax


# ------------------------------------------------------------ weights over time


def plot_weights(ax: Any, weights: Any, names: Sequence[str]) -> Any:
    """Each task's weight α over training.

    Parameters
    ----------
    ax : matplotlib Axes
    weights : (T, K) array
        The `report.weights` of T steps.
    names : K strings
        Of more than eight tasks, the eight with the largest mean weight are named; the others are grey.
    """
    W = as_doubles(weights, "the array of weights")
    if W.ndim != 2 or W.shape[1] != len(names) or len(W) == 0:
        raise ValueError(f"weights have shape {W.shape}: expected (T, {len(names)}), a row for each step")
    means, named = W.mean(axis=0), []
    for _ in range(min(8, len(names))):
        named.append(first_largest(means))
        means[named[-1]] = -np.inf
    others = [k for k in range(len(names)) if k not in named]
    at = np.arange(1, len(W) + 1)
    for k in others:
        ax.plot(at, W[:, k], color="0.8", linewidth=1, label=f"{len(others)} others" if k == others[0] else None)
    for i, k in enumerate(sorted(named)):
        colour = "0.3" if OKABE_ITO[i] == "#F0E442" else OKABE_ITO[i]  # yellow does not show on white
        every = (i * max(1, len(W) // 40), max(1, len(W) // 8))  # the lines' markers at different steps
        ax.plot(
            at,
            W[:, k],
            color=colour,
            linestyle=LINES[i % 4],
            marker=MARKERS[i],
            markevery=every,
            label=names[k],
        )
    ax.axhline(1 / len(names), color="0.5", linewidth=1, linestyle=(0, (1, 3)), label="uniform")
    _finish(ax, "The weights over training")
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("step", fontsize=FONT)
    ax.set_ylabel("weight αₖ", fontsize=FONT)
    ax.legend(fontsize=FONT - 1, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def _finish(ax: Any, title: str) -> None:
    ax.set_title(title, fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT - 1)
