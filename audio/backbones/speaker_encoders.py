"""Speaker encoders in the folders that SpeechBrain and WeSpeaker publish: what a folder says of its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from graftwork.audio.backbones import ecapa, speaker_resnet
from graftwork.audio.backbones.ecapa import SpeechBrainEcapa, ecapa_stages
from graftwork.audio.backbones.filterbanks import Filterbank, run_filterbank
from graftwork.audio.backbones.speaker_resnet import SpeechBrainResNet, WeSpeakerResNet, resnet_stages
from graftwork.audio.backbones.tagged_yaml import MADE_BY, read_tagged
from graftwork.audio.backbones.wespeaker_ecapa import WeSpeakerEcapa
from graftwork.audio.sound.memory import MemoryNeed
from graftwork.core.errors import BackboneError
from graftwork.core.model.backbone import Stage

Owner = Literal["speechbrain", "wespeaker"]

FILES: dict[Owner, tuple[str, str]] = {
    "speechbrain": ("hyperparams.yaml", "embedding_model.ckpt"),
    "wespeaker": ("config.yaml", "avg_model.pt"),
}
"""What a folder holds: what the network is like, and its weights."""

LEFT_OUT: dict[Owner, tuple[str, ...]] = {"speechbrain": (), "wespeaker": ("projection.",)}
"""Beginnings of names of tensors that no stage uses: the classifier of the speakers of the training."""

SHORTEST_FRAMES = 9
"""Behind three strides of 2 two frames are left, which have a deviation; mirrored ends need five."""

_FLOAT_BYTES = 4
_COPIES = 3
"""A convolution's input, output and what the activation makes of it are there at once."""

_RESNETS = {
    "ResNet18": ((2, 2, 2, 2), False),
    "ResNet34": ((3, 4, 6, 3), False),
    "ResNet50": ((3, 4, 6, 3), True),
    "ResNet101": ((3, 4, 23, 3), True),
    "ResNet152": ((3, 8, 36, 3), True),
    "ResNet221": ((6, 16, 48, 3), True),
    "ResNet293": ((10, 20, 64, 3), True),
}
_ECAPAS = {
    "ECAPA_TDNN_c512": (512, False),
    "ECAPA_TDNN_GLOB_c512": (512, True),
    "ECAPA_TDNN_c1024": (1024, False),
    "ECAPA_TDNN_GLOB_c1024": (1024, True),
}


@dataclass(frozen=True)
class SpeakerEncoder:
    """A network that gives a speaker embedding, before it has weights.

    build: makes it with random weights. stages: from waveforms to the embedding, which is the last one's output.
    """

    build: Callable[[], nn.Module]
    stages: tuple[Stage, ...]
    embedding_dim: int
    filterbank: Filterbank
    widest: int

    def memory(self) -> MemoryNeed:
        """What clips take: the widest frames lie in memory several times."""
        return MemoryNeed(_COPIES * self.widest * _FLOAT_BYTES / self.filterbank.shift, 0, self.filterbank.shift)


def read_encoder(owner: Owner, folder: Path) -> SpeakerEncoder:
    """What the folder says of its network. Raises BackboneError for another network or input than those known here,
    UnreadableError for a file that is no YAML."""
    path = folder / FILES[owner][0]
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise BackboneError(f"{owner}:{folder}: expected {' and '.join(FILES[owner])} in the folder, found {found}")
    return (_speechbrain if owner == "speechbrain" else _wespeaker)(read_tagged(path), path)


def _speechbrain(values: Mapping[str, Any], path: Path) -> SpeakerEncoder:
    network = _arguments(values, "embedding_model", path)
    kind = network.pop(MADE_BY, "").rpartition(".")[2]
    filterbank = _speechbrain_filterbank(values, path)
    given = network.pop("input_size", 80)
    if given != filterbank.bands:
        raise BackboneError(f"{path}: the network takes {given} bands, and the features have {filterbank.bands}")
    network.pop("device", None)
    if kind == "ECAPA_TDNN":
        return _speechbrain_ecapa(network, filterbank, path)
    if kind == "ResNet":
        return _speechbrain_resnet(network, filterbank, path)
    raise BackboneError(f"{path}: embedding_model must be SpeechBrain's ECAPA_TDNN or ResNet, found {kind or 'none'}")


