"""What a pretraining batch is made of: random parts of clips, the frames hidden in them, and the units to be named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.audio.backbones.architecture import Architecture
from graftwork.audio.preprocessing.augmentation import change_channel
from graftwork.audio.preprocessing.contract import AudioContract, normalise_clip
from graftwork.core.data.examples import Examples
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features

CEPSTRA = 13


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


@dataclass(frozen=True, eq=False)
class Crop:
    """`frames` frames of clip `row` from frame `start`; those that are True in `masked` (frames,) are hidden."""

    row: int
    start: int
    frames: int
    masked: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops side by side.

    waveforms: (batch, samples). masked: True (batch, frames) where a frame is hidden. units: (batch, frames), -1 beyond
    a crop's own frames. cepstra: (batch, frames, 13) of the clean sound; None where no one learns them.
    """

    waveforms: Features
    masked: Tensor
    units: Tensor
    cepstra: Tensor | None


@dataclass(frozen=True)
class Masks:
    """Share of the frames at which a hidden span starts, and its length in frames."""

    share: float
    frames: int


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and standard deviation (13,) of the MFCC of clips."""

    mean: Tensor
    deviation: Tensor


def cepstra_of(samples: Tensor, grid: Grid) -> Tensor:
    """13 MFCC (frames, 13) of a clip (samples,).

    Windows without padding at the ends: frame i sees the samples that frame i of a network of this grid sees.
    """
    return cast(Tensor, _mfcc(grid)(samples)).T


@cache
def _mfcc(grid: Grid) -> Any:
    import torchaudio

    mels = {"n_fft": grid.window, "hop_length": grid.hop, "n_mels": 40, "center": False}
    return torchaudio.transforms.MFCC(grid.sample_rate_hz, n_mfcc=CEPSTRA, melkwargs=mels)


def cepstra_scale(clips: Examples, grid: Grid, seed: int) -> Scale:
    """From at most 500 clips, drawn from `seed`, each at mean 0 and variance 1."""
    rows = np.random.default_rng(seed).permutation(len(clips))[:500]
    frames = torch.cat([cepstra_of(normalise_clip(clips.tensor(int(row))), grid) for row in rows])
    return Scale(frames.mean(0), frames.std(0) + 1e-6)


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
    scale: Scale | None,
) -> CropBatch:
    """The crops as a network takes them, and what it has to learn.

    seeds: of the random channel that each crop passes; None for none. scale: what MFCC are standardised by; None for
    a batch without them.
    """
    contract = cast(AudioContract, clips.contract)
    longest = max(crop.frames for crop in crops)
    masked = torch.zeros(len(crops), longest, dtype=torch.bool)
    wanted = torch.full((len(crops), longest), -1)
    cepstra = None if scale is None else torch.zeros(len(crops), longest, CEPSTRA)
    waveforms = []
    for place, crop in enumerate(crops):
        begin = crop.start * grid.hop
        samples = clips.tensor(crop.row)[begin : begin + grid.samples(crop.frames)]
        if cepstra is not None and scale is not None:
            clean = cepstra_of(normalise_clip(samples), grid)
            cepstra[place, : crop.frames] = (clean - scale.mean) / scale.deviation
        if seeds is not None:
            samples = change_channel(samples, np.random.default_rng(seeds[place]))
        waveforms.append(normalise_clip(samples) if contract.normalise == "clip" else samples)
        masked[place, : crop.frames] = torch.from_numpy(crop.masked)
        wanted[place, : crop.frames] = torch.from_numpy(units[crop.row][crop.start : crop.start + crop.frames])
    return CropBatch(contract.collate(waveforms), masked, wanted, cepstra)
