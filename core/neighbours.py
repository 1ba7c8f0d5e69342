"""Nearest neighbours in the frozen features: the training examples themselves are what is learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graftwork.core.errors import TrainingError
from graftwork.core.manifest import Manifest
from graftwork.core.splits import fold_numbers
from graftwork.core.tasks.task import Vote

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

    def __init__(self, feature_dim: int, outputs: int, vote: Vote, rows: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.vote = vote
        self.register_buffer("centre", torch.zeros(feature_dim))
        self.register_buffer("vectors", torch.zeros(rows, feature_dim))
        self.register_buffer("values", torch.zeros(rows, outputs))
        self.register_buffer("prior", torch.zeros(outputs))
        self.register_buffer("count", torch.ones((), dtype=torch.int64))

    def forward(self, vectors: Tensor) -> Tensor:
        # Half precision would take other neighbours for the nearest.
        with torch.autocast(vectors.device.type, enabled=False):
            near, cosines = self.nearest(vectors.float())
        votes, voters = mean_vote(self.get_buffer("values")[near], cosines)
        if self.vote.logits is None:
            return votes
        return self.vote.logits((votes * voters + self.get_buffer("prior")) / (voters + 1))

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
    values = head.vote.targets(manifest.values, manifest.classes)
    _keep(head, torch.as_tensor(vectors), values)
    folds = fold_numbers(manifest.task.strata(manifest.values), units, min(FOLDS, int(units.max()) + 1), seed)
    scores = {count: [0.0] for count in COUNTS if count < len(values)} or {1: [0.0]}
    for fold in range(int(folds.max()) + 1):
        inside, outside = torch.as_tensor(folds != fold), torch.as_tensor(folds == fold)
        trial = NeighbourHead(vectors.shape[1], head.outputs, head.vote, int(inside.sum()))
        _keep(trial, torch.as_tensor(vectors)[inside], values[inside])
        for start in range(0, int(outside.sum()), _BLOCK):
            tested = torch.as_tensor(vectors)[outside][start : start + _BLOCK]
            for count in scores:
                trial.get_buffer("count").fill_(count)
                truth = values[outside][start : start + _BLOCK]
                scores[count].append(head.vote.score(trial(tested), truth))
    best = max(scores, key=lambda count: sum(scores[count]))
    head.get_buffer("count").fill_(best)
    return NeighbourFit(best)


def mean_vote(values: Tensor, cosines: Tensor) -> tuple[Tensor, Tensor]:
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
