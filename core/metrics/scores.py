"""Metrics of predictions: each a pure function of targets, scores and weights, for many weightings at once.

Every function takes `weights` of shape (resamples, rows), how often each row counts, and returns one value
per resample: (resamples,). A row of ones gives the plain metric, a row of bootstrap counts the metric of
that resample. Scores are probabilities in 0..1, never logits. A value that the rows do not define (the AUROC
of a single class) is NaN.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ranking(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision, from one sort; positive (rows,), scores (rows,).

    AUROC is the chance that a positive outranks a negative, ties counting half (Mann and Whitney 1947).
    Average precision is the precision at each threshold times the recall it adds. Both sum over the runs of
    equal scores that hold a positive, which is why the other rows are only counted.
    """
    order = np.argsort(scores, kind="stable")
    run = np.cumsum(np.append(0, np.diff(scores[order]) != 0))
    ranked = np.flatnonzero(positive[order])
    if not len(ranked):
        nothing = np.full(len(weights), np.nan)
        return nothing, nothing
    runs, first = np.unique(run[ranked], return_index=True)
    before = np.searchsorted(run, runs, side="left")
    after = np.searchsorted(run, runs, side="right")
    upto = np.cumsum(np.take(weights, order, axis=1), axis=1)
    below = np.where(before > 0, np.take(upto, np.maximum(before - 1, 0), axis=1), 0.0)
    tied = np.take(upto, after - 1, axis=1) - below
    wins = np.add.reduceat(np.take(weights, order[ranked], axis=1), first, axis=1)
    wins_below = np.cumsum(wins, axis=1) - wins
    positives, total = wins.sum(1), upto[:, -1]
    outranked = (below - wins_below) + (tied - wins) / 2
    called = total[:, None] - below
    precision = (positives[:, None] - wins_below) / np.where(called > 0, called, 1.0)
    return (
        _ratio((wins * outranked).sum(1), positives * (total - positives)),
        _ratio((wins * precision).sum(1), positives),
    )


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int, weights: Floats) -> Floats:
    """Confusion matrices (resamples, classes, classes): the true class along axis 1, the predicted along axis 2."""
    cells = np.eye(classes * classes)[truth * classes + guess]
    return cast(Floats, (weights @ cells).reshape(-1, classes, classes))


def accuracy(matrix: Floats) -> Floats:
    """Share of rows on the diagonal; matrix (resamples, classes, classes)."""
    return _ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum((1, 2)))


def balanced_accuracy(matrix: Floats) -> Floats:
    """Mean recall over the classes that occur."""
    correct, rows = np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(2)
    return _mean_where(_ratio(correct, rows))


def f1(matrix: Floats) -> Floats:
    """Mean over classes of the harmonic mean of precision and recall (macro F1); classes that neither occur nor
    are predicted are left out."""
    correct = np.diagonal(matrix, axis1=1, axis2=2)
    return _mean_where(_ratio(2 * correct, matrix.sum(1) + matrix.sum(2)))


def positive_f1(matrix: Floats) -> Floats:
    """F1 of the second class of matrices (resamples, 2, 2); NaN where it neither occurs nor is predicted."""
    return _ratio(2 * matrix[:, 1, 1], matrix[:, 1].sum(1) + matrix[:, :, 1].sum(1))


def quadratic_kappa(matrix: Floats) -> Floats:
    """Agreement beyond chance with squared distances of grades as weights (Cohen 1968), at most 1; 0 is chance.

    matrix (resamples, grades, grades), truth down, prediction across. NaN where truth and predictions are one and the
    same grade.
    """
    places = np.arange(matrix.shape[1])
    distance = (places[:, None] - places) ** 2.0
    total = matrix.sum((1, 2))
    by_chance = matrix.sum(2)[:, :, None] * matrix.sum(1)[:, None, :]
    return 1 - _ratio((matrix * distance).sum((1, 2)) * total, (by_chance * distance).sum((1, 2)))


def brier(truth: Floats, probabilities: Floats, weights: Floats) -> Floats:
    """Mean squared distance between the probabilities and the outcome, 0 to 2, summed over classes (Brier 1950).

    truth and probabilities (rows, classes), truth one-hot or 0/1 per label.
    """
    return _weighted_mean(((probabilities - truth) ** 2).sum(1), weights)


def mean_absolute_error(truth: Floats, guess: Floats, weights: Floats) -> Floats:
    """Mean of |guess - truth|, in the target's unit."""
    return _weighted_mean(np.abs(guess - truth), weights)


def root_mean_squared_error(truth: Floats, guess: Floats, weights: Floats) -> Floats:
    """Root of the mean squared error, in the target's unit."""
    return cast(Floats, np.sqrt(_weighted_mean((guess - truth) ** 2, weights)))


def r2(truth: Floats, guess: Floats, weights: Floats) -> Floats:
    """1 - squared error / variance: 1 is perfect, 0 is as good as the mean of these rows, below 0 is worse."""
    # About their plain mean, or numbers far from zero, such as years, would lose their variance to rounding.
    centred = truth - truth.mean()
    mean = _weighted_mean(centred, weights)
    around_mean = weights @ centred**2 - mean**2 * weights.sum(1)
    rounding = 1e-12 * (centred**2).sum() + 1e-28 * (truth**2).sum()
    return 1 - _ratio(weights @ (guess - truth) ** 2, np.where(around_mean > rounding, around_mean, 0))


def rate(errors: Floats, lengths: Floats, weights: Floats) -> Floats:
    """Errors of all rows (rows,) over the lengths of all rows (rows,); above 1 where there is more wrong than right."""
    return _ratio(weights @ errors, weights @ lengths)


def mean_defined(values: Floats, weights: Floats) -> Floats:
    """Mean of the values (rows,) that are not NaN."""
    defined = ~np.isnan(values)
    return _weighted_mean(values[defined], weights[:, defined])


def macro(values: list[Floats]) -> Floats:
    """Mean over classes of the values that are defined; values: one array (resamples,) a class."""
    return _mean_where(np.stack(values, axis=1))


def _ratio(above: Floats, below: Floats) -> Floats:
    return cast(Floats, np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan))


def _mean_where(values: Floats) -> Floats:
    """Mean along the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))


def _weighted_mean(values: Floats, weights: Floats) -> Floats:
    return _ratio(weights @ values, weights.sum(1))
