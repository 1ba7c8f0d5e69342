"""The winner's curse: the best of several models, on the rows by which it was chosen, looks better than it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics.intervals import Interval, Metrics

Floats = NDArray[np.float64]

RESAMPLES = 2000
_CHUNK_CELLS = 2_000_000

METHOD = "bootstrap-bias-corrected choice, percentiles"


def corrected_choice(
    models: Sequence[Metrics], metric: str, rows: int, groups: Sequence[Hashable] | None = None
) -> Interval:
    """The metric, on rows that did not choose it, of the model that is best by it, with its 95 % interval.

    In every resample of the rows, or of whole groups, the best on what was drawn is measured on what was not (BBC,
    Tsamardinos et al. 2018). models: the metrics of each on the same rows; higher is better. NaN where no resample
    defines the metric on both sides.
    """
    found = []
    for drawn in _draws(rows, groups):
        inside, outside = drawn, (drawn == 0).astype(np.float64)
        chosen_by = np.stack([model(inside)[metric] for model in models])
        measured = np.stack([model(outside)[metric] for model in models])
        defined = ~np.isnan(chosen_by).all(0)
        best = np.nanargmax(np.where(defined, chosen_by, 0.0), axis=0)
        values = measured[best, np.arange(measured.shape[1])]
        found.append(values[defined & ~np.isnan(values)])
    values = np.concatenate(found)
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, "no resample defines it")
    low, high = np.quantile(values, [0.025, 0.975])
    if low == high:  # as of models that make no mistake: it says nothing of how sure that is
        return Interval(float(values.mean()), np.nan, np.nan, "nothing varies")
    return Interval(float(values.mean()), float(low), float(high), METHOD)


def _draws(rows: int, groups: Sequence[Hashable] | None) -> Iterator[Floats]:
    """How often each row is drawn, (resamples, rows) in parts: with replacement, a row as often as its group."""
    generator = np.random.default_rng(0)
    numbers: dict[Hashable, int] = {}
    members = np.array([numbers.setdefault(key, len(numbers)) for key in (range(rows) if groups is None else groups)])
    count = len(numbers)
    step = max(1, _CHUNK_CELLS // max(rows, 1))
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        picks = generator.integers(0, count, size=(size, count)) + np.arange(size)[:, None] * count
        counts = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count)
        yield counts[:, members].astype(np.float64)