def _speechbrain_ecapa(network: dict[str, Any], filterbank: Filterbank, path: Path) -> SpeakerEncoder:
    defaults: dict[str, Any] = {
        "lin_neurons": 192, "channels": [512, 512, 512, 512, 1536], "kernel_sizes": [5, 3, 3, 3, 1],
        "dilations": [1, 2, 3, 4, 1], "attention_channels": 128, "res2net_scale": 8, "se_channels": 128,
        "global_context": True, "groups": [1, 1, 1, 1, 1], "dropout": 0.0,
    }  # fmt: skip
    said = _known(network, defaults, path)
    if said["dropout"]:
        raise BackboneError(f"{path}: dropout inside the network is not supported, found {said['dropout']}")
    lists = [_sizes(said[name], name, path) for name in ("channels", "kernel_sizes", "dilations", "groups")]
    if len({len(one) for one in lists}) != 1 or len(lists[0]) < 3:
        raise BackboneError(f"{path}: channels, kernel_sizes, dilations and groups must be of one length of at least "
                            f"3, found {', '.join(str(len(one)) for one in lists)}")  # fmt: skip
    if len(set(lists[0][1:-1])) != 1:
        raise BackboneError(f"{path}: all channels but the first and the last must be alike, found {lists[0]}")
    channels, kernels, dilations, groups = lists
    shape = ecapa.Shape(filterbank.bands, channels, kernels, dilations, groups, scale=said["res2net_scale"],
                        squeezed=said["se_channels"], attention=said["attention_channels"],
                        context=said["global_context"], embedding=said["lin_neurons"])  # fmt: skip
    blocks = tuple(f"blocks.{place}" for place in range(len(shape.channels) - 1))
    stages = ecapa_stages(_features(filterbank), blocks, "mfa", ("asp", "asp_bn"), "fc")
    return SpeakerEncoder(partial(SpeechBrainEcapa, shape), stages, shape.embedding, filterbank, 3 * shape.channels[-1])


def _speechbrain_resnet(network: dict[str, Any], filterbank: Filterbank, path: Path) -> SpeakerEncoder:
    defaults: dict[str, Any] = {"channels": [128, 128, 256, 256], "block_sizes": [3, 4, 6, 3], "strides": [1, 2, 2, 2],
                                "lin_neurons": 256}  # fmt: skip
    said = _known(network, defaults, path)
    channels, blocks, strides = (_four(said[name], name, path) for name in ("channels", "block_sizes", "strides"))
    shape = speaker_resnet.Shape(filterbank.bands, channels, blocks, strides, said["lin_neurons"])
    stages = resnet_stages(_features(filterbank), ("attention", "norm_stats"), ("fc_embed", "norm_embed"))
    return SpeakerEncoder(partial(SpeechBrainResNet, shape), stages, shape.embedding, filterbank,
                          channels[0] * filterbank.bands)  # fmt: skip


