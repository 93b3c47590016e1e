"""What every committed lesson keeps to, read from its file."""

import json
import re
from html.parser import HTMLParser

import pytest

from tinymtl.course.lessons.runner import METADATA

LARGEST = 300_000  # bytes
#: A directory of the machine that ran the lesson, or a place in its memory.
PLACES = re.compile(
    r"(?<![\w:/.])/(?:home|root|tmp|usr|opt|var|work|Users|private)/|[A-Z]:\\|site-packages|0x[0-9a-f]{6,}"
)


def texts(output):
    """Everything that an output says in words: pictures excepted."""
    if output.output_type == "stream":
        return [output.text]
    return [str(value) for kind, value in output.data.items() if not kind.startswith("image/")]


class Images(HTMLParser):
    """The tags of an HTML output, and the alternative texts of its images."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.alts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")


def pages(cell):
    return [Images(output.data["text/html"]) for output in cell.outputs if "text/html" in output.get("data", {})]


def has_figure(cell):
    pictures = any("image/png" in output.get("data", {}) for output in cell.outputs)
    return pictures or any(page.alts for page in pages(cell))


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


# ------------------------------------------------------------ the file


def test_ids_and_metadata_are_fixed(lesson):
    assert [cell.id for cell in lesson.cells] == [f"c{i:02d}" for i in range(1, len(lesson.cells) + 1)]
    assert lesson.notebook.metadata == METADATA
    assert lesson.notebook.nbformat == 4 and lesson.notebook.nbformat_minor >= 5
    for cell in lesson.cells:
        assert set(cell.metadata) <= {"tags"}, cell.id
        assert not cell.get("attachments"), cell.id


def test_the_file_is_small_and_written_as_the_rebuild_writes_it(lesson):
    raw = lesson.path.read_bytes()
    assert len(raw) < LARGEST
    assert b"\r" not in raw and raw.endswith(b"}\n")
    assert raw.decode() == json.dumps(json.loads(raw), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def test_every_cell_was_run_in_order_and_none_failed(lesson):
    assert [cell.execution_count for cell in lesson.code] == list(range(1, len(lesson.code) + 1))
    for cell in lesson.code:
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", (cell.id, output.text)


def test_the_size_of_a_lesson(lesson):
    assert 8 <= len(lesson.code) <= 15


def test_no_absolute_paths_and_no_addresses(lesson):
    for cell in lesson.cells:
        for text in [cell.source, *(text for output in cell.get("outputs", []) for text in texts(output))]:
            assert not PLACES.search(text), (cell.id, PLACES.search(text))


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("saved to /" "home/ada/graph.svg", True),
        ("in '/" "tmp/x'", True),
        ("<Thing at 0x7f9f774d94e0>", True),
        ("lib/python3.11/site-packages/numpy", True),
        ("C:\\Users", True),
        ("https://example.org/home/page", False),
        ("dL/dx = 0x48 and 3/13", False),
    ],
)
def test_the_search_for_places_finds_them(text, caught):
    assert bool(PLACES.search(text)) is caught


# ------------------------------------------------------------ what a reader sees


def test_the_first_cell_says_what_to_expect_and_the_last_what_was_learnt(lesson):
    first, last = lesson.cells[0].source, lesson.cells[-1].source
    assert first.startswith(f"# {int(lesson.number)} · ")
    assert re.search(r"[Aa]bout \d+ minutes", first) and "you need" in first and "difficulty" in first
    assert last.startswith("## What I can now claim")


def test_after_every_figure_comes_a_description(lesson):
    for cell, after in zip(lesson.code, [*lesson.code[1:], None], strict=True):
        if has_figure(cell):
            words = printed(cell) + (printed(after) if after is not None else "")
            told = re.search(r"^Figure: (.+(?:\n.+)*)", words, re.MULTILINE)
            assert told and len(told.group(1)) > 80, f"{lesson.name}, {cell.id}: a figure without its sentence"


def test_the_lesson_has_a_figure(lesson):
    assert any(has_figure(cell) for cell in lesson.code)


def test_pictures_in_html_have_words_and_survive_an_untrusted_notebook(lesson):
    for cell in lesson.code:
        for page in pages(cell):
            assert not {"svg", "script", "iframe", "object"} & set(page.tags), cell.id
            assert all(len(alt) > 20 for alt in page.alts), cell.id


def test_links_to_other_files_lead_somewhere(lesson):
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", cell.source):
                assert (lesson.path.parent / target).exists(), (cell.id, target)


def test_formulas_are_not_escaped_twice(lesson):
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\\\\[A-Za-z]", cell.source), cell.id


def test_lines_of_code_fit_into_the_window(lesson):
    for cell in lesson.code:
        assert max(map(len, cell.source.splitlines())) <= 104, cell.id


def test_code_defines_no_second_library(lesson):
    """A lesson shows the library's source; a class of its own would be a copy of something."""
    for cell in lesson.code:
        assert not re.search(r"^class ", cell.source, re.MULTILINE), cell.id
