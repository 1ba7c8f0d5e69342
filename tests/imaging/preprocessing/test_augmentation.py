"""Random changes of images: repeatable, and none that turns a finding into another."""

import numpy as np
import pytest
import torch

from graftwork.imaging import (
    augment,
)


@pytest.mark.parametrize("shape", [(3, 24, 24), (1, 12, 13, 14)])
def test_augmentation_is_decided_by_its_generator_alone(shape):
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = example.clone()
    seen = [augment(example, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(example, before)
    assert all(
        type(result) is torch.Tensor and result.shape == shape and result.dtype == torch.float32 for result in seen
    )


def test_augmentation_never_turns_an_image_upside_down():
    ramp = torch.arange(24.0)[:, None].expand(1, 24, 24) / 24
    for seed in range(20):
        changed = augment(ramp, np.random.default_rng(seed))[0]
        assert changed[-6:].mean() > changed[:6].mean()
