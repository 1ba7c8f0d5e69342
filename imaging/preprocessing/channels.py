"""Fitting pretrained filters to another number of input channels, so that nothing the network learnt is lost."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weight (out, in, *kernel), 2D or 3D, for another number of input channels.

    To one channel the filters are summed over the old ones; to more they are repeated in turn and scaled so that
    their sum stays. Either way an image whose channels are all equal gets the response it got before:
    a grey scan in one channel, and the same scan three times over, look alike to the network.
    """
    old = weight.shape[1]
    if channels == old:
        return weight
    total = weight.sum(dim=1, keepdim=True)
    if channels == 1:
        return total
    repeated = weight[:, torch.arange(channels) % old]
    # channels/old alone keeps the sum only where every old filter is repeated equally often; where it is not
    # (3 to 4), what is missing from the sum is spread over all channels.
    scaled = repeated * (old / channels)
    return scaled + (total - scaled.sum(dim=1, keepdim=True)) / channels


def adapt_statistics(numbers: Sequence[float], channels: int) -> tuple[float, ...]:
    """Mean or std a channel, for another number of channels: their average for one, else repeated in turn."""
    if channels == len(numbers):
        return tuple(numbers)
    if channels == 1:
        return (sum(numbers) / len(numbers),)
    return tuple(numbers[index % len(numbers)] for index in range(channels))
