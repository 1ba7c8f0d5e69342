"""Image encoders of transformers as stages: their families, what stands in front of the blocks, the blocks, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from graftwork.core.model.backbone import Stage, named_tensors
from graftwork.core.types import Features

Pool = Literal["pooler", "class token", "class token, norm", "head", "mean", "mean, norm"]


@dataclass(frozen=True)
class Family:
    """How one kind of encoder is built.

    model: its class in transformers. blocks: the path of the list of its blocks. norm: of all tokens behind them, ""
    where there is none. pool: how its `pooler_output` is made. embed: the modules in front of the blocks.
    interpolates: whether the first of them has to be told where positions are to be interpolated. tower: the part of a
    configuration of several towers that is the image's.
    """

    model: str
    blocks: str
    norm: str
    pool: Pool
    embed: tuple[str, ...] = ("embeddings",)
    interpolates: bool = False
    tower: str = ""


SIGLIP = Family("SiglipVisionModel", "encoder.layers", "post_layernorm", "head", interpolates=True,
                tower="vision_config")  # fmt: skip
CLIP = Family("CLIPVisionModel", "encoder.layers", "", "class token, norm", ("embeddings", "pre_layrnorm"),
              interpolates=True, tower="vision_config")  # fmt: skip

FAMILIES = {
    "vit": Family("ViTModel", "layers", "layernorm", "pooler", interpolates=True),
    "deit": Family("DeiTModel", "layers", "layernorm", "pooler", interpolates=True),
    "dinov2": Family("Dinov2Model", "encoder.layer", "layernorm", "class token"),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", "encoder.layer", "layernorm", "class token"),
    "dinov3_vit": Family("DINOv3ViTModel", "model.layer", "norm", "class token"),
    "siglip": SIGLIP,
    "siglip_vision_model": SIGLIP,
    "clip": CLIP,
    "clip_vision_model": CLIP,
    "swin": Family("SwinModel", "encoder.layers", "layernorm", "mean", interpolates=True),
    "convnext": Family("ConvNextModel", "encoder.stages", "", "mean, norm"),
    "convnextv2": Family("ConvNextV2Model", "encoder.stages", "", "mean, norm"),
}
"""By the `model_type` of config.json."""


def hf_stages(network: nn.Module, family: Family, size: Sequence[int]) -> tuple[Stage, ...]:
    """ "embed", every block with the norm behind the last one, and "pool": in turn the `pooler_output` of the encoder.

    size: (height, width) of images.
    """
    config: Any = network.config
    interpolate = family.interpolates and tuple(size) != pair(config.image_size)
    rotary = hasattr(network, "rope_embeddings")
    stages = [Stage("embed", partial(_embed, family.embed, interpolate), (*family.embed, "rope_embeddings"))]
    grid = tuple(-(-length // step) for length, step in zip(size, pair(config.patch_size), strict=True))
    count = len(network.get_submodule(family.blocks))  # type: ignore[arg-type]
    for number in range(count):
        path = f"{family.blocks}.{number}"
        norm = family.norm if number == count - 1 else ""
        if hasattr(network.get_submodule(path), "downsample") and family.model == "SwinModel":
            run = partial(_swin_block, path, grid, norm)
            grid = tuple(-(-length // 2) for length in grid)
        elif rotary:
            run = partial(_rotary_block, path, pair(tuple(size)), norm)
        elif family.model.startswith("ConvNext"):
            run = partial(_block, path, (), norm)
        else:
            run = partial(_block, path, (None,), norm)
        stages.append(Stage(f"block{number + 1}", run, (path, norm) if norm else (path,)))
    pool: Pool = family.pool
    if pool == "pooler" and getattr(network, "pooler", None) is None:
        pool = "class token"
    elif pool == "head" and not hasattr(network, "head"):
        pool = "mean"
    rest = tuple(name for name in named_tensors(network) if not any(stage.holds(name) for stage in stages))
    return (*stages, Stage("pool", partial(_pool, pool), rest))


def _embed(paths: tuple[str, ...], interpolate: bool, network: nn.Module, features: Features) -> Features:
    first, *rest = paths
    told = {"interpolate_pos_encoding": True} if interpolate else {}
    values = _tensor(network.get_submodule(first)(features.values, **told))
    for path in rest:
        values = network.get_submodule(path)(values)
    return Features(values, features.lengths)


def _block(path: str, arguments: tuple[None, ...], norm: str, network: nn.Module, features: Features) -> Features:
    """arguments: the attention mask, where the block has attention: none."""
    return _normed(norm, network, network.get_submodule(path)(features.values, *arguments), features)


def _rotary_block(path: str, size: tuple[int, int], norm: str, network: Any, features: Features) -> Features:
    # Positions depend on the size of the image alone, which the tokens no longer have.
    image = features.values.new_zeros(1, 1, *size)
    positions = network.rope_embeddings(image)
    values = network.get_submodule(path)(features.values, position_embeddings=positions)
    return _normed(norm, network, values, features)


def _swin_block(path: str, grid: tuple[int, ...], norm: str, network: nn.Module, features: Features) -> Features:
    """grid: tokens along height and width that come in."""
    return _normed(norm, network, network.get_submodule(path)(features.values, grid), features)


def _normed(norm: str, network: nn.Module, output: Any, features: Features) -> Features:
    values = _tensor(output)
    return Features(network.get_submodule(norm)(values) if norm else values, features.lengths)


def _tensor(output: Any) -> Tensor:
    """Some modules give their values with others beside them."""
    values: Tensor = output[0] if isinstance(output, tuple) else output
    return values


def _pool(pool: Pool, network: Any, features: Features) -> Features:
    values = features.values
    if pool == "pooler":
        values = network.pooler(values)
    elif pool == "class token":
        values = values[:, 0]
    elif pool == "class token, norm":
        values = network.post_layernorm(values[:, 0])
    elif pool == "head":
        values = network.head(values)
    elif pool == "mean":
        values = values.mean(dim=1)
    else:
        values = network.layernorm(values.mean(dim=(2, 3)))
    return Features(values, features.lengths)


def pair(value: Any) -> tuple[int, int]:
    """(height, width) of what a configuration gives as one number for both, or as two."""
    return (value[0], value[1]) if isinstance(value, list | tuple) else (value, value)
