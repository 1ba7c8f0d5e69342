"""Any PyTorch module of the user's as a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from graftwork.core.errors import BackboneError
from graftwork.core.model.backbone import Backbone, Stage, named_tensors
from graftwork.core.types import Features
from graftwork.imaging.backbones.dense import dense
from graftwork.imaging.backbones.timm_stages import through
from graftwork.imaging.domain import DOMAIN
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.segmentation.mask_contract import MaskContract


def backbone_from_module(
    module: nn.Module,
    stages: Sequence[tuple[str, str | nn.Module]] | None = None,
    *,
    contract: ImageContract | MaskContract,
    feature_dim: int | None = None,
    id: str = "custom:module",
    build: Callable[[], nn.Module] | None = None,
) -> Backbone:
    """A backbone over `module`, which is put into evaluation mode.

    stages: (name, submodule or its dotted path) in the order they run, each taking what the one before gives;
        without it the whole module is one stage. A last stage "pool" is added: it averages maps
        (batch, channels, *spatial) over space and passes vectors (batch, channels) through.
    contract: of images, or of images with masks: then the last maps are used as they are where they have the size of a
        patch, and with those of the stages before under a decoder where they are smaller.
    feature_dim: found by running one blank example if left out.
    build: makes the same architecture with fresh weights, for training from scratch.
    Raises BackboneError where a submodule is not in the module, where the stages leave tensors out, or where
    the output is neither a map nor a vector.
    """
    module.eval()
    if stages is None:
        steps = [Stage("network", _run_all, tuple(named_tensors(module)))]
    else:
        paths = {submodule: path for path, submodule in module.named_modules()}
        steps = [through(name, _path(name, part, paths, id)) for name, part in stages]
    if isinstance(contract, MaskContract):
        return dense(Backbone(id, module, tuple(steps), contract, 0, build=build, domain=DOMAIN), contract)
    pooled = (*steps, Stage("pool", partial(_pool, contract.spatial_dims)))
    width = _width(module, pooled, contract, id)
    if feature_dim not in (None, width):
        raise BackboneError(f"{id}: feature_dim is given as {feature_dim}, and the module gives {width}")
    return Backbone(id, module, pooled, contract, width, build=build, domain=DOMAIN)


def _path(name: str, part: str | nn.Module, paths: dict[nn.Module, str], backbone: str) -> str:
    path = part if isinstance(part, str) else paths.get(part, "")
    if not path or path not in paths.values():
        found = repr(part) if isinstance(part, str) else type(part).__name__
        raise BackboneError(f"{backbone}: stage {name!r}: {found} is not a submodule of the module")
    return path


def _width(network: nn.Module, stages: Sequence[Stage], contract: ImageContract, backbone: str) -> int:
    features = Features(torch.zeros(1, contract.channels, *contract.size))
    with torch.inference_mode():
        for stage in stages:
            features = stage.run(network, features)
            if not isinstance(features.values, Tensor):
                raise BackboneError(
                    f"{backbone}: stage {stage.name!r} gives a {type(features.values).__name__}; a tensor is expected"
                )
    if features.values.ndim != 2:
        shape = tuple(features.values.shape)
        raise BackboneError(
            f"{backbone}: gives shape {shape}; expected maps (batch, channels, "
            f"{'height, width' if contract.spatial_dims == 2 else 'depth, height, width'}) or vectors (batch, channels)"
        )
    return int(features.values.shape[1])


def _run_all(network: nn.Module, features: Features) -> Features:
    return Features(network(features.values), features.lengths)


def _pool(spatial_dims: int, network: nn.Module, features: Features) -> Features:
    values = features.values
    if values.ndim == 2 + spatial_dims:
        values = values.flatten(2).mean(dim=2)
    return Features(values, features.lengths)
