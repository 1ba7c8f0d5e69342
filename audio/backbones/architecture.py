"""The shape of a network of the wav2vec 2.0 family, and the network of that shape with random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from graftwork.core.errors import BackboneError, MissingPackageError

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


def from_torchaudio(model_type: str, parameters: Mapping[str, Any]) -> Architecture:
    """The architecture that torchaudio describes in the arguments of `wav2vec2_model` or `wavlm_model`."""
    return Architecture(
        family="wavlm" if model_type == "WavLM" else "wav2vec2",
        cnn_norm="group" if parameters["extractor_mode"] == "group_norm" else "layer",
        cnn_layers=tuple((int(c), int(k), int(s)) for c, k, s in parameters["extractor_conv_layer_config"]),
        cnn_bias=parameters["extractor_conv_bias"],
        hidden=parameters["encoder_embed_dim"],
        layers=parameters["encoder_num_layers"],
        heads=parameters["encoder_num_heads"],
        feed_forward=parameters["encoder_ff_interm_features"],
        position_kernel=parameters["encoder_pos_conv_kernel"],
        position_groups=parameters["encoder_pos_conv_groups"],
        norm_first=parameters["encoder_layer_norm_first"],
        projection_dropout=parameters["encoder_projection_dropout"],
        attention_dropout=parameters["encoder_attention_dropout"],
        activation_dropout=parameters["encoder_ff_interm_dropout"],
        hidden_dropout=parameters["encoder_dropout"],
        layer_drop=parameters["encoder_layer_drop"],
        buckets=parameters.get("encoder_num_buckets", 320),
        max_distance=parameters.get("encoder_max_distance", 800),
    )


def empty_network(architecture: Architecture) -> nn.Module:
    """torchaudio's Wav2Vec2Model of this shape, without a CTC head, in evaluation mode.

    Its weights are PyTorch's defaults, to be filled from a checkpoint; under `torch.device("meta")` nothing
    is allocated. `network.architecture` keeps the argument.
    """
    try:
        from torchaudio.models import wav2vec2_model
    except ImportError as error:
        raise MissingPackageError("audio backbones need torchaudio: pip install 'graftwork[audio]'") from error
    from graftwork.audio.backbones.language_adapter import LanguageAdapter
    from graftwork.audio.backbones.wavlm import GatedAttention

    if architecture.hidden % architecture.heads:
        raise BackboneError(
            f"{architecture.hidden} channels cannot be divided among {architecture.heads} attention heads"
        )
    network = wav2vec2_model(
        extractor_mode=f"{architecture.cnn_norm}_norm",
        extractor_conv_layer_config=list(architecture.cnn_layers),
        extractor_conv_bias=architecture.cnn_bias,
        encoder_embed_dim=architecture.hidden,
        encoder_projection_dropout=architecture.projection_dropout,
        encoder_pos_conv_kernel=architecture.position_kernel,
        encoder_pos_conv_groups=architecture.position_groups,
        encoder_num_layers=architecture.layers,
        encoder_num_heads=architecture.heads,
        encoder_attention_dropout=architecture.attention_dropout,
        encoder_ff_interm_features=architecture.feed_forward,
        encoder_ff_interm_dropout=architecture.activation_dropout,
        encoder_dropout=architecture.hidden_dropout,
        encoder_layer_norm_first=architecture.norm_first,
        encoder_layer_drop=architecture.layer_drop,
        aux_num_out=None,
    )
    if architecture.family == "wavlm":
        for index, layer in enumerate(network.encoder.transformer.layers):
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
