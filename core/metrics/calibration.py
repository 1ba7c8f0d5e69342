"""Whether a probability of 0.8 comes true eight times in ten."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15


def expected_calibration_error(correct: Floats, confidence: Floats, weights: Floats) -> Floats:
    """Gap between confidence and hit rate, averaged over equal bins of confidence (ECE, Guo et al. 2017), 0 to 1.

    correct (rows,) 0 or 1, confidence (rows,) probabilities, weights (resamples, rows) -> (resamples,).
    The bins are (0, 1/15], (1/15, 2/15], … .
    """
    gaps = np.abs(weights @ (bin_members(confidence) * (correct - confidence)[:, None]))
    total = weights.sum(1)
    return cast(Floats, gaps.sum(1) / np.where(total > 0, total, np.nan))


def bin_members(confidence: Floats) -> Floats:
    """One-hot bin of every confidence, (rows, bins)."""
    places = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return np.eye(BINS)[places]


def reliability(correct: Floats, confidence: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean confidence, hit rate and number of rows of every bin that has rows: three arrays (filled bins,)."""
    members = bin_members(confidence)
    counts = members.sum(0)
    filled = counts > 0
    return (
        (confidence @ members)[filled] / counts[filled],
        (correct @ members)[filled] / counts[filled],
        counts[filled],
    )
