"""Whether a probability of 0.8 comes true eight times in ten."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15


def expected_calibration_error(correct: Floats, confidence: Floats, weights: Floats) -> Floats:
    """Gap between confidence and hit rate, averaged over equal bins of confidence (ECE, Guo et al. 2017), 0 to 1, less
    what chance alone adds to it: few rows in a bin have a gap however well calibrated they are (Kumar et al. 2019).

    correct (rows,) 0 or 1, confidence (rows,) probabilities, weights (weightings, rows) -> (weightings,).
    The bins are (0, 1/15], (1/15, 2/15], … . A gap g that is normal about its true size with the deviation s of its
    hit rate is by E|N(g, s)| - |g| too large; hit rates count half a hit and half a miss more, so that none has s = 0.
    """
    from scipy.special import ndtr

    members = bin_members(confidence)
    rows, hits = weights @ members, weights @ (members * correct[:, None])
    filled = np.where(rows > 0, rows, 1.0)
    gaps = np.abs(weights @ (members * (correct - confidence)[:, None])) / filled
    rate = (hits + 0.5) / (rows + 1.0)
    deviation = np.sqrt(rate * (1 - rate) / filled)
    expected = deviation * np.sqrt(2 / np.pi) * np.exp(-((gaps / deviation) ** 2) / 2)
    expected += gaps * (1 - 2 * ndtr(-gaps / deviation))
    total = weights.sum(1)
    error = (rows * (2 * gaps - expected)).sum(1) / np.where(total > 0, total, np.nan)
    return cast(Floats, np.maximum(error, 0.0))


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
