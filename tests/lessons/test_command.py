"""`tinymtl lessons`: a copy to work in, never over a student's work; and the command that rebuilds the notebooks."""

import json
import sys

import pytest

from tinymtl.cli import main
from tinymtl.course.lessons import command, rebuild
from tinymtl.course.lessons.command import copy_lessons
from tinymtl.course.lessons.runner import METADATA, folder, notebooks

NAMES = [path.name for path in notebooks(folder())]


def test_the_lessons_are_copied_without_their_outputs(tmp_path, capsys):
    assert main(["lessons", str(tmp_path / "mine"), "--no-open"]) == 0
    assert f"copied {len(NAMES)} lessons to" in capsys.readouterr().out
    assert [path.name for path in notebooks(tmp_path / "mine")] == NAMES
    assert (tmp_path / "mine" / "README.md").exists()
    assert not (tmp_path / "mine" / "assignments").exists()  # those hold solutions
    for name in NAMES:
        copy = json.loads((tmp_path / "mine" / name).read_text(encoding="utf-8"))
        source = json.loads((folder() / name).read_text(encoding="utf-8"))
        assert [cell["source"] for cell in copy["cells"]] == [cell["source"] for cell in source["cells"]]
        for cell in copy["cells"]:
            assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


def test_the_readme_of_the_copy_finds_its_figures(tmp_path):
    import re

    copy_lessons(tmp_path)
    figures = re.findall(r'src="(figures/[^"]+)"', (tmp_path / "README.md").read_text(encoding="utf-8"))
    assert figures and all((tmp_path / figure).stat().st_size > 500 for figure in figures)


def test_a_students_work_is_never_overwritten(tmp_path, capsys):
    (tmp_path / NAMES[0]).write_text("my answers")
    copied, kept = copy_lessons(tmp_path)
    assert kept == [NAMES[0]] and NAMES[0] not in copied
    assert (tmp_path / NAMES[0]).read_text() == "my answers"
    assert main(["lessons", str(tmp_path), "--no-open"]) == 0
    assert "left as they were" in capsys.readouterr().out
    assert (tmp_path / NAMES[0]).read_text() == "my answers"


def test_not_even_a_broken_link_is_written_through(tmp_path):
    elsewhere = tmp_path / "elsewhere.ipynb"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / NAMES[0]).symlink_to(elsewhere)
    _, kept = copy_lessons(tmp_path / "mine")
    assert kept == [NAMES[0]] and not elsewhere.exists()


def test_the_lessons_own_folder_is_refused(capsys):
    before = {path.name: path.read_bytes() for path in notebooks(folder())}
    for place in (folder(), folder() / "mine"):
        assert main(["lessons", str(place), "--no-open"]) == 2
        assert "choose a folder of your own" in capsys.readouterr().err
    assert not (folder() / "mine").exists()
    assert {path.name: path.read_bytes() for path in notebooks(folder())} == before


def test_a_place_that_cannot_be_written_gets_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["lessons", str(tmp_path / "file"), "--no-open"]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_jupyterlab_is_opened_in_the_folder(tmp_path, monkeypatch, capsys):
    calls = []

    class Server:
        def __init__(self, command):
            calls.append(command)
            self.answers = iter([KeyboardInterrupt, 3])  # Ctrl-C is left to Jupyter, which asks and then ends

        def wait(self):
            answer = next(self.answers)
            if answer is KeyboardInterrupt:
                raise KeyboardInterrupt
            return answer

    monkeypatch.setattr(command, "find_spec", lambda name: object())
    monkeypatch.setattr(command.subprocess, "Popen", Server)
    assert main(["lessons", str(tmp_path)]) == 3
    assert calls == [[sys.executable, "-m", "jupyterlab", str(tmp_path)]]


def test_without_jupyterlab_a_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["lessons", str(tmp_path)]) == 2
    assert "pip install 'tinymtl[lessons]'" in capsys.readouterr().err
    assert [path.name for path in notebooks(tmp_path)] == NAMES  # the copy is there all the same


def test_an_installation_without_a_checkout_finds_them_too(tmp_path, monkeypatch):
    """What pip puts beside the package is found through the list of installed files."""
    from tinymtl.course.lessons import runner as lessons

    place = tmp_path / "share" / "tinymtl" / "lessons"
    place.mkdir(parents=True)
    (place / NAMES[0]).write_text("{}")

    class File:
        name = NAMES[0]

        def locate(self):
            return place / NAMES[0]

    monkeypatch.setattr(lessons, "__file__", str(tmp_path / "lib" / "tinymtl" / "course" / "lessons" / "runner.py"))
    monkeypatch.setattr(lessons.metadata, "files", lambda name: [File()])
    assert lessons.folder() == place.resolve()
    monkeypatch.setattr(lessons.metadata, "files", lambda name: None)
    with pytest.raises(lessons.CourseError, match="has no lessons"):
        lessons.folder()


# ------------------------------------------------------------ the rebuild


def notebook(*sources):
    from nbformat.v4 import new_code_cell, new_notebook

    return new_notebook(cells=[new_code_cell(source, id=f"c{i:02d}") for i, source in enumerate(sources, 1)])


def test_rebuilding_twice_gives_the_same_bytes_and_a_thumbnail(tmp_path, capsys):
    import nbformat

    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('a')\nprint('b')"
    path = tmp_path / "01_trial.ipynb"
    nbformat.write(notebook(figure, "1 + 1"), path)
    (tmp_path / "notes.ipynb").write_text("no lesson: its name has no number")
    contents = []
    for _ in range(2):
        assert rebuild.main(["--folder", str(tmp_path)]) == 0
        contents.append((path.read_bytes(), (tmp_path / "figures" / "01_trial.png").read_bytes()))
    assert contents[0] == contents[1]
    assert "01_trial.ipynb: " in capsys.readouterr().out
    assert json.loads(contents[0][0])["metadata"] == METADATA  # and not the version of the kernel that ran it
    cells = json.loads(contents[0][0])["cells"]
    assert cells[1]["outputs"][0]["data"]["text/plain"] == ["2"]
    assert ["a\n", "b\n"] in [output.get("text") for output in cells[0]["outputs"]]


def test_a_lesson_that_fails_is_left_as_it_was(tmp_path, capsys):
    import nbformat

    path = tmp_path / "02_trial.ipynb"
    nbformat.write(notebook("1 / 0"), path)
    before = path.read_bytes()
    assert rebuild.main(["2", "--folder", str(tmp_path)]) == 1
    assert "02_trial.ipynb: not written" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_unknown_number_is_refused(capsys):
    with pytest.raises(SystemExit):
        rebuild.main(["77"])
    assert "no such lesson; there are 01" in capsys.readouterr().err
