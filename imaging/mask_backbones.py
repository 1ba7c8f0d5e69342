"""Backbones for masks by id: any network of `backbones` that gives maps, read in patches."""

from __future__ import annotations

from dataclasses import replace

from graftwork.core.backbone import Backbone
from graftwork.core.errors import SettingsError
from graftwork.core.segmentation import parse_mask_values
from graftwork.imaging.contract import ImageContract
from graftwork.imaging.dense import dense
from graftwork.imaging.mask_contract import MaskContract

OVERLAP = 0.5
"""Share of a patch that its neighbour covers too, unless the user says otherwise."""


def load_for_masks(
    id: str,
    mask_values: str,
    *,
    weights: str | None,
    image_size: int | None,
    channels: int | None,
    intensity: str | None,
    spacing_mm: float | None,
    patch_size: str | None,
    overlap: float | None,
    largest_component: bool,
) -> Backbone:
    """A backbone that ends in maps, for masks with these values; see `backbones.load_backbone`.

    Raises what that raises, BackboneError for a network without maps, SettingsError for values or patches that cannot
    work.
    """
    from graftwork.imaging.backbones import load_backbone

    flat = load_backbone(id, weights=weights, image_size=image_size, channels=channels, intensity=intensity,
                         spacing_mm=spacing_mm)  # fmt: skip
    image = flat.contract
    assert isinstance(image, ImageContract)  # every source of this package has one
    if patch_size is not None:
        image = replace(image, size=_patch_size(patch_size, image.spatial_dims))
    contract = MaskContract(image, parse_mask_values(mask_values), OVERLAP if overlap is None else overlap,
                            largest_component)  # fmt: skip
    return dense(flat, contract)


def _patch_size(text: str, spatial_dims: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1:
        parts = parts * spatial_dims
    if len(parts) != spatial_dims or not all(part.isdecimal() and int(part) > 0 for part in parts):
        names = "HEIGHT,WIDTH" if spatial_dims == 2 else "DEPTH,HEIGHT,WIDTH"
        raise SettingsError(f"--patch-size: expected {names} in whole numbers, found {text!r}")
    return tuple(int(part) for part in parts)
