"""Low-rank layers change nothing until they are trained, go exactly where they are asked to, and merge exactly."""

import copy
import re

import pytest
import torch
from torch import nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone, Stage, single_stage
from graftwork.core.model.lora import eligible_layers, insert_lora, lora_targets, merge_lora
from graftwork.core.types import Features

SEED = 3
RANK = 2


class RepeatedPadding(nn.Conv2d):
    """A subclass that pads in its own way, as convolutions inflated to volumes do."""

    linear_in_weight = True

    def forward(self, values):
        padded = nn.functional.pad(values, (self.padding[1],) * 2 + (self.padding[0],) * 2, mode="replicate")
        return nn.functional.conv2d(padded, self.weight, self.bias, self.stride)


LAYERS = {
    "linear": (nn.Linear(5, 6), (4, 5)),
    "linear on sequences": (nn.Linear(5, 6, bias=False), (4, 7, 5)),
    "conv1d": (nn.Conv1d(3, 6, 5, stride=2, padding=1), (2, 3, 20)),
    "conv2d": (nn.Conv2d(3, 6, (3, 5), padding=(1, 2)), (2, 3, 9, 8)),
    "conv2d padded to the same size": (nn.Conv2d(3, 6, 5, padding="same"), (2, 3, 9, 8)),
    "conv2d dilated": (nn.Conv2d(3, 6, 3, padding=2, dilation=2, bias=False), (2, 3, 9, 8)),
    "conv2d subclass": (RepeatedPadding(3, 6, 3, padding=1), (2, 3, 9, 8)),
    "conv2d pointwise": (nn.Conv2d(3, 6, 1, stride=2), (2, 3, 9, 8)),
    "conv3d": (nn.Conv3d(2, 4, 3, stride=2, padding=1), (2, 2, 7, 8, 6)),
    "conv3d pointwise": (nn.Conv3d(2, 4, 1, bias=False), (2, 2, 4, 4, 4)),
}


def run_all(network, features):
    return Features(network(features.values))


def single(network, owns=None):
    """A backbone of one stage over any network of one tensor to one tensor."""
    network.eval()
    names = network.state_dict() if owns is None else owns
    return Backbone("tiny:single", network, single_stage(run_all, names), None, 1)


@pytest.fixture(params=LAYERS)
def layer_backbone(request):
    """One layer inside a network, and inputs for it."""
    layer, shape = LAYERS[request.param]
    torch.manual_seed(SEED)
    return single(nn.Sequential(copy.deepcopy(layer))), Features(torch.randn(shape))


def randomise(backbone, inserted):
    """B, which starts at zero, gets values as training would give it."""
    torch.manual_seed(SEED)
    with torch.no_grad():
        for name in inserted:
            backbone.network.get_parameter(name).normal_(std=0.3)


def names_of(network):
    return [name for name, _ in network.named_parameters()]


@torch.no_grad()
def test_merging_equals_the_unmerged_output(layer_backbone):
    backbone, features = layer_backbone
    before = backbone.run(features).values
    adapted, inserted = insert_lora(backbone.copy(), "all", RANK, 3.0)
    assert torch.equal(adapted.run(features).values, before)
    randomise(adapted, inserted)
    expected = adapted.run(features).values
    assert not torch.allclose(expected, before, atol=1e-2)
    merged = merge_lora(adapted)
    torch.testing.assert_close(merged.run(features).values, expected, rtol=1e-5, atol=1e-5)
    assert type(merged.network[0]) is type(backbone.network[0])
    assert names_of(merged.network) == names_of(backbone.network)
    assert vars(merged.network).keys() == vars(backbone.network).keys(), "nothing of PEFT stays behind"
    assert torch.equal(adapted.run(features).values, expected), "merging is into a copy"


