"""Networks of the wav2vec 2.0 family in Hugging Face's layout, described and written without transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from graftwork.audio.backbones.architecture import Architecture
from graftwork.audio.backbones.feature_extractor import PREPROCESSOR
from graftwork.audio.backbones.weights import huggingface_names
from graftwork.audio.preprocessing.contract import AudioContract
from graftwork.core.errors import BackboneError, OutputError
from graftwork.core.files import atomic_write, write_json

MODELS = {
    "wav2vec2": "Wav2Vec2Model",
    "hubert": "HubertModel",
    "wavlm": "WavLMModel",
    "unispeech": "UniSpeechModel",
    "unispeech-sat": "UniSpeechSatModel",
}
"""transformers' class by the `model_type` of config.json; MMS is a wav2vec2."""

TOO_LARGE = 1 << 16
"""Of any length or width in a configuration."""

# What the formats mean by a key that is left out: the defaults of transformers' configuration classes.
DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "hidden_dropout": 0.1,
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "feat_proj_dropout": 0.0,
    "feat_proj_layer_norm": True,
    "layerdrop": 0.1,
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "conv_dim": (512,) * 7,
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    "num_buckets": 320,
    "max_bucket_distance": 800,
}

LANGUAGE_WIDTH = "adapter_attn_dim"
"""MMS: how wide the adapters for single languages are, one behind each layer."""

UNSUPPORTED = {
    "add_adapter": (False, "convolutions that shorten the output (add_adapter)"),
    "conv_pos_batch_norm": (False, "a batch norm in the positional convolution (conv_pos_batch_norm)"),
    "hidden_act": ("gelu", "another activation than gelu (hidden_act)"),
    "feat_extract_activation": ("gelu", "another activation than gelu (feat_extract_activation)"),
}
"""Settings that change the computation in a way no stage knows: the one value that works, and the meaning."""


def architecture_from_config(config: Mapping[str, Any], source: str) -> Architecture:
    """The network's shape from the content of config.json. Raises BackboneError for what is not supported."""
    family: Any = config.get("model_type")
    if str(family) not in MODELS:
        raise BackboneError(f"{source}: model_type must be one of {', '.join(MODELS)}, found {family!r}")
    for key, (works, meaning) in UNSUPPORTED.items():
        if config.get(key, works) != works:
            raise BackboneError(f"{source}: {meaning} is not supported, found {config[key]!r}; use another checkpoint")
    value = {**DEFAULTS, **{key: config[key] for key in DEFAULTS if key in config}}
    wrong = [f"{key}: {value[key]!r}" for key, default in DEFAULTS.items() if not _of_kind(value[key], default)]
    if wrong:
        raise BackboneError(f"{source}: its config has values that no such network can have ({', '.join(wrong)})")
    convolutions = [value["conv_dim"], value["conv_kernel"], value["conv_stride"]]
    if len({len(column) for column in convolutions}) != 1:
        raise BackboneError(
            f"{source}: conv_dim, conv_kernel and conv_stride must be of one length, found "
            f"{', '.join(str(len(column)) for column in convolutions)}"
        )
    if value["feat_extract_norm"] not in ("group", "layer"):
        raise BackboneError(
            f"{source}: feat_extract_norm must be 'group' or 'layer', found {value['feat_extract_norm']!r}"
        )
    for divisor in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        if value["hidden_size"] % value[divisor]:
            raise BackboneError(f"{source}: hidden_size must be a multiple of {divisor}, found {value['hidden_size']} "
                                f"and {value[divisor]}")  # fmt: skip
    width = config.get(LANGUAGE_WIDTH)
    if width is not None and not (_of_kind(width, 1) and value["do_stable_layer_norm"] and family == "wav2vec2"):
        raise BackboneError(f"{source}: {LANGUAGE_WIDTH} {width!r} belongs to a wav2vec2 with do_stable_layer_norm, as "
                            "MMS is; use another checkpoint")  # fmt: skip
    return Architecture(
        family=family,
        cnn_norm=value["feat_extract_norm"],
        cnn_layers=tuple((int(c), int(k), int(s)) for c, k, s in zip(*convolutions, strict=True)),
        cnn_bias=value["conv_bias"],
        hidden=int(value["hidden_size"]),
        layers=int(value["num_hidden_layers"]),
        heads=int(value["num_attention_heads"]),
        feed_forward=int(value["intermediate_size"]),
        position_kernel=int(value["num_conv_pos_embeddings"]),
        position_groups=int(value["num_conv_pos_embedding_groups"]),
        norm_first=value["do_stable_layer_norm"],
        projection_norm=value["feat_proj_layer_norm"],
        norm_eps=value["layer_norm_eps"],
        projection_dropout=value["feat_proj_dropout"],
        attention_dropout=value["attention_dropout"],
        activation_dropout=value["activation_dropout"],
        hidden_dropout=value["hidden_dropout"],
        layer_drop=value["layerdrop"],
        buckets=int(value["num_buckets"]),
        max_distance=int(value["max_bucket_distance"]),
        language_width=None if width is None else int(width),
    )


