"""A learnt weighted sum over the layers of a Transformer, with a small adapter on the output of each.

The plain sum is that of SUPERB (Yang et al. 2021, arXiv 2105.01051); the adapters are the L-adapters of Otake,
Kawakami and Inoue (2023), "Parameter efficient transfer learning for various speech processing tasks".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features

NAME = "layer_mix"
"""The new stage, and the module of the network behind it."""


class LayerMix(nn.Module):
    """The outputs of several layers side by side, (batch, time, layers * channels), to one, (batch, time, channels).

    Each layer's output is normalised over its channels, without parameters, passes `h + up(gelu(down(h)))`, and
    is summed with a weight of its own; the weights are a softmax of `scores` (layers,). At first `up` gives zero
    and the weights are equal: the result is the mean of the normalised outputs. With width 0 there is no adapter.
    """

    def __init__(self, layers: int, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.scores = nn.Parameter(torch.zeros(layers))
        adapters = layers if width else 0
        self.down = nn.ModuleList(nn.Linear(channels, width) for _ in range(adapters))
        self.up = nn.ModuleList(nn.Linear(width, channels) for _ in range(adapters))
        for up in self.up:
            nn.init.zeros_(up.get_parameter("weight"))
            nn.init.zeros_(up.get_parameter("bias"))

    def forward(self, values: Tensor) -> Tensor:
        """(batch, time, layers * channels) -> (batch, time, channels)."""
        outputs = torch.split(values, self.channels, dim=2)
        weights = torch.softmax(self.scores, dim=0)
        mixed = torch.zeros_like(outputs[0])
        for index, output in enumerate(outputs):
            h = F.layer_norm(output, (self.channels,))
            if self.down:
                h = h + self.up[index](F.gelu(self.down[index](h)))
            mixed = mixed + weights[index] * h
        return mixed


def insert_layer_mix(backbone: Backbone, width: int, example: Features) -> tuple[Backbone, tuple[str, ...]]:
    """Lets the last stage see a learnt mixture of all layers instead of the last layer alone.

    The layers are the stages right before the last one whose outputs, (batch, time, channels), agree in time
    and channels. Each now appends its output to what flows, and a new stage "layer_mix" turns that into
    (batch, time, channels) for the last stage.

    backbone: its network is changed in place.
    width: of each layer's adapter; 0 for the weighted sum alone.
    example: a batch as the backbone's contract collates it; one example is enough.

    Returns the backbone with the new stages, and the names of the new parameters. Raises SettingsError for a
    negative width, where there is a mixture already, and where fewer than two stages agree.
    """
    network = backbone.network
    if width < 0:
        raise SettingsError(f"layers: the adapters' width must be at least 0, found {width}")
    if hasattr(network, NAME):
        raise SettingsError(f"{backbone.id} already has a module {NAME!r}; start from a fresh copy")
    shapes = _output_shapes(backbone, example)
    first = _first_mixed(shapes)
    last = len(backbone.stages) - 1
    if last - first < 2:
        given = ", ".join(f"{stage.name} {shape}" for stage, shape in zip(backbone.stages, shapes, strict=True))
        raise SettingsError(
            "layers needs a network whose successive stages give sequences (batch, time, channels) of one width, as "
            f"Transformers do; {backbone.id} gives {given}"
        )
    channels = shapes[first][2]
    module = LayerMix(last - first, channels, width).train(network.training)
    network.add_module(NAME, module.to(example.values.device))
    stages = (
        *backbone.stages[: first + 1],
        *(replace(stage, run=partial(append_output, stage, channels)) for stage in backbone.stages[first + 1 : last]),
        Stage(NAME, _mix, (NAME,)),
        backbone.stages[last],
    )
    inserted = tuple(f"{NAME}.{name}" for name, _ in module.named_parameters())
    return replace(backbone, stages=stages), inserted


def _output_shapes(backbone: Backbone, example: Features) -> list[tuple[int, ...]]:
    """The shape that each stage gives."""
    shapes = []
    features = example
    # Not in inference mode: what a network keeps from its first run could not take part in training.
    with torch.no_grad():
        for stage in backbone.stages:
            features = stage.run(backbone.network, features)
            shapes.append(tuple(features.values.shape))
    return shapes


def _first_mixed(shapes: Sequence[tuple[int, ...]]) -> int:
    """Index of the first stage of the longest run that ends right before the last stage and has one 3D shape."""
    last = len(shapes) - 1
    first = last
    while first > 0 and len(shapes[first - 1]) == 3 and shapes[first - 1] == shapes[last - 1]:
        first -= 1
    return first


def append_output(stage: Stage, channels: int, network: nn.Module, features: Features) -> Features:
    """(batch, time, layers * channels) -> one layer more: the stage's output for the last layer's."""
    # A slice with gaps would go through other kernels, whose rounding differs from the pretrained network's run.
    own = features.values[..., -channels:].contiguous()
    output = stage.run(network, Features(own, features.lengths))
    return Features(torch.cat([features.values, output.values], dim=-1), output.lengths)


def _mix(network: nn.Module, features: Features) -> Features:
    return Features(network.get_submodule(NAME)(features.values), features.lengths)
