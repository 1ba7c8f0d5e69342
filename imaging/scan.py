"""A scan: the values of one file with what the file says about their geometry. The formats live in their own files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.content import channel_files, split_series
from graftwork.core.errors import UnreadableError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
SUFFIXES = (*PICTURES, *NIFTI, *DICOM)
"""File endings, lower case, that a folder of scans is searched for; rows of an .npz are named one by one instead."""


SAME_MM = 0.05
"""How far corners of two volumes may lie apart to count as one place: qforms are rounded, and written in float32."""


@dataclass(frozen=True)
class Scan:
    """One picture, slice or volume.

    values: float32, (channels, height, width) or (channels, depth, height, width), in the file's own units:
        grey levels, Hounsfield units where a CT file rescales to them, arbitrary units for MR.
    path: where it came from, as it was asked for.
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

    @property
    def channels(self) -> int:
        return int(self.values.shape[0])

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return tuple(int(length) for length in self.values.shape[1:])


def read_scan(path: str) -> Scan:
    """The scan in a file: PNG, JPEG, BMP, TIFF, NIfTI, DICOM, or `FILE.npz#SPLIT/ROW` for a row of MedMNIST's layout.

    A folder, or `FOLDER#series=UID`, is the volume of a DICOM series. Several files with `|` between them, as
    `t1.nii.gz|t2.nii.gz`, are channels of one scan.

    The format follows the ending; a file with another ending, or with none as hospital exports often have,
    is read as DICOM if it carries the DICOM mark. Raises UnreadableError where the file is missing, damaged
    or of another format, or where channels do not lie on each other, and MissingPackageError where a package is needed
    to decompress it.
    """
    files = channel_files(path)
    if len(files) > 1:
        return _stacked([read_scan(file) for file in files], path)
    from graftwork.core.data.decoding import decoding

    with decoding(path, "cannot be read"):
        return _read(path)


def _read(path: str) -> Scan:
    file, _, row = path.rpartition("#")
    if file.lower().endswith(".npz"):
        from graftwork.imaging.npz import read_npz_row

        return read_npz_row(file, row)
    place = Path(path)
    if Path(split_series(path)[0]).is_dir():
        from graftwork.imaging.dicom_series import read_series

        return read_series(path)
    if not place.is_file():
        raise UnreadableError(f"{path}: no such file")
    if place.stat().st_size == 0:
        raise UnreadableError(f"{path}: the file is empty")
    name = place.name.lower()
    if name.endswith(PICTURES):
        from graftwork.imaging.pixels import read_picture

        return read_picture(path)
    if name.endswith(NIFTI):
        from graftwork.imaging.nifti import read_nifti

        return read_nifti(path)
    if name.endswith(DICOM) or _has_dicom_mark(place):
        from graftwork.imaging.dicom import read_dicom

        return read_dicom(path)
    if name.endswith(".npz"):
        raise UnreadableError(f"{path}: an .npz holds many images; name one as {path}#train/0")
    raise UnreadableError(
        f"{path}: unknown format; readable are {', '.join(SUFFIXES)}, DICOM files of any name, and rows of an "
        ".npz as FILE.npz#SPLIT/ROW"
    )


def _stacked(scans: Sequence[Scan], path: str) -> Scan:
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
    return replace(first, values=values, path=path, full_range=known.pop() if len(known) == 1 else None, rgb=False)


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


def _has_dicom_mark(place: Path) -> bool:
    """Whether the four letters stand where part 10 of the DICOM standard puts them, after 128 free bytes."""
    with place.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
