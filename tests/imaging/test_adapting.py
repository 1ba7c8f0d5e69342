"""Low-rank layers and the mixture of layers in real architectures for pictures and volumes."""

import pytest
import torch

from graftwork.core.errors import SettingsError
from graftwork.core.model.layer_mix import insert_layer_mix
from graftwork.core.model.lora import insert_lora, lora_targets, merge_lora
from graftwork.core.types import Features
from graftwork.imaging import load_backbone

SEED = 11
RESNET, VIT, MOBILENET = "monai:resnet10-3d", "timm:vit_tiny_patch16_224", "timm:mobilenetv2_100"


def load(id):
    torch.manual_seed(SEED)
    backbone = load_backbone(id, weights="random", image_size=32)
    generator = torch.Generator().manual_seed(SEED)
    return backbone, Features(torch.randn(2, backbone.contract.channels, *backbone.contract.size, generator=generator))


@pytest.mark.parametrize("id", [RESNET, VIT, MOBILENET])
@torch.no_grad()
def test_insertion_changes_nothing_and_merging_equals_the_adapted_network(id):
    backbone, features = load(id)
    before = backbone.run(features).values
    adapted, inserted = insert_lora(backbone.copy(), "all", 2, 4.0)
    assert torch.equal(adapted.run(features).values, before)
    for name in inserted:
        if ".lora_B." in name:
            adapted.network.get_parameter(name).normal_(std=0.05)
    expected = adapted.run(features).values
    assert (expected - before).norm() > 0.01 * before.norm()
    merged = merge_lora(adapted)
    assert (merged.run(features).values - expected).norm() < 1e-5 * expected.norm()
    assert merged.network.state_dict().keys() == backbone.network.state_dict().keys()
    assert [(stage.name, stage.owns) for stage in merged.stages] == [
        (stage.name, stage.owns) for stage in backbone.stages
    ]


@pytest.mark.parametrize(
    ("id", "targets", "expected"),
    [
        (RESNET, "layer4", ["layer4.0.conv1", "layer4.0.conv2", "layer4.0.downsample.0"]),
        (RESNET, "layer4:conv2", ["layer4.0.conv2"]),
        (RESNET, "stem", ["conv1"]),
        (VIT, "auto", [f"blocks.{index}.attn.qkv" for index in range(12)]),
        (VIT, "block1:qkv,block12:fc1", ["blocks.0.attn.qkv", "blocks.11.mlp.fc1"]),
        (VIT, "embed", ["patch_embed.proj"]),
    ],
)
def test_targets(id, targets, expected):
    assert list(lora_targets(load(id)[0], targets)) == expected


def test_depthwise_convolutions_are_left_out():
    assert {name.rpartition(".")[2] for name in lora_targets(load(MOBILENET)[0], "auto")} == {
        "conv_stem",
        "conv_pw",
        "conv_pwl",
        "conv_head",
    }


def test_every_inserted_parameter_learns():
    backbone, features = load(VIT)
    adapted, low_rank = insert_lora(backbone, "auto", 2, 4.0)
    mixed, mixing = insert_layer_mix(adapted, 4, features)
    parameters = {name: mixed.network.get_parameter(name) for name in (*low_rank, *mixing)}
    optimiser = torch.optim.SGD(parameters.values(), lr=0.1)
    direction = torch.randn(2, backbone.feature_dim, generator=torch.Generator().manual_seed(SEED))
    for _ in range(2):
        optimiser.zero_grad()
        (mixed.run(features).values * direction).sum().backward()
        optimiser.step()
    assert [name for name, value in parameters.items() if not value.grad.any()] == []


@torch.no_grad()
def test_a_mixture_of_equal_weights_is_the_mean_of_the_normalised_tokens():
    backbone, features = load(VIT)
    outputs = [backbone.run(features, stop=stop).values for stop in range(1, 14)]
    mixed, _ = insert_layer_mix(backbone.copy(), 4, features)
    assert [stage.name for stage in mixed.stages] == [
        "embed",
        *(f"block{n}" for n in range(1, 13)),
        "layer_mix",
        "pool",
    ]
    normalised = [(h - h.mean(2, keepdim=True)) / (h.var(2, correction=0, keepdim=True) + 1e-5).sqrt() for h in outputs]
    tokens = torch.stack(normalised).mean(0)
    torch.testing.assert_close(mixed.run(features, stop=14).values, tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed.run(features).values, tokens[:, 0], rtol=1e-4, atol=1e-5)


def test_a_convolutional_network_has_no_layers_to_mix():
    backbone, features = load(RESNET)
    with pytest.raises(SettingsError, match=r"layer3 \(2, 256, 4, 4, 4\), layer4 \(2, 512, 2, 2, 2\), pool \(2, 512\)"):
        insert_layer_mix(backbone, 4, features)
