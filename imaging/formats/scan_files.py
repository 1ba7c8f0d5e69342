"""From an example to a scan: which reader a file needs. Every format lives in a file of its own."""

from __future__ import annotations

from pathlib import Path

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.core.example import ArchiveRow, Channels, Example, File, Named, Series, as_example, refusal
from graftwork.imaging.formats.dicom.opening import is_dicom
from graftwork.imaging.scan import DICOM, FREESURFER, ITK, NIFTI, PAIRS, PICTURES, SUFFIXES, Scan, stacked


def read_scan(named: Named) -> Scan:
    """The scan in a file: PNG, JPEG, BMP, TIFF, NIfTI, Analyze, FreeSurfer's, MetaImage, NRRD, DICOM, or
    `FILE.npz#SPLIT/ROW` for a row of MedMNIST's layout.

    A folder, or `FOLDER#series=UID`, is the volume of a DICOM series. Several files with `|` between them, as
    `t1.nii.gz|t2.nii.gz`, are channels of one scan.

    The format follows the ending; a file with another ending, or with none as hospital exports often have,
    is read as DICOM if it carries the DICOM mark, or begins as a data set without it does. Raises UnreadableError where
    the file is missing, damaged
    or of another format, or where channels do not lie on each other, and MissingPackageError where a package is needed
    to decompress it.

    >>> scan = imaging.read_scan("scans/00.png")
    >>> scan.values.shape  # (channels, height, width)
    (1, 32, 32)
    """
    example = as_example(named)
    if isinstance(example, Channels):
        return stacked([read_scan(part) for part in example.parts], str(example))
    with decoding(str(example), "cannot be read"):
        return _read(example)


def _read(example: Example) -> Scan:
    match example:
        case ArchiveRow():
            from graftwork.imaging.formats.npz import read_npz_row

            return read_npz_row(example)
        case Series(folder, uid) if Path(folder).is_dir():
            from graftwork.imaging.formats.dicom.series import read_series

            return read_series(folder, uid)
        case File(path):
            return _read_file(path)
        case Series(folder, _):
            raise UnreadableError(f"{example}: no such folder: {folder}")
    raise UnreadableError(f"{example}: {refusal(example, (File, ArchiveRow, Series, Channels))}")


def _read_file(path: str) -> Scan:
    place = Path(path)
    if place.is_dir():
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
    if name.endswith((*NIFTI, *PAIRS)):
        from graftwork.imaging.formats.nifti import read_nifti

        return read_nifti(path)
    if name.endswith(FREESURFER):
        from graftwork.imaging.formats.freesurfer import read_freesurfer

        return read_freesurfer(path)
    if name.endswith(ITK):
        from graftwork.imaging.formats.itk import read_itk

        return read_itk(path)
    if name.endswith(DICOM) or is_dicom(place):
        from graftwork.imaging.formats.dicom.image import read_dicom

        return read_dicom(path)
    if name.endswith(".npz"):
        raise UnreadableError(f"{path}: an .npz holds many images; name one as {ArchiveRow(path, 'train', 0)}")
    raise UnreadableError(
        f"{path}: unknown format; readable are {', '.join(SUFFIXES)}, DICOM files of any name, and rows of an "
        ".npz as FILE.npz#SPLIT/ROW"
    )
