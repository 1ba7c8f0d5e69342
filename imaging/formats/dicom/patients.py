"""Which patient a DICOM file belongs to, as a hash: whose PatientID it is, nothing that is kept says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.core.example import Channels, Example, File, Series
from graftwork.imaging.formats.dicom.opening import read_dataset
from graftwork.imaging.formats.dicom.series import list_series
from graftwork.imaging.scan import PICTURES, VOLUMES

LENGTH = 12
"""Hexadecimal digits of a hash that are kept: two of a million patients share them in one of 500 data sets."""


def patient_hashes(examples: Sequence[Example]) -> list[str | None]:
    """`patient-` and the beginning of the SHA-256 of each example's PatientID (DICOM PS3.3, C.7.1.1) without blanks at
    its ends; None for what is no DICOM, cannot be read or has none. Of several channels the first counts."""
    return [_patient_hash(example) for example in examples]


def _patient_hash(example: Example) -> str | None:
    match example:
        case Channels(parts):
            return _patient_hash(parts[0])
        case File(path) if path.lower().endswith((*PICTURES, *VOLUMES)):
            return None
        case File(path):
            return _hash_in(path, None)
        case Series(folder, uid):
            return _hash_in(folder, uid)
    return None


@lru_cache(maxsize=1 << 16)
def _hash_in(path: str, uid: str | None) -> str | None:
    try:
        if os.path.isdir(path):
            series = list_series(path)
            path = series[uid or next(iter(series))][0]
        with decoding(path, "cannot be read as DICOM"):
            header = read_dataset(path, stop_before_pixels=True, specific_tags=["PatientID"])
            patient = str(header.get("PatientID") or "").strip()
    except (UnreadableError, StopIteration, KeyError, OSError):
        return None  # reading the example says what is wrong with it
    return f"patient-{hashlib.sha256(patient.encode()).hexdigest()[:LENGTH]}" if patient else None
