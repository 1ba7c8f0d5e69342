"""Rows of an .npz in MedMNIST's layout as scans: `{train,val,test}_images` beside `…_labels`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.content import check_array
from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.core.example import ArchiveRow
from graftwork.imaging.formats.pixels import BYTE, WORD
from graftwork.imaging.scan import Scan

FULL_RANGES = {"uint8": BYTE, "uint16": WORD, "bool": (0.0, 1.0)}


def read_npz_row(example: ArchiveRow) -> Scan:
    """Row 17 of `train_images` for row 17 of the part `train`.

    Images may be (count, height, width), (count, height, width, 3) red, green, blue, (count, height, width, 1)
    or, as volumes, (count, depth, height, width). Raises UnreadableError where the file, the array or the
    row does not exist.
    """
    path = str(example)
    place = Path(example.archive)
    if not place.is_file():
        raise UnreadableError(f"{path}: no such file: {example.archive}")
    status = place.stat()
    name = f"{example.part}_images"
    images = _images(example.archive, name, status.st_mtime_ns, status.st_size)
    if example.row >= len(images):
        raise UnreadableError(f"{path}: row {example.row} of {name}, which has rows 0 to {len(images) - 1}")
    image = images[example.row]
    rgb = image.ndim == 3 and image.shape[-1] == 3
    if image.ndim == 3 and image.shape[-1] in (1, 3):
        values = image.transpose(2, 0, 1)
    elif image.ndim in (2, 3):
        values = image[None]
    else:
        raise UnreadableError(
            f"{path}: {name} has shape {images.shape}; expected (count, height, width), with 3 at the end "
            "for colour, or (count, depth, height, width)"
        )
    return Scan(values.astype(np.float32), path, full_range=FULL_RANGES.get(image.dtype.name), rgb=rgb)


# Reading an array decompresses all its rows; four covers the splits that one run goes through. The time and size
# are part of the key so that a file written anew is read anew.
@functools.lru_cache(maxsize=4)
def _images(file: str, name: str, changed_ns: int, size: int) -> NDArray[Any]:
    with decoding(file, "cannot be read as an .npz file"):
        check_array(file, name)
        with np.load(file, allow_pickle=False) as arrays:
            if name not in arrays:
                raise UnreadableError(f"{file}: has no array {name!r}; it has {', '.join(arrays) or 'none'}")
            images: NDArray[Any] = arrays[name]
    if images.dtype.kind not in "buif" or images.ndim < 3:
        raise UnreadableError(f"{file}: {name} has type {images.dtype} and shape {images.shape}; images are expected")
    return images