def _speechbrain_filterbank(values: Mapping[str, Any], path: Path) -> Filterbank:
    about = _arguments(values, "compute_features", path)
    kind = about.pop(MADE_BY, "").rpartition(".")[2]
    norm = _arguments(values, "mean_var_norm", path)
    if kind != "Fbank" or norm.get("norm_type") != "sentence" or norm.get("std_norm", True) is not False:
        raise BackboneError(f"{path}: expected features by Fbank, less their mean over the sentence (norm_type: "
                            f"sentence, std_norm: False), found {kind or 'none'} and {norm}")  # fmt: skip
    rate = about.get("sample_rate", 16000)
    fixed = {"deltas": False, "context": False, "requires_grad": False, "filter_shape": "triangular",
             "param_change_factor": 1.0, "param_rand_factor": 0.0, "left_frames": 5, "right_frames": 5}  # fmt: skip
    free = {"sample_rate": 16000, "f_min": 0, "f_max": rate // 2, "n_fft": 400, "n_mels": 40, "win_length": 25,
            "hop_length": 10}  # fmt: skip
    said = _known(about, {**fixed, **free}, path)
    _must_be(said, {name: one for name, one in fixed.items() if not name.endswith("_frames")}, path)
    return Filterbank("speechbrain", said["sample_rate"], said["n_mels"], said["win_length"], said["hop_length"],
                      said["n_fft"], said["f_min"], said["f_max"] or rate // 2)  # fmt: skip


def _wespeaker(values: Mapping[str, Any], path: Path) -> SpeakerEncoder:
    data = values.get("dataset_args") or {}
    said = _wespeaker_features(data, path)
    arguments = dict(values.get("model_args") or {})
    defaults: dict[str, Any] = {"feat_dim": said.bands, "embed_dim": None, "pooling_func": None, "two_emb_layer": False}
    model = values.get("model")
    network = _known(arguments, defaults, path)
    if network["feat_dim"] != said.bands:
        raise BackboneError(f"{path}: the network takes {network['feat_dim']} bands, and the features have "
                            f"{said.bands} (num_mel_bins)")  # fmt: skip
    if not isinstance(network["embed_dim"], int):
        raise BackboneError(f"{path}: model_args must say embed_dim, a whole number; found {network['embed_dim']!r}")
    embedding: int = network["embed_dim"]
    if model in _RESNETS:
        _must_be(network, {"pooling_func": ("TSTP", None), "two_emb_layer": False}, path)
        blocks, bottleneck = _RESNETS[model]
        resnet = speaker_resnet.Shape(said.bands, (32, 64, 128, 256), blocks, (1, 2, 2, 2), embedding, bottleneck)
        stages = resnet_stages(_features(said), (), ("seg_1",))
        return SpeakerEncoder(partial(WeSpeakerResNet, resnet), stages, embedding, said,
                              32 * (4 if bottleneck else 1) * said.bands)  # fmt: skip
    if model in _ECAPAS:
        _must_be(network, {"pooling_func": ("ASTP", None)}, path)
        width, context = _ECAPAS[model]
        shape = ecapa.Shape(said.bands, (width,) * 4 + (3 * width,), (5, 3, 3, 3, 1), (1, 2, 3, 4, 1), (1,) * 5,
                            scale=8, squeezed=128, attention=128, context=context, embedding=embedding)  # fmt: skip
        layers = tuple(f"layer{place}" for place in range(1, 5))
        stages = ecapa_stages(_features(said), layers, "conv", ("pool", "bn"), "linear")
        return SpeakerEncoder(partial(WeSpeakerEcapa, shape), stages, embedding, said, 3 * 3 * width)
    raise BackboneError(f"{path}: model must be one of {', '.join((*_RESNETS, *_ECAPAS))}, found {model!r}")


def _wespeaker_features(data: Mapping[str, Any], path: Path) -> Filterbank:
    about = _known(dict(data.get("fbank_args") or {}), {"num_mel_bins": 80, "frame_length": 25, "frame_shift": 10,
                                                        "dither": 1.0}, path)  # fmt: skip
    norm = {"norm_mean": True, "norm_var": False, **(data.get("cmvn_args") or {})}
    _must_be({"frontend": data.get("frontend", "fbank"), "cmvn": data.get("cmvn", True), **norm},
             {"frontend": "fbank", "cmvn": True, "norm_mean": True, "norm_var": False}, path)  # fmt: skip
    return Filterbank("wespeaker", data.get("resample_rate", 16000), about["num_mel_bins"], about["frame_length"],
                      about["frame_shift"])  # fmt: skip


def _features(filterbank: Filterbank) -> Stage:
    return Stage("fbank", partial(run_filterbank, filterbank=filterbank))


def _arguments(values: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = values.get(name)
    if not isinstance(found, dict):
        raise BackboneError(f"{path}: says nothing of {name}; expected the file of a published speaker encoder")
    return dict(found)


def _known(said: Mapping[str, Any], defaults: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What is said, and the defaults of what is not. Raises BackboneError for what no stage knows, and for another kind
    of value than the default's."""
    strange = sorted(said.keys() - defaults.keys())
    if strange:
        raise BackboneError(f"{path}: {', '.join(strange)} would change the network in a way not known here; take "
                            "another checkpoint")  # fmt: skip
    for name, value in said.items():
        default = defaults[name]
        if isinstance(default, int | float) and not (isinstance(value, int | float) and value >= 0):
            raise BackboneError(f"{path}: {name} must be a number, found {value!r}")
    return {**defaults, **said}


def _must_be(said: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    for name, value in wanted.items():
        allowed = value if isinstance(value, tuple) else (value,)
        if said[name] not in allowed:
            raise BackboneError(f"{path}: {name} must be {allowed[0]!r}, found {said[name]!r}; take another checkpoint")


def _sizes(value: Any, name: str, path: Path) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(one, int) and one > 0 for one in value):
        raise BackboneError(f"{path}: {name} must be whole numbers above 0, found {value!r}")
    return tuple(value)


def _four(value: Any, name: str, path: Path) -> tuple[int, int, int, int]:
    found = _sizes(value, name, path)
    if len(found) != 4:
        raise BackboneError(f"{path}: {name} must be four numbers, found {len(found)}")
    return found[0], found[1], found[2], found[3]
