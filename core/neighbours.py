"""Nearest neighbours in the frozen features: the training examples themselves are what is learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graftwork.core.errors import TrainingError
from graftwork.core.manifest import Manifest, Task
from graftwork.core.splits import fold_numbers, strata

COUNTS = (1, 3, 5, 9, 15, 25, 51)
"""Numbers of neighbours that are tried."""

FOLDS = 5
TEMPERATURE = 0.07
"""A neighbour at cosine c weighs exp(c / 0.07), as in Wu et al. 2018 (instance discrimination) and DINO."""

_BLOCK = 4096


class NeighbourHead(nn.Module):
    """Votes of the `count` training examples with the largest cosine, after centring.

    (batch, feature_dim) -> (batch, outputs): logits for labels, the weighted mean for a number. Votes are smoothed by
    one vote of the training rows' own mean, so that a class without a near neighbour is improbable, not impossible.
    All it holds are buffers: `vectors` (rows, feature_dim) of length 1, `values` (rows, outputs), their `prior`
    (outputs,), and the features' `centre`.
    """

    def __init__(self, feature_dim: int, outputs: int, task: Task, rows: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.task = task
        self.register_buffer("centre", torch.zeros(feature_dim))
        self.register_buffer("vectors", torch.zeros(rows, feature_dim))
        self.register_buffer("values", torch.zeros(rows, outputs))
        self.register_buffer("prior", torch.zeros(outputs))
        self.register_buffer("count", torch.ones((), dtype=torch.int64))

    def forward(self, vectors: Tensor) -> Tensor:
        # Half precision would take other neighbours for the nearest.
        with torch.autocast(vectors.device.type, enabled=False):
            near, cosines = self.nearest(vectors.float())
        votes, voters = vote(self.get_buffer("values")[near], cosines)
        if self.task == "regression":
            return votes
        return _logits((votes * voters + self.get_buffer("prior")) / (voters + 1), self.task)

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the nearest training rows and their cosines, both (batch, count), the nearest first."""
        kept = self.get_buffer("vectors")
        cosines = functional.normalize(vectors - self.get_buffer("centre"), dim=1) @ kept.T
        best = cosines.topk(min(int(self.get_buffer("count")), len(kept)), dim=1)
        return best.indices, best.values


@dataclass(frozen=True)
class NeighbourFit:
    """The number of neighbours that predicted held-out training rows best."""

    count: int


def fit_neighbours(head: NeighbourHead, vectors: NDArray[np.float32], manifest: Manifest, *, seed: int) -> NeighbourFit:
    """Fills the head with the training rows (rows, feature_dim) and their targets.

    The number of neighbours is the one with the best held-out log-likelihood (the least squared error for a number)
    in cross-validation that keeps groups together. Raises TrainingError if all rows are one group.
    """
    units = manifest.units()
    if not units.max():
        raise TrainingError(
            f"knn needs at least two groups of rows to choose the number of neighbours by, found one of "
            f"{len(units)} rows (files with the same content count as one)"
        )
    values = _values(manifest)
    _keep(head, torch.as_tensor(vectors), values)
    folds = fold_numbers(strata(manifest.values, manifest.task), units, min(FOLDS, int(units.max()) + 1), seed)
    scores = {count: [0.0] for count in COUNTS if count < len(values)} or {1: [0.0]}
    for fold in range(int(folds.max()) + 1):
        inside, outside = torch.as_tensor(folds != fold), torch.as_tensor(folds == fold)
        trial = NeighbourHead(vectors.shape[1], head.outputs, head.task, int(inside.sum()))
        _keep(trial, torch.as_tensor(vectors)[inside], values[inside])
        for start in range(0, int(outside.sum()), _BLOCK):
            tested = torch.as_tensor(vectors)[outside][start : start + _BLOCK]
            for count in scores:
                trial.get_buffer("count").fill_(count)
                truth = values[outside][start : start + _BLOCK]
                scores[count].append(_score(trial(tested), truth, head.task))
    best = max(scores, key=lambda count: sum(scores[count]))
    head.get_buffer("count").fill_(best)
    return NeighbourFit(best)


def vote(values: Tensor, cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the neighbours' values (batch, count, outputs), weighed by their cosines (batch, count), and by how many
    equal votes it is as sure as, (batch, 1): 1 / sum of squared weights (Kish 1965). Few of many neighbours are near.
    """
    weights = (cosines / TEMPERATURE).softmax(1)
    return (values * weights[..., None]).sum(1), 1 / weights.square().sum(1, keepdim=True)


def _keep(head: NeighbourHead, vectors: Tensor, values: Tensor) -> None:
    centre = vectors.mean(0, dtype=torch.float64).float()
    head.get_buffer("centre").copy_(centre)
    # Of several views of an example there are more rows than the head was made for.
    head.register_buffer("vectors", functional.normalize(vectors - centre, dim=1))
    head.register_buffer("values", values)
    head.get_buffer("prior").copy_(values.mean(0))


def _values(manifest: Manifest) -> Tensor:
    """Targets (rows, outputs): one-hot classes, 0 and 1 of labels, or the number."""
    if manifest.task == "single-label":
        return functional.one_hot(torch.as_tensor(np.asarray(manifest.values)), len(manifest.classes)).float()
    return torch.as_tensor(np.asarray(manifest.values, dtype=np.float32).reshape(len(manifest), -1))


def _logits(shares: Tensor, task: Task) -> Tensor:
    # A class without any training row has no share at all; the logit of an absent class is finite all the same.
    shares = shares.clamp(1e-12, 1.0)
    return shares.log() if task == "single-label" else shares.log() - (1 - shares).clamp_min(1e-12).log()


def _score(outputs: Tensor, truth: Tensor, task: Task) -> float:
    """Summed over rows, the larger the better."""
    if task == "regression":
        return -float((outputs - truth).square().sum())
    if task == "single-label":
        return float((outputs.log_softmax(1) * truth).sum())
    return -float(functional.binary_cross_entropy_with_logits(outputs, truth, reduction="sum"))
