import pytest

from tinymtl.text import aligned, ruled


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [["", "loss", "by"], ["Δ", "1", "trunk"], ["both", "10.5", ""]]
    assert aligned(rows) == ["      loss     by", "Δ        1  trunk", "both  10.5"]  # nothing at the end of a line
    assert aligned(rows, left=(1,), space=1) == ["     loss    by", "   Δ 1    trunk", "both 10.5"]
    assert aligned(rows, left=()) == ["      loss     by", "   Δ     1  trunk", "both  10.5"]


def test_the_rule_is_as_long_as_the_longest_line():
    assert ruled([["a", "b"], ["cc", "d"]]) == "a   b\n-----\ncc  d"
    assert ruled([["a", ""], ["cc", ""]]) == "a\n--\ncc"
    assert ruled([["step", "ms"]]) == "step  ms\n--------"


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        aligned([["a", "b"], ["c"]])
