"""The ResNets of WeSpeaker and of SpeechBrain over filterbanks, with their names, and what both are as stages.

Between the stages lie frames (batch, time, channels * bands). WeSpeaker's images are (batch, channels, bands, time),
SpeechBrain's (batch, channels, time, bands). Every step sees each clip's own frames alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.ecapa import padded_lengths, run_embedding
from graftwork.audio.backbones.own_frames import (
    after_stride,
    normalised,
    own_frames,
    squared_deviation_mean,
    time_mean,
    time_softmax,
)
from graftwork.core.model.backbone import Stage
from graftwork.core.types import Features

LEAST_VARIANCE = 1e-8
"""WeSpeaker adds it to the variance over time."""
LEAST_WEIGHTED_VARIANCE = 1e-5
"""Below it SpeechBrain's weighted variance counts as this."""
ATTENTION_WIDTH = 128


@dataclass(frozen=True)
class Shape:
    """Of a network. channels, blocks, strides: of each of its four layers."""

    bands: int
    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    embedding: int
    bottleneck: bool = False

    def bands_after(self) -> int:
        """Bands behind the last layer."""
        bands = self.bands
        for stride in self.strides:
            bands = (bands - 1) // stride + 1
        return bands


def conv3(given: int, made: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, 3, stride, padding=1, bias=False)


def conv1(given: int, made: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, 1, stride, bias=False)


