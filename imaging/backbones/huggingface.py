"""Image encoders of transformers as backbones, `hf:FOLDER` and `hf:OWNER/NAME[@REVISION]`: their weights, and the input
that their processor makes.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.core.errors import BackboneError, MissingPackageError, SettingsError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features
from graftwork.imaging.backbones import hub
from graftwork.imaging.backbones.huggingface_stages import FAMILIES, Family, hf_stages, pair
from graftwork.imaging.backbones.module_chain import without_numbers
from graftwork.imaging.backbones.published_weights import of_another_network
from graftwork.imaging.backbones.weights import fit_weights, read_weights, some_of
from graftwork.imaging.preprocessing.contract import picture_contract

log = logging.getLogger(__name__)

WEIGHTS = ("model.safetensors", "pytorch_model.bin")

EIGHT_BIT = 255.0
"""The highest value of the pictures that a processor rescales."""


def load_hf(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """An image encoder that transformers has saved: a folder, or `OWNER/NAME[@REVISION]` on the hub.

    Its vector is the encoder's own `pooler_output`; a ViT that was saved without a pooler gives its class token, a
    SigLIP without a head the mean of its tokens. The processor's size, mean, deviation and scale become the contract;
    images are stretched to the size, where a processor may cut. Raises BackboneError for other networks and for
    weights that do not fit, DownloadError where files are neither here nor to be had, MissingPackageError without
    transformers, SettingsError for an image size that cannot be.
    """
    identity = f"hf:{name}"
    family, config = _configured(name)
    processor = _json(name, "preprocessor_config.json")
    own = int(config.num_channels)
    mean, std = _statistics(processor, own, identity)
    size = _size(processor, config) if image_size is None else (image_size, image_size)
    _check_size(size, config, identity)
    contract = picture_contract(size, own if channels is None else channels, intensity, mean=mean, std=std)
    pooled = True
    if weights == "random":
        network = build_hf(family, config, contract.channels, pooled)
    else:
        file = weights or str(hub.repository_file(name, WEIGHTS, identity))
        source, pooled = _pretrained(family, config, read_weights(file), f"{identity}: {file}")
        network = source
        if contract.channels != own:
            network = build_hf(family, config, contract.channels, pooled)
            first = next(path for path, module in source.named_modules() if isinstance(module, nn.Conv2d))
            fit_weights(network, source.state_dict(), source=identity, ignored=(), inputs=(f"{first}.weight",))
    stages = hf_stages(network, family, contract.size)
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return Backbone(
        id=identity,
        network=network,
        stages=stages,
        contract=contract,
        feature_dim=_width(network, stages, contract.blank()),
        options={option: value for option, value in options.items() if value is not None},
        weights=weights,
        build=partial(build_hf, family, config, contract.channels, pooled),
    )


def build_hf(family: Family, config: Any, channels: int, pooled: bool) -> nn.Module:
    """The architecture with fresh random weights from torch's generator, for evaluation. pooled: with the pooler that
    some families may have."""
    config = copy.deepcopy(config)
    config.num_channels = channels
    return _ready(getattr(_transformers(family.model), family.model)(config), pooled)


def _configured(name: str) -> tuple[Family, Any]:
    """The family and the configuration, as transformers makes it of config.json."""
    content = _json(name, "config.json")
    kind = content.get("model_type")
    if kind not in FAMILIES:
        hint = "; timm:FOLDER reads what timm has saved" if "architecture" in content else ""
        raise BackboneError(f"hf:{name}: expected an image encoder, a model_type of {', '.join(FAMILIES)}, found "
                            f"{kind!r}{hint}")  # fmt: skip
    family = FAMILIES[kind]
    config: Any = _transformers(family.model).AutoConfig.for_model(**content)
    if family.tower and hasattr(config, family.tower):
        config = getattr(config, family.tower)
    return family, config


def _json(name: str, file: str) -> dict[str, Any]:
    place = hub.repository_file(name, (file,), f"hf:{name}")
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"hf:{name}: {place} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise BackboneError(f"hf:{name}: {place} holds a {type(content).__name__}; a JSON object is expected")
    return content


def _transformers(model: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingPackageError(
            "hf: image encoders need transformers: pip install 'graftwork[transformers]'"
        ) from error
    if not hasattr(transformers, model):
        raise MissingPackageError(f"{model} is not in transformers {transformers.__version__}: install a newer one")
    return transformers


def _pretrained(family: Family, config: Any, tensors: Mapping[str, Tensor], source: str) -> tuple[nn.Module, bool]:
    """The network with these weights, and whether they have its pooler. transformers itself finds old names, and the
    image's tower among others; what the network lacks a place for is left out, as classifiers are."""
    transformers = _transformers(family.model)
    load = partial(getattr(transformers, family.model).from_pretrained, None, config=copy.deepcopy(config),
                   state_dict=dict(tensors), output_loading_info=True, ignore_mismatched_sizes=True)  # fmt: skip
    with _quiet(transformers.logging):  # its table of every name is said in one line below
        network, found = load()
    missing = sorted(found["missing_keys"])
    wrong = sorted(str(one[0] if isinstance(one, tuple) else one) for one in found["mismatched_keys"])
    pooled = not any(name.startswith("pooler.") for name in missing)
    missing = [name for name in missing if not name.startswith("pooler.") and name.rpartition(".")[2] != "mask_token"]
    left_out = sorted(found["unexpected_keys"])
    larger = [name for name in left_out if of_another_network(name, network.state_dict())]
    if missing or wrong or larger:
        complaints = [f"missing from the file: {some_of(missing)}"] if missing else []
        complaints += [f"of another shape: {some_of(wrong)}"] if wrong else []
        complaints += [f"unknown to the network: {some_of(larger)}"] if larger else []
        raise BackboneError(f"{source} does not fit the network.\n  " + "\n  ".join(complaints))
    if left_out:
        log.info("%s: left out: %s", source, some_of(left_out))
    return _ready(network.float(), pooled), pooled


