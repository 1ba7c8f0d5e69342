"""DICOM structure sets (RTSTRUCT): their closed contours as the structure's number at every voxel of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import ContractError, UnreadableError
from graftwork.core.example import Example, File
from graftwork.imaging.formats.dicom.geometry import say_once
from graftwork.imaging.formats.dicom.opening import is_dicom, read_dataset
from graftwork.imaging.formats.dicom.series import first_header
from graftwork.imaging.formats.orientation import plane_of, volume_of
from graftwork.imaging.scan import DICOM, SAME_MM, Scan

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
"""Storage class of RT structure sets."""

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")

OFF_PLANE = 0.05
"""Share of the distance between slices by which a contour may lie off one: positions are written with few digits."""

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Structure:
    """A region that somebody has drawn. number: of its ROI. contours: the closed ones, (points, 3) each, in mm towards
    left, posterior and head. frame: UID of the frame of reference that these are in."""

    number: int
    name: str
    contours: tuple[Points, ...]
    frame: str


def is_structure_set(example: Example) -> bool:
    """Whether it is a DICOM file with contours in place of pixels."""
    if not isinstance(example, File) or not Path(example.path).is_file():
        return False
    if not example.path.lower().endswith(DICOM) and (Path(example.path).suffix or not is_dicom(Path(example.path))):
        return False
    with decoding(example.path, "cannot be read as DICOM"):
        header = read_dataset(example.path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(header.get("SOPClassUID", "")) == STRUCTURE_SET


def read_structures(path: str) -> list[Structure]:
    """The structures of a file that have closed contours, in its order.

    Raises UnreadableError for contours that are no points, and for a file in which two structures have one number.
    """
    with decoding(path, "cannot be read as DICOM"):
        dataset = read_dataset(path)
        listed = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence") or ()}
        found, taken = [], set()
        for item in dataset.get("ROIContourSequence") or ():
            number = int(item.ReferencedROINumber)
            if number not in listed or number in taken or number < 1:
                raise UnreadableError(f"{path}: ROI {number} has no name, has two sets of contours, or is no "
                                      "number above 0; correct the structure set")  # fmt: skip
            taken.add(number)
            contours = [one for one in item.get("ContourSequence") or () if one.ContourGeometricType in CLOSED]
            if contours:
                about = listed[number]
                found.append(Structure(number, str(about.get("ROIName", "")).strip(),
                                       tuple(_points(one, path) for one in contours),
                                       str(about.get("ReferencedFrameOfReferenceUID", ""))))  # fmt: skip
    return found


def structures_on(structures: Sequence[Structure], path: str, scan: Scan) -> NDArray[np.int64]:
    """The number (*spatial) of the structure at every voxel of the scan, 0 where there is none.

    A voxel belongs to a structure whose contours in its slice go around its centre an odd number of times: a contour
    inside another one is a hole. Raises ContractError for a scan that does not say where it lies or is in another frame
    of reference, for contours that lie off its slices, and for structures that share voxels.
    """
    if scan.affine is None:
        raise ContractError(f"{scan.path}: does not say where it lies, and the contours of {path} are in mm")
    _check_frame(structures, path, scan)
    volume = volume_of(scan) if len(scan.spatial_shape) == 2 else scan
    if volume.affine is None:
        raise ValueError(f"{scan.path} does not say where it lies")
    to_index = np.linalg.inv(volume.affine)
    placed = [[_indices(points, to_index) for points in one.contours] for one in structures]
    sizes_mm = np.sqrt(np.square(volume.affine[:3, :3]).sum(axis=0))
    shape = volume.spatial_shape[::-1]  # (width, height, depth), as affines count
    axis = _slice_axis(placed, sizes_mm)
    _check_planes(placed, axis, sizes_mm, shape, path, scan)
    labels = np.zeros(shape, dtype=np.int64)
    for structure, contours in zip(structures, placed, strict=True):
        inside = _inside(contours, axis, shape)
        shared = int((inside & (labels != 0)).sum())
        if shared:
            raise ContractError(f"{path}: {structure.name!r} shares {shared} voxels with structures before it, and a "
                                "mask has one class a voxel; name with --structures those to be read")  # fmt: skip
        labels[inside] = structure.number
        _say_gaps(structure, contours, axis, path)
    found: NDArray[np.int64] = labels.T
    if len(scan.spatial_shape) == 2:
        flat = plane_of(replace(volume, values=found[None].astype(np.float32)))
        found = flat.values[0].astype(np.int64)
    return found


def _points(contour: Any, path: str) -> Points:
    values = np.array(contour.get("ContourData") or (), dtype=np.float64)
    if values.size % 3 or values.size < 9 or not np.isfinite(values).all():
        raise UnreadableError(f"{path}: a closed contour has {values.size} numbers, and three points or more of three "
                              "finite numbers each make one; correct the structure set")  # fmt: skip
    return values.reshape(-1, 3)


def _check_frame(structures: Sequence[Structure], path: str, scan: Scan) -> None:
    header = first_header(scan.file, ("FrameOfReferenceUID",))
    own = "" if header is None else str(header.get("FrameOfReferenceUID", ""))
    wrong = [one.name for one in structures if own and one.frame and one.frame != own]
    if wrong:
        raise ContractError(f"{path}: {len(wrong)} of {len(structures)} structures ({', '.join(wrong[:5])}) are in "
                            f"another frame of reference than {scan.path}: is it of another series?")  # fmt: skip


def _indices(points: Points, to_index: NDArray[np.floating[Any]]) -> Points:
    """Points in mm towards left, posterior and head as indices (width, height, depth) of voxels."""
    right_anterior = points * (-1, -1, 1)
    found: Points = right_anterior @ to_index[:3, :3].T + to_index[:3, 3]
    return found


def _slice_axis(placed: Sequence[Sequence[Points]], sizes_mm: NDArray[np.float64]) -> int:
    """The axis of voxels along which contours extend least: they are drawn in slices across it."""
    extents = [np.ptp(points, axis=0) * sizes_mm for contours in placed for points in contours]
    return int(np.max(extents, axis=0).argmin()) if extents else 2


def _check_planes(
    placed: Sequence[Sequence[Points]], axis: int, sizes_mm: NDArray[np.float64], shape: Sequence[int], path: str,
    scan: Scan,
) -> None:  # fmt: skip
    """Raises ContractError, with their number, where contours do not lie in slices of the scan."""
    contours = [points for own in placed for points in own]
    tolerance = max(SAME_MM, OFF_PLANE * sizes_mm[axis])
    off_mm = [float(np.abs(points[:, axis] - np.rint(points[:, axis].mean())).max() * sizes_mm[axis])
              for points in contours]  # fmt: skip
    off = [one for one in off_mm if one > tolerance]
    if off:
        raise ContractError(f"{path}: {len(off)} of {len(contours)} contours lie off the slices of {scan.path}, "
                            f"by up to {max(off):.3g} mm: were they drawn on another series, or across?")  # fmt: skip
    outside = sum(not 0 <= np.rint(points[:, axis].mean()) < shape[axis] for points in contours)
    if outside:
        raise ContractError(f"{path}: {outside} of {len(contours)} contours lie beside the slices of {scan.path}: is "
                            "it of another series, or cut?")  # fmt: skip
    first, second = (other for other in range(3) if other != axis)
    cut = sum(bool((points[:, other] < -1).any() or (points[:, other] > shape[other]).any())
              for points in contours for other in (first, second))  # fmt: skip
    if cut:
        say_once(
            f"{path}: {cut} of {len(contours)} contours go beyond the edges of {scan.path}, where they are cut off"
        )


def _inside(contours: Sequence[Points], axis: int, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Voxels (width, height, depth) whose centre the contours of their slice go around an odd number of times."""
    first, second = (other for other in range(3) if other != axis)
    slices: dict[int, list[Points]] = {}
    for points in contours:
        slices.setdefault(round(float(points[:, axis].mean())), []).append(points[:, [first, second]])
    inside = np.zeros(shape, dtype=bool)
    for place, flat in slices.items():
        index: list[Any] = [slice(None)] * 3
        index[axis] = place
        inside[tuple(index)] = even_odd(flat, (shape[first], shape[second]))
    return inside


