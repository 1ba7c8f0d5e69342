"""The stages of wav2vec 2.0, HuBERT, XLS-R and WavLM, exact for clips of unequal length in one batch.

The modules are in `network`; what runs them is here, so that the padding of a batch does not reach the clips: through
the GroupNorm of the base models, and through WavLM's attention.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from graftwork.audio.backbones.convolution import position_convolution, strided_convolution
from graftwork.audio.backbones.pooling import pool
from graftwork.audio.backbones.wavlm import GatedAttention
from graftwork.core.model.backbone import FRAMES, Stage
from graftwork.core.types import Features, padding_mask

ATTENTION = "attentive_pooling"
"""The module of the network that the stage `pool` has where pooling is learnt."""


def speech_stages(
    layers: int, *, norm_first: bool, pooling: Literal["mean", "mean+std", "attentive", "none"]
) -> tuple[Stage, ...]:
    """The stages of `frame_stages` and `last_stage`: from waveforms (batch, time) to (batch, channels), or frames."""
    return (*frame_stages(layers, norm_first=norm_first), last_stage(pooling))


def frame_stages(layers: int, *, norm_first: bool) -> tuple[Stage, ...]:
    """`cnn`, `projection`, `layer1` to `layerN`: from waveforms (batch, time) to (batch, frames, channels).

    The norm that follows the last layer of a `norm_first` network belongs to that layer; in the other
    networks the same tensors come before the first layer and belong to `projection`.
    """
    transformer = "encoder.transformer"
    projection = ["encoder.feature_projection", f"{transformer}.pos_conv_embed", f"{transformer}.dropout"]
    owned = [[f"{transformer}.layers.{index}"] for index in range(layers)]
    (owned[-1] if norm_first else projection).append(f"{transformer}.layer_norm")
    return (
        Stage("cnn", run_cnn, ("feature_extractor",)),
        Stage("projection", run_projection, tuple(projection)),
        *(
            Stage(f"layer{index + 1}", partial(run_layer, index=index), tuple(paths))
            for index, paths in enumerate(owned)
        ),
    )


def last_stage(pooling: Literal["mean", "mean+std", "attentive", "none"]) -> Stage:
    """`pool`, from frames (batch, frames, channels) to (batch, channels) or twice as many; `frames` without pooling."""
    if pooling == "none":
        return Stage(FRAMES, _as_they_are)
    if pooling == "attentive":
        return Stage("pool", run_attentive_pool, (ATTENTION,))
    return Stage("pool", partial(run_pool, pooling=pooling))


def _as_they_are(network: Any, features: Features) -> Features:
    return features


def run_cnn(network: Any, features: Features) -> Features:
    """Waveforms (batch, samples) -> (batch, frames, channels); frames beyond a clip's own are zero."""
    x = features.values.unsqueeze(1)
    lengths = features.lengths
    padded = padding_of(features) is not None
    for block in network.feature_extractor.conv_layers:
        x = strided_convolution(block.conv, x)
        if lengths is not None:
            # Of an unpadded convolution, these frames see samples of the clip alone.
            lengths = torch.div(lengths - block.kernel_size, block.stride, rounding_mode="floor") + 1
        if block.layer_norm is not None:
            over_time = isinstance(block.layer_norm, nn.GroupNorm)
            if over_time and padded and lengths is not None:
                x = group_norm_over_clips(block.layer_norm, x, lengths)
            else:
                x = block.layer_norm(x)
        x = nn.functional.gelu(x)
    return without_padding(Features(x.transpose(1, 2), lengths))