@contextmanager
def _quiet(theirs: Any) -> Iterator[None]:
    """transformers without its warnings and progress bars."""
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()


def _ready(network: Any, pooled: bool) -> nn.Module:
    """For evaluation, without what no features depend on: the token for masked patches, a pooler without weights."""
    if getattr(network.embeddings, "mask_token", None) is not None:
        network.embeddings.mask_token = None
    if not pooled:
        network.pooler = None
    ready: nn.Module = network.eval()
    return ready


def _statistics(
    processor: Mapping[str, Any], channels: int, identity: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of values in [0, 1], one a channel: what the processor makes of 8-bit pictures."""
    scale = EIGHT_BIT * (processor.get("rescale_factor", 1 / EIGHT_BIT) if processor.get("do_rescale", True) else 1.0)
    mean, std = processor.get("image_mean"), processor.get("image_std")
    if not processor.get("do_normalize", True):
        mean, std = 0.0, 1.0
    if mean is None or std is None:
        raise BackboneError(f"{identity}: expected image_mean and image_std in preprocessor_config.json, found {mean} "
                            f"and {std}")  # fmt: skip
    both = [tuple(float(one) / scale for one in (value if isinstance(value, list) else [value] * channels))
            for value in (mean, std)]  # fmt: skip
    return both[0], both[1]


def _size(processor: Mapping[str, Any], config: Any) -> tuple[int, int]:
    """(height, width) in pixels that the processor gives: what it cuts to, or resizes to."""
    cut = processor.get("do_center_crop", "crop_size" in processor) and processor.get("crop_size")
    size = cut or (processor.get("size") if processor.get("do_resize", True) else None)
    if isinstance(size, Mapping):
        side = size.get("shortest_edge")
        size = (size.get("height", side), size.get("width", side))
    return pair(config.image_size if size is None or None in pair(size) else size)


def _check_size(size: tuple[int, int], config: Any, identity: str) -> None:
    step = pair(config.patch_size)
    if any(length % own for length, own in zip(size, step, strict=True)):
        raise SettingsError(f"{identity}: image size {size[0]} is not a multiple of its patches of {step[0]} pixels")


def _width(network: nn.Module, stages: Sequence[Stage], blank: Tensor) -> int:
    bare = without_numbers(network)
    features = Features(torch.zeros(1, *blank.shape, device="meta"))
    with torch.no_grad():
        for stage in stages:
            features = stage.run(bare, features)
    return int(features.values.shape[1])
