"""Where the slices of one DICOM file lie: of a single image, and of the frames of an enhanced one."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.dicom.header import (
    frame_group,
    hint,
    number,
    numbers,
    pixel_spacing_mm,
    slice_distance_mm,
)
from graftwork.imaging.formats.dicom.slice_geometry import Plane, stack
from graftwork.imaging.formats.orientation import plane_of, turned, volume_of
from graftwork.imaging.scan import Scan

log = logging.getLogger(__name__)


def placed_slice(scan: Scan, header: Any) -> Scan:
    """A single image (channels, height, width), as the file holds it, turned as `plane_of` says where the header says
    how it lies. Raises UnreadableError for geometry that is no numbers."""
    measures = frame_group(header, 0, "PixelMeasuresSequence") or header
    scan = replace(scan, spacing_mm=pixel_spacing_mm(measures, scan.path))
    plane = frame_plane(header, 0, scan.path)
    if plane is None:
        return scan
    if not plane.upright():
        say_once(f"{scan.path}: ImageOrientationPatient is no orientation: the slice is read as it is stored")
        return scan
    thickness = hint(measures, "SliceThickness", scan.path)
    affine = plane.affine(np.cross(plane.across, plane.down) * (thickness if thickness and thickness > 0 else 1.0))
    # Through RAS and back the slice is turned as those of every other kind of file.
    return plane_of(volume_of(replace(scan, affine=affine)))


def placed_frames(scan: Scan, header: Any) -> Scan:
    """Many frames (channels, depth, height, width), in the order of the file, as a volume in RAS order.

    Frames that say where they lie are put in the order of their positions, as the files of a series are; those that do
    not, as of a film, stay as they are, with a spacing where the header has one. Raises UnreadableError where `stack`
    does, where only some frames say where they lie, and for tiles of a slide and parts of a longer file.
    """
    path, count = scan.path, scan.spatial_shape[0]
    if (number(header, "InConcatenationTotalNumber", path) or 1) > 1:
        raise UnreadableError(f"{path}: is one of several files that hold one volume (a concatenation): join them")
    if "TotalPixelMatrixRows" in header:
        raise UnreadableError(f"{path}: its {count} frames are tiles of one slide, not slices of a volume; save the "
                              "slide as a picture")  # fmt: skip
    planes = _planes(header, count, path)
    if planes is None:
        measures = frame_group(header, 0, "PixelMeasuresSequence") or header
        within, between = pixel_spacing_mm(measures, path), slice_distance_mm(measures, path)
        known = within is not None and between is not None
        return replace(scan, spacing_mm=(between, *within) if known else None)  # type: ignore[misc, arg-type]
    order, affine = stack(planes, path)
    steps = np.diff(order)
    found = turned(replace(scan, values=scan.values[:, order]), affine)
    if (steps == -1).all():  # the file goes through the volume from the other end
        stored = affine.copy()
        stored[:3, 2] = -affine[:3, 2]
        stored[:3, 3] = affine[:3, 3] + affine[:3, 2] * (count - 1)
        return replace(found, stored=stored)
    return found if (steps == 1).all() else replace(found, stored=None)


def frame_plane(header: Any, frame: int, path: str) -> Plane | None:
    """Where a frame lies, by its functional groups or by the header itself; None where neither says all of it.

    Raises UnreadableError for positions, orientations and spacings that are no numbers."""
    position = numbers(frame_group(header, frame, "PlanePositionSequence") or header, "ImagePositionPatient", 3, path)
    direction = numbers(
        frame_group(header, frame, "PlaneOrientationSequence") or header, "ImageOrientationPatient", 6, path
    )
    spacing = pixel_spacing_mm(frame_group(header, frame, "PixelMeasuresSequence") or header, path)
    if position is None or direction is None or spacing is None:
        return None
    return Plane(np.array(position), np.array(direction[:3]), np.array(direction[3:]), spacing)


def _planes(header: Any, count: int, path: str) -> list[Plane] | None:
    """Of every frame; None where the file does not say."""
    alike = _regular_planes(header, count, path)
    if alike is not None:
        return alike
    placed = [frame for frame in range(count) if frame_group(header, frame, "PlanePositionSequence")]
    if not placed:
        return None
    planes = [frame_plane(header, frame, path) for frame in range(count)]
    lost = [number for number, plane in enumerate(planes) if plane is None]
    if lost:
        raise UnreadableError(f"{path}: {len(lost)} of {count} frames do not say where they lie, the first is frame "
                              f"{lost[0] + 1}: position, orientation or spacing is missing")  # fmt: skip
    return [plane for plane in planes if plane is not None]


def _regular_planes(header: Any, count: int, path: str) -> list[Plane] | None:
    """Of frames that are counted from a first one, as in dose grids (GridFrameOffsetVector) and in reconstructions of
    nuclear medicine (SliceVector, signed SpacingBetweenSlices)."""
    if "GridFrameOffsetVector" in header:
        first, offsets = frame_plane(header, 0, path), numbers(header, "GridFrameOffsetVector", count, path)
        if first is None or offsets is None:
            return None
        shifts = np.array(offsets)
        if shifts[0] != 0:  # then they are places along the body's axis, not distances from the first (PS3.3 C.8.8.3.2)
            shifts = shifts - shifts[0]
    elif header.get("DetectorInformationSequence") and header.get("SpacingBetweenSlices"):
        detector = header.DetectorInformationSequence[0]
        position = numbers(detector, "ImagePositionPatient", 3, path)
        direction = numbers(detector, "ImageOrientationPatient", 6, path)
        spacing = pixel_spacing_mm(header, path)
        if position is None or direction is None or spacing is None:
            return None
        first = Plane(np.array(position), np.array(direction[:3]), np.array(direction[3:]), spacing)
        places = numbers(header, "SliceVector", count, path)
        slices = np.arange(count) if places is None else np.array(places) - 1
        shifts = slices * (number(header, "SpacingBetweenSlices", path) or 1.0)
    else:
        return None
    normal = np.cross(first.across, first.down)
    return [replace(first, position=first.position + shift * normal) for shift in shifts]


@lru_cache(maxsize=1 << 12)
def say_once(message: str) -> None:
    """A file is read several times in a run; what is odd about it is said once."""
    log.warning("%s", message)
