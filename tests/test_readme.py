"""What the README shows is what happens."""

import re
from pathlib import Path

import tinymtl as tm

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_lines_of_python_run(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "MGDA-UB" in printed or "α" in printed


def test_every_link_and_picture_is_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) >= 4
    for target in targets:
        assert (ROOT / target).exists(), target


def test_each_command_is_one_line_that_makes_its_own_environment():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(commands) == 3
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/python -m pip install --quiet ")


def test_the_table_of_strategies_is_the_registry():
    """Made from it: if this fails, put the lines that it wants into the README."""
    problem, names = tm.problems.Quadratics([1.0, 1.0], [[1.0], [-1.0]], start=[0.5]), []
    expected = ["| | class | who moves together | weights | memory of the trunk | cost | choose it if … |"]
    expected.append("|---|---|---|---|---|---|---|")
    for entry in tm.STRATEGIES.values():
        names.append(type(entry(problem, tm.SGD(0.1))).__name__)
        answers = [entry.label, f"`tm.{names[-1]}`", entry.moves, entry.weighed, entry.memory, entry.cost, entry.choose]
        expected.append(f"| {' | '.join(answers)} |")
        assert "|" not in "".join(answers)
    assert "\n".join(expected) in README, "\n".join(expected)
    assert all(hasattr(tm, name) for name in names)


def test_the_version_is_said_once_and_the_same():
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version == tm.__version__
