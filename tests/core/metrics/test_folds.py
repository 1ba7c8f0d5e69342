"""Metrics of cross-validation against those of every fold by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from graftwork.core.evaluation.evaluation import compare_predictions, evaluate_predictions
from graftwork.core.metrics.folds import cross_validated, fold_values, of_each_fold

CLASSES = ("a", "b")


def shifted_folds(rows=60, count=5, shift=3.0, seed=0):
    """Scores of a model for each fold, every one on a scale of its own."""
    generator = np.random.default_rng(seed)
    truth, folds = np.arange(rows) % 2, np.arange(rows) // 2 % count
    chance = 1 / (1 + np.exp(-(generator.normal(size=rows) + truth + shift * (folds - count // 2))))
    return truth, np.stack([1 - chance, chance], axis=1), folds


def test_rankings_are_means_over_folds_and_shares_are_of_all_rows():
    truth, chances, folds = shifted_folds()
    found = evaluate_predictions("single-label", CLASSES, truth, chances, folds=folds)
    inside = [folds == fold for fold in range(5)]
    auroc = [roc_auc_score(truth[own], chances[own, 1]) for own in inside]
    assert found.metrics["auroc"].value == pytest.approx(np.mean(auroc))
    precision = [average_precision_score(truth[own], chances[own, 1]) for own in inside]
    assert found.metrics["average_precision"].value == pytest.approx(np.mean(precision))
    assert found.metrics["f1"].value == pytest.approx(f1_score(truth, chances[:, 1] > 0.5, average="macro"))
    assert found.pooled["auroc"].value == pytest.approx(roc_auc_score(truth, chances[:, 1]))
    assert found.pooled["auroc"].value < found.metrics["auroc"].value - 0.1
    assert [fold["auroc"] for fold in found.folds] == pytest.approx(auroc)
    assert found.metrics["auroc"].method.startswith("mean over folds, jackknife over rows")
    assert not found.metrics["accuracy"].method.startswith("mean")
    plain = found.to_json()["about"]
    assert [fold["auroc"] for fold in plain["folds"]] == pytest.approx(auroc)
    assert plain["pooled"].keys() == {"auroc", "average_precision"}
    assert "5-fold cross-validation, out-of-fold: 60 rows" in str(found)
    assert f"auroc is the mean over folds; one ranking of all: {found.pooled['auroc']}" in str(found)


def test_a_shift_between_folds_changes_no_ranking_and_no_interval_of_it():
    found = []
    for shift in (0.0, 3.0):
        truth, chances, folds = shifted_folds(shift=shift)
        found.append(evaluate_predictions("single-label", CLASSES, truth, chances, folds=folds).metrics["auroc"])
    assert [found[0].value, found[0].low, found[0].high] == pytest.approx([found[1].value, found[1].low, found[1].high])


def test_folds_that_lack_a_class_are_left_out_of_the_mean_and_counted():
    truth, chances, folds = shifted_folds()
    truth[folds == 0] = 1
    found = evaluate_predictions("single-label", CLASSES, truth, chances, folds=folds)
    auroc = [roc_auc_score(truth[folds == fold], chances[folds == fold, 1]) for fold in range(1, 5)]
    assert found.metrics["auroc"].value == pytest.approx(np.mean(auroc))
    assert "auroc is the mean of 4 of 5 folds: the others lack a class" in found.caution


def test_where_each_fold_has_one_class_one_ranking_is_left_and_said_to_be_one():
    truth = np.repeat([0, 1, 0, 1], 5)
    chance = np.clip(0.3 * truth + np.random.default_rng(0).random(20), 0.01, 0.99)
    chances, folds = np.stack([1 - chance, chance], axis=1), np.repeat(np.arange(4), 5)
    found = evaluate_predictions("single-label", CLASSES, truth, chances, folds=folds)
    assert found.metrics["auroc"].value == pytest.approx(roc_auc_score(truth, chance))
    assert not found.metrics["auroc"].method.startswith("mean over folds")
    assert "auroc is of one ranking of all rows" in found.caution


def test_a_class_with_one_row_in_a_fold_has_no_interval_with_its_reason():
    truth, chances, folds = shifted_folds()
    truth[(folds == 0) & (truth == 1)] = [1, 0, 0, 0, 0, 0]
    found = evaluate_predictions("single-label", CLASSES, truth, chances, folds=folds).metrics["auroc"]
    assert np.isnan(found.low)
    assert found.method == "fewer than 2 rows of a class in a fold"


def test_differences_are_between_means_over_folds():
    truth, chances, folds = shifted_folds()
    _, others, _ = shifted_folds(seed=1)
    found = compare_predictions("single-label", truth, chances, others, folds=folds, classes=CLASSES)["auroc"]
    auroc = [np.mean([roc_auc_score(truth[folds == fold], own[folds == fold, 1]) for fold in range(5)])
             for own in (chances, others)]  # fmt: skip
    assert found.value == pytest.approx(auroc[0] - auroc[1])


def test_without_a_whole_fold_the_mean_is_that_of_the_others():
    """As where a fold is a single group's."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    parts = of_each_fold(np.array([0, 0, 1, 1]), lambda rows: lambda weights: {
        "auroc": (weights @ values[rows]) / np.where(weights.sum(1) > 0, weights.sum(1), np.nan)})  # fmt: skip
    assert [fold["auroc"] for fold in fold_values(parts)] == [1.5, 3.5]
    measure = cross_validated(lambda weights: {"auroc": np.zeros(len(weights))}, parts)
    found = measure(np.array([[1.0, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]]))["auroc"]
    np.testing.assert_allclose(found, [2.5, 3.5, 2.25])
