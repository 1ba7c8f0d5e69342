"""Clips as people would see them in a list: the waveform above the spectrogram."""

from __future__ import annotations

import io

import torch

from graftwork.audio.sound.waveform import read_waveform
from graftwork.core.example import Named

SAMPLE_RATE_HZ = 16000
MOST_SECONDS = 30.0
"""Of a longer clip its middle."""

WINDOW, HOP = 512, 160
"""Samples: 32 ms, every 10 ms."""

DECIBELS = 70
"""Below the loudest place, drawn black."""


def preview(named: Named) -> bytes:
    """A PNG of the waveform and the spectrogram, with seconds and kHz. Raises UnreadableError and ContractError as
    `read_waveform` does."""
    from matplotlib.figure import Figure

    samples = read_waveform(named, SAMPLE_RATE_HZ, MOST_SECONDS, purpose="comparison")
    seconds = len(samples) / SAMPLE_RATE_HZ
    padded = torch.nn.functional.pad(samples, (0, max(0, WINDOW - len(samples))))
    power = torch.stft(padded, WINDOW, HOP, window=torch.hann_window(WINDOW), center=False, return_complex=True).abs()
    loudness = 20 * power.clamp_min(1e-10).log10()
    figure = Figure(figsize=(3.2, 1.9), layout="constrained")
    wave, spectrum = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    # An envelope: the extremes of every column of pixels.
    pieces = torch.tensor_split(samples, min(len(samples), 300))
    times = torch.linspace(0, seconds, len(pieces)).numpy()
    wave.fill_between(times, [float(one.min()) for one in pieces], [float(one.max()) for one in pieces], linewidth=0.4)
    wave.set_yticks([])
    peak = float(loudness.max())
    spectrum.imshow(loudness.numpy(), origin="lower", aspect="auto", cmap="magma", vmin=peak - DECIBELS, vmax=peak,
                    extent=(0, seconds, 0, SAMPLE_RATE_HZ / 2000))  # fmt: skip
    spectrum.set_xlabel("s", fontsize=6, labelpad=0)
    spectrum.set_ylabel("kHz", fontsize=6, labelpad=0)
    for axes in (wave, spectrum):
        axes.tick_params(labelsize=6, length=2, pad=1)
    held = io.BytesIO()
    # Without metadata the same clip is the same bytes.
    figure.savefig(held, format="png", dpi=110, metadata={"Software": None})
    return held.getvalue()
