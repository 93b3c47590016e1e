"""What is known of one step: plain data, which the table, the picture and the sentences read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinymtl.backend import Array
from tinymtl.hull import MinNorm
from tinymtl.ties import CLOSE, rounding, settled

LONGEST_VECTOR = 100  # numbers of v that `to_dict` still lists


@dataclass
class Turn:
    """One update and what it did. A step makes one, or takes turns: alternating steps make one per task.

    All arrays are float64 on the host, in task order. What the step itself does not compute is measured on a copy
    of the model in float64, at the parameters before the turn and with the random numbers that the step drew.

    Attributes
    ----------
    group : list of int
        The tasks whose losses made this update.
    weights : (K,)
        The weight of every task's gradient in v.
    label : str
        How to call them: "α" (of a min-norm problem), "uniform", "weighted", or if not all tasks have part in the
        update "task left only", "group {left, right}".
    losses : (K,)
        Measured before the turn.
    space : "Z" or "θ"
        Where the strategy weighs gradients: at the representation (MGDA-UB) or at the trunk's parameters.
    gram_z, gram_theta : (K, K)
        Inner products of ∇_Z Lₖ over the whole batch, and of ∇_θ Lₖ; measured.
    gram_of_step : (K, K) or None
        The Gram matrix that the step itself formed, in `space`.
    v_z, v : flat arrays
        Σ weightₖ ∇_Z Lₖ, measured; and the gradient that the step gave to the optimizer for θ.
    descent : (K,)
        gₖ·v on θ. A short enough step along −v lowers loss k through the trunk if this is positive.
    predicted_trunk, predicted_head : (K,)
        ∇_θ Lₖ·Δθ and ∇_φₖ Lₖ·Δφₖ with the displacements that the optimizer really made: the change of each loss
        to first order, through the trunk and through the task's own head. For plain SGD the first is −η gₖ·v.
    actual : (K,)
        The measured change of each loss over this turn.
    memories : list of str
        The parts of the step's memory that this turn changed, by name. (That an optimizer has counted one more
        update is not a change.)
    noise : (K,)
        How far rounding alone may move each loss: a smaller change says nothing.
    rounding : float
        What rounding may leave of a sum that is zero, as a part of its terms, in the model's dtype.
    """

    group: list[int]
    weights: Array
    label: str
    losses: Array
    space: str
    gram_z: Array
    gram_theta: Array
    gram_of_step: Array | None
    v_z: Array
    v: Array
    descent: Array
    predicted_trunk: Array
    predicted_head: Array
    actual: Array
    memories: list[str]
    noise: Array
    rounding: float

    @property
    def gram(self) -> Array:
        """The Gram matrix in `space`: the step's own if it formed one, otherwise the measured one."""
        return self.gram_measured if self.gram_of_step is None else self.gram_of_step

    @property
    def gram_measured(self) -> Array:
        """The measured Gram matrix in `space`."""
        return self.gram_z if self.space == "Z" else self.gram_theta

    @property
    def cosines(self) -> Array:
        """The cosines between the gradients in `space`; NaN next to a zero gradient."""
        lengths = np.sqrt(self.gram.diagonal())
        products = lengths[:, None] * lengths
        cosines = np.where(products > 0, self.gram / np.where(products > 0, products, 1.0), np.nan)
        return np.clip(cosines, -1.0, 1.0)

    @property
    def angles(self) -> Array:
        """The angles between the gradients in `space`, in degrees; NaN next to a zero gradient."""
        return np.degrees(np.arccos(self.cosines))

    @property
    def norms_z(self) -> Array:
        """‖∇_Z Lₖ‖ over the whole batch."""
        return np.sqrt(self.gram_z.diagonal())

    @property
    def norms(self) -> Array:
        """‖∇_θ Lₖ‖."""
        return np.sqrt(self.gram_theta.diagonal())

    @property
    def predicted(self) -> Array:
        """The first-order change of each loss, through the trunk and its head together."""
        return self.predicted_trunk + self.predicted_head

    @property
    def gap(self) -> Array:
        """actual − predicted: what the first order misses (curvature, and a trunk and a head that move together)."""
        return self.actual - self.predicted

    @property
    def descent_noise(self) -> Array:
        """(K,), what rounding may leave of gₖ·v."""
        return self.rounding * self._reach * self.norms

    @property
    def _reach(self) -> float:
        """The length of v if nothing in it cancelled, or v's own if a strategy makes it longer."""
        return max(float(np.abs(self.weights) @ self.norms), math.sqrt(self.v @ self.v))

    def settled(self) -> Turn:
        """The same turn with 0 for every number that rounding made of 0."""
        weights = settled(self.weights, max(CLOSE, self.rounding) * np.abs(self.weights).max(initial=0.0))
        at_z, at_theta = (_settled_gram(gram, rounding()) for gram in (self.gram_z, self.gram_theta))
        return replace(
            self,
            weights=weights,
            losses=settled(self.losses, self.noise),
            gram_z=at_z,
            gram_theta=at_theta,
            gram_of_step=None if self.gram_of_step is None else _settled_gram(self.gram_of_step, self.rounding),
            v_z=settled(self.v_z, rounding() * float(np.abs(weights) @ np.sqrt(at_z.diagonal()))),
            v=settled(self.v, self.rounding * self._reach),
            descent=settled(self.descent, self.descent_noise),
            predicted_trunk=settled(self.predicted_trunk, self.noise),
            predicted_head=settled(self.predicted_head, self.noise),
            actual=settled(self.actual, self.noise),
        )


