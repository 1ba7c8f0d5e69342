from __future__ import annotations

import numpy as np
import pytest

from graftwork.audio.batching import length_buckets
from graftwork.core.errors import SettingsError

LENGTHS = np.random.default_rng(0).lognormal(10, 0.7, 500).astype(int).tolist()
TOTAL = 400_000


def test_every_clip_occurs_once_and_no_batch_is_too_large() -> None:
    for epoch in range(5):
        batches = length_buckets(LENGTHS, TOTAL, seed=0, epoch=epoch)
        assert sorted(index for batch in batches for index in batch) == list(range(500))
        assert all(len(batch) * max(LENGTHS[index] for index in batch) <= TOTAL for batch in batches)


def test_little_of_a_batch_is_padding() -> None:
    batches = length_buckets(LENGTHS, TOTAL, seed=0, epoch=0)
    padded = sum(len(batch) * max(LENGTHS[index] for index in batch) for batch in batches)
    assert 1 - sum(LENGTHS) / padded < 0.2
    in_order = [LENGTHS[start : start + 16] for start in range(0, 500, 16)]
    assert padded < 0.6 * sum(len(batch) * max(batch) for batch in in_order)


def test_batches_follow_seed_and_epoch() -> None:
    first = length_buckets(LENGTHS, TOTAL, seed=1, epoch=2)
    assert first == length_buckets(LENGTHS, TOTAL, seed=1, epoch=2)
    for seed, epoch in ((1, 3), (2, 2)):
        other = length_buckets(LENGTHS, TOTAL, seed=seed, epoch=epoch)
        assert {tuple(batch) for batch in other}.isdisjoint({tuple(batch) for batch in first if len(batch) > 3})


def test_a_clip_longer_than_the_limit_is_alone() -> None:
    assert sorted(length_buckets([5, 50, 5], 10, seed=0, epoch=0)) in ([[0, 2], [1]], [[1], [2, 0]])


def test_no_clips_give_no_batches() -> None:
    assert length_buckets([], 10, seed=0, epoch=0) == []


@pytest.mark.parametrize(("lengths", "total"), [([1, 0], 10), ([1], 0)])
def test_lengths_and_limits_below_one_are_refused(lengths: list[int], total: int) -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        length_buckets(lengths, total, seed=0, epoch=0)
