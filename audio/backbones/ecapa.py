"""ECAPA-TDNN (Desplanques, Thienpondt and Demuynck 2020) as stages, and SpeechBrain's network, with its names.

Between the stages lie frames (batch, time, channels): behind each SE-Res2Block the outputs of all of them so far, side
by side, the newest last. Every step sees each clip's own frames alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.own_frames import (
    mirrored,
    normalised,
    squared_deviation_mean,
    time_mean,
    time_softmax,
)
from graftwork.audio.backbones.wav2vec2 import padding_of
from graftwork.core.model.backbone import Stage
from graftwork.core.types import Features

LEAST_VARIANCE = 1e-12
"""Below it a variance counts as this."""


@dataclass(frozen=True)
class Shape:
    """Of a network. channels, kernels, dilations, groups: of the first layer, every SE-Res2Block and the aggregation.
    scale: parts of a Res2Net convolution. context: whether attention sees mean and deviation of the clip."""

    bands: int
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: tuple[int, ...]
    scale: int
    squeezed: int
    attention: int
    context: bool
    embedding: int


class Tdnn(nn.Module):
    """SpeechBrain's convolution with mirrored ends, ReLU and BatchNorm."""

    def __init__(self, given: int, made: int, kernel: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(given, made, kernel, dilation=dilation, groups=groups)})
        self.norm = nn.ModuleDict({"norm": nn.BatchNorm1d(made)})
        self.margin = dilation * (kernel - 1) // 2

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        x = torch.relu(self.conv["conv"](mirrored(x, lengths, self.margin)))
        return normalised(self.norm["norm"], x, lengths)


class SqueezeExcitation(nn.Module):
    """SpeechBrain's: channels weighted by what the clip has of them."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = point(channels, squeezed), point(squeezed, channels)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        squeezed = torch.relu(self.conv1["conv"](time_mean(x, lengths).to(x.dtype)))
        return x * torch.sigmoid(self.conv2["conv"](squeezed))


class Res2Block(nn.Module):
    """SpeechBrain's SERes2NetBlock: of `scale` parts of the channels all but the first are convolved in turn."""

    def __init__(self, shape: Shape, place: int) -> None:
        super().__init__()
        given, made, groups = shape.channels[place - 1], shape.channels[place], shape.groups[place]
        width = made // shape.scale
        self.tdnn1 = Tdnn(given, made, groups=groups)
        self.res2net_block = nn.ModuleDict({"blocks": nn.ModuleList(
            Tdnn(width, width, shape.kernels[place], shape.dilations[place]) for _ in range(shape.scale - 1)
        )})  # fmt: skip
        self.tdnn2 = Tdnn(made, made, groups=groups)
        self.se_block = SqueezeExcitation(made, shape.squeezed)
        self.shortcut = point(given, made) if given != made else None
        self.scale = shape.scale

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        residual = x if self.shortcut is None else self.shortcut["conv"](x)
        first, *parts = self.tdnn1(x, lengths).chunk(self.scale, dim=1)
        done = [first]
        blocks: Any = self.res2net_block["blocks"]
        for place, (part, block) in enumerate(zip(parts, blocks, strict=True)):
            done.append(block(part if place == 0 else part + done[-1], lengths))
        x = self.tdnn2(torch.cat(done, dim=1), lengths)
        found: Tensor = self.se_block(x, lengths) + residual
        return found


