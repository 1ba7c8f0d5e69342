"""The optimiser, its learning rates over time, and the loss. Groups are built at the start; phases switch them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.core.graft import Graft
from graftwork.core.manifest import Manifest, Task
from graftwork.core.plan import Phase
from graftwork.core.recipe import Recipe


def build_optimiser(graft: Graft, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the plan's rate groups, which keep their names; one fused kernel for all tensors of a group."""
    parameters = dict(graft.named_parameters())
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
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


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


def target_tensor(manifest: Manifest) -> Tensor:
    """Targets as the loss takes them: int64 (rows,), for text (rows, longest); else float32 (rows, labels or 1); not
    looked at for masks, which come with their images."""
    if manifest.task in ("single-label", "text"):
        return torch.as_tensor(np.asarray(manifest.values, dtype=np.int64))
    values = np.asarray(manifest.values, dtype=np.float32)
    return torch.as_tensor(values.reshape(len(values), -1))


def row_weights(manifest: Manifest, recipe: Recipe) -> NDArray[np.float64]:
    """How much each training row counts (rows,), mean 1: its class' inverse frequency if asked for."""
    if recipe.class_weights == "none" or manifest.task != "single-label":
        return np.ones(len(manifest))
    labels = np.asarray(manifest.values, dtype=np.int64)
    counts = np.bincount(labels, minlength=len(manifest.classes))
    present = (counts > 0).sum()
    weights: NDArray[np.float64] = len(labels) / (present * counts[labels])
    return weights


def summed_loss(task: Task, outputs: Tensor, targets: Tensor, weights: Tensor, spread: Tensor) -> Tensor:
    """Sum over rows of weight times loss: cross-entropy, binary cross-entropy averaged over labels, or the
    squared error in units of the target's `spread`."""
    outputs = outputs.float()
    if task == "single-label":
        losses = F.cross_entropy(outputs, targets, reduction="none")
    elif task == "multi-label":
        losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)
    else:
        losses = ((outputs - targets) / spread).square().mean(1)
    return (losses * weights).sum()
