"""Folds: drawn, drawn anew, and one for every site."""

from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.folds import Folds, asked_folds
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError

SITES = ("b", "a", "b", "c", "a", "c")


@pytest.fixture
def manifest(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.npy").write_bytes(bytes([number]))
    paths = tuple(str(tmp_path / f"{number}.npy") for number in range(6))
    return Manifest("t.csv", paths, "single-label", "label", ("x", "y"), np.array([0, 1] * 3), rows=tuple(range(2, 8)),
                    columns={"site": SITES})  # fmt: skip


def test_every_value_of_a_column_is_a_fold(manifest):
    folds = Folds(leave_out="site")
    assert folds.names(manifest) == ("a", "b", "c")
    assert folds.numbers(manifest, seed=5).tolist() == [1, 0, 1, 2, 0, 2]
    rows = manifest.subset([3, 1])
    assert (folds.names(rows), folds.numbers(rows, 0).tolist()) == (("a", "c"), [1, 0])


def test_repeats_draw_other_folds_the_first_of_which_is_the_one_without_repeats(manifest):
    folds = Folds(3, repeats=6)
    assert folds.numbers(manifest, 7).tolist() == manifest.fold_numbers(3, 7).tolist()
    drawn = {tuple(folds.numbers(manifest, 7, repeat)) for repeat in range(6)}
    assert len(drawn) > 1
    assert folds.names(manifest) == ("1", "2", "3")


def test_what_no_folds_can_be_made_of_is_said(manifest):
    for arguments, said in [((1, None, 1), "at least 2, found 1"), ((3, "site", 1), "two ways"),
                            ((3, None, 0), "at least 1, found 0"), ((None, "site", 2), "the same every time"),
                            ((None, None, 2), "only folds are repeated")]:  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            asked_folds(*arguments)
    assert asked_folds(None, None, 1) is None
    with pytest.raises(SettingsError, match=r"column 'scanner' was not read .*'site'.*columns="):
        Folds(leave_out="scanner").names(manifest)
    with pytest.raises(SettingsError, match="every row says 'a'"):
        Folds(leave_out="site").names(manifest.subset([1, 4]))
    blank = replace(manifest, columns={"site": ("b", "", "b", "c", "a", "c")})
    with pytest.raises(SettingsError, match="row 3 has no value"):
        Folds(leave_out="site").numbers(blank, 0)
