"""LogME: how well frozen features explain targets, by the evidence of a linear model, without training anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.tasks import Task, find_task

Floats = NDArray[np.float64]

RATIOS = np.linspace(-12.0, 6.0, 73)
"""Powers of ten, relative to the largest eigenvalue, between which the prior's share is searched first."""


def logme(features: NDArray[Any], targets: NDArray[Any], task: Task | str) -> float:
    """Largest log evidence per row of a Bayesian linear model; higher is better.

    features: (rows, dim). targets: (rows,) class indices, (rows, labels) 0 or 1, or (rows,) numbers. Of labels it is
    the mean over the classes that have rows (one-hot) or over the label columns that vary, each over the rows where it
    is not NaN; NaN where none does.

    With weights ~ N(0, I / alpha), no intercept, and noise ~ N(0, 1 / beta), targets are N(0, F F^T / alpha +
    I / beta); the log of that density, maximised over alpha and beta and divided by the number of rows, is LogME
    (You et al. 2021, arXiv:2102.11005, eq. 2). It depends on the unit of the targets: compare features, not targets.
    """
    columns = _columns(np.asarray(targets), find_task(task))
    if not columns.shape[1]:
        return float("nan")
    if np.isnan(columns).any():
        known = [~np.isnan(column) for column in columns.T]
        return float(np.mean([_per_row(np.asarray(features)[own], column[own, None])
                              for own, column in zip(known, columns.T, strict=True)]))  # fmt: skip
    return _per_row(features, columns)


def _per_row(features: NDArray[Any], columns: Floats) -> float:
    """Mean over the columns (rows, problems) of the log evidence, per row."""
    left, singular, _ = np.linalg.svd(np.asarray(features, dtype=np.float64), full_matrices=False)
    projected = (left.T @ columns) ** 2
    rest = np.maximum((columns**2).sum(0) - projected.sum(0), 0.0)
    rows = len(columns)
    found = [_evidence(singular**2, projected[:, k], float(rest[k]), rows) for k in range(columns.shape[1])]
    return float(np.mean(found)) / rows


def _columns(targets: NDArray[Any], task: Task) -> Floats:
    """One problem a column, (rows, problems)."""
    if task.one_class:
        targets = targets[:, None] == np.unique(targets)
        return np.asarray(targets, dtype=np.float64)
    columns: Floats = targets.reshape(len(targets), -1).astype(np.float64)
    some = columns[:, ~np.isnan(columns).all(0)]
    return some[:, np.nanmax(some, axis=0) > np.nanmin(some, axis=0)]


def _evidence(eigenvalues: Floats, projected: Floats, rest: float, rows: int) -> float:
    """Largest log evidence of one column.

    eigenvalues (rank,) of F F^T; projected (rank,) squared coordinates of the target on their eigenvectors; rest:
    squared length of what is outside them. For a given ratio alpha / beta the best 1 / beta is the mean of the
    squared coordinates over d = 1 + eigenvalue * beta / alpha, which leaves a search in one dimension.
    """
    from scipy.optimize import minimize_scalar

    largest = float(eigenvalues.max())
    if largest == 0:
        return _log_density(np.zeros(1), np.zeros(1), float(projected.sum()) + rest, rows)

    def lost(power: float) -> float:
        return -_log_density(eigenvalues / (largest * 10.0**power), projected, rest, rows)

    tried = [lost(float(power)) for power in RATIOS]
    best = int(np.argmin(tried))
    bounds = RATIOS[max(best - 1, 0)], RATIOS[min(best + 1, len(RATIOS) - 1)]
    refined = minimize_scalar(lost, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return -min(tried[best], float(refined.fun))


def _log_density(signal: Floats, projected: Floats, rest: float, rows: int) -> float:
    """Log density at the best noise; signal (rank,): variance of the signal over that of the noise."""
    noise = (float((projected / (1 + signal)).sum()) + rest) / rows
    noise = max(noise, float(np.finfo(np.float64).tiny))
    return -0.5 * (rows * (math.log(2 * math.pi * noise) + 1) + float(np.log1p(signal).sum()))
