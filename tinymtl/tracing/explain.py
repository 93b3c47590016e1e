"""A trace in three sentences: how the tasks pull, what an average would do, and what the step did.

Every word follows from the trace's numbers. What rounding can make of nothing counts as zero.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tinymtl.backend import Array
from tinymtl.ties import CLOSE, first_largest, first_smallest, rounding, settled
from tinymtl.tracing.numerals import clean, degrees, listing, short, signed
from tinymtl.tracing.record import Record, Turn

PARALLEL = 1e-6  # the cosine below which two directions count as perpendicular
VANISHING = 1e-10  # a sum counts as 0 if its squared length is below this part of (Σ its terms' lengths)²


def sentences(trace: Record) -> list[str]:
    """The three sentences."""
    trace = trace.settled()
    names = [clean(name) for name in trace.task_names]
    turn = trace.turns[0]
    return [_pull(trace, turn, names), _average(trace, turn, names), _deed(trace, turn, names)]


# ------------------------------------------------------------ how the tasks pull


def _pull(trace: Record, turn: Turn, names: list[str]) -> str:
    lengths = np.sqrt(turn.gram.diagonal())
    where = f" on {turn.space}" if trace.x_shape is not None else ""
    at_first = "At first " if len(trace.turns) > 1 else ""
    if len(names) == 1:
        return f"{names[0]} is the only task, and its gradient has length {short(lengths[0])}{where}."
    still = [names[k] for k in np.flatnonzero(lengths == 0)]
    if still:
        verb = "has a zero gradient" if len(still) == 1 else "have zero gradients"
        return f"{at_first}{_some(still, len(names))} {verb}{where} and {_do(still, 'pulls', 'pull')} nowhere."
    if len(names) == 2:
        strengths = f"with lengths {short(lengths[0])} and {short(lengths[1])}"
        return f"{at_first}{listing(names)} {_angle(turn.angles[0, 1])}{where}, {strengths}."
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    i, j = pairs[first_smallest([turn.cosines[pair] for pair in pairs])]
    widest = degrees(float(turn.angles[i, j]))
    if widest == "0°":
        return _sentence(f"{at_first}all {len(names)} tasks pull the same way{where}.")
    against = int((turn.cosines[np.tril_indices(len(names), -1)] < 0).sum())
    how_many = "none" if not against else "all" if against == len(pairs) else str(against)
    of = f"{how_many} of the {len(pairs)} pairs of tasks {'pulls' if against == 1 else 'pull'} against each other"
    farthest = f"{names[j]} and {names[i]} are farthest apart, at {widest}"
    return _sentence(f"{at_first}{of}{where}; {farthest}.")


def _angle(angle: float) -> str:
    said = degrees(angle)
    meanings = {"0°": "pull the same way, 0° apart", "90°": "pull at right angles, 90° apart"}
    return meanings.get(said, "pull in opposite directions, 180° apart" if said == "180°" else f"pull {said} apart")


# ------------------------------------------------------------ what the average would do


def _average(trace: Record, turn: Turn, names: list[str]) -> str:
    """By the sign of ḡ·gₖ on θ, ḡ = Σ gₖ/K."""
    if not turn.v.size:
        return "The trunk has no parameters, so only the heads learn."
    if len(names) == 1:
        return "With one task the averaged step is this step."
    slopes = turn.gram_theta.mean(axis=1)
    length2 = float(slopes.mean())
    if not turn.gram_theta.any():
        return "Without a gradient the averaged step would leave the trunk where it is."
    if _cancels(length2, np.full(len(names), 1 / len(names)), turn.gram_theta):
        return "The averaged step would leave the trunk where it is, since the gradients cancel (ḡ = 0)."
    slopes = settled(slopes, PARALLEL * turn.norms * np.sqrt(length2))
    noise = rounding() * float(turn.norms.mean() * turn.norms.max())
    raised = np.flatnonzero(slopes < 0)
    through = " through the trunk" if trace.heads_have_parameters else ""
    if not len(raised):
        lowers = (slopes > 0).all()
        everybody = "raise no loss" if not lowers else "lower both" if len(names) == 2 else f"lower all {len(names)}"
        return f"The averaged step would {everybody}{through} (ḡ·g at least {short(slopes.min(), noise=noise)})."
    worst = first_smallest(slopes)
    most = f", {names[worst]} most" if len(raised) > 1 else ""
    which = _some([names[k] for k in raised], len(names))
    return f"The averaged step would raise {which}{through}{most} (ḡ·g = {short(slopes[worst], noise=noise)})."


# ------------------------------------------------------------ what the step did


def _deed(trace: Record, turn: Turn, names: list[str]) -> str:
    if len(trace.turns) > 1:
        return _turns(trace, names)
    outcome = _outcome(turn.actual, turn.noise, names)
    if turn.label == "α" or turn.gram_of_step is not None:
        heads = "; with the heads' own steps " if trace.heads_have_parameters else ": "
        aim = _still(turn) or _aim(trace, turn, names) + heads
        return f"{_spread(turn, names)} {aim}{outcome}."
    if len(names) == 1:
        how = "This step follows it"
    elif turn.label == "uniform":
        times = float(turn.weights.mean()) * len(names)
        one = abs(times - 1) <= max(CLOSE, turn.rounding)
        how = "This step is that average" if one else f"This step is {short(times)} times that average"
    else:
        how = "This step follows a weighted sum"
        how += f", weights {listing([short(w) for w in turn.weights])}" if len(names) <= 4 else ""
    return f"{how}: {outcome}."


def _spread(turn: Turn, names: list[str]) -> str:
    """The weights of the tasks' gradients: α if they solve the min-norm problem, w otherwise."""
    symbol = "α" if turn.label == "α" else "w"
    if len(names) <= 3:
        return f"{symbol} = {listing([short(w) for w in turn.weights])}"
    used = np.count_nonzero(turn.weights)
    top = first_largest(turn.weights)
    most = f"most on {names[top]}, {short(turn.weights[top])}"
    return f"{symbol} spreads over {used} of {len(names)} tasks ({most}) and"


