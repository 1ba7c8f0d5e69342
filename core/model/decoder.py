"""The head for masks: from a backbone's maps at every depth to the class of every pixel or voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features

FINEST_WIDTH, WIDEST = 16, 96
"""Channels of the finest level; each coarser one has twice as many, up to the widest."""

GROUPS = 8
"""Channels are normalised in so many groups, which also works where the deepest maps are a single voxel."""


class Decoder(nn.Module):
    """A light U-Net decoder (Ronneberger et al. 2015, arXiv 1505.04597) over maps of any number of levels.

    From the deepest level up: the maps are enlarged to the next finer level, added to what that level's own maps give,
    and convolved. Maps are normalised one example at a time, so a batch of one trains as well as a large one.
    (batch, channels, *spatial) of every level -> logits (batch, outputs, *spatial of the first level).
    """

    def __init__(self, channels: Sequence[int], spatial_dims: int, outputs: int, convolutions: int = 1) -> None:
        """channels: of every level, the finest first; a single level becomes one convolution over its maps.
        convolutions: of every level but the deepest, after it and the one below have been added."""
        super().__init__()
        self.outputs = outputs
        widths = [min(FINEST_WIDTH * 2**level, WIDEST) for level in range(len(channels))]
        self.own = nn.ModuleList()
        self.up = nn.ModuleList()
        self.mix = nn.ModuleList()
        if len(channels) > 1:
            for level, (count, width) in enumerate(zip(channels, widths, strict=True)):
                self.own.append(_block(count, width, 1, spatial_dims))
                if level + 1 < len(channels):
                    self.up.append(_convolution(widths[level + 1], width, 1, spatial_dims))
                    mixed = [_block(width, width, 3, spatial_dims) for _ in range(convolutions)]
                    self.mix.append(mixed[0] if convolutions == 1 else nn.Sequential(*mixed))
        self.last = _convolution(widths[0] if len(channels) > 1 else channels[0], outputs, 1, spatial_dims)

    def forward(self, features: Features) -> Tensor:
        """Features with the finer levels as skips and the deepest as values; in between they may be of any size."""
        levels = [*features.skips, features.values]
        if not len(self.own):
            return cast(Tensor, self.last(levels[0]))
        maps = self.own[-1](levels[-1])
        for level in range(len(levels) - 2, -1, -1):
            finer = self.own[level](levels[level])
            maps = self.mix[level](finer + _enlarged(self.up[level](maps), finer.shape[2:]))
        return cast(Tensor, self.last(maps))


def make_decoder(backbone: Backbone, outputs: int, convolutions: int = 1) -> Decoder:
    """The decoder that fits what the backbone's last stage gives."""
    levels = map_shapes(backbone, len(backbone.stages))
    return Decoder([shape[0] for shape in levels], len(levels[0]) - 1, outputs, convolutions)


def map_shapes(backbone: Backbone, stop: int) -> tuple[tuple[int, ...], ...]:
    """Shapes (channels, *spatial), without the batch, of the skips and, last, the values after the first `stop` stages.

    They are found on torch's meta device, where shapes are computed and nothing else.
    """
    import copy

    blank = backbone.contract.collate([backbone.contract.blank()])
    network = copy.deepcopy(backbone.network).to("meta")
    with torch.no_grad():
        found = backbone.with_network(network).run(blank.to("meta"), 0, stop)
    return tuple(tuple(maps.shape[1:]) for maps in (*found.skips, found.values))


def _block(inputs: int, outputs: int, kernel: int, spatial_dims: int) -> nn.Module:
    return nn.Sequential(_convolution(inputs, outputs, kernel, spatial_dims), nn.GroupNorm(GROUPS, outputs),
                         nn.LeakyReLU(0.01))  # fmt: skip


def _convolution(inputs: int, outputs: int, kernel: int, spatial_dims: int) -> nn.Module:
    kind = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    return kind(inputs, outputs, kernel, padding=kernel // 2)


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear" if maps.dim() == 4 else "trilinear")
