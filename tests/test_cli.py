import builtins
import importlib
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import types

import pytest

import tinymtl as tm
from tinymtl import cli
from tinymtl.cli import main

QUICK = ["--data", "attributes", "--steps", "mgda-ub", "averaged", "--epochs", "1", "--seeds", "2", "--trunk", "3"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty directory, so that a file it leaves behind is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_cores", lambda: 1)  # no worker processes, except where a test wants them
    return tmp_path


@pytest.fixture
def no_cupy(monkeypatch):
    """A machine without CuPy, whatever this one has."""
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == "cupy":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)


def written(out):
    """What stands in results.json."""
    return json.loads(pathlib.Path(out, "results.json").read_text(encoding="utf-8"))


def refused(capsys, *arguments):
    """The one sentence of a call that ends with exit code 2, writes nothing to stdout and leaves no file."""
    before = sorted(os.listdir())
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tinymtl") and err.endswith("\n") and err.count("\n") == 1
    assert sorted(os.listdir()) == before
    return err


# ------------------------------------------------------------ the main job


def test_compare_prints_a_table_and_writes_three_files(capsys):
    assert main(["compare", *QUICK, "--out", "there", "--lr", "0.01"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^MGDA-UB +0\.\d{3} ± 0\.\d{3} ", out, re.M) and re.search(r"^single-task nets ", out, re.M)
    assert "Noise, in points of Δ. Against single-task nets" in out and "learning rate 0.01, 1 epoch of 18" in out
    assert max(len(line) for line in out.splitlines()) <= 100
    assert sorted(os.listdir("there")) == ["comparison.png", "results.csv", "results.json", "runs.jsonl"]
    runs = [entry["run"] for entry in written("there")["runs"]]
    assert {run["strategy"] for run in runs} == {"single", "averaged", "mgda-ub"}
    assert {(run["seed"], run["lr"], tuple(run["trunk"]), run["device"]) for run in runs} == {
        (0, 0.01, (3,), "cpu"),
        (1, 0.01, (3,), "cpu"),
    }


def test_compare_repeats_itself(capsys):
    texts = []
    for out in ("one", "two"):
        assert main(["compare", *QUICK, "--out", out]) == 0
        printed = re.sub(r"\s+\d+\.\d$", "", capsys.readouterr().out.replace(out + os.sep, ""), flags=re.M)
        content = written(out)
        for entry in content["runs"]:
            del entry["seconds"]
        texts.append((printed, content))
    assert texts[0] == texts[1]


def test_the_command_in_a_process_of_its_own():
    call = [sys.executable, "-m", "tinymtl", "compare", *QUICK]
    here = os.path.dirname(os.path.dirname(tm.__file__))
    done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": here}, check=True)
    assert done.stderr == "" and "Written: results" in done.stdout
    assert sorted(os.listdir("results")) == ["comparison.png", "results.csv", "results.json", "runs.jsonl"]


def test_the_defaults_are_the_main_job(monkeypatch):
    asked = {}

    def noted(data, steps, **options):
        asked.update(data=data, steps=steps, **options)
        raise ValueError("enough")

    monkeypatch.setattr(importlib.import_module("tinymtl.lab.comparison"), "compare", noted)
    assert main(["compare"]) == 2
    assert asked.pop("workers") >= 1
    assert asked == {
        "data": ["multidigits", "attributes"],
        "steps": None,
        "trunk": None,
        "epochs": None,
        "seeds": 3,
        "lr": None,
        "device": "cpu",
        "data_dir": None,
        "out": "results",
        "resume": False,
    }
    main(["compare", "--data-dir", "mnist", "--trunk", "lenet"])
    assert (asked["data"], asked["data_dir"], asked["trunk"]) == (["multi_mnist"], "mnist", "lenet")


def test_every_example_of_the_help_can_be_called(monkeypatch, capsys):
    assert main(["compare", "--help"]) == 0
    examples = re.findall(r"^  (tinymtl .*)$", capsys.readouterr().out, re.M)
    assert len(examples) >= 5
    calls = []
    monkeypatch.setattr(cli, "_compare", lambda args: calls.append(args) or 0)
    for example in examples:
        assert main(shlex.split(example)[1:]) == 0
    assert len(calls) == len(examples)
    used = " ".join(examples)
    for option in ("--data", "--data-dir", "--steps", "--trunk", "--epochs", "--seeds", "--lr", "--device", "--out"):
        assert option in used


# ------------------------------------------------------------ wrong calls


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compair"], "unknown command 'compair': did you mean 'compare'?"),
        (["zzz"], "unknown command 'zzz': use 'compare'"),
        (["--verson"], "unknown argument '--verson': did you mean '--version'?"),
        (["compare", "--epoch", "3"], "unknown argument '--epoch': did you mean '--epochs'?"),
        (["compare", "--epoch=3"], "unknown argument '--epoch=3': did you mean '--epochs'?"),
        (["compare", "weather"], "unknown argument 'weather'"),
        (["compare", "--data"], "--data: expected at least one argument"),
        (["compare", "--data", "multidigit"], "unknown data set 'multidigit': did you mean 'multidigits'?"),
        (["compare", "--data", "weather", "weather"], "'weather' is given twice"),
        (["compare", "--steps", "MGDA_UB"], "unknown strategy 'MGDA_UB': did you mean 'mgda-ub'?"),
        (["compare", "--seeds", "0"], "--seeds: '0' is not a whole number of at least 1"),
        (["compare", "--seeds", "1.5"], "--seeds: '1.5' is not a whole number"),
        (["compare", "--epochs", "-1"], "--epochs: "),
        (["compare", "--lr", "0"], "--lr: '0' is not a number above 0"),
        (["compare", "--lr", "nan"], "--lr: 'nan' is not a number above 0"),
        (["compare", "--trunk", "wide"], "--trunk: 'wide' is not a whole number"),
        (["compare", "--trunk", "8", "lenet"], "widths or the one word lenet"),
        (["compare", "--trunk", "lenet"], "takes square images"),
        (["compare", "--device", "gpu"], "--device: invalid choice: 'gpu'"),
        (["compare", "--data", "multi_mnist"], "--data-dir"),
        (["compare", "--data-dir", "nowhere"], "there is no directory nowhere"),
        (["compare", "--data-dir", "."], "lacks train-images-idx3-ubyte"),
        (["compare", "--data", "weather", "--data-dir", "."], "'multi_mnist' is not among the data sets"),
    ],
)
def test_a_wrong_call_gets_one_sentence(capsys, arguments, words):
    assert words in refused(capsys, *arguments)


