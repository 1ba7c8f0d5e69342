"""What is left of the best of many on rows that did not choose it."""

import numpy as np
import pytest

from graftwork.core.evaluation.selection import _draws, corrected_choice


def accuracy_of(right):
    return lambda weights: {"accuracy": weights @ right / np.maximum(weights.sum(1), 1e-12)}


def test_of_equal_models_the_best_is_no_better_than_the_others():
    """Ten models that are right in 70 of 100 rows: the best of them looks better on the 60 rows that chose it."""
    rng, naive, corrected, held = np.random.default_rng(0), [], [], []
    for _ in range(60):
        right = (rng.random((10, 60)) < 0.7).astype(float)
        found = corrected_choice([accuracy_of(one) for one in right], "accuracy", 60)
        naive.append(right.mean(1).max())
        corrected.append(found.value)
        held.append(found.low <= 0.7 <= found.high)
    assert np.mean(naive) > 0.78
    assert np.mean(corrected) == pytest.approx(0.7, abs=0.02)
    assert np.mean(held) >= 0.93


def test_a_model_that_is_clearly_the_best_keeps_its_metric():
    rng = np.random.default_rng(1)
    right = (rng.random((3, 200)) < np.array([[0.9], [0.5], [0.4]])).astype(float)
    found = corrected_choice([accuracy_of(one) for one in right], "accuracy", 200)
    assert found.value == pytest.approx(right[0].mean(), abs=0.01)


def test_groups_are_drawn_whole():
    groups = np.array(list("aabbbcdddd"))
    drawn = np.concatenate(list(_draws(10, groups.tolist())))
    for name in "abcd":
        members = drawn[:, groups == name]
        assert (members == members[:, :1]).all()
    assert (drawn[:, [0, 2, 5, 6]].sum(1) == 4).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.1)


def test_a_metric_that_no_resample_defines_has_no_value():
    found = corrected_choice([lambda weights: {"auroc": np.full(len(weights), np.nan)}], "auroc", 5)
    assert np.isnan(found.value)
    assert found.method == "no resample defines it"
