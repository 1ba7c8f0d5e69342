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
from graftwork.imaging.formats.dicom.geometry import frame_plane
from graftwork.imaging.formats.dicom.opening import read_dataset
from graftwork.imaging.formats.dicom.series import series_files
from graftwork.imaging.formats.orientation import in_stored_order
from graftwork.imaging.scan import Scan

NAME = "graftwork"

# What a class is, its label alone says: the codes are the broadest that there are.
CATEGORY = ("91723000", "SCT", "Anatomical Structure")
KIND = ("85756007", "SCT", "Tissue")


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
    if scan.affine is None or "FrameOfReferenceUID" not in headers[0]:
        raise ContractError(
            f"{example}: does not say where it lies, and a segmentation has a place; leave --format out"
        )
    if len(headers) == 1:
        return headers
    planes = [frame_plane(header, 0, file) for header, file in zip(headers, files, strict=True)]
    along = [float(plane.position @ np.cross(plane.across, plane.down)) for plane in planes if plane is not None]
    return [headers[place] for place in np.argsort(along, kind="stable")]
