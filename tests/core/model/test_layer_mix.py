"""The mixture of layers: what it computes, which stages it takes, and which networks it refuses."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.model.layer_mix import LayerMix, insert_layer_mix
from graftwork.core.types import Features

SEED = 5
CHANNELS = 6


def run_part(name, network, features):
    return Features(getattr(network, name)(features.values), features.lengths)


def run_mean(network, features):
    return Features(features.values.mean(1))


def sequence_backbone(**widths):
    """Linear layers on (batch, time, 3), one stage each; the keywords are the stages and their output widths."""
    torch.manual_seed(SEED)
    network = nn.Module()
    before = 3
    for name, width in widths.items():
        network.add_module(name, nn.Sequential(nn.Linear(before, width), nn.Tanh()))
        before = width
    stages = (*(Stage(name, partial(run_part, name), (name,)) for name in widths), Stage("pool", run_mean))
    return Backbone("tiny:sequence", network.eval(), stages, None, before)


@pytest.fixture
def backbone():
    return sequence_backbone(cnn=4, projection=CHANNELS, layer1=CHANNELS, layer2=CHANNELS)


@pytest.fixture
def features():
    return Features(torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(SEED)), torch.tensor([7, 5, 2]))


@torch.no_grad()
def test_without_adapters_it_is_the_weighted_sum_of_normalised_outputs(backbone, features):
    outputs = [backbone.run(features, stop=stop).values.double() for stop in (2, 3, 4)]
    mixed, inserted = insert_layer_mix(backbone, 0, features)
    assert inserted == ("layer_mix.scores",)
    mixed.network.get_parameter("layer_mix.scores").copy_(torch.tensor([0.3, -1.0, 2.0]))
    found = mixed.run(features, stop=5)
    scores = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64).exp()
    expected = sum(
        score / scores.sum() * (h - h.mean(2, keepdim=True)) / (h.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
        for score, h in zip(scores, outputs, strict=True)
    )
    torch.testing.assert_close(found.values, expected.float())
    assert found.lengths is features.lengths
    torch.testing.assert_close(mixed.run(features).values, expected.float().mean(1))


@torch.no_grad()
def test_an_adapter_adds_its_bottleneck_to_its_own_layer():
    torch.manual_seed(SEED)
    mix, values = LayerMix(2, CHANNELS, 3), torch.randn(2, 5, 2 * CHANNELS)
    plain = LayerMix(2, CHANNELS, 0)
    assert torch.equal(mix(values), plain(values)), "at first the adapters add nothing"
    mix.up[1].weight.normal_()
    h = F.layer_norm(values[..., CHANNELS:], (CHANNELS,))
    added = F.gelu(h @ mix.down[1].weight.T + mix.down[1].bias) @ mix.up[1].weight.T
    torch.testing.assert_close(mix(values), plain(values) + added / 2)


@torch.no_grad()
@pytest.mark.parametrize("width", [0, 3])
def test_only_the_named_parameters_are_new_and_the_layers_compute_as_before(backbone, features, width):
    before = backbone.copy()
    mixed, inserted = insert_layer_mix(backbone, width, features)
    assert [stage.name for stage in mixed.stages] == ["cnn", "projection", "layer1", "layer2", "layer_mix", "pool"]
    names = {name for name, _ in mixed.network.named_parameters()}
    assert names - {name for name, _ in before.network.named_parameters()} == set(inserted)
    assert {mixed.stage_of(name) for name in inserted} == {4}
    assert not mixed.network.get_submodule("layer_mix").training
    flow = mixed.run(features, stop=4).values.split(CHANNELS, dim=2)
    for stop, output in enumerate(flow, start=2):
        assert torch.equal(output, before.run(features, stop=stop).values)
    assert mixed.digest(4) == before.digest(4)


def test_every_inserted_parameter_has_a_gradient_after_two_steps(backbone, features):
    mixed, inserted = insert_layer_mix(backbone, 3, features)
    parameters = {name: mixed.network.get_parameter(name) for name in inserted}
    optimiser = torch.optim.SGD(parameters.values(), lr=0.1)
    direction = torch.randn(3, CHANNELS, generator=torch.Generator().manual_seed(SEED))
    for _ in range(2):
        optimiser.zero_grad()
        (mixed.run(features).values * direction).sum().backward()
        optimiser.step()
    assert [name for name, value in parameters.items() if not value.grad.any()] == []


@torch.no_grad()
def test_copies_run_with_their_own_weights(backbone, features):
    mixed, _ = insert_layer_mix(backbone, 0, features)
    other = mixed.copy()
    other.network.get_parameter("layer_mix.scores")[0] = 5.0
    assert not torch.equal(other.run(features).values, mixed.run(features).values)


@pytest.mark.parametrize(
    ("widths", "mixed"),
    [
        ({"a": 6, "b": 6}, 2),
        ({"a": 6, "b": 6, "c": 4, "d": 6, "e": 6, "f": 6}, 3),
        ({"a": 4, "b": 6, "c": 6}, 2),
    ],
)
def test_the_run_before_the_last_stage_is_mixed(widths, mixed, features):
    backbone = sequence_backbone(**widths)
    insert_layer_mix(backbone, 0, features)
    assert backbone.network.get_parameter("layer_mix.scores").shape == (mixed,)


def test_a_single_last_layer_of_its_width_is_refused(features):
    with pytest.raises(SettingsError, match=r"a \(3, 7, 6\), b \(3, 7, 6\), c \(3, 7, 4\), pool \(3, 4\)"):
        insert_layer_mix(sequence_backbone(a=6, b=6, c=4), 0, features)


def test_a_cnn_is_refused_with_what_its_stages_give(make_backbone):
    backbone = make_backbone()
    expected = r"tiny:net gives stem \(1, 4, 4, 4\), layer1 \(1, 6, 2, 2\), layer10 \(1, 8, 1, 1\), pool \(1, 8\)"
    with pytest.raises(SettingsError, match=expected):
        insert_layer_mix(backbone, 0, Features(torch.zeros(1, 1, 8, 8)))
    assert not hasattr(backbone.network, "layer_mix")


def test_pictures_of_one_shape_are_not_sequences():
    pictures = Features(torch.zeros(2, 4, 7, 3))
    with pytest.raises(SettingsError, match=r"gives a \(2, 4, 7, 6\), b \(2, 4, 7, 6\)"):
        insert_layer_mix(sequence_backbone(a=6, b=6), 0, pictures)


def test_a_negative_width_and_a_second_mixture_are_refused(backbone, features):
    with pytest.raises(SettingsError, match="at least 0, found -1"):
        insert_layer_mix(backbone, -1, features)
    mixed, _ = insert_layer_mix(backbone, 0, features)
    with pytest.raises(SettingsError, match="already has a module 'layer_mix'"):
        insert_layer_mix(mixed, 0, features)
