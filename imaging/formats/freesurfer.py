"""FreeSurfer's volumes, .mgh and .mgz, as scans."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.memory import check_room
from graftwork.imaging.formats.orientation import turned
from graftwork.imaging.scan import Scan

FLAG_PLACE = 28
"""Where `goodRASFlag` stands; without it neither orientation nor lengths of voxels are there."""

MOST_BEHIND_BYTES = 1 << 26
"""Bytes of tags that may lie behind the voxels."""


def read_freesurfer(path: str) -> Scan:
    """An .mgh or .mgz file as (channels, depth, height, width) in RAS order; frames become the channels.

    Without the flag of a good orientation (`goodRASFlag`) voxels stay as stored, and neither spacing nor affine is
    known. Raises UnreadableError for a damaged file.
    """
    import nibabel

    with decoding(path, "cannot be read as MGH"):
        compressed = path.lower().endswith(".mgz")
        with gzip.open(path) if compressed else open(path, "rb") as stream:
            head = stream.read(nibabel.freesurfer.mghformat.MGHHeader.template_dtype.itemsize)
            header = nibabel.freesurfer.mghformat.MGHHeader(head[: nibabel.freesurfer.mghformat.DATA_OFFSET])
            shape = [int(length) for length in header.get_data_shape()]
            check_room(shape, path, whole=True)
            whole = math.prod(shape) * header.get_data_dtype().itemsize + nibabel.freesurfer.mghformat.DATA_OFFSET
            # Read to the end, where the checksum is that finds damage.
            content = head + stream.read(whole + MOST_BEHIND_BYTES - len(head))
            if stream.read(1):
                raise UnreadableError(f"{path}: holds far more than the image that its header claims: is it damaged?")
        if len(content) < whole:
            raise UnreadableError(f"{path}: cannot be read as MGH: its header claims {whole} bytes, and it has "
                                  f"{len(content)}: is it cut short?")  # fmt: skip
        image = nibabel.MGHImage.from_bytes(content)
        values = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged")).reshape(*shape[:3], -1)
    scan = Scan(np.ascontiguousarray(values.T), path)
    # nibabel's own header has a made-up orientation, and the flag, where the file has none.
    (placed,) = struct.unpack_from(">h", content, FLAG_PLACE)
    return turned(scan, np.array(image.affine, dtype=np.float64)) if placed > 0 else scan
