import csv
import importlib
import json
import os
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import tinymtl as tm
from tests.lab.conftest import MIXED, make_data, with_gaps
from tinymtl.data import MultiTaskData, TaskSpec
from tinymtl.lab import Comparison, History, Result, Run, compare, execute, report, results, strategies
from tinymtl.lab.results import DataFacts
from tinymtl.lab.statistics import Interval, mean_interval

QUICK = {"epochs": 1, "seeds": 2}
RUN = Run("made", "single", 0, [8], 2, 64, 0.01, 1)


def constructed(metrics, tasks=("a", "b"), kind="classes", share=0.25):
    """A comparison with given test metrics {strategy: (seeds, K)}; losses are 1 − metric."""
    specs = [TaskSpec(name, kind, 3 if kind == "classes" else 1) for name in tasks]
    results = []
    for strategy, rows in metrics.items():
        for seed, row in enumerate(rows):
            history = History(list(tasks), train_losses=[[1.0] * len(tasks)] * 2, trunk_forwards=[2, 2], seconds=[1.0])
            history.trunk_backwards, history.head_backwards = [4, 4], [4, 4]
            history.measured, history.conflicting_pairs = [10, 20, 30, 40], [1, 0, 0, 0] if share else [0] * 4
            history.raised_tasks = [0, 0, 1, 1]
            pairs = zip(tasks, row, strict=True)
            scores = {name: {"loss": 1 - value, "metric": value, "labelled": 50} for name, value in pairs}
            results.append(Result(replace(RUN, strategy=strategy, seed=seed), scores, [history]))
    return Comparison(results, {"made": DataFacts("made", specs, 100, 10, 50)})


SINGLE = [[0.8, 0.5], [0.8, 0.5], [0.8, 0.5]]


@pytest.fixture(scope="module")
def attributes():
    return compare("attributes", "all", **QUICK)


# ------------------------------------------------------------ what is computed


def test_every_strategy_is_compared(attributes):
    assert attributes.strategies("attributes") == ["single", *tm.STRATEGIES]
    counts = {name: attributes.passes("attributes", name) for name in attributes.strategies("attributes")}
    turns = {"single": "8+8", "alternating-shared": "8+8", "alternating": "8+8", "grouped": "2+2"}
    # the others go forward once, and back once or, if they weigh gradients at θ, for each of the 8 tasks
    assert {name: counts.pop(name) for name in turns} == turns
    assert counts.pop("famo") == "2+1"  # the losses after the update
    at_theta = {name for name, strategy in tm.STRATEGIES.items() if "K·b" in strategy.cost}
    assert counts == {name: "1+8" if name in at_theta else "1+1" for name in counts}


def test_a_run_is_build_fit_and_evaluate():
    """By the public pieces, step by step: the same scores."""
    run = Run("attributes", "mgda", 2, [5], 9, 128, 0.2, 4)
    data = tm.data.load("attributes")
    initial, order, _ = (np.random.default_rng([2, stream]) for stream in range(3))
    model = tm.lab.build(data, [5], initial)
    history = tm.lab.fit(tm.MGDA(model, tm.Adam(lr=0.2)), data, 9, batch_size=128, rng=order, patience=9)
    found = execute(run)
    assert found.test == tm.lab.evaluate(model, data.test)
    assert found.histories[0].validation_metrics == history.validation_metrics
    assert found.histories[0].best_epoch == history.best_epoch
    assert history.best_epoch < 9  # so that the parameters of the best epoch are not the last ones
    assert found.histories[0].measured == [1, 11, 21, 31, 41, 51, 61, 71, 81]


def test_seeds_are_paired(monkeypatch):
    """For one seed all strategies start from the same weights and see the same minibatches."""
    runs = importlib.import_module("tinymtl.lab.runs")
    seen = {}

    def watched(step, data, *arguments, rng, **options):
        key = (step.model.vector.data[step.model.layout.trunk].tobytes(), str(rng.bit_generator.state))
        seen.setdefault(key, set()).add(type(step).__name__)
        return fit(step, data, *arguments, rng=rng, **options)

    fit = runs.fit
    monkeypatch.setattr(runs, "fit", watched)
    compare("attributes", ["mgda", "alternating", "grouped"], **QUICK)
    assert list(seen.values()) == [{"Averaged", "MGDA", "Alternating", "RandomGrouped"}] * 2


