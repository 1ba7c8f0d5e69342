from __future__ import annotations

import numpy as np
import pytest
import torch

from graftwork.audio import augment
from graftwork.audio.preprocessing.augmentation import (
    CODECS,
    SPEEDS,
    add_noise,
    add_room,
    change_channel,
    change_speed,
    code,
    equalise,
    is_normalised,
    limit_band,
    mask_band,
    mask_time,
)
from graftwork.audio.preprocessing.contract import normalise_clip
from tests.audio.conftest import tone

SEEDS = range(30)


def clip() -> torch.Tensor:
    return torch.from_numpy(tone(0.5) + tone(0.5, hz=5000.0))


def test_the_same_generator_gives_the_same_clip_and_another_gives_another() -> None:
    first, again, other = (augment(clip(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_torch_is_not_a_source_of_chance() -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append([augment(clip(), np.random.default_rng(seed)) for seed in SEEDS])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clip_stays_a_clip(seed: int) -> None:
    before = clip()
    kept = before.clone()
    changed = augment(before, np.random.default_rng(seed))
    assert torch.equal(before, kept)
    assert changed.dtype == torch.float32
    assert changed.ndim == 1
    assert 0.89 * len(before) <= len(changed) <= len(before)
    assert bool(torch.isfinite(changed).all())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_normalised_clip_stays_normalised(seed: int) -> None:
    changed = augment(normalise_clip(clip()), np.random.default_rng(seed))
    assert is_normalised(changed)
    assert float(changed.mean()) == pytest.approx(0, abs=1e-5)
    assert float(changed.var(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_a_clip_too_short_for_another_speed_keeps_its_length() -> None:
    for seed in SEEDS:
        assert len(augment(clip()[:400], np.random.default_rng(seed))) == 400


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_has_the_wanted_ratio(snr_db: float) -> None:
    noise = add_noise(clip(), snr_db, np.random.default_rng(0)) - clip()
    found = 10 * torch.log10(clip().square().mean() / noise.square().mean())
    assert float(found) == pytest.approx(snr_db, abs=0.01)


def test_the_band_ends_where_it_should() -> None:
    limited = limit_band(clip(), cut_off=0.5)  # 4 kHz of 8: the 5 kHz tone goes, the 440 Hz tone stays
    torch.testing.assert_close(limited, torch.from_numpy(tone(0.5)), atol=1e-3, rtol=0)


def test_speed_moves_a_tone() -> None:
    found = set()
    for seed in SEEDS:
        changed = change_speed(torch.from_numpy(tone(0.5)), np.random.default_rng(seed))
        spectrum = torch.fft.rfft(changed, n=160000).abs()
        found.add(round(float(spectrum.argmax()) * 16000 / 160000))
    assert found == {round(440 * old / new) for old, new in SPEEDS}


def spoken(seconds: float = 1.0) -> torch.Tensor:
    """Noise whose loudness changes, so that a delay shows."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.avg_pool1d(torch.randn(1, int(seconds * 16000), generator=generator), 5, 1, 2)[0]
    return noise * torch.linspace(0.1, 1.0, 8).repeat_interleave(len(noise) // 8)


def delay(before: torch.Tensor, after: torch.Tensor) -> int:
    """Samples by which the second lags, by their cross-correlation."""
    size = 2 * len(before)
    product = torch.fft.rfft(after, size) * torch.fft.rfft(before, size).conj()
    place = int(torch.fft.irfft(product).argmax())
    return place - size if place > len(before) else place


def test_a_channel_keeps_every_sample_in_its_place() -> None:
    for seed in SEEDS:
        changed = change_channel(spoken(), np.random.default_rng(seed))
        assert len(changed) == 16000
        assert delay(spoken(), changed) == 0


def test_every_codec_loses_something_and_keeps_most() -> None:
    found = []
    for seed in range(40):
        coded = code(spoken(), np.random.default_rng(seed))
        assert len(coded) == 16000
        found.append(float(torch.corrcoef(torch.stack([spoken(), coded]))[0, 1]))
    assert all(0.5 < value < 1.0 - 1e-7 for value in found)
    assert len({round(value, 5) for value in found}) > len(CODECS)
    assert torch.equal(code(spoken()[:1000], np.random.default_rng(0)), spoken()[:1000])


def test_a_room_adds_an_echo_that_fades() -> None:
    impulse = torch.zeros(16000)
    impulse[0] = 1.0
    echo = add_room(impulse, np.random.default_rng(0))
    assert float(echo[0]) == pytest.approx(1.0)
    energy = echo[1:].square()
    assert 0.05 <= float(energy.sum()) <= 0.5
    assert float(energy[3200:].sum()) < 0.05 * float(energy[:3200].sum())


def test_an_equaliser_changes_frequencies_by_decibels_and_nothing_else() -> None:
    changed = equalise(spoken(), np.random.default_rng(0))
    response_db = 20 * torch.log10(torch.fft.rfft(changed).abs() / torch.fft.rfft(spoken()).abs())
    assert 2 < float(response_db.std()) < 12
    assert float(response_db.diff().abs().max()) < 0.1
    again = equalise(2 * spoken(), np.random.default_rng(0))
    torch.testing.assert_close(again, 2 * changed)


def test_masks_take_out_spans_and_bands_and_leave_the_rest() -> None:
    spans, bands = set(), set()
    for seed in SEEDS:
        masked = mask_time(spoken(), np.random.default_rng(seed))
        gone = masked == 0
        torch.testing.assert_close(masked[~gone], spoken()[~gone])
        spans.add(int(gone.sum()))
        spectrum, before = (torch.fft.rfft(one).abs() for one in (mask_band(spoken(), np.random.default_rng(seed)),
                                                                  spoken()))  # fmt: skip
        missing = spectrum < 1e-3 * before
        torch.testing.assert_close(spectrum[~missing], before[~missing], rtol=1e-2, atol=1e-2)
        bands.add(int(missing.sum()))
    assert max(spans) <= 1600
    assert len(spans) > 20
    assert 0.1 < max(bands) / 8001 <= 0.151
