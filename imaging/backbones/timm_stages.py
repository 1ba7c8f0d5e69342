"""The stages of timm networks, found by what a network does: which modules it calls, each on what the last one gave.

Stages hold names of modules, never modules, so that they run on any copy of the network. Networks that make tokens of
an image by more than modules (ViT, EVA, BEiT), or run in branches (HRNet), have functions of their own here, found by
the very `forward_features` they use: a subclass that computes something else is not taken for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.core.model.backbone import Stage, named_tensors
from graftwork.core.types import Features
from graftwork.imaging.backbones.module_chain import Call, trace_image

ONE_STAGE = frozenset({
    "cait", "coat", "convit", "crossvit", "deepseek_vit", "efficientvim", "gemma4_vit", "hiera", "hieradet_sam2",
    "levit", "mobilenetv5", "mvitv2", "naflexvit", "nasnet", "nest", "pit", "pnasnet", "qwen3_vit", "selecsls", "tnt",
    "twins", "visformer", "vision_transformer_relpos", "vision_transformer_sam", "volo", "xcit",
})  # fmt: skip
"""Modules of timm whose networks are one stage here; a test compares them with the networks."""


def timm_stages(network: nn.Module, shape: Sequence[int]) -> tuple[tuple[Stage, ...], int]:
    """Stages that in turn equal `forward_features` and then `forward_head(pre_logits=True)`, the last one "pool"; and
    how long the vector is that comes out.

    shape: (channels, height, width) of an image. A stage is a layer group of timm's `group_matcher`. A network that
    does other things between its modules than to hand on what they give is one stage "network", and then "pool".
    """
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.hrnet import HighResolutionNet
    from timm.models.vision_transformer import VisionTransformer

    families: dict[Any, Callable[[nn.Module], list[Stage]]] = {
        VisionTransformer: vit_stages,
        Eva: eva_stages,
        Beit: beit_stages,
        HighResolutionNet: hrnet_stages,
    }
    forward = getattr(type(network), "forward_features", None)
    stages = next((make(network) for family, make in families.items() if family.forward_features is forward), [])
    if not stages:
        features, _ = trace_image(network, _features_of, shape)
        stages = _linear_stages(network, features.calls) if features.linear else []
    if not stages:
        # Which tensors belong to an unknown head cannot be told; owned by the network they are at worst computed anew.
        stages = [Stage("network", _forward_features, tuple(named_tensors(network)))]
    if getattr(network, "output_fmt", None) == "NHWC":
        stages = [replace(stage, channel_axis=-1) for stage in stages]
    rest = tuple(name for name in named_tensors(network) if not any(stage.holds(name) for stage in stages))
    _, vector = trace_image(network, _vector_of, shape)
    return (*stages, Stage("pool", _forward_head, rest)), int(vector.shape[-1])


def _linear_stages(network: nn.Module, calls: Iterable[Call]) -> list[Stage]:
    """The modules that are called in turn, as stages; none where they are all one."""
    groups = _layer_groups(network)
    stages: list[tuple[str, list[str]]] = []
    current: object = None
    blocks = 0
    for call in _split(calls, groups):
        own = {group for name, group in groups.items() if name.startswith(call.path + ".")}
        matrices = any(tensor.dim() > 1 for tensor in network.get_submodule(call.path).parameters())
        group = tuple(sorted(own))
        top = call.path.partition(".")[0]
        tail = len(stages) > 1 and top != stages[-1][1][0].partition(".")[0]
        # Norms, activations and pooling go with what they follow, and so does what changes its input in place.
        if stages and (call.mutates or not matrices or (group == current and not tail)):
            stages[-1][1].append(call.path)
            continue
        if not stages:
            name = "embed" if top == "patch_embed" else "stem"
        elif "." in call.path:
            blocks += 1
            name = f"block{blocks}"
        else:
            name = call.path
        stages.append((name, [call.path]))
        current = group
    paths = [path for _, own_paths in stages for path in own_paths]
    if len(stages) < 2 or len(set(paths)) < len(paths):
        return []
    return [through(name, *own_paths) for name, own_paths in stages]


def _split(calls: Iterable[Call], groups: Mapping[str, int]) -> Iterator[Call]:
    """The calls, with those of several layer groups taken apart as far as their modules are called in turn too."""
    for call in calls:
        several = len({group for name, group in groups.items() if name.startswith(call.path + ".")}) > 1
        if several and call.linear and call.calls:
            yield from _split(call.calls, groups)
        else:
            yield call


def _layer_groups(network: nn.Module) -> dict[str, int]:
    """The layer group of every parameter, as timm numbers them for learning rates; without any, each has its own."""
    from timm.models import group_parameters

    try:
        matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    except (AttributeError, AssertionError, NotImplementedError):  # RDNet has fine groups alone, and asserts it
        return {name: number for number, (name, _) in enumerate(network.named_parameters())}
    found: dict[str, int] = group_parameters(network, matcher, reverse=True)
    return found


def vit_stages(network: nn.Module) -> list[Stage]:
    """Tokens (batch, tokens, channels) flow from "embed" on; the final norm goes with the last block."""
    tokens = ("patch_embed", "cls_token", "dist_token", "reg_token", "pos_embed", "pos_drop", "patch_drop", "norm_pre")
    return [Stage("embed", _embed_tokens, tokens), *numbered(network, "blocks", then=("norm",))]


def eva_stages(network: nn.Module) -> list[Stage]:
    """As `vit_stages`, where every block is told the rotary positions, which depend on the size of the image alone."""
    tokens = ("patch_embed", "cls_token", "reg_token", "pos_embed", "pos_drop", "patch_drop", "norm_pre", "rope")
    blocks = [
        Stage(f"block{number + 1}", partial(_eva_block, number), (f"blocks.{number}",))
        for number in range(len(network.get_submodule("blocks")))  # type: ignore[arg-type]
    ]
    last = replace(blocks[-1], run=partial(_eva_block_and_norm, len(blocks) - 1), owns=(*blocks[-1].owns, "norm"))
    return [Stage("embed", _embed_rotary_tokens, tokens), *blocks[:-1], last]


def beit_stages(network: nn.Module) -> list[Stage]:
    """As `vit_stages`; none where blocks share the weights of their relative positions."""
    if network.rel_pos_bias is not None:
        return []
    tokens = ("patch_embed", "cls_token", "pos_embed", "pos_drop")
    return [Stage("embed", _embed_beit_tokens, tokens), *numbered(network, "blocks", then=("norm",))]


def hrnet_stages(network: nn.Module) -> list[Stage]:
    """Its branches of several resolutions, which are more than one tensor, are one stage."""
    stem = through("stem", "conv1", "bn1", "act1", "conv2", "bn2", "act2")
    branches = ("transition1", "stage2", "transition2", "stage3", "transition3", "stage4", "incre_modules",
                "downsamp_modules")  # fmt: skip
    return [stem, through("layer1", "layer1"), Stage("branches", _hrnet_branches, branches),
            through("final_layer", "final_layer")]  # fmt: skip


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


def _embed_tokens(network: Any, features: Features) -> Features:
    values: Tensor = network.patch_embed(features.values)
    values = network._pos_embed(values)
    values = network.norm_pre(network.patch_drop(values))
    return Features(values, features.lengths)


def _embed_rotary_tokens(network: Any, features: Features) -> Features:
    values, _ = network._pos_embed(network.patch_embed(features.values))
    return Features(network.norm_pre(values), features.lengths)


def _eva_block(number: int, network: Any, features: Features) -> Features:
    rotary = None
    if network.rope is not None:
        # As `_pos_embed` has it: some know their grid, others are told.
        known = not network.dynamic_img_size and hasattr(network.rope, "feat_shape")
        rotary = network.rope.get_embed(**({} if known else {"shape": network.patch_embed.grid_size}))
        rotary = rotary[number] if getattr(network, "rope_mixed", False) else rotary
    return Features(network.blocks[number](features.values, rope=rotary), features.lengths)


def _eva_block_and_norm(number: int, network: Any, features: Features) -> Features:
    return Features(network.norm(_eva_block(number, network, features).values), features.lengths)


def _embed_beit_tokens(network: Any, features: Features) -> Features:
    patches = network.patch_embed(features.values)
    values = torch.cat((network.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1)
    if network.pos_embed is not None:
        values = values + network.pos_embed
    return Features(network.pos_drop(values), features.lengths)


def _hrnet_branches(network: Any, features: Features) -> Features:
    branches = network.stage2([step(features.values) for step in network.transition1])
    for transition, stage in ((network.transition2, network.stage3), (network.transition3, network.stage4)):
        steps = enumerate(transition)
        branches = stage([branches[place] if isinstance(step, nn.Identity) else step(branches[-1])
                          for place, step in steps])  # fmt: skip
    values = network.incre_modules[0](branches[0])
    for place, down in enumerate(network.downsamp_modules, start=1):
        values = network.incre_modules[place](branches[place]) + down(values)
    return Features(values, features.lengths)


def _features_of(network: Any, image: Tensor) -> Any:
    return network.forward_features(image)


def _vector_of(network: Any, image: Tensor) -> Any:
    return network.forward_head(network.forward_features(image), pre_logits=True)


def _forward_features(network: Any, features: Features) -> Features:
    return Features(network.forward_features(features.values), features.lengths)


def _forward_head(network: Any, features: Features) -> Features:
    return Features(network.forward_head(features.values, pre_logits=True), features.lengths)