def even_odd(polygons: Sequence[Points], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(rows, columns) of pixels whose centre, at whole numbers, lies inside an odd number of the polygons (points, 2),
    each of (row, column) and closed by itself.

    Along every column an edge that crosses it turns inside to outside for all rows behind; one that ends at a column
    counts for it once, whichever way the polygon goes on.
    """
    crossings = np.zeros((shape[0] + 1, shape[1]), dtype=np.int64)
    for polygon in polygons:
        for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            low, high = sorted((start[1], end[1]))
            columns = np.arange(max(0, int(np.ceil(low))), min(shape[1], int(np.ceil(high))))
            if not len(columns):
                continue
            rows = start[0] + (columns - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
            behind = np.clip(np.ceil(rows), 0, shape[0]).astype(int)
            np.add.at(crossings, (behind, columns), 1)
    found: NDArray[np.bool_] = np.cumsum(crossings, axis=0)[:-1] % 2 == 1
    return found


def _say_gaps(structure: Structure, contours: Sequence[Points], axis: int, path: str) -> None:
    held = {round(float(points[:, axis].mean())) for points in contours}
    without = max(held) - min(held) + 1 - len(held)
    if without:
        say_once(f"{path}: {structure.name!r} has no contour in {without} slices between its first and its last, where "
                 "it is taken for absent")  # fmt: skip
