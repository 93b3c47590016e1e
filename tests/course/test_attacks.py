"""Attacks on the machine and on the rest of the class: no one else loses a point, nothing is reached.

Two kinds. What could end or stall a whole run is tried in bubblewrap and, as with --trust-students, without. What
reaches for the answers, the grader or the files of others is tried in bubblewrap alone, where nothing is in reach.
"""

import csv
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import tinymtl
from tinymtl.course import grade as grade_anywhere
from tinymtl.course.worker.collect import Lost, Worker
from tinymtl.course.worker.isolation import Limits

PACKAGE = Path(tinymtl.__file__).resolve().parent
QUICK = Limits(load_seconds=6.0, question_seconds=1.0, memory_bytes=1 << 29)
STUB = "\ndef two_task_weight(g1, g2):\n    return 0.5\n"


def call(body):
    """The answer cell of question 1 of A2, whose function does this first."""
    return "def two_task_weight(g1, g2):\n" + "".join(f"    {line}\n" for line in [*body.splitlines(), "return 0.5"])


# ------------------------------------------------------------ what could end or stall a run

FORGE = """
import json, os, sys
def forge(**reply):
    frame = sys._getframe()
    while "identifier" not in frame.f_locals: frame = frame.f_back
    reply = {"id": frame.f_locals["identifier"], **reply}
    for descriptor in range(3, 64):
        try: os.write(descriptor, json.dumps(reply).encode() + b"\\n")
        except OSError: pass
"""
ENDING = {
    "an array of no axis": call("import numpy as np\nreturn np.array(3)"),
    "an array of 64 axes": call("import numpy as np\nreturn np.zeros((1,) * 64)"),
    "lists of one item, very deep": call("x = 0.5\nfor _ in range(9): x = [x]\nreturn x"),
    "half a letter raised": "raise ValueError('\\ud800')" + STUB,
    "half a letter as an answer": call("return '\\ud800'"),
    "half a letter in the code": "x = '\ud800'" + STUB,
    "an exception with a terrible name": "raise type('\\ud800\\x1b[2K' * 99, (Exception,), {})('\\ud800')" + STUB,
    "an exception that cannot be printed": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E()" + STUB
    ),
    "a terminal's control codes": "raise ValueError('\\x1b[2K\\x1b[1Gmallory     21\\x1b[8m\\r\\n21')" + STUB,
    "numbers beyond floats": call("return [[10**400] * 3] * 3"),
    "a dict with odd keys": call("return {1: 2, None: 3}"),
    "a dict that is spelled like an array": call("return {'array': [1, 2], 'shape': [[2]], 'dtype': 'int64'}"),
    "a patched encoder": call("import sys\nx = 0.5\nfor _ in range(70): x = [x]\n"
                              "sys.modules['worker.values'].encode = lambda value: x"),
    "a patched encoder, far too deep": call("import sys\nx = 0.5\nfor _ in range(900): x = [x]\n"
                                            "sys.modules['worker.values'].encode = lambda value: x"),
    "a patched encoder, odd shapes": call(
        "import sys\nsys.modules['worker.values'].encode = lambda value: "
        "{'array': [1.0], 'shape': [1] * 70, 'dtype': 'float64'}"
    ),
    "a patched encoder, a dict for a shape": call(
        "import sys\nsys.modules['worker.values'].encode = lambda value: {'array': {}, 'shape': {}, 'dtype': []}"
    ),
    "a forged list of cells": FORGE + "forge(value=[[float('inf'), 'x', 'y']])" + STUB,
    "a forged list of cells of other things": FORGE + "forge(value=[[{}, [], None], 3])" + STUB,
    "a forged list of a million cells": FORGE + "forge(value=[[1, 'x', 'y']] * 100000)" + STUB,
    "a forged call of a function": FORGE + call("forge(ask=[])"),
    "a forged call with deep arguments": FORGE + call(
        "x = []\nfor _ in range(600): x = [x]\nforge(ask='remote0', arguments=x)"
    ),
    "a forged error": FORGE + call("forge(error={'a': []}, detail=[[1]])"),
    "a forged identifier": call(
        "import os\nfor i in range(3, 64):\n"
        "    try: os.write(i, b'{\"id\": [], \"value\": 1}\\n')\n    except OSError: pass"
    ),
    "directories without end": "import os\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')" + STUB,
    "very many files": "import os\nfor i in range(20000): open(str(i), 'w').close()" + STUB,
    "large files": "for i in range(100):\n    open(str(i), 'wb').write(bytes(10**6))" + STUB,
    "a file that cannot be removed": "import os\nos.mkdir('d'); open('d/f', 'w').close(); os.chmod('d', 0)" + STUB,
    "a flood of small dicts": FORGE + call("import os\nos.write(4, b'[' + b'{},' * 2600000 + b'0]\\n')"),
    "a flood without a line's end": call("import os\nwhile True: os.write(4, b'x' * 65536)"),
    "a trickle": call("import os, time\nwhile True: os.write(4, b' '); time.sleep(0.02)"),
    "never reading": "import os\nos.close(3)" + STUB,
    "closing the channel, and staying": "import os, time\nos.close(3); os.close(4)\nwhile True: time.sleep(1)" + STUB,
    "a sleep, and then a hanging answer": "import time; time.sleep(2)\n" + call("while True: pass"),
    "a stopped process": call("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time; time.sleep(99)"),
    "all signals ignored": call(
        "import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass"
    ),
    "threads without end": call(
        "import threading, time\nthreading.stack_size(32768)\n"
        "while True: threading.Thread(target=time.sleep, args=(9,)).start()"
    ),
    "a recursion without end": call("import sys\nsys.setrecursionlimit(10**9)\nf = lambda: f()\nf()"),
    "leaving at the end": "import atexit, os\natexit.register(os._exit, 0)\nimport sys\nsys.exit(3)" + STUB,
}  # fmt: skip
ALONE = {  # in bubblewrap only: without, they would hurt the machine that runs the tests
    "a grandchild that holds the pipe": call(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)\n"
        "os.wait()\nos._exit(0)"
    ),
    "a fork bomb": call("import os\nwhile True: os.fork()"),
    "killing everybody": call("import os\nos.kill(-1, 9)\nos.kill(1, 9)\nos.kill(os.getppid(), 9)"),
    "killing by a descriptor": call("import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)"),
    "killing by a file's owner": call(
        "import fcntl, os\nfcntl.fcntl(4, 8, os.getppid())\nfcntl.fcntl(4, 10, 9)\n"
        "fcntl.fcntl(4, fcntl.F_SETFL, os.O_ASYNC)"
    ),
    "slowing the grader": call(
        "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)\nos.sched_setaffinity(os.getppid(), {0})\n"
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))"
    ),
    "memory that no limit counts": call(
        "import ctypes, os\nlibc = ctypes.CDLL(None)\nfor _ in range(10**5):\n"
        "    assert libc.shmget(0, 1 << 28, 0o1600) < 0\n    break\nos.memfd_create('x')"
    ),
}
FILES = {  # what else may lie in a class's folder
    "a_windows_name_J\udcf6rg.ipynb": b"{}",
    "=formula.ipynb": b"",
    "many_items.ipynb": b'{"cells": [' + b"{}," * 3_000_000 + b"{}]}",
    "deep.ipynb": b"[" * 300_000,
    "log_like_an_array.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": "", "metadata": {}, "outputs": [
        {"data": {"application/vnd.tinymtl.run-log+json": {"array": [1, 2], "shape": [2], "dtype": "int64"}}}]}]}
    ).encode(),
    "control\x1b[2Kcodes.ipynb": b"{",
    "n" * 200 + ".ipynb": b"{",
}  # fmt: skip


