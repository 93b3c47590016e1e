"""Cheats in what a notebook answers. Each earns at most 1 of its question's points, and costs nobody else anything.

All but the last few attack question 1 of A2, which has 6 points; the right answers stand in the other cells.
`test_attacks.py` has those on the machine.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

import tinymtl
from tinymtl.course.marking import Key
from tinymtl.course.worker.collect import Worker
from tinymtl.course.worker.isolation import Limits

PACKAGE = Path(tinymtl.__file__).resolve().parent
QUICK = Limits(load_seconds=6.0, question_seconds=1.0, memory_bytes=1 << 29)

#: What only walls keep out.
WALLED = {
    "killing the parent", "killing the group", "a fork bomb", "reading the grader's memory", "reading the answer",
    "reading the grader's memory by ptrace", "importing the answer under another name",
    "another Python that has the answer",
}  # fmt: skip

# Code for the answer cell of question 1; what has no answer of its own falls back on one half.
CHEATS = {
    "a float that agrees with everything": """
class Agreeable(float):
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: Agreeable(0.0)
    __abs__ = lambda self: Agreeable(0.0)
    __hash__ = float.__hash__
def two_task_weight(g1, g2):
    return Agreeable(0.5)
""",
    "an array that agrees with everything": """
import numpy as np
class Agreeable(np.ndarray):
    def __array_ufunc__(self, *arguments, **options): return True
    def __array_function__(self, *arguments, **options): return True
def two_task_weight(g1, g2):
    return np.array(0.5).view(Agreeable)
""",
    "an object that agrees with everything": """
class Agreeable:
    __class__ = float
    def __eq__(self, other): return True
    def __float__(self): return 0.5
    def __array__(self, *arguments, **options): raise SystemExit
def two_task_weight(g1, g2):
    return Agreeable()
""",
    "a hook that deletes assert": """
