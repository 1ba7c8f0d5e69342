"""Rows that hold nearly the same are found, said, and on one side of every split."""

from dataclasses import replace

from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.data.windows import in_windows
from graftwork.core.example import File, span_of


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
