"""Which clips go into a batch together: those of like length, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graftwork.core.errors import SettingsError

SHUFFLE = 0.1
"""How far a clip may move in the order of lengths, as a share of its length, so that batches differ."""


def length_buckets(lengths: Sequence[int], max_total: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of indices; in each, number of clips x longest length <= `max_total`, in the unit of `lengths`.

    Every index occurs once. The same (seed, epoch) gives the same batches in the same order, whatever the
    number of processes; another epoch gives others. A clip longer than `max_total` is a batch of its own.

    Raises SettingsError for a `max_total` or a length below 1.
    """
    if max_total < 1 or any(length < 1 for length in lengths):
        raise SettingsError(f"max_total and all lengths must be at least 1, found max_total {max_total}")
    generator = np.random.default_rng((seed, epoch))
    sizes = np.asarray(lengths, dtype=np.float64)
    order = np.argsort(sizes * generator.uniform(1.0, 1.0 + SHUFFLE, len(sizes)), kind="stable")
    batches: list[list[int]] = []
    longest = 0
    for index in order.tolist():
        longest = max(longest, lengths[index])
        if batches and (len(batches[-1]) + 1) * longest <= max_total:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return [batches[index] for index in generator.permutation(len(batches)).tolist()]