def written(place, notebook, attacks, files=()):
    """A class: every attack, and three honest students before, among and behind them."""
    names = {}
    for i, (name, code) in enumerate(attacks.items()):
        names[f"m{i:02d}"] = name
        text = json.dumps(notebook("A2", {"two_tasks": code}))
        (place / f"m{i:02d}.ipynb").write_text(text, encoding="utf-8")
    for student in ("aaa", "m10x", "zzz"):
        (place / f"{student}.ipynb").write_text(json.dumps(notebook("A2")))
    for name in files:
        try:
            (place / name).write_bytes(files[name])
        except OSError:  # not every file system takes every name
            continue
    return names


@pytest.fixture(scope="module", params=["bubblewrap", "none"])
def run(request, tmp_path_factory, notebook, no_bubblewrap):
    """Grades by attack, and the folder of the results."""
    if request.param == "bubblewrap" and no_bubblewrap:
        pytest.skip(f"students' code cannot be isolated here: {no_bubblewrap}")
    place = tmp_path_factory.mktemp("ending")
    attacks = {**ENDING, **(ALONE if request.param == "bubblewrap" else {})}
    names = written(place, notebook, attacks, FILES)
    out = place / "out"
    (place / "scratch").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place / "scratch"))
        grades = grade_anywhere(
            "A2", [place], csv=out / "g.csv", json=out / "json", feedback=out / "html", replies=out / "replies",
            seed=3, jobs=3, limits=QUICK, isolation=request.param,
        )  # fmt: skip
    return {names.get(one.student, one.student): one for one in grades}, out, request.param