class SpeechBrainEcapa(nn.Module):
    """The tensors of speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN, under its names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        last = shape.channels[-1]
        self.blocks = nn.ModuleList([
            Tdnn(shape.bands, shape.channels[0], shape.kernels[0], shape.dilations[0], shape.groups[0]),
            *(Res2Block(shape, place) for place in range(1, len(shape.channels) - 1)),
        ])  # fmt: skip
        self.mfa = Tdnn(shape.channels[-2] * (len(shape.channels) - 2), last, shape.kernels[-1], shape.dilations[-1],
                        shape.groups[-1])  # fmt: skip
        self.asp = nn.ModuleDict({"tdnn": Tdnn(3 * last if shape.context else last, shape.attention),
                                  "conv": point(shape.attention, last)})  # fmt: skip
        self.asp_bn = nn.ModuleDict({"norm": nn.BatchNorm1d(2 * last)})
        self.fc = point(2 * last, shape.embedding)
        self.widths = (shape.bands, *shape.channels[:-2])
        self.context = shape.context

    def run_block(self, place: int, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Layer `place`, counted from 0, of x (batch, channels, time)."""
        found: Tensor = self.blocks[place](x, lengths)
        return found

    def run_aggregation(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        found: Tensor = self.mfa(x, lengths)
        return found

    def run_pooling(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x (batch, channels, time) -> (batch, 2 * channels)."""
        tdnn, score = self.asp["tdnn"], self.asp["conv"]["conv"]  # type: ignore[index]
        mean = time_mean(x, lengths)
        deviation = squared_deviation_mean(x, mean, lengths).clamp(LEAST_VARIANCE).sqrt()
        seen = x
        if self.context:
            seen = torch.cat([x, mean.expand_as(x).to(x), deviation.expand_as(x).to(x)], dim=1)
        weights = time_softmax(score(torch.tanh(tdnn(seen, lengths))), lengths)
        x = x.float()
        mean = (weights * x).sum(dim=-1)
        variance = (weights * (x - mean[..., None]).square()).sum(dim=-1).clamp(LEAST_VARIANCE)
        found: Tensor = self.asp_bn["norm"](torch.cat([mean, variance.sqrt()], dim=1))
        return found

    def run_embedding(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.fc["conv"](pooled[..., None])[..., 0]
        return found


def point(given: int, made: int) -> nn.ModuleDict:
    """SpeechBrain's convolution of single frames."""
    return nn.ModuleDict({"conv": nn.Conv1d(given, made, 1)})


def ecapa_stages(features: Stage, blocks: tuple[str, ...], aggregation: str, pool: tuple[str, ...],
                 embedding: str) -> tuple[Stage, ...]:  # fmt: skip
    """`features`, `block1` to `blockN`, `aggregation`, `pool`, `embedding`: waveforms to (batch, embedding_dim).

    blocks, aggregation, pool, embedding: the modules that belong to them.
    """
    return (
        features,
        *(Stage(f"block{place + 1}", partial(run_block, place=place), (path,)) for place, path in enumerate(blocks)),
        Stage("aggregation", run_aggregation, (aggregation,)),
        Stage("pool", run_pooling, pool),
        Stage("embedding", run_embedding, (embedding,)),
    )


def run_block(network: Any, features: Features, place: int) -> Features:
    """Frames (batch, time, channels) through layer `place`, counted from 0; from the third on its output stands behind
    that of the earlier ones."""
    x = features.values.transpose(1, 2)
    width = network.widths[place]
    found = network.run_block(place, x[:, -width:], padded_lengths(features))
    kept = torch.cat([x, found], dim=1) if place >= 2 else found
    return Features(kept.transpose(1, 2), features.lengths)


def run_aggregation(network: Any, features: Features) -> Features:
    """The outputs of all SE-Res2Blocks (batch, time, channels) -> (batch, time, channels) by one layer."""
    x = network.run_aggregation(features.values.transpose(1, 2), padded_lengths(features))
    return Features(x.transpose(1, 2), features.lengths)


def run_pooling(network: Any, features: Features) -> Features:
    """Frames (batch, time, channels) -> weighted mean and deviation of each clip, (batch, 2 * channels)."""
    return Features(network.run_pooling(features.values.transpose(1, 2), padded_lengths(features)))


def run_embedding(network: Any, features: Features) -> Features:
    """Pooled frames (batch, channels) -> the embedding (batch, embedding_dim)."""
    return Features(network.run_embedding(features.values))


def padded_lengths(features: Features) -> Tensor | None:
    """The clips' own steps (batch,), None where no clip of the batch is padded."""
    return None if padding_of(features) is None else features.lengths
