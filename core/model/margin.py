"""The additive angular margin (Deng et al. 2019, ArcFace): a class is right only with an angle to spare."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RISING = 0.3
"""Share of the updates over which the margin grows to its size; with all of it at once, many runs do not begin."""


class Cosine(nn.Module):
    """(batch, dim) -> `scale` times the cosine with a learnt direction for each class, (batch, classes)."""

    def __init__(self, dim: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, dim)))

    def forward(self, vectors: Tensor) -> Tensor:
        directions = nn.functional.normalize(self.weight, dim=1)
        return self.scale * nn.functional.normalize(vectors, dim=1) @ directions.T


def margin_at(done: float, margin: float) -> float:
    """The margin in radians after the fraction `done` of the updates."""
    return margin * min(1.0, done / RISING)


def with_margin(outputs: Tensor, targets: Tensor, margin: float, scale: float) -> Tensor:
    """Outputs (batch, classes), `scale` times cosines, with scale * cos(angle + margin) at the targets (batch,).

    Where the angle and the margin exceed pi, the cosine would rise again; there it goes on falling in a line, as in
    the authors' own code.
    """
    cosine = (outputs / scale).clamp(-1.0, 1.0)
    own = cosine.gather(1, targets[:, None])
    sine = (1.0 - own.square()).clamp_min(1e-12).sqrt()
    turned = own * math.cos(margin) - sine * math.sin(margin)
    harder = torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))
    return outputs.scatter(1, targets[:, None], (scale * harder).to(outputs.dtype))
