"""Ways in which recordings become worse, each at three strengths, to see how much a model loses by them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from graftwork.audio.preprocessing import augmentation

NOISE_DB = (20.0, 10.0, 0.0)
"""Signal-to-noise ratio."""
ROOM_SHARE = (0.2, 0.5, 1.0)
"""Energy of the echo relative to that of the direct sound, which decays by 60 dB in `ROOM_DECAY` samples."""
ROOM_DECAY = 8000
CODEC_LEVEL = (0.5, 0.8, 0.95)
"""libsndfile's compression level of MP3: about 33, 24 and 22 kbit/s of 16 kHz speech."""
RATE = (0.5, 0.25, 0.125)
"""What is left of the sample rate before it is raised again: 8, 4 and 2 kHz of 16."""
BAND = ((200.0, 3400.0), (300.0, 2400.0), (500.0, 1500.0))
"""Frequencies that remain, in Hz at a sample rate of 16 kHz: a telephone, and less."""


def add_noise(clip: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Noise between white and pink. In what follows, clip is (samples,), float32, strength 1 to 3; the length stays,
    and a clip of zero mean and unit variance stays so."""
    return _as_before(clip, lambda own: augmentation.add_noise(own, NOISE_DB[strength - 1], generator))


def add_room(clip: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """The echo of a large room."""
    return _as_before(clip, lambda own: augmentation.echo(own, ROOM_DECAY, ROOM_SHARE[strength - 1], generator))


def code(clip: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Coded as MP3 and decoded again; a clip that is too short for it stays as it is."""
    level = CODEC_LEVEL[strength - 1]
    return _as_before(clip, lambda own: augmentation.code_with(own, "MP3", "MPEG_LAYER_III", level))


def lower_rate(clip: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Recorded at a lower sample rate."""
    return _as_before(clip, lambda own: augmentation.limit_band(own, RATE[strength - 1]))


def narrow_band(clip: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
    """Only some frequencies, as over a telephone."""
    low, high = BAND[strength - 1]

    def narrowed(own: Tensor) -> Tensor:
        half_hz = augmentation.NOMINAL_HZ / 2
        whole = augmentation.limit_band(own, high / half_hz)
        return whole - augmentation.limit_band(whole, low / half_hz)

    return _as_before(clip, narrowed)


def _as_before(clip: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The changed clip, as long and, if it was, normalised as before."""
    changed = change(clip)
    if augmentation.is_normalised(clip):
        changed = (changed - changed.mean()) / changed.std(unbiased=False).clamp_min(1e-7)
    return changed.to(torch.float32)
