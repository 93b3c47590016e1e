import argparse
import csv

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


def test_grade_writes_what_it_was_asked_for_and_says_a_line_per_student(submit, tmp_path, capsys):
    submit("ana", "A1")
    submit("ben", "A1", blank=True)
    out = tmp_path / "out"
    code = run(
        "grade", "A1", tmp_path / "*.ipynb", "--csv", out / "g.csv", "--json", out / "j", "--feedback", out / "f",
        "--seed", "41",
    )  # fmt: skip
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ana", "22"] and lines[1].startswith("ben") and "not answered yet" in lines[1]
    assert [row["automatic"] for row in csv.DictReader((out / "g.csv").open(encoding="utf-8"))] == ["22", "0"]
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "ana.html", "ana.json", "ben.html", "ben.json", "g.csv",
    ]  # fmt: skip


def test_gradescope_needs_no_submissions(tmp_path, capsys):
    assert run("grade", "A3", "--gradescope", tmp_path / "zip", "--seed", "5") == 0
    assert "zip its contents" in capsys.readouterr().out
    assert "A3 --seed 5" in (tmp_path / "zip" / "run_autograder").read_text()


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
