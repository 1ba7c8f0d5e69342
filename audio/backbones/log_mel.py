"""The spectra that Whisper and w2v-BERT take in place of a waveform, as their feature extractors compute them."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.types import Features, padding_mask

WINDOW, HOP = 400, 160
"""Samples of a window, and from one to the next: 25 and 10 ms at 16 kHz, which both extractors have."""

KALDI_DFT = 512
KALDI_FLOOR = 1.192092955078125e-07
"""Least energy of a band: float32's epsilon, as in Kaldi."""

INTEGERS = 2.0**15
"""Kaldi's samples are 16-bit integers."""

PREEMPHASIS = 0.97
VARIANCE_FLOOR = 1e-7
STACKED = 2
"""Spectra that w2v-BERT takes as one frame."""


def whisper_features(features: Features, bins: int, samples: int) -> Features:
    """Waveforms (batch, time) at 16 kHz -> log-mel spectra (batch, samples / 160, bins) of each clip filled up with
    silence to `samples`; lengths count the spectra of the clip itself.

    As WhisperFeatureExtractor: base 10, at most 8 below the clip's highest value, then (x + 4) / 4. Raises ValueError
    for a longer clip, of which the contract lets none through.
    """
    values, lengths = features.values, _lengths(features)
    if not torch.compiler.is_exporting() and int(lengths.max()) > samples:
        raise ValueError(f"expected at most {samples} samples, found {int(lengths.max())}")
    filled = torch.nn.functional.pad(values[:, :samples], (0, max(0, samples - values.shape[1])))
    with torch.autocast(values.device.type, enabled=False):  # half precision has neither the range nor the digits
        window = torch.hann_window(WINDOW, device=values.device)
        spectrum = torch.stft(filled.float(), WINDOW, HOP, window=window, return_complex=True)[..., :-1]
        power = spectrum.abs().square().transpose(1, 2)
        mel = (power @ torch.from_numpy(_slaney_filters(bins)).to(values.device)).clamp(min=1e-10).log10()
        mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
    return Features((mel + 4.0) / 4.0, torch.div(lengths + HOP - 1, HOP, rounding_mode="floor"))


def kaldi_features(features: Features, bins: int) -> Features:
    """Waveforms (batch, time) at 16 kHz -> pairs of log-mel spectra (batch, frames, 2 * bins), zeros behind a clip.

    As SeamlessM4TFeatureExtractor: Kaldi's filter bank, every band brought to zero mean and unit variance over the
    clip's own spectra. An odd last spectrum belongs to no frame, as there, where its pair is masked.
    """
    values, lengths = features.values, _lengths(features)
    with torch.autocast(values.device.type, enabled=False):
        # Double precision, as there: the logarithm of quiet bands shows the digits that single precision loses.
        windows = values.double().unfold(1, WINDOW, HOP) * INTEGERS
        windows = windows - windows.mean(dim=2, keepdim=True)
        before = torch.cat([windows[..., :1], windows[..., :-1]], dim=2)
        windows = (windows - PREEMPHASIS * before) * _povey_window(values.device)
        power = torch.fft.rfft(windows, n=KALDI_DFT).abs().square()
        mel = (power @ torch.from_numpy(_kaldi_filters(bins)).to(values.device)).clamp(min=KALDI_FLOOR).log()
        counts = torch.div(lengths - WINDOW, HOP, rounding_mode="floor") + 1
        padding = padding_mask(counts, mel.shape[1], mel.device)[..., None]
        number = counts[:, None, None].to(mel)
        mean = mel.masked_fill(padding, 0.0).sum(dim=1, keepdim=True) / number
        centred = (mel - mean).masked_fill(padding, 0.0)
        # With the sample's variance, as there.
        variance = centred.square().sum(dim=1, keepdim=True) / (number - 1)
        mel = (centred * torch.rsqrt(variance + VARIANCE_FLOOR)).float()
    frames = torch.div(counts, STACKED, rounding_mode="floor")
    whole = mel[:, : STACKED * (mel.shape[1] // STACKED)].reshape(mel.shape[0], -1, STACKED * bins)
    return Features(whole.masked_fill(padding_mask(frames, whole.shape[1], mel.device)[..., None], 0.0), frames)


def _lengths(features: Features) -> Tensor:
    values = features.values
    return torch.full((len(values),), values.shape[1]) if features.lengths is None else features.lengths


# Arrays are kept, and not tensors, which may have been made while a graph was traced.
@cache
def _slaney_filters(bins: int) -> NDArray[np.float32]:
    """(frequencies, bins), from 0 to 8 kHz."""
    from transformers.audio_utils import mel_filter_bank

    return np.asarray(mel_filter_bank(
        num_frequency_bins=1 + WINDOW // 2, num_mel_filters=bins, min_frequency=0.0, max_frequency=8000.0,
        sampling_rate=16000, norm="slaney", mel_scale="slaney",
    ), dtype=np.float32)  # fmt: skip


@cache
def _kaldi_filters(bins: int) -> NDArray[np.float64]:
    """(frequencies, bins), from 20 Hz to 8 kHz."""
    from transformers.audio_utils import mel_filter_bank

    return np.asarray(mel_filter_bank(
        num_frequency_bins=1 + KALDI_DFT // 2, num_mel_filters=bins, min_frequency=20, max_frequency=8000,
        sampling_rate=16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True,
    ), dtype=np.float64)  # fmt: skip


def _povey_window(device: torch.device) -> Tensor:
    return torch.hann_window(WINDOW, periodic=False, dtype=torch.float64, device=device).pow(0.85)
