"""Numbers as targets: cells, the scale of the loss, strata, and metrics against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from graftwork.core.tasks import REGRESSION
from graftwork.core.types import Features


def test_cells_are_finite_numbers_also_with_a_decimal_comma(cells):
    classes, values = REGRESSION.read_targets(cells, ["age"], [["3,5", "1e2", "inf", "old"]], None)
    assert classes == ()
    np.testing.assert_array_equal(values, [3.5, 100.0, np.nan, np.nan])
    assert [index for _, index, _ in cells.notes] == [2, 3]
    assert "commas are taken for decimal ones in 1 rows" in cells.warnings[0]


def test_the_loss_is_in_units_of_the_targets_deviation():
    outputs, targets, weights = torch.tensor([[30.0], [50.0]]), torch.tensor([[40.0], [45.0]]), torch.tensor([1.0, 2.0])
    loss = REGRESSION.summed_loss(Features(outputs), targets, weights, torch.tensor(5.0))
    assert float(loss) == pytest.approx(1 * (10 / 5) ** 2 + 2 * (5 / 5) ** 2)
    mean = REGRESSION.validation_loss(outputs, np.array([40.0, 45.0]), {}, torch.tensor(5.0))
    assert mean == pytest.approx(((10 / 5) ** 2 + 1) / 2)


def test_the_scale_of_targets_that_are_all_alike_is_not_zero():
    assert REGRESSION.target_scale(np.array([1.0, 3.0])) == (2.0, 1.0)
    mean, deviation = REGRESSION.target_scale(np.full(4, 7.0))
    assert mean == 7.0
    assert 0 < deviation < 1e-6


def test_strata_are_tenths_of_the_rows_by_size():
    values = np.random.default_rng(0).permutation(200) / 7
    strata = REGRESSION.strata(values)
    assert strata.shape == (200, 10)
    assert (strata.sum(0) == 20).all()
    place = strata.argmax(1)
    assert all(values[place == k].max() < values[place == k + 1].min() for k in range(9))


def test_metrics_are_scikit_learns_with_weights():
    rng = np.random.default_rng(1)
    truth, guess, weights = rng.normal(size=40), rng.normal(size=(40, 1)), rng.integers(1, 5, 40).astype(float)
    found = REGRESSION.measures(truth, guess, ())(weights[None])
    own = {"sample_weight": weights}
    assert found["mae"][0] == pytest.approx(mean_absolute_error(truth, guess[:, 0], **own))
    assert found["rmse"][0] == pytest.approx(root_mean_squared_error(truth, guess[:, 0], **own))
    assert found["r2"][0] == pytest.approx(r2_score(truth, guess[:, 0], **own))
