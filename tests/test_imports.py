"""The order of the package: imports run downward, one module knows about CuPy, and an import costs little."""

import ast
import functools
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinymtl

PACKAGE = Path(tinymtl.__file__).parent

#: The files and directories of the package from the lowest up. Those of one line do not import one another.
FLOORS = [
    ["checks", "files", "text", "ties"],
    ["backend"],
    ["arrays"],
    ["kernels"],
    ["fake_cupy"],
    ["autodiff"],
    ["nn"],
    ["optim", "hull"],
    ["steps"],
    ["problems"],
    ["tracing"],
    ["conformance"],
    ["data"],
    ["lab", "systems"],
    ["course"],
    ["cli"],
    ["__main__"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
#: Every module of the package by its name; a package goes by that of its directory.
MODULES = {".".join(["tinymtl", *path.relative_to(PACKAGE).with_suffix("").parts]): path for path in FILES}
MODULES = {module.removesuffix(".__init__"): path for module, path in MODULES.items()}
BY_NAME = ("__import__", "import_module", "importlib.import_module")


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name(path):
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def imported(path, source=None):
    """The modules that a file imports, at its top, inside functions or for the types alone, with the line."""
    parents = ["tinymtl", *path.relative_to(PACKAGE).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text() if source is None else source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append((alias.name, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from tinymtl.nn import losses` imports tinymtl.nn.losses; `from tinymtl.nn import Linear` tinymtl.nn
            names = [f"{module}.{alias.name}" for alias in node.names]
            found += [(name if name in MODULES or module == "tinymtl" else module, node.lineno) for name in names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
            first = node.args[0] if node.args else None
            found.append((first.value if isinstance(first, ast.Constant) else "a computed name", node.lineno))
    return found


def uses_of_the_package_itself(path):
    """What a file takes from the package by `import tinymtl`: attribute names."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tinymtl"
    }


def upward(path, source=None):
    """The imports of a file that do not run downward."""
    here = room(path)
    for module, line in imported(path, source):
        parts = module.split(".")
        if parts[0] != "tinymtl" or module == "tinymtl" or parts[1] == here:
            continue
        there = FLOOR.get(parts[1])
        if there is None or there >= FLOOR[here]:
            yield f"{name(path)}:{line} imports {module}"


def test_every_room_has_its_floor():
    assert {room(path) for path in FILES} <= set(FLOOR)
    assert len(FILES) > 20


def test_imports_run_downward_only():
    assert [found for path in FILES for found in upward(path)] == []


def order(imports):
    """The modules from the ground up; a CycleError names those that import one another."""
    return list(graphlib.TopologicalSorter(imports).static_order())


def test_no_circles():
    """Neither between rooms nor inside one, not even for the types alone."""
    imports = {module: {name for name, _ in imported(path) if name in MODULES} for module, path in MODULES.items()}
    assert order(imports).index("tinymtl.files") < order(imports).index("tinymtl.lab.results")


def test_the_walk_finds_circles():
    source = "if TYPE_CHECKING:\n    from tinymtl.lab.results import FILES\ndef f():\n    from tinymtl.lab import runs"
    found = {module for module, _ in imported(PACKAGE / "lab" / "plots.py", source)}
    assert found == {"tinymtl.lab.results", "tinymtl.lab.runs"}
    with pytest.raises(graphlib.CycleError):
        order({"plots": {"results"}, "results": {"plots"}})


def test_no_module_has_the_name_of_what_is_exported_beside_it():
    """`import tinymtl.min_norm as m` gave a function: whoever looks for a module by its place must find it."""
    for module in MODULES:
        if not module.endswith("__main__"):
            importlib.import_module(module)
    for module in MODULES:
        package, _, last = module.rpartition(".")
        assert module.endswith("__main__") or getattr(sys.modules[package], last) is sys.modules[module], module


def test_the_package_itself_is_used_from_outside_only():
    """`import tinymtl` brings in all that the package exports: below that, it may only tell a version or a place."""
    own = [module for module, _ in imported(PACKAGE / "__init__.py") if module.startswith("tinymtl.")]
    exported = max(FLOOR[module.split(".")[1]] for module in own)
    for path in FILES:
        inside = FLOOR[room(path)] <= exported
        if inside and any(module == "tinymtl" for module, _ in imported(path)):
            assert uses_of_the_package_itself(path) <= {"__version__", "__file__"}, name(path)


@pytest.mark.parametrize(
    ("file", "source", "caught"),
    [
        ("nn/layers.py", "from tinymtl.steps import MGDA", True),
        ("nn/layers.py", "def f():\n    from tinymtl.optim import SGD", True),
        ("nn/layers.py", "import tinymtl.lab.training as t", True),
        ("nn/layers.py", "from ..steps import mgda", True),
        ("nn/layers.py", "from .. import steps", True),
        ("nn/layers.py", "from tinymtl import problems", True),
        ("nn/layers.py", "import importlib\nimportlib.import_module('tinymtl.data')", True),
        ("nn/layers.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import tinymtl.data", True),
        ("optim.py", "import tinymtl.hull", True),
        ("autodiff/ops.py", "import tinymtl.somewhere_new", True),
        ("nn/layers.py", "if TYPE_CHECKING:\n    from tinymtl.steps import MGDA", True),
        ("nn/layers.py", "from tinymtl.nn import losses\nfrom . import functional\nimport tinymtl.autodiff", False),
        ("cli.py", "from tinymtl import lab, data\nimport tinymtl", False),
    ],
)
def test_the_walk_finds_what_it_should(file, source, caught):
    assert bool(list(upward(PACKAGE / file, source))) is caught


# ---------------------------------------------------------------- NumPy or CuPy


def test_only_the_backend_imports_cupy():
    libraries = {name(path): {module.split(".")[0] for module, _ in imported(path)} for path in FILES}
    assert [file for file, names in libraries.items() if names & {"cupy", "cupyx"}] == ["backend.py"]


#: Arithmetic that is NumPy's on purpose: on Python numbers, or on arrays that were brought to the host before.
ON_THE_HOST = {
    "autodiff/gradcheck.py": {"abs", "max", "maximum"},
    "autodiff/ops.py": {"log"},  # of a number
    "nn/layers.py": {"sqrt"},  # of a number
}
FUNCTIONS = {"where", "sum", "mean", "max", "min", "prod", "dot", "einsum", "stack", "argmax", "clip", "broadcast_to"}


def arithmetic_by_hand(source):
    """The `np.` arithmetic in functions that get arrays from anywhere; a fused operation's twin is for the host."""

    def walk(node):
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "fused" for d in node.decorator_list):
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "np":
            function = node.func.attr
            if function in FUNCTIONS or isinstance(getattr(np, function), np.ufunc):
                yield function
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return set(walk(ast.parse(source)))


def test_arrays_that_may_be_on_a_device_are_left_to_their_own_library():
    found = {name(p): arithmetic_by_hand(p.read_text()) for p in FILES if room(p) in ("autodiff", "nn", "optim")}
    assert {file: functions for file, functions in found.items() if functions} == ON_THE_HOST


def test_the_walk_finds_arithmetic():
    assert arithmetic_by_hand("def f(x):\n    return np.exp(np.asarray(x)) + np.where(x, 1, 0)") == {"exp", "where"}
    assert arithmetic_by_hand("@fused\ndef f(x):\n    np.exp(x, out=x)") == set()


# ---------------------------------------------------------------- what importing costs


def modules_after(statement):
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert run.returncode == 0, run.stderr
    return {module.split(".")[0] for module in run.stdout.split()}


def test_importing_the_package_imports_nothing_heavy():
    loaded = modules_after("import tinymtl")
    assert {"tinymtl", "numpy"} <= loaded
    assert not loaded & {"matplotlib", "cupy", "cupyx", "tqdm", "torch", "scipy", "IPython", "nbformat", "nbconvert"}


def test_neither_does_the_command():
    assert not modules_after("import tinymtl.cli") & {"matplotlib", "cupy", "tqdm", "torch"}
