"""Sound at another rate, compared with torchaudio's own filter."""

from __future__ import annotations

import time

import pytest
import torch
import torchaudio

from graftwork.audio.sound.resampling import resample_directly
from graftwork.audio.sound.waveform import resample

SEED = 0


@pytest.mark.parametrize("rates", [(8000, 16000), (44100, 16000), (11025, 16000), (22050, 16000), (3, 2), (1, 5)])
@pytest.mark.parametrize("count", [1, 2, 5000, 70_001])
def test_without_a_table_the_samples_are_torchaudios(rates: tuple[int, int], count: int) -> None:
    samples = torch.randn(count, generator=torch.Generator().manual_seed(SEED))
    # In single precision torchaudio rounds the phases of its table.
    expected = torchaudio.functional.resample(samples.double(), *rates).float()
    torch.testing.assert_close(resample_directly(samples, *rates), expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192_000])
def test_usual_rates_keep_torchaudios_bytes(rate_hz: int) -> None:
    samples = torch.randn(4000, generator=torch.Generator().manual_seed(SEED))
    assert torch.equal(resample(samples, rate_hz, 16000), torchaudio.transforms.Resample(rate_hz, 16000)(samples))


@pytest.mark.parametrize("rate_hz", [11127, 22254, 16001, 22255, 44056, 7999])
def test_a_tone_of_an_odd_rate_stays_a_tone_and_takes_no_time(rate_hz: int) -> None:
    started = time.process_time()
    found = resample(torch.sin(2 * torch.pi * 440 * torch.arange(2 * rate_hz) / rate_hz), rate_hz, 16000)
    assert time.process_time() - started < 2
    assert len(found) == 32000
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(32000) / 16000)
    assert float((found - expected)[100:-100].abs().max()) < 5e-3
