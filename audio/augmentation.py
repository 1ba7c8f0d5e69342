"""Random changes of a clip that leave what was said, and who said it, as they were."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CHANCE = 0.5
"""Each change is made with this probability, independently of the others."""

SPEEDS = ((9, 10), (19, 20), (20, 19), (10, 9))
"""(old rate, new rate) of a resampling, small numbers for small filters: 5 or 10 % slower or faster."""

SNR_DB = (10.0, 30.0)
GAIN_DB = (-6.0, 6.0)
CUT_OFF = (0.4, 0.9)
"""Of half the sample rate: at 16 kHz, between telephone speech and nearly everything."""

SHORTEST_FOR_SPEED = 1600
"""A clip of fewer samples keeps its speed: faster, it might be too short for a network."""


def augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    """One clip (samples,), changed at random in speed, band, noise and gain; reproducible from the generator.

    Speed: by 5 or 10 %; a slower clip is cropped at its end to the old length, a faster one is shorter.
    Band: high frequencies fade out. Noise: between white and pink, at 10 to 30 dB signal-to-noise ratio.
    Gain: -6 to +6 dB. A clip that came with zero mean and unit variance leaves with them (its gain then has
    no effect), because that is what its contract promised.
    """
    normalised = is_normalised(example)
    clip = example
    if generator.random() < CHANCE:
        clip = change_speed(clip, generator)
    if generator.random() < CHANCE:
        clip = limit_band(clip, generator.uniform(*CUT_OFF))
    if generator.random() < CHANCE:
        clip = add_noise(clip, generator.uniform(*SNR_DB), generator)
    if generator.random() < CHANCE:
        clip = clip * 10.0 ** (generator.uniform(*GAIN_DB) / 20.0)
    if normalised:
        clip = (clip - clip.mean()) / clip.std(unbiased=False).clamp_min(1e-7)
    return clip.to(example.dtype)


def is_normalised(clip: Tensor) -> bool:
    """Whether a clip (samples,) has zero mean and unit variance, to three digits."""
    return abs(float(clip.mean())) < 1e-3 and abs(float(clip.var(unbiased=False)) - 1.0) < 1e-3


def change_speed(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """Tempo and pitch together, by resampling with a ratio of SPEEDS; never longer than before."""
    if len(clip) < SHORTEST_FOR_SPEED:
        return clip
    from torchaudio.functional import resample

    from_rate, to_rate = SPEEDS[generator.integers(len(SPEEDS))]
    changed: Tensor = resample(clip, from_rate, to_rate)
    return changed[: len(clip)]


def limit_band(clip: Tensor, cut_off: float) -> Tensor:
    """Fade out what lies above `cut_off` (of half the sample rate), along a raised cosine."""
    spectrum = torch.fft.rfft(clip)
    frequency = torch.linspace(0.0, 1.0, len(spectrum))
    position = ((frequency - cut_off) / (0.1 * cut_off)).clamp(0.0, 1.0)
    limited: Tensor = torch.fft.irfft(spectrum * (0.5 + 0.5 * torch.cos(torch.pi * position)), n=len(clip))
    return limited


def add_noise(clip: Tensor, snr_db: float, generator: np.random.Generator) -> Tensor:
    """Gaussian noise at this signal-to-noise ratio; its power falls with frequency^-a, a between 0 and 1."""
    white = torch.from_numpy(generator.standard_normal(len(clip)).astype(np.float32))
    spectrum = torch.fft.rfft(white)
    bins = torch.arange(len(spectrum), dtype=torch.float32).clamp_min(1.0)
    noise: Tensor = torch.fft.irfft(spectrum * bins ** (-generator.random() / 2.0), n=len(clip))
    wanted = clip.square().mean() * 10.0 ** (-snr_db / 10.0)
    return clip + noise * torch.sqrt(wanted / noise.square().mean().clamp_min(1e-12))
