"""A backbone for masks: in place of one vector it gives maps, and keeps those of every resolution for a decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import nn

from graftwork.core.data.mask_classes import parse_mask_values
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.backbone import MAPS, Backbone, Stage
from graftwork.core.types import Features
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.segmentation.class_tables import ClassTable
from graftwork.imaging.segmentation.mask_contract import MaskContract
from graftwork.imaging.segmentation.mask_files import OtherValues
from graftwork.imaging.segmentation.mask_placement import MaskOrder
from graftwork.imaging.segmentation.segmenter import PatchSegmenter

OVERLAP = 0.5
"""Share of a patch that its neighbour covers too, unless the user says otherwise."""

_WRONG_PATCH = "{} cannot take patches of {} (--patch-size, --image-size), multiples of 32 suit most networks: {}"

Run = Callable[[nn.Module, Features], Features]


def dense(backbone: Backbone, contract: MaskContract) -> Backbone:
    """The backbone up to its last stage that gives maps (batch, channels, *spatial); what is behind it is taken out of
    the network, which is changed and kept.

    The image, and of every resolution the last maps, go on as `skips` to a last stage "maps". Where the last maps are
    as large as the image, as a segmentation network's, they go on alone: a decoder is there already. Raises
    BackboneError for a network without maps, as Transformers with tokens.
    """
    shapes = _map_shapes(backbone, contract)
    if backbone.stages[-1].name == MAPS:
        if len(shapes) < len(backbone.stages) or shapes[-1][1:] != contract.size:
            raise SettingsError(_WRONG_PATCH.format(backbone.id, contract.size, "other maps come out"))
        return replace(backbone, contract=contract, segmenter=PatchSegmenter(contract))
    if not shapes:
        raise BackboneError(f"{backbone.id}: no stage gives maps (batch, channels, *spatial), which masks need: choose "
                            "a convolutional network or Swin")  # fmt: skip
    rest = tuple(path for stage in backbone.stages[len(shapes) :] for path in stage.owns)
    build = None if backbone.build is None else partial(_afresh, backbone.build, rest)
    kept = backbone.stages[: len(shapes)]
    stages = kept if shapes[-1][1:] == contract.size else _decodable(kept, shapes)
    return replace(backbone, network=_without(backbone.network, rest), stages=(*stages, Stage(MAPS, _as_they_are)),
                   contract=contract, feature_dim=shapes[-1][0], build=build,
                   segmenter=PatchSegmenter(contract))  # fmt: skip


def _decodable(kept: Sequence[Stage], shapes: Sequence[tuple[int, ...]]) -> list[Stage]:
    """The stages with the image and the last maps of every resolution as skips."""
    stages = []
    for place, stage in enumerate(kept):
        deepest = place == len(shapes) - 1
        keeps = not deepest and shapes[place + 1][1:] != shapes[place][1:]
        run = partial(_with_skips, stage.run, stage.channel_axis, place == 0, keeps, deepest)
        stages.append(replace(stage, run=run, channel_axis=1 if deepest else stage.channel_axis))
    return stages


def _map_shapes(backbone: Backbone, contract: MaskContract) -> list[tuple[int, ...]]:
    """Channels and spatial shape of what each stage gives, as far as it is maps."""
    network = copy.deepcopy(backbone.network).to("meta")
    features = contract.collate([contract.blank()]).to("meta")
    shapes: list[tuple[int, ...]] = []
    with torch.no_grad():
        for stage in backbone.stages:
            try:
                features = stage.run(network, features)
            except (RuntimeError, ValueError) as error:
                raise SettingsError(_WRONG_PATCH.format(backbone.id, contract.size, error)) from error
            if features.values.dim() != contract.image.spatial_dims + 2:
                break
            shapes.append(tuple(features.values.movedim(stage.channel_axis, 1).shape[1:]))
    return shapes


def _without(network: nn.Module, paths: Sequence[str]) -> nn.Module:
    """The network with nothing in the place of these modules and parameters."""
    modules = dict(network.named_modules())
    for path in paths:
        owner, _, name = path.rpartition(".")
        if path in modules:
            setattr(network.get_submodule(owner), name, nn.Identity())
        elif owner in modules:
            network.get_submodule(owner).register_parameter(name, None)
    return network


def _afresh(build: Callable[[], nn.Module], rest: Sequence[str]) -> nn.Module:
    return _without(build(), rest)


def _with_skips(
    run: Run, channel_axis: int, first: bool, keeps: bool, deepest: bool, network: nn.Module, features: Features
) -> Features:
    """The stage, beside what flows past it. first: the image is kept too. deepest: what it gives is the last values."""
    found: Features = run(network, Features(features.values, features.lengths))
    skips = (features.values,) if first else features.skips
    maps = found.values.movedim(channel_axis, 1)
    if keeps:
        skips = (*skips, maps)
    return Features(maps if deepest else found.values, None, skips)


def _as_they_are(network: nn.Module, features: Features) -> Features:
    return features


def for_masks(
    backbone: Backbone, mask_values: str, other_values: OtherValues, patch_size: str | None, overlap: float | None,
    largest_component: bool, mask_order: MaskOrder = "place", ignore_value: int | None = None,
    table: ClassTable | None = None,
) -> Backbone:  # fmt: skip
    """A backbone of this package for masks with these values, as `load_backbone` takes them.

    Raises BackboneError for a network without maps, SettingsError for values or patches that cannot work.
    """
    image = cast(ImageContract, backbone.contract)  # every source of this package has one
    if patch_size is not None:
        image = replace(image, size=_patch_size(patch_size, image.spatial_dims))
    values, names = parse_mask_values(mask_values)
    merged = values if any(len(own) > 1 for own in values) else ()
    contract = MaskContract(image, tuple(own[0] for own in values), OVERLAP if overlap is None else overlap,
                            largest_component, names, other_values, mask_order, merged, ignore_value,
                            table)  # fmt: skip
    return dense(backbone, contract)


def _patch_size(text: str, spatial_dims: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1:
        parts = parts * spatial_dims
    if len(parts) != spatial_dims or not all(part.isdecimal() and int(part) > 0 for part in parts):
        names = "HEIGHT,WIDTH" if spatial_dims == 2 else "DEPTH,HEIGHT,WIDTH"
        raise SettingsError(f"--patch-size: expected {names} in whole numbers, found {text!r}")
    return tuple(int(part) for part in parts)
