"""Calibration by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from graftwork.core.metrics.calibration import BINS, bin_members, expected_calibration_error, reliability


def test_the_error_is_the_gap_of_each_bin_weighted_by_its_rows():
    confidence = np.array([0.9, 0.92, 0.91, 0.5, 0.52])
    correct = np.array([1.0, 1, 0, 0, 1])
    # Bin (13/15, 14/15] holds three rows, bin (7/15, 8/15] two.
    gaps = (3 * abs(2 / 3 - 2.73 / 3) + 2 * abs(0.5 - 0.51)) / 5
    assert expected_calibration_error(correct, confidence, np.ones((1, 5)))[0] == pytest.approx(gaps)


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    confidence, weights = rng.random(30), rng.integers(0, 3, (5, 30)).astype(float)
    correct = (rng.random(30) < confidence).astype(float)
    found = expected_calibration_error(correct, confidence, weights)
    for value, weight in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(30), weight)
        ones = np.ones((1, len(rows)))
        assert value == pytest.approx(expected_calibration_error(correct[rows], confidence[rows], ones)[0])
    assert np.isnan(expected_calibration_error(correct, confidence, np.zeros((1, 30)))[0])


def test_bins_are_closed_above():
    edges = np.arange(BINS + 1) / BINS
    expected = [0, *range(BINS)]
    np.testing.assert_array_equal(bin_members(edges).argmax(1), expected)


def test_the_reliability_curve_is_scikit_learns():
    rng = np.random.default_rng(1)
    confidence = rng.random(400)
    correct = (rng.random(400) < confidence).astype(float)
    mean, rate, count = reliability(correct, confidence)
    expected_rate, expected_mean = calibration_curve(correct, confidence, n_bins=BINS)
    np.testing.assert_allclose(mean, expected_mean)
    np.testing.assert_allclose(rate, expected_rate)
    assert count.sum() == 400
