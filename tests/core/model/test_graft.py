"""What frozen means: no gradient, no drift, no chance, whatever mode is asked for."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from graftwork.core.errors import AdapterError
from graftwork.core.model.backbone import Backbone, Stage, named_tensors
from graftwork.core.model.graft import Graft
from graftwork.core.model.heads import Head
from graftwork.core.model.plan import make_plan
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.tasks import SINGLE_LABEL
from graftwork.core.types import Features


@pytest.fixture
def recipe(recipe):
    """Heads start at random: what is looked at here is what updates do."""
    return replace(recipe, head_start="random")


class StochasticDepth(nn.Module):
    def forward(self, values):
        return values * (torch.rand(len(values)) > 0.5).view(-1, *[1] * (values.dim() - 1)) if self.training else values


class TimeMask(nn.Module):
    """As SpecAugment inside speech models: while training, a random stretch is set to a learnt vector."""

    def __init__(self, width):
        super().__init__()
        self.masked = nn.Parameter(torch.ones(width))

    def forward(self, values):
        if not self.training:
            return values
        start = int(torch.randint(0, values.shape[1], ()))
        stretch = (torch.arange(values.shape[1]) - start).abs() < 3
        return torch.where(stretch[:, None], self.masked, values)


class FunctionalDropout(nn.Module):
    def forward(self, values):
        return functional.dropout(values, 0.5, self.training)


class OneAndTwo(nn.Module):
    """A frozen part, and a part that learns; the network itself drops values out too, without a module."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.second = nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4), nn.Dropout(0.5))

    def run_first(self, features):
        return Features(functional.dropout(self.first(features.values), 0.5, self.training))

    def run_second(self, features):
        return Features(self.second(features.values.flatten(1)))


@dataclass(frozen=True)
class Shaped:
    """Of the contract only what folding looks at."""

    shape: tuple[int, ...]

    def blank(self):
        return torch.zeros(self.shape)

    def collate(self, examples):
        return Features(torch.stack(list(examples)))


def grafted(first, example):
    torch.manual_seed(0)
    network = OneAndTwo(first)
    network.run_second(network.eval().run_first(Features(example)))
    stages = (Stage("first", OneAndTwo.run_first, ("first",)), Stage("second", OneAndTwo.run_second, ("second",)))
    backbone = Backbone("tiny:pair", network, stages, Shaped(example.shape[1:]), 4)
    head = Head(4, 2)
    return Graft(backbone, head, make_plan(parse_strategy("partial:1"), backbone, head), SINGLE_LABEL, ("a", "b"))


FROZEN = {
    "BatchNorm1d": (lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)), (5, 6)),
    "BatchNorm2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)), (5, 2, 6, 6)),
    "BatchNorm3d": (lambda: nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3)), (5, 2, 4, 4, 4)),
    "InstanceNorm2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.InstanceNorm2d(3, track_running_stats=True)),
                       (5, 2, 6, 6)),
    "Dropout": (lambda: nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), (5, 6)),
    "functional dropout": (lambda: nn.Sequential(nn.Linear(6, 6), FunctionalDropout()), (5, 6)),
    "masking inside the model": (lambda: nn.Sequential(nn.Linear(6, 6), TimeMask(6)), (5, 9, 6)),
    "stochastic depth": (lambda: nn.Sequential(nn.Linear(6, 6), StochasticDepth()), (5, 6)),
}  # fmt: skip


