"""Grades: their order, the proportional odds model against SciPy and a fit by hand, and kappa against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, roc_auc_score

from graftwork import core
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import ManifestError, SettingsError
from graftwork.core.model.heads import Head
from graftwork.core.tasks import ORDINAL, TASKS, find_task
from graftwork.core.tasks.linear_models import CumulativeLogit, grade_probabilities
from graftwork.core.tasks.ordinal import chances_above, predicted_grades
from graftwork.core.tasks.shared_weight import SharedWeight
from graftwork.core.training.linear_probe import fit_probe, standardisation
from graftwork.core.types import Features, TaskName

GRADES = ("none", "mild", "moderate", "severe")


def graded(rows=400, features=3, seed=0):
    """Features, and grades from a latent line with noise."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(rows, features))
    latent = data @ np.array([1.5, -1.0, 0.0])[:features] + rng.logistic(size=rows)
    return data, np.digitize(latent, [-2.0, 0.5, 2.0])


@pytest.fixture
def table(tmp_path):
    def write(cells, column="grade"):
        for number in range(len(cells)):
            (tmp_path / f"{number}.png").write_bytes(bytes([number]))
        place = tmp_path / "t.csv"
        pd.DataFrame({"path": [f"{n}.png" for n in range(len(cells))], column: cells}).to_csv(place, index=False)
        return place

    return write


def test_every_task_has_its_name_in_the_options():
    from typing import get_args

    assert {task.name for task in TASKS} == set(get_args(TaskName))
    assert all(find_task(task.name) is task for task in TASKS)
    with pytest.raises(SettingsError, match="expected one of single-label"):
        find_task("many")


def test_grades_are_in_the_order_that_is_given(table):
    found = core.read_manifest(table(["mild", "severe", "none", "mild"]), target="grade", task="ordinal", order=GRADES)
    assert found.classes == GRADES
    assert list(found.values) == [1, 3, 0, 1]
    assert list(found.targets) == ["mild", "severe", "none", "mild"]


def test_numbers_are_in_the_order_of_their_size(table):
    found = core.read_manifest(table([10, 2, 0, 2]), target="grade", task="ordinal")
    assert found.classes == ("0", "2", "10")
    assert list(found.values) == [2, 1, 0, 1]


def test_grades_may_be_given_as_numbers(table):
    found = core.read_manifest(table([2, 1, 2]), target="grade", order=[0, 1, 2])
    assert (found.classes, list(found.values)) == (("0", "1", "2"), [2, 1, 2])
    text = core.read_manifest(table(["mild", "none"]), target="grade", order="none, mild")
    assert (text.classes, list(text.values)) == (("none", "mild"), [1, 0])


def test_an_order_alone_says_that_the_target_is_ordinal(table):
    found = core.read_manifest(table(["mild", "none"]), target="grade", order=GRADES)
    assert found.task is ORDINAL


def test_what_has_no_order_or_is_not_in_it_is_refused(table):
    with pytest.raises(ManifestError, match="grades have an order, and 'mild', 'none' have none of their own"):
        core.read_manifest(table(["mild", "none"]), target="grade", task="ordinal")
    with pytest.raises(ManifestError, match=r"row 3, column 'grade': unknown label 'worst'"):
        core.read_manifest(table(["mild", "worst"]), target="grade", task="ordinal", order=GRADES)
    with pytest.raises(ManifestError, match="40 different numbers are no grades"):
        core.read_manifest(table(list(range(40))), target="grade", task="ordinal")
    for order, said in ((("a", "a"), "two or more different grades"), (("a",), "two or more different grades"),
                        ("a,a", "two or more different grades"), ((1, "1.0"), "found '1,1.0'")):  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            core.read_manifest(table(["a", "b"]), target="grade", order=order)
    with pytest.raises(SettingsError, match="only ordinal targets have one"):
        core.read_manifest(table(["a", "b"]), target="grade", task="single-label", order=("a", "b"))


def test_a_probe_is_the_model_on_standardised_features():
    data, grades = graded(200)
    data = data.astype(np.float32)
    manifest = Manifest("t", tuple(map(str, range(200))), "ordinal", "grade", GRADES, grades, digests=list)
    head = Head(3, 3, last_layer=ORDINAL.last_layer).eval()
    fit = fit_probe(head, data, manifest, balanced=False, seed=0)
    with torch.no_grad():
        predictions = ORDINAL.predictions(head(torch.from_numpy(data)))
    centre, spread = standardisation(data)
    weight, bias = CumulativeLogit(4, balanced=False).solve((data - centre) / spread, grades, fit.strengths[0])
    np.testing.assert_allclose(predictions, grade_probabilities((data - centre) / spread @ weight.T + bias), atol=1e-5)
    assert cohen_kappa_score(grades, predicted_grades(predictions), weights="quadratic") > 0.5


