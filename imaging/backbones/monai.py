"""MONAI networks and MedicalNet's weights as backbones, in two and three dimensions."""

from __future__ import annotations

import difflib
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from graftwork.core.errors import BackboneError, MissingPackageError, SettingsError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features
from graftwork.imaging.backbones import hub
from graftwork.imaging.backbones.catalogue import CATALOGUE
from graftwork.imaging.backbones.published_weights import in_own_layout
from graftwork.imaging.backbones.timm_stages import numbered, through
from graftwork.imaging.backbones.unets import (
    SEGRESNET_HEADS,
    SEGRESNET_WIDTH,
    make_segresnet,
    make_segresnet_ds,
    make_segresnet_encoder,
    make_swin_encoder,
    make_swinunetr,
    make_unet,
    segresnet_ds_stages,
    segresnet_encoder_stages,
    segresnet_stages,
    swin_encoder_stages,
    swinunetr_stages,
    unet_stages,
)
from graftwork.imaging.backbones.weights import fit_weights, read_weights, some_of
from graftwork.imaging.preprocessing.contract import ImageContract

log = logging.getLogger(__name__)

VIT_PATCH = 16
SIZES = {2: 224, 3: 96}
"""Pixels or voxels along each axis, unless the user says otherwise."""


@dataclass(frozen=True)
class Architecture:
    """One network of MONAI: how it is made, its width, and the names it gives to its ends.

    create: from (spatial_dims, channels, size). classifier: the module behind the features, None where there is
    none; it becomes an identity. first: the first convolution. decoder: beginnings of the names behind the encoder,
    which a file of weights may lack altogether. inside: what stands before an encoder's names in its whole network.
    heads: further classifiers that a file may hold. as_saved: the network as wide as the tensors of a file are.
    """

    create: Callable[[int, int, tuple[int, ...]], nn.Module]
    feature_dim: int
    stages: Callable[[nn.Module], tuple[Stage, ...]]
    classifier: str
    first: str
    decoder: tuple[str, ...] = ()
    inside: str = ""
    heads: tuple[str, ...] = ()
    as_saved: Callable[[Architecture, Mapping[str, Tensor]], Architecture] | None = None


