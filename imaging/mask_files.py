"""Masks in files: read as the classes of an image's voxels, and written in the geometry of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from graftwork.core.progress import progress
from graftwork.imaging.scan import SAME_MM, Scan, corners_apart_mm, read_scan, times

ROUNDING = 1e-3
"""Masks that went through floating point hold 0.99999997 for 1."""


MOST_IN_PICTURE = 2**16 - 1

MOST_VALUES = 256
"""A file with more is no mask, but an image that was named as one."""


def mask_values(paths: Sequence[str]) -> tuple[int, ...]:
    """The values that occur in the masks, ascending. Raises UnreadableError that lists all that cannot be read."""
    found: set[int] = set()
    wrong = []
    with progress("reading masks", len(paths)) as advance:
        for path in paths:
            try:
                own = np.unique(_whole_numbers(read_scan(path))).tolist()
                if len(own) > MOST_VALUES:
                    raise UnreadableError(f"{path}: holds {len(own)} different values: is it a mask?")
                found |= set(own)
            except UnreadableError as error:
                wrong.append(str(error))
            advance(1, "")
    if wrong:
        raise UnreadableError("\n".join([f"{len(wrong)} masks cannot be read:", *(f"  {one}" for one in wrong[:50])]))
    return tuple(sorted(found))


def read_mask(path: str, scan: Scan, values: Sequence[int]) -> NDArray[np.int64]:
    """The class (*spatial) of every voxel of the scan: the place of the mask's value among `values`.

    Raises ContractError for another shape or geometry than the scan's, or values that are not among them;
    UnreadableError for values that are no whole numbers.
    """
    mask = read_scan(path)
    stored = _whole_numbers(mask)
    if stored.ndim == 3 and len(scan.spatial_shape) == 2 and 1 in stored.shape:
        stored = stored.squeeze(stored.shape.index(1))
    if stored.shape != scan.spatial_shape:
        raise ContractError(f"{path}: has {times(stored.shape)} voxels, and its image {scan.path} "
                            f"{times(scan.spatial_shape)}")  # fmt: skip
    _check_place(mask, scan)
    order = np.argsort(values)
    known = np.asarray(values)[order]
    places = np.minimum(np.searchsorted(known, stored), len(known) - 1)
    wrong = known[places] != stored
    found: NDArray[np.int64] = order[places]
    if wrong.any():
        strange = np.unique(stored[wrong]).tolist()
        raise ContractError(f"{path}: holds the values {', '.join(map(str, strange[:10]))}, and masks here have "
                            f"{', '.join(map(str, values))} (--mask-values)")  # fmt: skip
    return found


def write_mask(beside: Path, classes: NDArray[np.int64], values: Sequence[int], scan: Scan) -> None:
    """The class (*spatial) of every voxel of the scan as the values of masks, into a file whose ending says its kind.

    A picture's mask is a PNG; all others are NIfTI, in the geometry of the file that the scan was read from: its axes,
    affine and codes where that is NIfTI, else RAS. Raises SettingsError for values that a picture cannot hold.
    """
    stored = np.asarray(values)[classes]
    stored = stored.astype(np.uint8 if max(values) < 256 else np.int32)
    if beside.suffix == ".png":
        from PIL import Image

        if max(values) > MOST_IN_PICTURE:
            raise SettingsError(f"a picture holds values up to {MOST_IN_PICTURE}, and masks here have {max(values)}")
        Image.fromarray(stored if max(values) < 256 else stored.astype(np.uint16)).save(beside)
        return
    from graftwork.imaging.volume_output import volume_bytes

    if stored.ndim == 2:  # of a volume of one slice
        stored = stored.reshape(read_scan(scan.path).spatial_shape)
    beside.write_bytes(volume_bytes(stored, scan))


def _whole_numbers(mask: Scan) -> NDArray[np.int64]:
    """(*spatial). Raises UnreadableError for several channels that differ, and for values that are no whole numbers."""
    if mask.channels > 1 and (mask.values != mask.values[:1]).any():
        raise UnreadableError(f"{mask.path}: has {mask.channels} channels; a mask has one, the class of every voxel")
    values = mask.values[0]
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(values - rounded) <= ROUNDING) | (rounded < 0)
    if wrong.any():
        raise UnreadableError(f"{mask.path}: {int(wrong.sum())} of {wrong.size} values are no whole numbers of at "
                              f"least 0, as {float(values[wrong][0]):g}: is it a mask?")  # fmt: skip
    whole: NDArray[np.int64] = rounded.astype(np.int64)
    return whole


def _check_place(mask: Scan, scan: Scan) -> None:
    """Raises ContractError where both files say where they lie, and it is not the same place."""
    if mask.affine is None or scan.affine is None or len(mask.spatial_shape) != len(scan.spatial_shape):
        return
    apart = corners_apart_mm(mask, scan)
    if apart > SAME_MM:
        raise ContractError(f"{mask.path}: lies up to {apart:.3g} mm from its image {scan.path}: their affines differ")