def test_everybody_gets_a_row(run):
    found, out, isolation = run
    rows = {row["student"]: row for row in csv.DictReader((out / "g.csv").open(encoding="utf-8-sig"))}
    files = len([name for name in out.parent.iterdir() if name.suffix == ".ipynb"])
    assert len(rows) == len(found) == files == len(list((out / "json").iterdir()))
    assert len(list((out / "html").iterdir())) == files
    for name in set(ENDING) | (set(ALONE) if isolation == "bubblewrap" else set()):
        assert found[name].marks["two_tasks"].points <= 1, name
        assert found[name].points <= 16, name


def test_the_honest_lose_nothing(run):
    assert [run[0][student].points for student in ("aaa", "m10x", "zzz")] == [21, 21, 21]
    assert [run[0][student].note for student in ("aaa", "m10x", "zzz")] == ["", "", ""]


def test_the_other_answers_of_an_attacker_count_where_they_can(run):
    """A question that is lost is that question; only what breaks the notebook from its start costs the rest."""
    whole = [name for name in run[0] if name in ENDING and run[0][name].points >= 15]
    assert {name for name in ENDING if name not in whole} - {"threads without end"} == {
        "a forged list of cells", "a forged list of cells of other things", "a forged list of a million cells",
        "closing the channel, and staying", "never reading",
    }  # fmt: skip


def test_nothing_reaches_a_terminal_or_a_spreadsheet(run):
    found, out, _ = run
    text = (out / "g.csv").read_text(encoding="utf-8-sig")
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    for row in csv.reader((out / "g.csv").open(encoding="utf-8-sig")):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
    for path in out.rglob("*.*"):
        if path.suffix in (".html", ".json"):
            content = path.read_bytes().decode("utf-8")
            assert "\x1b" not in content and "\ud800" not in content


def test_nothing_is_left(run):
    assert list((run[1].parent / "scratch").iterdir()) == [] and not (run[1].parent / "d").exists()


# ------------------------------------------------------------ what reaches for others

