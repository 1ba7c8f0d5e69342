"""Low-rank layers and the mixture of layers in speech networks, also where clips of unequal length share a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graftwork.audio.backbones.architecture import Architecture, empty_network
from graftwork.audio.backbones.wav2vec2 import speech_stages
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.layer_mix import insert_layer_mix
from graftwork.core.model.lora import insert_lora, lora_targets, merge_lora
from graftwork.core.types import Features

from .conftest import relative_difference

SEED = 13
TOLERANCE = 1e-5
CNN = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
BASE = Architecture("wav2vec2", "group", CNN, False, 768, 12, 12, 3072, 128, 16, norm_first=False)


@torch.no_grad()
def randomise(backbone: Backbone, names: tuple[str, ...], part: str) -> None:
    torch.manual_seed(SEED)
    for name in names:
        if part in name:
            backbone.network.get_parameter(name).normal_(std=0.3)


@torch.no_grad()
def test_insertion_changes_nothing_and_merging_equals_the_adapted_network(
    backbone: Backbone, clips: list[torch.Tensor]
) -> None:
    batch = backbone.contract.collate(clips)
    before = backbone.run(batch).values
    adapted, inserted = insert_lora(backbone.copy(), "all", 2, 4.0)
    assert torch.equal(adapted.run(batch).values, before)
    randomise(adapted, inserted, ".lora_B.")
    expected = adapted.run(batch).values
    assert relative_difference(expected, before) > 0.01
    merged = merge_lora(adapted)
    assert relative_difference(merged.run(batch).values, expected) < TOLERANCE
    assert merged.network.state_dict().keys() == backbone.network.state_dict().keys()
    assert [stage.owns for stage in merged.stages] == [stage.owns for stage in backbone.stages]


def test_targets(backbone: Backbone) -> None:
    layers = "encoder.transformer.layers"
    projections = [f"{layers}.{index}.attention.{name}_proj" for index in range(3) for name in "qv"]
    assert sorted(lora_targets(backbone, "auto")) == sorted(projections)
    assert lora_targets(backbone, "layer2:k_proj") == (f"{layers}.1.attention.k_proj",)
    assert lora_targets(backbone, "projection") == ("encoder.feature_projection.projection",)
    assert len(lora_targets(backbone, "cnn")) == 7
    assert not any("pos_conv" in name for name in lora_targets(backbone, "all")), "it is grouped and weight-normed"


def test_rank_8_in_a_base_network_is_less_than_3_megabytes(base_backbone: Backbone) -> None:
    with torch.device("meta"):
        network = empty_network(BASE)
        stages = speech_stages(BASE.layers, norm_first=BASE.norm_first, pooling="mean")
        made = replace(base_backbone, network=network, stages=stages)
        adapted, inserted = insert_lora(made, "auto", 8, 16.0)
    count = sum(adapted.network.get_parameter(name).numel() for name in inserted)
    assert count == 12 * 2 * 2 * 8 * 768
    assert 4 * count < 3e6


@torch.no_grad()
def test_a_clip_is_mixed_the_same_in_a_batch_as_alone(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    mixed, inserted = insert_layer_mix(backbone, 4, backbone.contract.collate(clips[:1]))
    assert [stage.name for stage in mixed.stages] == [
        "cnn", "projection", "layer1", "layer2", "layer3", "layer_mix", "pool",
    ]  # fmt: skip
    randomise(mixed, inserted, "layer_mix")
    together = mixed.run(mixed.contract.collate(clips)).values
    for row, clip in enumerate(clips):
        alone = mixed.run(Features(clip[None], torch.tensor([len(clip)]))).values[0]
        assert relative_difference(together[row], alone) < TOLERANCE


@pytest.mark.parametrize("width", [0, 4])
def test_every_inserted_parameter_learns(backbone: Backbone, clips: list[torch.Tensor], width: int) -> None:
    batch = backbone.contract.collate(clips)
    adapted, low_rank = insert_lora(backbone, "auto", 2, 4.0)
    mixed, mixing = insert_layer_mix(adapted, width, batch)
    parameters = {name: mixed.network.get_parameter(name) for name in (*low_rank, *mixing)}
    optimiser = torch.optim.SGD(parameters.values(), lr=0.1)
    direction = torch.randn(4, backbone.feature_dim, generator=torch.Generator().manual_seed(SEED))
    for _ in range(2):
        optimiser.zero_grad()
        (mixed.run(batch).values * direction).sum().backward()
        optimiser.step()
    without = [name for name, value in parameters.items() if value.grad is None or not value.grad.any()]
    assert without == []
