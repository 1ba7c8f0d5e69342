"""Logistic regression by products on a device, against scikit-learn's solution."""

import numpy as np
import pytest
import torch

from graftwork.core.tasks import device_logistic, linear_models


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_products_on_a_device_reach_the_solution_of_scikit_learn(classes, balanced):
    rng = np.random.default_rng(3)
    data = rng.normal(size=(400, 30))
    labels = (data[:, :classes] + rng.normal(size=(400, classes))).argmax(1)
    model = linear_models.Logistic(classes + 1, balanced)  # of one class there is no row
    for strength in (1e-3, 1.0, 100.0):
        there = model.solve(torch.from_numpy(data), labels, strength)
        here = model.solve(data, labels, strength)
        one, other = (np.exp(data @ weight.T + bias) for weight, bias in (there, here))
        found, expected = (part / part.sum(1, keepdims=True) for part in (one, other))
        np.testing.assert_allclose(found, expected, atol=1e-4)
        scores = [model.score(torch.from_numpy(data), labels, there), model.score(data, labels, here)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_start_near_the_solution_takes_fewer_products(monkeypatch):
    rng = np.random.default_rng(4)
    data = torch.from_numpy(rng.normal(size=(300, 20)))
    labels = (data[:, 0].numpy() + rng.normal(size=300) > 0).astype(int)
    model, counts = linear_models.Logistic(2, False), []
    monkeypatch.setattr(torch.nn.functional, "softplus", lambda x: counts.append(1) or torch.log1p(x.exp()))
    solution = model.fit(data, labels, 1.0, None)
    cold = len(counts)
    model.fit(data, labels, 1.0, solution)
    assert len(counts) - cold < cold / 3


def test_weights_of_rows_are_repetitions_on_a_device_too():
    rng = np.random.default_rng(5)
    data, labels, weights = rng.normal(size=(60, 4)), rng.integers(0, 3, 60), rng.integers(1, 4, 60)
    model = linear_models.Logistic(3, False)
    weighted = device_logistic.fit_on_device(torch.from_numpy(data), labels, weights.astype(float), 0.5, None, 1e-8)
    rows = np.repeat(np.arange(60), weights)
    repeated = model.fit(torch.from_numpy(data[rows]), labels[rows], 0.5, None, 1e-8)
    for one, other in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(one - one.mean(0), other - other.mean(0), atol=1e-5)
