"""The stages of timm networks. Each function takes a network and gives its stages in order, the last one "pool".

Stages hold names of modules, never modules, so that they run on any copy of the network. The families are told
apart by the very `forward_features` they use: a subclass that computes something else falls back to one stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from graftwork.core.model.backbone import Stage, named_tensors
from graftwork.core.types import Features


def timm_stages(network: nn.Module) -> tuple[Stage, ...]:
    """Stages that in turn equal `forward_features` and then `forward_head(pre_logits=True)`.

    ResNet, DenseNet, EfficientNet (and MobileNetV2), MobileNetV3, ConvNeXt, ViT and DeiT, and Swin are
    taken apart; any other network is one stage "network", followed by "pool".
    """
    from timm.models.convnext import ConvNeXt
    from timm.models.densenet import DenseNet
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3
    from timm.models.resnet import ResNet
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    families: dict[Any, Callable[[nn.Module], list[Stage]]] = {
        ResNet: resnet_stages,
        DenseNet: densenet_stages,
        EfficientNet: efficientnet_stages,
        MobileNetV3: mobilenetv3_stages,
        ConvNeXt: convnext_stages,
        VisionTransformer: vit_stages,
        SwinTransformer: swin_stages,
    }
    for family, stages_of in families.items():
        if getattr(type(network), "forward_features", None) is family.forward_features:
            return (*stages_of(network), pool_stage(network, POOL_OWNERS[family.__name__]))
    # Which tensors belong to an unknown head cannot be told; owned by the network they are at worst computed anew.
    channel_axis = -1 if getattr(network, "output_fmt", None) == "NHWC" else 1
    whole = Stage("network", _forward_features, tuple(named_tensors(network)), channel_axis)
    return (whole, Stage("pool", _forward_head))


POOL_OWNERS = {
    "ResNet": ("global_pool",),
    "DenseNet": ("global_pool",),
    "EfficientNet": ("global_pool",),
    "MobileNetV3": ("global_pool", "conv_head", "norm_head"),
    "ConvNeXt": ("head",),
    "VisionTransformer": ("attn_pool", "fc_norm"),
    "SwinTransformer": ("head",),
}
"""Modules of each family that `forward_head` uses before the classifier."""


def resnet_stages(network: nn.Module) -> list[Stage]:
    layers = [through(f"layer{number}", f"layer{number}") for number in range(1, 5)]
    return [through("stem", "conv1", "bn1", "act1", "maxpool"), *layers]


def densenet_stages(network: nn.Module) -> list[Stage]:
    """A dense block with the transition behind it is one stage; the last norm goes with the last block."""
    stages: list[tuple[str, list[str]]] = [("stem", [])]
    for child, _ in network.get_submodule("features").named_children():
        if child.startswith("denseblock"):
            stages.append((child.removeprefix("dense"), []))
        stages[-1][1].append(f"features.{child}")
    return [through(name, *paths) for name, paths in stages]


def efficientnet_stages(network: nn.Module) -> list[Stage]:
    return [
        through("stem", "conv_stem", "bn1"),
        *numbered(network, "blocks"),
        through("conv_head", "conv_head", "bn2"),
    ]


def mobilenetv3_stages(network: nn.Module) -> list[Stage]:
    """Its last convolution works on the pooled vector, and so belongs to "pool"."""
    return [through("stem", "conv_stem", "bn1"), *numbered(network, "blocks")]


def convnext_stages(network: nn.Module) -> list[Stage]:
    return [through("stem", "stem"), *numbered(network, "stages", then=("norm_pre",))]


def swin_stages(network: nn.Module) -> list[Stage]:
    stages = [through("embed", "patch_embed"), *numbered(network, "layers", then=("norm",))]
    return [replace(stage, channel_axis=-1) for stage in stages]


def vit_stages(network: nn.Module) -> list[Stage]:
    """Tokens (batch, tokens, channels) flow from "embed" on; the final norm goes with the last block."""
    tokens = (
        "patch_embed",
        "cls_token",
        "dist_token",
        "reg_token",
        "pos_embed",
        "pos_drop",
        "patch_drop",
        "norm_pre",
    )
    return [Stage("embed", _embed_tokens, tokens), *numbered(network, "blocks", then=("norm",))]


def pool_stage(network: nn.Module, owners: tuple[str, ...]) -> Stage:
    """One vector an example (batch, feature_dim), by the network's own head without its classifier."""
    return Stage("pool", _forward_head, owners)


def numbered(network: nn.Module, path: str, then: tuple[str, ...] = ()) -> list[Stage]:
    """One stage "block1", "block2", … for each child of a container, with what follows it inside the last one."""
    children = [f"{path}.{name}" for name, _ in network.get_submodule(path).named_children()]
    follow = [()] * (len(children) - 1) + [then]
    return [
        through(f"block{number}", child, *after)
        for number, (child, after) in enumerate(zip(children, follow, strict=True), start=1)
    ]


def through(name: str, *paths: str) -> Stage:
    """A stage that runs these modules of the network one after another and owns what is in them."""
    return Stage(name, partial(_run_modules, paths), paths)


def _run_modules(paths: tuple[str, ...], network: nn.Module, features: Features) -> Features:
    values = features.values
    for path in paths:
        values = network.get_submodule(path)(values)
    return Features(values, features.lengths)


def _embed_tokens(network: nn.Module, features: Features) -> Features:
    values: Tensor = network.patch_embed(features.values)  # type: ignore[operator]
    values = network._pos_embed(values)  # type: ignore[operator]
    values = network.norm_pre(network.patch_drop(values))  # type: ignore[operator]
    return Features(values, features.lengths)


def _forward_features(network: nn.Module, features: Features) -> Features:
    return Features(network.forward_features(features.values), features.lengths)  # type: ignore[operator]


def _forward_head(network: nn.Module, features: Features) -> Features:
    return Features(network.forward_head(features.values, pre_logits=True), features.lengths)  # type: ignore[operator]
