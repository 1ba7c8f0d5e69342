"""The values that masks hold, and whether they can be classes: compression and smoothing make up more of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError
from graftwork.core.example import Channels, Example, File
from graftwork.imaging.formats.pixels import BYTE, opened
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.formats.tiff import page_count
from graftwork.imaging.scan import PICTURES, Scan, stacked
from graftwork.imaging.segmentation.class_tables import ClassTable, Colour
from graftwork.imaging.segmentation.named_masks import coloured_values

LOSSY = ("JPEG", "MPO", "JPEG2000")
"""Pillow's names of formats that change values; so do TIFFs that are compressed as one of the first."""
LOSSY_TIFF = ("jpeg", "tiff_jpeg")

FEW = 4
"""Values that a mask may hold without being looked at more closely, and values that make up a gradient."""

SLOPE = 0.25
"""Share of the pixels of a value that lie between a lower and a higher neighbour: none of a landmark of one voxel."""

LIKE = 0.02
"""Share of the pixels of a value that may lie among their like alone where the value is one of a gradient."""

ADVICE = ("save masks without compression or smoothing (PNG, nearest neighbour), or take every value for the nearer of "
          "two, as --mask-values 0,255 --other-values nearest")  # fmt: skip


class MaskFile(NamedTuple):
    """A mask as a scan, whether its file is of a kind that changes values, and the red, green and blue of its numbers
    where it has a palette."""

    scan: Scan
    lossy: bool
    colours: dict[int, Colour]


def read_mask_file(example: Example, table: ClassTable | None = None, others_are_background: bool = False) -> MaskFile:
    """What `read_scan` gives, but the numbers of the colours of a picture with a palette, and several files joined to
    one. table: with colours it says the class of every pixel of a picture, other colours being refused or background.
    Raises as `read_scan` does, and for files that have different values at one voxel."""
    if isinstance(example, Channels):
        return _joined([read_mask_file(part, table, others_are_background) for part in example.parts], str(example))
    if not isinstance(example, File) or not example.path.lower().endswith(PICTURES):
        if table is not None and table.colours:
            raise UnreadableError(f"{example}: is no picture, and --mask-colours names its classes")
        return MaskFile(read_scan(example), False, {})
    path = example.path
    with opened(path, stacks=True) as picture:
        lossy = picture.format in LOSSY or picture.info.get("compression") in LOSSY_TIFF
        if table is not None and table.colours:
            found = coloured_values(read_scan(example), table, others_are_background=others_are_background, lossy=lossy)
            return MaskFile(found, False, {})
        if picture.mode in ("P", "PA") and page_count(picture) == 1:
            numbers = np.asarray(picture)
            numbers = numbers[..., 0] if picture.mode == "PA" else numbers
            palette = picture.getpalette("RGB") or []
            colours = {value: tuple(palette[3 * value : 3 * value + 3]) for value in np.unique(numbers).tolist()}
            return MaskFile(Scan(numbers[None].astype(np.float32), path, full_range=BYTE), lossy, colours)
    return MaskFile(read_scan(example), lossy, {})


def _joined(masks: Sequence[MaskFile], path: str) -> MaskFile:
    """Several masks of one image, as one a lesion, as one: the value at a voxel is that of the file that has one there.

    Raises UnreadableError where two have different ones, and where one does not lie on the first.
    """
    palettes = Palettes()
    for mask in masks:
        if mask.scan.channels > 1 and (mask.scan.values != mask.scan.values[:1]).any():
            raise UnreadableError(f"{mask.scan.path}: has {mask.scan.channels} channels; a mask has one")
        palettes.add(mask.colours, mask.scan.path)
    whole = stacked([replace(mask.scan, values=mask.scan.values[:1]) for mask in masks], path)
    joined = whole.values[0].copy()
    for own, mask in zip(whole.values[1:], masks[1:], strict=True):
        both = (own != 0) & (joined != 0) & (own != joined)
        if both.any():
            raise UnreadableError(f"{path}: of the voxels both mark, {mask.scan.path} has another value than those "
                                  f"before it at {int(both.sum())}: which class is meant is not known")  # fmt: skip
        joined = np.where(joined == 0, own, joined)
    colours = {number: colour for mask in masks for number, colour in mask.colours.items()}
    return MaskFile(replace(whole, values=joined[None]), any(mask.lossy for mask in masks), colours)


