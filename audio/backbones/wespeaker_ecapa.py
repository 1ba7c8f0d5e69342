"""WeSpeaker's ECAPA-TDNN, with its names: zeros at the ends of clips, another order of the parts of a Res2Net
convolution and another variance than SpeechBrain's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.ecapa import Shape
from graftwork.audio.backbones.own_frames import (
    normalised,
    own_frames,
    squared_deviation_mean,
    time_mean,
    time_softmax,
)

LEAST_VARIANCE = 1e-10
"""Below it a weighted variance counts as this; it is added to the plain one."""


class Conv(nn.Module):
    """A convolution of frames, ReLU and BatchNorm."""

    def __init__(self, given: int, made: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(given, made, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(made)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return normalised(self.bn, torch.relu(self.conv(own_frames(x, lengths))), lengths)


class Res2Conv(nn.Module):
    """Of `scale` parts of the channels all but the last are convolved in turn."""

    def __init__(self, channels: int, scale: int, kernel: int, dilation: int) -> None:
        super().__init__()
        width, margin = channels // scale, dilation * (kernel // 2)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=margin, dilation=dilation) for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(scale - 1))
        self.scale = scale

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        *parts, last = x.chunk(self.scale, dim=1)
        done: list[Tensor] = []
        for part, conv, norm in zip(parts, self.convs, self.bns, strict=True):
            summed = part + done[-1] if done else part
            done.append(normalised(norm, torch.relu(conv(own_frames(summed, lengths))), lengths))
        return torch.cat([*done, last], dim=1)


class SqueezeExcitation(nn.Module):
    """Channels weighted by what the clip has of them."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        squeezed = torch.relu(self.linear1(time_mean(x, lengths)[..., 0].to(x.dtype)))
        return x * torch.sigmoid(self.linear2(squeezed))[..., None]


class Res2Block(nn.Module):
    """Convolution, Res2Net convolution, convolution and squeeze-and-excitation beside a path around them."""

    def __init__(self, shape: Shape, place: int) -> None:
        super().__init__()
        width = shape.channels[place]
        self.se_res2block = nn.ModuleList([
            Conv(width, width),
            Res2Conv(width, shape.scale, shape.kernels[place], shape.dilations[place]),
            Conv(width, width),
            SqueezeExcitation(width, shape.squeezed),
        ])  # fmt: skip

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        found = x
        for layer in self.se_res2block:
            found = layer(found, lengths)
        return x + found


class WeSpeakerEcapa(nn.Module):
    """The tensors of wespeaker.models.ecapa_tdnn.ECAPA_TDNN, under its names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, last = shape.channels[0], shape.channels[-1]
        self.layer1 = Conv(shape.bands, width, shape.kernels[0])
        self.layer2, self.layer3, self.layer4 = (Res2Block(shape, place) for place in (1, 2, 3))
        self.conv = nn.Conv1d(last, last, 1)
        self.pool = nn.ModuleDict({
            "linear1": nn.Conv1d(3 * last if shape.context else last, shape.attention, 1),
            "linear2": nn.Conv1d(shape.attention, last, 1),
        })  # fmt: skip
        self.bn = nn.BatchNorm1d(2 * last)
        self.linear = nn.Linear(2 * last, shape.embedding)
        self.widths = (shape.bands, *shape.channels[:-2])
        self.context = shape.context

    def run_block(self, place: int, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Layer `place`, counted from 0, of x (batch, channels, time)."""
        layers: tuple[Any, ...] = (self.layer1, self.layer2, self.layer3, self.layer4)
        found: Tensor = layers[place](x, lengths)
        return found

    def run_aggregation(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return torch.relu(self.conv(x))

    def run_pooling(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x (batch, channels, time) -> (batch, 2 * channels)."""
        seen = x
        if self.context:
            mean = time_mean(x, lengths)
            deviation = (squared_deviation_mean(x, mean, lengths, freedom=1) + LEAST_VARIANCE).sqrt()
            seen = torch.cat([x, mean.expand_as(x).to(x), deviation.expand_as(x).to(x)], dim=1)
        weights = time_softmax(self.pool["linear2"](torch.tanh(self.pool["linear1"](seen))), lengths)
        x = x.float()
        mean = (weights * x).sum(dim=-1)
        variance = (weights * x.square()).sum(dim=-1) - mean.square()
        found: Tensor = self.bn(torch.cat([mean, variance.clamp(min=LEAST_VARIANCE).sqrt()], dim=1))
        return found

    def run_embedding(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.linear(pooled)
        return found
