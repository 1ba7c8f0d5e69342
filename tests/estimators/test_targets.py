"""What y may be: several labels, grades, numbers; and what is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import accuracy_score, cohen_kappa_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import cross_val_predict, cross_val_score

from graftwork import core
from graftwork.core.runs.estimator_targets import class_targets, number_targets

GRADES = np.array(["none", "mild", "severe"])


def indicators(case: Any) -> "np.ndarray[Any, Any]":
    return np.stack([case.levels > 0, case.levels > 1], axis=1).astype(int)


def by_core(model: Any, case: Any, values: Any) -> Any:
    """Predictions of the estimator's adapter without the cache."""
    own = model.adapter_
    manifest = core.Manifest("by hand", tuple(case.paths), own.task, "y", own.classes, values)
    return core.predict_examples(own, core.read_examples(manifest, own.backbone.contract), device="cpu")


def test_several_labels_are_learnt_each_by_itself(case: Any) -> None:
    y = indicators(case)
    model = case.make("Classifier").fit(case.paths, y)
    assert [one.tolist() for one in model.classes_] == [[0, 1], [0, 1]]
    chances, found = model.predict_proba(case.paths), model.predict(case.paths)
    assert chances.shape == found.shape == (24, 2)
    np.testing.assert_allclose(chances, by_core(model, case, y), atol=1e-5)
    np.testing.assert_array_equal(found, chances >= 0.5)
    assert found.dtype == np.int64
    assert model.score(case.paths, y) == accuracy_score(y, found) > 0.7
    scores = cross_val_score(case.make("Classifier"), case.paths, y, cv=2, scoring="roc_auc")
    assert scores.mean() > 0.8


def test_columns_of_a_table_and_sparse_ones_are_the_same_labels(case: Any) -> None:
    y = indicators(case)
    plain = case.make("Classifier").fit(case.paths, y).predict_proba(case.paths)
    named = case.make("Classifier").fit(case.paths, pd.DataFrame(y, columns=["seen", "grave"]))
    assert named.adapter_.classes == ("seen", "grave")
    np.testing.assert_array_equal(named.predict_proba(case.paths), plain)
    sparse = case.make("Classifier").fit(case.paths, csr_matrix(y))
    np.testing.assert_array_equal(sparse.predict_proba(case.paths), plain)


def test_grades_are_predicted_as_the_task_does_and_stand_in_the_order_of_scikit_learn(case: Any) -> None:
    y = GRADES[case.levels]
    model = case.make("Classifier", order=list(GRADES)).fit(case.paths, y)
    assert model.adapter_.task.name == "ordinal"
    assert model.adapter_.classes == tuple(GRADES)
    assert model.classes_.tolist() == sorted(GRADES)
    chances, found = model.predict_proba(case.paths), model.predict(case.paths)
    own = by_core(model, case, case.levels)
    np.testing.assert_allclose(chances[:, np.argsort(np.argsort(GRADES))], own, atol=1e-5)
    median = GRADES[(own[:, ::-1].cumsum(1)[:, ::-1][:, 1:] > 0.5).sum(1)]
    np.testing.assert_array_equal(found, median)
    assert cohen_kappa_score(y, found, labels=GRADES, weights="quadratic") > 0.8
    # Metrics that take the columns for sorted are right about them.
    assert log_loss(y, chances) < 0.7
    assert roc_auc_score(y, chances, multi_class="ovr") > 0.8


def test_a_grade_without_rows_keeps_its_place(case: Any) -> None:
    model = case.make("Classifier", order=[0, 1, 2, 3]).fit(case.paths, case.levels)
    assert model.classes_.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(model.predict_proba(case.paths)[:, 3], 0, atol=1e-6)
    assert set(model.predict(case.paths)) <= {0, 1, 2}


def test_numbers_are_learnt_in_their_unit(case: Any) -> None:
    y = 100.0 + 10.0 * case.levels
    model = case.make("Regressor")
    assert model.fit(case.paths, y, groups=case.groups) is model
    found = model.predict(case.paths)
    assert found.shape == (24,)
    assert model.score(case.paths, y) == r2_score(y, found) > 0.7
    outside = cross_val_predict(case.make("Regressor"), np.array(case.paths), y, cv=3)
    assert r2_score(y, outside) > 0.1
    weights = np.arange(24)
    assert model.score(case.paths, y, sample_weight=weights) == r2_score(y, found, sample_weight=weights)


def test_numbers_are_learnt_in_epochs_too(case: Any) -> None:
    model = case.make("Regressor", strategy="partial:1").fit(case.paths, 100.0 + case.levels)
    assert np.abs(model.predict(case.paths) - 101).max() < 10


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is None"),
        ([[0, 1, 2], [2, 1, 0]], "several columns of classes"),
        ([0.5, 1.5], "Unknown label type"),
        ([1, 1], "at least two classes, y has 1 class"),
    ],
)
def test_what_is_no_classes_is_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_targets(y, None)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["none"], "two or more grades"),
        (["none", "none"], "two or more grades"),
        ("none,mild", "two or more grades"),
        (["none", "severe"], "y has 'mild', the grades are"),
    ],
)
def test_an_order_that_is_none_is_refused(order: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_targets(["none", "mild"], order)
    with pytest.raises(ValueError, match="grades are one column"):
        class_targets([[0, 1], [1, 0]], ["none", "mild"])


@pytest.mark.parametrize(
    ("y", "message"),
    [(None, "y is None"), ([1.0, np.nan], "NaN"), ([[1.0, 2.0], [3.0, 4.0]], "1d array"), (["a", "b"], "convert")],
)
def test_what_is_no_numbers_is_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        number_targets(y)
