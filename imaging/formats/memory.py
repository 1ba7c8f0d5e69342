"""Whether what a header claims fits in memory, before any is taken: a damaged one, or one made for harm, may claim
anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

import psutil

from graftwork.core.errors import UnreadableError
from graftwork.imaging.scan import times

BYTES = 4
"""Of a value once it is read: float32."""


def check_room(shape: Sequence[int], path: str, kind: str = "voxels") -> None:
    """Raises UnreadableError for lengths below 1, and for more values than the free memory holds."""
    if any(length < 1 for length in shape):
        raise UnreadableError(f"{path}: its header claims {times(shape)} {kind}: is it damaged?")
    needed, free = math.prod(shape) * BYTES, psutil.virtual_memory().available
    if needed > free:
        raise UnreadableError(f"{path}: its header claims {times(shape)} {kind}, {needed / 1e9:.0f} GB, and "
                              f"{free / 1e9:.0f} GB of memory are free: is it damaged? If not, cut it up or make it "
                              "smaller")  # fmt: skip
