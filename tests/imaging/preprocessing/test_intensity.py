"""From the values of a scan to those that a network takes, by rules with a short text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.core.errors import ContractError, SettingsError
from graftwork.imaging.preprocessing.intensity import Intensity, parse_intensity, scale_intensity
from graftwork.imaging.scan import Scan


def test_auto_is_the_full_range_for_pictures_and_quantiles_for_measurements(rng):
    values = rng.normal(size=(1, 30, 30)).astype(np.float32) * 40 + 100
    auto = parse_intensity("auto")
    picture = Scan(values, "p", full_range=(0, 255))
    np.testing.assert_allclose(scale_intensity(picture, auto), values / 255, rtol=1e-6)
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(scale_intensity(Scan(values, "m"), auto), expected, atol=1e-5)


def test_window_and_zscore_follow_their_formulas(rng):
    values = rng.normal(size=(1, 30, 30)).astype(np.float32) * 500
    window = scale_intensity(Scan(values, "m"), parse_intensity("window:-1000:400"))
    np.testing.assert_allclose(window, np.clip((values + 1000) / 1400, 0, 1), atol=1e-6)
    scaled = scale_intensity(Scan(values, "m"), parse_intensity("zscore"))
    np.testing.assert_allclose(scaled, (values - values.mean()) / values.std(), atol=1e-5)


def test_a_small_bright_object_survives_quantiles_that_see_only_background():
    values = np.zeros((1, 100, 100), dtype=np.float32)
    values[0, 3, 3] = 9
    assert scale_intensity(Scan(values, "m"), parse_intensity("quantile")).max() == 1


def test_scaling_leaves_the_scan_as_it_was(rng):
    for text in ("range", "quantile", "foreground", "window:0:1", "zscore"):
        values = rng.normal(size=(1, 5, 5)).astype(np.float32)
        before = values.copy()
        scale_intensity(Scan(values, "m", full_range=(0, 255)), parse_intensity(text))
        np.testing.assert_array_equal(values, before)


def test_range_of_a_measurement_is_refused(rng):
    with pytest.raises(ContractError, match="'range' needs an 8- or 16-bit picture"):
        scale_intensity(Scan(rng.normal(size=(1, 3, 3)).astype(np.float32), "m"), parse_intensity("range"))


@given(st.floats(-5000, 5000), st.floats(0.1, 5000))
def test_every_window_is_read_back(low, width):
    assert parse_intensity(f"window:{low}:{low + width}") == Intensity("window", low, low + width)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "windw:0:1",
        "window",
        "window:5:1",
        "window:a:b",
        "window:0:inf",
        "quantile:-1:50",
        "range:1:2",
        "foreground:0:101",
    ],
)
def test_intensities_that_mean_nothing_are_refused(text):
    with pytest.raises(SettingsError, match="intensity"):
        parse_intensity(text)


@pytest.mark.parametrize("air", ["exactly zero", "noise"])
def test_quantiles_of_the_foreground_leave_a_bright_lesion_unclipped(rng, air):
    """A tenth of the voxels is tissue, and a hundredth of these is the lesion."""
    values = np.zeros(20_000) if air == "exactly zero" else np.abs(rng.normal(0, 2, 20_000))
    values[:2_000] = rng.normal(100, 10, 2_000)
    values[:200] = rng.normal(300, 10, 200)
    scan = Scan(values.astype(np.float32).reshape(1, 100, 200), "m")
    lesion = (slice(None), slice(0, 1), slice(None))
    assert (scale_intensity(scan, parse_intensity("quantile"))[lesion] == 1).mean() > 0.4
    found = scale_intensity(scan, parse_intensity("foreground"))
    assert (found[lesion] == 1).mean() == pytest.approx(0.05, abs=0.01)  # the highest 0.5 % of 2000
    low, high = np.percentile(values[:2_000], (0.5, 99.5))
    np.testing.assert_allclose(found.ravel(), np.clip((values - low) / (high - low), 0, 1), atol=1e-5)


def test_a_scan_of_one_value_has_no_foreground(rng):
    flat = Scan(np.full((1, 4, 4), 7, np.float32), "m")
    assert not scale_intensity(flat, parse_intensity("foreground:1:99")).any()
    assert parse_intensity("foreground:1:99") == Intensity("foreground", 1, 99)