READ = f"""
def answer(text):
    space = {{}}
    start = text.index("def two_point_weights")
    exec("from __future__ import annotations\\n" + text[start : text.index("def frank_wolfe")], space)
    return space["two_point_weights"]
FILE = {str(PACKAGE / "hull.py")!r}
"""
USE = "\ndef two_task_weight(g1, g2):\n    return answer(read())(g1 @ g1, g1 @ g2, g2 @ g2)[0]\n"
HOLDS = Path(sys.executable).resolve()
READING = {
    "plainly": "def read(): return open(FILE).read()",
    "patched isinstance": "import builtins\nwas = isinstance\n"
        "builtins.isinstance = lambda v, k: k is int or was(v, k)\ndef read(): return open(FILE).read()",
    "patched fspath": "import os\nos.fspath = lambda p: '/dev/null'\ndef read(): return open(FILE).read()",
    "patched realpath": "import posixpath\nposixpath._joinrealpath = lambda *a, **k: ('/dev/null', True)\n"
                        "def read(): return open(FILE).read()",
    "from its folder": "import os\ndef read():\n    os.chdir(os.path.dirname(FILE)); return open('hull.py').read()",
    "by a descriptor": "import os\ndef read():\n    d = os.open(os.path.dirname(FILE), os.O_PATH)\n"
                       "    return open(os.open('hull.py', 0, dir_fd=d)).read()",
    "by open_code": "import io\ndef read(): return io.open_code(FILE).read().decode()",
    "by the loader": "import importlib.machinery\ndef read():\n"
                     "    return importlib.machinery.SourceFileLoader('x', FILE).get_source('x')",
    "by ctypes": "import ctypes\ndef read():\n    libc = ctypes.CDLL(None); b = ctypes.create_string_buffer(10**5)\n"
                 "    libc.read(libc.open(FILE.encode(), 0), b, 10**5); return b.value.decode()",
    "by mmap": "import numpy\ndef read(): return numpy.memmap(FILE, 'uint8', 'r').tobytes().decode()",
    "by numpy": "import numpy\ndef read(): return '\\n'.join(numpy.loadtxt(FILE, str, delimiter='\\0', comments=None))",
    "by a program": "import subprocess\ndef read(): return subprocess.check_output(['/bin/cat', FILE], text=True)",
    "by a spawned program": "import os, time\ndef read():\n    os.posix_spawn('/bin/cp', ['cp', FILE, 'x'], {})\n"
        "    time.sleep(.2); return open('x').read()",
    "by its module": "def read():\n    import tinymtl.hull, inspect; return inspect.getsource(tinymtl.hull)",
    "by its module under another name": f"import sys\nsys.path.insert(0, {str(PACKAGE.parent)!r})\ndef read():\n"
        "    sys.meta_path[:] = [f for f in sys.meta_path if 'worker' not in type(f).__module__]\n"
        "    import tinymtl.hull, inspect; return inspect.getsource(tinymtl.hull)",
    "through the worker's folder": "import sys, os\ndef read():\n    here = sys.modules['worker.values'].__file__\n"
        "    return open(os.path.join(os.path.dirname(here), '..', '..', 'hull.py')).read()",
    "through the parent": "import os\ndef read(): return open(f'/proc/{os.getppid()}/root{FILE}').read()",
    "through the first process": "def read(): return open(f'/proc/1/root{FILE}').read()",
    "through the parent's folder": "import os\ndef read(): return open(f'/proc/{os.getppid()}/cwd/hull.py').read()",
    "a link": "import os\ndef read():\n    os.symlink(FILE, 'x'); return open('x').read()",
    "a hard link": "import os\ndef read():\n    os.link(FILE, 'x'); return open('x').read()",
    "another root": "import os\ndef read():\n    os.mkdir('r'); os.chroot('r')\n"
        "    os.chdir('../../../..'); os.chroot('.'); return open(FILE).read()",
    "a name space of its own": "import ctypes\ndef read():\n    libc = ctypes.CDLL(None)\n"
        "    assert libc.unshare(0x10020000) == 0; libc.mount(b'none', b'/', 0, 1 << 18, 0); return open(FILE).read()",
    "the parent's name space": "import ctypes, os\ndef read():\n    libc = ctypes.CDLL(None)\n"
        "    assert libc.setns(os.open(f'/proc/{os.getppid()}/ns/mnt', 0), 0) == 0; return open(FILE).read()",
    "the disk": "import os\ndef read():\n    os.mknod('disk', 0o60600, os.makedev(254, 0))\n"
                "    return open('disk', 'rb').read(10**9).decode(errors='replace')",
    "a handle of a file": "import ctypes\ndef read():\n    libc = ctypes.CDLL(None)\n"
        "    handle = ctypes.create_string_buffer(b'\\x08\\0\\0\\0\\x01\\0\\0\\0' + (2).to_bytes(8, 'little'), 128)\n"
        "    d = libc.open_by_handle_at(3, handle, 0); assert d >= 0; return open(d).read()",
    "the grader's memory": "import os, re\ndef read():\n    for line in open(f'/proc/{os.getppid()}/maps'):\n"
        "        low, high = (int(e, 16) for e in line.split()[0].split('-'))\n"
        "        m = open(f'/proc/{os.getppid()}/mem', 'rb'); m.seek(low); t = m.read(high - low)\n"
        "        if b'def two_point_weights' in t: return t.decode(errors='replace')",
    "the grader's memory by its system call": "import ctypes, os\ndef read():\n    libc = ctypes.CDLL(None)\n"
        "    b = ctypes.create_string_buffer(4096)\n    v = (ctypes.c_size_t * 2)(ctypes.addressof(b), 4096)\n"
        "    w = (ctypes.c_size_t * 2)(0x400000, 4096)\n"
        "    assert libc.process_vm_readv(os.getppid(), v, 1, w, 1, 0) > 0; return b.raw.decode(errors='replace')",
    "a debugger": "import ctypes, os\ndef read():\n    assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0\n"
                  "    return open(FILE).read()",
    "an extension under a dotted name": "import _imp, importlib.machinery, glob\ndef read():\n"
        "    file = [f for p in __import__('sys').path for f in glob.glob(p + '/_posixsubprocess*.so')][0]\n"
        "    m = _imp.create_dynamic(importlib.machinery.ModuleSpec('x._posixsubprocess', None, origin=file))\n"
        "    return __import__('subprocess').check_output(['/bin/cat', FILE], text=True)",
    "another interpreter": "import _xxsubinterpreters as s\ndef read():\n"
        "    s.run_string(s.create(), f'open(\"x\", \"w\").write(open({FILE!r}).read())'); return open('x').read()",
    "the network": "import urllib.request\ndef read():\n"
        "    return urllib.request.urlopen('http://127.0.0.1:PORT/hull.py', timeout=1).read().decode()",
}  # fmt: skip
REACHING = {
    "changing another's notebook": "import glob\nfor place in PLACES:\n"
        "    for f in glob.glob(place + '/*.ipynb'): open(f, 'w').write('{}')",
    "removing another's notebook": "import os\nfor place in PLACES:\n    d = os.open(place, os.O_PATH)\n"
                                   "    os.remove('zzz.ipynb', dir_fd=d)",
    "a database anywhere": "import sqlite3\nfor place in PLACES:\n"
        "    sqlite3.connect(place + '/x.db').execute('create table a (b)')",
    "a file beside the grader's": "for place in PLACES: open(place + '/canary', 'w').write('x')",
    "the class list": "import os\nraise ValueError([os.listdir(place) for place in PLACES])",
    "the class list by its process": "import os\nraise ValueError(os.listdir(f'/proc/{os.getppid()}/cwd'))",
    "the seed on a command line": "import glob\n"
        "raise ValueError([open(f).read() for f in glob.glob('/proc/[0-9]*/cmdline')])",
    "the seed in an environment": "import glob, os\nraise ValueError(dict(os.environ), "
                                  "[open(f).read() for f in glob.glob('/proc/[0-9]*/environ')])",
    "the passwords": "raise ValueError(open('/etc/shadow').read())",
    "the accounts": "raise ValueError(open('/etc/passwd').read())",
    "the home": "import os\nraise ValueError(os.listdir(os.path.expanduser('~root')), os.listdir('/home'))",
    "a message to another process": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0tinymtl-canary')",
}  # fmt: skip


