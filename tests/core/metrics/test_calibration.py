"""Calibration by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from graftwork.core.metrics.calibration import BINS, bin_members, expected_calibration_error, reliability


def test_the_error_is_the_gap_of_each_bin_weighted_by_its_rows():
    confidence = np.array([0.9, 0.92, 0.91, 0.5, 0.52])
    correct = np.array([1.0, 1, 0, 0, 1])
    # Bin (13/15, 14/15] holds three rows, bin (7/15, 8/15] two; chance adds E|N(gap, deviation)| - gap to each.
    bins = [(3, 2.5 / 4, abs(2 / 3 - 2.73 / 3)), (2, 1.5 / 3, abs(0.5 - 0.51))]
    rng, error = np.random.default_rng(0), 0.0
    for rows, rate, gap in bins:
        drawn = np.abs(gap + np.sqrt(rate * (1 - rate) / rows) * rng.standard_normal(400_000))
        error += rows * (2 * gap - drawn.mean()) / 5
    found = expected_calibration_error(correct, confidence, np.ones((1, 5)))[0]
    assert found == pytest.approx(max(error, 0.0), abs=2e-3)


def test_of_probabilities_that_come_true_it_is_near_zero_and_of_others_their_gap():
    rng = np.random.default_rng(2)
    found = {0.0: [], 0.15: []}
    for _ in range(200):
        confidence = rng.uniform(0.5, 0.85, 150)
        for gap, errors in found.items():
            correct = (rng.random(150) < confidence + gap).astype(float)
            errors.append(expected_calibration_error(correct, confidence, np.ones((1, 150)))[0])
    assert np.mean(found[0.0]) < 0.05, "without the correction it is 0.09"
    assert np.mean(found[0.15]) == pytest.approx(0.15, abs=0.02)


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
