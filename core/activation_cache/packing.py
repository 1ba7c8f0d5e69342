"""Features of several tensors as one row of numbers an example, as the store keeps them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graftwork.core.types import Features

Shapes = tuple[tuple[int, ...], ...]


def packed(features: Features) -> Tensor:
    """(batch, numbers): of every example the skips, the values and the mask, behind each other."""
    parts = [maps.flatten(1).float() for maps in (*features.skips, features.values)]
    if features.masks is not None:
        parts.append(features.masks.flatten(1).float())
    return torch.cat(parts, dim=1)


def unpacked(rows: Tensor, shapes: Shapes, mask_shape: Sequence[int]) -> Features:
    """What `packed` made a row of; shapes: of the skips and, last, of the values; mask_shape: of the mask, if any."""
    sizes = [math.prod(shape) for shape in shapes]
    *maps, rest = torch.split(rows, [*sizes, rows.shape[1] - sum(sizes)], dim=1)
    shaped = [piece.reshape(-1, *shape) for piece, shape in zip(maps, shapes, strict=True)]
    masks = rest.round().long().reshape(-1, *mask_shape) if rest.shape[1] else None
    return Features(shaped[-1], None, tuple(shaped[:-1]), masks)
