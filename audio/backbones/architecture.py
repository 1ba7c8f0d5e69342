"""The shape of a network of the wav2vec 2.0 family, and the network of that shape with random weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from graftwork.audio.backbones.network import (
    Encoder,
    EncoderLayer,
    FeatureExtractor,
    FeatureProjection,
    FeedForward,
    PositionalConvolution,
    SelfAttention,
    SpeechNetwork,
    Transformer,
)
from graftwork.core.errors import BackboneError

Family = Literal["wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"]


@dataclass(frozen=True)
class Architecture:
    """Everything that decides which tensors a network has and how they are used.

    cnn_layers: (channels, kernel, stride) of each convolution over the waveform. cnn_norm: "group" is one
    GroupNorm over time after the first convolution, "layer" a LayerNorm over channels after each.
    projection_norm: LayerNorm before the projection to `hidden` channels. norm_first: the Transformer's
    layers normalise their input instead of their output, and one more norm follows the last layer.
    buckets, max_distance: of WavLM's relative positions; without effect in the other families. language_width: of MMS's
    adapters for a language, one behind each layer; None for none.
    """

    family: Family
    cnn_norm: Literal["group", "layer"]
    cnn_layers: tuple[tuple[int, int, int], ...]
    cnn_bias: bool
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    position_kernel: int
    position_groups: int
    norm_first: bool
    projection_norm: bool = True
    norm_eps: float = 1e-5
    projection_dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    hidden_dropout: float = 0.0
    layer_drop: float = 0.0
    buckets: int = 320
    max_distance: int = 800
    language_width: int | None = None

    def frames(self, samples: int) -> int:
        """How many frames the convolutions make of a clip."""
        for _, kernel, stride in self.cnn_layers:
            samples = (samples - kernel) // stride + 1
        return max(0, samples)

    def shortest_samples(self) -> int:
        """The receptive field of one frame, in samples: 400 for all published models."""
        field = 1
        for _, kernel, stride in reversed(self.cnn_layers):
            field = (field - 1) * stride + kernel
        return field


def empty_network(architecture: Architecture) -> nn.Module:
    """A network of this shape, in evaluation mode.

    Its weights are PyTorch's defaults, to be filled from a checkpoint; under `torch.device("meta")` nothing
    is allocated. `network.architecture` keeps the argument. Raises BackboneError for heads that do not divide it.
    """
    from graftwork.audio.backbones.language_adapter import LanguageAdapter
    from graftwork.audio.backbones.wavlm import GatedAttention

    hidden = architecture.hidden
    if hidden % architecture.heads:
        raise BackboneError(f"{hidden} channels cannot be divided among {architecture.heads} attention heads")
    extractor = FeatureExtractor(architecture.cnn_norm, architecture.cnn_layers, architecture.cnn_bias)
    projection = FeatureProjection(architecture.cnn_layers[-1][0], hidden, architecture.projection_dropout)
    position = PositionalConvolution(hidden, architecture.position_kernel, architecture.position_groups)
    layers = nn.ModuleList()
    for _ in range(architecture.layers):
        # In this order: a seed gives the random weights that it always gave.
        attention = SelfAttention(hidden, architecture.heads, architecture.attention_dropout)
        feed_forward = FeedForward(
            hidden, architecture.feed_forward, architecture.activation_dropout, architecture.hidden_dropout
        )
        layers.append(
            EncoderLayer(attention, feed_forward, architecture.hidden_dropout, norm_first=architecture.norm_first)
        )
    transformer = Transformer(position, layers, hidden, architecture.hidden_dropout, architecture.layer_drop,
                              norm_first=architecture.norm_first)  # fmt: skip
    network: Any = SpeechNetwork(extractor, Encoder(projection, transformer))
    if architecture.family == "wavlm":
        for index, layer in enumerate(transformer.layers):
            layer.attention = GatedAttention(
                architecture.hidden,
                architecture.heads,
                architecture.attention_dropout,
                architecture.buckets,
                architecture.max_distance,
                embeds=index == 0,
            )
    if architecture.language_width is not None:
        for layer in network.encoder.transformer.layers:
            layer.adapter_layer = LanguageAdapter(architecture.hidden, architecture.language_width)
    if not architecture.projection_norm:
        network.encoder.feature_projection.layer_norm = nn.Identity()
    for module in network.encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = architecture.norm_eps
    network.architecture = architecture
    evaluated: nn.Module = network.eval()
    return evaluated


def random_network(architecture: Architecture) -> nn.Module:
    """A network to be trained from scratch, drawn from torch's global random state as fairseq draws it.

    PyTorch's defaults would let the signal fade over the seven convolutions.
    """
    network = empty_network(architecture)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d) and name.startswith("feature_extractor."):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Conv1d):
            # Assigning to a weight-normed convolution sets its direction and its length.
            deviation = math.sqrt(4.0 / (architecture.position_kernel * architecture.hidden))
            module.weight = nn.init.normal_(module.weight.detach().clone(), std=deviation)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # this convolution always has one
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    return network
