"""Networks out of MONAI bundles as backbones: what the bundle's configuration names, with the bundle's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import BackboneError, SettingsError, UnreadableError
from graftwork.core.files import write_json
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.imaging.backbones.custom import backbone_from_module
from graftwork.imaging.backbones.monai import SIZES, densenet_stages, resnet_stages
from graftwork.imaging.backbones.unets import nested_unet_stages, segresnet_stages, swinunetr_stages, unet_stages
from graftwork.imaging.backbones.weights import fit_weights, read_weights
from graftwork.imaging.preprocessing.contract import ImageContract

CONFIGURATIONS = ("inference", "train", "evaluate")
"""Files below `configs`, .json or .yaml, in which a network is looked for, in this order."""

NAMES = ("network_def", "network", "net")
"""What bundles call it."""

SOURCES = ("pretrain", "weights", "url", "path_or_repo", "filename", "checkpoint", "ckpt", "download")
"""What arguments are called that name weights, or say that some should be fetched."""

WEIGHT_FILES = (".pt", ".pth", ".ts", ".bin", ".ckpt", ".pkl", ".safetensors", ".tar", ".gz", ".zip", ".onnx")

OWN_WEIGHTS = ("model.safetensors", "model.pt")

KNOWN: dict[str, tuple[Callable[[nn.Module], tuple[Stage, ...]], str | None]] = {
    "SegResNet": (segresnet_stages, "conv_final.2"),
    "BasicUNet": (unet_stages, "final_conv"),
    "SwinUNETR": (swinunetr_stages, "out"),
    "UNet": (nested_unet_stages, None),
    "ResNet": (resnet_stages, "fc"),
    "DenseNet121": (densenet_stages, "class_layers.out"),
    "DenseNet169": (densenet_stages, "class_layers.out"),
}
"""Stages of MONAI's classes, and the last layer, which is left out; None where it is part of another layer."""


def load_bundle(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """The network of the bundle in the folder `name`; weights are its `models/model.pt` (or .safetensors) unless named.

    Input channels and size are those that `configs/metadata.json` states, where it does; the bundle's own
    preprocessing is not taken over. Networks of `KNOWN` classes have stages of their own, others are one stage. Only
    networks of MONAI are built, and no expression of the configuration is run.

    Raises BackboneError for what is no bundle, or one without a network of MONAI's or with weights that do not fit;
    UnreadableError for a damaged file; SettingsError for other channels than the network has.
    """
    folder = Path(name).expanduser().resolve()
    identity = f"bundle:{folder}"  # a run must find it again from any folder
    definition = network_definition(folder)
    network = _build(definition)
    file = weights or next((str(folder / "models" / own) for own in OWN_WEIGHTS
                            if (folder / "models" / own).is_file()), None)  # fmt: skip
    if file is None:
        raise BackboneError(f"{folder / 'models'}: no {' or '.join(OWN_WEIGHTS)}; name a file with --weights")
    if file != "random":
        ignored = [f"{_classifier(network)}.{kind}" for kind in ("weight", "bias", "conv.weight", "conv.bias")]
        fit_weights(network, read_weights(file), source=f"{identity}: {file}", ignored=ignored, inputs=[])
    contract = _contract(folder, network, image_size, channels, intensity)
    stages_of = KNOWN.get(type(network).__name__)
    if stages_of is None:
        backbone = backbone_from_module(network, contract=contract, id=identity, build=partial(_build, definition))
    else:
        backbone = Backbone(identity, network, stages_of[0](network), contract, 0, build=partial(_build, definition))
        backbone = replace(backbone, feature_dim=_feature_dim(backbone))
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return replace(backbone, weights=weights, options={key: own for key, own in options.items() if own is not None})


def network_definition(folder: Path) -> dict[str, Any]:
    """The class and arguments of a bundle's network, with references to other entries put in their place.

    Raises BackboneError where there is none, or it is not one of MONAI's networks with plain arguments.
    """
    from monai.bundle import ConfigParser

    files = [folder / "configs" / f"{name}{ending}" for name in CONFIGURATIONS for ending in (".json", ".yaml")]
    found = [file for file in files if file.is_file()]
    if not folder.is_dir():
        raise BackboneError(f"{folder}: no such folder (where a run found its bundle when it was trained)")
    if not found:
        raise BackboneError(f"{folder}: is no MONAI bundle: there is no configs/inference.json or train.json")
    for file in found:
        with decoding(str(file), "cannot be read as a configuration"):
            content = ConfigParser.load_config_file(str(file))
        if not isinstance(content, dict):
            raise UnreadableError(f"{file}: expected entries by name, found a {type(content).__name__}")
        for name in NAMES:
            definition = content.get(name)
            if isinstance(definition, dict) and "_target_" in definition:
                plain = {key: _plain(value, content, f"{file}: {name}.{key}") for key, value in definition.items()}
                _check_sources(plain, f"{file}: {name}")
                return plain
    raise BackboneError(f"{folder}: none of {', '.join(file.name for file in found)} defines a network as "
                        f"{' or '.join(NAMES)}")  # fmt: skip


def split_bundle(id: str) -> tuple[str, str] | None:
    """What is in front of the folder in the id of a bundle's network, `bundle:` or `slices:bundle:`, and the folder;
    None for other networks."""
    front, mark, folder = id.partition("bundle:")
    return (front + mark, folder) if mark and (not front or front.endswith(":")) else None


def write_definition(folder: Path, definition: dict[str, Any], size: Sequence[int]) -> None:
    """A bundle without weights in the folder, whose network `load_bundle` builds: its definition as
    `network_definition` gives it, and the size of the input along each axis."""
    write_json(folder / "configs" / "inference.json", {"network_def": definition})
    inputs = {"image": {"type": "image", "spatial_shape": list(size)}}
    write_json(folder / "configs" / "metadata.json", {"network_data_format": {"inputs": inputs}})


def _plain(value: Any, content: dict[str, Any], where: str) -> Any:
    """The value, with `@name` replaced by that entry. Raises BackboneError for expressions, which would run code."""
    if isinstance(value, str) and value.startswith("@") and value[1:] in content:
        rest = {key: own for key, own in content.items() if key != value[1:]}  # no entry stands for itself
        return _plain(content[value[1:]], rest, where)
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise BackboneError(f"{where}: {value!r} would have to be computed; write the value itself into the bundle")
    if isinstance(value, list):
        return [_plain(one, content, where) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one, content, f"{where}.{key}") for key, one in value.items()}
    return value


