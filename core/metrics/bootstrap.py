"""Intervals by resampling: which rows are drawn how often. Where rows come in groups, whole groups are drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metrics = Callable[[Floats], dict[str, Floats]]
"""Weights (resamples, rows) -> for every metric its values (resamples,)."""

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK_CELLS = 2_000_000
"""Resamples are worked off in chunks of about this many counts, so that memory stays near 100 MB."""


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval; all NaN where the rows do not define the metric, the ends alone where one
    row or group leaves nothing to resample."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        if np.isnan(self.low):
            return f"{self.value:.3f} (no interval)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def draws(rows: int, groups: Sequence[Hashable] | None, resamples: int, seed: int, chunk: int) -> Iterator[Floats]:
    """Counts (up to `chunk`, rows), `resamples` rows in all: how often each row is drawn, with replacement.

    With groups, as many groups are drawn as there are, and a row counts as often as its group.
    """
    generator = np.random.default_rng(seed)
    if groups is None:
        members, count = np.arange(rows), rows
    else:
        numbers: dict[Hashable, int] = {}
        members = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
        count = len(numbers)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        picks = generator.integers(0, count, size=(size, count)) + np.arange(size)[:, None] * count
        counts = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count)
        yield counts[:, members].astype(np.float64)


def bootstrap(
    metrics: Metrics,
    rows: int,
    groups: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every metric's value with its percentile interval (Efron and Tibshirani 1993).

    Resamples in which a metric is undefined (a class was not drawn) are left out of that metric's interval. One row, or
    one group, has no interval: every resample would be the same.
    """
    values = {name: float(value[0]) for name, value in metrics(np.ones((1, rows))).items()}
    if (rows if groups is None else len(set(groups))) < 2:
        return {name: Interval(value, float("nan"), float("nan")) for name, value in values.items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in values}
    for weights in draws(rows, groups, resamples, seed, max(1, _CHUNK_CELLS // max(rows, 1))):
        for name, value in metrics(weights).items():
            drawn[name].append(value)
    tail = (1 - level) / 2
    return {name: _interval(value, np.concatenate(drawn[name]), tail) for name, value in values.items()}


def _interval(value: float, resampled: Floats, tail: float) -> Interval:
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not len(defined):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
