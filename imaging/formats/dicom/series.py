"""A folder of DICOM files as a volume: one series, its slices in the order of their positions.

A folder is named as it is, or with the UID of a series where it holds several.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.core.example import File, Named, Series, as_example
from graftwork.imaging.formats.dicom.geometry import frame_plane, say_once
from graftwork.imaging.formats.dicom.header import hint, number
from graftwork.imaging.formats.dicom.image import decode, read_dicom
from graftwork.imaging.formats.dicom.opening import is_dicom, read_dataset
from graftwork.imaging.formats.dicom.slice_geometry import Plane, stack
from graftwork.imaging.formats.dicom.values import padding_filled
from graftwork.imaging.formats.orientation import turned
from graftwork.imaging.scan import DICOM, Scan

ASKED = ("SeriesInstanceUID", "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient",
         "PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "InstanceNumber",
         "ImagesInAcquisition", "NumberOfSlices")  # fmt: skip


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


def read_series(folder: str, uid: str | None = None) -> Scan:
    """The volume of a folder, (channels, depth, height, width) in RAS order as NIfTI is read.

    uid: the SeriesInstanceUID of one of several series. Values are in the file's own units (Hounsfield units for CT);
    spacing and affine come from positions and orientations alone. Raises UnreadableError for a folder without DICOM
    images or with several series, and where slices lack a position, are missing, doubled, unevenly apart or of
    different size.
    """
    path = folder if uid is None else str(Series(folder, uid))
    series = list_series(folder)
    if not series:
        raise UnreadableError(f"{path}: is a folder without DICOM images: name the files in it, "
                              f"`predict` takes a pattern such as '{folder}/*'")  # fmt: skip
    listed = ", ".join(f"{Series(folder, one)} ({len(files)} files)" for one, files in series.items())
    if uid is None and len(series) > 1:
        raise UnreadableError(f"{path}: holds {len(series)} series; name one of {listed}")
    if uid is not None and uid not in series:
        raise UnreadableError(f"{path}: there is no such series; there are {listed}")
    files = series[uid or next(iter(series))]
    if len(files) == 1:
        return read_dicom(files[0])
    headers = dict(_headers(folder))
    order, affine = stack([_plane(file, headers[file]) for file in files], path)
    _say_what_lacks(path, [headers[file] for file in files])
    first = headers[files[0]]
    for file in files:
        size = (headers[file].get("Rows"), headers[file].get("Columns"))
        if size != (first.get("Rows"), first.get("Columns")):
            raise UnreadableError(f"{file}: has {size[0]} x {size[1]} pixels, and {files[0]} {first.get('Rows')} x "
                                  f"{first.get('Columns')}")  # fmt: skip
    # As the files hold them: the slices were compared with each other, and are turned together.
    slices = [decode(files[place])[0] for place in order]
    if len({one.channels for one in slices}) > 1:
        raise UnreadableError(f"{path}: some of its slices are in colour and some in grey")
    values = padding_filled(np.stack([one.values for one in slices], axis=1))
    return turned(Scan(values, path, rgb=slices[0].rgb, full_range=slices[0].full_range), affine)


def series_files(named: Named) -> list[str]:
    """The DICOM files of a series, or the file itself, in no order; none for what is no DICOM.

    Raises UnreadableError as `list_series` does, and for a folder of several series of which none is named.
    """
    example = as_example(named)
    if isinstance(example, Series) or (isinstance(example, File) and os.path.isdir(example.path)):
        folder, uid = (example.folder, example.uid) if isinstance(example, Series) else (example.path, None)
        series = list_series(folder)
        if uid is None and len(series) == 1:
            return next(iter(series.values()))
        if uid is None or uid not in series:
            raise UnreadableError(f"{example}: is not one series of DICOM files")
        return series[uid]
    if isinstance(example, File) and os.path.isfile(example.path) and is_dicom(Path(example.path)):
        return [example.path]
    return []


def first_header(named: Named, elements: Sequence[str]) -> Any | None:
    """These elements of the first DICOM file of a series, or of a DICOM file; None for what is no DICOM."""
    files = series_files(named)
    if not files:
        return None
    with decoding(files[0], "cannot be read as DICOM"):
        return read_dataset(files[0], stop_before_pixels=True, specific_tags=list(elements))


def _headers(folder: str) -> list[tuple[str, Any]]:
    """Every DICOM image directly in the folder, by name, with the elements that place it; nothing else is read."""
    found, without = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_file() or entry.name.startswith(".") or entry.stat().st_size == 0:
            continue
        with decoding(entry.path, "cannot be read as DICOM"):
            if Path(entry.path).suffix.lower() not in DICOM and not is_dicom(Path(entry.path)):
                continue
            header = read_dataset(entry.path, stop_before_pixels=True, specific_tags=list(ASKED))
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
    if (number(header, "NumberOfFrames", file) or 1) > 1:
        raise UnreadableError(f"{file}: holds many frames, and other files of its series lie beside it; name the file")
    plane = frame_plane(header, 0, file)
    if plane is None:
        missing = [name for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
                   if not header.get(name)]  # fmt: skip
        raise UnreadableError(f"{file}: does not say where it lies ({', '.join(missing)}); its series has no geometry")
    return plane


def _say_what_lacks(path: str, headers: Sequence[Any]) -> None:
    """Warns where a series holds fewer slices than it says, or its numbers begin late: positions cannot tell that one
    is missing at an end."""
    for name in ("NumberOfSlices", "ImagesInAcquisition"):
        said = {hint(header, name, path) for header in headers}
        most = said.pop() if len(said) == 1 else None
        if most is not None and most > len(headers):
            say_once(f"{path}: says that it has {most:.0f} slices ({name}), and {len(headers)} are here: the others "
                     "may be missing at an end")  # fmt: skip
            return
    counted = sorted(hint(header, "InstanceNumber", path) or 0 for header in headers)
    if counted[0] > 1 and counted[-1] - counted[0] + 1 == len(counted):
        say_once(f"{path}: its slices are numbered from {counted[0]:.0f} to {counted[-1]:.0f}: are the first missing?")