def test_a_place_that_cannot_be_written_to(capsys, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "file is a file" in refused(capsys, "compare", "--out", "file")
    assert "file is a file" in refused(capsys, "compare", "--out", "file/deeper")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(capsys, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written to" in refused(capsys, "compare", "--out", "locked")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that takes no files")
def test_a_file_system_that_takes_no_files(capsys):
    assert "/proc cannot be written to" in refused(capsys, "compare", "--out", "/proc/results")


def test_divergence_is_one_sentence_and_writes_nothing(capsys):
    err = refused(capsys, "compare", *QUICK, "--lr", "1e30")
    assert "attributes, single-task nets, seed 0: task 'even'" in err and "lower the learning rate" in err


def test_ctrl_c_writes_nothing(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("tinymtl.lab.comparison"), "compare", interrupted)
    assert main(["compare"]) == 130
    assert capsys.readouterr() == ("", "tinymtl: interrupted\n")
    assert os.listdir() == []


# ------------------------------------------------------------ without streams, and with ones that close


def in_a_process(*arguments, closed=(), **options):
    """The command in a process of its own, some of its file descriptors closed before Python starts."""
    code = (
        "import os, sys\nfor fd in {}: os.close(fd)\nos.execv(sys.executable, [sys.executable, '-m', 'tinymtl', *{}])"
    )
    here = os.path.dirname(os.path.dirname(tm.__file__))
    environment = {**os.environ, "PYTHONPATH": here, **options.pop("env", {})}
    call = [sys.executable, "-c", code.format(list(closed), list(arguments))]
    return subprocess.run(call, capture_output=True, text=True, env=environment, **options)


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("command", [["walk", "--problem", "hand"], ["compare", *QUICK]])
def test_commands_do_without_standard_streams(closed, command):
    done = in_a_process(*command, closed=closed)
    assert (done.returncode, done.stderr) == (0, "")
    if 1 not in closed:
        assert ("What the step did" if command[0] == "walk" else "Written: results") in done.stdout


@pytest.mark.parametrize("command", ["walk --problem hand", "compare --help", "--version"])
def test_a_closed_pipe_ends_quietly(command):
    here = os.path.dirname(os.path.dirname(tm.__file__))
    reading, writing = os.pipe()
    os.close(reading)
    call = [sys.executable, "-m", "tinymtl", *command.split()]
    done = subprocess.run(call, stdout=writing, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": here})
    os.close(writing)
    assert done.returncode in ((141,) if "walk" in command else (0, 141)) and done.stderr == b""


@pytest.mark.parametrize("stream", ["stdin", "stderr"])
def test_fit_and_walk_do_with_a_closed_stream(monkeypatch, capsys, stream):
    for value in (None, io.StringIO()):
        if value is not None:
            value.close()
        monkeypatch.setattr(sys, stream, value)
        data = tm.data.load("attributes")
        for progress in (None, True) if value is None else (None,):
            tm.lab.fit(tm.Averaged(tm.lab.build(data, [4]), tm.SGD(0.1)), data, 1, progress=progress)
    if stream == "stdin":
        assert main(["walk", "--problem", "hand"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trunk", "10000000000"], "a trunk of the widths [10000000000] does not fit into memory"),
        (["--trunk", "9" * 30], "does not fit into memory"),
        (["--seeds", "99999999999"], "seeds is 99999999999"),
    ],
)
def test_a_size_that_no_memory_holds(capsys, arguments, words):
    assert words in refused(capsys, "compare", "--data", "attributes", *arguments)


def test_memory_that_runs_out_is_one_sentence(capsys, monkeypatch):
    def full(args):
        raise MemoryError("Unable to allocate 5 TiB")

    monkeypatch.setattr(cli, "_compare", full)
    assert refused(capsys, "compare") == "tinymtl: there is not enough memory: Unable to allocate 5 TiB\n"


# ------------------------------------------------------------ what goes wrong late


def test_a_picture_that_fails_costs_a_line_and_not_the_table():
    done = in_a_process("compare", *QUICK, env={"MPLBACKEND": "Qt4Agg"})
    assert done.returncode == 1 and re.search(r"^MGDA-UB ", done.stdout, re.M)
    assert done.stderr.startswith("tinymtl: results/comparison.png was not written: ") and done.stderr.count("\n") == 1
    assert sorted(os.listdir("results")) == ["results.csv", "results.json", "runs.jsonl"]


def test_compare_resumes(capsys, monkeypatch):
    assert main(["compare", *QUICK]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr(importlib.import_module("tinymtl.lab.comparison"), "attempt", None)  # nothing is left to do
    assert main(["compare", *QUICK, "--resume"]) == 0
    assert capsys.readouterr().out == whole


# ------------------------------------------------------------ devices


def test_an_absent_gpu_is_named(capsys, no_cupy):
    assert "no GPU to use: CuPy is not installed" in refused(capsys, "compare", "--device", "cuda")


def test_auto_falls_back_to_the_cpu_and_says_so(capsys, no_cupy):
    assert main(["compare", *QUICK, "--device", "auto"]) == 0
    assert re.fullmatch(r"tinymtl: running on the CPU, since CuPy is not installed.*\n", capsys.readouterr().err)
    assert written("results")["runs"][0]["run"]["device"] == "cpu"


def test_auto_takes_a_gpu_that_is_there(monkeypatch, capsys):
    def noted(*arguments, **options):
        raise ValueError(f"asked for {options['device']}")

    monkeypatch.setattr("tinymtl.backend.cuda_problem", lambda: None)
    monkeypatch.setattr(importlib.import_module("tinymtl.lab.comparison"), "compare", noted)
    assert "asked for cuda" in refused(capsys, "compare", "--device", "auto")
    assert "asked for cpu" in refused(capsys, "compare")


# ------------------------------------------------------------ the rest


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 0
    assert "compare" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tinymtl {tm.__version__}\n"


def test_commands_of_other_rooms_are_wired(capsys, monkeypatch):
    """A module that is there brings its command; one that is not is passed over."""
    module = types.ModuleType("tinymtl_guest")
    module.__spec__ = importlib.machinery.ModuleSpec("tinymtl_guest", None)

    def add(commands):
        parser = commands.add_parser("guest")
        parser.add_argument("--number", type=int, default=0)
        parser.set_defaults(func=lambda args: args.number)

    module.add = add
    monkeypatch.setitem(sys.modules, "tinymtl_guest", module)
    monkeypatch.setattr(cli, "COMMANDS", [("tinymtl.no.such", "add"), ("tinymtl_guest", "add")])
    assert main(["guest", "--number", "5"]) == 5
    assert "unknown argument '--numbr': did you mean '--number'?" in refused(capsys, "guest", "--numbr", "5")
    assert "tinymtl guest: argument --number" in refused(capsys, "guest", "--number", "x")


def test_a_console_without_delta_gets_a_question_mark(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["compare", *QUICK, "--seeds", "1"]) == 0
    stream.flush()
    assert b"? single, %" in stream.buffer.getvalue()
