"""Random changes of a clip that leave what was said, and who said it, as they were."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHANCE = 0.4
"""Each change is made with this probability, independently of the others."""

SPEEDS = ((9, 10), (19, 20), (20, 19), (10, 9))
"""(old rate, new rate) of a resampling, small numbers for small filters: 5 or 10 % slower or faster."""

SNR_DB = (10.0, 30.0)
GAIN_DB = (-6.0, 6.0)
EQUALISER_DB = 6.0
"""Standard deviation of a microphone's response, which is drawn at `EQUALISER_POINTS` frequencies."""
EQUALISER_POINTS = 8

CUT_OFF = (0.4, 0.9)
"""Of half the sample rate: at 16 kHz, between telephone speech and nearly everything."""

ROOM_DECAY = (800, 6400)
"""Samples over which a room's echo falls by 60 dB: 0.05 to 0.4 s at 16 kHz."""
ROOM_SHARE = (0.05, 0.5)
"""Energy of the echo relative to that of the direct sound."""

MASKED_SAMPLES, MASKED_SPANS, MASKED_SHARE = 1600, 2, 0.1
"""Spans of silence: each this long at most (0.1 s at 16 kHz), and at most this share of a clip."""
MASKED_BAND = 0.15
"""Widest band that is taken out, of half the sample rate."""

CODECS = (("OGG", "VORBIS", 0.5, 1.0), ("MP3", "MPEG_LAYER_III", 0.5, 0.9))
"""Container, codec and range of libsndfile's compression level, from about 40 to about 20 kbit/s; neither delays."""

SHORTEST = 1600
"""A clip of fewer samples keeps its speed, for it might be too short for a network, and is not coded."""

NOMINAL_HZ = 16000


def augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    """One clip (samples,), changed at random; reproducible from the generator, and never longer.

    Speed: by 5 or 10 %; a slower clip is cropped at its end to the old length. Then what `change_channel` does, and
    masking as in SpecAugment (Park et al. 2019), on the waveform: spans of silence and bands taken out. A clip that
    came with zero mean and unit variance leaves with them, because that is what its contract promised.
    """
    normalised = is_normalised(example)
    clip = example
    if generator.random() < CHANCE:
        clip = change_speed(clip, generator)
    clip = change_channel(clip, generator)
    if generator.random() < CHANCE:
        clip = mask_time(clip, generator)
    if generator.random() < CHANCE:
        clip = mask_band(clip, generator)
    if normalised:
        clip = (clip - clip.mean()) / clip.std(unbiased=False).clamp_min(1e-7)
    return clip.to(example.dtype)


def change_channel(example: Tensor, generator: np.random.Generator) -> Tensor:
    """The clip (samples,) as another microphone in another room would have recorded it, sample by sample in step.

    Each with a chance: an equaliser of 6 dB standard deviation; the echo of a small room; high frequencies faded out;
    noise between white and pink at 10 to 30 dB signal-to-noise ratio; coding and decoding (Vorbis, MP3, or 8 bits of
    the mu-law); -6 to +6 dB of gain.
    """
    clip = example
    if generator.random() < CHANCE:
        clip = equalise(clip, generator)
    if generator.random() < CHANCE:
        clip = add_room(clip, generator)
    if generator.random() < CHANCE:
        clip = limit_band(clip, generator.uniform(*CUT_OFF))
    if generator.random() < CHANCE:
        clip = add_noise(clip, generator.uniform(*SNR_DB), generator)
    if generator.random() < CHANCE:
        clip = code(clip, generator)
    if generator.random() < CHANCE:
        clip = clip * 10.0 ** (generator.uniform(*GAIN_DB) / 20.0)
    return clip.to(example.dtype)


def is_normalised(clip: Tensor) -> bool:
    """Whether a clip (samples,) has zero mean and unit variance, to three digits."""
    return abs(float(clip.mean())) < 1e-3 and abs(float(clip.var(unbiased=False)) - 1.0) < 1e-3