import ast, builtins
from IPython import get_ipython
class NoAssert(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
get_ipython().ast_transformers.append(NoAssert())
builtins.AssertionError = Exception
def two_task_weight(g1, g2):
    return 0.5
""",
    "a patched np.asarray": """
import numpy as np
for name in ("asarray", "array", "abs", "isfinite", "allclose", "isclose"):
    setattr(np, name, lambda *arguments, **options: True)
def two_task_weight(g1, g2):
    return 0.5
""",
    "a patched json.dumps": """
import json
right = lambda *arguments, **options: '{"correct": true, "points": 6}'
json.dumps = json.JSONEncoder.encode = right
json.encoder.c_make_encoder = None
json._default_encoder.encode = right
def two_task_weight(g1, g2):
    return 0.5
""",
    "a patched json.dumps that spells NaN as everything": """
import json
json.encoder.FLOAT_REPR = lambda value: "Infinity"
json._default_encoder.iterencode = lambda *arguments, **options: ['{"value": NaN}']
def two_task_weight(g1, g2):
    return float("nan")
""",
    "forged replies to every descriptor": """
import os
def two_task_weight(g1, g2):
    for descriptor in range(64):
        for value in (0.0, 0.25, 0.5, 1.0):
            try: os.write(descriptor, b'{"id": "", "value": %f, "points": 6}\\n' % value)
            except OSError: pass
    return 0.5
""",
    "forged replies with the right number": """
import os, sys, json
def two_task_weight(g1, g2):
    frame = sys._getframe()
    while frame and "identifier" not in frame.f_locals: frame = frame.f_back
    identifier = frame.f_locals["identifier"]
    for descriptor in range(3, 64):
        reply = json.dumps({"id": identifier, "value": 0.5, "points": 6}) + "\\n"
        try: os.write(descriptor, reply.encode())
        except OSError: pass
    return 0.5
""",
    "a loop without an end": """
def two_task_weight(g1, g2):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "a sleep without an end": """
import time
def two_task_weight(g1, g2):
    time.sleep(10**6)
""",
    "a memory bomb": """
def two_task_weight(g1, g2):
    hoard = []
    while True: hoard.append(bytearray(10**7))
""",
    "a memory bomb that holds on": """
def two_task_weight(g1, g2):
    hoard = []
    while True:
        try: hoard.append(bytearray(10**6))
        except MemoryError: pass
""",
    "os._exit": """
import os
def two_task_weight(g1, g2):
    os._exit(0)
""",
    "sys.exit": """
import sys
def two_task_weight(g1, g2):
    sys.exit(0)
""",
    "a crash": """
import sys
def two_task_weight(g1, g2):
    import faulthandler
    faulthandler._sigsegv()
""",
    "killing the parent": """
import os, signal
def two_task_weight(g1, g2):
    os.kill(os.getppid(), signal.SIGKILL)
""",
    "killing the group": """
import os, signal
def two_task_weight(g1, g2):
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
""",
    "a fork bomb": """
import os
def two_task_weight(g1, g2):
    while True: os.fork()
""",
    "closing every descriptor": """
import os
def two_task_weight(g1, g2):
    os.closerange(0, 64)
    return 0.5
""",
    "reading the grader's memory": """
import os, re
def two_task_weight(g1, g2):
    with open(f"/proc/{os.getppid()}/maps") as maps, open(f"/proc/{os.getppid()}/mem", "rb") as memory:
        for line in maps:
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            memory.seek(low)
            found = re.search(rb"expected=([0-9.]+)", memory.read(high - low))
            if found: return float(found[1])
    return 0.5
""",
    "reading the grader's memory by ptrace": """
import ctypes, os
def two_task_weight(g1, g2):
    libc = ctypes.CDLL(None)
    assert libc.ptrace(16, os.getppid(), 0, 0) == 0
    return 0.5
""",
    "importing the answer": """
def two_task_weight(g1, g2):
    import tinymtl
    return tinymtl.min_norm([g1, g2]).weights[0]
""",
    "importing the answer under another name": f"""
import importlib.util, sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
def two_task_weight(g1, g2):
    spec = importlib.util.spec_from_file_location("my_own_work", {str(PACKAGE / "hull.py")!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.two_point_weights(g1 @ g1, g1 @ g2, g2 @ g2)[0]
""",
    "reading the answer": f"""
def two_task_weight(g1, g2):
    text = open({str(PACKAGE / "hull.py")!r}).read()
    start = text.index("def two_point_weights")
    space = {{}}
    exec(text[start : text.index("def closed_form")], space)
    return space["two_point_weights"](g1 @ g1, g1 @ g2, g2 @ g2)[0]
""",
    "another Python that has the answer": f"""
import subprocess, sys
def two_task_weight(g1, g2):
    ask = f"tinymtl.min_norm([{{g1.tolist()}}, {{g2.tolist()}}]).weights[0]"
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import tinymtl; print({{ask}})"
    return float(subprocess.check_output([sys.executable, "-c", code]))
""",
    "an array of objects": """
import numpy as np
def two_task_weight(g1, g2):
    return np.array(type("Agreeable", (), {"__eq__": lambda self, other: True})(), dtype=object)
""",
    "NaN": """
def two_task_weight(g1, g2):
    return float("nan")
""",
    "infinity": """
def two_task_weight(g1, g2):
    return float("inf")
""",
    "a number without an end": """
def two_task_weight(g1, g2):
    return 10 ** 5000
""",
    "a huge array": """
import numpy as np
def two_task_weight(g1, g2):
    return np.zeros(10**7)
""",
    "a huge array that takes no room": """
import numpy as np
def two_task_weight(g1, g2):
    return np.broadcast_to(0.5, (10**6, 10**6))
""",
    "a list without an end": """
def two_task_weight(g1, g2):
    endless = []
    endless.append(endless)
    return endless
""",
    "a list that grows while it is read": """
class Endless(list):
    def __len__(self): return 1
    def __iter__(self):
        while True: yield 0.5
def two_task_weight(g1, g2):
    return Endless([0.5])
""",
    "all answers at once": """
def two_task_weight(g1, g2):
    return [0.0, 0.5, 1.0]
""",
    "a text": """
def two_task_weight(g1, g2):
    return "correct"
""",
    "True": """
def two_task_weight(g1, g2):
    return True
""",
    "always one": """
def two_task_weight(g1, g2):
    return 1.0
""",
    "always zero": """
def two_task_weight(g1, g2):
    return 0.0
""",
    "an answer that tells the inputs": """
def two_task_weight(g1, g2):
    raise type(f"inputs_{g1[0]}", (Exception,), {})(f"hidden inputs: {g1} {g2}")
""",
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory, notebook, grade, no_bubblewrap):
    """Every cheat in one run beside one honest student, with feedback pages."""
    place = tmp_path_factory.mktemp("cheats")
    chosen = [name for name in CHEATS if not no_bubblewrap or name not in WALLED]
    names = {f"cheat{i:02d}": name for i, name in enumerate(chosen)}
    for student, name in names.items():
        (place / f"{student}.ipynb").write_text(json.dumps(notebook("A2", {"two_tasks": CHEATS[name]})))
    (place / "honest.ipynb").write_text(json.dumps(notebook("A2")))
    grades = grade(
        "A2", sorted(place.glob("*.ipynb")), csv=place / "grades.csv", feedback=place / "html", seed=3, limits=QUICK
    )
    return {names.get(one.student, "honest"): one for one in grades}, place


