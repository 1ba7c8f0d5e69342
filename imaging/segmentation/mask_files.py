"""Masks in files: read as the classes of an image's voxels, and written in the geometry of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from graftwork.core.example import NO_MASK, Example, Named, WithMask, as_example, as_examples
from graftwork.core.progress import progress
from graftwork.core.tasks.masks import IGNORED
from graftwork.imaging.formats.dicom.structures import is_structure_set, structures_on
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.class_tables import ClassTable
from graftwork.imaging.segmentation.mask_placement import MaskOrder, on_scan
from graftwork.imaging.segmentation.mask_values import Gradients, Palettes, check_lossless, read_mask_file
from graftwork.imaging.segmentation.named_masks import StructureNumbers, structures_by_class, values_of

ROUNDING = 1e-3
"""Masks that went through floating point hold 0.99999997 for 1."""


MOST_IN_PICTURE = 2**16 - 1

MOST_NAMED = 50
"""Masks that an error lists."""

MOST_VALUES = 256
"""A file with more is no mask, but an image that was named as one."""


OtherValues = Literal["refuse", "background", "nearest"]
"""What a mask's values are that nobody named: refused, background, or the nearer of two that are named."""


def mask_values(
    masks: Sequence[Named], order: MaskOrder = "place", other_values: OtherValues = "refuse",
    table: ClassTable | None = None,
) -> list[tuple[int, ...]]:  # fmt: skip
    """The values, ascending, that every mask holds, none where there is no mask; one that is given with its image is
    compared with it. order: see `on_scan`. other_values: "nearest" lets values pass that compression and smoothing make
    up.

    Raises UnreadableError that lists all that cannot be read, have another shape or geometry than their image, or hold
    values that lossy compression made up; and where the values of all together are those of images or smoothed masks.
    SettingsError for structures that are numbered in different ways. table: of files that name classes otherwise.
    """
    found: list[tuple[int, ...]] = []
    wrong = []
    looks = _Looks(None if other_values == "nearest" else Gradients(), Palettes(), StructureNumbers())
    with progress("reading masks", len(masks)) as advance:
        for example in as_examples(masks):
            try:
                found.append(_held(example, order, looks, table, other_values))
            except (UnreadableError, ContractError) as error:
                wrong.append(str(error))
            advance(1, "")
    if wrong:
        more = [] if len(wrong) <= MOST_NAMED else [f"  … and {len(wrong) - MOST_NAMED} more"]
        count = f"{len(wrong)} of {len(masks)} masks, or their images, cannot be used:"
        raise UnreadableError("\n".join([count, *(f"  {one}" for one in wrong[:MOST_NAMED]), *more]))
    if looks.gradients is not None:
        looks.gradients.check(str(_mask(example)) for example in as_examples(masks))
    return found


def read_mask(
    named: Named, scan: Scan, values: Sequence[int], other_values: OtherValues = "refuse", order: MaskOrder = "place",
    *, merged: Sequence[Sequence[int]] = (), ignore_value: int | None = None, table: ClassTable | None = None,
) -> NDArray[np.int64]:  # fmt: skip
    """The class (*spatial) of every voxel of the scan: the place of the mask's value among `values`; what is not among
    them is refused, background (the first), or the nearest of them. order: see `on_scan`. merged: values that are one
    class, which is the first of them. ignore_value: of voxels that become `IGNORED`. table: of files that name classes
    otherwise than by values.

    Raises ContractError for another shape or geometry than the scan's, or values that are refused; UnreadableError for
    values that are no whole numbers.
    """
    path = as_example(named)
    if path == NO_MASK:
        return np.zeros(scan.spatial_shape, dtype=np.int64)
    if is_structure_set(path):
        stored = structures_on(structures_by_class(str(path), table), str(path), scan)
    else:
        mask, lossy, _ = read_mask_file(path, table, other_values == "background")
        if lossy and other_values != "nearest":
            check_lossless(np.unique(_whole_numbers(mask)), str(path))
        stored = _fitting(mask, scan, order)
    ignored = np.zeros(stored.shape, dtype=bool) if ignore_value is None else stored == ignore_value
    for one, *others in merged:
        stored[np.isin(stored, others)] = one
    ranks = np.argsort(values)
    known = np.asarray(values)[ranks]
    places = np.minimum(np.searchsorted(known, stored), len(known) - 1)
    wrong = (known[places] != stored) & ~ignored
    found: NDArray[np.int64] = ranks[places]
    if other_values == "background":
        found[wrong] = 0
    elif other_values == "nearest":
        # What lies in the middle is the higher one.
        found[wrong] = ranks[np.searchsorted((known[1:] + known[:-1]) / 2, stored[wrong], side="right")]
    elif wrong.any():
        strange = np.unique(stored[wrong]).tolist()
        raise ContractError(f"{path}: holds the values {', '.join(map(str, strange[:10]))}, and masks here have "
                            f"{', '.join(map(str, values))} (--mask-values); --other-values background takes others "
                            "for background")  # fmt: skip
    found[ignored] = IGNORED
    return found


