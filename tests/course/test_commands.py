import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinymtl.course import CourseError
from tinymtl.course.commands import add_grade_parser, add_release_parser


def run(*arguments):
    parser = argparse.ArgumentParser(prog="tinymtl")
    subparsers = parser.add_subparsers(required=True)
    add_release_parser(subparsers)
    add_grade_parser(subparsers)
    given = parser.parse_args([str(argument) for argument in arguments])
    return given.func(given)


@pytest.fixture
def walls(no_bubblewrap):
    return ["--trust-students"] if no_bubblewrap else []


def test_grade_writes_what_it_was_asked_for_and_says_a_line_per_student(submit, tmp_path, capsys, walls):
    submit("ana", "A1")
    submit("ben", "A1", blank=True)
    out = tmp_path / "out"
    code = run(
        "grade", "A1", tmp_path / "*.ipynb", "--csv", out / "g.csv", "--json", out / "j", "--feedback", out / "f",
        *walls,
    )  # fmt: skip
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ana", "22", "of", "22"]
    assert lines[1].startswith("ben") and "not answered yet" in lines[1]
    assert [row["automatic"] for row in csv.DictReader((out / "g.csv").open(encoding="utf-8-sig"))] == ["22", "0"]
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "ana.html", "ana.json", "ana.json", "ben.html", "ben.json", "ben.json", "g.csv",
    ]  # fmt: skip


def test_gradescope_needs_no_submissions(tmp_path, capsys):
    (tmp_path / "seed").write_text("5\n")
    assert run("grade", "A3", "--gradescope", tmp_path / "zip", "--seed-file", tmp_path / "seed") == 0
    assert "zip its contents" in capsys.readouterr().out
    assert (tmp_path / "zip" / "tinymtl-seed.txt").read_text() == "5\n"


def test_a_course_without_a_seed_gets_one(submit, tmp_path, capsys, walls, monkeypatch):
    monkeypatch.delenv("TINYMTL_SEED")
    monkeypatch.chdir(tmp_path)
    submit("ana", "A1")
    assert run("grade", "A1", "ana.ipynb", "--csv", "one.csv", *walls) == 0
    assert "wrote a new seed to tinymtl-seed.txt" in capsys.readouterr().out
    seed = (tmp_path / "tinymtl-seed.txt").read_text()
    assert int(seed) >= 1000 and (tmp_path / "tinymtl-seed.txt").stat().st_mode & 0o077 == 0
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert run("grade", "A1", "../ana.ipynb", "--csv", "two.csv", *walls) == 0
    assert "seed" not in capsys.readouterr().out and (tmp_path / "tinymtl-seed.txt").read_text() == seed
    asked = [json.loads(path.read_text())["asked"] for path in tmp_path.rglob("*.replies/ana.json")]
    assert len(asked) == 2 and len(set(asked)) == 1  # the same inputs


@pytest.mark.parametrize("text", ["0", "7", "-3", "seven", ""])
def test_a_seed_that_is_none(tmp_path, monkeypatch, text):
    monkeypatch.delenv("TINYMTL_SEED")
    (tmp_path / "s").write_text(text)
    with pytest.raises(CourseError, match="seed"):
        run("grade", "A1", tmp_path, "--seed-file", tmp_path / "s")
    monkeypatch.setenv("TINYMTL_SEED", text)
    with pytest.raises(CourseError, match="seed"):
        run("grade", "A1", tmp_path)


def test_collecting_and_marking_can_be_two_steps(submit, tmp_path, capsys, walls):
    """What is asked is written, a copy of the worker's folder collects elsewhere, and the marks are those of one."""
    from tinymtl.course import worker

    submit("ana", "A3")
    submit("ben", "A3", {"one_pass": "def trunk_gradient(z, w, back):\n    return sum(map(back, z))"})
    assert run("grade", "A3", "--questions", tmp_path / "asked" / "questions.json") == 0
    shutil.copytree(Path(worker.__file__).parent, tmp_path / "elsewhere" / "worker")
    (tmp_path / "replies").mkdir()
    for name in ("ana", "ben"):
        command = [sys.executable, "-m", "worker", "../asked/questions.json", f"../{name}.ipynb"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, check=True, env=environment)
        (tmp_path / "replies" / f"{name}.json").write_bytes(done.stdout)
    capsys.readouterr()
    assert run("grade", "A3", "--replies", tmp_path / "replies", "--csv", tmp_path / "two.csv") == 0
    two = capsys.readouterr().out
    assert run("grade", "A3", tmp_path / "*.ipynb", "--csv", tmp_path / "one.csv", *walls) == 0
    assert two == capsys.readouterr().out and two.splitlines()[0].split() == ["ana", "22", "of", "22"]
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_without_walls_it_says_so_and_runs_nothing(submit, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no bwrap there
    path = submit("ana", "A1", {"order": f"open({str(tmp_path / 'ran')!r}, 'w')"})
    with pytest.raises(CourseError, match="students' code is not isolated .* --trust-students"):
        run("grade", "A1", path)
    assert not (tmp_path / "ran").exists()
    assert run("grade", "A1", path, "--trust-students") == 0


def test_release(tmp_path, capsys):
    pytest.importorskip("nbgrader")
    assert run("release", "A4", "-o", tmp_path) == 0
    assert (tmp_path / "A4.ipynb").exists() and "A4.ipynb" in capsys.readouterr().out


def test_bad_use_raises_one_sentence(tmp_path):
    with pytest.raises(CourseError, match="there are no submissions"):
        run("grade", "A1")
    with pytest.raises(CourseError, match="there is no submission"):
        run("grade", "A1", tmp_path / "nothing.ipynb")
    with pytest.raises(CourseError, match="unknown assignment"):
        run("grade", "A5", tmp_path)


def test_help_shows_an_example(capsys):
    for command in ("release", "grade"):
        with pytest.raises(SystemExit):
            run(command, "--help")
        assert f"example: tinymtl {command} A2" in " ".join(capsys.readouterr().out.split())
