"""2D networks that take volumes: what they were is still there, and a strategy finds them as it finds any other."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.graft import make_graft
from graftwork.core.model.lora import insert_lora, merge_lora
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features
from graftwork.imaging import load_backbone
from graftwork.imaging.backbones.inflation import ACSConv, InflatedConv3d, inflate_network


def constant_in_depth(pictures: torch.Tensor, depth: int) -> torch.Tensor:
    return pictures[:, :, None].expand(-1, -1, depth, -1, -1)


def moved(backbone):
    """The backbone with statistics and scales of its normalisations drawn at random, as if it were trained."""
    for module in backbone.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return backbone


@pytest.mark.parametrize("id", ["tiny:cnn2d", "timm:mobilenetv2_050", "timm:resnet10t", "timm:densenet121"])
def test_an_inflated_network_is_the_flat_one_on_a_volume_constant_in_depth(id):
    torch.manual_seed(0)
    flat = moved(load_backbone(id, weights=None if id.startswith("tiny") else "random"))
    network = inflate_network(flat.copy().network, "i3d")
    pictures = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = flat.run(Features(pictures)).values
        found = flat.with_network(network).run(Features(constant_in_depth(pictures, 40))).values
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_an_inflated_network_sees_depth():
    backbone = load_backbone("i3d:tiny:cnn2d", image_size=32)
    volume = torch.randn(1, 3, 32, 32, 32)
    with torch.inference_mode():
        there, back = (
            backbone.run(Features(one)).values for one in (volume, volume.mean(2, keepdim=True) + 0 * volume)
        )
    assert not torch.allclose(there, back, atol=1e-3)


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (12, 1), (4, 2)])
def test_each_third_of_acs_filters_sees_its_plane(groups, stride):
    torch.manual_seed(0)
    flat = nn.Conv2d(12, 24, 3, stride=stride, padding=1, groups=groups)
    volume = torch.randn(1, 12, 6, 6, 6)
    with torch.no_grad():
        found = ACSConv(flat)(volume)
        apart = groups if groups > 1 else 24
        width = 24 // apart
        ends = np.cumsum([0, *(count * width for count in (apart - 2 * (apart // 3), apart // 3, apart // 3))])
        for axis in range(3):
            slices = volume.movedim(2 + axis, 0).flatten(0, 1)  # what is not in the plane becomes the batch
            expected = flat(slices)[::stride, ends[axis] : ends[axis + 1]]
            own = found[:, ends[axis] : ends[axis + 1]].movedim(2 + axis, 0).flatten(0, 1)
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_acs_keeps_the_flat_filters_and_their_names():
    flat, made = load_backbone("tiny:cnn2d"), load_backbone("acs:tiny:cnn2d", image_size=32)
    names = {name for name, module in made.network.named_modules() if isinstance(module, ACSConv)}
    assert names
    for name in names:
        assert torch.equal(flat.network.get_parameter(f"{name}.weight"), made.network.get_parameter(f"{name}.weight"))
    assert [stage.name for stage in made.stages] == [stage.name for stage in flat.stages]
    assert set(made.network.state_dict()) == set(flat.network.state_dict())


def test_merged_lora_on_an_inflated_network_is_the_unmerged_one():
    backbone = load_backbone("i3d:tiny:cnn2d", image_size=32)
    volume = torch.randn(1, 3, 16, 32, 32)
    torch.manual_seed(0)
    backbone, inserted = insert_lora(backbone.copy(), "all", 4, 8.0)
    assert any(isinstance(backbone.network.get_submodule(name.rpartition(".")[0]), InflatedConv3d) for name in inserted)
    with torch.no_grad():
        for name in inserted:
            backbone.network.get_parameter(name).normal_(0, 0.02)
        apart = backbone.run(Features(volume)).values
        together = merge_lora(backbone).run(Features(volume)).values
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_slices_give_the_mean_of_what_the_flat_network_says_of_each():
    flat, made = load_backbone("tiny:cnn2d"), load_backbone("slices:tiny:cnn2d", image_size=32)
    volume = torch.randn(2, 3, 5, 32, 32)
    with torch.inference_mode():
        each = torch.stack([flat.run(Features(volume[:, :, place])).values for place in range(5)])
        found = made.run(Features(volume))
        parts = made.run(made.run(Features(volume), 0, 3), 3)
    torch.testing.assert_close(found.values, each.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.values, found.values)
    assert made.digest() == flat.digest()


@pytest.mark.parametrize("id", ["timm:efficientnet_b0", "timm:vit_tiny_patch16_224", "timm:convnext_atto"])
def test_what_cannot_be_inflated_says_so_and_names_the_other_way(id):
    with pytest.raises(BackboneError, match=f"{id} cannot be inflated: .*slices:{id}"):
        load_backbone(f"i3d:{id}", weights="random", image_size=32)
    assert load_backbone(f"slices:{id}", weights="random", image_size=32).contract.size == (32, 32, 32)


def test_a_network_of_volumes_is_not_lifted_again():
    with pytest.raises(BackboneError, match="takes volumes already"):
        load_backbone("i3d:monai:resnet10-3d", weights="random")
    with pytest.raises(BackboneError, match="takes volumes already"):
        load_backbone("acs:i3d:tiny:cnn2d")


def test_random_weights_differ_along_depth():
    first = load_backbone("i3d:tiny:cnn2d", weights="random", image_size=32).network.get_submodule("conv1.0").weight
    assert not torch.allclose(first[:, :, 0], first[:, :, 1])
    kept = load_backbone("i3d:tiny:cnn2d", image_size=32).network.get_submodule("conv1.0").weight
    assert torch.equal(kept[:, :, 0], kept[:, :, 1])


def test_attention_over_slices_begins_as_their_mean_and_can_choose_one():
    torch.manual_seed(0)  # not every draw of the attention can choose this slice
    mean = load_backbone("slices:tiny:cnn2d", image_size=32)
    attends = load_backbone("slices:tiny:cnn2d", image_size=32, slice_pooling="attention")
    volume = Features(torch.randn(2, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        torch.testing.assert_close(attends.run(volume).values, mean.run(volume).values, atol=1e-5, rtol=1e-5)
        slices = attends.run(volume, 0, len(attends.stages) - 1).values
        module = attends.network.slice_attention
        hidden = torch.tanh(module.hidden(functional.layer_norm(slices, slices.shape[-1:])))
        module.score.weight.copy_(1e4 * hidden[:1, 3])
        torch.testing.assert_close(attends.run(volume).values[0], slices[0, 3], atol=1e-4, rtol=1e-4)


def test_attention_over_slices_is_learnt_by_a_probe_and_counts_as_new():
    backbone = load_backbone("slices:tiny:cnn2d", image_size=32, slice_pooling="attention")
    graft = make_graft(backbone, parse_strategy("probe"), Recipe(), "single-label", ("a", "b"), 4)
    assert graft.plan.solver == "gradient"
    assert set(graft.plan.trainable) == set(backbone.new_parameters)
    assert graft.plan.frontier == len(backbone.stages) - 1
    assert backbone.build().slice_attention.score.weight.shape == (1, 64)
    with pytest.raises(SettingsError, match="makes no vector of slices"):
        load_backbone("i3d:tiny:cnn2d", slice_pooling="attention")
