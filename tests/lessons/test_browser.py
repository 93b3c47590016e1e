"""Every lesson in a real browser: JupyterLab in a headless Chromium runs a copy of it and takes a picture.

    npm install --prefix DIR playwright-core        (with PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1)
    NODE_PATH=DIR/node_modules python -m pytest -m browser tests/lessons -s

It needs Chromium, Node and JupyterLab. The pictures lie in pytest's temporary folder, which is printed: open them, and
read the lesson as a student would.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tinymtl.course.lessons.command import copy_lessons

pytestmark = pytest.mark.browser
SCRIPT = Path(__file__).with_name("check_lesson.js")
TOKEN = "lessons"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """JupyterLab on this machine alone, with a copy of the lessons: what the browser saves stays in the copy."""
    pytest.importorskip("jupyterlab")
    if not shutil.which("node") or not (os.environ.get("CHROMIUM") or shutil.which("chromium")):
        pytest.skip("needs Node and Chromium")
    folder = tmp_path_factory.mktemp("lessons")
    copy_lessons(folder / "copy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", str(folder / "copy"), "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    command += ["--allow-root", "--LabApp.expose_app_in_browser=True"]
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={TOKEN}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree", folder
    finally:
        server.terminate()
        server.wait(30)


def test_a_lesson_runs_in_the_browser(lesson, served):
    address, folder = served
    picture = folder / f"{lesson.name}.png"
    url = f"{address}/{lesson.path.name}?token={TOKEN}&reset"
    run = subprocess.run(["node", str(SCRIPT), url, str(picture)], capture_output=True, text=True, timeout=240)
    if "Cannot find module 'playwright-core'" in run.stderr:
        pytest.skip("needs playwright-core: see the top of this file")
    print(f"\n{lesson.name}: {run.stdout.strip()}\n  {picture}")
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads(run.stdout)
    assert seen["cells"] == len(lesson.cells)
    assert seen["figures"] + seen["pictures"] > 0
    assert picture.stat().st_size > 10_000
