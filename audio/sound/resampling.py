"""torchaudio's resampling filter without its table, for rates that have next to no common divisor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_TABLE = 2_000_000
"""Weights that torchaudio keeps for a pair of rates: one row for every phase between them."""

ZEROS, ROLLOFF = 6, 0.99
"""Of torchaudio's filter: a sinc with so many zero crossings on each side, under a Hann window."""

_BLOCK = 1 << 16


def has_large_table(from_hz: int, to_hz: int) -> bool:
    """Whether torchaudio's filter for a pair of rates would need gigabytes."""
    divisor = math.gcd(from_hz, to_hz)
    return (to_hz // divisor) * (from_hz // divisor) > LARGEST_TABLE


def resample_directly(samples: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """What torchaudio.functional.resample gives (samples,), with the weights of every sample computed where it is.

    from_hz, to_hz: the rates, or their ratio. Sample m is the sum over samples i near it of w(i / from_hz - m / to_hz)
    times sample i, with w the windowed sinc of Smith, "Digital Audio Resampling": memory is that of a block, whatever
    the rates are.
    """
    divisor = math.gcd(from_hz, to_hz)
    from_hz, to_hz = from_hz // divisor, to_hz // divisor
    base = min(from_hz, to_hz) * ROLLOFF
    reach = math.ceil(ZEROS * from_hz / base)
    count = -(-len(samples) * to_hz // from_hz)
    padded = torch.nn.functional.pad(samples, (reach, reach + 1))
    offsets = torch.arange(-reach, reach + 2)
    blocks = []
    for start in range(0, count, _BLOCK):
        outputs = torch.arange(start, min(start + _BLOCK, count))[:, None]
        near = outputs * from_hz // to_hz + offsets
        # Whole numbers until here, so that the distance is exact however long the clip is.
        distance = (near * to_hz - outputs * from_hz).double() * (base / (from_hz * to_hz))
        distance = distance.clamp(-ZEROS, ZEROS)
        weights = torch.sinc(distance) * torch.cos(distance * (math.pi / ZEROS / 2)) ** 2 * (base / from_hz)
        chosen = padded[(near + reach).clamp(0, len(padded) - 1)]
        blocks.append((chosen * weights.to(samples.dtype)).sum(1))
    return torch.cat(blocks) if blocks else samples[:0]
