"""The network while it is pretrained: units of masked frames, and speakers, with the losses of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.audio.backbones.pooling import pool
from graftwork.audio.backbones.wav2vec2 import add_position, padding_of
from graftwork.audio.pretraining.masked_crops import CEPSTRA
from graftwork.core.model.backbone import Backbone, named_tensors
from graftwork.core.types import Features

TEMPERATURE = 0.1
UNIT_DIM = 256
"""Of the cosine between a frame and a unit, and the length of both (Hsu et al. 2021, equation 3)."""

SPEAKER_SCALE, SPEAKER_MARGIN = 20.0, 0.2


class Pretrainer(nn.Module):
    """A speech network with what it needs only while it is pretrained: a vector in place of masked frames, one vector
    for each unit, and one for each speaker; with `spectrum`, linear maps to the MFCC of a frame."""

    def __init__(self, backbone: Backbone, clusters: int, speakers: int, spectrum: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.network: Any = backbone.network
        hidden = cast(Any, backbone.network).architecture.hidden
        self.mask_vector = nn.Parameter(torch.empty(hidden).uniform_())
        self.to_unit = nn.Linear(hidden, UNIT_DIM)
        self.unit_vectors = nn.Parameter(torch.randn(clusters, UNIT_DIM))
        self.speaker_vectors = nn.Parameter(torch.randn(speakers, 2 * hidden) * 0.01)
        self.to_cepstra = nn.ModuleList(nn.Linear(hidden, CEPSTRA) for _ in range(2 * spectrum))

    def forward(self, waveforms: Features, masked: Tensor | None) -> tuple[Tensor, Features]:
        """Frames in front of the Transformer and of its last layer, both (batch, frames, hidden).

        masked: True (batch, frames) where the Transformer does not see a frame.
        """
        frames = self.backbone.run(waveforms, 0, 1)
        x = projected = self.network.encoder.feature_projection(frames.values)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_vector.to(x.dtype), x)
        features = add_position(self.network, Features(x, frames.lengths))
        return projected, self.backbone.run(features, 2, len(self.backbone.stages) - 1)

    def unit_logits(self, frames: Tensor) -> Tensor:
        """(…, hidden) -> (…, clusters)."""
        cosine = F.normalize(self.to_unit(frames), dim=-1) @ F.normalize(self.unit_vectors, dim=-1).T
        return cosine / TEMPERATURE

    def speaker_loss(self, last: Features, speakers: Tensor) -> Tensor:
        """Sum over the batch of an additive-margin softmax (Wang et al. 2018) of the pooled mean and deviation."""
        lengths = None if padding_of(last) is None else last.lengths
        vectors = pool(last.values.float(), lengths, "mean+std")
        cosine = F.normalize(vectors, dim=1) @ F.normalize(self.speaker_vectors, dim=1).T
        margin = SPEAKER_MARGIN * F.one_hot(speakers, len(self.speaker_vectors))
        return F.cross_entropy(SPEAKER_SCALE * (cosine - margin), speakers, reduction="sum")

    def spectrum_loss(self, projected: Tensor, last: Tensor, cepstra: Tensor) -> Tensor:
        """Summed over frames, the mean squared error of standardised MFCC (frames, 13), told from the frames
        (frames, hidden) in front of the Transformer, and from its last layer."""
        errors = [F.mse_loss(to(frames.float()), cepstra, reduction="sum") / CEPSTRA
                  for to, frames in zip(self.to_cepstra, (projected, last), strict=True)]  # fmt: skip
        return errors[0] + errors[1]

    def learnt(self) -> dict[str, Tensor]:
        return named_tensors(self)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.learnt().items():
                value.copy_(tensors[name])