class Wrapper(nn.Module):
    """What training on several GPUs puts around a module; its `.train()` is torch's own."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *arguments):
        return self.module(*arguments)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("kind", FROZEN)
def test_frozen_layers_stay_still_in_training_mode(kind, wrapped):
    make, shape = FROZEN[kind]
    torch.manual_seed(1)
    example = torch.randn(*shape)
    graft = grafted(make(), example)
    before, start = graft.frozen_digests(), graft.backbone.run(Features(example), 0, 1).values
    learnt = {name: value.detach().clone() for name, value in graft.learnt().items()}
    model = Wrapper(graft) if wrapped else graft
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        model.train()
        assert torch.equal(graft.backbone.run(Features(example), 0, 1).values, start)
        model(Features(example)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert graft.frozen_digests() == before
    moved = {name for name, value in graft.learnt().items() if not torch.equal(value, learnt[name])}
    assert moved >= {"backbone.second.0.weight", "backbone.second.1.running_mean", "head.layers.1.weight"}


@pytest.fixture
def make_graft(backbone):
    def make(strategy):
        head = Head(8, 3)
        return Graft(backbone, head, make_plan(parse_strategy(strategy), backbone, head), SINGLE_LABEL, ("a", "b"))

    return make


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "partial:2", "full"])
def test_every_tensor_is_either_learnt_or_frozen(make_graft, strategy):
    graft = make_graft(strategy)
    learnt, frozen = graft.learnt(), graft.frozen()
    assert not learnt.keys() & frozen.keys()
    assert learnt.keys() | frozen.keys() == {name.replace("network.", "backbone.", 1) for name in named_tensors(graft)}
    for name, parameter in parameters(graft).items():
        assert parameter.requires_grad == (name in learnt)


def parameters(graft):
    return {name: tensor for name, tensor in graft.tensors().items() if isinstance(tensor, nn.Parameter)}


def test_training_stages_learn_their_running_statistics(make_graft):
    graft = make_graft("partial:1")
    buffers = {name for name in graft.learnt() if "running" in name or "tracked" in name}
    assert buffers == {f"backbone.layer10.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


def test_training_mode_reaches_the_training_stages_and_the_head_only(make_graft):
    graft = make_graft("partial:2").train()
    modes = {name: module.training for name, module in graft.named_modules() if name}
    assert {name for name, on in modes.items() if on} == {
        name for name in modes if name.startswith(("network.layer1", "head"))
    }
    assert not any(module.training for module in graft.eval().modules())
    assert make_graft("full").train().network.training


@pytest.mark.parametrize(("strategy", "frontier"), [("probe", 4), ("partial:1", 2), ("full", 0)])
def test_no_graph_is_kept_below_the_frontier(make_graft, strategy, frontier):
    graft = make_graft(strategy).train()
    frozen, seen = graft.frozen_part().network, []
    for stage, name in enumerate(("stem", "layer1", "layer10")):
        module = getattr(frozen if stage < frontier else graft.network, name)
        module.register_forward_hook(lambda m, i, out: seen.append(out.requires_grad))
    # Even an input that asks for a gradient, as some networks make it, opens no graph there.
    graft(Features(torch.randn(2, 1, 8, 8, requires_grad=True))).sum().backward()
    assert seen == [stage >= frontier for stage in range(3)]
    for name, parameter in parameters(graft).items():
        assert (parameter.grad is not None) == (name in graft.learnt())


@pytest.mark.parametrize("start", range(5))
def test_a_graft_goes_on_from_features_that_have_been_through_some_stages(make_graft, start):
    graft = make_graft("partial:1")
    values = Features(torch.randn(2, 1, 8, 8))
    torch.testing.assert_close(graft(graft.backbone.run(values, 0, start), start), graft(values), atol=1e-6, rtol=0)
    torch.testing.assert_close(graft(values), graft.head(graft.network(values.values)), atol=1e-6, rtol=0)


def test_what_was_learnt_is_put_back_exactly(make_graft, backbone):
    graft = make_graft("partial:1")
    kept = {name: value.detach().clone() for name, value in graft.learnt().items()}
    with torch.no_grad():
        for value in graft.learnt().values():
            value.add_(1)
    graft.restore(kept)
    assert all(torch.equal(value, kept[name]) for name, value in graft.learnt().items())


def test_tensors_that_do_not_belong_are_named(make_graft):
    graft = make_graft("probe")
    learnt = dict(graft.learnt())
    with pytest.raises(AdapterError, match=r"missing \['head.layers.1.bias'\], unexpected \['other'\]"):
        graft.restore({**{k: v for k, v in learnt.items() if k != "head.layers.1.bias"}, "other": torch.zeros(1)})
    with pytest.raises(AdapterError, match=r"head.layers.1.bias: expected shape \(3,\), found \(2,\)"):
        graft.restore(learnt | {"head.layers.1.bias": torch.zeros(2)})


def test_what_waits_in_a_phase_is_frozen_like_the_rest(make_backbone):
    backbone = make_backbone()
    head = Head(8, 2)
    graft = Graft(backbone, head, make_plan(parse_strategy("gradual"), backbone, head), SINGLE_LABEL, ("a", "b"))
    values = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second, *_ = graft.plan.phases
    graft.train()
    for phase, moving in ((first, ()), (second, ("layer10.",))):
        graft.enter(phase)
        before = {name: value.clone() for name, value in named_tensors(backbone.network).items()}
        assert torch.equal(graft(Features(values)), graft(Features(values))), "dropout of a waiting stage is off"
        graft(Features(values)).sum().backward()
        moved = {
            name for name, value in named_tensors(backbone.network).items() if not torch.equal(value, before[name])
        }
        assert all(name.startswith(moving) for name in moved) if moving else not moved
        assert bool(moved) == bool(moving)
        learning = {name for name, value in backbone.network.named_parameters() if value.grad is not None}
        assert learning == {
            name for name in dict(backbone.network.named_parameters()) if moving and name.startswith(moving)
        }
    assert graft.training
