"""A scan: the values of one file with what the file says about their geometry. Files are read elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
FREESURFER = (".mgz", ".mgh")
PAIRS = (".hdr", ".img")
"""Header and data of Analyze and of NIfTI in two files; either names both."""
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
VOLUMES = (*NIFTI, *FREESURFER, *PAIRS, *ITK)
"""Files of one volume each that are no DICOM."""
SUFFIXES = (*PICTURES, *NIFTI, *DICOM, *FREESURFER, ".hdr", *ITK)
"""File endings, lower case, that a folder of scans is searched for; rows of an .npz are named one by one instead."""


SAME_MM = 0.05
"""How far corners of two volumes may lie apart to count as one place: qforms are rounded, and written in float32."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One image, slice or volume, as its file holds it.

    values: float32, (channels, height, width) or (channels, depth, height, width), in the file's own units:
        grey levels, Hounsfield units where a CT file rescales to them, arbitrary units for MR.
    path: where it came from, as it was asked for; for people. first: of several files the first.
    spacing_mm: millimetres between neighbours along each spatial axis, in the order of `values`; None where
        the file does not say.
    affine: (4, 4), from the index (width, height, depth) of a voxel to millimetres towards right, anterior
        and superior, a slice being at depth 0; None where the file has none. Never invented.
    stored: the same for the order in which the file holds its voxels; None without `affine`, and where slices are
        stored in no order.
    sparse: whether the file may leave out slices that would be empty, at its ends too, as DICOM segmentations do.
    full_range: the lowest and highest value the file's type can hold, for 8- and 16-bit pictures; None for
        measurements, whose type says nothing about their range.
    rgb: whether the three channels are red, green and blue, rather than three measurements.
    """

    values: NDArray[np.float32]
    path: str
    spacing_mm: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    full_range: tuple[float, float] | None = None
    rgb: bool = False
    stored: NDArray[np.float64] | None = None
    sparse: bool = False
    first: str | None = None

    @property
    def file(self) -> str:
        """The file whose geometry it has: of several that are its channels the first."""
        return self.path if self.first is None else self.first

    @property
    def channels(self) -> int:
        return int(self.values.shape[0])

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return tuple(int(length) for length in self.values.shape[1:])


def stacked(scans: Sequence[Scan], path: str) -> Scan:
    """The scans as channels of one. Raises UnreadableError where one does not lie voxel by voxel on the first."""
    first = scans[0]
    for scan in scans[1:]:
        differs = None
        if scan.spatial_shape != first.spatial_shape:
            differs = f"{times(first.spatial_shape)} against {times(scan.spatial_shape)} voxels"
        elif (scan.affine is None) != (first.affine is None):
            without = first if first.affine is None else scan
            differs = f"{without.path} does not say where it lies"
        elif scan.affine is not None and first.affine is not None:
            apart = corners_apart_mm(scan, first)
            differs = f"they lie up to {apart:.3g} mm apart" if apart > SAME_MM else None
        if differs:
            raise UnreadableError(f"{first.path} and {scan.path}: channels of one scan need one grid of voxels, but "
                                  f"{differs}; resample one onto the other")  # fmt: skip
    known = {scan.full_range for scan in scans}
    values = np.concatenate([scan.values for scan in scans])
    return replace(first, values=values, path=path, first=first.file, rgb=False,
                   full_range=known.pop() if len(known) == 1 else None)  # fmt: skip


def corners_apart_mm(one: Scan, other: Scan) -> float:
    """Largest distance along an axis between the corners of two scans of one shape that say where they lie.

    Raises ValueError where one does not.
    """
    if one.affine is None or other.affine is None:
        raise ValueError(f"{one.path} or {other.path} does not say where it lies")
    return float(np.abs(_corners(one.affine, one) - _corners(other.affine, other)).max())


def _corners(affine: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
    """(8, 3): where the corner voxels of a volume lie, in mm; (4, 3) of a slice."""
    ends = [(0, length - 1) for length in reversed(scan.spatial_shape)]
    places = np.array(np.meshgrid(*ends, *[[0]] * (3 - len(ends)))).reshape(3, -1)
    corners: NDArray[np.float64] = (affine[:3, :3] @ places).T + affine[:3, 3]
    return corners


def times(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in shape)
