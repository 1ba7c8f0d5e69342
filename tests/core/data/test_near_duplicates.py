"""Rows that hold nearly the same are found, said, and on one side of every split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graftwork.core.data.leaks import find_leaks, refuse_leaks
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.data.windows import in_windows
from graftwork.core.errors import ManifestError
from graftwork.core.example import File, span_of


@pytest.fixture
def rows(tmp_path):
    """A manifest of files with these contents, rows from 2 on."""

    def rows(contents, **changes):
        paths = []
        for place, content in enumerate(contents):
            (tmp_path / f"{place}.npy").write_bytes(content.encode())
            paths.append(str(tmp_path / f"{place}.npy"))
        values = np.arange(len(paths)) % 2
        numbers = tuple(range(2, len(paths) + 2))
        return Manifest("t.csv", tuple(paths), "single-label", "y", ("x", "y"), values, rows=numbers, **changes)

    return rows


@pytest.fixture
def alike(domain):
    """A domain in which files are alike whose contents begin with the same letter; it notes what it was asked for."""
    asked = []

    def pairs(examples):
        asked.append(len(examples))
        letters = [Path(str(example).split("#")[0]).read_text()[0] for example in examples]
        return [(a, b) for b in range(len(letters)) for a in range(b) if letters[a] == letters[b]]

    return replace(domain, near_duplicates=pairs), asked


def test_near_duplicates_and_copies_are_sets_that_no_split_separates(rows, alike):
    manifest = rows(["a1", "b1", "a2", "c1", "b1", "d1", "a3", "e1", "f1", "g1"])
    found, said = with_near_duplicates(alike[0], manifest, "together")
    assert [len(one) for one in said.sets] == [3, 2]
    assert (said.rows, said.same, alike[1]) == (5, 1, [9])  # what is the very same is not compared
    assert said.sets[1] == (manifest.paths[1], manifest.paths[4])
    assert "2 sets of 5 rows hold nearly the same (1 of them the very same), kept on one side" in str(said)
    for seed in range(10):
        folds = found.fold_numbers(3, seed)
        assert len(set(folds[[0, 2, 6]])) == len(set(folds[[1, 4]])) == 1
    assert any(len(set(manifest.fold_numbers(3, seed)[[0, 2, 6]])) > 1 for seed in range(10))


def test_sets_are_what_pairs_connect(rows, domain):
    chain = replace(domain, near_duplicates=lambda examples: [(0, 1), (1, 2), (3, 4), (2, 3)])
    found, said = with_near_duplicates(chain, rows("abcdefg"), "together")
    assert len(set(found.copies[:5])) == 1
    assert len(set(found.copies)) == 3
    assert said.rows == 5


def test_reported_ones_are_said_and_not_kept_together_and_ignored_ones_not_looked_for(rows, alike):
    manifest = rows(["a1", "a2", "b1"])
    found, said = with_near_duplicates(alike[0], manifest, "report")
    assert (found.copies, len(said.sets)) == (None, 1)
    assert with_near_duplicates(alike[0], manifest, "ignore") == (manifest, None)
    assert with_near_duplicates(replace(alike[0], near_duplicates=None), manifest, "together") == (manifest, None)


def test_windows_belong_to_what_their_recordings_are_like(rows, alike):
    whole = rows(["a1", "b1", "a2"])
    manifest = in_windows(whole, [[span_of(File(path), 0, 1), span_of(File(path), 1, 2)] for path in whole.paths])
    found, said = with_near_duplicates(alike[0], manifest, "together")
    assert found.copies[0] == found.copies[1] == found.copies[4] == found.copies[5]
    assert found.copies[2] == found.copies[3] != found.copies[0]
    assert (said.rows, said.sets) == (4, ((whole.paths[0], whole.paths[2]),))


def test_what_leaks_through_a_split_column_is_an_error_that_names_it(rows, alike):
    parts = ("train", "train", "test", "test", "val", "test")
    groups = ("p", "q", "p", "r", "s", "t")
    manifest = rows(["a1", "b1", "c1", "b1", "a2", "d"], parts=parts, groups=groups)
    found = find_leaks(with_near_duplicates(alike[0], manifest, "together")[0])
    assert (found.groups, found.identical, found.alike) == (("p",), ((1, 3),), ((0, 4),))
    assert find_leaks(manifest).alike == ()
    with pytest.raises(ManifestError) as caught:
        refuse_leaks(manifest, found)
    text = str(caught.value)
    for said in ("group 'p' is in several parts", "row 3: ", "holds the same as", "row 2: ",
                 "holds nearly the same as", "1 group in several, 1 pair of rows with the same content, ",
                 "1 pair with nearly the same", "--allow-leaks"):  # fmt: skip
        assert said in text
    clean = find_leaks(rows(["a", "b"], parts=("train", "test"), groups=("p", "q")))
    assert not clean
    refuse_leaks(manifest, clean)
    assert not find_leaks(rows(["a", "a"], groups=("p", "p")))
