"""What corruptions of scans do, measured."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from graftwork.imaging.domain import CORRUPTIONS
from graftwork.imaging.preprocessing import corruptions as own

SHAPES = [(3, 40, 32), (1, 20, 24, 16)]


def image(shape, seed=0):
    noise = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(gaussian_filter(noise, (0, *[1.5] * (len(shape) - 1))).astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda one: one.name)
def test_every_corruption_keeps_the_shape_is_reproducible_and_grows_with_its_strength(corruption, shape):
    given, distances = image(shape), []
    before = given.clone()
    for strength in (1, 2, 3):
        changed, again = (corruption.apply(given, strength, np.random.default_rng(5)) for _ in range(2))
        assert (changed.shape, changed.dtype) == (given.shape, torch.float32)
        assert torch.equal(changed, again)
        distances.append(float((changed - given).square().mean()))
    assert torch.equal(given, before)
    assert 0 < distances[0] < distances[1] < distances[2]


def test_noise_blur_and_contrast_are_as_strong_as_they_say():
    given, generator = image((1, 200, 200)), np.random.default_rng(0)
    noise = own.add_noise(given, 2, generator) - given
    assert float(noise.std() / given.std()) == pytest.approx(0.25, rel=0.1)
    np.testing.assert_allclose(
        own.blur(given, 3, generator)[0], gaussian_filter(given[0], 4.0, mode="nearest"), atol=1e-5
    )
    low = own.lower_contrast(given, 3, generator)
    assert float(low.std() / given.std()) == pytest.approx(0.3, rel=1e-4)
    assert float(low.mean()) == pytest.approx(float(given.mean()), abs=1e-5)


def test_a_lower_resolution_has_as_many_values_as_its_blocks():
    squares = torch.arange(64, dtype=torch.float32).reshape(1, 8, 8)
    coarse = own.lower_resolution(squares, 3, np.random.default_rng(0))
    corner = squares[0, :4, :4].mean()
    assert float(coarse[0, 0, 0]) == pytest.approx(float(corner))


def test_the_middle_stays_in_the_middle_where_everything_becomes_larger():
    given = torch.zeros(1, 60, 60)
    given[0, 24:36, 27:33] = 1.0
    large = own.change_spacing(given, 3, np.random.default_rng(0))
    assert float(large.sum() / given.sum()) == pytest.approx(1.5**2, rel=0.1)
    rows = torch.arange(60, dtype=torch.float32)
    assert float((large[0].sum(1) * rows).sum() / large.sum()) == pytest.approx(29.5, abs=0.3)


def test_a_field_is_smooth_and_leaves_the_darkest_value_alone():
    given = torch.ones(1, 50, 50)
    given[0, 0, 0] = 0.0
    given[0, 1, 1] = 3.0  # so that nothing is cut off
    field = own.add_bias_field(given, 3, np.random.default_rng(1))
    assert field[0, 0, 0] == 0.0
    assert float((field[0, 5:, 5:-1] - field[0, 5:, 6:]).abs().max()) < 0.1
    assert np.log(float(field[0, 3:, 3:].max())) <= 0.81
