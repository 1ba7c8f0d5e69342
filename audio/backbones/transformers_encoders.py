"""Speech encoders that transformers has the network for: data2vec, SEW, Conformers, w2v-BERT and Whisper.

wav2vec 2.0, HuBERT, WavLM, UniSpeech and MMS need no transformers: `huggingface` reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.encoder import Encoder
from graftwork.audio.backbones.feature_extractor import (
    SPECTRA,
    WHISPER,
    ExtractorSettings,
    extractor_settings,
)
from graftwork.audio.backbones.log_mel import HOP, STACKED, WINDOW
from graftwork.audio.backbones.trained_head import head_tensors
from graftwork.audio.backbones.transformers_stages import Kind, encoder_stages
from graftwork.audio.backbones.weights import fill, modern_names, read_weights
from graftwork.audio.preprocessing.contract import AudioContract, Normalisation
from graftwork.audio.sound.memory import MemoryNeed
from graftwork.core.errors import BackboneError, MissingPackageError

RATE_HZ = 16000


@dataclass(frozen=True)
class Family:
    """model: its class in transformers. prefixes: of its tensors in larger networks. extractor: makes its input."""

    kind: Kind
    model: str
    prefixes: tuple[str, ...]
    extractor: str


FAMILIES = {
    "data2vec-audio": Family("data2vec-audio", "Data2VecAudioModel", ("data2vec_audio.",), "Wav2Vec2FeatureExtractor"),
    "sew": Family("sew", "SEWModel", ("sew.",), "Wav2Vec2FeatureExtractor"),
    "wav2vec2-conformer": Family("wav2vec2-conformer", "Wav2Vec2ConformerModel", ("wav2vec2_conformer.",),
                                 "Wav2Vec2FeatureExtractor"),
    "wav2vec2-bert": Family("wav2vec2-bert", "Wav2Vec2BertModel", ("wav2vec2_bert.",), SPECTRA),
    "whisper": Family("whisper", "WhisperEncoder", ("model.encoder.", "encoder."), WHISPER),
}  # fmt: skip
"""By the `model_type` of config.json."""

REFUSED = {
    "add_adapter": "convolutions that shorten the output (add_adapter)",
    "use_intermediate_ffn_before_adapter": "one more layer behind the encoder (use_intermediate_ffn_before_adapter)",
}


def load_encoder(content: Mapping[str, Any], folder: Path, id: str, file: Path | None) -> Encoder:
    """The encoder of a checkpoint's config.json, for evaluation, with its weights.

    folder: where the settings of its feature extractor are. file: of its weights; None for
    fresh random ones.
    Raises MissingPackageError without transformers, BackboneError for what no stage can compute and for weights that do
    not fit, UnreadableError.
    """
    family = FAMILIES[content["model_type"]]
    config = _config(family, content, id)
    settings = extractor_settings(folder, family.extractor)
    contract, samples = _contract(family, config, settings, id)
    build = partial(build_encoder, family, config)
    tensors = None if file is None else read_weights(file)
    network = build() if tensors is None else _pretrained(family, config, tensors, str(file))
    stages = encoder_stages(family.kind, config, samples)
    head = {} if tensors is None else head_tensors(tensors, family.prefixes)
    return Encoder(network, stages, int(config.hidden_size), partial(_frames, family.kind, config), build, contract,
                   int(config.num_hidden_layers), head, content)  # fmt: skip


def build_encoder(family: Family, config: Any) -> nn.Module:
    """The architecture with fresh random weights from torch's generator, for evaluation."""
    return _ready(_class_of(family)(copy.deepcopy(config)), config)


def _config(family: Family, content: Mapping[str, Any], id: str) -> Any:
    _class_of(family)
    from transformers import AutoConfig

    for key, meaning in REFUSED.items():
        if content.get(key):
            raise BackboneError(f"{id}: {meaning} is not supported; use another checkpoint")
    try:
        return AutoConfig.for_model(**content)
    except (TypeError, ValueError) as error:
        raise BackboneError(f"{id}: its config describes no such network: {error}") from error


def _class_of(family: Family) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingPackageError(
            f"{family.kind} checkpoints need transformers: pip install 'graftwork[transformers]'"
        ) from error
    if family.kind == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder  # only there

        return WhisperEncoder
    if not hasattr(transformers, family.model):
        raise MissingPackageError(f"{family.model} is not in transformers {transformers.__version__}: install a newer "
                                  "one")  # fmt: skip
    return getattr(transformers, family.model)


