"""Which way scans are turned: volumes to RAS, slices as radiologists look at them, and both back to their files' order.

A slice that says where it lies has its columns towards the patient's left (posterior where it is sagittal) and its rows
towards posterior (the feet where it is not axial), whichever file it comes from: what DICOM files and pictures made of
them usually hold. A slice is a volume of one slice in RAS order, without that axis and with both others reversed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.imaging.scan import Scan

Affine = NDArray[np.float64]


def turned(scan: Scan, affine: Affine) -> Scan:
    """The volume in RAS order: width to the patient's right, height to anterior, depth to superior; with spacing,
    affine, and `stored` for the order that it had.

    affine: (4, 4), from the index (width, height, depth) of the given values to mm towards right, anterior, superior.
    """
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(affine)
    values = scan.values.T  # (width, height, depth, channels)
    own = affine @ inv_ornt_aff(orientation, values.shape[:3])
    spacing = tuple(float(length) for length in voxel_sizes(own))
    turned_values = np.ascontiguousarray(apply_orientation(values, orientation).T)
    stored = affine if scan.stored is None else scan.stored
    return replace(scan, values=turned_values, spacing_mm=tuple(reversed(spacing)), affine=own, stored=stored)


def plane_of(scan: Scan) -> Scan:
    """The picture (channels, height, width) of a volume that has one slice along some axis, as radiologists look at it
    where the volume says how it lies, else as it is stored. The slice keeps its place: `affine` finds it at depth 0.
    """
    axis = scan.spatial_shape.index(1)
    spacing = None if scan.spacing_mm is None else scan.spacing_mm[:axis] + scan.spacing_mm[axis + 1 :]
    values = scan.values.squeeze(1 + axis)
    if scan.affine is None:
        return replace(scan, values=values, spacing_mm=spacing)
    out, (across, down) = 2 - axis, [column for column in range(3) if column != 2 - axis]
    affine = np.eye(4)
    affine[:3, :3] = np.stack([-scan.affine[:3, across], -scan.affine[:3, down], scan.affine[:3, out]], axis=1)
    last = [values.shape[2] - 1, values.shape[1] - 1, 0]  # the pixel that comes first now
    affine[:3, 3] = scan.affine[:3, 3] - affine[:3, :3] @ last
    values = np.ascontiguousarray(values[:, ::-1, ::-1])
    return replace(scan, values=values, spacing_mm=spacing, affine=affine)


def volume_of(scan: Scan) -> Scan:
    """The slice as a volume of one slice: in RAS order where it says how it lies, else with a depth of one."""
    volume = replace(scan, values=scan.values[:, None])
    return replace(volume, spacing_mm=None) if scan.affine is None else turned(volume, scan.affine)


def in_stored_order(values: NDArray[Any], scan: Scan) -> NDArray[Any]:
    """Values (*spatial) at the scan's voxels, as (width, height, depth) in the order in which its file holds them.

    A slice has a depth of one. What was not turned is only transposed. Raises ValueError where the file has no such
    order, as one whose frames lie anyhow.
    """
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    volume = values.T if values.ndim == 3 else values.T[..., None]
    if scan.affine is None:
        return volume
    change = ornt_transform(io_orientation(scan.affine), io_orientation(_stored(scan)))
    found: NDArray[Any] = apply_orientation(volume, change)
    return found


def from_stored_order(volume: NDArray[Any], scan: Scan) -> NDArray[Any]:
    """What `in_stored_order` gave, as values (*spatial) at the scan's voxels again. Raises ValueError as it does."""
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    if scan.affine is not None:
        back = ornt_transform(io_orientation(_stored(scan)), io_orientation(scan.affine))
        volume = apply_orientation(volume, back)
    values = volume.T
    return values[0] if len(scan.spatial_shape) == 2 else values


def _stored(scan: Scan) -> Affine:
    if scan.stored is None:
        raise ValueError(f"{scan.path}: its file holds slices in an order of its own")
    return scan.stored
