"""What an image backbone expects of its input, and how a file becomes that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from graftwork.core.compute.overlap import stacked
from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from graftwork.core.example import Named
from graftwork.core.types import Features
from graftwork.imaging.formats.orientation import plane_of
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.preprocessing.channels import adapt_statistics
from graftwork.imaging.preprocessing.intensity import parse_intensity, scale_intensity
from graftwork.imaging.scan import Scan, times

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, as Pillow's mode L has them."""


@dataclass(frozen=True)
class ImageContract:
    """The input of an image backbone.

    spatial_dims: 2 or 3. channels: of the network's first layer. size: (height, width) in pixels, or
    (depth, height, width) in voxels. intensity: as `parse_intensity` reads it. mean, std: one number a channel,
    subtracted and divided by after the intensity rule. spacing_mm: between voxels, which scans are resampled to and
    then cut or padded about their centre to `size`; None stretches them to `size`, whatever their spacing. Raises
    SettingsError where these contradict each other.
    """

    spatial_dims: int
    channels: int
    size: tuple[int, ...]
    intensity: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    spacing_mm: float | None = None

    def __post_init__(self) -> None:
        parse_intensity(self.intensity)
        if self.spatial_dims not in (2, 3):
            raise SettingsError(f"spatial_dims must be 2 or 3, found {self.spatial_dims}")
        if not isinstance(self.channels, Integral) or self.channels < 1:
            raise SettingsError(f"channels must be 1 or more, found {self.channels}")
        whole = all(isinstance(length, Integral) for length in self.size)
        if len(self.size) != self.spatial_dims or not whole or min(self.size) < 1:
            raise SettingsError(f"size must be {self.spatial_dims} whole numbers of 1 or more, found {self.size}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise SettingsError(
                f"mean and std need one number for each of {self.channels} channels, found {self.mean} and {self.std}"
            )
        if self.spacing_mm is not None and not 0 < self.spacing_mm < math.inf:
            raise SettingsError(f"spacing_mm must be above 0, found {self.spacing_mm}")
        if min(self.std) <= 0:
            raise SettingsError(f"std must be above 0, found {self.std}")

    def read(self, named: Named) -> Tensor:
        """A scan as float32 (channels, *size), ready for the network.

        In order: the intensity rule over the whole scan; colour to grey by luminance if the network takes one
        channel; resizing, bilinear with antialiasing, straight to `size` or by way of `spacing_mm`; grey repeated if
        the network takes three channels; mean and std. Without a spacing the aspect ratio is not kept: cropping could
        cut the finding away and padding would teach the network the border.

        Raises UnreadableError for a file that is missing or damaged, holds values that are not finite, or is
        the same value everywhere; ContractError for another number of dimensions or of channels, and for a file that
        does not say its spacing where one is asked for.
        """
        return self.read_with_scan(named)[0]

    def read_with_scan(self, named: Named) -> tuple[Tensor, Scan]:
        """What `read` gives, and the scan in its own units and size."""
        scan = self.scan(named)
        values = self.scaled(scan)
        if self.spacing_mm is not None:
            values = centred(resize(values, size_at(scan, self.spacing_mm)), self.size)
        return self.normalised(resize(values, self.size)), scan

    def scan(self, named: Named) -> Scan:
        """The scan, with as many dimensions as the network has, after `read`'s checks of its values."""
        scan = self._of_our_dimension(read_scan(named))
        self._check_values(scan)
        return scan

    def scaled(self, scan: Scan) -> Tensor:
        """Its values under the intensity rule: (channels of the file, or 1 for colour in grey, *spatial)."""
        values = torch.from_numpy(scale_intensity(scan, parse_intensity(self.intensity)))
        if self.channels == 1 and scan.rgb:
            weights = values.new_tensor(LUMINANCE).reshape(3, *[1] * self.spatial_dims)
            values = (values * weights).sum(dim=0, keepdim=True)
        elif values.shape[0] != self.channels and not (values.shape[0] == 1 and self.channels == 3):
            raise ContractError(
                f"{scan.path}: has {scan.channels} channels, and the backbone takes {self.channels}; load it with "
                f"channels={scan.channels} (--channels {scan.channels}), or convert the file"
            )
        return values

    def normalised(self, values: Tensor) -> Tensor:
        """Scaled values (1 or channels, *spatial) as the network takes them, (channels, *spatial)."""
        shape = (self.channels, *[1] * self.spatial_dims)
        centred_values = values - values.new_tensor(self.mean).reshape(shape)
        return centred_values.div_(values.new_tensor(self.std).reshape(shape))

    def onto_scan(self, values: Tensor, scan: Scan) -> Tensor:
        """(channels, *size) as the network sees a scan, to (channels, *scan.spatial_shape): where `read` cut the scan,
        zeros; linear in between."""
        if self.spacing_mm is not None:
            # Cutting and filling about the centre are each other's reverse.
            values = centred(values, size_at(scan, self.spacing_mm), outside=0.0)
        return resize(values, scan.spatial_shape)

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """(batch, channels, *size); all examples have one size, so `lengths` is None."""
        return Features(stacked(examples))

    def seconds(self, example: Tensor) -> None:
        """Images and volumes have no duration."""

    def blank(self) -> Tensor:
        """Zeros (channels, *size)."""
        return torch.zeros(self.channels, *self.size)

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> ImageContract:
        """The contract that `to_json` described. Raises SettingsError where fields are missing or unknown."""
        try:
            fields: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
            }
            return cls(**fields)
        except TypeError as error:
            raise SettingsError(f"not an image contract: {error}") from None

    def _of_our_dimension(self, scan: Scan) -> Scan:
        """The scan, with an axis of one slice taken out if a 2D network is to see it."""
        shape = scan.spatial_shape
        if len(shape) == self.spatial_dims:
            return scan
        if self.spatial_dims == 2 and 1 in shape:
            return plane_of(scan)
        if self.spatial_dims == 2:
            raise ContractError(
                f"{scan.path}: is a volume of {times(shape)} voxels (depth, height, width), and the backbone takes "
                "2D images; choose a 3D backbone such as medicalnet:resnet18, or save the slices as files"
            )
        raise ContractError(
            f"{scan.path}: is a 2D image of {times(shape)} pixels (height, width), and the backbone takes volumes; "
            "choose a 2D backbone such as timm:mobilenetv2_100, or give one file a volume"
        )

    def _check_values(self, scan: Scan) -> None:
        if scan.values.size == 0:
            raise UnreadableError(f"{scan.path}: has no pixels: shape {scan.values.shape}")
        low, high = float(scan.values.min()), float(scan.values.max())
        # The extremes carry any NaN or infinity, and take one pass without a copy.
        if not (np.isfinite(low) and np.isfinite(high)):
            count = int(scan.values.size - np.isfinite(scan.values).sum())
            raise UnreadableError(f"{scan.path}: {count} of {scan.values.size} values are not finite numbers")
        if low == high:
            raise UnreadableError(f"{scan.path}: every value is {low:g}: an empty image shows nothing")