class WeSpeakerBlock(nn.Module):
    """Two convolutions of three by three, or three as a bottleneck, and a path around them."""

    def __init__(self, given: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        made = 4 * width if bottleneck else width
        self.conv1 = conv1(given, width) if bottleneck else conv3(given, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3(width, width, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(width)
        if bottleneck:
            self.conv3, self.bn3 = conv1(width, made), nn.BatchNorm2d(made)
        self.shortcut = nn.Sequential()
        if stride != 1 or given != made:
            self.shortcut = nn.Sequential(conv1(given, made, stride), nn.BatchNorm2d(made))
        self.given, self.stride, self.bottleneck = given, stride, bottleneck

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x (batch, channels, bands, time)."""
        shorter = after_stride(lengths, self.stride)
        first = lengths if self.bottleneck else shorter
        found = torch.relu(normalised(self.bn1, self.conv1(own_frames(x, lengths)), first))
        found = normalised(self.bn2, self.conv2(own_frames(found, first)), shorter)
        if self.bottleneck:
            found = normalised(self.bn3, self.conv3(torch.relu(found)), shorter)
        around = x if len(self.shortcut) == 0 else normalised(self.shortcut[1], self.shortcut[0](x), shorter)
        return torch.relu(found + around)


class WeSpeakerResNet(nn.Module):
    """The tensors of wespeaker.models.resnet.ResNet with statistics pooling and one embedding layer."""

    time_axis = 3

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        wide = 4 if shape.bottleneck else 1
        self.conv1, self.bn1 = conv3(1, shape.channels[0]), nn.BatchNorm2d(shape.channels[0])
        given = shape.channels[0]
        for place, (width, count, stride) in enumerate(zip(shape.channels, shape.blocks, shape.strides, strict=True)):
            layers = nn.ModuleList()
            for number in range(count):
                layers.append(WeSpeakerBlock(given, width, stride if number == 0 else 1, shape.bottleneck))
                given = wide * width
            self.add_module(f"layer{place + 1}", layers)
        self.seg_1 = nn.Linear(2 * given * shape.bands_after(), shape.embedding)
        self.strides = shape.strides

    def run_stem(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x (batch, 1, bands, time)."""
        return torch.relu(normalised(self.bn1, self.conv1(own_frames(x, lengths)), lengths))

    def run_pooling(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Mean and deviation of frames (batch, channels, time), (batch, 2 * channels)."""
        mean = time_mean(frames, lengths)
        deviation = (squared_deviation_mean(frames, mean, lengths, freedom=1) + LEAST_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=1)[..., 0]

    def run_embedding(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.seg_1(pooled)
        return found


class SpeechBrainBlock(nn.Module):
    """Norms before convolutions, then squeeze-and-excitation in some layers, and a path around them."""

    def __init__(self, given: int, made: int, stride: int, squeezes: bool) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(given), conv3(given, made, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(made), conv3(made, made)
        self.bn3, self.conv3 = nn.BatchNorm2d(made), conv1(made, made)
        if squeezes:
            fc = nn.Sequential(nn.Linear(made, made), nn.ReLU(), nn.Linear(made, made), nn.Sigmoid())
            self.se = nn.ModuleDict({"fc": fc})
        self.downsample: nn.Sequential | None = None
        if stride != 1 or given != made:
            self.downsample = nn.Sequential(conv1(given, made, stride), nn.BatchNorm2d(made))
        self.given, self.stride, self.squeezes = given, stride, squeezes

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x (batch, channels, time, bands)."""
        shorter = after_stride(lengths, self.stride)
        found = torch.relu(normalised(self.bn1, x, lengths, 2))
        found = torch.relu(normalised(self.bn2, self.conv1(own_frames(found, lengths, 2)), shorter, 2))
        found = torch.relu(normalised(self.bn3, self.conv2(own_frames(found, shorter, 2)), shorter, 2))
        found = self.conv3(found)
        if self.squeezes:
            mean = time_mean(found.mean(dim=3), shorter)[..., 0]
            found = found * self.se["fc"](mean.to(found.dtype))[..., None, None]
        around = x
        if self.downsample is not None:
            around = normalised(self.downsample[1], self.downsample[0](x), shorter, 2)
        whole: Tensor = found + around
        return whole


class SpeechBrainResNet(nn.Module):
    """The tensors of speechbrain.lobes.models.ResNet.ResNet, under its names."""

    time_axis = 2

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3(1, shape.channels[0]), nn.BatchNorm2d(shape.channels[0])
        given = shape.channels[0]
        for place, (width, count, stride) in enumerate(zip(shape.channels, shape.blocks, shape.strides, strict=True)):
            layers = nn.ModuleList()
            for number in range(count):
                layers.append(SpeechBrainBlock(given, width, stride if number == 0 else 1, squeezes=place < 2))
                given = width
            self.add_module(f"layer{place + 1}", layers)
        wide = given * shape.bands_after()
        first, second = nn.Conv1d(wide, ATTENTION_WIDTH, 1), nn.Conv1d(ATTENTION_WIDTH, wide, 1)
        self.attention = nn.ModuleList([first, nn.ReLU(), nn.BatchNorm1d(ATTENTION_WIDTH), second])
        self.norm_stats = nn.BatchNorm1d(2 * wide)
        self.fc_embed = nn.Linear(2 * wide, shape.embedding)
        self.norm_embed = nn.BatchNorm1d(shape.embedding)
        self.strides = shape.strides

    def run_stem(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x (batch, 1, time, bands)."""
        return torch.relu(normalised(self.bn1, self.conv1(own_frames(x, lengths, 2)), lengths, 2))

    def run_pooling(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Mean and deviation of frames (batch, channels, time) weighted by attention, (batch, 2 * channels)."""
        first, relu, norm, second = self.attention
        weights = time_softmax(second(normalised(norm, relu(first(frames)), lengths)), lengths)
        frames = frames.float()
        mean = (frames * weights).sum(dim=2)
        variance = (frames.square() * weights).sum(dim=2) - mean.square()
        pooled = torch.cat([mean, variance.clamp(min=LEAST_WEIGHTED_VARIANCE).sqrt()], dim=1)
        found: Tensor = self.norm_stats(pooled)
        return found

    def run_embedding(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.norm_embed(self.fc_embed(pooled))
        return found


def resnet_stages(features: Stage, pool: tuple[str, ...], embedding: tuple[str, ...]) -> tuple[Stage, ...]:
    """`features`, `stem`, `layer1` to `layer4`, `pool`, `embedding`: waveforms to (batch, embedding_dim).

    pool, embedding: the modules that belong to them.
    """
    return (
        features,
        Stage("stem", run_stem, ("conv1", "bn1")),
        *(Stage(f"layer{place + 1}", partial(run_layer, place=place), (f"layer{place + 1}",)) for place in range(4)),
        Stage("pool", run_pooling, pool),
        Stage("embedding", run_embedding, embedding),
    )


def run_stem(network: Any, features: Features) -> Features:
    """Bands (batch, time, bands) -> (batch, time, channels * bands)."""
    x = network.run_stem(_image(network, features.values, 1), padded_lengths(features))
    return Features(_frames(network, x), features.lengths)


def run_layer(network: Any, features: Features, place: int) -> Features:
    """Layer `place`, counted from 0, of frames (batch, time, channels * bands); it may halve their number."""
    layers = network.get_submodule(f"layer{place + 1}")
    x = _image(network, features.values, layers[0].given)
    lengths, padded = features.lengths, padded_lengths(features)
    for layer in layers:
        x = layer(x, padded)
        padded = after_stride(padded, layer.stride)
    return Features(_frames(network, x), after_stride(lengths, network.strides[place]))


def run_pooling(network: Any, features: Features) -> Features:
    """Frames (batch, time, channels) -> one vector a clip, (batch, 2 * channels)."""
    return Features(network.run_pooling(features.values.transpose(1, 2), padded_lengths(features)))


def _image(network: Any, frames: Tensor, channels: int) -> Tensor:
    """Frames (batch, time, channels * bands) as the network's images."""
    batch, time, width = frames.shape
    image = frames.reshape(batch, time, channels, width // channels).permute(0, 2, 3, 1)
    return image if network.time_axis == 3 else image.transpose(2, 3)


def _frames(network: Any, image: Tensor) -> Tensor:
    """The network's images as frames (batch, time, channels * bands)."""
    image = image if network.time_axis == 3 else image.transpose(2, 3)
    return image.permute(0, 3, 1, 2).flatten(2)
