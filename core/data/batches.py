"""Which rows go through the network together. Examples that have a duration are put together with their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.examples import Examples
from graftwork.core.errors import SettingsError
from graftwork.core.recipe import Recipe

Rows = NDArray[np.int64]

SHUFFLE = 0.04
"""How far a clip may move in the order of durations, as a share of its own, so that epochs differ."""

PADDING = 0.06
"""Largest share of a batch that may be padding; over an epoch it is about half of that."""


def epoch_batches(examples: Examples, recipe: Recipe, epoch: int) -> list[Rows]:
    """Row numbers of every batch of an epoch: each row once, drawn from (seed, epoch), the same in every process.

    Without durations, batches of `batch_size` rows whose sizes differ by at most one, so that no batch is left with
    the single row that BatchNorm cannot train on. With durations, `length_buckets` of `batch_seconds`, or of
    `batch_size` clips of mean duration. Raises SettingsError for `batch_seconds` where examples have no duration.
    """
    if examples.seconds is not None:
        return length_buckets(examples.seconds, seconds_per_batch(examples.seconds, recipe), recipe.seed, epoch)
    if recipe.batch_seconds is not None:
        raise SettingsError("--batch-seconds is for clips: these examples have no duration; give --batch-size")
    order = np.random.default_rng((recipe.seed, epoch)).permutation(len(examples))
    return np.array_split(order, -(-len(examples) // recipe.rows_together))


def with_epochs_for_updates(recipe: Recipe, examples: Examples) -> Recipe:
    """The recipe with as many epochs as its updates take, where it counts in updates."""
    if recipe.updates is None:
        return recipe
    updates = -(-len(epoch_batches(examples, recipe, 0)) // recipe.accumulate)
    return replace(recipe, epochs=-(-recipe.updates // updates))


def pass_batches(examples: Examples, rows: Sequence[int], recipe: Recipe) -> list[Rows]:
    """The `rows` in batches for a pass in which the order does not matter: the shortest clips first, if they differ."""
    chosen = np.asarray(rows, dtype=np.int64)
    if examples.seconds is None or not len(chosen):
        return [chosen[start : start + recipe.rows_together] for start in range(0, len(chosen), recipe.rows_together)]
    own = [examples.seconds[row] for row in chosen]
    most = seconds_per_batch(examples.seconds, recipe)
    return [chosen[batch] for batch in _filled(own, np.argsort(own, kind="stable"), most)]


def seconds_per_batch(seconds: Sequence[float], recipe: Recipe) -> float:
    """What a batch may last, padding included."""
    return recipe.batch_seconds or recipe.rows_together * sum(seconds) / len(seconds)


def length_buckets(seconds: Sequence[float], most: float, seed: int, epoch: int) -> list[Rows]:
    """Batches of row numbers; in each, number of clips x longest duration <= `most`, with at most `PADDING` of it
    padding.

    Every row occurs once. The same (seed, epoch) gives the same batches in the same order; another epoch gives
    others. A clip longer than `most` is a batch of its own.
    """
    generator = np.random.default_rng((seed, epoch))
    moved = np.asarray(seconds, dtype=np.float64) * generator.uniform(1.0, 1.0 + SHUFFLE, len(seconds))
    batches = _filled(seconds, np.argsort(moved, kind="stable"), most)
    return [batches[number] for number in generator.permutation(len(batches))]


def _filled(seconds: Sequence[float], order: Rows, most: float) -> list[Rows]:
    """Rows in this order, a new batch wherever the one before can take no more."""
    batches: list[list[int]] = []
    longest = total = 0.0
    for row in order.tolist():
        higher, more = max(longest, seconds[row]), total + seconds[row]
        padded = higher * (len(batches[-1]) + 1) if batches else 0.0
        if batches and padded <= most and more >= (1 - PADDING) * padded:
            batches[-1].append(row)
            longest, total = higher, more
        else:
            batches.append([row])
            longest = total = seconds[row]
    return [np.asarray(batch, dtype=np.int64) for batch in batches]