def test_results_do_not_depend_on_the_processes(attributes):
    shared = compare("attributes", workers=2, **QUICK)  # the tour
    alone = [r for r in attributes.results if r.run.strategy in ("single", *strategies.TOUR)]
    assert [r.test for r in shared.results] == [r.test for r in alone]
    assert [r.run for r in shared.results] == [r.run for r in alone]


def test_a_failing_run_in_a_process_is_named():
    with pytest.raises(FloatingPointError, match="attributes, single-task nets, seed 0: task 'even'"):
        compare("attributes", ["averaged"], workers=2, lr=1e30, **QUICK)


def test_random_groups_need_three_tasks():
    found = compare(make_data(), trunk=[4], **QUICK)
    assert "grouped" not in found.strategies("made")
    assert "No random groups" in found.table("made")
    assert found.results[0].run.group_size == 1


def test_data_of_ones_own_with_mixed_tasks():
    data = make_data(MIXED)
    found = compare(data, ["averaged", "grouped"], trunk=[4], group_size=2, workers=2, **QUICK)
    single, averaged = (found.metrics("made", name) for name in ("single", "averaged"))
    losses = [found.metrics("made", name, "loss") for name in ("single", "averaged")]
    relative = (averaged - single) / single
    relative[:, 1] = -(losses[1][:, 1] - losses[0][:, 1]) / losses[0][:, 1]  # regression, by its loss
    np.testing.assert_allclose(found.deltas("made", "averaged"), 100 * relative.mean(axis=1), rtol=1e-9)
    assert "1 epoch of 2 minibatches" in " ".join(found.table("made").split())
    assert "Regression tasks enter by their loss." in " ".join(str(found).split())
    assert "R² and accuracy on 40 test rows" in " ".join(found.table("made").split())


def test_deltas_are_paired_by_seed():
    found = constructed({"single": [[0.8, 0.5], [0.5, 0.5]], "mgda": [[0.8, 0.6], [0.4, 0.5]]})
    np.testing.assert_allclose(found.deltas("made", "mgda"), [10.0, -10.0])
    np.testing.assert_allclose(found.deltas("made", "single"), [0.0, 0.0])
    interval = found.difference("made", "mgda", "single")
    assert interval == pytest.approx(mean_interval([10.0, -10.0]), abs=1e-9)


# ------------------------------------------------------------ what is said


def test_the_table_says_what_the_numbers_are():
    found = constructed({"single": SINGLE, "mgda": [[0.88, 0.5], [0.72, 0.5], [0.8, 0.5]]})
    lines = found.table("made").splitlines()
    single, mgda = (" ".join(line.split()) for line in lines[-2:])
    assert single == "single-task nets 0.800 ± 0.000 0.500 ± 0.000 reference - 1+2 1.0"
    assert mgda == "MGDA 0.800 ± 0.080 0.500 ± 0.000 +0.0 ± 5.0 25 % 1+2 1.0"


def test_many_tasks_are_shown_by_mean_and_worst():
    names = ("p", "q", "r")
    metrics = {"single": [[0.9, 0.6, 0.9]] * 2, "averaged": [[0.8, 0.7, 0.3], [0.8, 0.7, 0.5]]}
    lines = constructed(metrics, names).table("made").splitlines()
    assert lines[-1].split()[:5] == ["averaged", "0.633", "±", "0.047", "0.400"] and " r " in lines[-1]
    assert "25/8 %" in lines[-1]  # one conflicting pair of three, in one measured step of four


@pytest.mark.parametrize("tasks", [2, 8])
def test_the_report_fits_100_columns(attributes, tasks):
    found = attributes
    if tasks == 2:
        wide = [[0.123456, 0.2], [0.9, 0.8], [0.1, 0.99]]
        found = constructed({name: wide for name in ("single", "alternating-shared", "alternating", "averaged")})
    assert max(map(len, str(found).splitlines())) <= 100