@pytest.fixture(scope="module")
def reach(tmp_path_factory, notebook, isolated):
    """Grades by attack, and the files that there were before."""
    place = tmp_path_factory.mktemp("reach")
    subs = place / "submissions"
    subs.mkdir()
    places = f"PLACES = {[str(subs), str(place), str(PACKAGE), str(Path.cwd())]!r}\n"
    attacks = {name: READ + code + USE for name, code in READING.items()}
    attacks |= {
        name: places + "try:\n" + "".join(f"    {line}\n" for line in code.splitlines() if "ValueError" not in line)
        + "    pass\nfinally:\n    reached = True\n" + "".join(f"{x}\n" for x in code.splitlines() if "ValueError" in x)
        + STUB
        for name, code in REACHING.items()
    }  # fmt: skip
    names = written(subs, notebook, attacks)
    before = {path: path.read_bytes() for path in [*subs.iterdir(), *PACKAGE.glob("*.py")]}
    out = place / "out"
    grades = grade_anywhere("A2", [subs], csv=out / "g.csv", json=out / "json", feedback=out / "html",
                            seed=918273645, jobs=3, limits=QUICK)  # fmt: skip
    return {names.get(one.student, one.student): one for one in grades}, out, before


@pytest.mark.parametrize("name", [*READING, *REACHING])
def test_it_earns_at_most_one_point(reach, name):
    assert reach[0][name].marks["two_tasks"].points <= 1
    assert reach[0][name].points <= 16


