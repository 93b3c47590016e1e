"""Whatever goes wrong late costs one item and a line: what was computed is never lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinymtl as tm
from tests.lab.conftest import MIXED, make_data
from tests.lab.test_comparison import SINGLE, constructed
from tinymtl import files
from tinymtl.data import MultiTaskData, Split
from tinymtl.lab import compare, run_log, runs
from tinymtl.lab.runs import Failure

QUICK = {"trunk": [4], "epochs": 1, "seeds": 2}
HERE = os.path.dirname(os.path.dirname(tm.__file__))
posix = pytest.mark.skipif(os.name != "posix", reason="signals")


def fails_on_seed_1(model, optimizer, rng):
    if fails_on_seed_1.count == 2:
        raise FloatingPointError("task 'first': its loss is inf")
    fails_on_seed_1.count += 1
    return tm.Averaged(model, optimizer)


fails_on_seed_1.count = 0


def kills_its_process(model, optimizer):
    if os.getpid() != int(os.environ["TINYMTL_TEST_PARENT"]):
        os._exit(9)
    return tm.Averaged(model, optimizer)


def constant_test(task, value, name="made"):
    data = make_data(MIXED)
    targets = {**data.test.targets, task: np.full(len(data.test), value)}
    return MultiTaskData(name, data.train, data.validation, Split(data.test.x, targets, data.tasks))


# ------------------------------------------------------------ an item, and not the rest


def test_a_run_that_fails_costs_itself(tmp_path):
    fails_on_seed_1.count = 0  # planning makes one, then seed 0 one
    with pytest.warns(UserWarning, match="a run failed: made, fails_on_seed_1, seed 1: task 'first': its loss is inf"):
        found = compare(make_data(), [fails_on_seed_1, "averaged"], **QUICK)
    assert [str(f) for f in found.failures] == ["made, fails_on_seed_1, seed 1: task 'first': its loss is inf"]
    assert len(found.results) == 5 and found.deltas("made", "fails_on_seed_1").shape == (1,)
    one = found.difference("made", "fails_on_seed_1", "averaged")
    assert one.half_width is None and one.mean == pytest.approx(0.0, abs=1e-9)  # the same steps, of seed 0
    assert "Failed: made, fails_on_seed_1, seed 1" in str(found)
    assert len(found.save(tmp_path)) == 3
    assert json.loads((tmp_path / "results.json").read_text())["failures"][0]["run"]["seed"] == 1


def test_without_single_task_nets_there_is_no_delta(tmp_path):
    found = constructed({"single": SINGLE, "mgda": SINGLE})
    gone = [r for r in found.results if r.run.strategy == "single" and r.run.seed == 1]
    found = replace(found, results=[r for r in found.results if r not in gone])
    assert np.isnan(found.deltas("made", "mgda")).tolist() == [False, True, False]
    assert "Δ is not defined for seed 1" in found.table("made")
    found.save(tmp_path)
    cells = [line.split(",") for line in (tmp_path / "results.csv").read_text().splitlines()]
    assert {row[8] for row in cells if row[1:3] == ["mgda", "1"]} == {""}
    none = replace(found, results=[r for r in found.results if r.run.strategy != "single"])
    assert "Against" in none.noise("made") and "not defined" in none.noise("made")
    assert len(none.save(tmp_path / "b")) == 3


def test_a_single_task_accuracy_of_0_costs_a_seeds_delta():
    found = constructed({"single": [[0.0, 0.5], [0.8, 0.5]], "mgda": [[0.8, 0.5], [0.88, 0.5]]})
    np.testing.assert_allclose(found.deltas("made", "mgda"), [np.nan, 5.0], rtol=1e-9)
    assert found.difference("made", "mgda", "single").mean == pytest.approx(5.0, abs=1e-9)
    row = " ".join(found.table("made").splitlines()[-1].split())
    assert "+5.0 25 %" in row and "Δ is not defined for seed 0" in found.table("made")


def test_an_undefined_r2_costs_its_cell(tmp_path):
    data = constant_test("size", 2.5)
    found = compare(data, ["averaged"], **QUICK)
    assert np.isnan(found.metrics("made", "averaged")).tolist() == [[False, True, False]] * 2
    assert np.isfinite(found.deltas("made", "averaged")).all()  # regression enters by its loss
    assert "The metric of size is not defined" in found.table("made")
    assert len(found.save(tmp_path)) == 3
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]["made"]["averaged"]
    assert summary["metrics"][1] is None and summary["metrics"][0] is not None


def test_an_undefined_r2_on_validation_does_not_choose_the_epoch():
    data = make_data(MIXED)
    targets = {**data.validation.targets, "size": np.full(len(data.validation), 2.5)}
    flat = MultiTaskData("made", data.train, Split(data.validation.x, targets, data.tasks), data.test)
    step = tm.Averaged(tm.lab.build(flat, [8]), tm.Adam(0.02))
    history = tm.lab.fit(step, flat, 6, patience=6)
    means = np.array(history.validation_metrics)[:, [0, 2]].mean(axis=1)
    assert history.best_epoch == 1 + int(means.argmax()) > 1


def test_if_every_run_fails_it_is_an_error():
    def never(model, optimizer):
        return tm.Averaged(model, optimizer)

    with pytest.raises(FloatingPointError, match="made, single-task nets, seed 0: task 'first'"):
        compare(make_data(), [never], lr=1e30, **QUICK)


# ------------------------------------------------------------ each run is written at once


def test_each_run_is_written_when_it_is_finished(tmp_path, monkeypatch):
    seen = []

    def watched(*job):
        path = tmp_path / "runs.jsonl"
        seen.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return runs.attempt(*job)

    monkeypatch.setattr(sys.modules["tinymtl.lab.comparison"], "attempt", watched)
    found = compare(make_data(), ["averaged"], out=tmp_path, **QUICK)
    assert seen == [0, 1, 2, 3]
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [(line["run"]["strategy"], line["run"]["seed"]) for line in lines] == [
        ("single", 0),
        ("single", 1),
        ("averaged", 0),
        ("averaged", 1),
    ]
    assert lines[3]["test"] == found.results[3].test


def test_resume_does_what_is_left(tmp_path, monkeypatch):
    whole = compare(constant_test("size", 2.5), ["averaged", "mgda"], **QUICK)
    compare(constant_test("size", 2.5), ["averaged"], out=tmp_path, **QUICK)
    path = tmp_path / "runs.jsonl"
    path.write_bytes(path.read_bytes()[:-40])  # killed within a line
    done = []

    def watched(run, *rest):
        done.append((run.strategy, run.seed))
        return runs.attempt(run, *rest)

    monkeypatch.setattr(sys.modules["tinymtl.lab.comparison"], "attempt", watched)
    found = compare(constant_test("size", 2.5), ["averaged", "mgda"], out=tmp_path, resume=True, **QUICK)
    assert done == [("averaged", 1), ("mgda", 0), ("mgda", 1)]
    np.testing.assert_equal([r.test for r in found.results], [r.test for r in whole.results])
    assert [r.run for r in found.results] == [r.run for r in whole.results]
    for one, other in zip(found.results, whole.results, strict=True):
        for mine, its in zip(one.histories, other.histories, strict=True):
            np.testing.assert_equal({**mine.to_dict(), "seconds": 0}, {**its.to_dict(), "seconds": 0})
    done.clear()
    compare(constant_test("size", 2.5), ["averaged", "mgda"], out=tmp_path, resume=True, **QUICK)
    assert done == []
    for data, change in [
        (constant_test("size", 2.0), {}),
        (constant_test("size", 2.5), {"lr": 0.5}),
        (constant_test("size", 2.5), {"batch_size": 32}),
    ]:
        done.clear()
        compare(data, ["mgda"], out=tmp_path, resume=True, **QUICK, **change)
        assert len(done) == 4, change  # other contents or settings: other runs
    done.clear()
    compare(constant_test("size", 2.5), ["mgda"], out=tmp_path, **QUICK)
    assert len(done) == 4  # not asked for
    with pytest.raises(ValueError, match="give out="):
        compare(make_data(), resume=True, **QUICK)


def test_a_full_disk_costs_the_log_and_one_line(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_log.os, "fsync", full)
    with pytest.warns(UserWarning, match="runs.jsonl cannot be written .No space left") as said:
        found = compare(make_data(), ["averaged"], out=tmp_path, **QUICK)
    assert len(found.results) == 4 and len(said) == 1


# ------------------------------------------------------------ processes


@posix
def test_a_run_that_kills_its_process_costs_itself(monkeypatch):
    monkeypatch.setenv("TINYMTL_TEST_PARENT", str(os.getpid()))
    with pytest.warns(UserWarning, match="a worker process died"):
        found = compare(make_data(), ["averaged", kills_its_process], workers=2, **QUICK)
    assert [(f.run.strategy, f.run.seed) for f in found.failures] == [
        ("kills_its_process", 0),
        ("kills_its_process", 1),
    ]
    assert "its process died twice" in found.table("made").replace("\n", " ")
    alone = compare(make_data(), ["averaged"], **QUICK)
    assert [r.test for r in found.results] == [r.test for r in alone.results]


def children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
            except (OSError, IndexError):
                continue
    return found


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    code = (
        "import tinymtl as tm\n"
        f"tm.lab.compare('attributes', ['mgda'], trunk=[4], epochs=100000, seeds=2, workers=2, out={str(tmp_path)!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": HERE}, stderr=subprocess.DEVNULL
    )
    try:
        workers = until(lambda: found if len(found := children(process.pid)) >= 2 else None)
        time.sleep(2.0)  # until they train
        process.send_signal(number)
        process.wait(timeout=60)
        until(lambda: not any(running(pid) for pid in workers))
    finally:
        process.kill()


@pytest.mark.parametrize("fed", [True, False])
def test_a_script_needs_no_main_guard(tmp_path, fed):
    code = (
        "import tinymtl as tm\n"
        "def mine(model, optimizer):\n    return tm.MGDA(model, optimizer)\n"
        "found = tm.lab.compare('attributes', [mine], trunk=[4], epochs=1, seeds=2, workers=2)\n"
        "print(found.strategies('attributes'))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    call = [sys.executable, "-" if fed else str(script)]
    environment = {**os.environ, "PYTHONPATH": HERE}
    done = subprocess.run(call, input=code if fed else None, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['single', 'mine']\n", "")


# ------------------------------------------------------------ one writer


def test_a_checkpoint_has_one_run_at_a_time(tmp_path):
    path, data = tmp_path / "run.npz", make_data()
    step = lambda: tm.Averaged(tm.lab.build(data, [4]), tm.SGD(0.1))  # noqa: E731
    with files.held(path), pytest.raises(BlockingIOError, match="another run is writing .*run.npz"):
        tm.lab.fit(step(), data, 1, checkpoint=path)
    assert os.listdir(tmp_path) == []
    tm.lab.fit(step(), data, 1, checkpoint=path)
    assert os.listdir(tmp_path) == ["run.npz"]
    with files.held(path), pytest.raises(BlockingIOError):
        tm.lab.fit(step(), data, 2, checkpoint=path, resume=True)
    assert tm.lab.fit(step(), data, 2, checkpoint=path, resume=True).epochs == 2


def test_a_lock_that_a_killed_process_left_holds_nobody(tmp_path):
    path = tmp_path / "run.npz"
    code = f"from tinymtl.files import held\nimport os\nwith held({str(path)!r}):\n    os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": HERE}).returncode == 9
    assert len(os.listdir(tmp_path)) == 1
    with files.held(path):
        pass
    assert os.listdir(tmp_path) == []
    order = []

    def hold():
        try:
            with files.held(path):
                order.append("in")
                time.sleep(0.01)
                order.append("out")
        except BlockingIOError:
            pass

    threads = [threading.Thread(target=hold) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["in", "out"] * (len(order) // 2) and order


def test_a_failure_names_an_unusual_kind():
    run = runs.Run("made", "mgda", 3, [4], 1, 8, 0.1, 1)
    assert str(Failure(run, "KeyError", "'x'")) == "made, MGDA, seed 3: KeyError: 'x'"
