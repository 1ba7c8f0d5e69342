"""Log mel filterbanks as SpeechBrain and as WeSpeaker compute them, less each band's mean over the clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from graftwork.audio.backbones.own_frames import own_frames, time_mean
from graftwork.audio.backbones.wav2vec2 import padding_of
from graftwork.core.types import Features

FLOOR = 1e-10
"""Least energy of a band before its logarithm, of SpeechBrain."""
LOUDEST_DB = 80.0
"""SpeechBrain lifts what lies further than this below the clip's loudest band."""
FULL_SCALE = 32768.0
"""Kaldi computes on 16-bit integers."""
PRE_EMPHASIS = 0.97
LOWEST_HZ = 20.0
"""Of Kaldi, as by default."""


@dataclass(frozen=True)
class Filterbank:
    """How a waveform becomes frames (time, bands).

    owner: whose definition. frame_ms, shift_ms: length and distance of frames. fft: samples of each Fourier transform,
    low_hz, high_hz: ends of the bands; these three of SpeechBrain alone.
    """

    owner: Literal["speechbrain", "wespeaker"]
    sample_rate_hz: int = 16000
    bands: int = 80
    frame_ms: float = 25.0
    shift_ms: float = 10.0
    fft: int = 400
    low_hz: float = 0.0
    high_hz: float = 8000.0

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return round(self.sample_rate_hz * self.frame_ms / 1000)

    @property
    def shift(self) -> int:
        """Samples from one frame to the next."""
        return round(self.sample_rate_hz * self.shift_ms / 1000)

    def frames(self, samples: Any) -> Any:
        """Frames of clips of so many samples, a number or a tensor: SpeechBrain centres them and pads with zeros at
        both ends, Kaldi takes those that lie in the clip."""
        return (samples // self.shift if self.owner == "speechbrain" else (samples - self.frame) // self.shift) + 1

    def samples(self, frames: int) -> int:
        """The shortest clip that gives so many frames."""
        return (frames - 1) * self.shift + (1 if self.owner == "speechbrain" else self.frame)


def run_filterbank(network: Any, features: Features, filterbank: Filterbank) -> Features:
    """Waveforms (batch, samples) -> (batch, frames, bands) with a mean of zero over each clip's own frames."""
    padded = padding_of(features) is not None
    lengths = None if features.lengths is None else filterbank.frames(features.lengths)
    # The powers of spectra span ten orders of magnitude: half precision holds four digits.
    with torch.autocast(features.values.device.type, enabled=False):
        compute = _speechbrain if filterbank.owner == "speechbrain" else _kaldi
        bands = compute(filterbank, features.values.float(), lengths if padded else None)
        bands = bands - time_mean(bands, lengths if padded else None, axis=1)
        return Features(own_frames(bands, lengths if padded else None, axis=1), lengths)


def _speechbrain(filterbank: Filterbank, clips: Tensor, lengths: Tensor | None) -> Tensor:
    """speechbrain.lobes.features.Fbank: power spectra by triangles on a mel scale, in dB."""
    window = torch.hamming_window(filterbank.frame, device=clips.device)
    spectrum = torch.stft(clips, filterbank.fft, filterbank.shift, filterbank.frame, window,
                          pad_mode="constant", return_complex=True)  # fmt: skip
    power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)
    decibels = 10 * torch.log10((power @ mel_triangles(filterbank).to(clips.device)).clamp(min=FLOOR))
    own = decibels if lengths is None else own_frames(decibels - 10 * math.log10(FLOOR), lengths, axis=1)
    loudest = own.amax(dim=(1, 2), keepdim=True) + (0.0 if lengths is None else 10 * math.log10(FLOOR))
    return torch.maximum(decibels, loudest - LOUDEST_DB)


def mel_triangles(filterbank: Filterbank) -> Tensor:
    """(frequencies, bands) of speechbrain.processing.features.Filterbank: symmetric triangles in Hz, each as wide on
    either side as the distance from the centre below it."""
    low, high = (2595 * math.log10(1 + edge / 700) for edge in (filterbank.low_hz, filterbank.high_hz))
    edges = 700 * (10 ** (torch.linspace(low, high, filterbank.bands + 2) / 2595) - 1)
    width, centre = (edges[1:] - edges[:-1])[:-1], edges[1:-1]
    frequencies = torch.linspace(0, filterbank.sample_rate_hz // 2, filterbank.fft // 2 + 1)
    slope = (frequencies[:, None] - centre) / width
    return torch.minimum(slope + 1, 1 - slope).clamp(min=0)


def _kaldi(filterbank: Filterbank, clips: Tensor, lengths: Tensor | None) -> Tensor:
    """Kaldi's filterbanks with Hamming windows, without dither, in natural logarithms, as
    torchaudio.compliance.kaldi.fbank computes them of one clip. A frame sees its own samples alone, so that padding
    behind a clip does not reach its frames."""
    import torchaudio

    frames = (clips * FULL_SCALE).unfold(1, filterbank.frame, filterbank.shift)
    frames = frames - frames.mean(dim=2, keepdim=True)
    frames = frames - PRE_EMPHASIS * torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
    window = torch.hamming_window(filterbank.frame, periodic=False, device=clips.device)
    fft = 1 << (filterbank.frame - 1).bit_length()
    power = torch.fft.rfft(frames * window, fft).abs().square()[..., :-1]
    mel, _ = torchaudio.compliance.kaldi.get_mel_banks(
        filterbank.bands, fft, filterbank.sample_rate_hz, LOWEST_HZ, 0.0, 100.0, -500.0, 1.0
    )
    bands: Tensor = power @ mel.T.to(clips.device)
    return bands.clamp(min=torch.finfo(torch.float32).eps).log()
