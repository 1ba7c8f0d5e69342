"""timm networks as backbones: building them, finding their weights, and their input contract."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from graftwork.core.domain import BackboneEntry
from graftwork.core.errors import BackboneError, DownloadError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.imaging.backbones import hub
from graftwork.imaging.backbones.published_weights import in_own_layout
from graftwork.imaging.backbones.timm_stages import ONE_STAGE, timm_stages
from graftwork.imaging.backbones.weights import fit_weights, read_weights
from graftwork.imaging.preprocessing.contract import picture_contract

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"


@dataclass(frozen=True)
class Described:
    """What is known of a network before it is built.

    name: behind `timm:`. architecture: as timm's `create_model` takes it. config: timm's description of its input and
    its ends. place: the folder or hub repository of its weights; "" where timm itself knows. arguments: of
    `create_model`, by name.
    """

    name: str
    architecture: str
    config: Any
    place: str = ""
    arguments: tuple[tuple[str, Any], ...] = ()


def load_timm(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """`name` as timm has it, with or without a tag of weights: `resnet18`, `resnet18.a1_in1k`; or a network that was
    saved with timm's `save_for_hf`: a folder, `local-dir:FOLDER`, or `hf-hub:OWNER/NAME`, `hf-hub:OWNER/NAME@REVISION`.

    Raises BackboneError for an unknown name or weights that do not fit, DownloadError where its own weights
    are neither here nor to be had, SettingsError for an image size that the network cannot take.
    """
    known = _described(name)
    own_channels, *own_size = known.config.input_size
    contract = picture_contract(
        own_size if image_size is None else (image_size, image_size),
        own_channels if channels is None else channels,
        intensity,
        mean=known.config.mean,
        std=known.config.std,
    )
    network = _create(known, contract.channels)
    size = None if image_size is None else contract.size
    if weights != "random":
        source = f"timm:{name}: {weights or 'its own weights'}"
        classifier, spare = _tensor_names(known.config.classifier), tuple[str, ...]()
        if weights is None and not known.place:
            tensors = own_weights(name)
        else:
            tensors = read_weights(weights or str(hub.repository_file(known.place, HUB_FILES, f"timm:{name}")))
            if _of_another_size(network, tensors):
                _set_input_size(network, known, size)  # timm converts positions to this size at once
            tensors, spare = in_own_layout(network, tensors, classifier, source)
        fit_weights(network, tensors, source=source, ignored=classifier,
                    inputs=_tensor_names(known.config.first_conv), spare=spare)  # fmt: skip
    # After the weights, so that position embeddings are interpolated from the pretrained ones.
    _set_input_size(network, known, size)
    network.eval()
    stages, feature_dim = timm_stages(network, contract.blank().shape)
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return Backbone(
        id=f"timm:{name}",
        network=network,
        stages=stages,
        contract=contract,
        feature_dim=feature_dim,
        options={option: value for option, value in options.items() if value is not None},
        weights=weights,
        build=partial(build_timm, known, contract.channels, size),
    )


def build_timm(known: Described, channels: int, size: tuple[int, ...] | None) -> nn.Module:
    """The architecture with fresh random weights from torch's generator, without a classifier, for evaluation."""
    network = _create(known, channels)
    _set_input_size(network, known, size)
    return network.eval()


def own_weights(name: str) -> dict[str, Tensor]:
    """The tensors that timm publishes for a name, from the local cache or downloaded into it, in timm's own layout.

    Raises BackboneError where timm publishes none, DownloadError where they cannot be had.
    """
    import timm

    config = _config(name)
    backbone = f"timm:{name}"
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        file = hub.fetch_file(config.hf_hub_id, names, backbone)
    elif config.url:
        file = hub.fetch_address(config.url, backbone)
    else:
        raise BackboneError(
            f"{backbone}: timm publishes no weights for it; give a file with weights= (--weights FILE), "
            'or weights="random" to start from nothing'
        )
    try:
        # All classes and channels as published, so that timm's own loading is strict and converts old layouts.
        source = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise DownloadError(f"{backbone}: {file} cannot be loaded; delete it to fetch it again: {error}") from error
    return dict(source.state_dict())


def timm_names(text: str = "") -> list[str]:
    """The names timm knows that contain a text, without tags of weights."""
    import timm

    return list(timm.list_models(f"*{text}*" if text else ""))


