"""Which voxel of a mask belongs to which of its image: by where both lie, or by the order in which files hold them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import ContractError
from graftwork.imaging.formats.orientation import from_stored_order, in_stored_order, plane_of, volume_of
from graftwork.imaging.formats.pixels import UPRIGHT, turned_by
from graftwork.imaging.scan import PICTURES, SAME_MM, VOLUMES, Scan, corners_apart_mm, times

MaskOrder = Literal["place", "stored"]
"""What pairs voxels where only one of mask and image says where it lies: nothing, or the order in their files."""


def on_scan(mask: Scan, scan: Scan, order: MaskOrder = "place") -> NDArray[np.float32]:
    """The mask's values (*spatial) at the scan's voxels.

    Where both say where they lie, they must lie in one place; a DICOM segmentation may hold a part of the slices, what
    it leaves out is 0. Where neither does, voxels are paired as stored; so is a picture with a DICOM slice, whose rows
    and columns it has. Otherwise that takes the order "stored". Raises ContractError for another shape or place, and
    where nothing says which voxel belongs to which.
    """
    if mask.affine is not None and scan.affine is not None:
        return _by_place(mask, scan)
    if mask.affine is None and scan.affine is None:
        _check_turned(mask, scan)
        return _checked(_of_dimension(mask, scan).values[0], mask, scan)
    if order == "place" and not _picture_of_slice(mask, scan) and not _picture_of_slice(scan, mask):
        says, silent = (scan, mask) if mask.affine is None else (mask, scan)
        raise ContractError(f"{silent.path}: does not say where it lies, and {says.path} does: which voxel belongs to "
                            "which is not known; write both with one affine, or take voxels in the order in which both "
                            "files hold them (--mask-order stored)")  # fmt: skip
    return _by_order(mask, scan)


def _check_turned(mask: Scan, scan: Scan) -> None:
    """Raises ContractError where one of two pictures says that a camera held it another way (EXIF), by which it was
    turned when it was read, and the other does not."""
    files = [one.file for one in (mask, scan)]
    mask_turned, scan_turned = (turned_by(file) if file.lower().endswith(PICTURES) else UPRIGHT for file in files)
    if mask_turned != scan_turned:
        raise ContractError(f"{mask.path}: its EXIF orientation is {mask_turned}, that of its image {scan.path} is "
                            f"{scan_turned}: one was turned and the other was not; save both upright")  # fmt: skip


def _by_place(mask: Scan, scan: Scan) -> NDArray[np.float32]:
    if mask.sparse:
        return _filled_up(mask, scan)
    mask = _of_dimension(mask, scan)
    values = _checked(mask.values[0], mask, scan)
    apart = corners_apart_mm(mask, scan)
    if apart > SAME_MM:
        raise ContractError(f"{mask.path}: lies up to {apart:.3g} mm from its image {scan.path}: their affines differ")
    return values


def _by_order(mask: Scan, scan: Scan) -> NDArray[np.float32]:
    try:
        stored = in_stored_order(mask.values[0], mask)
        wanted = in_stored_order(np.broadcast_to(np.float32(0), scan.spatial_shape), scan).shape
        if _without_one(stored.shape) == _without_one(wanted):
            stored = stored.reshape(wanted)
        if stored.shape != wanted:
            raise ContractError(f"{mask.path}: holds {times(stored.shape)} voxels (width, height, depth), and its "
                                f"image {scan.path} {times(wanted)}")  # fmt: skip
        return from_stored_order(stored, scan)
    except ValueError as error:
        raise ContractError(
            f"{mask.path} and {scan.path}: cannot be taken in the order of their files: {error}"
        ) from None


def _without_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _of_dimension(mask: Scan, scan: Scan) -> Scan:
    """The mask as a slice or as a volume of one slice, as its image is, where it can be; else as it is."""
    if len(mask.spatial_shape) == 3 and len(scan.spatial_shape) == 2 and 1 in mask.spatial_shape:
        return plane_of(mask)
    if len(mask.spatial_shape) == 2 and len(scan.spatial_shape) == 3 and 1 in scan.spatial_shape:
        found = volume_of(mask)
        if found.affine is None:  # then the image is as it is stored too, with its one slice along any axis
            found = Scan(np.expand_dims(mask.values, 1 + scan.spatial_shape.index(1)), mask.path)
        return found
    return mask


def _checked(values: NDArray[np.float32], mask: Scan, scan: Scan) -> NDArray[np.float32]:
    if values.shape != scan.spatial_shape:
        raise ContractError(f"{mask.path}: has {times(values.shape)} voxels, and its image {scan.path} "
                            f"{times(scan.spatial_shape)}")  # fmt: skip
    return values


def _filled_up(mask: Scan, scan: Scan) -> NDArray[np.float32]:
    """The slices that the mask holds at their places among the scan's, 0 elsewhere."""
    volume = volume_of(scan) if len(scan.spatial_shape) == 2 else scan
    if mask.affine is None or volume.affine is None:
        raise ValueError(f"{mask.path} or {scan.path} does not say where it lies")
    onto = np.linalg.solve(volume.affine, mask.affine)  # from voxels of the mask to voxels of the scan
    shape = mask.spatial_shape[::-1]  # (width, height, depth), as affines count
    sizes_mm = np.linalg.norm(volume.affine[:3, :3], axis=0)
    places, off_mm = [], 0.0
    for axis in range(3):
        along = onto[axis, 3] + onto[axis, axis] * np.arange(shape[axis])
        aside = [abs(onto[axis, other]) * (shape[other] - 1) for other in range(3) if other != axis]
        off_mm = max(off_mm, float((np.abs(along - np.rint(along)).max() + max(aside)) * sizes_mm[axis]))
        places.append(np.rint(along).astype(int))
    held = [(where >= 0) & (where < length) for where, length in zip(places, volume.spatial_shape[::-1], strict=True)]
    inside = mask.values[0].T[np.ix_(*held)]
    lost = int((mask.values[0] != 0).sum()) - int((inside != 0).sum())
    if off_mm > SAME_MM or lost or not inside.size:
        reason = (f"lies up to {off_mm:.3g} mm off the voxels of" if off_mm > SAME_MM else
                  f"has {lost} marked voxels outside of" if lost else "lies beside")  # fmt: skip
        raise ContractError(f"{mask.path}: {reason} its image {scan.path}: is it of another series?")
    found = np.zeros(volume.spatial_shape[::-1], dtype=np.float32)
    found[np.ix_(*(where[inside_] for where, inside_ in zip(places, held, strict=True)))] = inside
    whole = Scan(found.T[None], mask.path, affine=volume.affine)
    values: NDArray[np.float32] = (plane_of(whole) if len(scan.spatial_shape) == 2 else whole).values[0]
    return values


def _picture_of_slice(picture: Scan, scan: Scan) -> bool:
    """Whether the one is a picture and the other a DICOM slice, which are both rows of pixels from the top."""
    return (
        picture.affine is None
        and picture.path.lower().endswith(PICTURES)
        and len(scan.spatial_shape) == 2
        and not scan.file.lower().endswith(VOLUMES)
    )
