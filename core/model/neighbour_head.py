"""A head that predicts by the nearest training examples, which it holds; how many vote is chosen elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.core.tasks.task import Vote

TEMPERATURE = 0.07
"""A neighbour at cosine c weighs exp(c / 0.07), as in Wu et al. 2018 (instance discrimination) and DINO."""

UNKNOWN = -1.0
"""The value of a training example that has no vote on an output."""

LEAST = 1e-30
"""Below any sum of weights that a vote counts in, and no zero to divide by."""


class NeighbourHead(nn.Module):
    """Votes of the `count` training examples with the largest cosine, after centring.

    (batch, feature_dim) -> (batch, outputs): logits for labels, the weighted mean for a number. Votes are smoothed by
    one vote of the training rows' own mean, so that a class without a near neighbour is improbable, not impossible.
    All it holds are buffers: `vectors` (rows, feature_dim) of length 1, `values` (rows, outputs), their `prior`
    (outputs,), and the features' `centre`. Of votes between 0 and 1 `UNKNOWN` is none.
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
        values = self.get_buffer("values")[near]
        if self.vote.logits is None:
            return mean_vote(values, cosines, torch.ones_like(values))[0]
        known = values != UNKNOWN
        votes, voters = mean_vote(values * known, cosines, known.to(values.dtype))
        return self.vote.logits((votes * voters + self.get_buffer("prior")) / (voters + 1))

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the nearest training rows and their cosines, both (batch, count), the nearest first."""
        kept = self.get_buffer("vectors")
        cosines = functional.normalize(vectors - self.get_buffer("centre"), dim=1) @ kept.T
        best = cosines.topk(min(int(self.get_buffer("count")), len(kept)), dim=1)
        return best.indices, best.values


def mean_vote(values: Tensor, cosines: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the neighbours' values (batch, count, outputs), weighed by their cosines (batch, count), and by how many
    equal votes it is as sure as, (batch, outputs): the square of the sum of weights over the sum of their squares (Kish
    1965). Few of many neighbours are near. known (batch, count, outputs): 1 for values that vote and 0 for others;
    where none does, the mean and the number of votes are 0.
    """
    weights = (cosines / TEMPERATURE).softmax(1)[..., None] * known
    total, squares = weights.sum(1), weights.square().sum(1)
    return (values * weights).sum(1) / total.clamp_min(LEAST), total.square() / squares.clamp_min(LEAST)
