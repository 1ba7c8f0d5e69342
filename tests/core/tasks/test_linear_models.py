"""The convex problems of probes against SciPy, scikit-learn and fits by hand."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from graftwork.core.tasks.linear_models import CumulativeLogit, _ordinal_loss, grade_probabilities


def graded(rows=400, features=3, seed=0):
    """Features, and grades from a latent line with noise."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(rows, features))
    latent = data @ np.array([1.5, -1.0, 0.0])[:features] + rng.logistic(size=rows)
    return data, np.digitize(latent, [-2.0, 0.5, 2.0])


def test_the_gradient_of_the_proportional_odds_loss_is_right():
    data, grades = graded(60)
    weights = np.random.default_rng(1).uniform(0.5, 2, 60)
    start = np.random.default_rng(2).normal(size=6)

    def part(place):
        return lambda free: _ordinal_loss(free, data, grades, weights, 0.7, 3)[place]

    assert check_grad(part(0), part(1), start) < 1e-4


def test_the_solution_is_the_optimum_of_the_penalised_likelihood():
    data, grades = graded()
    weight, bias = CumulativeLogit(4, balanced=False).solve(data, grades, 0.3)

    def loss(parameters):
        above = 1 / (1 + np.exp(-((data @ parameters[:3])[:, None] + parameters[3:])))
        ends = np.column_stack([np.ones(len(data)), above, np.zeros(len(data))])
        rows = np.arange(len(data))
        likelihood = np.maximum(ends[rows, grades] - ends[rows, grades + 1], 1e-12)
        return 0.5 * parameters[:3] @ parameters[:3] - 0.3 * np.log(likelihood).sum()

    by_hand = minimize(loss, [0, 0, 0, 2, 0, -2], method="Nelder-Mead",
                       options={"maxiter": 20000, "maxfev": 20000, "xatol": 1e-8, "fatol": 1e-10})  # fmt: skip
    np.testing.assert_allclose([*weight[0], *bias], by_hand.x, atol=2e-4)
    assert np.all(np.diff(bias) < 0)


@pytest.mark.parametrize("missing", range(4))
def test_a_grade_without_rows_is_never_expected(missing):
    data, grades = graded()
    kept = grades != missing
    there = [grade for grade in range(4) if grade != missing]
    weight, bias = CumulativeLogit(4, balanced=False).solve(data[kept], grades[kept], 1.0)
    alone, without = CumulativeLogit(3, balanced=False).solve(data[kept], np.searchsorted(there, grades[kept]), 1.0)
    chances = grade_probabilities(data @ weight.T + bias)
    np.testing.assert_allclose(chances[:, there], grade_probabilities(data @ alone.T + without), atol=1e-4)
    assert chances[:, missing].max() < 1e-12
    known = CumulativeLogit(4, balanced=False).score(data[kept], grades[kept], (weight, bias))
    assert CumulativeLogit(4, balanced=False).score(data, grades, (weight, bias)) == pytest.approx(known)