def _config(name: str) -> Any:
    """timm's description of a network and its weights. Raises BackboneError with the nearest names."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        hint = f"nearest: {', '.join(f'timm:{one}' for one in near)}" if near else "nothing is near"
        raise BackboneError(f"timm:{name} is unknown; {hint}. `backbones TEXT` lists what contains a text.")
    known = [full for full in timm.list_pretrained(f"{architecture}.*") if full.startswith(f"{architecture}.")]
    if tag and name not in known:
        raise BackboneError(f"timm:{name} is unknown; weights of {architecture}: {', '.join(known) or 'none'}")
    # Networks that timm publishes no weights for may lack a description; timm then uses the same defaults.
    return timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg(input_size=(3, 224, 224))


def _described(name: str) -> Described:
    """What is known of a network before it is built. Raises BackboneError, and DownloadError where its description is
    on the hub and cannot be had."""
    kind, _, place = name.partition(":")
    if kind not in ("hf-hub", "local-dir"):
        if "/" not in name and not Path(name, CONFIG).is_file():
            return Described(name, name, _config(name))
        place = name
    if (kind == "local-dir" or place == name) and not Path(place).expanduser().is_dir():
        raise BackboneError(f"timm:{name}: no such folder; timm:hf-hub:OWNER/NAME[@REVISION] is on the hub")
    file = hub.repository_file(place, (CONFIG,), f"timm:{name}")
    return _described_by(name, place, file)


def _described_by(name: str, place: str, file: Path) -> Described:
    """A network by the config.json that timm puts beside weights on the hub: its architecture, how it is made, and how
    its input is read. Raises BackboneError for another file of this name."""
    import timm

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"timm:{name}: {file} cannot be read: {error}") from error
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        others = isinstance(content, dict) and "model_type" in content
        hint = "; hf: reads what transformers has saved" if others else ""
        raise BackboneError(f"timm:{name}: expected the name of a timm network as \"architecture\" in {file}, found "
                            f"{architecture!r}{hint}")  # fmt: skip
    told = content.get("pretrained_cfg", content)  # older files have it all at the top
    fields = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)}
    config = timm.models.PretrainedCfg(**{key: tuple(value) if isinstance(value, list) else value
                                          for key, value in told.items() if key in fields})  # fmt: skip
    arguments = dict(content.get("model_args") or {})
    arguments.pop("num_classes", None)
    channels, size = arguments.pop("in_chans", config.input_size[0]), arguments.get("img_size")
    if size is None:
        size = config.input_size[1:]
    height, width = (size, size) if isinstance(size, int) else size
    config = dataclasses.replace(config, input_size=(channels, height, width))
    return Described(name, architecture, config, place, tuple(sorted(arguments.items())))


def _create(known: Described, channels: int) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(known.architecture, pretrained=False, in_chans=channels, num_classes=0,
                                           **dict(known.arguments))  # fmt: skip
    return network


def _set_input_size(network: nn.Module, known: Described, size: tuple[int, ...] | None) -> None:
    name, config = known.name, known.config
    if size is None or tuple(size) == tuple(config.input_size[1:]):
        return
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if patch is not None and any(length % step for length, step in zip(size, patch, strict=True)):
        raise SettingsError(f"timm:{name}: image size {size[0]} is not a multiple of its patches of {patch[0]} pixels")
    if hasattr(network, "set_input_size"):
        network.set_input_size(img_size=tuple(size))  # type: ignore[operator]
    elif config.fixed_input_size:
        fixed = " x ".join(str(length) for length in config.input_size[1:])
        raise SettingsError(f"timm:{name} takes images of {fixed} pixels only; leave the image size out")


def _of_another_size(network: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the weights have position embeddings (1, positions, channels) of another number than the network."""
    own = network.state_dict().get("pos_embed")
    found = next((value for name, value in tensors.items() if name.rpartition(".")[2] == "pos_embed"), None)
    return own is not None and found is not None and own.shape != found.shape


def _tensor_names(modules: str | tuple[str, ...] | None) -> list[str]:
    """Names of weight and bias of the modules that timm's description names, one or several."""
    names = (modules,) if isinstance(modules, str) else (modules or ())
    return [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]


def timm_entry(name: str) -> BackboneEntry:
    """A row of the table of backbones; the parameters are not known before the network is built."""
    config = _config(name)
    here: Literal["yes", "download", "file"] = "file"
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        here = "yes" if hub.cached_file(config.hf_hub_id, names) else "download"
    elif config.url:
        here = "yes" if hub.cached_address(config.url) else "download"
    return BackboneEntry(f"timm:{name}", "timm", None, config.license or "", here, _note(name))


def _note(name: str) -> str:
    import timm

    # "vision_transformer" of `timm.models.vision_transformer`
    module = timm.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]
    return "one stage: partial:N is full" if module in ONE_STAGE else ""