@dataclass
class Record:
    """One step, laid open.

    Attributes
    ----------
    strategy, optimizer : str
    learning_rate : float or None
        η for plain SGD, with which the trunk moves by −η v; None for other rules.
    task_names : list of str
        The tasks that took part, in order: K of them. A task without a label in the batch did not.
    labelled : dict of int, or None
        {task: rows of the batch that are labelled for it}, of all the model's tasks; None if all rows are.
    x_shape : tuple or None
        The batch's; None for an analytic problem.
    dtype : str
        The model's. Measurements are in float64.
    heads_have_parameters : bool
    losses : (K,)
        As the step reports them: each just before its own update.
    weights, min_norm
        As the step reports them; None if it has none.
    trunk_forwards, trunk_backwards, head_backwards : int
        The step's own passes, without the measurement's.
    turns : list of Turn
    notes : list of str
        What makes the measurement doubtful; normally empty.
    """

    strategy: str
    optimizer: str
    learning_rate: float | None
    task_names: list[str]
    labelled: dict[str, int] | None
    x_shape: tuple[int, ...] | None
    dtype: str
    heads_have_parameters: bool
    losses: Array
    weights: Array | None
    min_norm: MinNorm | None
    trunk_forwards: int
    trunk_backwards: int
    head_backwards: int
    turns: list[Turn]
    notes: list[str]

    def settled(self) -> Record:
        """The same record with 0 for every number that rounding made of 0."""
        solved = self.min_norm
        if solved is not None:
            scale = max(float(self.turns[0].gram.diagonal().max()), solved.squared_norm)
            solved = solved._replace(
                squared_norm=float(settled(solved.squared_norm, rounding() * scale)),
                gap=float(settled(solved.gap, rounding() * scale)),
            )
        return replace(self, turns=[turn.settled() for turn in self.turns], min_norm=solved)

    def to_dict(self) -> dict[str, Any]:
        """Everything as dicts, lists, numbers and strings, ready for `json.dumps`.

        A number that is not finite (the cosine with a zero gradient) becomes None, and so does a v of more than 100
        numbers; its squared length is always there.
        """
        return {
            "strategy": self.strategy,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "tasks": self.task_names,
            "labelled": self.labelled,
            "batch": None if self.x_shape is None else {"rows": self.x_shape[0], "shape": list(self.x_shape)},
            "dtype": self.dtype,
            "losses": _plain(self.losses),
            "weights": _plain(self.weights),
            "min_norm": None if self.min_norm is None else _plain(self.min_norm._asdict()),
            "passes": {name: getattr(self, name) for name in ("trunk_forwards", "trunk_backwards", "head_backwards")},
            "turns": [self._turn_dict(turn) for turn in self.turns],
            "notes": list(self.notes),
        }

    def _turn_dict(self, turn: Turn) -> dict[str, Any]:
        names = ["weights", "losses", "norms_z", "gram_z", "gram_theta", "gram_of_step", "cosines", "angles"]
        names += ["descent", "predicted_trunk", "predicted_head", "predicted", "actual", "gap"]
        return {
            "group": [self.task_names[k] for k in turn.group],
            "label": turn.label,
            "space": turn.space,
            **{name: _plain(getattr(turn, name)) for name in names},
            "norms_theta": _plain(turn.norms),
            "v_z": _plain(turn.v_z) if turn.v_z.size <= LONGEST_VECTOR else None,
            "v": _plain(turn.v) if turn.v.size <= LONGEST_VECTOR else None,
            "squared_norm_v_z": _plain(turn.v_z @ turn.v_z),
            "squared_norm_v": _plain(turn.v @ turn.v),
            "memories": turn.memories,
        }


def _settled_gram(gram: Array, part: float) -> Array:
    """With 0 for the products of perpendicular gradients, and for gradients that are nothing next to the longest."""
    lengths = np.sqrt(np.abs(gram.diagonal()))
    lengths = settled(lengths, part * lengths.max(initial=0.0))
    return settled(np.where(np.outer(lengths, lengths) > 0, gram, 0.0), max(CLOSE, part) * np.outer(lengths, lengths))


def _plain(value: Any) -> Any:
    """Nested lists of Python numbers, None for what is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
