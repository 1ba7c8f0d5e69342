"""No cell of a written table is a formula, and every text comes back."""

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graftwork.core.csv_cells import escape_cell, escaped, unescape_cell, unescaped


@given(st.text("'=+-@\t\r1a,. ", max_size=8))
@example("'-1")
@example("''=x")
def test_every_text_comes_back_and_none_is_a_formula(text):
    written = escape_cell(text)
    assert unescape_cell(written) == text
    if written[:1] in tuple("=+-@\t\r"):
        float(written)


@pytest.mark.parametrize("text", ["-1", "+2.5", "-inf", "1e-5", "a=b", "", "o'clock", "'quoted'"])
def test_numbers_and_plain_text_are_left(text):
    assert escape_cell(text) == text


def test_tables_are_changed_in_texts_and_names_alone():
    table = pd.DataFrame({"path": ["=cmd()", "b.png", None], "+n": [-1, 2, 3], "x": [-0.5, None, 1.0]})
    found = escaped(table)
    assert list(found) == ["path", "'+n", "x"]
    assert found["path"].tolist()[:2] == ["'=cmd()", "b.png"]
    assert found["'+n"].tolist() == [-1, 2, 3]
    pd.testing.assert_frame_equal(unescaped(found), table)
    plain = table.iloc[1:2, :1]
    assert escaped(plain) is plain
