"""What a backbone whose masks are learnt expects: images in patches, with their masks beside them where there are some.

An image with its mask is one tensor: the mask is the last channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from graftwork.core.compute.overlap import stacked
from graftwork.core.errors import SettingsError
from graftwork.core.example import Named, WithMask, as_example, without_mask
from graftwork.core.tasks.masks import IGNORED
from graftwork.core.types import Features
from graftwork.imaging.preprocessing.contract import ImageContract, resize, size_at
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.class_tables import ClassTable, class_table
from graftwork.imaging.segmentation.mask_files import OtherValues, read_mask
from graftwork.imaging.segmentation.mask_placement import MaskOrder

LOOKED_AT = 2_000_000
"""Voxels of a mask among which the middle of a patch is drawn: all of them would take seconds in a large CT."""


@dataclass(frozen=True)
class MaskContract:
    """The input of a network that gives a class for every pixel or voxel.

    image: how images are read; its `size` is that of a patch. values: what masks hold, the background first. overlap:
    share of a patch that its neighbour covers too where a larger scan is predicted. largest_component: keep only the
    largest connected piece of every class but the background. names: of the classes, by default their values.
    other_values: what a mask's further values are: refused, background, or the nearer of the only two named.
    mask_order: what pairs voxels where only one of mask and image says where it lies: nothing, or the order in which
    their files hold them. merged: of every class all values that stand for it, the one in `values` first, where some
    class has several. ignore_value: of voxels that count in no loss and no measure. table: of masks that name classes
    by colours or structures, whose values are then the places of classes in it.

    Volumes are resampled to the image contract's spacing, or keep their own voxels where it has none; pictures without
    a spacing are stretched to the patch. Scans smaller than a patch are padded about their centre with their lowest
    value, and their masks with background. Raises SettingsError where the fields contradict each other.
    """

    image: ImageContract
    values: tuple[int, ...]
    overlap: float = 0.5
    largest_component: bool = False
    names: tuple[str, ...] = ()
    other_values: OtherValues = "refuse"
    mask_order: MaskOrder = "place"
    merged: tuple[tuple[int, ...], ...] = ()
    ignore_value: int | None = None
    table: ClassTable | None = None

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values) or min(self.values) < 0:
            raise SettingsError(f"mask values must be at least two different whole numbers, found {self.values}")
        if self.names and len(self.names) != len(self.values):
            raise SettingsError(f"expected a name for each of {len(self.values)} mask values, found {self.names}")
        if len(set(self.names)) < len(self.names):
            raise SettingsError(f"expected a name of its own for every class, found {self.names}")
        if self.other_values not in get_args(OtherValues):
            raise SettingsError(f"--other-values: expected {' or '.join(get_args(OtherValues))}, found "
                                f"{self.other_values!r}")  # fmt: skip
        if self.other_values == "nearest" and len(self.values) > 2:
            raise SettingsError(f"--other-values nearest takes two --mask-values, found {self.values}: between the "
                                "first and the last lie the others, and a border would be made of them")  # fmt: skip
        if self.mask_order not in get_args(MaskOrder):
            raise SettingsError(f"--mask-order: expected {' or '.join(get_args(MaskOrder))}, found {self.mask_order!r}")
        if self.table is not None and (self.other_values == "nearest" or self.ignore_value is not None):
            raise SettingsError("--mask-colours and --structures name classes, and --ignore-value and --other-values "
                                "nearest are of values: leave them out")  # fmt: skip
        if not 0 <= self.overlap < 1:
            raise SettingsError(f"--overlap: expected at least 0 and below 1, found {self.overlap}")

    @property
    def labels(self) -> tuple[str, ...]:
        """What the classes are called, the background first."""
        return self.names or tuple(map(str, self.values))

    @property
    def channels(self) -> int:
        return self.image.channels

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels or voxels of a patch along each axis."""
        return self.image.size

    def read(self, named: Named) -> Tensor:
        """An image (channels, *spatial), or one with its mask (channels + 1, *spatial) with the class of every voxel
        last, both at least as large as a patch.

        Raises UnreadableError and ContractError as ImageContract does, and for a mask of another shape or geometry than
        its image, or with other values.
        """
        return self.read_with_scan(named)[0]

    def read_with_scan(self, named: Named) -> tuple[Tensor, Scan]:
        """What `read` gives, and the scan of the image in its own units and size."""
        example = as_example(named)
        scan = self.image.scan(without_mask(example))
        values = self.prepared(scan)
        if isinstance(example, WithMask):
            truth = torch.from_numpy(self.truth(example.mask, scan))
            values = torch.cat([values, _resized_mask(truth, values.shape[1:], len(self.values))[None]])
        return (values if self.is_patch(values) else self.padded(values)), scan

    def truth(self, mask: Named, scan: Scan) -> NDArray[np.int64]:
        """The class (*spatial) of every voxel of the scan by its mask. Raises as `read` does."""
        return read_mask(mask, scan, self.values, self.other_values, self.mask_order, merged=self.merged,
                         ignore_value=self.ignore_value, table=self.table)  # fmt: skip

    def prepared(self, scan: Scan) -> Tensor:
        """The image as the network takes it, (channels, *spatial), not yet padded."""
        return self.image.normalised(resize(self.image.scaled(scan), self._grid(scan)))

    def padded(self, example: Tensor) -> Tensor:
        """The example, about its centre, at least as large as a patch; a channel beyond the network's is a mask."""
        margins = self.margins(example.shape[1:])
        image = functional.pad(example[: self.channels], margins, value=float(example[: self.channels].min()))
        return torch.cat([image, functional.pad(example[self.channels :], margins)])

    def margins(self, spatial: Sequence[int]) -> list[int]:
        """What is missing to a patch, in front and behind, the last axis first, as torch pads."""
        found: list[int] = []
        for own, wanted in zip(spatial, self.size, strict=True):
            missing = max(0, wanted - own)
            found = [missing // 2, missing - missing // 2, *found]
        return found

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """(batch, channels, *size), and masks (batch, *size) where the examples have them."""
        batch = stacked(examples)
        if batch.shape[1] == self.channels:
            return Features(batch)
        return Features(batch[:, :-1].contiguous(), masks=batch[:, -1].long())

    def seconds(self, example: Tensor) -> None:
        """Images and volumes have no duration."""

    def blank(self) -> Tensor:
        """Zeros (channels, *size)."""
        return torch.zeros(self.channels, *self.size)

    def to_json(self) -> dict[str, Any]:
        plain = {"image": self.image.to_json(), "values": list(self.values), "overlap": self.overlap,
                 "largest_component": self.largest_component, "names": list(self.names),
                 "other_values": self.other_values}  # fmt: skip
        # Adapters that were saved before there were these have none, and load as long as they are the usual ones.
        plain |= {"mask_order": self.mask_order} if self.mask_order != "place" else {}
        plain |= {"merged": [list(own) for own in self.merged]} if self.merged else {}
        plain |= {"table": self.table.to_json()} if self.table is not None else {}
        return plain | ({"ignore_value": self.ignore_value} if self.ignore_value is not None else {})

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> MaskContract:
        """The contract that `to_json` described. Raises SettingsError where fields are missing or unknown."""
        try:
            own = {"image": ImageContract.from_json(plain["image"]), "values": tuple(plain["values"]),
                   "names": tuple(plain.get("names", ())),
                   "merged": tuple(map(tuple, plain.get("merged", ()))),
                   "table": class_table(**plain["table"]) if "table" in plain else None}  # fmt: skip
            return cls(**plain | own)
        except (TypeError, KeyError) as error:
            raise SettingsError(f"not a contract of masks: {error}") from None

    def is_patch(self, example: Tensor) -> bool:
        return tuple(example.shape[1:]) == self.size

    def patch(self, example: Tensor, generator: np.random.Generator, *, changed: bool) -> Tensor:
        """(channels + 1, *size) about a voxel of a class that is drawn first, each class of the mask as likely."""
        places = []
        centre = _drawn_voxel(example[-1], generator)
        for own, wanted, middle in zip(example.shape[1:], self.size, centre, strict=True):
            start = min(max(0, middle - wanted // 2), own - wanted)
            places.append(slice(start, start + wanted))
        piece = example[(slice(None), *places)].clone()
        if not changed:
            return piece
        from graftwork.imaging.preprocessing.augmentation import augment_with_mask

        return augment_with_mask(piece, generator)

    def _grid(self, scan: Scan) -> tuple[int, ...]:
        if self.image.spacing_mm is not None:
            return size_at(scan, self.image.spacing_mm)
        return self.size if self.image.spatial_dims == 2 else scan.spatial_shape


def _drawn_voxel(mask: Tensor, generator: np.random.Generator) -> list[int]:
    """The place of a voxel in the mask (*spatial), each class as likely; of large masks, among every k-th voxel along
    each axis, from a start that is drawn too."""
    step = math.ceil((mask.numel() / LOOKED_AT) ** (1 / mask.dim()))
    starts = [int(generator.integers(min(step, length))) for length in mask.shape]
    thinned = mask[tuple(slice(start, None, step) for start in starts)]
    counts = torch.bincount(thinned.flatten().long() - IGNORED)  # torch.unique sorts all voxels
    present = counts.nonzero().flatten() + IGNORED
    present = present[present != IGNORED] if len(present) > 1 else present
    voxels = (thinned == present[int(generator.integers(len(present)))]).nonzero()
    chosen = voxels[int(generator.integers(len(voxels)))].tolist()
    return [start + step * place for start, place in zip(starts, chosen, strict=True)]


def _resized_mask(mask: Tensor, size: Sequence[int], classes: int) -> Tensor:
    """(*spatial) class numbers at another size: the class with the largest share of every voxel, float32."""
    if tuple(mask.shape) == tuple(size):
        return mask.float()
    best = resize((mask == 0).float()[None], size)[0]
    found = torch.zeros(tuple(size))
    for number in range(1, classes):
        share = resize((mask == number).float()[None], size)[0]
        found[share > best] = number
        best = torch.maximum(best, share)
    if bool((mask == IGNORED).any()):
        found[resize((mask == IGNORED).float()[None], size)[0] > best] = IGNORED
    return found
