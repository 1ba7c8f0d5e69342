from __future__ import annotations

import numpy as np
import pytest
import torch

from graftwork.audio import augment
from graftwork.audio.augmentation import SPEEDS, add_noise, change_speed, is_normalised, limit_band
from graftwork.audio.contract import normalise_clip

from .conftest import tone

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
