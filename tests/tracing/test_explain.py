"""The three sentences, word for word, in the corner cases."""

from __future__ import annotations

import numpy as np
import pytest

import tinymtl as tm
from tests.tracing.conftest import stacked
from tests.tracing.test_numbers import counterexample


def quadratics(centers, start, lr=0.1, strategy=tm.MGDA, **options):
    """The explanation of one step on ½‖θ − cₖ‖²."""
    problem = tm.problems.Quadratics([1.0] * len(centers), centers, start=start)
    return tm.trace(strategy(problem, tm.SGD(lr=lr), **options)).explain()


HAND = dict(centers=[[0.0, 0.0], [2.0, 3.0]], start=[2.0, 2.0])  # gradients (2, 2) and (0, −1)
AT_135 = "loss 1 and loss 2 pull 135° apart, with lengths 2.828 and 1."
RAISES_2 = "The averaged step would raise loss 2 (ḡ·g = −0.5)."


def test_the_hand_example(hand):
    model, x, targets = hand
    assert tm.trace(tm.MGDAUB(model, tm.SGD(lr=0.1)), x, targets).explain() == (
        "task 1 and task 2 pull 135° apart on Z, with lengths 2.828 and 1. "
        "The averaged step would raise task 2 (ḡ·g = −2.5). "
        "α = 3/13 and 10/13 lowers both equally (gₖ·v = 4/13 on Z): "
        "task 1 fell by 51/338 and task 2 fell by 24/169."
    )


def test_averaged():
    assert quadratics(**HAND, strategy=tm.Averaged) == (
        f"{AT_135} {RAISES_2} This step is that average: loss 1 fell by 0.294 and loss 2 rose by 0.0563."
    )


def test_weighted():
    assert quadratics(**HAND, strategy=tm.Averaged, weights=[1, 3]) == (
        f"{AT_135} {RAISES_2} This step follows a weighted sum, weights 0.25 and 0.75: "
        "loss 1 fell by 0.0484 and loss 2 fell by 0.0234."
    )


def test_normalised():
    """α from unit gradients is ½, ½ here: no descent direction for loss 2, and it is said."""
    assert quadratics(**HAND, normalize="l2") == (
        f"{AT_135} {RAISES_2} α = 0.5 and 0.5 raises loss 2 (gₖ·v = −0.5): "
        "loss 1 fell by 0.294 and loss 2 rose by 0.0563."
    )


def test_aligned():
    assert quadratics([[0.0, 0.0], [-1.0, 0.0]], [1.0, 0.0]) == (
        "loss 1 and loss 2 pull the same way, 0° apart, with lengths 1 and 2. "
        "The averaged step would lower both (ḡ·g at least 1.5). "
        "α = 1 and 0 follows loss 1 alone (gₖ·v = 1), which lowers loss 2 more (2): "
        "loss 1 fell by 0.095 and loss 2 fell by 0.195."
    )


def test_opposite():
    assert quadratics([[1.0, 0.0], [-1.0, 0.0]], [0.2, 0.0]) == (
        "loss 1 and loss 2 pull in opposite directions, 180° apart, with lengths 0.8 and 1.2. "
        "The averaged step would raise loss 1 (ḡ·g = −0.16). "
        "α = 0.6 and 0.4 gives v = 0: no direction lowers every loss at once and the trunk stays where it is "
        "(Pareto-stationary, which need not be optimal); no loss changed."
    )


def test_an_average_at_right_angles_to_a_task():
    """g₁ = (1, −1), g₂ = (0, 1), ḡ = (½, 0): loss 2 is neither raised nor lowered."""
    said = quadratics([[0.0, 1.0], [1.0, -1.0]], [1.0, 0.0], strategy=tm.Averaged)
    assert "The averaged step would raise no loss (ḡ·g at least 0)." in said