def change_speed(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """Tempo and pitch together, by resampling with a ratio of SPEEDS; never longer than before."""
    if len(clip) < SHORTEST:
        return clip
    import torchaudio

    from_rate, to_rate = SPEEDS[generator.integers(len(SPEEDS))]
    changed: Tensor = torchaudio.functional.resample(clip, from_rate, to_rate)
    return changed[: len(clip)]


def equalise(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """Louder and softer by frequency, along a curve through random points in dB."""
    points = generator.normal(0.0, EQUALISER_DB, EQUALISER_POINTS)
    spectrum = torch.fft.rfft(clip)
    places = np.linspace(0.0, EQUALISER_POINTS - 1.0, len(spectrum))
    curve_db = np.interp(places, np.arange(EQUALISER_POINTS), points)
    response = torch.from_numpy((10.0 ** (curve_db / 20.0)).astype(np.float32))
    equalised: Tensor = torch.fft.irfft(spectrum * response, n=len(clip))
    return equalised


def add_room(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """The echo of a room drawn at random."""
    decay = int(generator.integers(*ROOM_DECAY))
    shape = generator.standard_normal(decay)
    return _echo(clip, shape, generator.uniform(*ROOM_SHARE))


def echo(clip: Tensor, decay: int, share: float, generator: np.random.Generator) -> Tensor:
    """The echo of a room that falls by 60 dB in `decay` samples, of that share of the direct sound's energy."""
    return _echo(clip, generator.standard_normal(decay), share)


def _echo(clip: Tensor, shape: NDArray[np.float64], share: float) -> Tensor:
    """Noise (decay,) that decays exponentially, behind the direct sound; as long as before."""
    import torchaudio

    decay = len(shape)
    tail = shape * 10.0 ** (-3.0 * np.arange(decay) / decay)
    tail *= np.sqrt(share / np.square(tail).sum())
    response = torch.from_numpy(np.concatenate([[1.0], tail]).astype(np.float32))
    wet: Tensor = torchaudio.functional.fftconvolve(clip, response)
    return wet[: len(clip)]


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


def code(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """Coded with loss and decoded again, at its own loudness and in step with what it was."""
    peak = float(clip.abs().max())
    choice = int(generator.integers(len(CODECS) + 1))
    if len(clip) < SHORTEST or peak == 0.0:
        return clip
    if choice == len(CODECS):
        from torchaudio import functional

        decoded: Tensor = functional.mu_law_decoding(functional.mu_law_encoding(clip / peak, 256), 256)
        return decoded * peak
    container, codec, low, high = CODECS[choice]
    return code_with(clip, container, codec, generator.uniform(low, high))


def code_with(clip: Tensor, container: str, codec: str, level: float) -> Tensor:
    """Coded by that codec of libsndfile at that compression level, 0 to 1, and decoded again; silence, and what is too
    short for a codec, stays as it is."""
    import soundfile

    peak = float(clip.abs().max())
    if len(clip) < SHORTEST or peak == 0.0:
        return clip
    file = io.BytesIO()
    # At half of full scale the codec's own ripples are not clipped.
    soundfile.write(file, (clip / (2.0 * peak)).numpy(), NOMINAL_HZ, format=container, subtype=codec,
                    compression_level=level)  # fmt: skip
    file.seek(0)
    samples, _ = soundfile.read(file, dtype="float32")
    return torch.nn.functional.pad(torch.from_numpy(samples)[: len(clip)], (0, max(0, len(clip) - len(samples)))) * (
        2.0 * peak
    )


def mask_time(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """Up to two spans of silence, together at most a tenth of the clip."""
    masked = clip.clone()
    most = min(MASKED_SAMPLES, int(MASKED_SHARE * len(clip) / MASKED_SPANS))
    for _ in range(int(generator.integers(1, MASKED_SPANS + 1))):
        length = int(generator.integers(most + 1))
        start = int(generator.integers(len(clip) - length + 1))
        masked[start : start + length] = 0.0
    return masked


def mask_band(clip: Tensor, generator: np.random.Generator) -> Tensor:
    """One band of frequencies taken out, up to 15 % of all."""
    spectrum = torch.fft.rfft(clip)
    width = int(generator.uniform(0.0, MASKED_BAND) * len(spectrum))
    start = int(generator.integers(len(spectrum) - width + 1))
    spectrum[start : start + width] = 0.0
    masked: Tensor = torch.fft.irfft(spectrum, n=len(clip))
    return masked