def _check_sources(value: Any, where: str) -> None:
    """Raises BackboneError where an argument names what would be fetched or opened: weights are the bundle's own."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise BackboneError(f"{where}: expected arguments by name, found {key!r}")
            if one and any(word in key.lower() for word in SOURCES):
                raise BackboneError(f"{where}.{key}: would load {one!r}; a network of a bundle has the bundle's own "
                                    "weights: set it to false or null")  # fmt: skip
            _check_sources(one, f"{where}.{key}")
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _check_sources(one, f"{where}[{place}]")
    elif isinstance(value, str) and (any(mark in value for mark in "/\\~") or value.lower().endswith(WEIGHT_FILES)):
        raise BackboneError(f"{where}: {value!r} names a file or an address, and a bundle's network may not")


def _build(definition: dict[str, Any]) -> nn.Module:
    """The network with fresh weights and without its last layer, for evaluation."""
    import monai.networks.nets as nets

    target = str(definition["_target_"])
    name = target.rpartition(".")[2]
    create = getattr(nets, name, None)
    if not callable(create) or not target.startswith(("monai.networks.nets", name)):
        raise BackboneError(f"{target}: only networks of monai.networks.nets are built from a bundle")
    arguments = {key: own for key, own in definition.items() if not key.startswith("_")}
    if "pretrained" in signature(create).parameters:
        arguments["pretrained"] = False  # some classes would fetch weights unless they are told not to
    try:
        network = create(**arguments)
    except Exception as error:  # arguments of the wrong kind fail anywhere inside of MONAI
        raise BackboneError(f"{target}: cannot be built as the bundle says: {error or type(error).__name__}") from error
    if not isinstance(network, nn.Module):
        raise BackboneError(f"{target}: is no network")
    classifier = _classifier(network)
    if classifier:
        owner, _, child = classifier.rpartition(".")
        setattr(network.get_submodule(owner), child, nn.Identity())
    return network.eval()


def _classifier(network: nn.Module) -> str | None:
    return KNOWN.get(type(network).__name__, (None, None))[1]


def _contract(
    folder: Path, network: nn.Module, image_size: int | None, channels: int | None, intensity: str | None
) -> ImageContract:
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)), None)
    if first is None:
        raise BackboneError(f"{folder}: a {type(network).__name__} has no convolution that tells what it takes")
    dims, own = len(first.kernel_size), first.in_channels
    if channels not in (None, own):
        raise SettingsError(f"channels: the bundle's network takes {own}, found {channels}")
    size = (image_size,) * dims if image_size is not None else _stated_size(folder, dims)
    return ImageContract(dims, own, size, intensity or "auto", (0.0,) * own, (1.0,) * own)


def _stated_size(folder: Path, dims: int) -> tuple[int, ...]:
    """The spatial shape in the bundle's metadata, where it is given in plain numbers."""
    file = folder / "configs" / "metadata.json"
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{file}: cannot be read ({error})") from error
    for name in ("network_data_format", "inputs"):
        found = found.get(name, {}) if isinstance(found, dict) else {}
    first: Any = next(iter(found.values()), None) if isinstance(found, dict) else None
    shape: Any = first.get("spatial_shape") if isinstance(first, dict) else None
    stated = isinstance(shape, list) and len(shape) == dims
    if stated and all(isinstance(length, int) and length > 0 for length in shape):
        return tuple(shape)
    return (SIZES[dims],) * dims


def _feature_dim(backbone: Backbone) -> int:
    from graftwork.core.model.decoder import map_shapes

    return map_shapes(backbone, len(backbone.stages))[-1][0]
