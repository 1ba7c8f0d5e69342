"""DICOM files with the mark of part 10 of the standard and without it, as older archives write them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from graftwork.core.errors import UnreadableError

MARK, MARK_PLACE = b"DICM", 128
"""PS3.10, 7.1."""

FIRST_ELEMENTS = {(2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 5), (8, 6), (8, 8), (8, 0x12), (8, 0x14), (8, 0x16),
                  (8, 0x18)}  # fmt: skip
"""Group and element that a data set begins with."""

LONGEST_FIRST = 1 << 10
"""Bytes of a first element."""


def has_mark(place: Path) -> bool:
    """Whether the four letters stand where part 10 of the DICOM standard puts them, after 128 free bytes."""
    with place.open("rb") as stream:
        return stream.read(MARK_PLACE + len(MARK))[MARK_PLACE:] == MARK


def begins_without_mark(place: Path) -> bool:
    """Whether a file begins with an element that a data set without preamble and mark begins with."""
    with place.open("rb") as stream:
        head = stream.read(8)
    if len(head) < 8:
        return False
    group, element = struct.unpack("<HH", head[:4])
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    (length,) = struct.unpack("<H", head[6:8]) if explicit else struct.unpack("<I", head[4:8])
    return (group, element) in FIRST_ELEMENTS and length <= LONGEST_FIRST


def is_dicom(place: Path) -> bool:
    """Whether a file of any name is DICOM."""
    return has_mark(place) or begins_without_mark(place)


def read_dataset(path: str, **options: Any) -> Any:
    """What `pydicom.dcmread` gives, with these options; of a file without the mark too, if it begins like a data set.

    Raises UnreadableError for a file that is no DICOM.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(path, **options)
    except InvalidDicomError:
        if not begins_without_mark(Path(path)):
            raise UnreadableError(f"{path}: is not a DICOM file: the mark DICM is missing") from None
    dataset = pydicom.dcmread(path, force=True, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        if little and not _is_encapsulated(dataset):
            dataset.file_meta.TransferSyntaxUID = (
                pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
            )
    return dataset


def _is_encapsulated(dataset: Any) -> bool:
    """Whether pixels are compressed: how, nothing says then."""
    return "PixelData" in dataset and bool(dataset["PixelData"].is_undefined_length)