def test_the_noise_sentence_tells_inside_from_outside():
    averaged = [[0.80, 0.50], [0.80, 0.50], [0.80, 0.50]]
    steady = [[0.88, 0.55], [0.888, 0.555], [0.872, 0.545]]  # Δ = 10, 11, 9: ± 2.48
    shaky = [[0.88, 0.55], [0.72, 0.45], [0.96, 0.6]]  # Δ = 10, −10, 20: ± 38
    found = constructed({"single": SINGLE, "averaged": averaged, "mgda": steady, "alternating": shaky})
    noise = " ".join(found.noise("made").split())
    assert (
        "Against the averaged loss, inside the noise: alternating (per task) +6.7 ± 37.9; "
        "outside: MGDA +10.0 ± 2.5 (better)." in noise
    )
    assert "Against single-task nets, inside the noise: averaged +0.0 ± 0.0, alternating" in noise


def test_the_noise_sentence_when_all_are_alike():
    inside, outside = Interval(1.0, 2.0), Interval(-3.0, 2.0)
    assert report.noise_sentence({"A": inside}, "B") == "Against B, every difference is inside the noise: A +1.0 ± 2.0."
    assert (
        report.noise_sentence({"A": outside}, "B")
        == "Against B, every difference is outside the noise: A -3.0 ± 2.0 (worse)."
    )


def test_one_seed_says_nothing_about_noise():
    found = constructed({"single": SINGLE[:1], "mgda": SINGLE[:1]})
    assert "one seed says nothing" in found.noise("made") and "±" not in found.table("made")
    assert "One seed." in str(found) and "t interval" not in str(found)


# ------------------------------------------------------------ what is written


def test_the_three_files(attributes, tmp_path):
    out = tmp_path / "new" / "place"
    attributes.save(out)
    assert sorted(entry.name for entry in out.iterdir()) == ["comparison.png", "results.csv", "results.json"]
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (1 + len(tm.STRATEGIES)) * 2 * 8
    row = next(r for r in rows if (r["strategy"], r["seed"], r["task"]) == ("mgda", "1", "prime"))
    result = attributes.of("attributes", "mgda")[1]
    assert float(row["value"]) == result.test["prime"]["metric"]
    assert float(row["loss"]) == result.test["prime"]["loss"]
    assert float(row["delta_percent"]) == attributes.deltas("attributes", "mgda")[1]
    assert (int(row["trunk_forwards"]), int(row["trunk_backwards"])) == (18, 144)
    assert float(row["conflicting_share"]) == result.conflicting_share
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_can_be_repeated_from_the_json(attributes, tmp_path):
    attributes.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["versions"]["tinymtl"] == tm.__version__ and content["versions"]["numpy"] == np.__version__
    for entry in content["runs"]:
        if entry["run"]["seed"] == 1:
            again = execute(Run(**entry["run"])).to_dict()
            for key in entry:
                if key != "seconds":
                    assert json.loads(json.dumps(again[key])) == entry[key], key
    summary = content["summary"]["attributes"]["mgda"]
    assert summary["delta_percent"] == attributes.deltas("attributes", "mgda").tolist()
    expected = attributes.difference("attributes", "mgda", "averaged")
    assert summary["against_averaged"] == {"mean": expected.mean, "half_width_95": expected.half_width}


@pytest.mark.parametrize("lost", ["results.csv", "results.json", "comparison.png"])
def test_a_file_that_cannot_be_written_costs_itself(attributes, tmp_path, monkeypatch, lost):
    (tmp_path / lost).write_text("old")
    write = results.write

    def full(path, content):
        if path.name == lost:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(results, "write", full)
    with pytest.warns(UserWarning, match=f"{lost} was not written: .*No space left"):
        written = replace(attributes, results=attributes.results[:4]).save(tmp_path)
    assert [name for name in results.FILES if name != lost] == [os.path.basename(path) for path in written]
    assert (tmp_path / lost).read_text() == "old" and len(os.listdir(tmp_path)) == 3
    monkeypatch.setattr(results, "FILES", (lost,) * 3)
    with pytest.warns(UserWarning), pytest.raises(OSError, match="no results could be written"):
        replace(attributes, results=attributes.results[:4]).save(tmp_path)


def test_a_picture_that_cannot_be_drawn_costs_itself(attributes, tmp_path, monkeypatch):
    def broken(self):
        raise RuntimeError("Key backend: 'Qt4Agg'")

    monkeypatch.setattr(Comparison, "figure", broken)
    with pytest.warns(UserWarning, match="comparison.png was not written: Key backend: 'Qt4Agg'"):
        assert len(attributes.save(tmp_path)) == 2


