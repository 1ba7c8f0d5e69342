"""Rates, groups and losses, by hand and against PyTorch and scikit-learn."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn import functional

from graftwork.core.data.manifest import Manifest
from graftwork.core.model.plan import Phase
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from graftwork.core.training.finetuning import new_graft
from graftwork.core.training.optimiser import (
    build_optimiser,
    rate_factor,
    row_weights,
    set_rates,
)
from graftwork.core.types import Features


def test_the_rate_rises_in_a_line_and_falls_along_half_a_cosine():
    found = [rate_factor(update, 10, 0.2) for update in range(10)]
    fall = [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert found == pytest.approx([0.5, 1.0, *fall])


def test_without_warm_up_the_rate_only_falls():
    assert [rate_factor(update, 4, 0.0) for update in range(4)] == pytest.approx(
        [1, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]
    )


def test_a_warm_up_shorter_than_an_update_is_one_update():
    assert rate_factor(0, 3, 0.01) == 1.0


def test_groups_scale_the_pretrained_tensors_and_spare_vectors_the_decay(backbone, manifest):
    recipe = Recipe(learning_rate=0.5, weight_decay=0.3)
    graft = new_graft(backbone, manifest, parse_strategy("full"), recipe)
    optimiser = build_optimiser(graft, recipe)
    named = {name: tensor for name, tensor in graft.tensors().items() if tensor.requires_grad}
    seen = {}
    for group in optimiser.param_groups:
        for name, parameter in zip(group["tensors"], group["params"], strict=True):
            assert named[name] is parameter
            seen[name] = (group["scale"], group["weight_decay"])
    assert seen.keys() == named.keys()
    for name, parameter in named.items():
        scale = 1.0 if name.startswith("head.") else 0.1
        assert seen[name] == (scale, 0.3 if parameter.dim() > 1 else 0.0)
    rate = set_rates(optimiser, graft.plan.phases[0], recipe, 0, 100)
    assert rate == pytest.approx(0.05)
    assert {round(group["lr"], 9) for group in optimiser.param_groups} == {0.05, 0.005}


def test_a_group_that_waits_for_its_phase_does_not_learn(backbone, manifest):
    recipe = Recipe(warmup=0.0)
    graft = new_graft(backbone, manifest, parse_strategy("full"), recipe)
    names = [group.name for group in graft.plan.groups]
    plan = replace(graft.plan, phases=(Phase(0.0, tuple(names[:2]), 4), Phase(0.5, tuple(names), 0)))
    optimiser = build_optimiser(graft, recipe)
    for update, waiting in ((4, True), (5, False)):
        for parameter in graft.parameters():
            parameter.grad = torch.ones_like(parameter)
        set_rates(optimiser, plan.phase_at(update / 10), recipe, update, 10)
        assert all((p.grad is None) == waiting for p in graft.network.parameters())
        assert all(p.grad is not None for p in graft.head.parameters())


def manifest_of(values, task="single-label", classes=("a", "b", "c", "never")):
    return Manifest("t", ("x",) * len(values), task, "label", classes, np.asarray(values))


def test_balanced_weights_are_scikit_learns():
    labels = [0, 0, 0, 1, 2, 2]
    found = row_weights(manifest_of(labels), Recipe(class_weights="balanced"))
    np.testing.assert_allclose(found, compute_sample_weight("balanced", labels))
    assert found.mean() == pytest.approx(1)
    assert (row_weights(manifest_of(labels), Recipe()) == 1).all()


def test_losses_are_pytorchs():
    torch.manual_seed(0)
    weights, one = torch.rand(6), torch.ones(1)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    each = functional.cross_entropy(logits, labels, reduction="none")
    assert SINGLE_LABEL.summed_loss(Features(logits), labels, weights, one) == pytest.approx(
        float((weights * each).sum())
    )
    truth = (torch.randn(6, 3) > 0).float()
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
    assert MULTI_LABEL.summed_loss(Features(logits), truth, weights, one) == pytest.approx(
        float((weights * each).sum())
    )
    numbers, guess = torch.randn(6, 1), torch.randn(6, 1)
    each = functional.mse_loss(guess / 4, numbers / 4, reduction="none")[:, 0]
    found = REGRESSION.summed_loss(Features(guess), numbers, weights, torch.tensor([4.0]))
    assert found == pytest.approx(float((weights * each).sum()))


def test_targets_have_the_type_and_shape_that_the_loss_takes():
    assert SINGLE_LABEL.loss_targets(np.array([2, 0])).dtype == torch.int64
    several = MULTI_LABEL.loss_targets(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert (several.shape, several.dtype) == ((2, 2), torch.float32)
    assert REGRESSION.loss_targets(np.array([0.5, 1.5])).shape == (2, 1)
