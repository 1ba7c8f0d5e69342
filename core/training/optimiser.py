"""The optimiser, and its learning rates over time. Groups are built at the start; phases switch them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from graftwork.core.compute.shards import is_sharded
from graftwork.core.data.manifest import Manifest
from graftwork.core.model.graft import Graft
from graftwork.core.model.plan import Phase
from graftwork.core.recipe import Recipe
from graftwork.core.tasks.linear_models import balanced_weights


def build_optimiser(graft: Graft, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the plan's rate groups, which keep their names; one fused kernel for all tensors of a group, where all
    are whole or all are in parts."""
    parameters = graft.tensors()
    kinds = {is_sharded(parameters[name]) for group in graft.plan.groups for name in group.tensors}
    groups = [
        {
            "params": [parameters[name] for name in group.tensors],
            "name": group.name,
            "tensors": group.tensors,
            "scale": group.scale,
            "weight_decay": recipe.weight_decay if group.decay else 0.0,
        }
        for group in graft.plan.groups
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=len(kinds) == 1)


def set_rates(optimiser: torch.optim.Optimizer, phase: Phase, recipe: Recipe, update: int, updates: int) -> float:
    """Sets every group's rate for update number `update` of `updates`, and drops gradients of groups that wait.

    Returns the head's rate.
    """
    rate = recipe.learning_rate * rate_factor(update, updates, recipe.warmup)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
        if group["name"] not in phase.groups:
            for parameter in group["params"]:
                parameter.grad = None
    return rate


def head_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, update: int, updates: int) -> float:
    """The rate of the first group, the head's, at update number `update` of `updates`, as `set_rates` sets it."""
    rate: float = (
        recipe.learning_rate * rate_factor(update, updates, recipe.warmup) * optimiser.param_groups[0]["scale"]
    )
    return rate


def active_parameters(optimiser: torch.optim.Optimizer, phase: Phase) -> list[tuple[str, nn.Parameter]]:
    """Names and tensors that learn in this phase, in the order of the groups."""
    return [
        (name, parameter)
        for group in optimiser.param_groups
        if group["name"] in phase.groups
        for name, parameter in zip(group["tensors"], group["params"], strict=True)
    ]


def rate_factor(update: int, updates: int, warmup: float) -> float:
    """Linear rise over the first `warmup` of the updates, then half a cosine down to zero (Loshchilov, Hutter 2017)."""
    rising = max(1, round(warmup * updates)) if warmup else 0
    if update < rising:
        return (update + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (update - rising) / max(1, updates - rising)))


def row_weights(manifest: Manifest, recipe: Recipe) -> NDArray[np.float64]:
    """How much each training row counts (rows,), mean 1: its own weight, if it has one, times its class' inverse
    frequency, if asked for."""
    own = np.ones(len(manifest)) if manifest.weights is None else np.array(manifest.weights) / np.mean(manifest.weights)
    if recipe.class_weights == "none" or not manifest.task.one_class:
        return own
    return balanced_weights(np.asarray(manifest.values, dtype=np.int64), own)
