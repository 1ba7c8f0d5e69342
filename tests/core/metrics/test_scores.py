"""Every metric against scikit-learn, for several weightings at once, with ties."""

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.core.metrics import scores as metrics


@st.composite
def weighted_rows(draw, classes=2):
    """(truth, scores in quarters so that many tie, whole-number weights of three resamples)."""
    rows = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = rng.integers(0, classes, rows)
    scores = rng.integers(0, 5, (rows, classes)) / 4
    weights = rng.integers(0, 4, (3, rows)).astype(float)
    weights[0] = 1
    return truth, scores, weights


def repeated(weight, *arrays):
    """What a resample is: every row as often as it counts."""
    return [np.repeat(array, weight.astype(int), axis=0) for array in arrays]


@given(weighted_rows())
@settings(max_examples=60, deadline=None)
def test_auroc_and_average_precision_are_scikit_learns(case):
    truth, scores, weights = case
    auroc, precision = metrics.ranking(truth == 1, scores[:, 0], weights)
    for place, weight in enumerate(weights):
        own, score = repeated(weight, truth, scores[:, 0])
        if not own.any():
            assert np.isnan(auroc[place])
            assert np.isnan(precision[place])
            continue
        assert precision[place] == pytest.approx(reference.average_precision_score(own, score))
        if own.all():
            assert np.isnan(auroc[place])
        else:
            assert auroc[place] == pytest.approx(reference.roc_auc_score(own, score))


@given(weighted_rows(classes=3))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_metrics_of_the_confusion_matrix_are_scikit_learns(case):
    truth, scores, weights = case
    guess = scores.argmax(1)
    matrix = metrics.confusion(truth, guess, 3, weights)
    for place, weight in enumerate(weights):
        own, called = repeated(weight, truth, guess)
        one = matrix[place : place + 1]
        if not len(own):
            assert all(
                np.isnan(measure(one)[0]) for measure in (metrics.accuracy, metrics.balanced_accuracy, metrics.f1)
            )
            continue
        np.testing.assert_array_equal(matrix[place], reference.confusion_matrix(own, called, labels=range(3)))
        assert metrics.accuracy(one)[0] == pytest.approx(reference.accuracy_score(own, called))
        assert metrics.balanced_accuracy(one)[0] == pytest.approx(reference.balanced_accuracy_score(own, called))
        assert metrics.f1(one)[0] == pytest.approx(reference.f1_score(own, called, average="macro"))


@given(weighted_rows())
@settings(max_examples=40, deadline=None)
def test_f1_of_a_label_is_scikit_learns(case):
    truth, scores, weights = case
    guess = (scores[:, 0] > 0.5).astype(int)
    found = metrics.positive_f1(metrics.confusion(truth, guess, 2, weights))
    for place, weight in enumerate(weights):
        own, called = repeated(weight, truth, guess)
        if own.any() or called.any():
            assert found[place] == pytest.approx(reference.f1_score(own, called))
        else:
            assert np.isnan(found[place])


def test_brier_of_two_classes_is_twice_scikit_learns():
    rng = np.random.default_rng(0)
    truth, score, weights = rng.integers(0, 2, 30), rng.random(30), rng.random((2, 30))
    found = metrics.brier(np.eye(2)[truth], np.stack([1 - score, score], 1), weights)
    for place in range(2):
        expected = reference.brier_score_loss(truth, score, sample_weight=weights[place], scale_by_half=True)
        assert found[place] == pytest.approx(2 * expected)


@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_metrics_of_numbers_are_scikit_learns(offset):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40) + offset
    guess, weights = truth + rng.normal(0, 0.5, 40), rng.integers(0, 3, (4, 40)).astype(float)
    for weight, error, root, r2 in zip(
        weights,
        metrics.mean_absolute_error(truth, guess, weights),
        metrics.root_mean_squared_error(truth, guess, weights),
        metrics.r2(truth, guess, weights),
        strict=True,
    ):
        assert error == pytest.approx(reference.mean_absolute_error(truth, guess, sample_weight=weight))
        assert root == pytest.approx(reference.root_mean_squared_error(truth, guess, sample_weight=weight))
        assert r2 == pytest.approx(reference.r2_score(truth, guess, sample_weight=weight))


def test_what_the_rows_do_not_define_is_nan():
    nothing = np.zeros((1, 3))
    ones = np.ones((1, 3))
    assert np.isnan(metrics.r2(np.full(3, 2.0), np.arange(3.0), ones)[0])
    assert np.isnan(metrics.r2(np.full(3, 0.1), np.arange(3.0), ones)[0])
    assert np.isnan(metrics.mean_absolute_error(np.zeros(3), np.zeros(3), nothing)[0])
    assert np.isnan(metrics.ranking(np.zeros(3, bool), np.arange(3.0), ones)).all()
    assert np.isnan(metrics.ranking(np.ones(3, bool), np.arange(3.0), ones)[0])


def test_the_mean_over_classes_passes_over_what_is_undefined():
    found = metrics.macro([np.array([0.5, np.nan]), np.array([np.nan, np.nan]), np.array([1.0, np.nan])])
    np.testing.assert_array_equal(found, [0.75, np.nan])
