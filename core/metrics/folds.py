"""Metrics of cross-validation: what ranks rows is measured in each fold and averaged, everything else is pooled.

Outputs of different models have scales of their own, so that one ranking of them all is biased (Airola et al. 2011);
means over folds of what counts rows, as F1, are biased in small folds, pooled counts are not (Forman and Scholz 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics.intervals import Metrics
from graftwork.core.metrics.scales import RANKING, find_scale

Floats = NDArray[np.float64]

FoldMetrics = Sequence[tuple[NDArray[np.int64], Metrics]]
"""The rows of every fold, by number, and the metrics of these rows."""


def of_each_fold(folds: NDArray[np.int64], measure_of: Callable[[NDArray[np.int64]], Metrics]) -> FoldMetrics:
    """The metrics of every fold; folds (rows,), `measure_of` makes metrics of row numbers."""
    members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    return [(rows, measure_of(rows)) for rows in members]


def fold_values(parts: FoldMetrics) -> list[dict[str, float]]:
    """Every metric of each fold; NaN where its rows do not define it."""
    return [{name: float(value[0]) for name, value in measure(np.ones((1, len(rows)))).items()}
            for rows, measure in parts]  # fmt: skip


def averaged_names(values: Sequence[dict[str, float]]) -> frozenset[str]:
    """Metrics that rank rows and that some fold defines. values: of each fold, as `fold_values` gives them."""
    return frozenset(name for name in values[0] if find_scale(name) is RANKING
                     and not all(np.isnan(fold[name]) for fold in values))  # fmt: skip


def mean_of(repeats: Sequence[Metrics]) -> Metrics:
    """The mean of every metric over several predictions of the same rows."""
    if len(repeats) == 1:
        return repeats[0]

    def measure(weights: Floats) -> dict[str, Floats]:
        found = [own(weights) for own in repeats]
        return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}

    return measure


def cross_validated(pooled: Metrics, parts: FoldMetrics, *, strict: bool = True) -> Metrics:
    """The metrics of all rows, where those that rank rows are the mean over the folds whose rows define them; what no
    fold defines, as where each is one patient's, is measured on one ranking of all.

    A fold of which no row has a weight is left out of the mean. strict: one whose rows no longer define a metric makes
    the mean undefined, so that intervals do not rest on a single row; else it is left out, too.
    """
    defined = fold_values(parts)
    names = averaged_names(defined)

    def measure(weights: Floats) -> dict[str, Floats]:
        together = pooled(weights)
        found = [own(weights[:, rows]) for rows, own in parts]
        empty = np.stack([weights[:, rows].sum(1) == 0 for rows, _ in parts])
        for name in names:
            values = np.stack([one[name] for one in found])
            counted = ~empty & np.array([not np.isnan(one[name]) for one in defined])[:, None]
            if not strict:
                counted &= ~np.isnan(values)
            with np.errstate(invalid="ignore"):
                together[name] = np.where(counted, values, 0.0).sum(0) / counted.sum(0)
        return together

    return measure
