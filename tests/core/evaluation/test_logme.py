"""LogME against the density of the targets, written out and maximised by SciPy."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from graftwork.core.evaluation.logme import logme


def direct(features, target):
    """Log density of N(0, F F^T / alpha + I / beta) per row, at the best alpha and beta of several starts."""

    def lost(logs):
        covariance = features @ features.T / np.exp(logs[0]) + np.eye(len(features)) / np.exp(logs[1])
        return -multivariate_normal.logpdf(target, np.zeros(len(target)), covariance) / len(target)

    options = {"xatol": 1e-6, "fatol": 1e-10, "maxiter": 2000}
    starts = [(0, 0), (3, 3), (-1, 4), (5, 0)]
    with np.errstate(over="ignore"):  # without noise, or without signal, one of them has no finite best
        return -min(minimize(lost, start, method="Nelder-Mead", options=options).fun for start in starts)


def case(rows, dim, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, dim)) * rng.uniform(0.2, 2, dim)
    return features, features @ rng.normal(size=dim) * 0.5 + rng.normal(0, 0.7, rows)


@pytest.mark.parametrize(("rows", "dim"), [(40, 6), (15, 25)])
def test_a_number_has_the_evidence_of_its_density(rows, dim):
    features, target = case(rows, dim)
    assert logme(features, target, "regression") == pytest.approx(direct(features, target), abs=1e-6)


@pytest.mark.parametrize(("rows", "dim"), [(40, 6), (15, 25)])
def test_classes_and_labels_are_averaged_column_by_column(rows, dim):
    features, target = case(rows, dim, seed=1)
    classes = np.digitize(target, np.quantile(target, [0.3, 0.6]))
    expected = np.mean([direct(features, (classes == k).astype(float)) for k in range(3)])
    assert logme(features, classes, "single-label") == pytest.approx(expected, abs=1e-6)
    labels = np.stack([target > 0, features[:, 0] > 0.2], 1).astype(float)
    expected = np.mean([direct(features, column) for column in labels.T])
    assert logme(features, labels, "multi-label") == pytest.approx(expected, abs=1e-6)


def test_columns_that_do_not_vary_and_classes_without_rows_do_not_count():
    features, target = case(30, 4)
    varied = (target > 0).astype(float)
    labels = np.stack([varied, np.zeros(30)], 1)
    assert logme(features, labels, "multi-label") == logme(features, varied[:, None], "multi-label")
    assert np.isnan(logme(features, labels[:, 1:], "multi-label"))
    assert logme(features, 2 * varied.astype(int), "single-label") == logme(features, varied, "single-label")


def test_features_that_say_nothing_score_below_those_that_do():
    features, target = case(60, 5, seed=2)
    noise = np.random.default_rng(3).normal(size=features.shape)
    assert logme(noise, target, "regression") < logme(features, target, "regression")
    empty = logme(np.zeros((60, 5)), target, "regression")
    assert empty == pytest.approx(-0.5 * (np.log(2 * np.pi * np.mean(target**2)) + 1))
