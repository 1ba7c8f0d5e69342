"""Batches of an epoch: each row once, repeatable, and clips with clips of like length."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.core.data.batches import PADDING, epoch_batches, length_buckets, pass_batches, with_epochs_for_updates
from graftwork.core.data.examples import Examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError
from graftwork.core.recipe import Recipe

SECONDS = tuple(np.random.default_rng(0).lognormal(0.5, 0.7, 500).tolist())
MOST = 25.0


def rows(count, seconds=None):
    manifest = Manifest("generated", tuple(map(str, range(count))), "single-label", "label", ("a",), np.zeros(count))
    return Examples(manifest, None, None, seconds=seconds)


def padded(batches):
    return sum(len(batch) * max(SECONDS[row] for row in batch) for batch in batches)


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_has_each_row_once_in_batches_of_nearly_one_size(count, batch_size, seed, epoch):
    batches = epoch_batches(rows(count), Recipe(batch_size=batch_size, seed=seed), epoch)
    assert sorted(np.concatenate(batches)) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size
    assert len(batches) == -(-count // batch_size)


@pytest.mark.parametrize("seconds", [None, SECONDS[:50]])
def test_the_order_is_that_of_seed_and_epoch(seconds):
    drawn = {
        (seed, epoch): tuple(np.concatenate(epoch_batches(rows(50, seconds), Recipe(seed=seed), epoch)))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(drawn.values())) == 4
    assert drawn[0, 1] == tuple(np.concatenate(epoch_batches(rows(50, seconds), Recipe(), 1)))


def test_every_clip_occurs_once_and_no_batch_is_too_long():
    for epoch in range(5):
        batches = length_buckets(SECONDS, MOST, seed=0, epoch=epoch)
        assert sorted(np.concatenate(batches)) == list(range(500))
        assert all(len(batch) * max(SECONDS[row] for row in batch) <= MOST for batch in batches)


def test_little_of_any_batch_is_padding():
    for epoch in range(5):
        batches = length_buckets(SECONDS, MOST, seed=0, epoch=epoch)
        for batch in batches:
            assert 1 - sum(SECONDS[row] for row in batch) / padded([batch]) <= PADDING + 1e-9
        assert 1 - sum(SECONDS) / padded(batches) < 0.05


def test_epochs_put_different_clips_together():
    first, second = (length_buckets(SECONDS, MOST, seed=1, epoch=epoch) for epoch in (2, 3))
    together = [{frozenset((int(a), int(b))) for batch in batches for a in batch for b in batch if a < b}
                for batches in (first, second)]  # fmt: skip
    assert len(together[0] & together[1]) < 0.8 * len(together[0])


def test_a_clip_longer_than_a_batch_is_alone():
    found = length_buckets([5.0, 50.0, 5.0], 10.0, seed=0, epoch=0)
    assert sorted(sorted(batch.tolist()) for batch in found) == [[0, 2], [1]]


def test_a_batch_lasts_as_long_as_its_number_of_clips_of_mean_duration_or_as_asked():
    few = epoch_batches(rows(500, SECONDS), Recipe(batch_size=8), 0)
    assert max(padded([batch]) for batch in few) <= 8 * np.mean(SECONDS)
    assert max(padded([batch]) for batch in few) > 6 * np.mean(SECONDS)
    asked = epoch_batches(rows(500, SECONDS), Recipe(batch_seconds=40.0), 0)
    assert 35 < max(padded([batch]) for batch in asked) <= 40


def test_seconds_of_what_has_no_duration_are_refused():
    with pytest.raises(SettingsError, match="--batch-seconds is for clips"):
        epoch_batches(rows(5), Recipe(batch_seconds=2.0), 0)


def test_a_single_pass_takes_the_rows_asked_for_in_the_order_of_their_durations():
    chosen = list(range(0, 500, 3))
    batches = pass_batches(rows(500, SECONDS), chosen, Recipe())
    assert np.concatenate(batches).tolist() == sorted(chosen, key=lambda row: SECONDS[row])
    plain = pass_batches(rows(500), chosen, Recipe())
    assert np.concatenate(plain).tolist() == chosen
    assert pass_batches(rows(500, SECONDS), [], Recipe()) == []


def test_durations_follow_their_rows():
    assert rows(3, (1.0, 2.0, 3.0)).subset([2, 0]).seconds == (3.0, 1.0)
    assert replace(rows(3), views=2).subset([1]).seconds is None


@pytest.mark.parametrize(
    ("updates", "accumulate", "epochs"), [(1, 1, 1), (13, 1, 1), (14, 1, 2), (100, 1, 8), (100, 3, 20)]
)
def test_updates_become_the_epochs_that_they_take(updates, accumulate, epochs):
    """50 rows by four are 13 batches, and 5 updates of three."""
    asked = Recipe(batch_size=4, updates=updates, accumulate=accumulate)
    assert with_epochs_for_updates(asked, rows(50)).epochs == epochs
    assert with_epochs_for_updates(Recipe(epochs=7), rows(50)).epochs == 7
