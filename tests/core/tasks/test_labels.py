"""Labels as targets: cells to classes, losses and probabilities against formulas by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from graftwork.core.metrics.calibration import expected_calibration_error
from graftwork.core.tasks import MULTI_LABEL, SINGLE_LABEL
from graftwork.core.tasks.plots import panel_svg
from graftwork.core.tasks.task import Drawn
from graftwork.core.types import Features

ONE = torch.ones(())


def test_classes_are_numbers_by_size_and_then_names(cells):
    classes, values = SINGLE_LABEL.read_targets(cells, ["y"], [["b", "10", "9", "a", "10"]], None)
    assert classes == ("9", "10", "a", "b")
    assert values.tolist() == [3, 1, 0, 2, 1]
    assert not cells.notes


def test_a_trained_models_classes_keep_their_order_and_are_known_in_another_spelling(cells):
    classes, values = SINGLE_LABEL.read_targets(cells, ["y"], [["1.0", "2", "3", ""]], ("2", "1"))
    assert classes == ("2", "1")
    assert values.tolist() == [1, 0, -1, -1]
    assert cells.notes == [("unknown label '3'; the classes are '2', '1'", 2, "y")]


def test_one_class_is_a_problem_and_classes_that_differ_in_case_are_said(cells):
    SINGLE_LABEL.read_targets(cells, ["y"], [["a", "a"]], None)
    assert cells.notes == [("every row has the label 'a': at least two classes are needed", None, "y")]
    SINGLE_LABEL.read_targets(cells, ["y"], [["a", "A"]], None)
    assert "'A', 'a' differ in case alone" in cells.warnings[0]


def test_several_labels_are_truths_and_anything_else_is_named(cells):
    classes, values = MULTI_LABEL.read_targets(cells, ["p", "q"], [["1", "no", "?"], ["True", "0.0", ""]], ("q", "p"))
    assert classes == ("p", "q")
    np.testing.assert_array_equal(values, [[1, 1], [0, 0], [np.nan, np.nan]])
    assert cells.notes == [("expected 0 or 1, found '?'", 2, "p"),
                           ("expected the label columns q, p, found p, q", None, None)]  # fmt: skip


def test_the_loss_of_labels_is_the_weighted_sum_of_negative_log_probabilities():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]])
    weights = torch.tensor([3.0, 0.5])
    first = -np.log(np.exp(0.5) / np.exp([2.0, -1.0, 0.5]).sum())
    loss = SINGLE_LABEL.summed_loss(Features(logits), torch.tensor([2, 1]), weights, ONE)
    assert float(loss) == pytest.approx(3 * first + 0.5 * np.log(3), rel=1e-6)
    mean = SINGLE_LABEL.validation_loss(logits, np.array([2, 1]), {}, ONE)
    assert mean == pytest.approx((first + np.log(3)) / 2, rel=1e-6)


def test_the_loss_of_several_labels_is_the_mean_over_the_labels_of_a_row():
    logits, truth = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 0.0]])
    by_hand = (np.log(1 + np.exp(-1.0)) + np.log(1 + np.exp(-2.0))) / 2
    loss = MULTI_LABEL.summed_loss(Features(logits), truth, torch.tensor([4.0]), ONE)
    assert float(loss) == pytest.approx(4 * by_hand, rel=1e-6)
    assert MULTI_LABEL.validation_loss(logits, truth.numpy(), {}, ONE) == pytest.approx(by_hand, rel=1e-6)


PARTLY = np.array([[1.0, np.nan], [0.0, 1.0], [np.nan, 0.0], [1.0, np.nan], [np.nan, np.nan], [0.0, 0.0], [1.0, 1.0]])
"""Two labels, of which some are not known."""


def test_labels_that_are_not_known_count_in_no_loss_and_have_no_gradient():
    logits = torch.linspace(-2, 2, 14).reshape(7, 2).requires_grad_()
    loss = MULTI_LABEL.summed_loss(Features(logits), MULTI_LABEL.loss_targets(PARTLY), torch.ones(7), ONE)
    loss.backward()
    known = ~np.isnan(PARTLY)
    chances = torch.sigmoid(logits).detach().numpy()[known]
    assert float(loss.detach()) == pytest.approx(log_loss(PARTLY[known], chances, normalize=False) / 2, rel=1e-5)
    np.testing.assert_array_equal(logits.grad.numpy() != 0, known)
    mean = MULTI_LABEL.validation_loss(logits.detach(), PARTLY, {}, ONE)
    assert mean == pytest.approx(float(loss.detach()) / 7, rel=1e-6)


def test_metrics_of_labels_are_scikit_learns_over_the_rows_where_they_are_known():
    chances = np.random.default_rng(0).uniform(size=PARTLY.shape)
    found = {
        name: value[0] for name, value in MULTI_LABEL.measures(PARTLY, chances, ("p", "q"))(np.ones((1, 7))).items()
    }
    own = {"p": PARTLY[:, 0], "q": PARTLY[:, 1]}
    aurocs, squares = [], []
    for place, (name, truth) in enumerate(own.items()):
        known = ~np.isnan(truth)
        truth, score = truth[known], chances[known, place]
        aurocs.append(roc_auc_score(truth, score))
        squares += ((truth - score) ** 2).tolist()
        expected = {"auroc": aurocs[-1], "average_precision": average_precision_score(truth, score),
                    "accuracy": accuracy_score(truth, score >= 0.5), "f1": f1_score(truth, score >= 0.5),
                    "balanced_accuracy": balanced_accuracy_score(truth, score >= 0.5)}  # fmt: skip
        for metric, value in expected.items():
            assert found[f"{metric}_{name}"] == pytest.approx(value), (metric, name)
    assert found["auroc"] == pytest.approx(np.mean(aurocs))
    assert found["brier"] == pytest.approx(np.mean(squares))
    nothing = MULTI_LABEL.measures(np.full((2, 1), np.nan), np.full((2, 1), 0.5), ("p",))(np.ones((1, 2)))
    assert np.isnan(nothing["auroc"][0])


def test_a_probe_of_a_label_is_solved_on_the_rows_where_it_is_known():
    first, second = MULTI_LABEL.linear_problems(PARTLY, ("p", "q"), False)
    assert first.targets[first.known].tolist() == [1, 0, 1, 0, 1]
    assert second.known.tolist() == [False, True, True, False, False, True, True]
    whole = MULTI_LABEL.linear_problems(np.nan_to_num(PARTLY), ("p", "q"), False)
    assert [problem.known for problem in whole] == [None, None]


def test_rows_are_as_wrong_as_the_labels_that_are_known_and_are_counted_as_such():
    errors = MULTI_LABEL.row_errors(PARTLY, np.full(PARTLY.shape, 0.25), ("p", "q"))
    np.testing.assert_array_equal(errors, [0.75, 0.75, 0.25, 0.75, np.nan, 0.25, 0.75])
    assert MULTI_LABEL.summary(PARTLY, ("p", "q")) == ["cells that are ignored: p 2, q 3"]
    assert MULTI_LABEL.summary(np.nan_to_num(PARTLY), ("p", "q")) == []
    assert np.isfinite(MULTI_LABEL.strata(PARTLY)).all()


def test_plots_leave_out_labels_that_are_not_known():
    chances = np.random.default_rng(0).uniform(size=PARTLY.shape)
    panels = MULTI_LABEL.panels(Drawn(PARTLY, chances, ("p", "q"), "p,q", None))
    known = ~np.isnan(PARTLY[:, 0])
    assert f"p: {roc_auc_score(PARTLY[known, 0], chances[known, 0]):.3f}" in panels[0].says
    for panel in panels:
        assert panel_svg(panel).startswith(b"<?xml")


def test_what_is_explained_of_a_class_is_the_logarithm_of_its_odds():
    outputs = torch.tensor([0.3, -1.0, 2.0])
    chances = outputs.softmax(0)
    for place in range(3):
        expected = torch.log(chances[place] / (1 - chances[place]))
        torch.testing.assert_close(SINGLE_LABEL.log_odds(outputs, place), expected)
    assert MULTI_LABEL.log_odds(outputs, 1) == -1.0


def test_the_problems_of_several_labels_become_one_linear_map():
    """Of two classes a label the difference of their logits."""
    rng = np.random.default_rng(0)
    solutions = [(rng.normal(size=(2, 5)), rng.normal(size=2)) for _ in range(3)]
    data = rng.normal(size=(7, 5))
    weight, bias = MULTI_LABEL.linear_map(solutions)
    for place, (own, constant) in enumerate(solutions):
        logits = data @ own.T + constant
        np.testing.assert_allclose((data @ weight.T + bias)[:, place], logits[:, 1] - logits[:, 0])


def test_metrics_of_one_label_depend_on_its_rows_and_means_on_none():
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    predictions = np.array([[0.9, 0.2], [0.6, 0.7], [0.1, 0.4]])
    (own,) = MULTI_LABEL.metric_classes(truth, predictions, ("p", "q"), "auroc_q")
    assert own.tolist() == [False, True, True]
    own, guess = MULTI_LABEL.metric_classes(truth, predictions, ("p", "q"), "f1_p")
    assert (own.tolist(), guess.tolist()) == ([True, False, True], [True, True, False])
    truth[2] = np.nan
    for found in MULTI_LABEL.metric_classes(truth, predictions, ("p", "q"), "f1_p"):
        assert np.isnan(found).tolist() == [False, False, True]
    assert MULTI_LABEL.metric_classes(truth, predictions, ("p", "q"), "auroc") == ()


def test_columns_of_predictions_name_the_likeliest_class_and_every_probability():
    columns = SINGLE_LABEL.prediction_columns(np.array([[0.2, 0.8], [0.5, 0.5]]), ("x", "y"))
    assert columns["prediction"] == ["y", "x"]
    assert columns["probability_y"].tolist() == [0.8, 0.5]
    assert list(MULTI_LABEL.prediction_columns(np.zeros((1, 2)), ("x", "y"))) == ["probability_x", "probability_y"]


def test_calibration_of_labels_is_that_of_the_predicted_class():
    truth, chances = (
        np.array([0, 1, 2, 2]),
        np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.0, 0.1, 0.9], [0.4, 0.3, 0.3]]),
    )
    found = SINGLE_LABEL.measures(truth, chances, ("a", "b", "c"))(np.ones((1, 4)))
    expected = expected_calibration_error(np.array([1.0, 0, 1, 0]), np.array([0.7, 0.6, 0.9, 0.4]), np.ones((1, 4)))
    np.testing.assert_allclose(found["ece"], expected)
    assert found["accuracy"][0] == 0.5
