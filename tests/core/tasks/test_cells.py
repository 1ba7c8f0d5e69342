"""Numbers as people and programs write them."""

import pytest

from graftwork.core.tasks.cells import check_commas, number_in, single_column


@pytest.mark.parametrize(("cell", "number"), [
    ("3", 3), ("-.5", -0.5), ("+1.", 1), ("2,5", 2.5), ("1e-3", 0.001), ("1E400", None), ("nan", None), ("1,5,2", None),
    ("0x10", None), ("1 000", None), ("", None), ("٣", None),
])  # fmt: skip
def test_a_cell_is_a_finite_number_or_none(cell, number):
    assert number_in(cell) == number


def test_commas_are_decimal_ones_unless_points_or_thousands_are_there(cells):
    check_commas(cells, "age", ["1,5", "22,75", "3"])
    assert not cells.notes
    assert "taken for decimal ones in 2 rows" in cells.warnings[0]
    check_commas(cells, "age", ["1,500", "2,250"])
    assert [index for _, index, _ in cells.notes] == [0, 1]
    check_commas(cells, "age", ["1,5", "2.5"])
    assert cells.notes[-1][1:] == (0, "age")


def test_one_target_column_is_asked_for(cells):
    single_column(cells, ["a"], "numbers")
    assert not cells.notes
    single_column(cells, ["a", "b"], "numbers")
    assert cells.notes[0][0] == "numbers need one target column, found 2: a, b"