def test_places_that_cannot_take_results(tmp_path):
    results.check_out(tmp_path / "a" / "b")
    results.check_out(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    (tmp_path / "results.csv").mkdir()
    for place, words in (("file", "is a file"), ("file/deeper", "is a file"), (".", "results.csv is a directory")):
        with pytest.raises(OSError, match=words):
            results.check_out(tmp_path / place)


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (["multidigit"], {}, "did you mean 'multidigits'"),
        ([[]], {}, "nothing to compare on"),
        ([["weather", "weather"]], {}, "given twice"),
        (["weather", ["mdga"]], {}, "did you mean 'mgda'"),
        (["weather", ["zzz"]], {}, "use 'averaged', 'mgda'"),
        (["weather"], {"seeds": 0}, "seeds is 0"),
        (["weather"], {"seeds": [1, 1]}, "different whole numbers"),
        (["weather"], {"seeds": [-1]}, "a seed is -1"),
        (["weather"], {"epochs": 0}, "epochs is 0"),
        (["weather"], {"lr": 0.0}, "learning rate is 0.0"),
        (["weather"], {"lr": float("nan")}, "learning rate is nan"),
        (["weather"], {"group_size": 7}, "group_size is 7"),
        (["weather"], {"trunk": "lenet"}, "takes square images"),
        (["weather"], {"workers": 0}, "workers is 0"),
        (["weather"], {"device": "tpu"}, "unknown device 'tpu'"),
        (["weather"], {"data_dir": "x"}, "'multi_mnist' is not among"),
        (["multi_mnist"], {}, "say where they lie"),
        (["multi_mnist"], {"data_dir": "no/such"}, "there is no directory no/such"),
    ],
)
def test_a_wrong_comparison_is_refused_before_anything_is_trained(monkeypatch, arguments, options, words):
    monkeypatch.setattr(importlib.import_module("tinymtl.lab.comparison"), "attempt", None)
    with pytest.raises((ValueError, OSError), match=words):
        compare(*arguments, **options)


def test_seeds_may_be_named():
    found = compare(make_data(), ["averaged"], trunk=[4], epochs=1, seeds=[7, 3])
    assert [r.run.seed for r in found.of("made", "averaged")] == [3, 7]


# ------------------------------------------------------------ strategies of one's own


class LastTaskOnly(tm.Averaged):
    """The averaged step with all the weight on the last task."""

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer, weights=[0.0] * (len(model.tasks) - 1) + [1.0])


def twice(model, optimizer):
    return tm.Averaged(model, optimizer, reduction="sum")


drawn = []


def drawing(model, optimizer, rng):
    drawn.append(int(rng.integers(2**32)))
    return tm.Alternating(model, optimizer, order="shuffled", rng=rng)


def test_names_classes_and_functions_are_strategies():
    own = [LastTaskOnly, "mgda", twice, partial(tm.MGDA, normalize="l2"), drawing]
    found = compare(make_data(), own, trunk=[4], seeds=2, epochs=2)
    names = ["single", "mgda", "LastTaskOnly", "twice", "MGDA(normalize='l2')", "drawing"]
    assert found.strategies("made") == names
    assert [line.split("  ")[0] for line in found.table("made").splitlines()[-6:]] == [
        "single-task nets",
        "MGDA",
        *names[2:],
    ]
    run = found.of("made", "twice")[1].run
    again = execute(run, make_data(), twice)
    assert again.test == found.of("made", "twice")[1].test
    assert found.of("made", "LastTaskOnly")[0].test != found.of("made", "twice")[0].test
    assert len(set(drawn)) == 3  # once to see whether it makes a step, then a stream of its own for each seed


def test_own_strategies_share_processes(tmp_path):
    own = [twice, partial(tm.MGDA, normalize="l2")]
    alone, shared = (compare(make_data(), own, trunk=[4], workers=n, **QUICK) for n in (1, 2))
    assert [r.test for r in shared.results] == [r.test for r in alone.results]
    shared.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert {entry["run"]["strategy"] for entry in content["runs"]} == {"single", "twice", "MGDA(normalize='l2')"}


