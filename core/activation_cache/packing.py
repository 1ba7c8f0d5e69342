"""Features of several tensors as one row of numbers an example, as the store keeps them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graftwork.core.types import Features

Shapes = tuple[tuple[int, ...], ...]

LENGTH_BASE = 1024


def packed(features: Features) -> Tensor:
    """(batch, numbers): of every example the skips, the values and the mask, behind each other."""
    parts = [maps.flatten(1).float() for maps in (*features.skips, features.values)]
    if features.masks is not None:
        parts.append(features.masks.flatten(1).float())
    return torch.cat(parts, dim=1)


def with_lengths(features: Features) -> Features:
    """Sequences (batch, time, channels) with one step more, which holds their lengths, and no lengths beside them."""
    if features.lengths is None:
        raise ValueError("expected features with lengths, found none")
    values = features.values.float()
    last = values.new_zeros(len(values), 1, values.shape[2])
    # In two numbers, each of which half precision holds as it is.
    last[:, 0, 0] = torch.div(features.lengths, LENGTH_BASE, rounding_mode="floor").to(values)
    last[:, 0, 1] = (features.lengths % LENGTH_BASE).to(values)
    return Features(torch.cat([values, last], dim=1))


def without_lengths(values: Tensor) -> Features:
    """The inverse of `with_lengths`, of its values (batch, time + 1, channels)."""
    high, low = values[:, -1, 0].round().long(), values[:, -1, 1].round().long()
    return Features(values[:, :-1], LENGTH_BASE * high + low)


def unpacked(rows: Tensor, shapes: Shapes, mask_shape: Sequence[int]) -> Features:
    """What `packed` made a row of; shapes: of the skips and, last, of the values; mask_shape: of the mask, if any."""
    sizes = [math.prod(shape) for shape in shapes]
    *maps, rest = torch.split(rows, [*sizes, rows.shape[1] - sum(sizes)], dim=1)
    shaped = [piece.reshape(-1, *shape) for piece, shape in zip(maps, shapes, strict=True)]
    masks = rest.round().long().reshape(-1, *mask_shape) if rest.shape[1] else None
    return Features(shaped[-1], None, tuple(shaped[:-1]), masks)
