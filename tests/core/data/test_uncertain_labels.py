"""Labels as CheXpert has them: what -1 and an empty cell are read as, and what is said of them."""

import logging

import numpy as np
import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.runs.check import check
from tests.core.data.conftest import problems

TABLE = "path,edema,mass\na.png,1.0,-1.0\nb.png,-1,0\nc.png,,1\nd.png,0,\ne.png,,\n"
NAN = np.nan


@pytest.mark.parametrize(
    ("uncertain", "blank", "expected"),
    [
        ("ignore", None, [[1, NAN], [NAN, 0], [0, 1], [0, 0], [0, 0]]),
        ("ignore", "ignore", [[1, NAN], [NAN, 0], [NAN, 1], [0, NAN], [NAN, NAN]]),
        ("zero", "zero", [[1, 0], [0, 0], [0, 1], [0, 0], [0, 0]]),
        ("one", "ignore", [[1, 1], [1, 0], [NAN, 1], [0, NAN], [NAN, NAN]]),
    ],
)
def test_cells_are_read_as_was_asked(write, caplog, uncertain, blank, expected):
    with caplog.at_level(logging.WARNING):
        found = read_manifest(write(TABLE), target="edema,mass", uncertain=uncertain, blank=blank)
    np.testing.assert_array_equal(found.values, np.array(expected))
    read = {"ignore": "ignored", "zero": "read as 0", "one": "read as 1"}
    assert f"2 uncertain cells (-1) are {read[uncertain]}" in caplog.text
    assert f"4 empty cells are {read[blank or 'zero']}" in caplog.text


def test_without_the_options_both_are_errors_that_name_them(write):
    found = problems(write(TABLE), target="edema,mass")
    doubt = "expected 0 or 1, found '-1.0': if that is an uncertain label, --uncertain says what to do"
    empty = "empty; --missing-labels drop leaves out rows without a label, --blank says what an empty cell of several"
    assert f"row 2, column 'mass': {doubt}" in found
    assert f"row 4, column 'edema': {empty} labels is" in found
    assert "found '-1.0'" in problems(write(TABLE), target="edema,mass", blank="ignore")[0]


def test_one_column_is_several_labels_then_and_other_targets_are_refused(write):
    found = read_manifest(write(TABLE), target="edema", uncertain="ignore", blank="ignore")
    assert found.task.name == "multi-label"
    np.testing.assert_array_equal(found.values[:, 0], [1, NAN, NAN, 0, NAN])
    assert problems(write(TABLE), target="edema", uncertain="one", task="regression") == [
        "--uncertain and --blank are for columns of labels, the target is regression"
    ]


def test_only_rows_without_any_label_are_left_out_on_request(write):
    found = read_manifest(write(TABLE), target="edema,mass", uncertain="ignore", blank="ignore", missing_labels="drop")
    assert (found.rows, found.dropped_rows) == ((2, 3, 4, 5), 1)


def test_check_counts_them_and_the_same_file_with_the_same_unknown_label_is_no_conflict(write, tmp_path):
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes())
    source = write("path,edema,mass\na.png,1,0\nb.png,-1,1\nc.png,-1,1\nd.png,0,0\n")
    found = check(read_manifest(source, target="edema,mass", uncertain="ignore"))
    assert (found.same_content, found.conflicts) == (1, 0)
    assert "cells that are ignored: edema 2" in str(found)
    assert found.to_json()["classes"]["edema"]["all"] == 1


def test_a_question_mark_is_still_no_label(write):
    source = write("path,edema,mass\na.png,1,0\nb.png,?,1\n")
    assert problems(source, target="edema,mass", uncertain="ignore") == [
        "row 3, column 'edema': expected 0 or 1, found '?'"
    ]
