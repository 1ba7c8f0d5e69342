"""Parts and folds of a manifest."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twelve files, of which 0 and 1, and 2 and 3, hold the same bytes."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(12):
        (folder / str(number)).write_bytes(bytes([max(number - 1, 0) if number in (1, 3) else number]))
    return [str(folder / str(number)) for number in range(12)]


def rows_of(paths, values=None, groups=None, parts=None):
    labels = np.asarray(values if values is not None else np.arange(len(paths)) % 2)
    return Manifest("t.csv", tuple(paths), "single-label", "label", ("x", "y"), labels, groups, parts,
                    tuple(range(2, len(paths) + 2)))  # fmt: skip


@example(["q", "q", "q", "q", "q", "p", "q", "p", "q", "q", "r", "q"], 0, True)  # one large group and two small ones
@given(st.lists(st.sampled_from("pqrstuvw"), min_size=12, max_size=12), st.integers(0, 9), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_groups_and_files_with_the_same_bytes_are_never_separated(files, names, seed, grouped):
    manifest = rows_of(files, groups=tuple(names) if grouped else None)
    if manifest.units().max() < 2:
        with pytest.raises(SettingsError):
            manifest.split(seed)
        return
    for parts in (manifest.split(seed), [test for _, test in manifest.folds(3, seed)]):
        found = [set(part.rows) for part in parts]
        assert sorted(row for part in found for row in part) == list(manifest.rows)
        where = {row: place for place, part in enumerate(found) for row in part}
        assert where[2] == where[3]
        assert where[4] == where[5]
        if grouped:
            assert len({(name, where[row]) for name, row in zip(names, manifest.rows, strict=True)}) == len(set(names))


def test_folds_are_pairs_of_the_rest_and_the_fold(files):
    manifest = rows_of(files)
    for train, test in manifest.folds(4, 1):
        assert set(train.rows) | set(test.rows) == set(manifest.rows)
        assert not set(train.rows) & set(test.rows)
        assert test.classes == manifest.classes


def test_a_drawn_split_repeats_with_its_seed_and_changes_with_it(files):
    manifest = rows_of(files)
    drawn = [tuple(part.rows for part in manifest.split(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_sources_own_split_is_used(files):
    parts = ("train",) * 6 + ("val",) * 2 + ("test",) * 4
    found = rows_of(files, parts=parts).split(val_fraction=0.9)
    assert [part.rows for part in found] == [tuple(range(2, 8)), (8, 9), (10, 11, 12, 13)]


def test_a_validation_part_is_drawn_from_the_training_rows_where_the_source_names_none(files):
    manifest = rows_of(files, parts=("train",) * 8 + ("test",) * 4)
    train, val, test = manifest.split(0, val_fraction=0.25)
    assert test.rows == (10, 11, 12, 13)
    assert len(val) == 2
    assert set(train.rows) | set(val.rows) == set(range(2, 10))
    assert len(manifest.split(0, val_fraction=0.0)[1]) == 0


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.7, 0.3), (0.9, 0.4), (-0.1, 0.2)])
def test_fractions_that_leave_nothing_to_train_on_are_refused(files, fractions):
    with pytest.raises(SettingsError, match="leave rows to train on"):
        rows_of(files).split(val_fraction=fractions[0], test_fraction=fractions[1])


def test_a_subset_takes_numbers_in_their_order_or_a_mask(files):
    manifest = rows_of(files, groups=tuple("abcdefghijkl"), parts=("train",) * 12)
    found = manifest.subset([3, 0])
    assert (found.paths, found.rows, found.groups) == ((files[3], files[0]), (5, 2), ("d", "a"))
    assert found.targets.tolist() == ["y", "x"]
    assert manifest.subset(np.arange(12) == 3).rows == (5,)
    assert len(manifest.subset([])) == 0


def test_pairs_with_the_same_content_in_different_parts_are_found(files):
    parts = ("train", "test", "train", "train", *("val",) * 8)
    assert rows_of(files, parts=parts).shared_content() == [(0, 1)]
    assert rows_of(files).shared_content() == []