def resize(values: Tensor, size: Sequence[int]) -> Tensor:
    """(channels, *spatial) to (channels, *size), linear between neighbours, and antialiased where it shrinks.

    Two dimensions are torch's `interpolate(mode="bilinear", antialias=True)`. Three apply the same triangle
    filter along depth after height and width, which is exact because the filter is separable: torch has no
    antialiased trilinear, and without it a thin structure can vanish between the voxels that are kept.
    """
    if tuple(values.shape[1:]) == tuple(size):
        return values
    if len(size) == 2:
        return functional.interpolate(values[None], size=tuple(size), mode="bilinear", antialias=True)[0]
    channels, depth, height, width = values.shape
    slices = values.reshape(1, channels * depth, height, width)
    slices = functional.interpolate(slices, size=(size[1], size[2]), mode="bilinear", antialias=True)
    columns = slices.reshape(1, channels, depth, size[1] * size[2])
    columns = functional.interpolate(columns, size=(size[0], size[1] * size[2]), mode="bilinear", antialias=True)
    return columns.reshape(channels, *size)


def size_at(scan: Scan, spacing_mm: float) -> tuple[int, ...]:
    """Voxels along each axis at that spacing. Raises ContractError for a scan that does not say its own."""
    if scan.spacing_mm is None:
        raise ContractError(f"{scan.path}: does not say its spacing in mm, and the backbone takes scans at "
                            f"{spacing_mm:g} mm; load it without spacing_mm (--spacing-mm)")  # fmt: skip
    return tuple(max(1, round(length * own / spacing_mm))
                 for length, own in zip(scan.spatial_shape, scan.spacing_mm, strict=True))  # fmt: skip


def centred(values: Tensor, size: Sequence[int], outside: float | None = None) -> Tensor:
    """(channels, *spatial) to (channels, *size) about the centre: cut where it is longer, elsewhere continued by
    `outside`, by default its lowest value."""
    places = [slice(None)]
    margins: list[int] = []
    for own, wanted in zip(values.shape[1:], size, strict=True):
        cut, missing = max(0, own - wanted), max(0, wanted - own)
        places.append(slice(cut // 2, cut // 2 + min(own, wanted)))
        margins = [missing // 2, missing - missing // 2, *margins]  # torch counts from the last axis
    return functional.pad(values[tuple(places)], margins, value=float(values.min()) if outside is None else outside)


def picture_contract(
    size: Sequence[int], channels: int, intensity: str | None, *, mean: Sequence[float], std: Sequence[float]
) -> ImageContract:
    """The contract of a 2D network that was pretrained on values in [0, 1], less `mean`, by `std`, one a channel.

    size: (height, width) in pixels. channels: wanted, where the pretrained number may be another. intensity: None is
    "auto". Raises SettingsError as ImageContract does.
    """
    if intensity is not None and intensity.strip().lower() == "zscore":
        # A z-score is the network's scale already: the pretrained mean and std on top would move it away again.
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    return ImageContract(
        spatial_dims=2,
        channels=channels,
        size=tuple(size),
        intensity=intensity or "auto",
        mean=adapt_statistics(mean, max(channels, 1)),
        std=adapt_statistics(std, max(channels, 1)),
    )
