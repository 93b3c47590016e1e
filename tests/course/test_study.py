"""A4: the run log, its rules one by one, the interval's closed form, and the figure."""

import copy
import json

import numpy as np
import pytest

from tests.course.conftest import SOURCES
from tinymtl.course import points
from tinymtl.course.answers.interval import paired_interval, t_975, verdict
from tinymtl.course.answers.study import evidence, figure_data, form_problem
from tinymtl.course.question import Reply
from tinymtl.course.worker.notebook import read_notebook


def rows(method, metrics, lr=0.01, tuning=((0.003, 0.5), (0.01, 0.6))):
    base = {"method": method, "minibatches": 100, "trunk_passes": 100}
    log = [{**base, "seed": 50, "split": "validation", "lr": rate, "metric": metric} for rate, metric in tuning]
    return log + [
        {**base, "seed": seed, "split": "test", "lr": lr, "metric": metric} for seed, metric in enumerate(metrics)
    ]


@pytest.fixture
def log():
    return rows("averaged", [0.72, 0.69, 0.73, 0.71, 0.70]) + rows("mgda-ub", [0.70, 0.70, 0.70, 0.70, 0.70])


def earned(log):
    return points("A4", "log", {"run_log": log})


def test_a_fair_log_earns_everything(log):
    assert earned(log) == 6


def change(log, where, **values):
    changed = copy.deepcopy(log)
    for row in changed:
        if all(row[name] == value for name, value in where.items()):
            row.update(values)
    return changed


def test_one_run_with_a_larger_budget_costs_two_points(log):
    assert earned(change(log, {"method": "mgda-ub", "seed": 3}, minibatches=101)) == 4
    assert earned(change(log, {"method": "mgda-ub", "split": "validation", "lr": 0.003}, minibatches=50)) == 4


def test_the_grid_has_to_be_the_same_for_every_method(log):
    assert earned(change(log, {"method": "mgda-ub", "split": "validation", "lr": 0.003}, lr=0.001)) == 5
    assert earned(change(log, {"method": "mgda-ub", "split": "validation", "lr": 0.003}, seed=51)) == 5
    extra = rows("mgda-ub", [], tuning=((0.1, 0.1),))
    assert earned(log + extra) == 5


def test_a_grid_of_one_learning_rate_is_none():
    single = ((0.01, 0.6),)
    log = rows("a", [0.7] * 5, tuning=single) + rows("b", [0.7] * 5, tuning=single)
    assert earned(log) == 5


def test_seeds_have_to_be_paired(log):
    assert earned(change(log, {"method": "mgda-ub", "seed": 4}, seed=5)) == 4
    assert earned(log[:-1]) == 4
    assert earned(log + [log[-1]]) == 4


def test_four_pairs_are_too_few():
    assert earned(rows("a", [0.7] * 4) + rows("b", [0.7] * 4)) == 4


def test_the_learning_rate_has_to_be_the_best_on_validation(log):
    assert earned(change(log, {"method": "mgda-ub", "split": "test"}, lr=0.003)) == 5
    assert earned(change(log, {"method": "mgda-ub", "split": "test", "seed": 0}, lr=0.003)) == 5
    assert earned(change(log, {"method": "mgda-ub", "split": "test"}, lr=0.5)) == 5


def broken():
    log = rows("a", [0.7] * 5) + rows("b", [0.7] * 5)
    yield []
    yield None
    yield "log"
    yield {"rows": log}
    yield rows("a", [0.7] * 5)  # one method
    yield [row for row in log if row["split"] == "test"]
    yield [*log, 3]
    yield [{**log[0], "extra": 1}, *log[1:]]
    yield [{name: value for name, value in row.items() if name != "lr"} for row in log]
    yield log * 360
    for wrong in (
        {"metric": float("nan")},
        {"metric": 1.5},
        {"metric": True},
        {"seed": 1.5},
        {"lr": -0.1},
        {"lr": float("inf")},
    ):
        yield [{**log[0], **wrong}, *log[1:]]
    for wrong in (
        {"split": "train"},
        {"minibatches": 0},
        {"minibatches": 1.5},
        {"method": " "},
        {"trunk_passes": None},
    ):
        yield [{**log[0], **wrong}, *log[1:]]


@pytest.mark.parametrize("wrong", list(broken()), ids=range(21))
def test_a_broken_log_earns_nothing(wrong):
    assert form_problem(wrong)
    assert earned(wrong) == 0


def test_the_log_is_read_from_the_notebook_s_own_output(submit, notebook, tmp_path, grade):
    """The grader repeats no training: what counts is the log on show, the last one if there are several."""
    path = submit("ana", "A4")
    assert not form_problem(read_notebook(path).saved["run_log"])
    unseen = submit("ben", "A4", {"log": "run_log = []"})  # the cell that ran is another matter than its output
    assert [one.marks["log"].points for one in grade("A4", [path, unseen])] == [6, 6]
    nothing = grade("A4", [submit("cleo", "A4", blank=True)])[0]
    assert nothing.marks["log"].points == 0 and "run the cell that shows it" in nothing.marks["log"].hint


def test_evidence_is_the_students_own_interval(log):
    found = evidence([[[Reply(log)]]])
    assert found["pairs"] == 5
    assert found["averaged minus mgda-ub"] == {"difference": 0.01, "half_width_95": 0.019632, "includes_zero": True}
    assert "no paired final runs" in evidence([[[Reply([])]]])["comparison"]
    assert "no paired final runs" in evidence([])["comparison"]


def test_the_interval_of_lesson_9():
    mean, half_width = paired_interval(np.array([0.02, -0.01, 0.03, 0.01, 0.0]), np.zeros(5))
    assert abs(mean - 0.01) < 1e-12
    assert abs(half_width - 2.7764 * np.sqrt(0.00025) / np.sqrt(5)) < 1e-12
    assert abs(half_width - 0.0196) < 5e-5
    assert verdict(mean, half_width) == "no difference shown"


def test_the_notebook_hands_out_students_t():
    cells = json.loads((SOURCES / "A4.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = (text for cell in cells if (text := "".join(cell["source"])).startswith("T_975 = {"))
    scope = {}
    exec(source.split("}")[0] + "}", scope)
    assert scope["T_975"] == {df: t_975(df) for df in range(1, 31)}


def test_figure_data_pairs_by_seed_whatever_the_order(log):
    shuffled = [log[i] for i in np.random.default_rng(0).permutation(len(log))]
    found = figure_data(shuffled)
    assert found["methods"] == ["averaged", "mgda-ub"] and found["pairs"] == 5
    assert np.allclose(found["means"], [0.71, 0.70]) and abs(found["difference"] - 0.01) < 1e-12
    assert abs(found["half_width"] - 0.019633) < 1e-6


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 3),
        ({"y_label": "accuracy"}, 2),
        ({"title": ""}, 2),
        ({"x_label": None}, 2),
        ({"means": [0.1, 0.2]}, 2),
        ({"pairs": 4}, 2),
        ({"methods": ["mgda-ub", "averaged"]}, 2),
        ({"difference": 0.5}, 2),
        ({"half_width": 0.5}, 2),
    ],
)
def test_the_figure_s_three_points(change, expected):
    labels = {"title": "Averaged against MGDA-UB", "x_label": "method", "y_label": "accuracy (fraction)"}
    assert points("A4", "figure", {"figure_data": lambda log: {**figure_data(log), **labels, **change}}) == expected


@pytest.mark.parametrize("answer", [None, 3, {}, [], {"methods": None}])
def test_a_figure_that_says_nothing_earns_nothing(answer):
    assert points("A4", "figure", {"figure_data": lambda log: answer}) == 0
