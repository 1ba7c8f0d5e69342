"""Predicted masks as DICOM segmentations (SEG), in the geometry of the DICOM images that they are of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import ContractError, MissingPackageError
from graftwork.core.example import Example
from graftwork.core.versions import version_of
from graftwork.imaging.formats.dicom.geometry import frame_plane, say_once
from graftwork.imaging.formats.dicom.header import frame_group, hint
from graftwork.imaging.formats.dicom.opening import read_dataset
from graftwork.imaging.formats.dicom.series import series_files
from graftwork.imaging.formats.orientation import in_stored_order
from graftwork.imaging.scan import Scan

NAME = "graftwork"

# What a class is, its label alone says: the codes are the broadest that there are.
CATEGORY = ("91723000", "SCT", "Anatomical Structure")
KIND = ("85756007", "SCT", "Tissue")

MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                "AccessionNumber", "StudyID")  # fmt: skip
"""Elements that are there in every image, if only empty (type 2 of PS3.3); what takes names away takes them too."""

NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "FrameOfReferenceUID")
"""Elements that are there in every image and never empty (type 1)."""


def write_segmentation(
    temporary: Path, classes: NDArray[np.int64], labels: Sequence[str], scan: Scan, example: Example
) -> None:
    """Writes the class (*spatial) of every voxel of a scan that was read from DICOM files: class k is segment k, called
    by its label; the background, class 0, is no segment.

    Patient, study and frame of reference are those of the images, to which the file refers; slices without a segment
    are left out. Raises ContractError for a scan of anything else than DICOM images that say where they lie,
    MissingPackageError without highdicom.
    """
    try:
        from highdicom import UID, AlgorithmIdentificationSequence
        from highdicom.seg import Segmentation, SegmentDescription
        from pydicom.sr.codedict import codes
        from pydicom.sr.coding import Code
    except ImportError as error:
        raise MissingPackageError(
            f"{example}: DICOM segmentations need highdicom: pip install 'graftwork[dicom-seg]'"
        ) from error
    sources = _sources(scan, example)
    try:
        frames = np.ascontiguousarray(in_stored_order(classes, scan).T)
    except ValueError:
        raise ContractError(f"{example}: its frames lie in an order of their own; leave --format out") from None
    version = version_of(NAME)
    about = AlgorithmIdentificationSequence(name=NAME, family=codes.DCM.ArtificialIntelligence, version=version)
    segments = [
        SegmentDescription(number, label, Code(*CATEGORY), Code(*KIND), "AUTOMATIC", about)
        for number, label in enumerate(labels) if number
    ]  # fmt: skip
    with warnings.catch_warnings():
        # A mask without a segment is written with all its slices, which is what is wanted.
        warnings.filterwarnings("ignore", message="Encoding an empty segmentation")
        made = Segmentation(
            source_images=sources, pixel_array=frames.astype(np.uint16 if len(labels) > 256 else np.uint8),
            segmentation_type="BINARY", segment_descriptions=segments, series_instance_uid=UID(),
            series_number=int(sources[0].get("SeriesNumber") or 0) + 1000, sop_instance_uid=UID(), instance_number=1,
            manufacturer=NAME, manufacturer_model_name=NAME, software_versions=version, device_serial_number="0",
            series_description=f"{NAME}: predicted mask",
        )  # fmt: skip
    made.save_as(temporary)


def _sources(scan: Scan, example: Example) -> list[Any]:
    """The headers of the images, in the order of slices in which `scan.stored` counts them."""
    files = series_files(example)
    if not files:
        raise ContractError(f"{example}: --format dicom-seg is for DICOM images, whose patient and place it takes; "
                            "give a DICOM file or the folder of a series, or leave --format out")  # fmt: skip
    headers = [read_dataset(file, stop_before_pixels=True) for file in files]
    if scan.affine is None:
        raise ContractError(
            f"{example}: does not say where it lies, and a segmentation has a place; leave --format out"
        )
    lacking = sorted({name for header in headers for name in NEEDED if not header.get(name)})
    if lacking:
        raise ContractError(f"{example}: has no {', no '.join(lacking)}, to which a segmentation refers; correct the "
                            "headers, or leave --format out")  # fmt: skip
    for header in headers:
        _fill_up(header, scan, example)
    if len(headers) == 1:
        return headers
    planes = [frame_plane(header, 0, file) for header, file in zip(headers, files, strict=True)]
    along = [float(plane.position @ np.cross(plane.across, plane.down)) for plane in planes if plane is not None]
    return [headers[place] for place in np.argsort(along, kind="stable")]


def _fill_up(header: Any, scan: Scan, example: Example) -> None:
    """Puts empty elements where there must be some, and the distance of slices where no thickness is said."""
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    measures = frame_group(header, 0, "PixelMeasuresSequence") or header
    if hint(measures, "SliceThickness", str(example)) is None:
        stored = scan.affine if scan.stored is None else scan.stored
        measures.SliceThickness = float(np.linalg.norm(np.asarray(stored)[:3, 2]))
        say_once(f"{example}: does not say how thick its slices are: the segmentation has their distance, "
                 f"{measures.SliceThickness:.4g} mm")  # fmt: skip
