"""What is in scans once they are decoded, as digests: the same pixels under other bytes are the same scan.

A PNG that was saved with another compression, a DICOM file that was exported twice and a NIfTI file with and without
gzip hold other bytes, and would be in training and test at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from graftwork.core.data.content import content_digests
from graftwork.core.data.reading_threads import in_threads
from graftwork.core.errors import MissingPackageError, UnreadableError
from graftwork.core.example import Example, ending
from graftwork.core.progress import progress
from graftwork.imaging.formats.orientation import plane_of
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.formats.thumbnails import Thumbnails, thumbnails


def decoded_digests(examples: Sequence[Example]) -> list[str]:
    """SHA-256 of the values and the shape of every scan, in the order given, whatever kind of file it lies in.

    A grey picture in three equal channels is one in one channel; a volume of one slice is a slice. What cannot be
    decoded has the digest of its bytes: reading it for training says why. Raises UnreadableError for the first file
    whose bytes cannot be read.
    """
    return [one.digest for one in decoded_scans(examples)]


@dataclass(frozen=True, eq=False)
class DecodedScan:
    """What is kept of a scan that was decoded once: `decoded_digests`' digest, and how it looks, None where it cannot
    be decoded."""

    digest: str
    thumbnails: Thumbnails | None


def decoded_scans(examples: Sequence[Example]) -> list[DecodedScan]:
    """Every scan in the order given. Raises UnreadableError as `decoded_digests` does."""
    contents = [_Content(example, digest) for example, digest in zip(examples, content_digests(examples), strict=True)]
    different = list(dict.fromkeys(contents))
    found: dict[_Content, DecodedScan] = {}
    content_of = {one.example: one for one in different}
    with progress("comparing scans", len(different)) as advance:
        for content, one in zip(
            different,
            in_threads(lambda example: _decoded(content_of[example]), [content.example for content in different]),
            strict=True,
        ):
            found[content] = one
            advance(1, "")
    return [found[content] for content in contents]


class _Content:
    """What bytes an example has and how they are to be read, wherever they lie: equal ones are decoded once."""

    __slots__ = ("example", "key")

    def __init__(self, example: Example, of_bytes: str) -> None:
        self.example = example
        self.key = (of_bytes, type(example), ending(str(example)))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.key == other.key


@lru_cache(maxsize=1 << 18)
def _decoded(content: _Content) -> DecodedScan:
    """Remembered by its bytes: folds ask for the same files again and again."""
    example, of_bytes = content.example, content.key[0]
    try:
        scan = read_scan(example)
    except (UnreadableError, MissingPackageError):
        return DecodedScan(of_bytes, None)
    if len(scan.spatial_shape) == 3 and 1 in scan.spatial_shape:
        scan = plane_of(scan)
    values = scan.values
    if len(values) == 3 and (values[1:] == values[0]).all():
        values = values[:1]
    total = hashlib.sha256(str(values.shape).encode())
    total.update(np.ascontiguousarray(values + np.float32(0)).data)  # -0 is 0
    return DecodedScan(total.hexdigest(), thumbnails(scan))
