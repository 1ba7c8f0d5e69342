"""Units found without labels: one for every frame of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graftwork.audio.pretraining.masked_crops import (
    grid_of,
)
from graftwork.audio.pretraining.units import find_units, mfcc_frames, unit_shares
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features


@pytest.mark.parametrize("samples", [400, 719, 720, 8000, 16001])
def test_there_is_one_mfcc_frame_for_every_frame_of_the_network(base_backbone: Backbone, samples: int) -> None:
    grid = grid_of(base_backbone)
    frames = mfcc_frames(torch.randn(samples), grid)
    network = base_backbone.run(Features(torch.randn(1, samples)), 0, 1).values
    assert frames.shape == (network.shape[1], 39)
    assert grid.samples(len(frames)) <= samples < grid.samples(len(frames) + 1)


def test_the_mfcc_of_a_frame_come_from_the_samples_of_that_frame(base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    clip = torch.randn(8000)
    changed = clip.clone()
    changed[5 * grid.hop : 5 * grid.hop + grid.window] = 0.0
    before, after = (mfcc_frames(one, grid)[:, :13] for one in (clip, changed))
    moved = np.flatnonzero(np.abs(before - after).max(1) > 1e-4)
    assert set(moved) == {4, 5, 6}  # windows overlap by 80 samples


def test_units_are_the_clusters_that_are_there() -> None:
    generator = np.random.default_rng(0)
    truth = [generator.integers(0, 3, 40) for _ in range(5)]
    clips = [(10 * np.eye(3)[one] + generator.normal(size=(40, 3))).astype(np.float32) for one in truth]
    units = find_units(clips, 3, seed=0)
    pairs = {(a, b) for one, other in zip(truth, units, strict=True) for a, b in zip(one, other, strict=True)}
    assert len(pairs) == 3
    np.testing.assert_allclose(sorted(unit_shares(units, 3)), sorted(np.bincount(np.concatenate(truth)) / 200))
    with pytest.raises(SettingsError, match="--clusters 300: the clips have 200 frames"):
        find_units(clips, 300, seed=0)
