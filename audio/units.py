"""Units of speech found without labels: k-means over MFCC or over a layer's output, one unit for every frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.errors import SettingsError

Frames = NDArray[np.float32]

SAMPLED = 200_000
"""Frames that the centres are found from."""


def mfcc_frames(samples: Tensor, sample_rate_hz: int, window: int, hop: int) -> Frames:
    """13 MFCC with their first and second differences, (frames, 39), of a clip (samples,).

    Windows of `window` samples every `hop` without padding at the ends: frame i sees the samples that frame i of a
    network with this receptive field and stride sees. The features are those of HuBERT's first iteration (Hsu et al.
    2021, section IV.B), there with windows of 25 ms every 10 ms.
    """
    from torchaudio.functional import compute_deltas
    from torchaudio.transforms import MFCC

    mels = {"n_fft": window, "hop_length": hop, "n_mels": 40, "center": False}
    cepstra = MFCC(sample_rate_hz, n_mfcc=13, melkwargs=mels)(samples)
    first = compute_deltas(cepstra)
    stacked: Frames = torch.cat([cepstra, first, compute_deltas(first)]).T.numpy()
    return stacked


def find_units(clips: Sequence[Frames], count: int, seed: int) -> list[NDArray[np.int64]]:
    """Unit (frames,), 0 to `count` - 1, of every frame of every clip (frames, features).

    The centres are those of scikit-learn's MiniBatchKMeans on standardised features of at most 200 000 frames, drawn
    from `seed`. Raises SettingsError for fewer frames than units.
    """
    from sklearn.cluster import MiniBatchKMeans

    total = sum(map(len, clips))
    if total < count:
        raise SettingsError(f"--clusters {count}: the clips have {total} frames; give more clips or fewer clusters")
    everything = np.concatenate(clips)
    chosen = np.random.default_rng(seed).permutation(total)[:SAMPLED]
    centre, spread = everything[chosen].mean(0), everything[chosen].std(0) + 1e-6
    model: Any = MiniBatchKMeans(count, batch_size=max(10_000, count), n_init=3, random_state=seed)
    model.fit((everything[chosen] - centre) / spread)
    return [model.predict((frames - centre) / spread).astype(np.int64) for frames in clips]


def unit_shares(units: Iterable[NDArray[np.int64]], count: int) -> NDArray[np.float64]:
    """Share of all frames (count,) that each unit has."""
    totals = np.sum([np.bincount(one, minlength=count) for one in units], axis=0)
    shares: NDArray[np.float64] = totals / totals.sum()
    return shares
