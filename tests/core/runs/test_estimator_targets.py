"""What scikit-learn calls y, as targets and back."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from graftwork.core.runs.estimator_targets import (
    chances_in_order,
    class_targets,
    labels_as_json,
    labels_of,
    number_targets,
    predicted_labels,
    weighted,
)
from graftwork.core.tasks import MULTI_LABEL, ORDINAL, REGRESSION, SINGLE_LABEL


def test_labels_are_sorted_as_scikit_learn_sorts_them_and_keep_their_type():
    found = class_targets([10, 9, 10, 2], None)
    assert (found.task, found.classes) == (SINGLE_LABEL, ("2", "9", "10"))
    assert list(found.values) == [2, 1, 2, 0]
    assert found.labels.tolist() == [2, 9, 10]


def test_columns_of_zero_and_one_are_labels_named_by_a_table_and_may_be_sparse():
    table = pd.DataFrame({"p": [0, 1, 1], "q": [1, 0, 1]})
    for y, names in ((table, ("p", "q")), (csr_matrix(table.to_numpy()), ("0", "1"))):
        found = class_targets(y, None)
        assert (found.task, found.classes) == (MULTI_LABEL, names)
        np.testing.assert_array_equal(found.values, table.to_numpy())
        assert [one.tolist() for one in found.labels] == [[0, 1], [0, 1]]


def test_grades_are_numbered_by_their_order_and_classes_stay_sorted():
    found = class_targets(["severe", "none", "mild"], ["none", "mild", "severe"])
    assert (found.task, found.classes) == (ORDINAL, ("none", "mild", "severe"))
    assert list(found.values) == [2, 0, 1]
    assert found.labels.tolist() == ["mild", "none", "severe"]


def test_numbers_are_single_and_finite():
    assert number_targets([1, 2.5]).task is REGRESSION
    for y in ([1.0], [1.0, np.nan], [[1.0, 2.0], [3.0, 4.0]], None):
        with pytest.raises(ValueError, match=r"least two|NaN|y should be|requires y"):
            number_targets(y)


def adapter(task, classes, record=None):
    return SimpleNamespace(task=task, classes=classes, record=record or {})


def test_labels_come_back_with_their_type_and_those_of_the_command_line_as_texts():
    labels = np.array([2, 9, 10])
    kept = labels_as_json(labels)
    found = labels_of(adapter(SINGLE_LABEL, ("2", "9", "10"), kept))
    assert (found.tolist(), found.dtype) == ([2, 9, 10], labels.dtype)
    assert labels_of(adapter(SINGLE_LABEL, ("9", "10"))).tolist() == ["10", "9"]
    assert labels_as_json(np.array(["2020-01-01"], dtype="datetime64[D]")) == {}
    assert [one.tolist() for one in labels_of(adapter(MULTI_LABEL, ("p",)))] == [[0, 1]]


def test_probabilities_stand_in_the_order_of_the_sorted_labels_and_predictions_are_labels():
    own, labels = adapter(SINGLE_LABEL, ("9", "10")), np.array([10, 9])
    chances = np.array([[0.3, 0.7], [0.8, 0.2]])
    np.testing.assert_array_equal(chances_in_order(own, chances, labels), chances[:, ::-1])
    assert predicted_labels(own, chances, labels).tolist() == [10, 9]
    several = adapter(MULTI_LABEL, ("p", "q"))
    assert predicted_labels(several, np.array([[0.5, 0.49]]), []).tolist() == [[1, 0]]


def test_rows_of_weight_zero_are_left_out_and_two_classes_have_to_stay(manifest):
    weights = np.ones(len(manifest))
    weights[:30] = 0
    found = weighted(manifest, weights)
    assert found.paths == manifest.paths[30:]
    assert set(found.weights) == {1.0}
    for wrong in (-weights, weights[:, None], (manifest.targets == "a").astype(float)):
        with pytest.raises(ValueError, match="sample_weight"):
            weighted(manifest, wrong)