def test_the_others_lose_nothing(reach):
    assert [reach[0][student].points for student in ("aaa", "m10x", "zzz")] == [21, 21, 21]


def test_no_file_is_changed_and_none_is_new(reach):
    found, out, before = reach
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in out.parent.iterdir()} == {"out", "submissions"}
    assert set((out.parent / "submissions").iterdir()) <= set(before)


def test_no_secret_is_shown(reach):
    found, out, _ = reach
    own = {path.stem for path in (out / "html").iterdir()}
    for path in [*out.rglob("*.html"), *out.rglob("*.json"), out / "g.csv"]:
        text = path.read_text(encoding="utf-8")
        assert "918273645" not in text and "root:" not in text, path
        if path.suffix == ".html":
            assert not [other for other in own - {path.stem} if f"{other}.ipynb" in text], path


def test_the_system_is_read_only_and_holds_nothing_of_tinymtl(isolated):
    """The walls from inside: what there is, what can be written, and who one is."""
    code = """
import os
walked = [os.path.join(place, name) for place in ('/packages', '/worker', '/scratch') for name in os.listdir(place)]
top = sorted(os.listdir('/'))
packages = [name for root, folders, files in os.walk('/') for name in folders + files if 'tinymtl' in name.lower()]
writable = [root for root, folders, files in os.walk('/') if os.access(root, os.W_OK)]
who = [os.getuid(), os.getgid(), os.getpid(), len(os.environ)]
"""
    worker = Worker(Limits(), "bubblewrap")
    try:
        assert worker.load([(1, code)], 60.0) == []
        with worker.within(60.0):
            found = {name: worker.ask({"read": name})["value"] for name in ("top", "packages", "writable", "who")}
    finally:
        worker.stop()
    assert found["packages"] == []
    assert found["writable"] == ["/scratch"]
    assert "proc" not in found["top"] and "home" not in found["top"]
    assert found["who"][:3] == [65534, 65534, 1]


def test_a_process_that_has_ended_is_not_killed_again(monkeypatch, isolated):
    """Its number may be another's by then: whoever is signalled by number has not been waited for."""
    killed = []
    for isolation in ("bubblewrap", "none"):
        worker = Worker(Limits(), isolation)
        with pytest.raises(Lost), worker.within(60.0):
            worker.exchange({"load": [(1, "import os\nos._exit(0)")]})
        worker.process.wait()
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", lambda *args: killed.append(args))
            patch.setattr(os, "killpg", lambda *args: killed.append(args))
            worker.stop()
    assert killed == []


