"""The lessons as they are committed, and as they come out when every cell is run again."""

import copy
import gc
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import pytest

from tinymtl.course.answers import LESSONS as CHECKS
from tinymtl.course.lessons.runner import folder, notebooks, run


class Lesson:
    """One committed notebook, seen by the tests."""

    def __init__(self, path):
        import nbformat

        self.path = path
        self.name = path.stem
        self.number = path.name[:2]
        self.notebook = nbformat.read(path, as_version=4)
        self.cells = self.notebook.cells
        self.code = [cell for cell in self.cells if cell.cell_type == "code"]
        self.checks = {name: question for name, question in CHECKS.items() if name.startswith(self.number)}

    def tags(self, cell):
        return cell.metadata.get("tags", [])

    def exercises(self):
        """(exercise cell, names of its checks, the cell after it)."""
        for cell, after in zip(self.cells, [*self.cells[1:], None], strict=True):
            if "exercise" in self.tags(cell):
                yield cell, [tag for tag in self.tags(cell) if tag != "exercise"], after

    def said(self, cell):
        """The text of a cell's outputs, in order: what was printed, and the plain form of what was shown."""
        parts = []
        for output in cell.outputs:
            if output.output_type == "stream":
                parts.append((output.name, output.text))
            elif output.output_type == "error":
                parts.append(("error", f"{output.ename}: {output.evalue}"))
            else:
                parts.append((output.output_type, output.data.get("text/plain", "")))
        return parts

    def with_answers(self):
        """A copy with a cell after each exercise that has the collapsed answer in place of the student's part."""
        import nbformat

        solved = copy.deepcopy(self.notebook)
        place = {cell.id: i for i, cell in enumerate(solved.cells)}
        for cell, _, after in reversed(list(self.exercises())):
            (answer,) = re.findall(r"```python\n(.*?)\n```", after.source, re.DOTALL)
            checks = [line for line in cell.source.splitlines() if line.startswith("check(")]
            source = "\n".join([answer, *checks])
            solved.cells.insert(place[cell.id] + 1, nbformat.v4.new_code_cell(source, id=f"{cell.id}-solved"))
        return solved


class Again:
    """A lesson after another run: its cells by id, and how long it took."""

    def __init__(self, lesson):
        begun = perf_counter()
        self.cells = {cell.id: cell for cell in run(lesson.with_answers()).cells}
        self.seconds = perf_counter() - begun


LESSONS = [Lesson(path) for path in notebooks(folder())]


@pytest.fixture(scope="session")
def runs(report_time):
    """Every lesson run again, with its answers put in after the exercises; two kernels at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves its event loop to the collector:
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip([lesson.name for lesson in LESSONS], pool.map(Again, LESSONS), strict=True))
        gc.collect()  # let that happen here, and not in the middle of a test that allows no warning
    for name, again in found.items():
        report_time(f"lesson {name}, two kernels at a time", again.seconds)
    return found


@pytest.fixture(params=LESSONS, ids=lambda lesson: lesson.number)
def lesson(request):
    """Each committed lesson in turn."""
    return request.param


@pytest.fixture
def again(lesson, runs):
    """The same lesson after another run."""
    return runs[lesson.name]