def _pretrained(family: Family, config: Any, weights: Mapping[str, Tensor], source: str) -> nn.Module:
    # On the meta device nothing is drawn at random only to be overwritten.
    with torch.device("meta"):
        network = _class_of(family)(copy.deepcopy(config))
    # What positions are made of is no weight, and computed from the configuration.
    network = _ready(network, config)
    tensors = encoder_tensors(family, weights)
    own = network.state_dict()
    tensors |= {name: value for name, value in own.items() if value.device.type != "meta"}
    fill(network, tensors, source)
    return network


def encoder_tensors(family: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the encoder under its own names, without what stands beside it in a larger network."""
    prefix = next((one for one in family.prefixes if any(name.startswith(one) for name in tensors)), "")
    inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return modern_names({name: value for name, value in inside.items() if name != "masked_spec_embed"})


def _ready(network: Any, config: Any) -> nn.Module:
    """For evaluation, every weight to be trained, without the vector for masked frames, on which no features depend."""
    if getattr(network, "masked_spec_embed", None) is not None:
        network.masked_spec_embed = None
    positions = getattr(getattr(network, "encoder", None), "embed_positions", None)
    if positions is not None:
        with torch.device("cpu"):
            network.encoder.embed_positions = type(positions)(config)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    ready: nn.Module = network.eval()
    return ready


def _contract(family: Family, config: Any, settings: ExtractorSettings, id: str) -> tuple[AudioContract, int]:
    """The input contract, and for Whisper how many samples it takes."""
    normalise: Normalisation = "clip" if settings.normalised else "none"
    if settings.sample_rate_hz != RATE_HZ and family.extractor != "Wav2Vec2FeatureExtractor":
        raise BackboneError(f"{id}: sampling_rate must be {RATE_HZ} Hz, found {settings.sample_rate_hz}")
    if family.kind == "whisper":
        samples = 2 * HOP * int(config.max_source_positions)
        expected = {"feature_size": int(config.num_mel_bins), "chunk_length": samples / RATE_HZ, "n_fft": WINDOW,
                    "hop_length": HOP, "dither": 0.0}  # fmt: skip
        _require(id, settings, expected)
        most = samples / RATE_HZ
        return AudioContract(RATE_HZ, normalise, 2 * HOP, most_seconds=most), samples
    if family.kind == "wav2vec2-bert":
        bins = int(config.feature_projection_input_dim) // STACKED
        _require(id, settings, {"num_mel_bins": bins, "stride": STACKED})
        shortest = WINDOW + (STACKED - 1) * HOP
        return AudioContract(RATE_HZ, "none", shortest, memory=_memory(config, 2 * HOP)), 0
    stride = 1
    for own in config.conv_stride:
        stride *= own
    field = 1
    for kernel, own in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        field = (field - 1) * own + kernel
    shortest = field + (int(getattr(config, "squeeze_factor", 1)) - 1) * stride
    rate = settings.sample_rate_hz
    return AudioContract(rate, normalise, shortest, memory=_memory(config, stride)), 0


def _require(id: str, settings: ExtractorSettings, expected: Mapping[str, float]) -> None:
    for name, found in settings.numbers.items():
        if found != expected[name]:
            raise BackboneError(f"{id}: its feature extractor's {name} must be {expected[name]:g}, which the network "
                                f"takes, found {found:g}; use the files of one checkpoint")  # fmt: skip


def _memory(config: Any, stride: int) -> MemoryNeed:
    """Conformers keep scores of every pair of frames; other attention keeps none on the whole."""
    pairs = 2 * config.num_attention_heads if getattr(config, "position_embeddings_type", None) else 0
    channels = (
        config.conv_dim[0] / config.conv_stride[0] if hasattr(config, "conv_dim") else config.hidden_size / stride
    )
    return MemoryNeed(4 * 3 * channels, 4 * pairs, stride)


def _frames(kind: Kind, config: Any, samples: int) -> int:
    """How many frames the encoder makes of a clip."""
    if kind == "whisper":
        return -(-samples // (2 * HOP))
    if kind == "wav2vec2-bert":
        return ((samples - WINDOW) // HOP + 1) // STACKED
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    squeeze = int(getattr(config, "squeeze_factor", 1))
    return max(0, samples // squeeze * squeeze)
