"""Stages, the tensors they own, and digests."""

import pytest
import torch
from torch import nn

from graftwork.core.errors import BackboneError
from graftwork.core.model.backbone import Backbone, Stage, named_tensors, single_stage
from graftwork.core.tensor_files import digest
from graftwork.core.types import Features


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Features(torch.randn(5, 1, 8, 8))


def test_stages_in_turn_equal_the_networks_own_forward(backbone, batch):
    assert torch.equal(backbone.run(batch).values, backbone.network(batch.values))


@pytest.mark.parametrize("cut", range(5))
def test_a_run_in_two_halves_equals_one_run(backbone, batch, cut):
    halves = backbone.run(backbone.run(batch, 0, cut), cut)
    assert torch.equal(halves.values, backbone.run(batch).values)


def test_every_parameter_and_every_buffer_is_in_the_digest(backbone):
    seen = {backbone.digest()}
    tensors = named_tensors(backbone.network)
    assert any(name.endswith("running_var") for name in tensors)
    for value in tensors.values():
        with torch.no_grad():
            value.view(-1)[-1] += 1
        assert backbone.digest() not in seen
        seen.add(backbone.digest())


def test_a_single_bit_changes_the_digest():
    value = torch.ones(3)
    changed = torch.nextafter(value, torch.tensor([1.0, 2.0, 1.0]))
    assert digest({"a": value}) != digest({"a": changed})
    assert digest({"a": torch.tensor(0.0)}) != digest({"a": torch.tensor(-0.0)})


def test_name_type_and_shape_are_part_of_the_digest():
    value = torch.zeros(2, 2)
    others = [{"b": value}, {"a": value.int()}, {"a": value.reshape(4)}]
    assert len({digest({"a": value}), *map(digest, others)}) == 4


def test_the_memory_format_is_not_part_of_the_digest(backbone):
    before = backbone.digest()
    backbone.network.to(memory_format=torch.channels_last)
    assert backbone.digest() == before


def test_the_digest_of_the_first_stages_leaves_the_others_out(backbone):
    before = backbone.digest(2)
    with torch.no_grad():
        backbone.network.layer10[0].weight.add_(1)
    assert backbone.digest(2) == before
    with torch.no_grad():
        backbone.network.layer1[0].weight.add_(1)
    assert backbone.digest(2) != before


def test_a_path_owns_up_to_a_dot_and_no_further(backbone):
    layer1 = backbone.stages[1]
    assert layer1.holds("layer1")
    assert layer1.holds("layer1.0.weight")
    assert not layer1.holds("layer10.0.weight")
    assert backbone.stage_of("layer10.0.weight") == 2
    with pytest.raises(KeyError):
        backbone.stage_of("layer2.0.weight")


@pytest.mark.parametrize(("owns", "owners"), [((), "none"), (("stem", "layer1", "layer10"), r"\['stem', 'second'\]")])
def test_a_tensor_of_no_stage_or_of_two_is_refused(backbone, owns, owners):
    stages = (backbone.stages[0], Stage("second", backbone.stages[1].run, owns))
    with pytest.raises(BackboneError, match=rf"tiny:net: every tensor must belong to exactly one stage;.* {owners}"):
        Backbone("tiny:net", backbone.network, stages, backbone.contract, 8)


def test_two_stages_of_one_name_are_refused(backbone):
    stages = (Stage("a", backbone.stages[0].run, ("stem",)), Stage("a", backbone.stages[1].run, ("layer1", "layer10")))
    with pytest.raises(BackboneError, match="stage names must differ"):
        Backbone("tiny:net", backbone.network, stages, backbone.contract, 8)


def test_tied_tensors_are_counted_once_under_the_first_name(backbone):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    assert list(named_tensors(network)) == ["0.weight", "0.bias", "1.bias"]
    # A stage for each half is fine: the shared tensor belongs to the first.
    halves = tuple(Stage(str(k), lambda net, features: features, (str(k),)) for k in (0, 1))
    tied = Backbone("tiny:tied", network, halves, backbone.contract, 3)
    assert tied.stage_of("0.weight") == 0
    copied = tied.copy().network
    assert copied[0].weight is copied[1].weight


def test_a_copy_is_independent(backbone, equal_states):
    other = backbone.copy()
    assert equal_states(other.network, backbone.network)
    with torch.no_grad():
        other.network.stem[0].weight.add_(1)
    assert other.digest() != backbone.digest()


def test_a_network_without_a_decomposition_is_one_stage(backbone, batch):
    whole = single_stage(lambda net, features: Features(net(features.values)), named_tensors(backbone.network))
    one = Backbone("tiny:one", backbone.network, whole, backbone.contract, 8)
    assert torch.equal(one.run(batch).values, backbone.run(batch).values)
    assert one.digest() == backbone.digest()


def test_lengths_travel_with_the_values():
    moved = Features(torch.zeros(2, 3), torch.tensor([3, 1])).to("meta")
    assert (moved.values.device.type, moved.lengths.device.type, len(moved)) == ("meta", "meta", 2)


def test_a_backbone_says_in_a_line_what_it_is(backbone):
    said = repr(backbone)
    assert said.startswith("Backbone(tiny:")
    assert " M parameters in 4 stages, stem, " in said
    assert "Conv2d" not in said