def check_lossless(values: NDArray[np.int64], path: str) -> None:
    """Raises UnreadableError for more values than two in a file of a kind that changes them. values: all, ascending."""
    if len(values) > 2:
        shown = ", ".join(map(str, values[:6])) + (", …" if len(values) > 6 else "")
        raise UnreadableError(
            f"{path}: holds {len(values)} values ({shown}), made up by its lossy compression; {ADVICE}"
        )


@dataclass
class Palettes:
    """The colours that numbers stand for, and the file that says so: a class is one of both in all masks."""

    of_number: dict[int, tuple[Colour, str]] = field(default_factory=dict)
    of_colour: dict[Colour, tuple[int, str]] = field(default_factory=dict)

    def add(self, colours: dict[int, Colour], path: str) -> None:
        """Raises UnreadableError where an earlier mask has another colour for a number, or another number for a
        colour, as programs have that number colours by how often they occur."""
        for number, colour in colours.items():
            known, first = self.of_number.setdefault(number, (colour, path))
            numbered, other = self.of_colour.setdefault(colour, (number, path))
            if known != colour or (numbered != number and other != path):
                there = f"{number} is {known} in {first}" if known != colour else f"{colour} is {numbered} in {other}"
                said = f"its palette has {colour} as {number}, and {there}"
                raise UnreadableError(f"{path}: {said}: which number is which class is not known; save all masks with "
                                      "one palette, or in grey")  # fmt: skip


@dataclass
class Gradients:
    """Counts over masks of the pixels of every value: all, those on a slope (`SLOPE`), those among their like."""

    counts: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def add(self, stored: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Counts a mask (*spatial) with these values, ascending; those with few are only known to hold them."""
        if len(values) <= FEW:
            for value in values.tolist():
                self.counts[value] = self.counts.get(value, np.zeros(3, np.int64)) + 1  # as whole areas
            return
        low, high = stored.copy(), stored.copy()
        for axis in range(stored.ndim):
            for one, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
                here, there = ((*[slice(None)] * axis, part) for part in (one, other))
                np.minimum(low[here], stored[there], out=low[here])
                np.maximum(high[here], stored[there], out=high[here])
        places = np.searchsorted(values, stored.ravel())
        inside = ((low == stored) & (high == stored)).ravel()
        slope = ((low < stored) & (stored < high)).ravel()
        found = np.stack([np.bincount(places[chosen], minlength=len(values))
                          for chosen in (slice(None), slope, inside)], axis=1)  # fmt: skip
        for value, own in zip(values.tolist(), found, strict=True):
            self.counts[value] = self.counts.get(value, np.zeros(3, np.int64)) + own

    def check(self, paths: Iterable[str]) -> None:
        """Raises UnreadableError where most values lie only between others, as in an image or a smoothed mask."""
        made_up = [value for value, (count, slope, inside) in sorted(self.counts.items())
                   if inside <= LIKE * count and slope > SLOPE * count]  # fmt: skip
        if len(made_up) >= FEW and 2 * len(made_up) > len(self.counts):
            shown = ", ".join(map(str, made_up[:6])) + (", …" if len(made_up) > 6 else "")
            raise UnreadableError(f"{next(iter(paths))} and its like: {len(made_up)} of {len(self.counts)} values that "
                                  f"masks hold ({shown}) lie between others only, as in images and in smoothed masks; "
                                  f"{ADVICE}")  # fmt: skip
