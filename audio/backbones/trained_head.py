"""What a checkpoint of Hugging Face was fine-tuned with on top of its network, to begin with it: a weighted sum of
layers, a projector, and the x-vector network of speakers. Heads for text are in `checkpoint_head`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.encoder import Encoder
from graftwork.core.errors import BackboneError
from graftwork.core.model.backbone import Stage
from graftwork.core.model.layer_mix import append_output
from graftwork.core.types import Features, padding_mask

log = logging.getLogger(__name__)

NAME = "checkpoint_head"
"""The module of the network behind the stages `layer_sum` and `pool`."""

USED = ("layer_weights", "projector.", "tdnn.", "feature_extractor.")
"""Beginnings of names that a head is made of: up to the vector, from which its own classes were told."""

FOR_CLASSES = ("classifier.", "objective.")
"""What told its own classes from that vector: of no use for others."""

DILATIONS = (1, 2, 3, 1, 1)
"""Of the x-vector's convolutions, where the configuration does not say."""


class TrainedHead(nn.Module):
    """Frames (batch, time, channels) -> one vector a clip, (batch, width), as transformers' `ForSequenceClassification`
    (the mean of projected frames) and `ForXVector` (Snyder et al. 2018: convolutions, mean and deviation, a projection)
    have it before their classes.

    whole: the mean is over all frames, of Whisper's 30 s as well, as that head was trained.
    """

    def __init__(self, tensors: Mapping[str, Tensor], dilations: Sequence[int], *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        weights = tensors.get("layer_weights")
        self.layer_weights = None if weights is None else nn.Parameter(weights.float().clone())
        self.projector = _linear(tensors, "projector")
        count = sum(name.startswith("tdnn.") and name.endswith(".kernel.weight") for name in tensors)
        self.tdnn = nn.ModuleList()
        width = self.projector.out_features
        for number in range(count):
            weight = tensors[f"tdnn.{number}.kernel.weight"]
            channels, kernel = len(weight), weight.shape[1] // width
            made = nn.Conv1d(width, channels, kernel, dilation=dilations[number])
            with torch.no_grad():
                # Stored as a linear layer over a window, the steps of which lie behind each other.
                made.weight.copy_(weight.view(channels, kernel, width).transpose(1, 2))
                bias: Tensor = made.bias  # type: ignore[assignment]  # as is the default
                bias.copy_(tensors[f"tdnn.{number}.kernel.bias"])
            self.tdnn.append(made)
            width = channels
        self.feature_extractor = _linear(tensors, "feature_extractor") if count else None
        self.width = width if self.feature_extractor is None else self.feature_extractor.out_features

    @property
    def shortest_frames(self) -> int:
        """Frames that a clip needs: of an x-vector two are left by the convolutions, for a deviation."""
        lost = sum(layer.dilation[0] * (layer.kernel_size[0] - 1) for layer in self._convolutions())
        return 1 if not self.tdnn else lost + 2

    def forward(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, time, channels), lengths (batch,) or None for full rows -> (batch, width)."""
        x: Tensor = self.projector(frames)
        if not self.tdnn:
            return _moments(x, None if self.whole else lengths)[0]
        x = x.transpose(1, 2)
        for layer in self._convolutions():
            x = torch.relu(layer(x))
            if lengths is not None:
                lengths = lengths - layer.dilation[0] * (layer.kernel_size[0] - 1)
        mean, deviation = _moments(x.transpose(1, 2), lengths)
        if self.feature_extractor is None:
            raise ValueError("expected a projection behind the convolutions, found none")
        found: Tensor = self.feature_extractor(torch.cat([mean, deviation], dim=1))
        return found

    def _convolutions(self) -> list[nn.Conv1d]:
        return [layer for layer in self.tdnn if isinstance(layer, nn.Conv1d)]

    def sum_layers(self, values: Tensor, channels: int) -> Tensor:
        """Outputs of layers side by side, (batch, time, layers * channels), to their weighted sum."""
        if self.layer_weights is None:
            raise ValueError("expected weights of layers, found none")
        layers = values.reshape(*values.shape[:2], -1, channels)
        found: Tensor = (layers * self.layer_weights.softmax(dim=0)[:, None]).sum(dim=2)
        return found


def head_tensors(tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """What stands beside the network in a checkpoint's tensors and was trained on classes or speakers; none where the
    network stands alone."""
    prefix = next((one for one in prefixes if any(name.startswith(one) for name in tensors)), None)
    if prefix is None:
        return {}
    return {name: value for name, value in tensors.items()
            if name.startswith((*USED, *FOR_CLASSES)) and not name.startswith(prefix)}  # fmt: skip


def checkpoint_pooling(id: str, encoder: Encoder) -> tuple[Encoder, tuple[Stage, ...], int]:
    """The encoder with the head that its checkpoint was trained with, all its stages, and the width of its vector.

    Raises BackboneError for a checkpoint without such a head.
    """
    head = make_trained_head(encoder.head, {"model_type": "", **encoder.config}, encoder.layers, id)
    left_out = sorted(name for name in encoder.head if name.startswith(FOR_CLASSES))
    if left_out:
        log.warning("%s: what told its own classes is left out: %s", id, ", ".join(left_out))
    if head.layer_weights is not None and norm_follows(encoder.config):
        log.warning("%s: the weighted sum takes the last layer behind its norm, as transformers 4 does, in which such "
                    "heads were published; transformers 5 takes it before", id)  # fmt: skip
    encoder.network.add_module(NAME, head)
    shortest, contract = encoder.contract.shortest_samples, encoder.contract
    while encoder.frames(shortest) < head.shortest_frames:
        shortest += 1
    encoder = replace(encoder, contract=replace(contract, shortest_samples=shortest),
                      build=partial(_build_with_head, encoder.build, head))  # fmt: skip
    return encoder, with_trained_head(encoder.stages, head, encoder.layers, encoder.hidden), head.width


def _build_with_head(build: Callable[[], nn.Module], head: nn.Module) -> nn.Module:
    network, fresh = build(), copy.deepcopy(head)
    for module in fresh.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.reset_parameters()
    for parameter in fresh.parameters(recurse=False):  # the weights of the sum: equal
        nn.init.zeros_(parameter)
    network.add_module(NAME, fresh)
    return network


def make_trained_head(tensors: Mapping[str, Tensor], config: Mapping[str, Any], layers: int, id: str) -> TrainedHead:
    """The head of a checkpoint. layers: of the network. Raises BackboneError for one that has none."""
    if "projector.weight" not in tensors:
        found = ", ".join(sorted(tensors)) or "nothing beside the network"
        raise BackboneError(f"{id}: pooling 'checkpoint' needs a trained head (projector.weight), as ForXVector and "
                            f"ForSequenceClassification have; found {found}")  # fmt: skip
    weights = tensors.get("layer_weights")
    if weights is not None and (config["model_type"] == "sew" or weights.shape != (layers + 1,)):
        raise BackboneError(f"{id}: its weighted sum of layers cannot be used ({tuple(weights.shape)} weights of "
                            f"{layers + 1} equal outputs); name another pooling")  # fmt: skip
    try:
        return TrainedHead(tensors, config.get("tdnn_dilation", DILATIONS), whole=config["model_type"] == "whisper")
    except (KeyError, IndexError, RuntimeError) as error:
        raise BackboneError(f"{id}: the tensors of its head do not belong together ({error})") from error


def norm_follows(config: Mapping[str, Any]) -> bool:
    """Whether a norm of all layers follows the last one, on whose side of it transformers' versions 4 and 5 differ."""
    return bool(config.get("do_stable_layer_norm")) or config.get("model_type") == "wav2vec2-conformer"


def with_trained_head(stages: tuple[Stage, ...], head: TrainedHead, layers: int, hidden: int) -> tuple[Stage, ...]:
    """The stages of an encoder and, behind them, `pool`; before it, where layers are summed, `layer_sum`."""
    last = Stage("pool", run_trained_head, tuple(f"{NAME}.{name}" for name, _ in head.named_children()))
    if head.layer_weights is None:
        return (*stages, last)
    appended = (replace(stage, run=partial(append_output, stage, hidden)) for stage in stages[-layers:])
    summed = Stage("layer_sum", partial(run_layer_sum, channels=hidden), (f"{NAME}.layer_weights",),
                   keeps_padding=stages[-1].keeps_padding)  # fmt: skip
    return (*stages[:-layers], *appended, summed, last)


def run_layer_sum(network: Any, features: Features, channels: int) -> Features:
    return Features(network.get_submodule(NAME).sum_layers(features.values, channels), features.lengths)


def run_trained_head(network: Any, features: Features) -> Features:
    return Features(network.get_submodule(NAME)(features.values, features.lengths))


def _linear(tensors: Mapping[str, Tensor], name: str) -> nn.Linear:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    made = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made


def _moments(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and sample deviation over time of (batch, time, channels), each (batch, channels)."""
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1])
    padding = padding_mask(lengths, x.shape[1], x.device)[..., None]
    count = lengths[:, None].to(x.device).float()
    mean = x.float().masked_fill(padding, 0.0).sum(dim=1) / count
    squares = (x.float() - mean[:, None]).masked_fill(padding, 0.0).square().sum(dim=1)
    return mean.to(x.dtype), (squares / (count - 1).clamp(min=1)).sqrt().to(x.dtype)
