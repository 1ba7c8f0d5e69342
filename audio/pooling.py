"""From one vector a frame to one vector a clip, over the frames that are really there."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "mean+std"]

VARIANCE_FLOOR = 1e-8
"""Added under the root: a finite gradient where a channel does not vary, as in a clip of one frame."""


def pooled_dim(channels: int, pooling: Pooling) -> int:
    """Length of the vector that `pool` makes of `channels`."""
    return 2 * channels if pooling == "mean+std" else channels


def pool(frames: Tensor, lengths: Tensor | None, pooling: Pooling) -> Tensor:
    """frames (batch, time, channels), lengths (batch,) or None for full rows -> (batch, pooled_dim).

    The standard deviation is the population's (divided by the number of frames n, not n - 1):
    sqrt(mean((x - mean)^2) + 1e-8). A clip of one frame has 1e-4 there, with a gradient of zero. Half
    precision, which cannot even count to a few hundred frames, is summed in single and returned as it came.
    """
    given = frames.dtype
    frames = frames.to(torch.promote_types(given, torch.float32))
    if lengths is None:
        mean = frames.mean(dim=1)
        deviation = frames - mean[:, None]
        variance = deviation.square().mean(dim=1)
    else:
        steps = torch.arange(frames.shape[1], device=frames.device)
        padding = (steps >= lengths[:, None])[..., None]
        count = lengths[:, None].to(frames.dtype)
        mean = frames.masked_fill(padding, 0.0).sum(dim=1) / count
        deviation = (frames - mean[:, None]).masked_fill(padding, 0.0)
        variance = deviation.square().sum(dim=1) / count
    if pooling == "mean":
        return mean.to(given)
    return torch.cat([mean, torch.sqrt(variance + VARIANCE_FLOOR)], dim=1).to(given)