def group_norm_over_clips(norm: nn.GroupNorm, x: Tensor, lengths: Tensor) -> Tensor:
    """GroupNorm of x (batch, channels, time) with the statistics of each clip's own `lengths` (batch,) steps.

    One channel a group, as in all networks of this family: mean and variance over time alone.
    """
    if norm.num_groups != norm.num_channels:
        raise ValueError(f"expected one channel a group, found {norm.num_channels} in {norm.num_groups}")
    padding = padding_mask(lengths, x.shape[2], x.device)[:, None]
    count = lengths[:, None, None].to(x.device, non_blocking=True).float()
    # Sums over a long clip need single precision also where the network runs in half.
    mean = x.float().masked_fill(padding, 0.0).sum(dim=2, keepdim=True) / count
    centred = (x.float() - mean).masked_fill(padding, 0.0)
    variance = centred.square().sum(dim=2, keepdim=True) / count
    scale = torch.rsqrt(variance + norm.eps) * norm.weight[:, None]
    return (centred * scale + norm.bias[:, None]).to(x.dtype)


def run_projection(network: Any, features: Features) -> Features:
    """CNN frames (batch, frames, channels) -> the Transformer's input, with position added."""
    projected = Features(network.encoder.feature_projection(features.values), features.lengths)
    return add_position(network, projected)


def add_position(network: Any, projected: Features) -> Features:
    """Projected frames (batch, frames, hidden), of which some may be masked -> the Transformer's input."""
    transformer = network.encoder.transformer
    # The positional convolution looks 64 frames around: it must see the same zeros after a clip as alone.
    x = without_padding(projected).values
    x = x + position_convolution(transformer.pos_conv_embed, x)
    if not transformer.norm_first:
        x = transformer.layer_norm(x)
    return Features(transformer.dropout(x), projected.lengths)


def run_layer(network: Any, features: Features, index: int) -> Features:
    """One Transformer layer, (batch, frames, channels) to the same; `index` counts from 0."""
    transformer = network.encoder.transformer
    layer = transformer.layers[index]
    batch, frames, _ = features.values.shape
    padding = padding_of(features)
    mask = None if padding is None else (~padding)[:, None, None, :].expand(batch, 1, frames, frames)
    first = transformer.layers[0].attention
    bias = first.relative_bias(frames) if isinstance(first, GatedAttention) else None
    with any_length_attention(features.values):
        x = layer(features.values, attention_mask=mask, position_bias=bias)
    language = getattr(layer, "adapter_layer", None)
    if language is not None:
        x = x + language(x)
    if layer.training and transformer.layer_drop > 0:
        # A dropped layer is computed and set aside: several processes that train together must each have a
        # gradient for every tensor, if only one of zero.
        x = torch.where(torch.rand((), device=x.device) < transformer.layer_drop, features.values, x)
    if index == len(transformer.layers) - 1 and transformer.norm_first:
        x = transformer.layer_norm(x)
    return Features(x, features.lengths)


def any_length_attention(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, attention on a GPU takes kernels that need no plan for each new length: cuDNN's, which torch prefers for
    half precision, took 150 ms for one on an H100, and 210 ms for its gradient."""
    if not x.is_cuda:
        return nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def run_attentive_pool(network: Any, features: Features) -> Features:
    """Frames (batch, frames, channels) -> (batch, 2 * channels), by the network's own attention over time."""
    lengths = None if padding_of(features) is None else features.lengths
    return Features(network.get_submodule(ATTENTION)(features.values, lengths))


def run_pool(network: Any, features: Features, pooling: Literal["mean", "mean+std"]) -> Features:
    """Frames (batch, frames, channels) -> one vector a clip, (batch, channels) or twice as many."""
    lengths = None if padding_of(features) is None else features.lengths
    return Features(pool(features.values, lengths, pooling))


def padding_of(features: Features) -> Tensor | None:
    """True at the steps beyond a clip's own, (batch, time); None where there are none. A graph that is exported has to
    look at the lengths of its own batches: it always masks."""
    time = features.values.shape[1]
    if features.lengths is None:
        return None
    if not torch.compiler.is_exporting() and bool((features.lengths >= time).all()):
        return None
    return padding_mask(features.lengths, time, features.values.device)


def without_padding(features: Features) -> Features:
    """The same features (batch, time, channels) with zeros beyond each clip's own steps."""
    padding = padding_of(features)
    if padding is None:
        return features
    return Features(features.values.masked_fill(padding[..., None], 0.0), features.lengths)
