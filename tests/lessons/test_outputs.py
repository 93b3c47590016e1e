"""Every lesson, run again in a fresh kernel, says what the committed file says, and every answer passes its check."""


def test_running_a_lesson_again_gives_the_committed_outputs(lesson, again):
    """After a change that was meant: `python -m tinymtl.course.lessons.rebuild`."""
    for cell in lesson.code:
        assert lesson.said(again.cells[cell.id]) == lesson.said(cell), f"{lesson.name}, cell {cell.id}"


def test_every_collapsed_answer_passes_its_check(lesson, again):
    """In its own place: the cells after it were run with the answer in, and say the same as without it."""
    exercises = list(lesson.exercises())
    assert exercises
    for cell, checks, _ in exercises:
        printed = "".join(text for _, text in lesson.said(again.cells[f"{cell.id}-solved"]))
        lines = printed.strip().splitlines()
        assert len(lines) == len(checks), (cell.id, printed)
        assert all(line.startswith("✓ right") for line in lines), (cell.id, printed)
