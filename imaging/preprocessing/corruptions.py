"""Ways in which scans become worse, each at three strengths, to see how much a model loses by them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NOISE = (0.1, 0.25, 0.5)
"""Standard deviation of the noise, of that of the image."""
BLUR = (1.0, 2.0, 4.0)
"""Standard deviation of a Gaussian, in pixels or voxels."""
CONTRAST = (0.7, 0.5, 0.3)
"""What is left of every value's distance to the mean."""
RESOLUTION = (2, 3, 4)
"""How many times coarser the image is, along every axis, before it is enlarged again."""
BIAS_FIELD = (0.2, 0.4, 0.8)
"""Largest logarithm of the factor by which a smooth field makes parts of the image brighter or darker."""
SPACING = (1.1, 1.25, 1.5)
"""How much larger everything is than the model has learnt."""
FIELD_POINTS = 3
"""Points along every axis between which the field is smooth."""


def add_noise(image: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Gaussian noise. In what follows, image is (channels, *spatial), float32, strength 1 to 3; the shape stays, and
    values stay within what the image has."""
    noise = torch.from_numpy(generator.standard_normal(tuple(image.shape)).astype(np.float32))
    return _within(image + noise * image.std(unbiased=False) * NOISE[strength - 1], image)


def blur(image: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """A Gaussian filter, borders repeated."""
    from scipy.ndimage import gaussian_filter

    widths = (0.0, *[BLUR[strength - 1]] * (image.ndim - 1))
    return torch.from_numpy(gaussian_filter(image.numpy(), widths, mode="nearest"))


def lower_contrast(image: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Values nearer to their mean."""
    return image.mean() + (image - image.mean()) * CONTRAST[strength - 1]


def lower_resolution(image: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Averaged over fewer pixels or voxels, and enlarged again."""
    spatial = image.shape[1:]
    coarse = [max(1, length // RESOLUTION[strength - 1]) for length in spatial]
    small = torch.nn.functional.interpolate(image[None], coarse, mode="area")
    return torch.nn.functional.interpolate(small, list(spatial), mode=_linear(image))[0]


def add_bias_field(image: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Factors of a smooth field, as of a coil near one side; the darkest value counts as nothing."""
    points = generator.uniform(-1, 1, (1, 1, *[FIELD_POINTS] * (image.ndim - 1))).astype(np.float32)
    points *= BIAS_FIELD[strength - 1] / np.abs(points).max()
    field = torch.nn.functional.interpolate(torch.from_numpy(points), list(image.shape[1:]), mode=_linear(image),
                                            align_corners=True)[0]  # fmt: skip
    lowest = image.amin()
    return _within(lowest + (image - lowest) * field.exp(), image)


def change_spacing(image: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Enlarged about its middle, as where a file says a wrong spacing."""
    factor = SPACING[strength - 1]
    spatial = image.shape[1:]
    kept = [max(1, round(length / factor)) for length in spatial]
    middle = [slice((length - own) // 2, (length - own) // 2 + own) for length, own in zip(spatial, kept, strict=True)]
    part = image[(slice(None), *middle)]
    return torch.nn.functional.interpolate(part[None], list(spatial), mode=_linear(image))[0]


def _linear(image: Tensor) -> str:
    return "bilinear" if image.ndim == 3 else "trilinear"


def _within(changed: Tensor, image: Tensor) -> Tensor:
    return changed.clamp(image.amin(), image.amax())
