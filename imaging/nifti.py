"""NIfTI files as scans, turned to one orientation."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError
from graftwork.imaging.scan import Scan, times

_BLOCK_BYTES = 1 << 20

SMALLEST_MM3 = 1e-12
"""Smaller voxels than 0.1 micrometres along each side are a damaged header."""


def read_nifti(path: str) -> Scan:
    """A .nii or .nii.gz file as (channels, depth, height, width), or (channels, height, width) if it has two axes.

    Where the header gives an orientation, voxels are put in RAS order: width runs to the patient's right,
    height to anterior, depth to superior. Where it gives none (both codes are 0) they stay as stored, and
    `affine` is None. A fourth axis, or a fifth behind a time axis of one, becomes the channels. One slice along
    any axis is still a volume here; the contract decides whether it may count as 2D. The header's slope and
    intercept are applied. Raises UnreadableError for a damaged file or other numbers of axes.
    """
    import nibabel
    from nibabel.affines import voxel_sizes
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = nibabel.load(path)
        _check_size(image, path)
        if path.lower().endswith(".gz"):
            image = _whole(image, path)
        oriented = has_orientation(image.header)
        if oriented:
            _check_affine(image.affine, path)
        if oriented and image.ndim >= 3:
            image = nibabel.as_closest_canonical(image)
        values = _stored_values(image)
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        OverflowError,
        zlib.error,
        ImageFileError,
        HeaderDataError,
    ) as error:
        # nibabel raises each of these for files that are cut short or whose header makes no sense.
        raise UnreadableError(f"{path}: cannot be read as NIfTI: {error or type(error).__name__}") from error
    spatial = min(image.ndim, 3)
    # Where there is an orientation it says how large voxels are, too; the header's own lengths may contradict it.
    sizes = voxel_sizes(image.affine) if oriented else image.header.get_zooms()
    zooms = tuple(float(zoom) for zoom in sizes[:spatial])
    known = all(np.isfinite(zoom) and zoom > 0 for zoom in zooms)
    return Scan(
        _channels_first(values, path),
        path,
        spacing_mm=tuple(reversed(zooms)) if known else None,
        affine=np.asarray(image.affine, dtype=np.float64) if oriented else None,
    )


def turned(scan: Scan, affine: NDArray[np.float64]) -> Scan:
    """The volume in RAS order, as `read_nifti` gives one, with spacing and affine.

    affine: (4, 4), from the index (width, height, depth) of the given values to mm towards right, anterior, superior.
    """
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(affine)
    values = scan.values.T  # (width, height, depth, channels)
    own = affine @ inv_ornt_aff(orientation, values.shape[:3])
    spacing = tuple(float(length) for length in voxel_sizes(own))
    turned_values = np.ascontiguousarray(apply_orientation(values, orientation).T)
    return replace(scan, values=turned_values, spacing_mm=tuple(reversed(spacing)), affine=own)


def _check_size(image: Any, path: str) -> None:
    """Refuses what cannot fit in memory before any is taken: a damaged header may claim anything."""
    if any(int(length) < 1 for length in image.shape):
        raise UnreadableError(f"{path}: its header claims {times(image.shape)} voxels: is it damaged?")
    needed = math.prod(int(length) for length in image.shape) * 4
    free = psutil.virtual_memory().available
    if needed > free:
        raise UnreadableError(f"{path}: its header claims {times(image.shape)} voxels, {needed / 1e9:.0f} GB, and "
                              f"{free / 1e9:.0f} GB of memory are free: is it damaged?")  # fmt: skip


def _whole(image: Any, path: str) -> Any:
    """The compressed file as an image in memory, read to its end: only there is the checksum that finds damage."""
    with gzip.open(path) as stream:
        content = stream.read(int(image.dataobj.offset) + math.prod(image.shape) * image.header["bitpix"].item() // 8)
        while stream.read(_BLOCK_BYTES):
            pass
    return type(image).from_bytes(content)


def _check_affine(affine: NDArray[np.float64], path: str) -> None:
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > SMALLEST_MM3):
        raise UnreadableError(f"{path}: its orientation (sform or qform) is not one: voxels have no volume, or numbers "
                              "are not finite; correct the header, or set both codes to 0")  # fmt: skip


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
    return np.ascontiguousarray(values)
