"""What a pretraining batch is made of."""

from __future__ import annotations

import numpy as np
import torch

from graftwork.audio.preprocessing.contract import normalise_clip
from graftwork.audio.pretraining.masked_crops import (
    Crop,
    Masks,
    cepstra_of,
    cepstra_scale,
    crop_batch,
    draw_crop,
    draw_crops,
    grid_of,
)
from graftwork.core.data.examples import Examples
from graftwork.core.model.backbone import Backbone


def test_crops_lie_within_their_clips_and_hide_whole_spans() -> None:
    generator = np.random.default_rng(0)
    crops = draw_crops(np.array([1, 3]), [0, 30, 0, 90], 200, 40, Masks(0.05, 6), generator)
    assert {crop.row for crop in crops} == {1, 3}
    assert 0.6 < np.mean([crop.row == 3 for crop in crops]) < 0.9  # in proportion to 90 of 120 frames
    for crop in crops:
        assert crop.frames == min(40, 30 if crop.row == 1 else 90)
        assert 0 <= crop.start <= (30 if crop.row == 1 else 90) - crop.frames
        assert len(crop.masked) == crop.frames
        edges = np.flatnonzero(np.diff(np.concatenate([[0], crop.masked, [0]])))
        spans = edges[1::2] - edges[::2]
        assert len(spans)
        assert all(length >= 6 for length, end in zip(spans, edges[1::2], strict=True) if end < crop.frames)


def test_a_batch_holds_the_samples_and_the_units_of_its_frames(clips: Examples, base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    units = [np.arange(100) for _ in range(8)]
    long = draw_crop(7, 40, 20, Masks(0.1, 3), np.random.default_rng(1))
    crops = [Crop(2, 4, 10, np.arange(10) < 3), long]
    scale = cepstra_scale(clips, grid, 0)
    batch = crop_batch(clips, units, grid, crops, None, scale)
    features, masked, wanted = batch.waveforms, batch.masked, batch.units
    assert features.lengths is not None
    assert features.lengths.tolist() == [grid.samples(10), grid.samples(20)]
    part = clips.tensor(2)[4 * grid.hop : 4 * grid.hop + grid.samples(10)]
    expected = (part - part.mean()) / torch.sqrt(part.var(unbiased=False) + 1e-7)
    torch.testing.assert_close(features.values[0, : grid.samples(10)], expected)
    assert wanted[0].tolist() == [*range(4, 14), *[-1] * 10]
    assert masked[0].tolist() == [*[True] * 3, *[False] * 17]
    assert wanted[1].tolist() == list(range(long.start, long.start + 20))
    assert batch.cepstra is not None
    clean = (cepstra_of(expected, grid) - scale.mean) / scale.deviation
    torch.testing.assert_close(batch.cepstra[0, :10], clean, rtol=1e-3, atol=1e-3)
    assert not batch.cepstra[0, 10:].any()


def test_what_is_to_be_told_does_not_pass_the_channel(clips: Examples, base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    units, crops = [np.arange(100) for _ in range(8)], [Crop(2, 4, 10, np.arange(10) < 3)]
    scale = cepstra_scale(clips, grid, 0)
    clean, other = (crop_batch(clips, units, grid, crops, seeds, scale) for seeds in (None, [(0, 1)]))
    assert not torch.allclose(clean.waveforms.values, other.waveforms.values)
    assert clean.cepstra is not None
    assert other.cepstra is not None
    torch.testing.assert_close(clean.cepstra, other.cepstra)


def test_mfcc_of_clips_are_standardised(clips: Examples, base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    scale = cepstra_scale(clips, grid, 0)
    frames = torch.cat([cepstra_of(normalise_clip(clips.tensor(row)), grid) for row in range(len(clips))])
    torch.testing.assert_close(((frames - scale.mean) / scale.deviation).std(0), torch.ones(13), rtol=1e-3, atol=1e-3)
