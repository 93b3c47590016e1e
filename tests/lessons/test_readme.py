"""lessons/README.md: a row for each lesson that says what the lesson itself says."""

import re

from tinymtl.course.lessons.runner import folder, notebooks

README = (folder() / "README.md").read_text(encoding="utf-8")


def test_there_are_ten_lessons():
    assert [path.name[:2] for path in notebooks(folder())] == [f"{i:02d}" for i in range(1, 11)]


def test_every_lesson_has_its_row(lesson):
    (row,) = [line for line in README.splitlines() if f"]({lesson.path.name})" in line]
    picture, about, number, minutes, needs = (cell.strip() for cell in row.strip("|").split(" | "))
    source, alt = re.search(r'src="([^"]+)"', picture)[1], re.search(r'alt="([^"]+)"', picture)[1]
    assert (folder() / source).exists() and source.startswith(f"figures/{lesson.name}.")
    assert len(alt) > 20
    first = lesson.cells[0].source
    title = first.splitlines()[0].removeprefix("# ")
    assert about.startswith(f"[{title}](") and about.endswith("?")
    assert re.search(r"About (\d+) minutes", first, re.IGNORECASE)[1] == minutes
    assert number and needs


def test_the_number_of_a_row_is_in_the_lessons_last_cell(lesson):
    (row,) = [line for line in README.splitlines() if f"]({lesson.path.name})" in line]
    number = row.strip("|").split(" | ")[2].strip()
    digits = re.findall(r"\d+", number.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))
    last = lesson.cells[-1].source
    assert digits and all(digit in last for digit in digits), (number, last[-300:])


def test_thumbnails_are_small(lesson):
    (picture,) = (folder() / "figures").glob(f"{lesson.name}.*")
    assert picture.stat().st_size < 60_000
