"""Rows without a label: an error that names the option, or left out and counted."""

import logging

from graftwork.core.data.tables import read_manifest
from graftwork.core.runs.check import check
from tests.core.data.conftest import problems

HINT = "empty; --missing-labels drop leaves out rows without a label"


def test_rows_without_a_label_are_left_out_on_request_and_counted(write, caplog):
    source = write("path,label\na.png,x\nb.png,\nc.png,y\nmissing.png, \nd.png,x\n")
    assert f"row 3, column 'label': {HINT}" in problems(source)
    with caplog.at_level(logging.WARNING):
        found = read_manifest(source, missing_labels="drop")
    assert "2 of 5 rows have no label in 'label' and are left out" in caplog.text
    assert (found.rows, found.dropped_rows) == ((2, 4, 6), 2)
    assert check(found).to_json()["rows_without_label"] == 2
    assert "2 rows without a label left out" in str(check(found))


def test_of_several_columns_every_one_has_to_say_something(write):
    source = write("path,cyst,mass\na.png,0,1\nb.png,,1\nc.png,1,0\n")
    assert read_manifest(source, target="cyst,mass", missing_labels="drop").rows == (2, 4)


def test_a_table_without_any_label_is_refused(write):
    assert problems(write("path,label\na.png,\nb.png,\n"), missing_labels="drop") == ["no row has a label"]


def test_nothing_is_said_where_every_row_has_a_label(write, caplog):
    with caplog.at_level(logging.WARNING):
        found = read_manifest(write("path,label\na.png,x\nb.png,y\n"), missing_labels="drop")
    assert found.dropped_rows == 0
    assert not caplog.messages