def test_what_is_in_the_registry_goes_by_its_name_there():
    asked = [tm.Alternating, tm.STRATEGIES["grouped"], tm.MGDA, "mgda"]
    own = [tm.RandomGrouped, partial(tm.STRATEGIES["mgda"], normalize="l2")]
    assert list(strategies.chosen(asked)) == ["mgda", "alternating", "grouped"]
    assert list(strategies.chosen(own + asked))[3:] == ["RandomGrouped", "MGDA(normalize='l2')"]
    assert list(strategies.chosen("all")) == list(strategies.chosen(list(tm.STRATEGIES))) == list(tm.STRATEGIES)
    assert list(strategies.chosen(None)) == list(strategies.TOUR) and set(strategies.TOUR) < set(tm.STRATEGIES)
    assert list(strategies.chosen("mgda")) == list(strategies.chosen(tm.MGDA)) == ["mgda"]
    assert list(strategies.chosen(["single", "mgda"])) == ["mgda"]


def no_step(model, optimizer):
    return None


def another_model(model, optimizer):
    return tm.Averaged(tm.lab.build(make_data(), [4]), optimizer)


def mgda(model, optimizer):
    return tm.MGDA(model, optimizer)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([lambda model, optimizer: tm.Averaged(model, optimizer)], "a lambda has no name"),
        ([mgda], "two strategies are called 'mgda'"),
        ([twice, type("twice", (LastTaskOnly,), {})], "two strategies are called 'twice'"),
        ([no_step], "no_step must return a step of the model that it is given, it returned None"),
        ([another_model], "another_model must return a step of the model"),
        ([tm.RandomGrouped], "RandomGrouped does not make a step from .*'group_size'"),
        ([3], "unknown strategy 3: use 'averaged'"),
    ],
)
def test_what_makes_no_step_is_refused(monkeypatch, steps, words):
    monkeypatch.setattr(importlib.import_module("tinymtl.lab.comparison"), "attempt", None)
    with pytest.raises(ValueError, match=words):
        compare(make_data(), steps, trunk=[4], **QUICK)


def test_strategies_from_a_prompt_share_processes(monkeypatch):
    def inner(model, optimizer):
        return tm.Averaged(model, optimizer)

    alone, shared = (compare(make_data(), [inner], trunk=[4], workers=n, **QUICK) for n in (1, 2))
    assert [r.test for r in shared.results] == [r.test for r in alone.results]


def test_what_cannot_be_sent_to_a_process_is_refused():
    lock = threading.Lock()

    def inner(model, optimizer):
        return tm.Averaged(model, optimizer) if lock else None

    with pytest.raises(ValueError, match=r"inner cannot be sent to another process .*at the top of a module"):
        compare(make_data(), [inner], trunk=[4], workers=2, **QUICK)


def test_a_run_of_ones_own_strategy_needs_what_makes_it():
    with pytest.raises(ValueError, match="unknown strategy 'twice'"):
        execute(replace(RUN, strategy="twice"), make_data())


# ------------------------------------------------------------ missing labels


def test_a_comparison_counts_what_is_labelled(mixed):
    data = MultiTaskData("gaps", with_gaps(mixed.train), mixed.validation, with_gaps(mixed.test))
    found = compare(data, steps=["averaged", "mgda"], seeds=1, epochs=2, workers=1)
    assert found.data["gaps"].gaps == {"kind": [46, 30, 26], "size": [47, 30, 27], "yes": [47, 30, 27]}
    said = " ".join(found.table("gaps").split())
    assert "Labelled are, of 70 training and 40 test rows: kind 46 and 26, size 47 and 27, yes 47 and 27" in said
    lines = [line.split(",") for line in found.to_csv().splitlines()]
    column = lines[0].index("labelled")
    assert {line[3]: line[column] for line in lines[1:]} == {"kind": "26", "size": "27", "yes": "27"}
    assert '"gaps": {\n  "gaps"' in found.to_json()
    assert "Labelled" not in str(compare(mixed, steps=["averaged"], seeds=1, epochs=1, workers=1))


def test_a_task_without_a_label_in_a_part_is_refused_before_any_run(mixed):
    data = MultiTaskData("gaps", mixed.train, mixed.validation, with_gaps(mixed.test, missing=["size"]))
    with pytest.raises(ValueError, match="gaps: task 'size' has no label in the test part: leave the task out"):
        compare(data, steps=["averaged"], seeds=1, epochs=1)
