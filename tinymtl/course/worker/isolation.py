"""How a student's process is started, in one of three ways.

"bubblewrap" leaves it nothing to reach; "account" is the next best thing in a container of one student's own, such as
Gradescope's: root starts it as nobody, who owns nothing; "none" is for students who are trusted.

In bubblewrap (https://github.com/containers/bubblewrap) the process has name spaces of its own: no network, no other
process, no file but the system's libraries, Python, the packages below, this folder and an empty scratch directory
in memory. It has no rights, cannot start a process, and ends with its parent. It works for root and for an account
without rights, where the kernel allows name spaces.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib.util
import json
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: What a notebook may import besides Python's own library, as far as it is installed: NumPy, and Matplotlib with
#: what it needs itself.
PACKAGES = (
    "numpy", "scipy", "matplotlib", "mpl_toolkits", "contourpy", "cycler", "dateutil", "fontTools", "kiwisolver",
    "packaging", "PIL", "pyparsing", "six",
)  # fmt: skip
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
FILES = ("__init__", "run", "standin", "values")  # those of this folder that run beside a student's code
SCRATCH, NOBODY = "/scratch", 65534


@dataclass(frozen=True)
class Limits:
    """What one notebook may use.

    The seconds are those in which it ran or slept; while it waits for a processor they stand still, so that a busy
    machine takes no points. (Where the system does not tell, as on macOS and Windows, they are the wall clock's.)
    """

    load_seconds: float = 10.0  # for all cells of the notebook
    question_seconds: float = 5.0
    notebook_seconds: float = 30.0  # after these no further question is asked
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20  # one file; all of them, in bubblewrap: 16 times as much


@dataclass(frozen=True)
class Started:
    """A process, and the scratch directory that it leaves behind.

    `process` may be bubblewrap's own. `pid` is the number of the one that runs the notebook, good for looking only:
    once it has ended another process may get it. `handle` stands for it, and for no other.
    """

    process: subprocess.Popen[bytes]
    pid: int
    scratch: str | None
    handle: int | None = None


def start(limits: Limits, isolation: str) -> Started:
    """Start `run.py`; raises OSError, with the reason, if that does not work."""
    settings = json.dumps({"memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes,
                           "cpu_seconds": int(limits.load_seconds + limits.notebook_seconds) + 5})  # fmt: skip
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    pipes["start_new_session"] = True
    return (_in_bubblewrap if isolation == "bubblewrap" else _beside)(limits, isolation, settings, pipes)


def _beside(limits: Limits, isolation: str, settings: str, pipes: dict[str, Any]) -> Started:
    scratch = tempfile.mkdtemp(prefix="tinymtl-scratch-")
    folder = os.path.join(scratch, "worker")  # a copy: nobody may have no way to this one
    shutil.copytree(HERE, folder, ignore=lambda _, names: set(names) - {f"{file}.py" for file in FILES})
    if isolation == "account":
        for place in (scratch, folder, *glob.glob(f"{folder}/*")):
            os.chown(place, NOBODY, NOBODY)
        pipes = {**pipes, "user": NOBODY, "group": NOBODY, "extra_groups": []}
    begin = BEGIN.format(folder=scratch, packages=[])
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {**kept, "TMPDIR": scratch, "TEMP": scratch, **_settings(scratch)}
    command = [sys.executable, "-I", "-c", begin, settings]
    try:
        process = subprocess.Popen(command, cwd=scratch, env=environment, **pipes)
    except BaseException:
        remove(scratch)
        raise
    return Started(process, process.pid, scratch)


def end(started: Started, isolation: str) -> None:
    """End the process, and whatever it started as far as that can be found; remove its scratch directory."""
    if started.handle is not None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(started.handle, signal.SIGKILL)
        os.close(started.handle)
    if started.process.returncode is None:  # not yet waited for: its number is still its own
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(started.process.pid, signal.SIGKILL)  # it leads a session of its own
            else:
                started.process.kill()
        started.process.wait()
    if isolation == "account":
        subprocess.run(["sh", "-c", "kill -9 -1"], user=NOBODY, check=False, stderr=subprocess.DEVNULL)
    if started.scratch is not None:
        remove(started.scratch)


def _in_bubblewrap(limits: Limits, isolation: str, settings: str, pipes: dict[str, Any]) -> Started:
    told, tell = os.pipe()
    rules, write_rules = os.pipe()
    try:
        os.write(write_rules, no_new_processes())
        os.close(write_rules)
        command = [*_walls(limits.file_bytes * 16), "--info-fd", str(tell)]
        command += ["--seccomp", str(rules)] if no_new_processes() else []
        begin = BEGIN.format(folder="/", packages=["/packages"])
        command += [os.path.realpath(sys.executable), "-I", "-c", begin, settings]
        process = subprocess.Popen(command, pass_fds=(tell, rules), **pipes)
    finally:
        os.close(tell)
        os.close(rules)
    with os.fdopen(told, "rb") as info:
        text = info.read()
    try:
        pid = json.loads(text)["child-pid"]
        return Started(process, pid, None, os.pidfd_open(pid))
    except (ValueError, KeyError, OSError):
        process.kill()
        raise OSError(process.communicate()[1].decode(errors="replace").strip()[:300] or "it does not start") from None


#: -I leaves the current directory out of the path; the folder is on it for the one import.
BEGIN = (
    "import sys; sys.path[:] = [{folder!r}, *sys.path, *{packages!r}]; "
    "from worker import run; del sys.path[0]; run.main()"
)


def _settings(scratch: str) -> dict[str, str]:
    threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**threads, "HOME": scratch, "MPLBACKEND": "Agg", "MPLCONFIGDIR": scratch, "LC_ALL": "C.UTF-8"}


@functools.cache
def _walls(scratch_bytes: int) -> list[str]:
    """bubblewrap's part of the command: everything up to the program that runs inside."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = os.path.join(sys.base_prefix, "lib")
    standard = (sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED"))
    roots = [*LIBRARIES, own, *(str(place) for place in standard if place)]
    options = [
        "bwrap", "--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--new-session",
        "--as-pid-1", "--cap-drop", "ALL", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "notebook",
        "--clearenv",
    ]  # fmt: skip
    for name, value in _settings(SCRATCH).items():
        options += ["--setenv", name, value]
    for root in dict.fromkeys(roots):
        options += ["--symlink", os.readlink(root), root] if os.path.islink(root) else ["--ro-bind-try", root, root]
    python = os.path.realpath(sys.executable)
    options += ["--ro-bind", python, python]
    # whatever else is installed beside Python's own library is hidden, tinymtl with its answers among it
    hidden = {place for root in roots for place in glob.glob(f"{root}/python*/*-packages")}
    hidden |= {os.path.realpath(place) for place in (*sys.path, str(HERE.parents[1])) if _inside(place, roots)}
    hidden -= {os.path.realpath(root) for root in roots} | {os.path.join(own, version, "lib-dynload")}
    for place in sorted(hidden):
        options += ["--tmpfs", place, "--remount-ro", place]
    for place in _packages():
        options += ["--ro-bind", place, f"/packages/{os.path.basename(place)}"]
    for file in FILES:
        options += ["--ro-bind", str(HERE / f"{file}.py"), f"/worker/{file}.py"]
    for device in ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"):
        options += ["--dev-bind", device, device]
    return [*options, "--size", str(scratch_bytes), "--tmpfs", SCRATCH, "--chdir", SCRATCH, "--remount-ro", "/"]


def _inside(place: str, roots: list[str]) -> bool:
    real = os.path.realpath(place)
    return os.path.isdir(real) and any(real.startswith(os.path.join(os.path.realpath(root), "")) for root in roots)


def _packages() -> list[str]:
    """The folders and files of `PACKAGES`, and the libraries that lie beside some of them."""
    found = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for place in map(str, (spec.submodule_search_locations or [spec.origin or ""]) if spec else []):
            beside = os.path.join(os.path.dirname(place), f"{name.lower().replace('pil', 'pillow')}.libs")
            found += [place, *([beside] if os.path.isdir(beside) else [])]
    return found


# ------------------------------------------------------------ no new processes

#: System calls by name, for x86-64 and for arm64: those that make processes and threads, memory that no limit counts,
#: and keys of the account, which have no name space. Other processors have no filter.
REFUSED_CALLS = {
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435),
    "shmget": (29, 194), "msgget": (68, 186), "memfd_create": (319, 279),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "io_uring_setup": (425, 425),
    "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "ptrace": (101, 117),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # the column, and the number that audit has for it
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of the kernel's filters
ALLOW, KILL, NOT_PERMITTED = 0x7FFF0000, 0x80000000, 0x00050001


@functools.cache
def no_new_processes() -> bytes:
    """A seccomp filter as bubblewrap takes it (see man 2 seccomp): every call but the refused ones is allowed."""
    if platform.machine() not in MACHINES:
        return b""
    column, machine = MACHINES[platform.machine()]
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, machine), (RETURN, 0, 0, KILL)]
    program += [(LOAD, 0, 0, 0), (AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, KILL)]  # calls of the x32 ABI
    for number in (calls[column] for calls in REFUSED_CALLS.values()):
        if number is not None:
            program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, NOT_PERMITTED)]
    program += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def remove(scratch: str) -> None:
    """Remove a scratch directory, however deep: before Python 3.13 rmtree gives up at a thousand levels."""
    try:
        shutil.rmtree(scratch, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", scratch], check=False)