def test_normalised_that_lowers_both_unequally():
    """g₁ = (3, 0), g₂ = (1, 1): α = ½, ½ on the unit gradients, v = (2, ½)."""
    assert quadratics([[0.0, 0.0], [2.0, -1.0]], [3.0, 0.0], normalize="l2").split(". ")[2] == (
        "α = 0.5 and 0.5 lowers every loss (gₖ·v from 2.5 to 6): loss 1 fell by 0.579 and loss 2 fell by 0.229."
    )


def test_right_angles():
    said = quadratics([[0.0, 1.0], [1.0, 0.0]], [1.0, 1.0])
    assert said.startswith("loss 1 and loss 2 pull at right angles, 90° apart, with lengths 1 and 1.")


def test_the_average_that_cancels():
    assert quadratics([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0], strategy=tm.Averaged).split(". ")[1:] == [
        "The averaged step would leave the trunk where it is, since the gradients cancel (ḡ = 0)",
        "This step is that average: no loss changed.",
    ]


def test_three_that_cancel():
    """Three at 120°: v = 0 only but for rounding."""
    angles = np.radians([90, 210, 330])
    said = quadratics(np.stack([np.cos(angles), np.sin(angles)], axis=1), [0.0, 0.0])
    assert said.startswith("All of the 3 pairs of tasks pull against each other; ")
    assert (
        " are farthest apart, at 120°. "
        "The averaged step would leave the trunk where it is, since the gradients cancel (ḡ = 0). α = "
    ) in said
    assert "gives v = 0: no direction lowers every loss at once" in said


def test_one_task_clamped_out():
    assert quadratics([[0.0, 0.0], [1.0, 0.5]], [2.0, 0.0]) == (
        "loss 1 and loss 2 pull 27° apart, with lengths 2 and 1.118. "
        "The averaged step would lower both (ḡ·g at least 1.625). "
        "α = 0 and 1 follows loss 2 alone (gₖ·v = 1.25), which lowers loss 1 more (2): "
        "loss 1 fell by 0.194 and loss 2 fell by 0.119."
    )


def test_one_of_three_clamped_out():
    assert quadratics([[0.0, 2.0], [2.0, 0.0], [0.5, 0.5]], [2.0, 2.0]) == (
        "None of the 3 pairs of tasks pull against each other; loss 1 and loss 2 are farthest apart, at 90°. "
        "The averaged step would lower all 3 (ḡ·g at least 7/3). "
        "α = 0.5, 0.5 and 0 lowers loss 1 and loss 2 equally (gₖ·v = 2) and loss 3 more (3): "
        "loss 1 fell by 0.19, loss 2 fell by 0.19 and loss 3 fell by 0.29."
    )


@pytest.mark.filterwarnings("ignore:task 'loss 1' has a zero gradient:RuntimeWarning")
def test_a_zero_gradient():
    assert quadratics([[2.0, 0.0], [1.0, 0.0]], [2.0, 0.0]) == (
        "loss 1 has a zero gradient and pulls nowhere. "
        "The averaged step would raise no loss (ḡ·g at least 0). "
        "α = 1 and 0 gives v = 0: a zero gradient is the shortest point of the hull and the trunk stays where it is "
        "(Pareto-stationary, which need not be optimal); no loss changed."
    )


def test_no_gradient_at_all():
    assert quadratics([[1.0], [1.0]], [1.0], strategy=tm.Averaged) == (
        "loss 1 and loss 2 have zero gradients and pull nowhere. "
        "Without a gradient the averaged step would leave the trunk where it is. "
        "This step is that average: no loss changed."
    )


@pytest.mark.parametrize(
    ("strategy", "deed"),
    [
        (tm.MGDA, "α = 1 follows its gradient (‖v‖² = 4): loss 1 fell by 0.38."),
        (tm.Averaged, "This step follows it: loss 1 fell by 0.38."),
        (tm.Alternating, "This step follows it: loss 1 fell by 0.38."),
    ],
)
def test_one_task(strategy, deed):
    assert quadratics([[0.0, 0.0]], [2.0, 0.0], strategy=strategy) == (
        "loss 1 is the only task, and its gradient has length 2. "
        f"With one task the averaged step is this step. {deed}"
    )