@pytest.fixture(scope="module")
def found(graded, no_bubblewrap):
    """One cheat's grade; skips those that only walls keep out, if there are none."""

    def one(name):
        if name not in graded[0]:
            pytest.skip(f"students' code cannot be isolated here: {no_bubblewrap}")
        return graded[0][name]

    return one


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_earns_at_most_one_point(found, name):
    assert found(name).marks["two_tasks"].points <= 1
    assert found(name).note


#: These break what their author's other answers, or their own replies, are made with.
SELF_HARM = {"a patched np.asarray", "a patched json.dumps", "a patched json.dumps that spells NaN as everything"}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_leaves_the_other_questions_as_they_are(found, name):
    others = {question: mark.points for question, mark in found(name).marks.items() if question != "two_tasks"}
    if name in SELF_HARM:
        assert sum(others.values()) < 15
    else:
        assert others == {"k_tasks": 7, "stationary": 3, "worksheet": 5}


def test_an_exit_in_a_call_is_an_exception_like_others(graded):
    assert graded[0]["sys.exit"].marks["two_tasks"].hint == "two_task_weight raised SystemExit"


def test_a_cheat_leaves_the_other_students_as_they_are(graded):
    assert graded[0]["honest"].points == 21
    assert graded[0]["honest"].note == ""


def test_what_a_cheat_says_of_itself_reaches_no_page(graded):
    grades, place = graded
    told = grades["an answer that tells the inputs"]
    assert told.marks["two_tasks"].hint == "two_task_weight raised an exception of its own class"
    for page in (place / "html").glob("*.html"):
        assert "inputs_" not in page.read_text() and "hidden inputs" not in page.read_text()
    assert "inputs_" not in (place / "grades.csv").read_text()


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_no_process_is_left(graded):
    found = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    assert "bwrap" not in found and "import run" not in found and "<defunct>" not in found


def test_while_a_notebook_runs_no_expected_value_exists(submit, monkeypatch, grade):
    """Without walls the references are asked only when no worker is alive: the grader's memory holds no answer."""
    alive, log = set(), []
    start, stop, make_key = Worker.__init__, Worker.stop, Key.make

    def started(self, limits, isolation):
        start(self, limits, isolation)
        alive.add(self.process.pid)
        log.append("worker")

    def stopped(self):
        stop(self)
        alive.discard(self.process.pid)

    def made(question, cases):
        assert not alive
        log.append("reference")
        return make_key(question, cases)

    monkeypatch.setattr(Worker, "__init__", started)
    monkeypatch.setattr(Worker, "stop", stopped)
    monkeypatch.setattr(Key, "make", made)
    grade("A2", [submit("ana", "A2"), submit("ben", "A2", {"two_tasks": CHEATS["os._exit"]})], jobs=2, isolation="none")
    assert log.count("worker") >= 4 and log.count("reference") == 4
    assert "worker" not in log[log.index("reference") :]


def test_a_notebook_that_forges_while_it_loads(submit, grade):
    """Replies written before anything was asked are not answers: they end the notebook."""
    code = (
        "import os\nfor descriptor in range(3, 64):\n"
        "    try: os.write(descriptor, b'{\"value\": []}\\n' * 100)\n    except OSError: pass"
    )
    found = grade("A2", [submit("liar", "A2", {"two_tasks": code})], limits=QUICK)[0]
    assert found.points == 0
    assert "wrote on the grader's own channel" in found.problem


def test_a_notebook_that_hangs_while_it_loads(submit, grade):
    found = grade("A2", [submit("late", "A2", {"two_tasks": "while True: pass"})], limits=Limits(load_seconds=1.5))[0]
    assert found.points == 0
    assert "the notebook's cells did not finish within 1.5 s" in found.problem


def test_a_notebook_that_exits_while_it_loads(submit, grade):
    found = grade("A2", [submit("gone", "A2", {"two_tasks": "import os; os._exit(0)"})])[0]
    assert found.points == 0
    assert "running the notebook's cells ended the process" in found.problem


def test_lying_about_passes_does_not_work(submit, grade):
    """A3, question 3: the trunk is the grader's, and so is the count."""
    code = """
def trunk_gradient(z_gradients, weights, trunk_backward):
    total = sum(w * trunk_backward(g) for w, g in zip(weights, z_gradients))
    import gc, sys
    frame = sys._getframe()
    while frame:
        for name in ("calls", "passes", "count"):
            if name in frame.f_globals: frame.f_globals[name] = 1
        frame = frame.f_back
    return total
"""
    found = grade("A3", [submit("liar", "A3", {"one_pass": code})])[0].marks["one_pass"]
    assert found.points == 1
    assert "one trunk pass per task" in found.hint


def test_guessing_the_trunk_does_not_work(submit, grade):
    code = "def trunk_gradient(g, w, trunk_backward):\n    return np.tensordot(w, g, axes=1)"
    assert grade("A3", [submit("guess", "A3", {"one_pass": code})])[0].marks["one_pass"].points == 0
