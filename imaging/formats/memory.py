"""Whether what a header claims fits in memory, before any is taken: a damaged one, or one made for harm, may claim
anything."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from graftwork.core.compute.host_memory import available_bytes
from graftwork.core.errors import UnreadableError
from graftwork.imaging.scan import times

BYTES = 4
"""Of a value once it is read: float32."""

BYTES_ANYWAY = 1 << 28
"""What a file of any size may claim."""

PACKED = 1032 * BYTES
"""How many times as large as its file an image may be beyond that: no stream of DEFLATE holds more (zlib's technical
notes), here of values of one byte."""


def check_room(shape: Sequence[int], path: str, kind: str = "voxels", *, whole: bool) -> None:
    """Raises UnreadableError for lengths below 1, and for more values than the free memory holds, or than the file
    can: whole says that all values lie in it, none in a file beside it."""
    if any(length < 1 for length in shape):
        raise UnreadableError(f"{path}: its header claims {times(shape)} {kind}: is it damaged?")
    needed, free = math.prod(shape) * BYTES, available_bytes()
    held = os.path.getsize(path) if whole else math.inf
    if needed > max(BYTES_ANYWAY, PACKED * held):
        raise UnreadableError(f"{path}: its header claims {times(shape)} {kind}, more than {held:,} bytes can hold: "
                              "is it damaged?")  # fmt: skip
    if needed > free:
        raise UnreadableError(f"{path}: its header claims {times(shape)} {kind}, {needed / 1e9:.0f} GB, and "
                              f"{free / 1e9:.0f} GB of memory are free: is it damaged? If not, cut it up or make it "
                              "smaller")  # fmt: skip