def test_what_is_explained_are_log_odds_and_finite_where_probabilities_are_not():
    logits = torch.tensor([2.0, 0.5, -1.0], dtype=torch.float64)
    chances = ORDINAL.probabilities(logits[None])[0]
    for grade in range(4):
        assert float(ORDINAL.log_odds(logits, grade)) == pytest.approx(float((chances / (1 - chances)).log()[grade]))
    far = torch.tensor([50.0, 40.0, 39.0], requires_grad=True)
    for grade in range(4):
        (slope,) = torch.autograd.grad(ORDINAL.log_odds(far, grade), far)
        assert slope.isfinite().all()


def test_small_chances_of_high_grades_are_not_rounded_away():
    predictions = np.array([[1 - 1e-18, 5e-19, 5e-19], [1 - 2e-18, 1e-18, 1e-18], [1.0, 1e-20, 1e-20]])
    assert np.argsort(chances_above(predictions)[:, 0]).tolist() == [2, 0, 1]


def test_metrics_are_scikit_learns():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 80)
    predictions = rng.dirichlet(np.ones(4), 80)
    found = core.evaluate_predictions("ordinal", GRADES, truth, predictions)
    grades = predicted_grades(predictions)
    # The median: the first grade up to which half of the probability lies.
    np.testing.assert_array_equal(grades, (np.cumsum(predictions, 1) < 0.5).sum(1))
    metrics = {name: interval.value for name, interval in found.metrics.items()}
    assert metrics["quadratic_kappa"] == pytest.approx(cohen_kappa_score(truth, grades, weights="quadratic"))
    assert metrics["mae"] == pytest.approx(mean_absolute_error(truth, grades))
    for k, name in enumerate(GRADES[:-1]):
        above = predictions[:, k + 1 :].sum(1)
        assert metrics[f"auroc_above_{name}"] == pytest.approx(roc_auc_score(truth > k, above))
    assert found.confusion.sum() == 80
    assert np.trace(found.confusion) == (truth == grades).sum()


def test_kappa_of_resamples_is_that_of_the_drawn_rows():
    rng = np.random.default_rng(4)
    truth, predictions = rng.integers(0, 4, 30), rng.dirichlet(np.ones(4), 30)
    drawn = rng.integers(0, 30, 30)
    weights = np.bincount(drawn, minlength=30)[None].astype(float)
    found = ORDINAL.measures(truth, predictions, GRADES)(weights)["quadratic_kappa"][0]
    grades = predicted_grades(predictions)
    assert found == pytest.approx(cohen_kappa_score(truth[drawn], grades[drawn], weights="quadratic"))


def test_the_loss_is_binary_cross_entropy_over_thresholds():
    logits = torch.tensor([[2.0, 0.5, -1.0], [1.0, 0.0, -3.0]])
    chances = torch.sigmoid(logits)
    by_hand = [-(chances[0, 0].log() + (1 - chances[0, 1]).log() + (1 - chances[0, 2]).log()), -chances[1].log().sum()]
    weights = torch.tensor([1.0, 2.0])
    found = ORDINAL.summed_loss(Features(logits), ORDINAL.loss_targets(np.array([1, 3])), weights, torch.ones(()))
    assert float(found) == pytest.approx(float(by_hand[0] + 2 * by_hand[1]))
    mean = ORDINAL.validation_loss(logits, np.array([1, 3]), {}, torch.ones(()))
    assert mean == pytest.approx(float(by_hand[0] + by_hand[1]) / 2)


def test_a_new_head_gives_all_grades_the_same_probability():
    layer = SharedWeight(5, 3)
    np.testing.assert_allclose(ORDINAL.probabilities(layer(torch.zeros(1, 5)))[0].detach(), [0.25] * 4, atol=1e-6)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 5 + 3


def test_thresholds_that_cross_do_not_give_negative_probabilities():
    chances = ORDINAL.probabilities(torch.tensor([[-1.0, 2.0, 0.5]]))
    assert (chances >= 0).all()
    assert float(chances.sum()) == pytest.approx(1)


def test_a_grade_without_rows_stays_one():
    """Files that cannot be read take no grade away that somebody has named."""
    values = np.array([0, 2, 0])
    graded = Manifest("t", ("a", "b", "c"), "ordinal", "grade", GRADES, values)
    kept, empty = graded.without_empty_classes()
    assert (kept is graded, empty) == (True, ())
    labelled = Manifest("t", ("a", "b", "c"), "single-label", "label", GRADES, values)
    assert labelled.without_empty_classes()[1] == ("mild", "severe")
