"""Scans made small, to be compared with each other: grey, square, and of a few bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graftwork.imaging.scan import Scan

SIDE = 48
"""Pixels along each side: what tells two scans of a kind apart is still there, and what JPEG changes is not."""

Thumbnails = NDArray[np.uint8]


def thumbnails(scan: Scan) -> Thumbnails | None:
    """(planes, SIDE, SIDE), the least value 0 and the largest 255: a picture or slice itself, or a volume's middle
    slices across its three axes, stretched to a square. Channels are averaged. None where one is of one value only."""
    grey = np.nan_to_num(scan.values.mean(axis=0), posinf=0.0, neginf=0.0)
    if grey.ndim == 3 and 1 in grey.shape:
        grey = grey.squeeze(grey.shape.index(1))
    planes = [grey] if grey.ndim == 2 else [_middle(grey, axis) for axis in range(3)]
    small = [_resized(plane) for plane in planes]
    if any(np.ptp(plane) <= 1e-6 * np.abs(plane).max() for plane in small):
        return None
    return np.stack([np.round(255 * (plane - plane.min()) / np.ptp(plane)).astype(np.uint8) for plane in small])


def _middle(volume: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The middle slice, or the mean of the two: the same in a volume that was mirrored."""
    length = volume.shape[axis]
    found: NDArray[np.float32] = (volume.take((length - 1) // 2, axis) + volume.take(length // 2, axis)) / 2
    return found


def _resized(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = _shortened(plane.astype(np.float64))
    found: NDArray[np.float64] = _shortened(np.ascontiguousarray(rows.T)).T
    return found


def _shortened(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(length, width) as (SIDE, width): the mean over the rows that a new one covers, or between neighbours where there
    are fewer. Sums, not products of matrices: several threads do this side by side."""
    length = len(rows)
    if length < SIDE:
        places = np.clip((np.arange(SIDE) + 0.5) * length / SIDE - 0.5, 0, length - 1)
    else:
        rows = np.concatenate([np.zeros_like(rows[:1]), np.cumsum(rows, axis=0)])
        places = np.linspace(0, length, SIDE + 1)
    below = np.minimum(places.astype(np.int64), len(rows) - 2)
    share = (places - below)[:, None]
    between = (1 - share) * rows[below] + share * rows[below + 1]
    found: NDArray[np.float64] = between if length < SIDE else np.diff(between, axis=0) * (SIDE / length)
    return found