def test_nothing_outlives_a_killed_grader(isolated):
    """bubblewrap ends with its parent, and the notebook with bubblewrap."""
    worker = Worker(Limits(), "bubblewrap")
    worker.load([], 60.0)
    worker.process.kill()
    worker.process.wait()
    for _ in range(200):
        status = Path(f"/proc/{worker.started.pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the notebook's process is still there")


def test_a_grandchild_that_floods_the_pipe_is_not_waited_for(notebook, tmp_path):
    """Without bubblewrap it outlives its parent; it would write for a minute."""
    code = call(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n    begun = time.time()\n"
        "    while time.time() < begun + 60: os.write(4, b'x' * 1000)\n    os._exit(0)\ntime.sleep(9)"
    )
    (tmp_path / "ana.ipynb").write_text(json.dumps(notebook("A2", {"two_tasks": code})))
    (ana,) = grade_anywhere("A2", [tmp_path], isolation="none", limits=QUICK)
    assert ana.points == 15
    os.kill(int((tmp_path / "pid").read_text()), 9)  # it is still there


def test_time_that_a_process_waits_for_a_processor_does_not_count(notebook, tmp_path, grade):
    """An answer that takes 0.6 s of a limit of 1 s, eight at once on a machine that is busy besides: all count."""
    slow = "import time\n" + "\n".join([
        "def two_task_weight(g1, g2):",
        "    if not hasattr(two_task_weight, 'done'):",
        "        begun = time.process_time()",
        "        while time.process_time() - begun < 0.6: pass",
        "        two_task_weight.done = True",
        "    if g1 @ g2 >= g1 @ g1: return 1.0",
        "    if g1 @ g2 >= g2 @ g2: return 0.0",
        "    return (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))",
    ])  # fmt: skip
    for i in range(8):
        (tmp_path / f"s{i}.ipynb").write_text(json.dumps(notebook("A2", {"two_tasks": slow})))
    limits = Limits(question_seconds=1.0)
    assert {one.points for one in grade("A2", [tmp_path], jobs=8, limits=limits)} == {21}


def test_a_run_that_was_cut_off_goes_on(notebook, tmp_path, grade, monkeypatch):
    """After a kill the replies that were there are taken, and the files are those of a run in one go."""
    for i in range(4):
        (tmp_path / f"s{i}.ipynb").write_text(json.dumps(notebook("A2", blank=i == 1)))
    grade("A2", [tmp_path], csv=tmp_path / "whole.csv", replies=tmp_path / "kept")
    (tmp_path / "kept" / "s2.json").unlink()
    (tmp_path / "kept" / "s3.json").write_text("{")
    asked = []
    collect = sys.modules["tinymtl.course.grader.batch"].collect
    monkeypatch.setattr(
        "tinymtl.course.grader.batch.collect", lambda path, *more: asked.append(path.stem) or collect(path, *more)
    )
    (tmp_path / "s0.ipynb").write_text(json.dumps(notebook("A2", blank=True)))  # handed in again
    grade("A2", [tmp_path], csv=tmp_path / "again.csv", replies=tmp_path / "kept", resume=True)
    assert sorted(asked) == ["s0", "s2", "s3"]
    rows = [row["automatic"] for row in csv.DictReader((tmp_path / "again.csv").open(encoding="utf-8-sig"))]
    assert rows == ["0", "0", "21", "21"]


