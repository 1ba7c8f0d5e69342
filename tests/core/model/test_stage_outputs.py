"""The pooled outputs of all stages against a run stage by stage, and the vectors that are made of them."""

from dataclasses import replace

import pytest
import torch

from graftwork.core.model.backbone import Stage
from graftwork.core.model.stage_outputs import (
    FeatureChoice,
    Part,
    choice_from_json,
    pooled,
    stage_outputs,
    with_every_stage,
    with_features,
)
from graftwork.core.types import Features


@pytest.fixture
def batch():
    return Features(torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(3)))


def test_only_valid_steps_are_averaged():
    values = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [float("nan"), 9.0]], [[1.0, 1.0], [2.0, 2.0], [6.0, 0.0]]])
    found = pooled(Features(values, torch.tensor([2, 3])))
    assert torch.equal(found, torch.tensor([[2.0, 3.0], [3.0, 1.0]]))


def test_channels_are_where_the_stage_says():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, 4, 5, generator=generator)
    volume = torch.randn(2, 3, 4, 5, 6, generator=generator)
    assert torch.allclose(pooled(Features(values)), values.mean((2, 3)))
    assert torch.allclose(pooled(Features(values), channel_axis=-1), values.mean((1, 2)))
    assert torch.allclose(pooled(Features(volume)), volume.mean((2, 3, 4)))
    assert torch.allclose(pooled(Features(values[0])), values[0].mean(1))
    assert torch.equal(pooled(Features(values[0, 0])), values[0, 0])


def test_the_deviation_is_of_valid_steps_and_that_of_the_population():
    values = torch.tensor([[[1.0], [3.0], [float("nan")]], [[1.0], [2.0], [6.0]]])
    found = pooled(Features(values, torch.tensor([2, 3])), pooling="mean+std")
    by_hand = [[2.0, 1.0], [3.0, values[1, :, 0].std(correction=0)]]
    assert torch.allclose(found, torch.tensor(by_hand), atol=1e-6)
    full = pooled(Features(values[1:]), pooling="mean+std")
    assert torch.allclose(full, found[1:])


def test_every_stage_stands_in_its_columns(backbone, batch):
    derived, outputs = with_every_stage(backbone)
    found, features = derived.run(batch).values, batch
    for output, stage in zip(outputs, backbone.stages, strict=True):
        features = stage.run(backbone.network, features)
        own = features.values if features.values.dim() == 2 else features.values.mean((2, 3))
        assert torch.allclose(found[:, output.columns("mean")], own, atol=1e-6), stage.name
    assert found.shape == (5, derived.feature_dim) == (5, 4 + 6 + 8 + 8)
    assert derived.digest() == backbone.digest()


def test_the_lengths_of_every_stage_are_its_own(backbone):
    """Half the steps after the second stage: only its own valid ones count there."""
    double = Stage("double", lambda network, f: Features(2 * f.values, f.lengths))
    halve = Stage("halve", lambda network, f: Features(f.values[:, ::2], (f.lengths + 1) // 2))
    values = torch.arange(12.0).reshape(2, 6, 1)
    batch = Features(values, torch.tensor([6, 3]))
    derived, outputs = with_every_stage(
        replace(backbone, network=torch.nn.Identity(), stages=(double, halve), contract=OneBatch(batch), build=None)
    )
    found = derived.run(batch)
    assert found.lengths is None
    assert [output.poolings for output in outputs] == [("mean", "mean+std")] * 2
    means = torch.stack([found.values[:, output.columns("mean")] for output in outputs], dim=1)
    assert torch.equal(means, torch.tensor([[[5.0], [4.0]], [[14.0], [14.0]]]))


class OneBatch:
    """A contract whose blank example is the first of a batch."""

    def __init__(self, batch):
        self.batch = batch

    def blank(self):
        return None

    def collate(self, examples):
        return self.batch.rows([0])


def test_what_stages_pass_by_others_arrives_there(backbone, batch):
    """As the encoder of a U-Net hands its maps to the decoder."""
    stem, layer1, *_ = backbone.stages
    keeping = replace(stem, run=lambda network, f: Features(stem.run(network, f).values, skips=(f.values,)))
    through = replace(layer1, run=lambda network, f: Features(layer1.run(network, f).values, skips=f.skips))
    taking = Stage("taking", lambda network, f: Features(f.values.mean((2, 3)) + f.skips[0].mean((1, 2, 3))[:, None]),
                   ("layer10",))  # fmt: skip
    unet = replace(backbone, stages=(keeping, through, taking))
    derived, outputs = with_every_stage(unet)
    assert torch.allclose(derived.run(batch).values[:, outputs[-1].columns("mean")], unet.run(batch).values, atol=1e-6)


def test_parts_are_scaled_and_joined_in_the_order_of_the_choice(backbone, batch):
    own = with_features(backbone, FeatureChoice((Part("layer10", scale=0.5), Part("stem"))))
    stem = backbone.run(batch, stop=1)
    expected = torch.cat([0.5 * backbone.run(batch, stop=3).values.mean((2, 3)), stem.values.mean((2, 3))], dim=1)
    assert torch.allclose(own.run(batch).values, expected, atol=1e-6)
    assert own.feature_dim == 12


def test_gradients_reach_the_maps_of_every_stage(backbone, batch):
    """Beside those through later stages, those of a stage's own part of the vector."""
    own = with_features(backbone, FeatureChoice((Part("stem"),)))
    features = own.run(batch, stop=1)
    values = features.values.detach().requires_grad_()
    own.run(replace(features, values=values), 1).values.sum().backward()
    assert torch.allclose(values.grad, torch.full_like(values, 1 / values[0, 0].numel()))


def test_a_choice_comes_back_from_plain_values():
    choice = FeatureChoice((Part("layer2", "mean+std", 0.1), Part("layer10")))
    assert choice_from_json(choice.to_json()) == choice
    assert str(choice) == "layer2:mean+std, layer10"


def test_a_stage_that_is_not_there_is_no_feature(backbone):
    with pytest.raises(KeyError, match="layer3"):
        with_features(backbone, FeatureChoice((Part("layer3"),)))


def test_widths_are_those_of_the_stages(backbone):
    assert [(one.stage, one.start, one.width) for one in stage_outputs(backbone)] == [
        ("stem", 0, 4), ("layer1", 4, 6), ("layer10", 10, 8), ("pool", 18, 8)]  # fmt: skip
