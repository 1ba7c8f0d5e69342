"""timm networks as backbones: building them, finding their weights, and their input contract."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from graftwork.core.domain import BackboneEntry
from graftwork.core.errors import BackboneError, DownloadError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.imaging.backbones import hub
from graftwork.imaging.backbones.timm_stages import ONE_STAGE, timm_stages
from graftwork.imaging.backbones.timm_weights import in_timms_layout
from graftwork.imaging.backbones.weights import fit_weights, read_weights
from graftwork.imaging.preprocessing.contract import picture_contract

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def load_timm(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """`name` as timm has it, with or without a tag of weights: `resnet18`, `resnet18.a1_in1k`.

    Raises BackboneError for an unknown name or weights that do not fit, DownloadError where its own weights
    are neither here nor to be had, SettingsError for an image size that the network cannot take.
    """
    config = _config(name)
    own_channels, *own_size = config.input_size
    contract = picture_contract(
        own_size if image_size is None else (image_size, image_size),
        own_channels if channels is None else channels,
        intensity,
        mean=config.mean,
        std=config.std,
    )
    network = _create(name, contract.channels)
    size = None if image_size is None else contract.size
    if weights != "random":
        source = f"timm:{name}: {weights or 'its own weights'}"
        classifier, spare = _tensor_names(config.classifier), tuple[str, ...]()
        if weights is None:
            tensors = own_weights(name)
        else:
            tensors = read_weights(weights)
            if _of_another_size(network, tensors):
                _set_input_size(network, name, config, size)  # timm converts positions to this size at once
            tensors, spare = in_timms_layout(network, tensors, classifier, source)
        fit_weights(network, tensors, source=source, ignored=classifier, inputs=_tensor_names(config.first_conv),
                    spare=spare)  # fmt: skip
    # After the weights, so that position embeddings are interpolated from the pretrained ones.
    _set_input_size(network, name, config, size)
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
        build=partial(build_timm, name, contract.channels, size),
    )


def build_timm(name: str, channels: int, size: tuple[int, ...] | None) -> nn.Module:
    """The architecture with fresh random weights from torch's generator, without a classifier, for evaluation."""
    network = _create(name, channels)
    _set_input_size(network, name, _config(name), size)
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


def _create(name: str, channels: int) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
    return network


def _set_input_size(network: nn.Module, name: str, config: Any, size: tuple[int, ...] | None) -> None:
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
