"""Speech encoders of transformers as stages, exact for clips of unequal length in one batch.

The modules are transformers' own. What runs them is here where their own forward lets the padding of a batch reach the
clips: GroupNorm over time, stacked convolutions over positions, and the convolutions of a Conformer.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.convolution import strided_convolution
from graftwork.audio.backbones.log_mel import kaldi_features, whisper_features
from graftwork.audio.backbones.wav2vec2 import any_length_attention, group_norm_over_clips, padding_of, without_padding
from graftwork.core.model.backbone import Stage
from graftwork.core.types import Features

Kind = Literal["data2vec-audio", "sew", "wav2vec2-conformer", "wav2vec2-bert", "whisper"]


def encoder_stages(kind: Kind, config: Any, samples: int) -> tuple[Stage, ...]:
    """From waveforms (batch, time) to the encoder's last hidden states (batch, frames, channels).

    `cnn` and `projection`, or `features` and `projection` (Whisper: `embed`), `layer1` to `layerN`; what follows the
    last layer belongs to it. config: transformers' of the network. samples: that Whisper takes.
    """
    count = int(config.num_hidden_layers)
    if kind == "whisper":
        bins = int(config.num_mel_bins)
        # Whisper attends to the silence behind a clip as well: it is kept, and no mask is made of the lengths.
        first = (
            Stage("features", partial(_run_whisper_features, bins=bins, samples=samples), keeps_padding=True),
            Stage("embed", _run_whisper_embedding, ("conv1", "conv2", "embed_positions"), keeps_padding=True),
        )
        return (*first, *(
            Stage(f"layer{number}", partial(_run_whisper_layer, index=number - 1),
                  (f"layers.{number - 1}", *(("layer_norm",) if number == count else ())), keeps_padding=True)
            for number in range(1, count + 1)
        ))  # fmt: skip
    projection = ["feature_projection", "encoder.embed_positions"]
    last: tuple[str, ...] = ()
    if kind == "wav2vec2-bert":
        bins = int(config.feature_projection_input_dim) // 2
        first = (Stage("features", partial(_run_kaldi_features, bins=bins)),
                 Stage("projection", _run_projection, tuple(projection)))  # fmt: skip
    else:
        run = {"data2vec-audio": _run_data2vec_projection, "sew": _run_sew_projection}.get(kind, _run_projection)
        projection.append("encoder.pos_conv_embed")
        if kind == "wav2vec2-conformer":
            last = ("encoder.layer_norm",)
        else:
            projection += ["encoder.layer_norm", *(("layer_norm",) if kind == "sew" else ())]
        if kind == "sew":
            last = ("encoder.upsample",)
        first = (Stage("cnn", _run_cnn, ("feature_extractor",)), Stage("projection", run, tuple(projection)))
    conformer = kind in ("wav2vec2-bert", "wav2vec2-conformer")
    layer = _run_conformer_layer if conformer else _run_layer
    return (*first, *(
        Stage(f"layer{number}", partial(layer, index=number - 1),
              (f"encoder.layers.{number - 1}", *(last if number == count else ())))
        for number in range(1, count + 1)
    ))  # fmt: skip


def _run_whisper_features(network: nn.Module, features: Features, bins: int, samples: int) -> Features:
    return whisper_features(features, bins, samples)


def _run_kaldi_features(network: nn.Module, features: Features, bins: int) -> Features:
    return kaldi_features(features, bins)


def _run_cnn(network: Any, features: Features) -> Features:
    """Waveforms (batch, samples) -> (batch, frames, channels); frames beyond a clip's own are zero."""
    x, lengths = features.values.unsqueeze(1), features.lengths
    padded = padding_of(features) is not None
    shapes = zip(network.config.conv_kernel, network.config.conv_stride, strict=True)
    for block, (kernel, stride) in zip(network.feature_extractor.conv_layers, shapes, strict=True):
        x = strided_convolution(block.conv, x)
        if lengths is not None:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        norm = getattr(block, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            x = group_norm_over_clips(norm, x, lengths) if padded and lengths is not None else norm(x)
        elif norm is not None:
            x = norm(x.transpose(1, 2)).transpose(1, 2)
        x = block.activation(x)
    return without_padding(Features(x.transpose(1, 2), lengths))


def _run_projection(network: Any, features: Features) -> Features:
    """Frames -> the input of the first Conformer layer, which adds positions itself."""
    x = without_padding(Features(network.feature_projection(features.values)[0], features.lengths))
    return Features(network.encoder.dropout(x.values), features.lengths)


def _run_data2vec_projection(network: Any, features: Features) -> Features:
    encoder = network.encoder
    x = without_padding(Features(network.feature_projection(features.values)[0], features.lengths))
    position = x
    for convolution in encoder.pos_conv_embed.layers:
        # Each looks beyond the clip, and what the one before gives there is not the silence that it would be alone.
        values = convolution(position.values.transpose(1, 2)).transpose(1, 2)
        position = without_padding(Features(values, features.lengths))
    values = encoder.dropout(encoder.layer_norm(x.values + position.values))
    return Features(values, features.lengths)


def _run_sew_projection(network: Any, features: Features) -> Features:
    """CNN frames -> the squeezed ones that the layers take, (batch, frames // factor, channels)."""
    encoder = network.encoder
    x = network.layer_norm(features.values)
    x = network.feature_projection(x) if network.project_features else x
    x = without_padding(Features(network.feature_dropout(x), features.lengths)).values.transpose(1, 2)
    pooled, position = encoder.pool(x), encoder.pos_conv_embed(x)
    squeezed = (pooled + position[..., : pooled.shape[2]]).transpose(1, 2)
    lengths = features.lengths
    if lengths is not None:
        lengths = torch.div(lengths, encoder.config.squeeze_factor, rounding_mode="floor")
    return Features(encoder.dropout(encoder.layer_norm(squeezed)), lengths)


def _run_layer(network: Any, features: Features, index: int) -> Features:
    encoder = network.encoder
    layer = encoder.layers[index]
    with any_length_attention(features.values):
        found: Tensor = layer(features.values, attention_mask=_attention_mask(features))
    found = _dropped(network, layer, features.values, found, network.config.layerdrop)
    lengths = features.lengths
    if index == len(encoder.layers) - 1 and hasattr(encoder, "upsample"):
        found = encoder.upsample(found)
        lengths = None if lengths is None else lengths * encoder.config.squeeze_factor
    return Features(found, lengths)


def _run_conformer_layer(network: Any, features: Features, index: int) -> Features:
    """One Conformer block (Gulati et al. 2020), (batch, frames, channels) to the same."""
    encoder = network.encoder
    layer, x, given = encoder.layers[index], features.values, features.values
    x = layer.ffn1(layer.ffn1_layer_norm(x)) * 0.5 + x
    with any_length_attention(x):
        attended, _ = layer.self_attn(
            hidden_states=layer.self_attn_layer_norm(x), attention_mask=_attention_mask(features),
            relative_position_embeddings=_positions(encoder, x),
        )  # fmt: skip
    x = layer.self_attn_dropout(attended) + x
    x = x + _conformer_convolution(layer.conv_module, x, padding_of(features))
    x = layer.ffn2(layer.ffn2_layer_norm(x)) * 0.5 + x
    found = _dropped(network, layer, given, layer.final_layer_norm(x), network.config.layerdrop)
    if index == len(encoder.layers) - 1 and hasattr(encoder, "layer_norm"):
        found = encoder.layer_norm(found)
    return Features(found, features.lengths)


def _conformer_convolution(module: Any, x: Tensor, padding: Tensor | None) -> Tensor:
    """The convolution module, whose depthwise filters see zeros beyond each clip, as they do of the clip alone."""
    x = module.glu(module.pointwise_conv1(module.layer_norm(x).transpose(1, 2)))
    if padding is not None:
        x = x.masked_fill(padding[:, None], 0.0)
    causal = hasattr(module, "depthwise_layer_norm")  # w2v-BERT: filters look back alone
    x = nn.functional.pad(x, (module.depthwise_conv.kernel_size[0] - 1, 0)) if causal else x
    x = module.depthwise_conv(x)
    x = module.depthwise_layer_norm(x.transpose(1, 2)).transpose(1, 2) if causal else module.batch_norm(x)
    found: Tensor = module.dropout(module.pointwise_conv2(module.activation(x))).transpose(1, 2)
    return found


def _positions(encoder: Any, x: Tensor) -> Tensor | None:
    """What attention takes as positions of x (batch, frames, channels): made anew, as the module's own forward keeps
    what it made, which may belong to a run without gradients."""
    kind: str | None = encoder.config.position_embeddings_type
    if kind == "relative":
        found: Tensor = encoder.embed_positions.extend_pe(x)
        return found
    if kind == "rotary":
        steps = torch.arange(x.shape[1], device=x.device).float()
        frequencies = torch.outer(steps, encoder.embed_positions.inv_freq.float())
        angles = torch.cat([frequencies, frequencies], dim=1)[:, None, None]
        return torch.stack([angles.cos(), angles.sin()]).to(x.dtype)
    return None


def _run_whisper_embedding(network: Any, features: Features) -> Features:
    """Spectra (batch, steps, bins) -> (batch, steps / 2, channels) with positions added."""
    x = nn.functional.gelu(network.conv1(features.values.transpose(1, 2)))
    x = nn.functional.gelu(network.conv2(x)).transpose(1, 2)
    x = x + network.embed_positions.weight
    x = nn.functional.dropout(x, p=network.dropout, training=network.training)
    lengths = features.lengths
    return Features(x, None if lengths is None else torch.div(lengths + 1, 2, rounding_mode="floor"))


def _run_whisper_layer(network: Any, features: Features, index: int) -> Features:
    layer = network.layers[index]
    found: Tensor = layer(features.values, None)
    found = _dropped(network, layer, features.values, found, network.layerdrop)
    if index == len(network.layers) - 1:
        found = network.layer_norm(found)
    return Features(found, features.lengths)


def _dropped(network: nn.Module, layer: nn.Module, given: Tensor, found: Tensor, share: float) -> Tensor:
    """In training, with the probability of LayerDrop, what the layer was given; it has been computed, so that several
    processes have a gradient for every tensor."""
    if not (layer.training and share > 0):
        return found
    return torch.where(torch.rand((), device=found.device) < share, given, found)


def _attention_mask(features: Features) -> Tensor | None:
    """(batch, 1, frames, frames), added to the scores: as low as can be at steps beyond a clip's own."""
    padding, values = padding_of(features), features.values
    if padding is None:
        return None
    mask = torch.zeros(padding.shape, dtype=values.dtype, device=values.device)
    mask = mask.masked_fill(padding, torch.finfo(values.dtype).min)
    return mask[:, None, None].expand(-1, 1, values.shape[1], -1)