def _still(turn: Turn) -> str:
    """What it means if v = 0; nothing if it is not."""
    gram = turn.gram_measured
    if not _cancels(float(turn.weights @ gram @ turn.weights), turn.weights, gram):
        return ""
    if turn.label != "α":
        return "gives v = 0: the trunk stays where it is; "
    stays = "no direction lowers every loss at once and the trunk stays where it is"
    if (gram.diagonal() == 0).any():
        stays = "a zero gradient is the shortest point of the hull and the trunk stays where it is"
    return f"gives v = 0: {stays} (Pareto-stationary, which need not be optimal); "


def _aim(trace: Record, turn: Turn, names: list[str]) -> str:
    """What v does to every loss to first order, through the trunk: gₖ·v as gradients are weighed, its sign on θ."""
    at = turn.gram_measured @ turn.weights
    length = np.sqrt(max(float(turn.weights @ at), 0.0))
    norms = np.sqrt(turn.gram_measured.diagonal())
    at = settled(at, PARALLEL * length * norms)
    number = partial(short, noise=rounding() * float(np.abs(turn.weights) @ norms * norms.max()))
    where = " on Z" if turn.space == "Z" and trace.x_shape is not None else ""
    used = turn.weights != 0
    equal = np.ptp(at[used]) <= 1e-3 * abs(at[used]).max()
    up = np.flatnonzero(at < 0)
    if len(names) == 1:
        said = f"follows its gradient (‖v‖² = {number(turn.weights @ at)}{where})"
    elif len(up):
        said = f"raises {_some([names[k] for k in up], len(names))}{where} (gₖ·v = {number(at.min())})"
    elif equal and used.all():
        everybody = "both" if len(names) == 2 else f"all {len(names)}"
        said = f"lowers {everybody} equally (gₖ·v = {number(at.mean())}{where})"
    elif equal:
        rest = at[~used]
        few = _some([names[k] for k in np.flatnonzero(used)], len(names))
        others = listing([names[k] for k in np.flatnonzero(~used)]) if len(rest) <= 3 else f"the other {len(rest)}"
        ratio = rest.min() / at[used].mean()
        much = "more" if ratio > 1.001 else "as much" if ratio > 0.999 else "less"
        least = f"{'at least ' if len(rest) > 1 else ''}{number(rest.min())}"
        along = f"gₖ·v = {number(at[used].mean())}{where}"
        if used.sum() == 1:
            said = f"follows {few} alone ({along}), which lowers {others} {much} ({least})"
        else:
            few = few if used.sum() <= 3 else "these"
            said = f"lowers {few} equally ({along}) and {others} {much} ({least})"
    else:  # weights of another kind, or α of normalised gradients
        lowers = "lowers every loss" if at.min() > 0 else "raises no loss"
        said = f"{lowers} (gₖ·v from {number(at.min())} to {number(at.max())}{where})"
    on_theta = turn.descent
    scale = turn.norms * np.sqrt(turn.v @ turn.v)
    betrayed = np.flatnonzero(on_theta < -PARALLEL * scale)
    if turn.space == "Z" and len(betrayed) and not len(up):
        which = _some([names[k] for k in betrayed], len(names))
        least = short(on_theta[betrayed].min(), noise=float(turn.descent_noise.max()))
        said += f", but on θ it raises {which} (gₖ·v = {least})"
    return said