def _of_kind(value: Any, default: Any) -> bool:
    """Whether a value of config.json is of the kind that the default is: sizes above 0 and below `TOO_LARGE`, shares
    from 0 to 1."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and bool(value) and all(_of_kind(one, 1) for one in value)
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < TOO_LARGE and value == value // 1 if isinstance(default, int) else 0 <= value <= 1


def config_of(architecture: Architecture) -> dict[str, Any]:
    """The inverse of `architecture_from_config`: what config.json says of a network of this shape."""
    channels, kernels, strides = zip(*architecture.cnn_layers, strict=True)
    return {
        "architectures": [MODELS[architecture.family]],
        "model_type": architecture.family,
        "feat_extract_norm": architecture.cnn_norm,
        "conv_dim": list(channels),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "conv_bias": architecture.cnn_bias,
        "num_feat_extract_layers": len(architecture.cnn_layers),
        "hidden_size": architecture.hidden,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.feed_forward,
        "num_conv_pos_embeddings": architecture.position_kernel,
        "num_conv_pos_embedding_groups": architecture.position_groups,
        "do_stable_layer_norm": architecture.norm_first,
        "feat_proj_layer_norm": architecture.projection_norm,
        "layer_norm_eps": architecture.norm_eps,
        "feat_proj_dropout": architecture.projection_dropout,
        "attention_dropout": architecture.attention_dropout,
        "activation_dropout": architecture.activation_dropout,
        "hidden_dropout": architecture.hidden_dropout,
        "layerdrop": architecture.layer_drop,
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "num_buckets": architecture.buckets,
        "max_bucket_distance": architecture.max_distance,
        LANGUAGE_WIDTH: architecture.language_width,
    }


def write_checkpoint(network: nn.Module, architecture: Architecture, contract: AudioContract, folder: Path) -> None:
    """A folder that `checkpoint_folder` and transformers' own classes read. It appears whole or not at all.

    Raises OutputError where the folder exists already and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists already and is not an empty folder; choose another, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        made = Path(beside) / "checkpoint"
        write_files(network, architecture, contract, made)
        made.replace(folder)


def write_files(network: nn.Module, architecture: Architecture, contract: AudioContract, folder: Path) -> None:
    """The files of a checkpoint into a folder of ours; config.json, without which it is none, comes last."""
    from safetensors.torch import save_file

    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": contract.normalise == "clip",
        "sampling_rate": contract.sample_rate_hz,
        "return_attention_mask": architecture.cnn_norm == "layer",
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_write(folder / "model.safetensors") as temporary:
        # transformers 4 refuses files that do not name their framework.
        save_file(huggingface_names(tensors), temporary, metadata={"format": "pt"})
    write_json(folder / PREPROCESSOR, preprocessor)
    write_json(folder / "config.json", config_of(architecture))
