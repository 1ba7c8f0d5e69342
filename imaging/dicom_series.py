"""A folder of DICOM files as a volume: one series, its slices in the order of their positions.

A folder is named as it is, or as FOLDER#series=UID where it holds several series.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.content import split_series
from graftwork.core.errors import UnreadableError
from graftwork.imaging.dicom import read_dicom
from graftwork.imaging.nifti import turned
from graftwork.imaging.scan import Scan
from graftwork.imaging.slice_geometry import Plane, stack

ASKED = ("SeriesInstanceUID", "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient",
         "PixelSpacing")  # fmt: skip


def list_series(folder: str) -> dict[str, list[str]]:
    """The DICOM images directly in a folder, by the SeriesInstanceUID that each has.

    Other files are passed over. Raises UnreadableError for a DICOM file that is damaged, or belongs to no series.
    """
    found: dict[str, list[str]] = {}
    for path, header in _headers(folder):
        uid = str(header.get("SeriesInstanceUID", ""))
        if not uid:
            raise UnreadableError(f"{path}: has no SeriesInstanceUID; which volume it belongs to is not known")
        found.setdefault(uid, []).append(path)
    return found


def read_series(path: str) -> Scan:
    """The volume of a folder, (channels, depth, height, width) in RAS order as NIfTI is read.

    path: the folder, or FOLDER#series=UID. Values are in the file's own units (Hounsfield units for CT); spacing and
    affine come from positions and orientations alone. Raises UnreadableError for a folder without DICOM images or with
    several series, and where slices lack a position, are missing, doubled, unevenly apart or of different size.
    """
    folder, uid = split_series(path)
    series = list_series(folder)
    if not series:
        raise UnreadableError(f"{path}: is a folder without DICOM images: name the files in it, "
                              f"`predict` takes a pattern such as '{folder}/*'")  # fmt: skip
    listed = ", ".join(f"{folder}#series={one} ({len(files)} files)" for one, files in series.items())
    if uid is None and len(series) > 1:
        raise UnreadableError(f"{path}: holds {len(series)} series; name one of {listed}")
    if uid is not None and uid not in series:
        raise UnreadableError(f"{path}: there is no such series; there are {listed}")
    files = series[uid or next(iter(series))]
    if len(files) == 1:
        return read_dicom(files[0])
    headers = dict(_headers(folder))
    order, affine = stack([_plane(file, headers[file]) for file in files], path)
    first = headers[files[0]]
    for file in files:
        size = (headers[file].get("Rows"), headers[file].get("Columns"))
        if size != (first.get("Rows"), first.get("Columns")):
            raise UnreadableError(f"{file}: has {size[0]} x {size[1]} pixels, and {files[0]} {first.get('Rows')} x "
                                  f"{first.get('Columns')}")  # fmt: skip
    slices = [read_dicom(files[place]) for place in order]
    if len({one.channels for one in slices}) > 1:
        raise UnreadableError(f"{path}: some of its slices are in colour and some in grey")
    values: NDArray[np.float32] = np.stack([one.values for one in slices], axis=1)
    return turned(Scan(values, path, rgb=slices[0].rgb, full_range=slices[0].full_range), affine)


def _headers(folder: str) -> list[tuple[str, Any]]:
    """Every DICOM image directly in the folder, by name, with the elements that place it; nothing else is read."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    found, without = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_file() or entry.name.startswith(".") or entry.stat().st_size == 0:
            continue
        try:
            header = pydicom.dcmread(entry.path, stop_before_pixels=True, specific_tags=list(ASKED))
        except InvalidDicomError:
            if Path(entry.path).suffix.lower() in (".dcm", ".dicom"):
                raise UnreadableError(f"{entry.path}: is not a DICOM file: the mark DICM is missing") from None
            continue
        except (OSError, EOFError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
            raise UnreadableError(f"{entry.path}: cannot be read as DICOM: {error}") from error
        if "Rows" in header:
            found.append((entry.path, header))
        else:
            without.append((entry.path, _kind(header)))
    # Reports and the like lie beside images and are passed over; an image that ends before its size is a lost slice.
    images = {_kind(header) for _, header in found}
    for path, kind in without:
        if kind and kind in images:
            raise UnreadableError(f"{path}: is of the kind of the images beside it, but ends before its own: is it cut "
                                  "short?")  # fmt: skip
    return found


def _kind(header: Any) -> str:
    """The storage class, from the part of the file that is written first."""
    return str(header.file_meta.get("MediaStorageSOPClassUID", ""))


def _plane(file: str, header: Any) -> Plane:
    missing = [name for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
               if not header.get(name)]  # fmt: skip
    if missing:
        raise UnreadableError(f"{file}: does not say where it lies ({', '.join(missing)}); its series has no geometry")
    if int(header.get("NumberOfFrames", 1) or 1) > 1:
        raise UnreadableError(f"{file}: holds many frames, and other files of its series lie beside it; name the file")
    direction = _numbers(file, header, "ImageOrientationPatient", 6)
    rows, columns = _numbers(file, header, "PixelSpacing", 2).tolist()
    return Plane(_numbers(file, header, "ImagePositionPatient", 3), direction[:3], direction[3:], (rows, columns))


def _numbers(file: str, header: Any, name: str, count: int) -> NDArray[np.float64]:
    """The element as finite numbers. Raises UnreadableError that does not quote the header."""
    try:
        values = np.array(header.get(name), dtype=np.float64)
    except (ValueError, TypeError, AttributeError):
        values = np.empty(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise UnreadableError(f"{file}: {name} is not {count} finite numbers")
    return values
