"""From a path to a scan: which reader a file needs. Every format lives in a file of its own."""

from __future__ import annotations

import os
from pathlib import Path

from graftwork.core.data.content import channel_files, split_series
from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.imaging.scan import DICOM, NIFTI, PICTURES, SUFFIXES, Scan, stacked


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """The scan in a file: PNG, JPEG, BMP, TIFF, NIfTI, DICOM, or `FILE.npz#SPLIT/ROW` for a row of MedMNIST's layout.

    A folder, or `FOLDER#series=UID`, is the volume of a DICOM series. Several files with `|` between them, as
    `t1.nii.gz|t2.nii.gz`, are channels of one scan.

    The format follows the ending; a file with another ending, or with none as hospital exports often have,
    is read as DICOM if it carries the DICOM mark. Raises UnreadableError where the file is missing, damaged
    or of another format, or where channels do not lie on each other, and MissingPackageError where a package is needed
    to decompress it.
    """
    path = os.fspath(path)
    files = channel_files(path)
    if len(files) > 1:
        return stacked([read_scan(file) for file in files], path)
    with decoding(path, "cannot be read"):
        return _read(path)


def _read(path: str) -> Scan:
    file, _, row = path.rpartition("#")
    if file.lower().endswith(".npz"):
        from graftwork.imaging.formats.npz import read_npz_row

        return read_npz_row(file, row)
    place = Path(path)
    if Path(split_series(path)[0]).is_dir():
        from graftwork.imaging.formats.dicom.series import read_series

        return read_series(path)
    if not place.is_file():
        raise UnreadableError(f"{path}: no such file")
    if place.stat().st_size == 0:
        raise UnreadableError(f"{path}: the file is empty")
    name = place.name.lower()
    if name.endswith(PICTURES):
        from graftwork.imaging.formats.pixels import read_picture

        return read_picture(path)
    if name.endswith(NIFTI):
        from graftwork.imaging.formats.nifti import read_nifti

        return read_nifti(path)
    if name.endswith(DICOM) or _has_dicom_mark(place):
        from graftwork.imaging.formats.dicom.image import read_dicom

        return read_dicom(path)
    if name.endswith(".npz"):
        raise UnreadableError(f"{path}: an .npz holds many images; name one as {path}#train/0")
    raise UnreadableError(
        f"{path}: unknown format; readable are {', '.join(SUFFIXES)}, DICOM files of any name, and rows of an "
        ".npz as FILE.npz#SPLIT/ROW"
    )


def _has_dicom_mark(place: Path) -> bool:
    """Whether the four letters stand where part 10 of the DICOM standard puts them, after 128 free bytes."""
    with place.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
