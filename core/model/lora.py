"""Low-rank adaptation (Hu et al. 2021, LoRA, arXiv 2106.09685): which layers get it, how it goes in and comes out.

Whether they learn, and how fast, is decided with the strategy, not here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone, Stage

ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""The layers that can be adapted."""

ATTENTION = ("q_proj", "v_proj", "query", "value", "qkv", "linear_q", "linear_v")
"""What the projections of queries and values are called, apart or fused; the original adapts these two."""

ADAPTER = "default"
"""The name of the one adapter of a network, as PEFT calls it."""

SHOWN = 20
"""How many names an error lists."""


class LowRank(nn.Module):
    """A linear layer or a convolution beside the product of two that are `rank` wide: base(x) + scale * B(A(x)).

    The weight W + scale * B A is not formed, as its gradient would cost as much as W's, unless the layer's owner asks
    for it: attention in EVA, BEiT and Swin V2 reads the weight of its projection in place of calling it. Tensors are
    named as in PEFT, as adapters on disk are: `base_layer.…`, `lora_A.default.weight`, `lora_B.default.weight`.
    """

    def __init__(self, base: nn.Module, rank: int, scale: float) -> None:
        super().__init__()
        self.base_layer = base
        self.scale = scale
        if isinstance(base, nn.Linear):
            a: nn.Module = nn.Linear(base.in_features, rank, bias=False)
            b: nn.Module = nn.Linear(rank, base.out_features, bias=False)
        else:
            layer: Any = base
            kind: Any = type(base)  # a subclass pads in its own way
            a = kind(
                layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False
            )
            b = kind(rank, layer.out_channels, 1, bias=False)
        # Drawn a second time, so that a seed gives the A that it gave with PEFT.
        nn.init.kaiming_uniform_(a.get_parameter("weight"), a=math.sqrt(5))
        nn.init.zeros_(b.get_parameter("weight"))
        weight = base.get_parameter("weight")
        self.lora_A = nn.ModuleDict({ADAPTER: a.to(weight.device, weight.dtype)})
        self.lora_B = nn.ModuleDict({ADAPTER: b.to(weight.device, weight.dtype)})
        self.train(base.training)

    @property
    def weight(self) -> Tensor:
        """What the layer computes with, (out, in, *kernel)."""
        a, b = (half[ADAPTER].get_parameter("weight") for half in (self.lora_A, self.lora_B))
        return self.base_layer.get_parameter("weight") + low_rank_change(a, b, self.scale)

    @property
    def bias(self) -> Tensor | None:
        """The base's, which is not adapted."""
        return self.base_layer._parameters.get("bias")

    def forward(self, values: Tensor) -> Tensor:
        # The base first, as PEFT does it: gradients add up in that order.
        changed: Tensor = self.base_layer(values) + self.lora_B[ADAPTER](self.lora_A[ADAPTER](values)) * self.scale
        return changed


def eligible_layers(network: nn.Module) -> tuple[str, ...]:
    """Dotted names of the layers that low-rank adaptation computes exactly, in the network's order.

    Linear layers and ungrouped convolutions padded with zeros, whose weight is a parameter of their own.
    Subclasses are left out unless they say that they are `linear_in_weight`, because many of them (the output
    projection of PyTorch's attention, timm's convolutions with padding "same") compute otherwise than by their
    `forward`; so are the layers of PyTorch's TransformerEncoderLayer, which in evaluation reads their weights past it.
    """
    uses = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    past_forward = {
        child
        for module in network.modules()
        if isinstance(module, nn.TransformerEncoderLayer)
        for child in module.children()
    }
    return tuple(
        name
        for name, module in network.named_modules()
        if name
        and (type(module) in ADAPTABLE or getattr(type(module), "linear_in_weight", False))
        and getattr(module, "groups", 1) == 1
        and getattr(module, "padding_mode", "zeros") == "zeros"
        # A weight that is computed (weight norm) cannot be merged into; one that is shared would change elsewhere.
        and module._parameters.get("weight") is not None
        and uses[id(module._parameters["weight"])] == 1
        and module not in past_forward
    )