def write_mask(temporary: Path, classes: NDArray[np.int64], values: Sequence[int], scan: Scan) -> None:
    """The class (*spatial) of every voxel of the scan as the values of masks, into a file whose ending says its kind.

    A picture's mask is a PNG; all others are NIfTI, in the geometry of the file that the scan was read from: its axes,
    affine and codes where that is NIfTI, else RAS. Raises SettingsError for values that a picture cannot hold.
    """
    stored = np.asarray(values)[classes]
    stored = stored.astype(np.uint8 if max(values) < 256 else np.int32)
    if temporary.suffix == ".png":
        from PIL import Image

        if max(values) > MOST_IN_PICTURE:
            raise SettingsError(f"a picture holds values up to {MOST_IN_PICTURE}, and masks here have {max(values)}")
        Image.fromarray(stored if max(values) < 256 else stored.astype(np.uint16)).save(temporary)
        return
    from graftwork.imaging.formats.volume_output import volume_bytes

    temporary.write_bytes(volume_bytes(stored, scan))


def _mask(example: Example) -> Example:
    return example.mask if isinstance(example, WithMask) else example


@dataclass(frozen=True)
class _Looks:
    """What is looked at in all masks together."""

    gradients: Gradients | None
    palettes: Palettes
    numbers: StructureNumbers


def _held(
    example: Example, order: MaskOrder, looks: _Looks, table: ClassTable | None, other_values: OtherValues
) -> tuple[int, ...]:
    """The values in a mask, or in that of an image with its mask once it has been compared with the image."""
    if _mask(example) == NO_MASK:
        return ()
    mask = str(_mask(example))
    if is_structure_set(_mask(example)):
        structures = structures_by_class(mask, table)
        if table is None:
            looks.numbers.add(structures, mask)
        if isinstance(example, WithMask):
            return tuple(np.unique(structures_on(structures, mask, read_scan(example.image))).tolist())
        return tuple(values_of(structures).tolist())
    scan, lossy, colours = read_mask_file(_mask(example), table, other_values == "background")
    looks.palettes.add(colours, mask)
    stored = _fitting(scan, read_scan(example.image), order) if isinstance(example, WithMask) else _whole_numbers(scan)
    values = np.unique(stored)
    if len(values) > MOST_VALUES:
        raise UnreadableError(f"{mask}: holds {len(values)} different values: is it a mask?")
    if looks.gradients is not None:
        if lossy:
            check_lossless(values, mask)
        looks.gradients.add(stored, values)
    return tuple(values.tolist())


def _fitting(mask: Scan, scan: Scan, order: MaskOrder) -> NDArray[np.int64]:
    """The mask's values (*spatial) at the scan's voxels. Raises ContractError for another shape or geometry."""
    whole = replace(mask, values=_whole_numbers(mask)[None].astype(np.float32))
    found: NDArray[np.int64] = on_scan(whole, scan, order).astype(np.int64)
    return found


def _whole_numbers(mask: Scan) -> NDArray[np.int64]:
    """(*spatial). Raises UnreadableError for several channels that differ, and for values that are no whole numbers."""
    if mask.channels > 1 and (mask.values != mask.values[:1]).any():
        raise UnreadableError(f"{mask.path}: has {mask.channels} channels; a mask has one, the class of every voxel; "
                              "save colours as numbers of classes, or name them with --mask-colours")  # fmt: skip
    values = mask.values[0]
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(values - rounded) <= ROUNDING) | (rounded < 0)
    if wrong.any():
        raise UnreadableError(f"{mask.path}: {int(wrong.sum())} of {wrong.size} values are no whole numbers of at "
                              f"least 0, as {float(values[wrong][0]):g}: is it a mask?")  # fmt: skip
    whole: NDArray[np.int64] = rounded.astype(np.int64)
    return whole