def test_equals_peft(layer_backbone):
    """The same first values for a seed, names, outputs and gradients, so that adapters of either open in the other."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone, features = layer_backbone
    torch.manual_seed(SEED)
    adapted, inserted = insert_lora(backbone.copy(), "all", RANK, 3.0)
    torch.manual_seed(SEED)
    theirs = inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=3.0, target_modules="0"), backbone.copy().network)
    for name, module in theirs.named_modules():
        if name.endswith("lora_A.default") and hasattr(module, "dilation"):
            module.dilation = backbone.network[0].dilation  # PEFT leaves it out
    ours = adapted.network
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    changed = {name: torch.randn_like(ours.get_parameter(name)) for name in inserted}
    for network in (ours, theirs):
        network.load_state_dict(changed, strict=False)
        network(features.values).square().sum().backward()
    assert torch.equal(ours(features.values), theirs(features.values))
    for name in inserted:
        assert torch.equal(ours.get_parameter(name).grad, theirs.get_parameter(name).grad), name


def test_the_weight_that_is_added_is_alpha_over_rank_times_b_a():
    adapted, inserted = insert_lora(single(nn.Sequential(nn.Linear(5, 6))), "all", RANK, 3.0)
    randomise(adapted, inserted)
    before = adapted.network.get_parameter("0.base_layer.weight")
    a, b = (adapted.network.get_parameter(f"0.lora_{part}.default.weight") for part in "AB")
    merged = merge_lora(adapted).network.get_parameter("0.weight")
    torch.testing.assert_close(merged, before + 3.0 / RANK * b @ a)


def test_only_the_named_parameters_are_new(backbone):
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    parameters = set(backbone.network.parameters())
    learns = backbone.network.stem[0].weight.requires_grad_(False)
    adapted, inserted = insert_lora(backbone, "all", RANK, 4.0)
    now = dict(adapted.network.named_parameters())
    assert {name for name, value in now.items() if value not in parameters} == set(inserted)
    assert [name for name, value in now.items() if not value.requires_grad] == ["stem.0.base_layer.weight"]
    assert now["stem.0.base_layer.weight"] is learns
    kept = {name.replace(".base_layer", ""): value for name, value in adapted.network.state_dict().items()}
    for name, value in before.items():
        assert torch.equal(kept.pop(name), value)
    assert kept.keys() == set(inserted)
    assert not any(module.training for module in adapted.network.modules())


def test_training_mode_is_kept_too(backbone):
    backbone.network.train()
    adapted, _ = insert_lora(backbone, "all", RANK, 4.0)
    assert all(module.training for module in adapted.network.modules())
    assert all(module.training for module in merge_lora(adapted).network.modules())


def test_every_inserted_parameter_has_a_gradient_after_two_steps(backbone):
    adapted, inserted = insert_lora(backbone, "all", RANK, 4.0)
    parameters = {name: adapted.network.get_parameter(name) for name in inserted}
    optimiser = torch.optim.SGD(parameters.values(), lr=0.1)
    generator = torch.Generator().manual_seed(SEED)
    features = Features(torch.randn(4, 1, 8, 8, generator=generator))
    direction = torch.randn(4, 8, generator=generator)
    for step in range(2):
        optimiser.zero_grad()
        (adapted.run(features).values * direction).sum().backward()
        for name, parameter in parameters.items():
            assert bool(parameter.grad.any()) == (step == 1 or "lora_B" in name), f"{name} in step {step + 1}"
        optimiser.step()


def test_a_comes_from_the_global_generator(make_backbone):
    drawn = []
    for seed in (1, 1, 2):
        backbone = make_backbone()
        torch.manual_seed(seed)
        adapted, inserted = insert_lora(backbone, "all", RANK, 4.0)
        drawn.append(adapted.network.get_parameter(inserted[0]).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("owns", [("0.weight", "0.bias", "1.0.weight", "1.0.bias"), ("0", "1"), ("0.weight", "0", "1")])
def test_stages_own_what_is_inserted_and_have_their_own_paths_back_after_merging(owns):
    backbone = single(nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))), owns)
    adapted, inserted = insert_lora(backbone, "all", RANK, 4.0)
    assert {adapted.stage_of(name) for name in inserted} == {0}
    randomise(adapted, inserted)
    merged = merge_lora(adapted)
    assert merged.stages[0].owns == owns


def test_a_merged_backbone_can_be_adapted_again(backbone):
    merged = merge_lora(insert_lora(backbone, "all", RANK, 4.0)[0])
    _, inserted = insert_lora(merged, "stem", RANK, 4.0)
    assert [name.partition(".lora")[0] for name in inserted] == ["stem.0", "stem.0"]


def test_copies_of_an_adapted_backbone_are_apart(backbone):
    adapted, inserted = insert_lora(backbone, "all", RANK, 4.0)
    features = Features(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(SEED)))
    other = adapted.copy()
    randomise(other, inserted)
    with torch.no_grad():
        assert not torch.equal(other.run(features).values, adapted.run(features).values)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all", ["stem.0", "layer1.0", "layer10.0"]),
        ("auto", ["stem.0", "layer1.0", "layer10.0"]),
        ("layer1", ["layer1.0"]),
        ("layer10, stem", ["stem.0", "layer10.0"]),
        ("0", ["stem.0", "layer1.0", "layer10.0"]),
        ("layer1:0", ["layer1.0"]),
        ("layer1:0,layer1,layer10:0", ["layer1.0", "layer10.0"]),
    ],
)
def test_targets_by_stage_by_module_and_by_both(backbone, targets, expected):
    assert list(lora_targets(backbone, targets)) == expected
    _, inserted = insert_lora(backbone, targets, RANK, 4.0)
    assert sorted({name.partition(".lora_")[0] for name in inserted}) == sorted(expected)


class Attention(nn.Module):
    def __init__(self, names):
        super().__init__()
        for name in names:
            self.add_module(name, nn.Linear(4, 4))

    def forward(self, values):
        for child in self.children():
            values = child(values)
        return values


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("q_proj", "k_proj", "v_proj", "out_proj"), ["0.q_proj", "0.v_proj"]),
        (("query", "key", "value"), ["0.query", "0.value"]),
        (("qkv", "proj"), ["0.qkv"]),
        (("fc1", "fc2"), ["0.fc1", "0.fc2", "1"]),
    ],
)
def test_auto_means_queries_and_values_where_there_are_any(names, expected):
    backbone = single(nn.Sequential(Attention(names), nn.Linear(4, 4)))
    assert list(lora_targets(backbone, "auto")) == expected


def test_a_layer_whose_name_ends_like_another_is_left_alone():
    network = nn.Sequential()
    for name in ("layer1", "layer10"):
        network.add_module(name, nn.Linear(4, 4))
    network.add_module("deep", nn.Sequential())
    network.deep.add_module("layer1", nn.Linear(4, 4))
    paths = ("layer1", "layer10", "deep")
    stages = tuple(Stage(path, lambda network, features: features, (path,)) for path in paths)
    backbone = Backbone("tiny:names", network.eval(), stages, None, 4)
    _, inserted = insert_lora(backbone, "layer1", RANK, 4.0)
    assert set(inserted) == {"layer1.lora_A.default.weight", "layer1.lora_B.default.weight"}


@pytest.mark.parametrize("entry", ["layer2", "layer1:conv", "layer:0", "pool", "", ":", "stem:"])
def test_an_entry_without_a_match_lists_what_there_is(backbone, entry):
    before = names_of(backbone.network)
    with pytest.raises(SettingsError, match=re.escape(f"{entry!r} matches no layer of tiny:net")) as raised:
        insert_lora(backbone, f"layer1,{entry}", RANK, 4.0)
    assert "stages (stem, layer1, layer10), of modules (0)" in str(raised.value)
    assert names_of(backbone.network) == before


def test_long_lists_are_cut():
    backbone = single(nn.Sequential(*(nn.Linear(2, 2) for _ in range(25))))
    with pytest.raises(SettingsError, match=r"18, 19, … and 5 more\)"):
        lora_targets(backbone, "nothing")


def tied():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, second, nn.Linear(4, 4))


def twice():
    shared = nn.Linear(4, 4)
    return nn.Sequential(shared, shared, nn.Linear(4, 4))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 1)), ("1",)),
        (lambda: nn.Sequential(nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Linear(4, 4)), ("1",)),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3))), ()),
        (lambda: nn.Sequential(nn.MultiheadAttention(4, 2), nn.Embedding(3, 4), nn.LayerNorm(4)), ()),
        (lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8), nn.Linear(4, 4)), ("1",)),
        (lambda: nn.Linear(4, 4), ()),
        (tied, ("2",)),
        (twice, ("2",)),
    ],
    ids=["groups", "reflected", "weight norm", "attention", "encoder layer", "bare", "tied", "used twice"],
)
def test_layers_that_would_not_be_exact_are_left_out(network, expected):
    assert eligible_layers(network()) == expected


def test_a_network_without_layers_for_it_is_refused_by_name():
    backbone = single(nn.Sequential(nn.LayerNorm(4)))
    with pytest.raises(SettingsError, match="tiny:single has no layer for LoRA"):
        insert_lora(backbone, "auto", RANK, 4.0)


@pytest.mark.parametrize(("rank", "alpha"), [(0, 4.0), (-1, 4.0), (2, 0.0), (2, -1.0), (2, float("nan"))])
def test_ranks_and_alphas_that_cannot_work_are_refused(backbone, rank, alpha):
    with pytest.raises(SettingsError, match="rank" if rank < 1 else "alpha"):
        insert_lora(backbone, "all", rank, alpha)


def test_inserting_twice_and_merging_nothing_are_refused(backbone):
    with pytest.raises(SettingsError, match="tiny:net has no LoRA layers to merge"):
        merge_lora(backbone)
    adapted, _ = insert_lora(backbone, "all", RANK, 4.0)
    with pytest.raises(SettingsError, match="tiny:net already has LoRA layers"):
        insert_lora(adapted, "all", RANK, 4.0)
