"""Nearest neighbours in the frozen features: the training examples themselves are what is learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.splits import fold_numbers
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.model.neighbour_head import UNKNOWN, NeighbourHead

COUNTS = (1, 3, 5, 9, 15, 25, 51)
"""Numbers of neighbours that are tried."""

FOLDS = 5

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class NeighbourFit:
    """The number of neighbours that predicted held-out training rows best, and how well: of every fold (folds,) the
    mean log-likelihood, or minus the squared error of numbers."""

    count: int
    scores: NDArray[np.float64]


def fit_neighbours(head: NeighbourHead, vectors: NDArray[np.float32], manifest: Manifest, *, seed: int) -> NeighbourFit:
    """Fills the head with the training rows (rows, feature_dim) and their targets.

    The number of neighbours is the one with the best held-out log-likelihood (the least squared error for a number)
    in cross-validation that keeps groups together. Raises TrainingError if all rows are one group, SettingsError for
    rows with weights.
    """
    if manifest.weights is not None:
        raise SettingsError("knn: every neighbour has one vote, rows cannot have weights; use another strategy")
    units = manifest.units()
    if not units.max():
        raise TrainingError(
            f"knn needs at least two groups of rows to choose the number of neighbours by, found one of "
            f"{len(units)} rows (files with the same content count as one)"
        )
    values = head.vote.targets(manifest.values, manifest.classes)
    _keep(head, torch.as_tensor(vectors), values)
    folds = fold_numbers(manifest.task.strata(manifest.values), units, min(FOLDS, int(units.max()) + 1), seed)
    sizes = np.bincount(folds)
    scores = {count: np.zeros(len(sizes)) for count in COUNTS if count < len(values)} or {1: np.zeros(len(sizes))}
    for fold in range(int(folds.max()) + 1):
        inside, outside = torch.as_tensor(folds != fold), torch.as_tensor(folds == fold)
        trial = NeighbourHead(vectors.shape[1], head.outputs, head.vote, int(inside.sum()))
        _keep(trial, torch.as_tensor(vectors)[inside], values[inside])
        for start in range(0, int(outside.sum()), _BLOCK):
            tested = torch.as_tensor(vectors)[outside][start : start + _BLOCK]
            for count in scores:
                trial.get_buffer("count").fill_(count)
                truth = values[outside][start : start + _BLOCK]
                scores[count][fold] += head.vote.score(trial(tested), truth)
    best = max(scores, key=lambda count: scores[count].sum())
    head.get_buffer("count").fill_(best)
    return NeighbourFit(best, scores[best] / np.maximum(sizes, 1))


def _keep(head: NeighbourHead, vectors: Tensor, values: Tensor) -> None:
    centre = vectors.mean(0, dtype=torch.float64).float()
    head.get_buffer("centre").copy_(centre)
    # Of several views of an example there are more rows than the head was made for.
    head.register_buffer("vectors", functional.normalize(vectors - centre, dim=1))
    head.register_buffer("values", values.nan_to_num(UNKNOWN))
    # Of an output that no row votes on, both answers are as probable.
    head.get_buffer("prior").copy_(values.nanmean(0).nan_to_num(0.5))
