"""The set of metrics for each kind of target."""

import json
import time

import numpy as np
import pytest
import sklearn.metrics as reference

from graftwork.core.evaluation.evaluation import evaluate_predictions, point_metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def softmax(rng, rows, classes):
    return rng.dirichlet(np.ones(classes), rows)


def test_three_classes_are_judged_as_scikit_learn_does(rng):
    truth, predicted = rng.integers(0, 3, 80), softmax(rng, 80, 3)
    found = point_metrics("single-label", truth, predicted)
    guess = predicted.argmax(1)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, predicted, multi_class="ovr"))
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(np.eye(3)[truth], predicted, average="macro")
    )
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert found["brier"] == pytest.approx(((np.eye(3)[truth] - predicted) ** 2).sum(1).mean())


def test_of_two_classes_the_second_is_ranked(rng):
    truth, predicted = rng.integers(0, 2, 50), softmax(rng, 50, 2)
    found = point_metrics("single-label", truth, predicted)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, predicted[:, 1]))
    assert found["average_precision"] == pytest.approx(reference.average_precision_score(truth, predicted[:, 1]))


def test_several_labels_are_judged_label_by_label(rng):
    truth, predicted = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    found = point_metrics("multi-label", truth, predicted)
    guess = predicted >= 0.5
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, predicted))
    assert found["average_precision"] == pytest.approx(reference.average_precision_score(truth, predicted))
    assert found["accuracy"] == pytest.approx((truth == guess).mean())
    assert found["f1"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert found["brier"] == pytest.approx(((truth - predicted) ** 2).mean())
    each = [reference.balanced_accuracy_score(truth[:, k], guess[:, k]) for k in range(3)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(each))
    named = point_metrics("multi-label", truth, predicted, ("x", "y", "z"))
    assert {name: named[name] for name in found} == found
    for k, label in enumerate("xyz"):
        own = (truth[:, k], predicted[:, k])
        assert named[f"auroc_{label}"] == pytest.approx(reference.roc_auc_score(*own))
        assert named[f"average_precision_{label}"] == pytest.approx(reference.average_precision_score(*own))
        assert named[f"f1_{label}"] == pytest.approx(reference.f1_score(truth[:, k], guess[:, k]))
        assert named[f"balanced_accuracy_{label}"] == pytest.approx(each[k])
        assert named[f"accuracy_{label}"] == pytest.approx((truth[:, k] == guess[:, k]).mean())


def test_labels_that_a_mean_leaves_out_are_named(rng):
    truth, predicted = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    assert evaluate_predictions("multi-label", ("x", "y", "z"), truth, predicted).caution is None
    truth[:, 1] = 0
    found = evaluate_predictions("multi-label", ("x", "y", "z"), truth, predicted)
    assert found.metrics["auroc"].value == pytest.approx(
        np.mean([reference.roc_auc_score(truth[:, k], predicted[:, k]) for k in (0, 2)])
    )
    assert found.caution == "1 of 3 ('y') have rows of one value only: they are left out of the mean over labels"
    assert found.to_json()["about"]["caution"] == found.caution
    assert str(found).splitlines()[-1] == found.caution
    truth[:, 1] = 1
    assert "('y') have rows of one value" in str(evaluate_predictions("multi-label", ("x", "y", "z"), truth, predicted))


def test_classes_without_rows_and_classes_that_are_never_predicted_are_named(rng):
    truth = rng.integers(0, 2, 40)
    predicted = np.tile([0.6, 0.3, 0.1], (40, 1)) + rng.normal(0, 0.01, (40, 3))
    found = evaluate_predictions("single-label", ("x", "y", "z"), truth, predicted)
    assert found.metrics["balanced_accuracy"].value == 0.5
    no_row, never = found.cautions
    assert no_row == "1 of 3 ('z') have no row here: means over classes leave them out"
    assert never.startswith("1 of 3 ('y') are never predicted, though there are rows of them")
    many = evaluate_predictions("single-label", tuple("abcdefgh"), np.zeros(9, int), np.eye(8)[np.zeros(9, int)])
    assert many.cautions[0].startswith("7 of 8 ('b', 'c', 'd', 'e', 'f' and 2 more) have no row here")


def test_numbers_may_come_as_a_column(rng):
    truth, predicted = rng.normal(size=30), rng.normal(size=30)
    found = evaluate_predictions("regression", (), truth, predicted[:, None])
    assert found.metrics["r2"].value == pytest.approx(reference.r2_score(truth, predicted))
    assert found.confusion is None


def test_the_confusion_matrix_has_the_truth_down_and_the_prediction_across():
    predicted = np.eye(2)[[1, 1, 0]]
    found = evaluate_predictions("single-label", ("x", "y"), np.array([0, 1, 0]), predicted)
    np.testing.assert_array_equal(found.confusion, [[1, 1], [0, 1]])


def test_what_is_undefined_is_null_in_json(rng):
    found = evaluate_predictions("single-label", ("x", "y"), np.zeros(9, int), softmax(rng, 9, 2))
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["auroc"] == {"value": None, "low": None, "high": None, "method": ""}
    assert plain["accuracy"]["value"] == found.metrics["accuracy"].value
    assert "auroc              undefined" in str(found)


def test_the_numbers_are_said_with_what_was_resampled(rng):
    truth, predicted = rng.integers(0, 2, 40), softmax(rng, 40, 2)
    found = evaluate_predictions("single-label", ("x", "y"), truth, predicted, np.arange(40) // 4)
    about = found.to_json()["about"]
    assert (about["rows"], about["groups"], about["classes"]) == (40, 10, ["x", "y"])
    assert about["interval"] == "95%, by the jackknife over groups"
    assert found.to_json()["accuracy"]["method"] == "jackknife over groups, Wilson with the effective number of rows"
    assert str(found).startswith("40 rows in 10 groups, 95% intervals\nauroc ")
    few = evaluate_predictions("single-label", ("x", "y"), truth, predicted, np.arange(40) // 20)
    assert str(few).startswith("40 rows in 2 groups, so few that intervals are rough, 95% intervals\n")
    one = evaluate_predictions("single-label", ("x", "y"), truth, predicted, np.zeros(40))
    assert str(one).startswith("40 rows in 1 group, too few for intervals\n")
    assert one.to_json()["accuracy"]["low"] is None
    assert one.to_json()["about"]["interval"] is None


SAID = "worse than chance: the whole interval of auroc lies below 0.5"


def judged_labels(reversed_share, groups=None, task="single-label"):
    """Eighty rows in pairs of both labels; in this share of the pairs, the score is higher for the wrong one."""
    truth = np.tile([0, 1], 40)
    score = np.where(np.arange(80) // 2 < 40 * reversed_share, 1 - truth, truth) * 0.8 + 0.1
    predicted = np.stack([1 - score, score], 1)
    truth = np.stack([1 - truth, truth], 1) if task == "multi-label" else truth
    return evaluate_predictions(task, ("x", "y"), truth, predicted, groups)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_worse_than_chance_is_said_behind_the_numbers_with_what_it_usually_means(task):
    groups = np.arange(80) // 4
    found = judged_labels(1.0, groups, task)
    assert str(found).splitlines()[-1] == found.caution == found.to_json()["about"]["caution"]
    assert found.caution.startswith(f"{SAID}; with groups kept apart this usually means that few groups carry each")
    assert judged_labels(1.0, task=task).caution == SAID
    assert "worse" not in str(judged_labels(0.0, groups, task))


@pytest.mark.parametrize("groups", [4, 2], ids=["a wide interval", "no interval"])
def test_of_few_groups_an_auroc_far_below_chance_is_named_too(groups):
    found = judged_labels(1.0, np.arange(80) * groups // 80)
    assert not found.metrics["auroc"].high < 0.5
    assert found.caution.startswith("worse than chance: auroc is 0.000, if of too little for its interval to say so")
    assert judged_labels(0.6, np.arange(80) * groups // 80).caution is None


def test_an_interval_that_reaches_chance_is_no_cause_for_caution():
    found = judged_labels(0.53)
    assert found.metrics["auroc"].value < 0.5 < found.metrics["auroc"].high
    assert found.caution is None


def test_numbers_have_no_caution():
    numbers = evaluate_predictions("regression", (), np.arange(9.0), -np.arange(9.0))
    assert numbers.caution is None


def test_an_undefined_score_is_not_worse_than_chance(rng):
    one_class = evaluate_predictions("single-label", ("x", "y"), np.zeros(9, int), softmax(rng, 9, 2))
    assert one_class.caution is None


def test_predictions_are_judged_alike_in_any_order_of_the_rows(rng):
    truth, predicted = rng.integers(0, 3, 50), softmax(rng, 50, 3)
    order = rng.permutation(50)
    one, other = (point_metrics("single-label", truth[i], predicted[i]) for i in (np.arange(50), order))
    assert one == pytest.approx(other)


def test_two_thousand_resamples_of_five_thousand_rows_take_seconds(rng):
    truth = rng.integers(0, 2, 5000)
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    started = time.process_time()
    evaluate_predictions("single-label", ("x", "y"), truth, np.stack([1 - score, score], 1))
    assert time.process_time() - started < 4


def test_metrics_are_a_table_in_python_and_in_a_notebook(rng):
    truth = np.repeat([0, 1], 20)
    found = evaluate_predictions("single-label", ("<b>x", "y"), truth, np.eye(2)[[0] * 40])
    table = found.to_frame()
    assert list(table.columns) == ["value", "low", "high", "method"]
    assert table.loc["accuracy", "value"] == 0.5
    assert table.loc["accuracy", "low"] == found.metrics["accuracy"].low
    assert np.isnan(table.loc["f1", "low"])
    assert table.loc["f1", "method"] == "fewer than 4 rows of a class"
    shown = found._repr_html_()
    assert "40 rows, 95% intervals" in shown
    assert "<td>0.500</td>" in shown
    assert "are never predicted" in shown
    assert "<b>x" not in shown, "a name from a file is text"
