"""NIfTI files as scans, turned to one orientation."""

from __future__ import annotations

import gzip
import math
import os
import struct
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.companions import companions
from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.memory import check_room
from graftwork.imaging.formats.orientation import plane_of, turned
from graftwork.imaging.scan import PAIRS, Scan

_BLOCK_BYTES = 1 << 20

MOST_BEHIND_BYTES = 1 << 26
"""Bytes that may lie before and behind the voxels: a small file can unpack to any number of them."""

SMALLEST_MM3 = 1e-12
"""Smaller voxels than 0.1 micrometres along each side are a damaged header."""

UNITS_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Of NIfTI's codes for metres, millimetres and micrometres."""


def read_nifti(path: str) -> Scan:
    """A .nii or .nii.gz file, or a pair of .hdr and .img, as (channels, depth, height, width), or (channels, height,
    width) if it has two axes.

    Where the header gives an orientation, voxels are put in RAS order: width runs to the patient's right,
    height to anterior, depth to superior; a file of two axes is turned as `plane_of` says. Where it gives none (both
    codes are 0) they stay as stored, and `affine` is None. A fourth axis, or a fifth behind a time axis of one, becomes
    the channels. One slice along any axis is still a volume here; the contract decides whether it may count as 2D. The
    header's slope, intercept and unit of length are applied. Raises UnreadableError for a damaged file or other numbers
    of axes.
    """
    import nibabel

    with decoding(path, "cannot be read as NIfTI"):
        _check_offset(_header_file(path))
        image = nibabel.load(path)
        check_room([int(length) for length in image.shape], path, whole=not path.lower().endswith(PAIRS))
        length = int(image.dataobj.offset) + math.prod(image.shape) * image.header["bitpix"].item() // 8
        if path.lower().endswith(".gz"):
            image = _whole(image, path, length)
        elif length > (held := os.path.getsize(image.file_map["image"].filename)):
            raise UnreadableError(f"{path}: cannot be read as NIfTI: its header claims {length} bytes, and it has "
                                  f"{held}: is it cut short?")  # fmt: skip
        unit_mm = _unit_mm(image.header)
        affine = _affine_mm(image, unit_mm, path) if has_orientation(image.header) else None
        zooms = tuple(float(zoom) * unit_mm for zoom in image.header.get_zooms()[: min(image.ndim, 3)])
        values = _stored_values(image)
    scan = Scan(_channels_first(values, path), path)
    if affine is not None:
        # The orientation says how large voxels are, too; the header's own lengths may contradict it.
        return turned(scan, affine) if values.ndim > 2 else plane_of(turned(Scan(scan.values[:, None], path), affine))
    known = all(np.isfinite(zoom) and zoom > 0 for zoom in zooms)
    return replace(scan, values=np.ascontiguousarray(scan.values), spacing_mm=tuple(reversed(zooms)) if known else None)


def _header_file(path: str) -> str:
    """The file with the header, which of a pair may not be the one that is named. Raises UnreadableError for half a
    pair."""
    if not path.lower().endswith(PAIRS):
        return path
    other = companions(path)
    if not other:
        raise UnreadableError(f"{path}: is half of a pair of .hdr and .img, and the other half is not beside it")
    return path if path.lower().endswith(PAIRS[0]) else other[0]


def _unit_mm(header: Any) -> float:
    """Millimetres in the header's unit of length; 1 where it names none, as Analyze headers."""
    return UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0) if "xyzt_units" in header else 1.0


def _affine_mm(image: Any, unit_mm: float, path: str) -> NDArray[np.float64]:
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= unit_mm
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > SMALLEST_MM3):
        raise UnreadableError(f"{path}: its orientation (sform or qform) is not one: voxels have no volume, or numbers "
                              "are not finite; correct the header, or set both codes to 0")  # fmt: skip
    return affine


def _check_offset(path: str) -> None:
    """Raises UnreadableError where the header puts the voxels far behind itself: nibabel reads all that is between."""
    compressed = path.lower().endswith(".gz")
    with gzip.open(path) if compressed else open(path, "rb") as stream:
        header = stream.read(176)
    for order in "<>":
        if header[:4] == struct.pack(f"{order}i", 348):
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
        elif header[:4] == struct.pack(f"{order}i", 540):
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
        else:
            continue
        if not -1 < offset < MOST_BEHIND_BYTES:
            raise UnreadableError(f"{path}: its header puts the image {offset:.3g} bytes behind the beginning: is it "
                                  "damaged?")  # fmt: skip


def _whole(image: Any, path: str, length: int) -> Any:
    """The compressed file as an image in memory, of `length` bytes with its header, read to its end: only there is the
    checksum that finds damage."""
    with gzip.open(path) as stream:
        content = stream.read(length)
        behind = 0
        while block := stream.read(_BLOCK_BYTES):
            behind += len(block)
            if behind > MOST_BEHIND_BYTES:
                raise UnreadableError(
                    f"{path}: unpacks to far more than the image that its header claims: is it damaged?"
                )
    return type(image).from_bytes(content)


def has_orientation(header: Any) -> bool:
    """nibabel makes up an affine where both codes are 0 ("unknown"); Analyze headers have no codes at all."""
    return any(int(header[code]) > 0 for code in ("sform_code", "qform_code") if code in header)


def _stored_values(image: Any) -> NDArray[np.float32]:
    if image.get_data_dtype().kind == "c":
        raise ValueError("it holds complex numbers; save their magnitude")
    fields = image.get_data_dtype().names
    if fields is None:
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
    stored = np.asarray(image.dataobj)
    return np.stack([stored[field].astype(np.float32) for field in fields], axis=-1)


def _channels_first(values: NDArray[np.float32], path: str) -> NDArray[np.float32]:
    """From NIfTI's (x, y, z, …) to (channels, depth, height, width)."""
    if values.ndim == 5 and values.shape[3] == 1:
        values = values[:, :, :, 0]
    if values.ndim in (2, 3):
        values = values.T[None]
    elif values.ndim == 4:
        values = values.T
    else:
        raise UnreadableError(f"{path}: has shape {values.shape}; two, three or four axes are expected")
    return values
