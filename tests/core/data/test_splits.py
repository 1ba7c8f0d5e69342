"""Which rows go together, and how parts are drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graftwork.core.data.splits import allocate, fold_numbers, join_units
from graftwork.core.errors import SettingsError
from graftwork.core.tasks import find_task

KEYS = st.integers(2, 30).flatmap(
    lambda rows: st.tuples(*[st.lists(st.integers(0, 9), min_size=rows, max_size=rows)] * 2)
)


@given(KEYS)
def test_units_are_the_connected_components_of_rows_that_share_a_key(keys):
    rows = np.arange(len(keys[0]))
    # A graph of rows, first keys and second keys.
    ends = np.concatenate([len(rows) + np.array(keys[0]), len(rows) + 10 + np.array(keys[1])])
    graph = coo_array((np.ones(len(ends)), (np.concatenate([rows, rows]), ends)), shape=[len(rows) + 20] * 2)
    reference = connected_components(graph, directed=False)[1][: len(rows)]
    found = join_units(*keys)
    np.testing.assert_array_equal(found[:, None] == found, reference[:, None] == reference)
    assert set(found) == set(range(found.max() + 1))


@given(KEYS, st.integers(0, 5))
def test_no_unit_is_in_two_parts_and_every_row_is_in_one(keys, seed):
    units = join_units(keys[0])
    labels = np.array(keys[1]) % 3
    if units.max() < 2:
        with pytest.raises(SettingsError, match=r"3 parts need at least 3 groups"):
            allocate(find_task("single-label").strata(labels), units, (0.6, 0.2, 0.2), seed)
        return
    part = allocate(find_task("single-label").strata(labels), units, (0.6, 0.2, 0.2), seed)
    assert part.shape == units.shape
    assert set(part) == {0, 1, 2}
    for unit in set(units):
        assert len(set(part[units == unit])) == 1


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(20, 80))
@settings(max_examples=40)
def test_folds_of_single_rows_hold_their_share_of_every_class(seed, folds, rows):
    labels = np.random.default_rng(seed).choice(4, rows, p=[0.6, 0.2, 0.15, 0.05])
    number = fold_numbers(find_task("single-label").strata(labels), np.arange(rows), folds, seed)
    sizes = np.bincount(number, minlength=folds)
    assert np.ptp(sizes) <= 2
    for label in set(labels):
        members = np.bincount(number[labels == label], minlength=folds)
        assert np.ptp(members) <= 2


def test_folds_of_groups_hold_their_share_of_every_class():
    rng = np.random.default_rng(0)
    units = rng.integers(0, 60, 400)
    labels = (rng.random(400) < 0.2).astype(int)
    number = fold_numbers(find_task("single-label").strata(labels), join_units(units), 5, 0)
    shares = [labels[number == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.04
    assert np.ptp(np.bincount(number)) <= 10


def test_rare_columns_of_several_labels_are_spread_over_the_parts():
    truth = np.zeros((100, 3))
    truth[:5, 0], truth[:50, 1] = 1, 1
    number = fold_numbers(find_task("multi-label").strata(truth), np.arange(100), 5, 3)
    assert all(truth[number == fold, 0].sum() == 1 for fold in range(5))
    assert all(truth[number == fold, 1].sum() == 10 for fold in range(5))


def test_numbers_are_balanced_by_decile():
    values = np.random.default_rng(0).normal(size=200)
    found = find_task("regression").strata(values)
    assert found.shape == (200, 10)
    assert (found.sum(0) == 20).all()
    number = fold_numbers(found, np.arange(200), 4, 0)
    for fold in range(4):
        assert (found[number == fold].sum(0) == 5).all()


def test_equal_numbers_are_one_stratum():
    np.testing.assert_array_equal(find_task("regression").strata(np.full(7, 2.5)).sum(1), np.ones(7))


def test_the_seed_decides_alone():
    labels, units = np.arange(40) % 2, np.arange(40) // 2
    draw = [tuple(fold_numbers(find_task("single-label").strata(labels), units, 4, seed)) for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]


def test_a_part_without_a_share_gets_no_rows():
    part = allocate(np.ones((10, 1)), np.arange(10), (0.7, 0.3, 0.0), 0)
    np.testing.assert_array_equal(np.bincount(part, minlength=3), [7, 3, 0])


@pytest.mark.parametrize(("folds", "message"), [(1, "at least 2, found 1"), (5, "5 parts need at least 5.*found 3")])
def test_too_few_folds_or_groups_are_refused(folds, message):
    with pytest.raises(SettingsError, match=message):
        fold_numbers(np.ones((9, 1)), np.arange(9) // 3, folds, 0)


def test_too_few_groups_are_told_of_what_was_asked_for():
    units, kinds = np.zeros(6, int), np.ones((6, 1))
    with pytest.raises(SettingsError, match="found 1: use fewer folds"):
        fold_numbers(kinds, units, 3, 0)
    with pytest.raises(SettingsError, match="found 1: give --val-fraction 0 or --test-fraction 0"):
        allocate(kinds, units, (0.8, 0.2), 0)
