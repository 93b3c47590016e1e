"""The wheel: the package and the lessons are in it; the tests and the benchmark are not."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILT = ("__pycache__", "*.egg-info", "build", ".*")  # what a checkout has and its repository has not


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The files of a wheel that is built from a copy of this checkout, without its version in their names."""
    copy, out = tmp_path_factory.mktemp("copy") / "tinymtl", tmp_path_factory.mktemp("wheel")
    copy.mkdir()
    for name in ("tinymtl", "lessons", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*BUILT))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = f"import setuptools.build_meta; setuptools.build_meta.build_wheel({str(out)!r})"
    run = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        found = files.namelist()
    assert len(set(found)) == len(found)
    stem = "-".join(wheel.name.split("-")[:2])
    return {name.replace(stem, "tinymtl", 1) for name in found}


def below(folder, *patterns):
    """Names of a checkout's files, as seen from its root."""
    return {path.relative_to(ROOT).as_posix() for pattern in patterns for path in (ROOT / folder).glob(pattern)}


def test_the_wheel_has_the_package_and_the_lessons_and_nothing_else(names):
    package = below("tinymtl", "**/*.py", "py.typed", "kernels.cu", "cupy_names.json", "data/*.npz", "data/*.md")
    package |= below("tinymtl", "course/**/*.toml")
    lessons = below("lessons", "*.ipynb", "README.md", "figures/[0-9]*")
    assert len(package) > 100 and len(lessons) > 20
    about = {name for name in names if name.startswith("tinymtl.dist-info/")}
    assert names - about == package | {f"tinymtl.data/data/share/tinymtl/{name}" for name in lessons}
    assert {"tinymtl.dist-info/entry_points.txt", "tinymtl.dist-info/licenses/LICENSE"} <= about


def test_neither_tests_nor_benchmark_are_in_it(names):
    assert [name for name in names if {"tests", "benchmark", "bench"} & set(name.split("/"))] == []
    assert [name for name in names if name.rpartition("/")[2].startswith(("test_", "conftest"))] == []


def test_every_lesson_is_in_it(names):
    numbers = [name.rpartition("/")[2][:2] for name in names if name.endswith(".ipynb")]
    assert sorted(numbers) == [f"{number:02}" for number in range(1, 11)]