def lora_targets(backbone: Backbone, targets: str) -> tuple[str, ...]:
    """Names of the layers that `targets` means, in the network's order.

    targets: "auto" for the attention's query and value projections, or all eligible layers where there are
        none; "all" for all eligible layers; or a list with commas of stages (`layer4`: all its eligible
        layers), of modules (`q_proj`: wherever a name ends so), and of modules in a stage (`layer4:q_proj`).
        A name that is both is the stage.

    Raises SettingsError for an entry that matches nothing, listing what could be matched, and for a backbone
    without any eligible layer.
    """
    layers = tuple(
        layer for layer in eligible_layers(backbone.network) if f"{layer}.weight" not in backbone.new_parameters
    )
    if not layers:
        raise SettingsError(
            f"{backbone.id} has no layer for LoRA: it needs linear layers, or convolutions without groups"
        )
    if targets == "all":
        return layers
    if targets == "auto":
        return tuple(layer for layer in layers if _last(layer) in ATTENTION) or layers
    stage_of = {layer: backbone.stages[backbone.stage_of(f"{layer}.weight")].name for layer in layers}
    chosen = set[str]()
    for entry in (part.strip() for part in targets.split(",")):
        stage, colon, module = entry.partition(":")
        if colon:
            matched = {layer for layer in layers if stage_of[layer] == stage and _last(layer) == module}
        else:
            matched = {layer for layer in layers if stage_of[layer] == entry}
            matched = matched or {layer for layer in layers if _last(layer) == entry}
        if not matched:
            raise SettingsError(
                f"LoRA targets: {entry!r} matches no layer of {backbone.id}; expected auto, all, or a list with "
                f"commas of stages ({_listed(stage_of.values())}), of modules "
                f"({_listed(_last(layer) for layer in layers)}), or STAGE:MODULE"
            )
        chosen |= matched
    return tuple(layer for layer in layers if layer in chosen)


def insert_lora(backbone: Backbone, targets: str, rank: int, alpha: float) -> tuple[Backbone, tuple[str, ...]]:
    """Puts low-rank layers beside the layers that `targets` means; the output is the same until they are trained.

    A layer with weight W then computes with W + alpha / rank * B A, where A starts at random, drawn from
    torch's global generator, and B at zero.

    backbone: its network is changed in place.
    targets: as `lora_targets` reads it.
    rank: of B A, at least 1. alpha: how strongly B A counts, above 0.

    Returns the backbone, whose stages own what was inserted in them, and the names of the new parameters.
    Raises SettingsError for targets, a rank or an alpha that cannot work, and where there already is LoRA.
    """
    network = backbone.network
    if rank < 1:
        raise SettingsError(f"LoRA rank must be a whole number of at least 1, found {rank}")
    if not 0 < alpha < float("inf"):
        raise SettingsError(f"LoRA alpha must be a number above 0, found {alpha}")
    if _lora_layers(network):
        raise SettingsError(f"{backbone.id} already has LoRA layers; merge them first, or start from a fresh copy")
    layers = lora_targets(backbone, targets)
    known = set(network.parameters())
    for name in layers:
        network.set_submodule(name, LowRank(network.get_submodule(name), rank, alpha / rank))
    inserted = tuple(name for name, parameter in network.named_parameters() if parameter not in known)
    stages = tuple(_owning(stage, [layer for layer in layers if stage.holds(f"{layer}.weight")])
                   for stage in backbone.stages)  # fmt: skip
    return replace(backbone, stages=stages), inserted


def merge_lora(backbone: Backbone) -> Backbone:
    """A copy with ordinary layers again, each with the weight W + alpha / rank * B A, and the stages of before.

    Raises SettingsError if there are no LoRA layers.
    """
    merged: nn.Module = backbone.copy().network
    found = _lora_layers(merged)
    if not found:
        raise SettingsError(f"{backbone.id} has no LoRA layers to merge")
    for name, layer in found.items():
        base = layer.base_layer
        a, b = (half[ADAPTER].get_parameter("weight") for half in (layer.lora_A, layer.lora_B))
        change = low_rank_change(a, b, layer.scale)
        with torch.no_grad():
            base.get_parameter("weight").add_(change)
        base.train(layer.training)
        merged.set_submodule(name, base)
    return replace(backbone, network=merged, stages=tuple(_disowning(stage, found) for stage in backbone.stages))


def has_lora(backbone: Backbone) -> bool:
    """Whether there are LoRA layers to merge."""
    return bool(_lora_layers(backbone.network))


def low_rank_change(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """What LoRA adds to a weight: scale * B A, (out, in, *kernel).

    a: (rank, in) of a linear layer, (rank, in, *kernel) of a convolution in any number of dimensions.
    b: (out, rank), or (out, rank, 1, …) of a convolution.
    """
    return scale * torch.einsum("ri...,or->oi...", a, b.flatten(1))


def _lora_layers(network: nn.Module) -> dict[str, LowRank]:
    """The low-rank layers by the name of the layer that each stands for."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LowRank)}


def _owning(stage: Stage, layers: Iterable[str]) -> Stage:
    """The stage with the adapted layers that it owned by the names of their tensors only, which are others now."""
    added = tuple(layer for layer in layers if not stage.holds(f"{layer}.base_layer.weight"))
    return replace(stage, owns=stage.owns + added)


def _disowning(stage: Stage, found: Mapping[str, Any]) -> Stage:
    """The reverse of `_owning`: without the layers whose tensors the stage all owns by their names, too."""
    added = {
        name
        for name, layer in found.items()
        if all(f"{name}.{tensor}" in stage.owns for tensor, _ in layer.base_layer.named_parameters())
    }
    return replace(stage, owns=tuple(path for path in stage.owns if path not in added))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _listed(names: Iterable[str]) -> str:
    """Each name once, in order, and how many were left out."""
    distinct = list(dict.fromkeys(names))
    more = f", … and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
    return ", ".join(distinct[:SHOWN]) + more
