"""From one vector a frame to one vector a clip, over the frames that are really there."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from graftwork.core.types import padding_mask

Pooling = Literal["mean", "mean+std", "attentive", "checkpoint", "none"]

ATTENTION_WIDTH = 128

VARIANCE_FLOOR = 1e-8
"""Added under the root: a finite gradient where a channel does not vary, as in a clip of one frame."""


def pooled_dim(channels: int, pooling: Pooling) -> int:
    """Length of the vector that pooling makes of `channels`; of the frames themselves without any."""
    return channels if pooling in ("mean", "none") else 2 * channels


class AttentivePooling(nn.Module):
    """Attentive statistics (Okabe, Koshinaka and Shinoda 2018, equations 2 to 6): mean and deviation of the frames,
    weighted by a softmax over the clip of v . tanh(W h + b). At first v is zero, and all frames weigh alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, ATTENTION_WIDTH)
        self.score = nn.Linear(ATTENTION_WIDTH, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """frames (batch, time, channels), lengths (batch,) or None for full rows -> (batch, 2 * channels)."""
        given = frames.dtype
        scores = self.score(torch.tanh(self.hidden(frames))).float()
        if lengths is not None:
            padding = padding_mask(lengths, frames.shape[1], frames.device)
            scores = scores.masked_fill(padding[..., None], float("-inf"))
        weights = scores.softmax(dim=1)
        frames = frames.float()
        mean = (weights * frames).sum(dim=1)
        variance = (weights * (frames - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, torch.sqrt(variance + VARIANCE_FLOOR)], dim=1).to(given)


def pool(frames: Tensor, lengths: Tensor | None, pooling: Literal["mean", "mean+std"]) -> Tensor:
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
        padding = padding_mask(lengths, frames.shape[1], frames.device)[..., None]
        count = lengths[:, None].to(frames)
        mean = frames.masked_fill(padding, 0.0).sum(dim=1) / count
        deviation = (frames - mean[:, None]).masked_fill(padding, 0.0)
        variance = deviation.square().sum(dim=1) / count
    if pooling == "mean":
        return mean.to(given)
    return torch.cat([mean, torch.sqrt(variance + VARIANCE_FLOOR)], dim=1).to(given)
