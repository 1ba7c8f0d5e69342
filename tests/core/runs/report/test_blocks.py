"""Values as people read them, and JSON of any shape as tables."""

import math

import pytest

from graftwork.core.runs.report.blocks import Table, Text, data_uri, interval, number, said, tables_of


@pytest.mark.parametrize(("value", "shown"), [
    (0.8125, "0.812"), (0.0, "0.000"), (12.5, "12.500"), (123456.0, "1.235e+05"), (0.00002, "2e-05"),
    (5.5e-17, "0.000"), (-0.25, "-0.250"), (math.nan, "–"), (math.inf, "–"),
])  # fmt: skip
def test_numbers_have_three_digits(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(("value", "shown"), [
    (None, "–"), (True, "yes"), (1234567, "1,234,567"), ([1, 0.5], "1, 0.500"), ("<b>", "<b>"),
    ({"a": 1, "b": None}, "a: 1, b: –"), ({"value": 0.5, "low": 0.25, "high": 0.75}, "0.500 [0.250, 0.750]"),
])  # fmt: skip
def test_values_are_said(value, shown):
    assert said(value) == shown


def test_intervals_that_are_not_there_are_not_made_up():
    assert interval({"value": None, "low": None, "high": None}) == "undefined"
    assert interval({"value": 0.5, "low": None, "high": None, "method": "fewer than 4 rows"}) == "0.500"


def test_objects_of_one_shape_are_one_table():
    (table,) = tables_of({"a_b": {"rows": 3, "auroc": 0.5}, "c": {"rows": 4, "auroc": 0.75}}, "by sex")
    assert table == Table(("", "rows", "auroc"), (("a b", "3", "0.500"), ("c", "4", "0.750")), "by sex", (1, 2))


def test_lists_of_objects_are_a_row_each_and_plain_values_a_row_each():
    plain, listed = tables_of({"threshold": 0.5, "curve": [{"x": 1, "y": None}, {"x": 2, "y": 0.5}]}, "decision")
    assert plain.rows == (("threshold", "0.500"),)
    assert (listed.caption, listed.columns, listed.rows) == (
        "decision: curve",
        ("x", "y"),
        (("1", "–"), ("2", "0.500")),
    )


def test_long_tables_are_folded_and_no_shape_is_lost():
    (table,) = tables_of([{"x": number} for number in range(30)])
    assert table.folded
    assert tables_of(list(range(40)), "many") == [Text(f"many: {', '.join(map(str, range(40)))}")]


def test_images_know_their_kind():
    assert data_uri(b"\x89PNG").startswith("data:image/png;base64,")
    assert data_uri(b"<svg/>").startswith("data:image/svg+xml;base64,")
