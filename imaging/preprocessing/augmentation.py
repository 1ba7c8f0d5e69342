"""Random changes of an image that leave its finding as it is, with MONAI's transforms."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

TURN = math.radians(10)


def augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    """One example as the contract read it, changed at random: same shape, float32, same result for the same generator.

    example: (channels, height, width) or (channels, depth, height, width), normalised, so that 1 is about one
    standard deviation. The changes: a flip along width, half the time; a turn by up to 10 degrees and a zoom
    of 0.9 to 1.1, borders repeated; intensities scaled by up to 10 % and shifted by up to 0.1; sometimes
    slight noise or smoothing.

    Width is left to right in RAS volumes and in upright pictures: the mirrored body is plausible. Upside down is
    not, so no other axis is flipped. Leave augmentation off where the label is a side.
    """
    transform = _transform(example.ndim - 1)
    transform.set_random_state(seed=int(generator.integers(2**32)))
    changed: Tensor = transform(example)
    # MONAI gives a tensor that carries metadata; a plain one is what went in.
    return torch.as_tensor(changed.as_tensor() if hasattr(changed, "as_tensor") else changed, dtype=torch.float32)


def augment_with_mask(example: Tensor, generator: np.random.Generator) -> Tensor:
    """The same changes for an image with the class of every voxel as its last channel: the mask goes where the image
    goes, and keeps whole numbers; its intensities are not touched."""
    space, intensity = _transforms_with_mask(example.ndim - 1)
    seeds = [int(generator.integers(2**32)) for _ in range(2)]
    space.set_random_state(seed=seeds[0])
    intensity.set_random_state(seed=seeds[1])
    moved = space({"image": example[:-1], "mask": example[-1:]})
    changed = [
        torch.as_tensor(np.asarray(one), dtype=torch.float32) for one in (intensity(moved["image"]), moved["mask"])
    ]
    return torch.cat(changed)


@functools.lru_cache(maxsize=2)
def _transforms_with_mask(spatial_dims: int) -> tuple[Any, Any]:
    from monai.transforms import Compose, RandAffined, RandFlipd

    keys = ("image", "mask")
    turn, zoom = [TURN] * (1 if spatial_dims == 2 else 3), [0.1] * spatial_dims
    space = Compose([
        RandFlipd(keys, prob=0.5, spatial_axis=spatial_dims - 1),
        RandAffined(keys, prob=0.5, rotate_range=turn, scale_range=zoom, mode=("bilinear", "nearest"),
                    padding_mode="border"),
    ])  # fmt: skip
    return space, Compose(_intensity_changes())


# Building the transforms takes longer than applying them; their random state is set anew for every example.
@functools.lru_cache(maxsize=2)
def _transform(spatial_dims: int) -> Any:
    from monai.transforms import (
        Compose,
        RandFlip,
        RandRotate,
        RandZoom,
    )

    turns = {"range_x": TURN} if spatial_dims == 2 else {"range_x": TURN, "range_y": TURN, "range_z": TURN}
    return Compose(
        [
            RandFlip(prob=0.5, spatial_axis=spatial_dims - 1),
            RandRotate(prob=0.5, **turns, padding_mode="border"),
            RandZoom(prob=0.3, min_zoom=0.9, max_zoom=1.1, padding_mode="edge"),
            *_intensity_changes(),
        ]
    )


def _intensity_changes() -> list[Any]:
    from monai.transforms import RandGaussianNoise, RandGaussianSmooth, RandScaleIntensity, RandShiftIntensity

    sigma = (0.25, 0.75)
    return [
        RandScaleIntensity(prob=0.5, factors=0.1),
        RandShiftIntensity(prob=0.5, offsets=0.1),
        RandGaussianNoise(prob=0.2, std=0.05),
        RandGaussianSmooth(prob=0.1, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
    ]
