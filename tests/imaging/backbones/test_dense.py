"""Backbones for masks: maps of every resolution in place of a vector, and nothing that lies behind them."""

import pytest
import torch

from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.types import Features
from graftwork.imaging import load_backbone


@pytest.mark.parametrize(("id", "levels"), [("tiny:cnn2d", 6), ("i3d:tiny:cnn2d", 6), ("acs:tiny:cnn2d", 6),
                                            ("slices:tiny:cnn2d", 6)])  # fmt: skip
def test_backbones_for_masks_give_the_image_and_the_last_maps_of_every_resolution(id, levels):
    torch.manual_seed(0)
    backbone = load_backbone(id, mask_values="0,1", image_size=64)
    image = torch.randn(1, *backbone.contract.blank().shape)
    with torch.no_grad():
        found = backbone.run(Features(image))
    assert torch.equal(found.skips[0], image)
    heights = [maps.shape[-1] for maps in (*found.skips, found.values)]
    assert heights == sorted(set(heights), reverse=True)
    assert len(heights) >= 4
    assert backbone.feature_dim == found.values.shape[1]
    assert all(maps.dim() == image.dim() for maps in found.skips)


def test_maps_of_slices_are_those_of_the_2d_network_slice_by_slice():
    flat, volumes = (load_backbone(f"{way}tiny:cnn2d", mask_values="0,1", image_size=32) for way in ("", "slices:"))
    image = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = volumes.run(Features(image))
        expected = flat.run(Features(image[:, :, 2]))
    for whole, slice_ in zip((*found.skips, found.values), (*expected.skips, expected.values), strict=True):
        torch.testing.assert_close(whole[:, :, 2], slice_, atol=1e-4, rtol=1e-4)


def test_what_lies_behind_the_maps_is_out_of_the_network():
    backbone = load_backbone("timm:mobilenetv3_small_050", weights="random", mask_values="0,1")
    names = [name for name, _ in backbone.network.named_parameters()]
    assert not [name for name in names if name.startswith("conv_head")]
    assert sorted(name for name, _ in backbone.build().named_parameters()) == sorted(names)


def test_a_network_of_tokens_is_refused_for_masks():
    with pytest.raises(BackboneError, match="no stage gives maps"):
        load_backbone("timm:vit_tiny_patch16_224", weights="random", mask_values="0,1")


@pytest.mark.parametrize(("options", "reason"), [
    ({"patch_size": "32"}, "--patch-size is for masks"),
    ({"mask_values": "0,x"}, "--mask-values: expected different whole numbers"),
    ({"mask_values": "0"}, "expected at least two values, the background first"),
    ({"mask_values": "0,1", "other_values": "ignore"}, "--other-values: expected refuse or background"),
    ({"mask_values": "0,1", "patch_size": "3,4"}, "expected DEPTH,HEIGHT,WIDTH"),
    ({"mask_values": "0,1", "overlap": 1.0}, "--overlap: expected at least 0 and below 1"),
    ({"mask_values": "0,1", "patch_size": "20"}, "cannot take patches of"),
])  # fmt: skip
def test_options_of_masks_that_cannot_work_are_named(options, reason):
    with pytest.raises(SettingsError, match=reason):
        load_backbone("monai:segresnet-3d", weights="random", **options)