def _outcome(change: Array, noise: Array, names: list[str]) -> str:
    """What happened to the losses: each by name for up to three, counted and with the extremes for more."""
    change = settled(change, noise)
    if not change.any():
        return "no loss changed"
    if len(names) <= 3:
        moved = zip(names, change.tolist(), noise.tolist(), strict=True)
        return listing([f"{name} {_moved(d, least)}" for name, d, least in moved])
    fell, rose = int((change < 0).sum()), int((change > 0).sum())
    if not rose:
        best = first_smallest(change, float(noise.max()))
        which = f"all {len(names)}" if fell == len(names) else f"{fell} of {len(names)}"
        return f"{which} losses fell, {names[best]} most ({signed(change[best], noise[best])})"
    worst = first_largest(change, float(noise.max()))
    most = "" if rose == 1 else f", {names[worst]} most"
    who = names[worst] if rose == 1 else str(rose)
    return f"{fell} of {len(names)} losses fell and {who} rose{most} ({signed(change[worst], noise[worst])})"


def _moved(change: float, noise: float) -> str:
    if not np.isfinite(change):
        return "went out of range"
    if change == 0:
        return "did not change"
    return f"{'fell' if change < 0 else 'rose'} by {short(abs(change), 3, noise)}"


def _turns(trace: Record, names: list[str]) -> str:
    total, noise = (np.sum([getattr(turn, name) for turn in trace.turns], axis=0) for name in ("actual", "noise"))
    in_all = f"in all, {_outcome(total, noise, names)}"
    count = len(trace.turns)
    if count == 2 and len(names) <= 3:
        each = [f"in {_whose(turn, names)}, {_outcome(turn.actual, turn.noise, names)}" for turn in trace.turns]
        return _sentence(f"{'; '.join(each)}; {in_all}.")
    harm = [(float(turn.actual[k]), i, k) for i, turn in enumerate(trace.turns) for k in _others(turn, names)]
    harmful = {i for change, i, _ in harm if change > 0}
    if harmful:
        change, i, k = harm[first_largest([change for change, _, _ in harm], float(noise.max()))]
        turns = "1 raises" if len(harmful) == 1 else f"{len(harmful)} raise"
        said = (
            f"of the {count} turns, {turns} a loss of another one, most of all "
            f"{_whose(trace.turns[i], names)} that of {names[k]} ({signed(change, noise[k])})"
        )
    else:
        said = f"none of the {count} turns raises a loss of another one"
    return _sentence(f"{said}; {in_all}.")


def _others(turn: Turn, names: list[str]) -> list[int]:
    return [k for k in range(len(names)) if k not in turn.group]


def _whose(turn: Turn, names: list[str]) -> str:
    return f"the turn of {_some([names[k] for k in turn.group], len(names))}"


# ------------------------------------------------------------ small words


def _some(chosen: list[str], of: int) -> str:
    """Names if there are few of them, a count otherwise."""
    return listing(chosen) if len(chosen) <= 3 else f"{len(chosen)} of {of} tasks"


def _do(subjects: list[str], one: str, many: str) -> str:
    return one if len(subjects) == 1 else many


def _sentence(text: str) -> str:
    """With a capital if the sentence does not begin with a task's own name."""
    return text[0].upper() + text[1:]


def _cancels(length2: float, weights: Array, gram: Array) -> bool:
    """Whether Σ wₖgₖ, of squared length `length2`, is zero but for rounding."""
    whole = float(weights @ np.sqrt(gram.diagonal()))
    return length2 <= VANISHING * whole**2
