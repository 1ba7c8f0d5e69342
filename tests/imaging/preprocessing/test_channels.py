"""Filters fitted to another number of channels respond as before."""

import pytest
import torch
from torch import nn

from graftwork.imaging.preprocessing.channels import adapt_channels, adapt_statistics


@pytest.mark.parametrize("kernel", [(3, 3), (3, 3, 3)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7])
def test_adapted_filters_respond_the_same_to_identical_channels(kernel, channels):
    generator = torch.Generator().manual_seed(channels)
    weight = torch.randn(5, 3, *kernel, generator=generator)
    grey = torch.randn(2, 1, *[8] * len(kernel), generator=generator)
    convolve = nn.functional.conv2d if len(kernel) == 2 else nn.functional.conv3d
    spread = [channels, *[1] * len(kernel)]
    expected = convolve(grey.repeat(1, 3, *spread[1:]), weight)
    torch.testing.assert_close(
        convolve(grey.repeat(1, *spread), adapt_channels(weight, channels)), expected, rtol=1e-4, atol=1e-4
    )
    assert len(adapt_statistics((0.1, 0.2, 0.3), channels)) == channels