def test_alternating_turns():
    assert quadratics(**HAND, strategy=tm.Alternating) == (
        f"At first {AT_135} {RAISES_2} "
        "In the turn of loss 1, loss 1 fell by 0.76 and loss 2 rose by 0.24; "
        "in the turn of loss 2, loss 1 rose by 0.259 and loss 2 fell by 0.141; "
        "in all, loss 1 fell by 0.501 and loss 2 rose by 0.0994."
    )


TEN = [[k, -(k**2) / 10] for k in range(-4, 6)]  # on a hanging parabola: the two ends are the lowest


def test_ten_tasks():
    """v is the foot of the perpendicular on y = −7 − x/10, the line through the gradients of the two ends."""
    assert quadratics(TEN, [0.0, -9.0]) == (
        "None of the 45 pairs of tasks pull against each other; loss 1 and loss 10 are farthest apart, at 66°. "
        "The averaged step would lower all 10 (ḡ·g at least 55.475). "
        "α spreads over 2 of 10 tasks (most on loss 10, 158/303) and lowers loss 1 and loss 10 equally "
        "(gₖ·v = 4900/101) and the other 8 more (at least 5460/101): all 10 losses fell, loss 5 most (−1211/202)."
    )


def test_ten_turns():
    assert quadratics(TEN, [0.0, 1.0], lr=0.2, strategy=tm.Alternating) == (
        "At first 19 of the 45 pairs of tasks pull against each other; "
        "loss 2 and loss 8 are farthest apart, at 115°. "
        "The averaged step would lower all 10 (ḡ·g at least 1.535). "
        "Of the 10 turns, 10 raise a loss of another one, most of all the turn of loss 10 that of loss 1 (+3.88); "
        "in all, 5 of 10 losses fell and 5 rose, loss 1 most (+6.66)."
    )


def test_groups():
    said = quadratics(TEN, [0.0, -9.0], lr=0.02, strategy=tm.RandomGrouped, group_size=5)
    assert said.startswith("At first none of the 45 pairs of tasks pull against each other; ")
    assert said.endswith(
        "None of the 2 turns raises a loss of another one; in all, all 10 losses fell, loss 5 most (−2.85)."
    )


def test_all_tasks_in_one_group():
    said = quadratics(**HAND, strategy=tm.RandomGrouped, group_size=2)
    assert said.endswith("This step is that average: loss 1 fell by 0.294 and loss 2 rose by 0.0563.")
    said = quadratics(**HAND, strategy=tm.RandomGrouped, group_size=2, reduction="sum")
    assert said.endswith("This step is 2 times that average: loss 1 fell by 0.575 and loss 2 rose by 0.125.")


def test_all_aligned():
    assert quadratics([[0.0], [1.0], [2.0]], [5.0]).startswith("All 3 tasks pull the same way. The averaged step")


def test_theorem_1b_fails_and_it_is_said():
    assert tm.trace(tm.MGDAUB(counterexample(), tm.SGD(lr=0.1))).explain() == (
        "loss 1 and loss 2 pull at right angles, 90° apart, with lengths 1.414 and 1.414. "
        "The averaged step would raise loss 2 (ḡ·g = −1). "
        "α = 0.5 and 0.5 lowers both equally (gₖ·v = 1), but on θ it raises loss 2 (gₖ·v = −1): "
        "loss 1 fell by 0.3 and loss 2 rose by 0.1."
    )


def test_heads_are_told_apart_from_the_trunk():
    model, x, targets = stacked(2)
    said = tm.trace(tm.MGDA(model, tm.SGD(0.1)), x, targets).explain()
    assert "on θ, with lengths" in said
    assert " through the trunk (ḡ·g" in said
    assert "; with the heads' own steps task 0 " in said


def test_names_are_used_as_they_are():
    model, x, targets = stacked(2, names=['<b>&"', "tab\there"])
    said = tm.trace(tm.Averaged(model, tm.SGD(0.1)), x, targets).explain()
    assert said.startswith('<b>&" and tab·here pull ')
