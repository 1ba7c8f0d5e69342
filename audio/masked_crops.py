"""What a pretraining batch is made of: random parts of clips, the frames hidden in them, and the units to be named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.audio.architecture import Architecture
from graftwork.audio.augmentation import change_channel
from graftwork.audio.contract import AudioContract, normalise_clip
from graftwork.core.backbone import Backbone, Features
from graftwork.core.examples import Examples


@dataclass(frozen=True)
class Grid:
    """How frames lie on samples: frame i of a clip sees `window` samples from sample i * `hop`."""

    window: int
    hop: int
    sample_rate_hz: int

    def samples(self, frames: int) -> int:
        """How many samples so many frames need."""
        return self.window + (frames - 1) * self.hop

    def frames(self, seconds: float) -> int:
        """How many frames fit, at least one."""
        return max(1, (round(seconds * self.sample_rate_hz) - self.window) // self.hop + 1)


@dataclass(frozen=True)
class Crop:
    """`frames` frames of clip `row` from frame `start`; those that are True in `masked` (frames,) are hidden."""

    row: int
    start: int
    frames: int
    masked: NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """Share of the frames at which a hidden span starts, and its length in frames."""

    share: float
    frames: int


def grid_of(backbone: Backbone) -> Grid:
    """The frames of a network of the wav2vec 2.0 family."""
    architecture: Architecture = cast(Any, backbone.network).architecture
    hop = math.prod(stride for _, _, stride in architecture.cnn_layers)
    return Grid(architecture.shortest_samples(), hop, cast(AudioContract, backbone.contract).sample_rate_hz)


def draw_crops(
    rows: NDArray[np.int64], frames: Sequence[int], count: int, most: int, masks: Masks, generator: np.random.Generator
) -> list[Crop]:
    """`count` crops of at most `most` frames from the clips `rows`, drawn in proportion to their `frames`."""
    lengths = np.array([frames[row] for row in rows], dtype=np.float64)
    chosen = generator.choice(rows, size=count, p=lengths / lengths.sum())
    return [draw_crop(int(row), frames[row], most, masks, generator) for row in chosen]


def draw_crop(row: int, there: int, most: int, masks: Masks, generator: np.random.Generator) -> Crop:
    """A crop of a clip of `there` frames, with at least one hidden span."""
    frames = min(there, most)
    start = int(generator.integers(there - frames + 1))
    starts = generator.random(frames) < masks.share
    starts[generator.integers(frames)] = True
    return Crop(row, start, frames, np.convolve(starts, np.ones(masks.frames))[:frames] > 0)


def crop_batch(
    clips: Examples,
    units: Sequence[NDArray[np.int64]],
    grid: Grid,
    crops: Sequence[Crop],
    seeds: Sequence[tuple[int, ...]] | None,
) -> tuple[Features, Tensor, Tensor]:
    """Waveforms, what is hidden (batch, frames), and units (batch, frames), -1 beyond a crop's own frames.

    seeds: of the random channel that each crop passes; None for none.
    """
    contract = cast(AudioContract, clips.contract)
    longest = max(crop.frames for crop in crops)
    masked = torch.zeros(len(crops), longest, dtype=torch.bool)
    wanted = torch.full((len(crops), longest), -1)
    waveforms = []
    for place, crop in enumerate(crops):
        begin = crop.start * grid.hop
        samples = clips.tensor(crop.row)[begin : begin + grid.samples(crop.frames)]
        if seeds is not None:
            samples = change_channel(samples, np.random.default_rng(seeds[place]))
        waveforms.append(normalise_clip(samples) if contract.normalise == "clip" else samples)
        masked[place, : crop.frames] = torch.from_numpy(crop.masked)
        wanted[place, : crop.frames] = torch.from_numpy(units[crop.row][crop.start : crop.start + crop.frames])
    return contract.collate(waveforms), masked, wanted
