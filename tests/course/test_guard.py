"""What a student's code may not do in the worker: each attempt is made for real, and must be refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinymtl
from tinymtl.course.grader.sandbox import Limits, Worker
from tinymtl.course.question import Case

PACKAGE = Path(tinymtl.__file__).resolve().parent
HULL = PACKAGE / "hull.py"

REFUSED = {
    "import": "import tinymtl",
    "import a part": "from tinymtl.course.answers import weights",
    "importlib": (
        f"import sys, importlib; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "importlib.import_module('tinymtl.hull')"
    ),
    "its directory on the path": f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import tinymtl",
    "its inside on the path": f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); import hull",
    "another name": (
        "import importlib.util as u\n"
        f"spec = u.spec_from_file_location('harmless', {str(HULL)!r})\n"
        "spec.loader.exec_module(u.module_from_spec(spec))"
    ),
    "exec": f"exec(open({str(HULL)!r}).read())",
    "os.open": f"import os; os.open({str(HULL)!r}, os.O_RDONLY)",
    "a detour in the path": f"open({str(PACKAGE / 'course' / '..' / 'hull.py')!r})",
    "np.fromfile": f"import numpy as np; np.fromfile({str(HULL)!r}, dtype='u1')",
    "a copy": f"import shutil; shutil.copy({str(HULL)!r}, 'copy.py')",
    "a hard link": f"import os; os.link({str(HULL)!r}, 'link.py')",
    "a symbolic link": f"import os; os.symlink({str(HULL)!r}, 'link.py')",
    "another Python": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import tinymtl'])",
    "another Python by hand": "import _posixsubprocess; _posixsubprocess.fork_exec()",
    "the real _posixsubprocess": "import sys; del sys.modules['_posixsubprocess']; import _posixsubprocess",
    "os.system": "import os; os.system('true')",
    "exec over itself": "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'pass'])",
    "a child": "import os; os.fork()",
    "a child by multiprocessing": "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "ctypes": "import ctypes",
    "the real ctypes": "import sys; del sys.modules['ctypes']; import ctypes",
    "NumPy's ctypes": "import numpy as np; np._core._internal.ctypes.CDLL(None)",
    "readline": f"import readline; readline.read_history_file({str(HULL)!r})",
    "the parent's memory": "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
    "the parent's command": "import os; open(f'/proc/{os.getppid()}/cmdline', 'rb')",
    "its own memory": "open('/proc/self/mem', 'rb')",
    "killing the parent": "import os; os.kill(os.getppid(), 0)",
    "the network": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "another's notebook": f"open({str(PACKAGE.parent / 'lessons' / 'assignments' / 'A2.ipynb')!r})",
    "writing into the grader": f"open({str(PACKAGE / 'course' / 'marking.py')!r}, 'a')",
    "writing into Python": "import os; open(os.__file__, 'a')",
    "removing a file": "import os; os.remove('VICTIM')",
    "renaming a file": "import os; os.rename('VICTIM', 'mine')",
    "raising the limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))",
    "looking for the hook": "import gc; gc.get_objects()",
}
ALLOWED = {
    "scratch files": "import os; open('a', 'w').write('x'); assert open('a').read() == 'x'; os.remove('a')",
    "the standard library": "import statistics, fractions, itertools, json, random, decimal, heapq, typing",
    "NumPy's own parts": "import numpy.linalg, numpy.random, numpy.polynomial, numpy.testing",
    "figures": "import matplotlib.pyplot as plt; figure, axes = plt.subplots(2, 2); axes[0].plot([1]); plt.show()",
    "magics": "%matplotlib inline\nx = 1",
    "shell lines": "!ls\nx = 1",
}


@pytest.fixture(scope="module")
def worker():
    worker = Worker(Limits())
    yield worker
    worker.stop()


def attempt(worker, code):
    """The exception that a cell with this code ends in, or "" where it ends well."""
    return next((name for _, name, _ in worker.load([(1, code)])), "")


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_outside_is_refused(worker, name, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("still here")
    assert attempt(worker, REFUSED[name].replace("VICTIM", str(victim))) in (
        "raised PermissionError",
        "raised ImportError",
        "raised ModuleNotFoundError",
    )
    assert victim.read_text() == "still here"


@pytest.mark.parametrize("name", ALLOWED)
def test_what_coursework_needs_is_allowed(worker, name):
    assert attempt(worker, ALLOWED[name]) == ""


def test_an_installed_tinymtl_is_refused_among_packages_that_may_be_read(tmp_path):
    """As where it is installed next to NumPy: every directory is readable there except one called tinymtl."""
    for package in ("tinymtl", "tinymtl/course", "other"):
        (tmp_path / "site-packages" / package).mkdir(parents=True)
        (tmp_path / "site-packages" / package / "answers.py").write_text("")
    (tmp_path / "scratch").mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(PACKAGE / "course" / "worker")!r})
import guard
guard.watch(scratch={str(tmp_path / "scratch")!r}, numpy_home={str(tmp_path / "site-packages")!r})
for package in ("other", "tinymtl", "tinymtl/course"):
    try: open({str(tmp_path / "site-packages")!r} + "/" + package + "/answers.py")
    except PermissionError: print(package, "refused")
    else: print(package, "read")
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["other read", "tinymtl refused", "tinymtl/course refused"]


def test_limits_are_those_that_were_asked_for():
    resource = pytest.importorskip("resource")
    code = (
        "import resource as r\n"
        "found = [r.getrlimit(x) for x in (r.RLIMIT_CPU, r.RLIMIT_AS, r.RLIMIT_FSIZE, r.RLIMIT_NPROC)]"
    )
    # reading the limits needs the module: the hook refuses to change them, not to look
    worker = Worker(Limits(cpu_seconds=7, memory_bytes=1 << 29, file_bytes=12345))
    try:
        worker.load([(1, code)])
        found = worker.ask([Case("found")])[0].value
    finally:
        worker.stop()
    assert found == [[7, 7], [1 << 29, 1 << 29], [12345, 12345], [0, 0]]
    assert resource.getrlimit(resource.RLIMIT_NPROC)[0] != 0 or os.getuid() == 0


def test_a_file_that_grows_too_large_is_cut():
    pytest.importorskip("resource")
    code = "with open('big', 'wb') as file:\n    for _ in range(100): file.write(b'x' * 100_000); file.flush()"
    worker = Worker(Limits(file_bytes=1_000_000))
    try:
        assert attempt(worker, code) == "raised OSError"
    finally:
        worker.stop()


def test_scratch_is_removed_afterwards():
    worker = Worker(Limits())
    worker.load([(1, "open('note.txt', 'w').write('x')")])
    assert (Path(worker.scratch) / "note.txt").exists()
    worker.stop()
    assert not Path(worker.scratch).exists()
    assert worker.process.returncode is not None
