"""The numbers of commit 8d695f9, before the strategies were written on the templates: four steps each, in float64.

Recorded once with that commit: the last report, and three projections of the parameters. (Groups that are redrawn at
each step are left out: they are visited in the order drawn since.)
"""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm

RECORDED = json.loads((Path(__file__).parent / "recorded_at_8d695f9.json").read_text())
TASKS = 5
RULES = {"SGD": tm.SGD(0.1, momentum=0.9), "Adam": tm.Adam(0.05)}


class Apart(tm.nn.Linear):
    """A head that is not stacked."""


HEADS = {"Linear": tm.nn.Linear, "Apart": Apart}


def name_of(run):
    return " ".join([run["strategy"], *map(str, run["options"].values()), run["head"], run["rule"]])


@pytest.mark.parametrize("run", RECORDED, ids=name_of)
def test_the_numbers_are_the_recorded_ones(run):
    head = HEADS[run["head"]]
    tasks = [tm.Task(f"t{k}", head(5, 3, rng=10 + k).to("float64"), tm.cross_entropy) for k in range(TASKS)]
    model = tm.SharedBottom(tm.nn.MLP([4, 6, 5], rng=1).to("float64"), tasks)
    step = getattr(tm, run["strategy"])(model, RULES[run["rule"]], **run["options"])
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((9, 4)), rng.integers(0, 3, (9, TASKS))) for _ in range(4)]
    for x, y in batches:
        report = step(x, y)
    vector = model.vector.data
    projections = vector @ np.cos(np.arange(float(vector.size))[:, None] * np.arange(1, 4))
    assert_allclose(report.losses, run["losses"], rtol=0, atol=1e-12)
    assert_allclose(projections, run["parameters"], rtol=0, atol=1e-11)  # sums of 149 numbers
    assert (report.weights is None) == (run["weights"] is None)
    if report.weights is not None:
        assert_allclose(report.weights, run["weights"], rtol=0, atol=1e-12)
    assert [report.trunk_forwards, report.trunk_backwards, report.head_backwards] == run["passes"]


def test_every_strategy_of_that_commit_is_there():
    assert {run["strategy"] for run in RECORDED} == {"Averaged", "MGDA", "MGDAUB", "Alternating", "RandomGrouped"}
    assert len(RECORDED) == 64
