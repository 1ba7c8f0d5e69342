"""What corruptions of clips do, measured."""

import numpy as np
import pytest
import torch

from graftwork.audio.domain import CORRUPTIONS
from graftwork.audio.preprocessing import corruptions as own

RATE = 16000


def clip(seconds=1.0, seed=0):
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=int(RATE * seconds)).astype(np.float32))
    return 0.1 * noise


def power(samples, low, high):
    spectrum = torch.fft.rfft(samples).abs().square()
    hz = torch.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(hz >= low) & (hz < high)].sum())


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda one: one.name)
def test_every_corruption_keeps_the_length_is_reproducible_and_grows_with_its_strength(corruption, normalised):
    given, distances = clip(), []
    given = (given - given.mean()) / given.std(unbiased=False) if normalised else given
    before = given.clone()
    for strength in (1, 2, 3):
        changed, again = (corruption.apply(given, strength, np.random.default_rng(5)) for _ in range(2))
        assert (changed.shape, changed.dtype) == (given.shape, torch.float32)
        assert torch.equal(changed, again)
        distances.append(float((changed - given).square().mean()))
        if normalised:
            assert float(changed.var(unbiased=False)) == pytest.approx(1.0, abs=1e-3)
    assert torch.equal(given, before)
    assert 0 < distances[0] < distances[1] < distances[2]


def test_noise_has_the_ratio_that_it_says():
    given = clip()
    noise = own.add_noise(given, 2, np.random.default_rng(0)) - given
    assert 10 * np.log10(float(given.square().mean() / noise.square().mean())) == pytest.approx(10.0, abs=0.01)


def test_a_room_adds_its_share_of_energy():
    given = clip(4.0)
    wet = own.add_room(given, 3, np.random.default_rng(0)) - given
    assert float(wet.square().sum() / given.square().sum()) == pytest.approx(1.0, rel=0.2)


def test_only_the_band_remains():
    given, generator = clip(), np.random.default_rng(0)
    halved = own.lower_rate(given, 2, generator)
    assert power(halved, 2300, 8000) < 1e-6 * power(given, 2300, 8000)
    assert power(halved, 0, 1900) == pytest.approx(power(given, 0, 1900), rel=1e-3)
    phone = own.narrow_band(given, 1, generator)
    assert power(phone, 300, 3200) == pytest.approx(power(given, 300, 3200), rel=1e-2)
    assert power(phone, 4000, 8000) + power(phone, 0, 190) < 1e-3 * power(given, 0, 8000)


def test_clips_too_short_for_a_codec_and_silence_stay():
    short, silent = clip(0.05), torch.zeros(RATE)
    assert torch.equal(own.code(short, 3, np.random.default_rng(0)), short)
    assert torch.equal(own.code(silent, 3, np.random.default_rng(0)), silent)
