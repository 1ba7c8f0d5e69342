"""DICOM segmentations (SEG) as volumes of labels: the number of the segment at every voxel, 0 where there is none.

A file holds frames of single segments, and may leave out those in which a segment does not occur.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.dicom.geometry import frame_plane
from graftwork.imaging.formats.dicom.header import frame_group, hint, number, slice_distance_mm
from graftwork.imaging.formats.dicom.slice_geometry import ALIGNED, SAME_MM, UNEVEN, Plane
from graftwork.imaging.formats.memory import check_room
from graftwork.imaging.formats.orientation import turned
from graftwork.imaging.scan import Scan


def read_segments(scan: Scan, dataset: Any) -> Scan:
    """(1, depth, height, width) in RAS order, from the first slice that the file holds to the last; slices in between
    that it leaves out are 0.

    scan: its frames (1, frames, height, width), or one. Raises UnreadableError for frames that do not say where they
    lie, or not on one grid, for fractions of a segment, and for segments that overlap.
    """
    path = scan.path
    frames = scan.values[0] if scan.values.ndim == 4 else scan.values
    planes = []
    for frame in range(len(frames)):
        plane = frame_plane(dataset, frame, path)
        if plane is None:
            raise UnreadableError(f"{path}: frame {frame + 1} does not say where it lies; a segmentation without a "
                                  "place is no mask")  # fmt: skip
        planes.append(plane)
    places, affine = _grid(planes, dataset, path)
    check_room((max(places) + 1, *frames.shape[1:]), path, whole=False)
    labels = np.zeros((1, max(places) + 1, *frames.shape[1:]), dtype=np.float32)
    for frame, place in enumerate(places):
        own = _labels(dataset, frames[frame], frame, path)
        there, found = own > 0, labels[0, place]
        if (found[there] != 0).any():
            raise UnreadableError(f"{path}: two of its segments share pixels, and a mask has one class for every one; "
                                  "save the segments in files of their own")  # fmt: skip
        found[there] = own[there]
    # Frames lie in no order of their own: every segment begins anew.
    return replace(turned(Scan(labels, path, sparse=True), affine), stored=None)


def _labels(dataset: Any, frame: NDArray[np.float32], place: int, path: str) -> NDArray[np.float32]:
    """(height, width) the segment's number where the frame marks it."""
    kind = str(dataset.get("SegmentationType", ""))
    if kind == "LABELMAP":
        return frame
    full = (number(dataset, "MaximumFractionalValue", path) or 255.0) if kind == "FRACTIONAL" else 1.0
    if not np.isin(frame, (0, full)).all():
        raise UnreadableError(f"{path}: holds fractions (SegmentationType {kind or 'missing'}), and a mask says of "
                              "every voxel whether it belongs to a class; save it as BINARY")  # fmt: skip
    about = frame_group(dataset, place, "SegmentIdentificationSequence")
    segment = None if about is None else number(about, "ReferencedSegmentNumber", path)
    if segment is None and len(dataset.get("SegmentSequence") or ()) > 1:
        raise UnreadableError(f"{path}: frame {place + 1} does not say which segment it shows")
    return np.where(frame > 0, np.float32(segment or 1), np.float32(0))


def _grid(planes: list[Plane], dataset: Any, path: str) -> tuple[list[int], NDArray[np.float64]]:
    """The slice of every frame, counted from the first along their normal, and the affine (4, 4) of the volume."""
    first = planes[0]
    if not first.upright():
        raise UnreadableError(f"{path}: ImageOrientationPatient is not two unit vectors at right angles")
    for plane in planes[1:]:
        turned_by = max(np.abs(plane.across - first.across).max(), np.abs(plane.down - first.down).max())
        if turned_by > ALIGNED or not np.allclose(plane.spacing_mm, first.spacing_mm, rtol=1e-3):
            raise UnreadableError(f"{path}: its frames have different orientations or spacings")
    normal = np.cross(first.across, first.down)
    along = np.array([plane.position @ normal for plane in planes])
    aside = np.array([plane.position - place * normal for plane, place in zip(planes, along, strict=True)])
    origin = int(along.argmin())
    gaps = np.diff(np.unique(np.round(along / SAME_MM))) * SAME_MM
    measures = frame_group(dataset, 0, "PixelMeasuresSequence") or dataset
    step = slice_distance_mm(measures, path)
    if len(gaps) and (step is None or gaps.min() < step * (1 - UNEVEN)):
        step = float(gaps.min())
    step = step or hint(measures, "SliceThickness", path) or 1.0
    steps = (along - along[origin]) / step
    if np.abs(steps - np.rint(steps)).max() > UNEVEN or np.abs(aside - aside[origin]).max() > UNEVEN * step:
        raise UnreadableError(f"{path}: its frames do not lie on one grid: their distances are no multiples of "
                              f"{step:.4g} mm, or they are shifted against each other")  # fmt: skip
    return np.rint(steps).astype(int).tolist(), planes[origin].affine(step * normal)
