"""2.5D: a 2D network sees every slice of a volume, and the volume's vector is made of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features
from graftwork.imaging.backbones.inflation import in_three

Run = Callable[[nn.Module, Features], Features]
SlicePooling = Literal["mean", "attention"]

ATTENTION = "slice_attention"
"""Name of the module and of the last stage that weighs slices."""

ATTENTION_WIDTH = 64


class SliceAttention(nn.Module):
    """The mean of slices by learnt weights (Ilse et al. 2018, arXiv 1802.04712), at first all alike.

    (batch, slices, channels) -> (batch, channels).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, ATTENTION_WIDTH)
        self.score = nn.Linear(ATTENTION_WIDTH, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, slices: Tensor) -> Tensor:
        # What a pretrained network gives has any scale; tanh would be flat or straight at most of them.
        alike = nn.functional.layer_norm(slices, slices.shape[-1:])
        weights = self.score(torch.tanh(self.hidden(alike))).softmax(dim=1)
        result: Tensor = (weights * slices).sum(dim=1)
        return result


def slicewise(backbone: Backbone, size: int, pooling: SlicePooling = "mean") -> Backbone:
    """The backbone for volumes of `size` slices of `size` x `size` pixels; stages, weights and vectors stay.

    Between stages, features are (batch, slices, …) as the 2D network has them. With `pooling` "attention", slices count
    by weights that every strategy that trains learns; the network, which is changed and kept, holds them.
    """
    last = len(backbone.stages) - 1
    attends = pooling == "attention"
    stages = [replace(stage, run=partial(_on_slices, stage.run, number == 0, number == last and not attends),
                      channel_axis=2 if stage.channel_axis == 1 else -1)
              for number, stage in enumerate(backbone.stages)]  # fmt: skip
    made = replace(backbone, id=f"slices:{backbone.id}", stages=tuple(stages), contract=in_three(backbone, size))
    if not attends:
        return made
    network = _with_attention(backbone.network, backbone.feature_dim)
    new_parameters = tuple(f"{ATTENTION}.{name}" for name, _ in network.get_submodule(ATTENTION).named_parameters())
    build = None if backbone.build is None else partial(_afresh, backbone.build, backbone.feature_dim)
    pooled = (*made.stages, Stage(ATTENTION, _attend, (ATTENTION,)))
    return replace(made, network=network, stages=pooled, new_parameters=new_parameters, build=build)


def is_slicewise(stage: Stage) -> bool:
    """Whether the stage is one that `slicewise` made: its maps are (batch, slices, …)."""
    return isinstance(stage.run, partial) and stage.run.func is _on_slices


def _on_slices(run: Run, first: bool, last: bool, network: nn.Module, features: Features) -> Features:
    values = features.values.movedim(2, 1) if first else features.values
    found: Tensor = run(network, Features(values.flatten(0, 1))).values
    found = found.reshape(*values.shape[:2], *found.shape[1:])
    return Features(found.mean(1) if last else found, features.lengths)


def _attend(network: nn.Module, features: Features) -> Features:
    return Features(network.get_submodule(ATTENTION)(features.values))


def _with_attention(network: nn.Module, channels: int) -> nn.Module:
    network.add_module(ATTENTION, SliceAttention(channels).train(network.training))
    return network


def _afresh(build: Callable[[], nn.Module], channels: int) -> nn.Module:
    return _with_attention(build(), channels)
