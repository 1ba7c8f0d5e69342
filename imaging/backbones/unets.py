"""MONAI's U-Nets as stages that end in maps as large as the image: decoder stages take up what encoder stages kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import MAPS, Stage
from graftwork.core.types import Features

SEGRESNET_WIDTH, SEGRESNET_BLOCKS = 32, (1, 2, 2, 4, 4)
"""Filters of CT-FM's first level, and blocks of each."""

SEGRESNET_STEP = 16

SEGRESNET_HEADS = tuple(f"up_layers.{level}.head" for level in range(4))
"""Classifiers behind every level of the decoder; in deep supervision, all have one."""

SWIN_WIDTH = 48
"""Channels of SwinUNETR's first level in the weights that its authors published."""

SWIN_STEP = 32
"""Voxels by which a Swin U-Net halves five times."""


def make_unet(spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """BasicUNet (Falk et al. 2019) with MONAI's default widths."""
    from monai.networks.nets import BasicUNet

    network: nn.Module = BasicUNet(spatial_dims, channels, out_channels=2)
    return network


def make_segresnet(spatial_dims: int, channels: int, size: tuple[int, ...], filters: int = 8) -> nn.Module:
    """SegResNet (Myronenko 2018, arXiv 1810.11654) without its autoencoder; 8 filters are MONAI's default."""
    from monai.networks.nets import SegResNet

    network: nn.Module = SegResNet(spatial_dims, filters, in_channels=channels, out_channels=2)
    return network


def make_segresnet_ds(spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """MONAI's SegResNetDS of the shape of CT-FM (Pai et al. 2025, arXiv 2501.09001), with one head.

    Raises SettingsError for sizes that it cannot halve four times.
    """
    from monai.networks.nets import SegResNetDS

    if any(length % SEGRESNET_STEP for length in size):
        raise SettingsError(f"monai:segresnetds: image size {size[0]} is not a multiple of {SEGRESNET_STEP}")
    network: nn.Module = SegResNetDS(spatial_dims, SEGRESNET_WIDTH, channels, 2, blocks_down=SEGRESNET_BLOCKS)
    return network


def make_segresnet_encoder(spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """The encoder of `make_segresnet_ds`."""
    return make_segresnet_ds(spatial_dims, channels, size).get_submodule("encoder")


def make_swinunetr(spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """SwinUNETR (Hatamizadeh et al. 2022, arXiv 2201.01266), as wide as its published weights.

    Raises SettingsError for sizes that it cannot halve five times.
    """
    from monai.networks.nets import SwinUNETR

    if any(length % SWIN_STEP for length in size):
        raise SettingsError(f"monai:swinunetr: image size {size[0]} is not a multiple of {SWIN_STEP}")
    network: nn.Module = SwinUNETR(channels, 2, feature_size=SWIN_WIDTH, spatial_dims=spatial_dims)
    return network


def unet_stages(network: nn.Module) -> tuple[Stage, ...]:
    down = [_keeping(f"down{level}" if level else "stem", f"down_{level}" if level else "conv_0", level < 4)
            for level in range(5)]  # fmt: skip
    up = [_stage(f"up{level}", partial(_joined, f"upcat_{level}"), f"upcat_{level}") for level in range(4, 0, -1)]
    return (*down, *up, _maps("final_conv"))


def segresnet_stages(network: nn.Module) -> tuple[Stage, ...]:
    count = len(network.get_submodule("down_layers"))  # type: ignore[arg-type]
    stem = _stage("stem", _segresnet_stem, "convInit")
    down = [_keeping(f"down{level}", f"down_layers.{level}", level < count - 1) for level in range(count)]
    up = [_stage(f"up{count - 1 - level}", partial(_added, level), f"up_samples.{level}", f"up_layers.{level}")
          for level in range(count - 1)]  # fmt: skip
    final = _stage("final", _segresnet_final, "conv_final.0", "conv_final.1")
    return (stem, *down, *up, final, _maps("conv_final.2"))


def segresnet_ds_stages(network: nn.Module) -> tuple[Stage, ...]:
    count = len(network.get_submodule("up_layers"))  # type: ignore[arg-type]
    up = [_stage(f"up{count - level}", partial(_added_up, level), f"up_layers.{level}.upsample",
                 f"up_layers.{level}.blocks") for level in range(count)]  # fmt: skip
    return (*_segresnet_down("encoder.", count, keeps=True), *up, _maps(SEGRESNET_HEADS[-1]))


def segresnet_encoder_stages(network: nn.Module) -> tuple[Stage, ...]:
    """The encoder alone, (batch, 512, *spatial / 16) behind the last level."""
    return tuple(_segresnet_down("", len(network.get_submodule("layers")) - 1, keeps=False))  # type: ignore[arg-type]


def _segresnet_down(inside: str, last: int, *, keeps: bool) -> list[Stage]:
    stem = _stage("stem", partial(_through, f"{inside}conv_init"), f"{inside}conv_init")
    paths = [f"{inside}layers.{level}" for level in range(last + 1)]
    return [stem, *(_stage(f"down{level}", partial(_level_down, path, keeps and level < last), path)
                    for level, path in enumerate(paths))]  # fmt: skip


def swinunetr_stages(network: nn.Module) -> tuple[Stage, ...]:
    """The Transformer's levels first, each kept, then the convolutions that take them up."""
    embed = _stage("embed", _swin_embed, "swinViT.patch_embed")
    layers = [_stage(f"layers{level}", partial(_swin_layer, level, level < 4), f"swinViT.layers{level}",
                     f"swinViT.layers{level}c") for level in range(1, 5)]  # fmt: skip
    bottleneck = _stage("bottleneck", partial(_through, "encoder10"), "encoder10")
    up = [_stage(f"up{level}", partial(_decoded, level), f"decoder{level}", f"encoder{level}")
          for level in range(5, 0, -1)]  # fmt: skip
    return (embed, *layers, bottleneck, *up, _maps("out"))


def swin_encoder_stages(network: nn.Module) -> tuple[Stage, ...]:
    """SwinUNETR's Transformer alone, (batch, 768, *spatial / 32) behind the last level."""
    embed = _stage("embed", partial(_through, "patch_embed"), "patch_embed")
    layers = [_stage(f"layers{level}", partial(_level, level), f"layers{level}", f"layers{level}c")
              for level in range(1, 5)]  # fmt: skip
    return (embed, *layers)


def make_swin_encoder(spatial_dims: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """The encoder of `make_swinunetr`."""
    return make_swinunetr(spatial_dims, channels, size).get_submodule("swinViT")


Run = Callable[[nn.Module, Features], Features]


def _stage(name: str, run: Run, *owns: str) -> Stage:
    return Stage(name, run, owns)


def _maps(classifier: str) -> Stage:
    """The end; what is left of the network's own last layer, if anything, is the end's."""
    return Stage(MAPS, _as_they_are, (classifier,))


def _keeping(name: str, path: str, keeps: bool) -> Stage:
    return Stage(name, partial(_kept if keeps else _through, path), (path,))


def _as_they_are(network: nn.Module, features: Features) -> Features:
    return features


def _through(path: str, network: nn.Module, features: Features) -> Features:
    return replace(features, values=network.get_submodule(path)(features.values))


def _kept(path: str, network: nn.Module, features: Features) -> Features:
    found: Tensor = network.get_submodule(path)(features.values)
    return replace(features, values=found, skips=(*features.skips, found))


def _joined(path: str, network: nn.Module, features: Features) -> Features:
    *skips, last = features.skips
    return replace(features, values=network.get_submodule(path)(features.values, last), skips=tuple(skips))


def _segresnet_stem(network: nn.Module, features: Features) -> Features:
    found = network.get_submodule("convInit")(features.values)
    if getattr(network, "dropout_prob", None) is not None:
        found = network.get_submodule("dropout")(found)
    return replace(features, values=found)


def _added(level: int, network: nn.Module, features: Features) -> Features:
    *skips, last = features.skips
    larger = network.get_submodule(f"up_samples.{level}")(features.values)
    return replace(features, values=network.get_submodule(f"up_layers.{level}")(larger + last), skips=tuple(skips))


def _level_down(path: str, keeps: bool, network: nn.Module, features: Features) -> Features:
    """Blocks, whose output may be kept, and the convolution that halves the size, which the last level lacks."""
    found: Tensor = network.get_submodule(f"{path}.blocks")(features.values)
    skips = (*features.skips, found) if keeps else features.skips
    return replace(features, values=network.get_submodule(f"{path}.downsample")(found), skips=skips)


def _added_up(level: int, network: nn.Module, features: Features) -> Features:
    *skips, last = features.skips
    larger = network.get_submodule(f"up_layers.{level}.upsample")(features.values)
    return replace(features, values=network.get_submodule(f"up_layers.{level}.blocks")(larger + last),
                   skips=tuple(skips))  # fmt: skip


def _segresnet_final(network: nn.Module, features: Features) -> Features:
    values = network.get_submodule("conv_final.1")(network.get_submodule("conv_final.0")(features.values))
    return replace(features, values=values)


def _swin_embed(network: nn.Module, features: Features) -> Features:
    """Keeps the image, and the embedded patches as the first level."""
    swin = network.get_submodule("swinViT")
    found = swin.get_submodule("pos_drop")(swin.get_submodule("patch_embed")(features.values))
    return replace(features, values=found, skips=(features.values, _out(network, found)))


def _swin_layer(level: int, keeps: bool, network: nn.Module, features: Features) -> Features:
    """Inner levels flow on as they are and are kept normalised; the last one flows on normalised."""
    found = _layer(network.get_submodule("swinViT"), level, features.values)
    normalised = _out(network, found)
    if keeps:
        return replace(features, values=found, skips=(*features.skips, normalised))
    return replace(features, values=normalised)


def _level(level: int, swin: nn.Module, features: Features) -> Features:
    return replace(features, values=_layer(swin, level, features.values))


def _layer(swin: nn.Module, level: int, values: Tensor) -> Tensor:
    if getattr(swin, "use_v2", False):
        values = swin.get_submodule(f"layers{level}c.0")(values.contiguous())
    found: Tensor = swin.get_submodule(f"layers{level}.0")(values.contiguous())
    return found


def _out(network: nn.Module, values: Tensor) -> Tensor:
    swin = network.get_submodule("swinViT")
    found: Tensor = swin.proj_out(values, getattr(network, "normalize", True))  # type: ignore[operator]
    return found


def _decoded(level: int, network: nn.Module, features: Features) -> Features:
    """decoder5 takes the deepest kept level as it is, the others through an encoder block of their own."""
    *skips, last = features.skips
    if level < 5:
        last = network.get_submodule(f"encoder{level}")(last)
    values = network.get_submodule(f"decoder{level}")(features.values, last)
    return replace(features, values=values, skips=tuple(skips))


def nested_unet_stages(network: nn.Module) -> tuple[Stage, ...]:
    """MONAI's UNet (Kerfoot et al. 2019), whose levels lie within each other; its last layer is part of the last level,
    so what it gives are its own classes."""
    down: list[Stage] = []
    up: list[Stage] = []
    path = "model"
    while type(network.get_submodule(path)) is nn.Sequential and hasattr(network.get_submodule(f"{path}.1"), "mode"):
        level = len(down)
        down.append(_keeping(f"down{level}", f"{path}.0", keeps=True))
        up.insert(0, _stage(f"up{level}", partial(_catenated, f"{path}.2"), f"{path}.2"))
        path = f"{path}.1.submodule"
    return (*down, _keeping("bottom", path, keeps=False), *up, Stage(MAPS, _as_they_are))


def _catenated(path: str, network: nn.Module, features: Features) -> Features:
    *skips, last = features.skips
    values = network.get_submodule(path)(torch.cat([last, features.values], dim=1))
    return replace(features, values=values, skips=tuple(skips))
