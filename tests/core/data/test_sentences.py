"""Sentences on both sides of a split: training rows give way, as far as enough is left."""

from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.sentences import LEAST_KEPT, apart_in_sentences

ROWS = 20
INSIDE, OUTSIDE = np.arange(12), np.arange(12, ROWS)


def spoken(shared):
    """Two classes in turn; the first `shared` rows speak the sentence of the last row, all others their own."""
    sentences = [f"s{row}" if row >= shared else f"s{ROWS - 1}" for row in range(ROWS)]
    values = np.arange(ROWS) % 2
    return Manifest("t", tuple(map(str, range(ROWS))), "single-label", "y", ("a", "b"), values,
                    sentences=tuple(sentences))  # fmt: skip


@pytest.mark.parametrize("shared", [0, 1, 6])
def test_rows_with_a_sentence_of_the_other_part_are_left_out(shared):
    found = apart_in_sentences(spoken(shared), INSIDE, OUTSIDE)
    assert found.tolist() == list(range(shared, 12))


def test_too_many_rows_are_not_given_up_and_that_is_said(caplog):
    shared = int((1 - LEAST_KEPT) * 12) + 1
    assert apart_in_sentences(spoken(shared), INSIDE, OUTSIDE) is INSIDE
    assert f"{shared} of 12 training rows share their sentence" in caplog.text


def test_a_class_is_not_given_up_with_its_sentences(caplog):
    manifest = spoken(2)
    rare = replace(manifest, values=(np.arange(ROWS) == 1).astype(np.int64))
    assert apart_in_sentences(rare, INSIDE, OUTSIDE) is INSIDE
    assert "too many to leave out" in caplog.text


def test_without_sentences_or_rows_nothing_is_left_out():
    assert apart_in_sentences(replace(spoken(3), sentences=None), INSIDE, OUTSIDE) is INSIDE
    empty = np.arange(0)
    assert apart_in_sentences(spoken(3), INSIDE, empty) is INSIDE
    assert apart_in_sentences(spoken(3), empty, OUTSIDE) is empty
