"""The limits of the worker process, and what a student's code may not do inside it.

Loaded by the worker by its path: it imports nothing of tinymtl. Everything here is switched on once, before
the first line of a student's code, and cannot be switched off from Python: resource limits only ever go
down, and an audit hook stays for the life of the process.

This stops cheap tricks and accidents, not an attacker: lessons/assignments/README.md says what to add for an exam.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

#: Events of `sys.addaudithook` that have no place in coursework: other processes, the network, foreign memory.
REFUSED = (
    "subprocess.", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
    "os.kill", "os.killpg", "signal.pthread_kill", "pty.spawn", "socket.", "ctypes.", "mmap.", "resource.",
    "os.link", "os.symlink", "os.rename", "os.chmod", "os.chown", "shutil.", "winreg.", "_winapi.",
    "sys._current_frames", "gc.get_objects", "gc.get_referrers", "gc.get_referents",
)  # fmt: skip
#: Modules that reach around the hook, or that hold the answers.
REFUSED_MODULES = frozenset(
    {"tinymtl", "ctypes", "_ctypes", "cffi", "_cffi_backend", "_posixsubprocess", "readline", "_testcapi"}
)
#: Events that change the files at a path: allowed in the scratch directory only.
CHANGES = ("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.utime")


def limit_resources(cpu_seconds: int, memory_bytes: int, file_bytes: int, wall_seconds: int) -> None:
    """Lower the limits of this process. On Windows there are none: the grader's wall clock is what is left."""
    try:
        import resource
        import signal
    except ImportError:  # Windows
        return
    for what, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),  # no new process; root is exempt from this one, the hook is not
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS refuses some of them
            continue
    signal.alarm(wall_seconds)  # an orphan, whose grader was killed, ends by itself


def watch(scratch: str, numpy_home: str) -> None:
    """Refuse from here on what `REFUSED` lists, and files outside Python, NumPy and the `scratch` directory.

    Reading is allowed in Python's own directories, except in any directory called tinymtl there; writing in
    `scratch` alone. So neither the answers, nor other students' notebooks, nor /proc can be opened.
    """
    realpath, join, separator = os.path.realpath, os.path.join, os.sep
    fspath, fsdecode, normcase = os.fspath, os.fsdecode, os.path.normcase
    scratch = normcase(realpath(scratch))
    roots = tuple(
        normcase(realpath(root))
        for root in (scratch, sys.prefix, sys.base_prefix, numpy_home, "/usr/lib", "/lib", "/usr/share/zoneinfo")
    )
    devices = (normcase(os.devnull), "/dev/urandom", "/dev/random", "/dev/zero")
    refused, modules, changes = REFUSED, REFUSED_MODULES, CHANGES

    def inside(path: str, root: str) -> bool:
        return path == root or path.startswith(join(root, ""))

    def readable(path: str) -> bool:
        if path in devices:
            return True
        for root in roots:
            if inside(path, root):
                return "tinymtl" not in path[len(root) :].split(separator)
        return False

    def resolve(path: Any) -> str:
        return normcase(realpath(fsdecode(fspath(path))))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):  # a descriptor that is open already
                return
            place = resolve(path)
            writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & 3)
            if place in devices or inside(place, scratch) or (readable(place) and not writes):
                return
            raise PermissionError("the grader does not open files outside the notebook's own scratch directory")
        if event == "import":
            if arguments[0].split(".")[0] in modules:
                raise ImportError(f"{arguments[0].split('.')[0]} is not available while a notebook is graded")
            return
        if event in changes and not inside(resolve(arguments[0]), scratch):
            raise PermissionError("the grader does not change files outside the notebook's own scratch directory")
        if event.startswith(refused):
            raise PermissionError(f"{event} is not available while a notebook is graded")

    def no_process(*arguments: Any) -> None:
        raise PermissionError("another process is not available while a notebook is graded")

    for name in ("ctypes", "_ctypes"):  # NumPy has imported them: the next import asks the hook, or finds None
        sys.modules[name] = None  # type: ignore[assignment]
    blunt = ModuleType("_posixsubprocess")  # numpy.testing imports subprocess, which needs the name, not the deed
    blunt.fork_exec = no_process  # type: ignore[attr-defined]
    sys.modules["_posixsubprocess"] = blunt
    sys.addaudithook(hook)
