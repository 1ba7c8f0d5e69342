"""Masks as targets: the loss over pixels or voxels, the overlap of patches, and what is measured of whole cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from graftwork.core.metrics import scores as metrics
from graftwork.core.metrics.intervals import Metrics
from graftwork.core.tasks.cells import single_column
from graftwork.core.tasks.labels import softmax
from graftwork.core.tasks.plots import Panel, cases_panel
from graftwork.core.tasks.task import Drawn, Floats, TargetCells, Task, Values, one_stratum, read_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from graftwork.core.types import Features

MEASURES = ("dice", "hd95_mm", "surface_distance_mm", "false_positive")
"""What is measured of every class of every case, in this order; the last is whether a class that is not there was
predicted, 1 or 0, and its mean the share of such cases."""

DRAWN = 3
"""Measures that have a plot."""

SMOOTHING = 1e-5

IGNORED = -1
"""The class of a voxel that counts in no loss and no measure."""


def summed_mask_loss(outputs: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Sum over examples of weight (batch,) times `mask_losses`."""
    return (mask_losses(outputs, masks) * weights).sum()


def mask_losses(outputs: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy + 1 - Dice (batch,), the loss of nnU-Net (Isensee et al. 2021).

    outputs (batch, classes, *spatial) logits, masks (batch, *spatial) int64, `IGNORED` where none counts. Dice is
    soft (Milletari et al. 2016), the mean over all classes but the background of 2 * overlap / (prediction + truth).
    """
    from torch.nn import functional as F

    outputs = outputs.float()
    known = (masks != IGNORED).flatten(1)
    entropy = F.cross_entropy(outputs, masks, reduction="none", ignore_index=IGNORED).flatten(1)
    entropy = entropy.sum(1) / known.sum(1).clamp(min=1)
    chances = outputs.softmax(1).flatten(2) * known[:, None]
    truth = _one_hot(masks, outputs.shape[1])
    overlap = 2 * (chances * truth).sum(2) + SMOOTHING
    dice = overlap / (chances.sum(2) + truth.sum(2) + SMOOTHING)
    return entropy + 1 - dice[:, 1:].mean(1)


def patch_dice(outputs: Tensor, masks: Tensor) -> Tensor:
    """Dice (batch, classes) of the likeliest class of every voxel; NaN where a class is neither there nor predicted."""
    import torch

    guess = _one_hot(outputs.argmax(1), outputs.shape[1]) * (masks != IGNORED).flatten(1)[:, None]
    truth = _one_hot(masks, outputs.shape[1])
    both = guess.sum(2) + truth.sum(2)
    return torch.where(both > 0, 2 * (guess * truth).sum(2) / both.clamp(min=1), torch.nan)


def _one_hot(masks: Tensor, classes: int) -> Tensor:
    """(batch, *spatial) -> (batch, classes, voxels), float32."""
    import torch

    return torch.stack([masks.flatten(1) == number for number in range(classes)], dim=1).float()


def _read(
    rows: TargetCells, names: Sequence[str], columns: list[list[str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Values]:
    """The values of masks stand in their files."""
    single_column(rows, names, "masks")
    return tuple(classes or ()), np.zeros(len(columns[0]))


def _summary(values: Values, classes: Sequence[str]) -> list[str]:
    return ["values, and how many masks hold them:"]


def _no_targets(values: Values) -> Tensor:
    """Not looked at: masks come with their images. float32 (rows, 1)."""
    import torch

    return torch.zeros(len(values), 1)


def _summed_loss(outputs: Features, targets: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    return summed_mask_loss(outputs.values, cast("Tensor", outputs.masks), weights)  # of features


def _mean_loss(outputs: Tensor, values: Values, found: Mapping[str, float], scale: Tensor) -> float:
    return float(outputs[:, 0].mean())


def _loss_and_dice(outputs: Features) -> Tensor:
    """The loss, and the Dice of every class but the background."""
    import torch

    maps, masks = outputs.values, cast("Tensor", outputs.masks)  # of features
    return torch.cat([mask_losses(maps, masks)[:, None], patch_dice(maps, masks)[:, 1:]], dim=1)


def _none_broken(answers: Tensor) -> Tensor:
    """A Dice that is not defined is no fault of the network."""
    import torch

    return torch.zeros(len(answers), dtype=torch.bool)


def _dice(outputs: Tensor) -> Floats:
    """(rows, classes without the background, 1), without the loss before it."""
    dice: Floats = outputs.double().numpy()[:, 1:, None]
    return dice


def _columns(predictions: Floats, classes: Sequence[str]) -> dict[str, Any]:
    """Every measure of every class, empty where it is not defined."""
    measures = list(enumerate(MEASURES[: predictions.shape[2]]))
    return {f"{measure}_{name}": predictions[:, place, number]
            for number, measure in measures for place, name in enumerate(classes[1:])}  # fmt: skip


def _measures(truth: Values, scores: Floats, classes: Sequence[str]) -> Metrics:
    """Every measure's mean over the cases in which it is defined: for every class, and the mean over classes."""

    def measure(weights: Floats) -> dict[str, Floats]:
        found = {}
        for place, name in enumerate(MEASURES[: scores.shape[2]]):
            own = [metrics.mean_defined(scores[:, k, place], weights) for k in range(scores.shape[1])]
            found[name] = metrics.macro(own)
            found |= {f"{name}_{label}": value for label, value in zip(classes[1:], own, strict=True)}
        return found

    return measure


def _read_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> tuple[Values, Floats]:
    # Tables that were written before there was the last measure have no column of it.
    found = [read_numbers(columns, [f"{measure}_{name}" for name in classes[1:]]) for measure in MEASURES
             if f"{measure}_{classes[1]}" in columns]  # fmt: skip
    return np.zeros(len(found[0])), np.stack(found, axis=2)


def _case_errors(truth: Values, scores: Floats, classes: Sequence[str]) -> Floats:
    dice = scores[:, :, 0]
    defined = ~np.isnan(dice)
    means = np.where(defined, dice, 0.0).sum(1) / np.maximum(defined.sum(1), 1)
    errors: Floats = np.where(defined.any(1), 1 - means, np.nan)
    return errors


def _panels(drawn: Drawn) -> list[Panel]:
    """Every measure of every case; without a spacing there are no distances."""
    scores = drawn.predictions
    shown = [place for place in range(DRAWN) if place == 0 or not np.isnan(scores[:, :, place]).all()]
    return [cases_panel(scores[:, :, place], drawn.classes[1:], MEASURES[place]) for place in shown]


MASK = Task(
    name="mask",
    metric="dice",
    shown_metrics=("dice",),
    output="maps",
    in_files=True,
    read_targets=_read,
    strata=one_stratum,
    summary=_summary,
    loss_targets=_no_targets,
    summed_loss=_summed_loss,
    validation_loss=_mean_loss,
    answers=_loss_and_dice,
    broken=_none_broken,
    probabilities=softmax,
    predictions=_dice,
    prediction_columns=_columns,
    read_columns=_read_columns,
    measures=_measures,
    panels=_panels,
    row_errors=_case_errors,
    row_error="1 less the mean Dice of the classes",
)
