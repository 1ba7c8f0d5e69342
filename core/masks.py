"""Masks as targets: the loss over pixels or voxels, the overlap of patches, and the names of what is measured."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MEASURES = ("dice", "hd95_mm", "surface_distance_mm")
"""What is measured of every class of every case, in this order."""

SMOOTHING = 1e-5


def summed_mask_loss(outputs: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Sum over examples of weight (batch,) times `mask_losses`."""
    return (mask_losses(outputs, masks) * weights).sum()


def mask_losses(outputs: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy + 1 - Dice (batch,), the loss of nnU-Net (Isensee et al. 2021).

    outputs (batch, classes, *spatial) logits, masks (batch, *spatial) int64. Dice is soft (Milletari et al. 2016), the
    mean over all classes but the background of 2 * overlap / (prediction + truth).
    """
    outputs = outputs.float()
    entropy = F.cross_entropy(outputs, masks, reduction="none").flatten(1).mean(1)
    chances = outputs.softmax(1).flatten(2)
    truth = _one_hot(masks, outputs.shape[1])
    overlap = 2 * (chances * truth).sum(2) + SMOOTHING
    dice = overlap / (chances.sum(2) + truth.sum(2) + SMOOTHING)
    return entropy + 1 - dice[:, 1:].mean(1)


def patch_dice(outputs: Tensor, masks: Tensor) -> Tensor:
    """Dice (batch, classes) of the likeliest class of every voxel; NaN where a class is neither there nor predicted."""
    guess = _one_hot(outputs.argmax(1), outputs.shape[1])
    truth = _one_hot(masks, outputs.shape[1])
    both = guess.sum(2) + truth.sum(2)
    return torch.where(both > 0, 2 * (guess * truth).sum(2) / both.clamp(min=1), torch.nan)


def _one_hot(masks: Tensor, classes: int) -> Tensor:
    """(batch, *spatial) -> (batch, classes, voxels), float32."""
    return torch.stack([masks.flatten(1) == number for number in range(classes)], dim=1).float()