def test_what_there_is_at_any_time_is_whole(notebook, tmp_path, grade, isolated):
    """Rows appear as notebooks are done, while another one still runs."""
    for i in range(3):
        (tmp_path / f"s{i}.ipynb").write_text(json.dumps(notebook("A2")))
    (tmp_path / "t.ipynb").write_text(json.dumps(notebook("A2", {"two_tasks": "import time\ntime.sleep(8)" + STUB})))
    job = threading.Thread(target=lambda: grade("A2", [tmp_path], csv=tmp_path / "g.csv", jobs=2))
    job.start()
    seen = set()
    while job.is_alive():
        if (tmp_path / "g.csv").exists():
            rows = list(csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8-sig")))
            assert all(row["automatic"] == "21" for row in rows if row["student"] != "t")
            seen.add(len(rows))
        time.sleep(0.02)
    job.join()
    assert seen & {1, 2, 3} and len(list(csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8-sig")))) == 4


def test_a_link_is_not_a_submission(notebook, tmp_path, grade):
    """It could point to the solutions."""
    (tmp_path / "solution").write_text(json.dumps(notebook("A2")))
    os.symlink(tmp_path / "solution", tmp_path / "link.ipynb")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.ipynb")
    found = grade("A2", [tmp_path])
    assert [one.points for one in found] == [0] * len(found) and "a link to another file" in found[0].problem


def test_the_worker_stands_alone():
    """Copied elsewhere it needs nothing of tinymtl: no import but its own, NumPy's and the standard library's."""
    import ast

    for path in (PACKAGE / "course" / "worker").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in {*sys.stdlib_module_names, "numpy"}, f"{path.name}: {name}"


def test_a_grader_that_fails_on_one_notebook_says_so_and_goes_on(notebook, tmp_path, grade, monkeypatch):
    from tinymtl.course.marking import Key

    for name in ("ana", "ben"):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook("A2", blank=name == "ben")))
    mark = Key.mark
    monkeypatch.setattr(Key, "mark", lambda self, replies: 1 / 0 if replies[0][0].error else mark(self, replies))
    ana, ben = grade("A2", [tmp_path], feedback=tmp_path)
    assert ana.points == 21 and "the grader failed on this notebook, with ZeroDivisionError" in ben.problem
    monkeypatch.setattr("tinymtl.course.grader.batch.collect", lambda *a: [][0])
    ana, ben = grade("A2", [tmp_path])
    assert "the grader failed on this notebook, with IndexError" in ana.problem


def test_a_machine_without_processes_for_a_moment_is_waited_for(notebook, tmp_path, grade, monkeypatch):
    (tmp_path / "ana.ipynb").write_text(json.dumps(notebook("A2")))
    collect, failures = sys.modules["tinymtl.course.grader.batch"].collect, [BlockingIOError(), BlockingIOError()]

    def sometimes(*arguments):
        if failures:
            raise failures.pop()
        return collect(*arguments)

    monkeypatch.setattr("tinymtl.course.grader.batch.collect", sometimes)
    monkeypatch.setattr("tinymtl.course.grader.batch.time.sleep", lambda seconds: None)
    assert grade("A2", [tmp_path])[0].points == 21


@pytest.mark.slow
def test_a_class_of_a_hundred_three_times(notebook, tmp_path, isolated, report_time):
    """Hanging, dying, malformed and hostile notebooks among fifty honest ones: the same bytes, honest marks right."""
    hostile = [*ENDING.values(), *ALONE.values(), *(READ + code + USE for code in READING.values())]
    (tmp_path / "in").mkdir()
    for i in range(100):
        path = tmp_path / "in" / f"s{i:03d}.ipynb"
        if i % 20 == 1:
            path.write_bytes(list(FILES.values())[i // 20])
        else:
            path.write_text(json.dumps(notebook("A2", {"two_tasks": hostile[i // 2]} if i % 2 else None)))
    seen = []
    for jobs in (1, 2, 6):
        out, begun = tmp_path / f"{jobs} jobs", time.monotonic()
        places = {"csv": out / "g.csv", "json": out / "j", "feedback": out / "f"}
        grades = grade_anywhere("A2", [tmp_path / "in"], **places, jobs=jobs)
        report_time(f"a class of 100, {jobs} at a time", time.monotonic() - begun)
        assert [one.points for one in grades[::2]] == [21] * 50
        assert max(one.points for one in grades[1::2]) <= 16
        seen.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert len(seen[0]) == 201 and seen[0] == seen[1] == seen[2]