def load_monai(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """A MONAI network with its dimensions: `resnet18-3d`, `densenet121-2d`, `efficientnet-b0-2d`, `vit-3d`.

    One input channel and intensities in [0, 1] unless told otherwise. MONAI publishes no weights for these:
    they come from a file, or are random. Raises BackboneError otherwise, or for an unknown name.
    """
    known = monai_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        ids = ", ".join(f"monai:{one}" for one in near or known)
        raise BackboneError(f"monai:{name} is unknown; {'nearest' if near else 'known'}: {ids}")
    if weights is None:
        raise BackboneError(
            f"monai:{name}: no pretrained weights are published for it; give a file with weights= (--weights FILE), "
            'or weights="random" to start from nothing. medicalnet:resnet10, 18, 34 and 50 have weights of their own.'
        )
    architecture_name, _, dimensions = name.rpartition("-")
    return _load(
        f"monai:{name}",
        ARCHITECTURES[architecture_name],
        spatial_dims=int(dimensions[0]),
        tensors=None if weights == "random" else read_weights(weights),
        weights=weights,
        image_size=image_size,
        channels=channels,
        intensity=intensity,
        default_intensity="auto",
    )


def load_medicalnet(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """MedicalNet's 3D ResNets (Chen et al., Med3D, arXiv 1904.00625), trained on 23 CT and MR data sets.

    Volumes are z-scored, as in its training. Raises BackboneError for an unknown name, DownloadError where the
    weights are neither here nor to be had.
    """
    if name not in MEDICALNET:
        raise BackboneError(
            f"medicalnet:{name} is unknown; known: {', '.join(f'medicalnet:{one}' for one in MEDICALNET)}"
        )
    if weights is None:
        known = next(row for row in CATALOGUE if row.id == f"medicalnet:{name}")
        file = hub.fetch_file(str(known.repository), known.files, known.id)
        tensors: dict[str, Tensor] | None = read_weights(str(file))
    else:
        tensors = None if weights == "random" else read_weights(weights)
    return _load(
        f"medicalnet:{name}",
        MEDICALNET[name],
        spatial_dims=3,
        tensors=tensors,
        weights=weights,
        image_size=image_size,
        channels=channels,
        intensity=intensity,
        default_intensity="zscore",
    )


def monai_names() -> list[str]:
    return [f"{architecture}-{spatial_dims}d" for architecture in ARCHITECTURES for spatial_dims in SIZES]


def _load(
    identity: str,
    architecture: Architecture,
    *,
    spatial_dims: int,
    tensors: dict[str, Tensor] | None,
    weights: str | None,
    image_size: int | None,
    channels: int | None,
    intensity: str | None,
    default_intensity: str,
) -> Backbone:
    count = 1 if channels is None else channels
    contract = ImageContract(
        spatial_dims=spatial_dims,
        channels=count,
        size=(SIZES[spatial_dims] if image_size is None else image_size,) * spatial_dims,
        intensity=intensity or default_intensity,
        mean=(0.0,) * count,
        std=(1.0,) * count,
    )
    if tensors is not None and architecture.as_saved is not None:
        architecture = architecture.as_saved(architecture, tensors)
    build = partial(build_monai, architecture, spatial_dims, count, contract.size)
    network = build()
    fresh: list[str] = []
    if tensors is not None:
        source = f"{identity}: {weights or 'its own weights'}"
        # MONAI's segmentation heads are a convolution within.
        classifiers = (architecture.classifier, *architecture.heads)
        heads = [one for path in classifiers for one in (path, f"{path}.conv", f"{path}.conv.conv")]
        ignored = [f"{head}.{kind}" for head in heads for kind in ("weight", "bias")]
        tensors, spare = in_own_layout(network, tensors, ignored, source, inside=architecture.inside)
        fresh = _lacking(network, tensors, architecture)
        tensors |= {name: network.state_dict()[name] for name in fresh}
        fit_weights(network, tensors, source=source, ignored=ignored, inputs=[f"{architecture.first}.weight"],
                    spare=spare)  # fmt: skip
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return Backbone(
        id=identity,
        network=network,
        stages=architecture.stages(network),
        contract=contract,
        feature_dim=architecture.feature_dim,
        options={option: value for option, value in options.items() if value is not None},
        weights=weights,
        build=build,
        new_parameters=_said_fresh(network, fresh, identity),
    )


def _lacking(network: nn.Module, tensors: Mapping[str, Tensor], architecture: Architecture) -> list[str]:
    """All tensors behind the encoder, where a file has none of them; none where it has one, or where nothing is
    known of an encoder."""
    if not architecture.decoder or any(name.startswith(architecture.decoder) for name in tensors):
        return []
    return [name for name in network.state_dict() if name.startswith(architecture.decoder)]


def _said_fresh(network: nn.Module, fresh: Sequence[str], identity: str) -> tuple[str, ...]:
    """The parameters among these tensors, once it has been said that they stay at random."""
    if fresh:
        log.warning("%s: the file holds an encoder alone: %d tensors of the decoder begin at random and are learnt: %s",
                    identity, len(fresh), some_of(fresh))  # fmt: skip
    return tuple(name for name, _ in network.named_parameters() if name in set(fresh))


def build_monai(architecture: Architecture, spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """The architecture with fresh random weights from torch's generator, without a classifier, for evaluation."""
    network = architecture.create(spatial_dims, channels, size)
    owner, _, child = architecture.classifier.rpartition(".")
    holder = network.get_submodule(owner)
    if getattr(holder, child, None) is not None:
        setattr(holder, child, nn.Identity())
    return network.eval()


def _resnet(name: str, layout: dict[str, Any], spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    from monai.networks.nets import resnet

    create = getattr(resnet, name)
    network: nn.Module = create(spatial_dims=spatial_dims, n_input_channels=channels, feed_forward=False, **layout)
    return network


def _densenet(name: str, spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    from monai.networks.nets import densenet

    network: nn.Module = getattr(densenet, name)(spatial_dims=spatial_dims, in_channels=channels, out_channels=1)
    return network


def _efficientnet(name: str, spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    from monai.networks.nets import EfficientNetBN

    network: nn.Module = EfficientNetBN(name, pretrained=False, spatial_dims=spatial_dims, in_channels=channels)
    return network


def _vit(spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    from monai.networks.nets import ViT

    if importlib.util.find_spec("einops") is None:
        raise MissingPackageError("monai:vit needs the package einops: pip install einops")
    if any(length % VIT_PATCH for length in size):
        raise SettingsError(f"monai:vit: image size {size[0]} is not a multiple of its patches of {VIT_PATCH}")
    network: nn.Module = ViT(channels, size, VIT_PATCH, spatial_dims=spatial_dims)
    return network


def resnet_stages(network: nn.Module) -> tuple[Stage, ...]:
    layers = [through(f"layer{number}", f"layer{number}") for number in range(1, 5)]
    return (through("stem", "conv1", "bn1", "act", "maxpool"), *layers, Stage("pool", _mean_over_space))


def densenet_stages(network: nn.Module) -> tuple[Stage, ...]:
    """A dense block with the transition behind it is one stage; the last one has the final norm and activation."""
    paths: list[list[str]] = [[]]
    for child, _ in network.get_submodule("features").named_children():
        if child.startswith("denseblock"):
            paths.append([])
        paths[-1].append(f"features.{child}")
    # The activation works in place: inside the stage it never changes features that others still hold.
    paths[-1].append("class_layers.relu")
    names = ["stem", *(f"block{number}" for number in range(1, len(paths)))]
    stages = [through(name, *modules) for name, modules in zip(names, paths, strict=True)]
    return (*stages, Stage("pool", _mean_over_space, ("class_layers.out",)))


def _efficientnet_stages(network: nn.Module) -> tuple[Stage, ...]:
    return (
        through("stem", "_conv_stem_padding", "_conv_stem", "_bn0", "_swish"),
        *numbered(network, "_blocks"),
        through("conv_head", "_conv_head_padding", "_conv_head", "_bn1", "_swish"),
        Stage("pool", _mean_over_space),
    )


def _vit_stages(network: nn.Module) -> tuple[Stage, ...]:
    """Without a class token, as MONAI's self-supervised training has it: "pool" averages the tokens."""
    return (
        through("embed", "patch_embedding"),
        *numbered(network, "blocks", then=("norm",)),
        Stage("pool", _mean_over_tokens),
    )


def _swin_stages(network: nn.Module) -> tuple[Stage, ...]:
    return (*swin_encoder_stages(network), Stage("pool", _mean_over_space))


def _segresencoder_stages(network: nn.Module) -> tuple[Stage, ...]:
    return (*segresnet_encoder_stages(network), Stage("pool", _mean_over_space))


def _segresnet_as_saved(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Architecture:
    """As wide as the first convolution of the file: MONAI's default is 8, SuPreM's 16."""
    first = next((value for name, value in tensors.items() if name.endswith("convInit.conv.weight")), None)
    if first is None:
        return architecture
    width = int(first.shape[0])
    return replace(architecture, create=partial(make_segresnet, filters=width), feature_dim=width)


def _mean_over_space(network: nn.Module, features: Features) -> Features:
    return Features(features.values.flatten(2).mean(dim=2), features.lengths)


def _mean_over_tokens(network: nn.Module, features: Features) -> Features:
    return Features(features.values.mean(dim=1), features.lengths)


def _resnet_of(name: str, feature_dim: int, **layout: Any) -> Architecture:
    return Architecture(partial(_resnet, name, layout), feature_dim, resnet_stages, "fc", "conv1")


def _densenet_of(name: str, feature_dim: int) -> Architecture:
    return Architecture(partial(_densenet, name), feature_dim, densenet_stages, "class_layers.out", "features.conv0")


def _efficientnet_of(name: str, feature_dim: int) -> Architecture:
    return Architecture(partial(_efficientnet, name), feature_dim, _efficientnet_stages, "_fc", "_conv_stem")


ARCHITECTURES = {
    "resnet10": _resnet_of("resnet10", 512),
    "resnet18": _resnet_of("resnet18", 512),
    "resnet34": _resnet_of("resnet34", 512),
    "resnet50": _resnet_of("resnet50", 2048),
    "densenet121": _densenet_of("DenseNet121", 1024),
    "densenet169": _densenet_of("DenseNet169", 1664),
    "efficientnet-b0": _efficientnet_of("efficientnet-b0", 1280),
    "efficientnet-b1": _efficientnet_of("efficientnet-b1", 1280),
    "efficientnet-b2": _efficientnet_of("efficientnet-b2", 1408),
    "efficientnet-b3": _efficientnet_of("efficientnet-b3", 1536),
    "efficientnet-b4": _efficientnet_of("efficientnet-b4", 1792),
    "swinvit": Architecture(make_swin_encoder, 768, _swin_stages, "head", "patch_embed.proj"),
    "unet": Architecture(make_unet, 32, unet_stages, "final_conv", "conv_0.conv_0.conv", ("upcat_",)),
    "segresnet": Architecture(
        make_segresnet,
        8,
        segresnet_stages,
        "conv_final.2",
        "convInit.conv",
        ("up_samples.", "up_layers.", "conv_final."),
        as_saved=_segresnet_as_saved,
    ),
    "segresnetds": Architecture(
        make_segresnet_ds,
        SEGRESNET_WIDTH,
        segresnet_ds_stages,
        SEGRESNET_HEADS[-1],
        "encoder.conv_init",
        ("up_layers.",),
        "encoder.",
        SEGRESNET_HEADS[:-1],
    ),
    "segresencoder": Architecture(
        make_segresnet_encoder, 16 * SEGRESNET_WIDTH, _segresencoder_stages, "head_module", "conv_init"
    ),
    "swinunetr": Architecture(
        make_swinunetr, 48, swinunetr_stages, "out", "swinViT.patch_embed.proj", ("encoder", "decoder"), "swinViT."
    ),
    "vit": Architecture(_vit, 768, _vit_stages, "classification_head", "patch_embedding.patch_embeddings"),
}
"""The networks of `monai:NAME-2d` and `monai:NAME-3d`, as MONAI makes them by default; U-Nets are for masks."""

# The strides and shortcuts that the weights were trained with; MONAI's ResNetFeatures has the same.
MEDICALNET = {
    "resnet10": _resnet_of("resnet10", 512, conv1_t_stride=2, shortcut_type="B", bias_downsample=False),
    "resnet18": _resnet_of("resnet18", 512, conv1_t_stride=2, shortcut_type="A", bias_downsample=True),
    "resnet34": _resnet_of("resnet34", 512, conv1_t_stride=2, shortcut_type="A", bias_downsample=True),
    "resnet50": _resnet_of("resnet50", 2048, conv1_t_stride=2, shortcut_type="B", bias_downsample=False),
}
"""The networks of `medicalnet:NAME`."""
