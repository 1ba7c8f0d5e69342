"""BatchNorm folded into convolutions: the same output, and only where that is so."""

import pytest
import torch
from torch import nn

from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.model.backbone import Backbone, Stage, single_stage
from graftwork.core.model.folding import folded
from graftwork.core.model.graft import make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.types import Features
from tests.core.conftest import ArrayContract, tiny_backbone


def norms(backbone):
    return [name for name, module in backbone.network.named_modules() if isinstance(module, nn.BatchNorm2d)]


def whole(network):
    """The network as a backbone of one stage, its statistics and weights away from their defaults."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    names = [*dict(network.named_parameters()), *dict(network.named_buffers())]
    stages = single_stage(lambda network, features: Features(network(features.values)), names)
    return Backbone("tiny:one", network.eval(), stages, ArrayContract(), 4)


def images():
    return Features(torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("stop", range(5))
def test_the_first_stages_give_the_same_without_their_norms(stop):
    backbone = tiny_backbone()
    found = folded(backbone, stop)
    with torch.no_grad():
        torch.testing.assert_close(found.run(images(), 0, stop).values, backbone.run(images(), 0, stop).values,
                                   atol=1e-6, rtol=1e-5)  # fmt: skip
    assert norms(found) == ["stem.1", "layer1.1", "layer10.1"][min(stop, 3) :]
    assert len(norms(backbone)) == 3


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_kind_of_convolution_and_norm_is_folded(bias, affine, groups):
    backbone = whole(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, 2, groups=groups, bias=bias),
                                   nn.BatchNorm2d(6, eps=1e-2, affine=affine)))  # fmt: skip
    found = folded(backbone, 1)
    assert not norms(found)
    with torch.no_grad():
        torch.testing.assert_close(found.run(images()).values, backbone.run(images()).values, atol=1e-5, rtol=1e-5)


def test_what_stands_inside_a_norm_stays():
    class NormAndActivation(nn.BatchNorm2d):
        def __init__(self, channels):
            super().__init__(channels)
            self.act = nn.ReLU()

        def forward(self, values):
            return self.act(super().forward(values))

    backbone = whole(nn.Sequential(nn.Conv2d(1, 4, 3), NormAndActivation(4)))
    found = folded(backbone, 1)
    assert not norms(found)
    with torch.no_grad():
        torch.testing.assert_close(found.run(images()).values, backbone.run(images()).values, atol=1e-5, rtol=1e-5)


class Around(nn.Module):
    """The convolution's output is used beside the norm."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, values):
        found = self.convolution(values)
        return found + self.norm(found)


class Standardised(nn.Conv2d):
    def forward(self, values):
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(values, weight, self.bias)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.first, self.second = nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.BatchNorm2d(1)

    def forward(self, values):
        return self.second(self.convolution(self.first(self.convolution(values))))


@pytest.mark.parametrize(
    "network",
    [
        Around(),
        Twice(),
        nn.Sequential(Standardised(1, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 4, 3)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)),
    ],
    ids=["around", "twice", "standardised", "before", "activated", "batch statistics", "weight norm", "group norm"],
)
def test_where_folding_would_change_something_nothing_is_folded(network):
    backbone = whole(network)
    assert folded(backbone, 1) is backbone


def test_a_norm_that_somebody_watches_is_left_alone():
    backbone = whole(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    seen = []
    backbone.network[1].register_forward_hook(lambda *_: seen.append(1))
    found = folded(backbone, 1)
    assert norms(found) == ["1"]
    seen.clear()
    found.run(images())
    assert seen == [1]


def test_a_network_that_writes_into_its_buffers_does_not_write_into_the_one_given():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, values):
            self.calls += 1
            return values

    backbone = whole(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), Counting()))
    folded(backbone, 1).run(images())
    assert backbone.network[2].calls == 0


def test_stored_outputs_and_those_that_a_graft_computes_are_the_same_bits(backbone, examples, recipe):
    graft = make_graft(backbone, parse_strategy("partial:1"), recipe, "single-label", ("a", "b"), 60).eval()
    stop = graft.plan.frontier
    stored = run_frozen_stages(backbone, examples, stop, start_runtime(recipe), recipe)
    images = Features(torch.stack([examples.tensor(row) for row in range(60)]))
    kept = Features(torch.stack([stored.tensor(row) for row in range(60)]))
    with torch.no_grad():
        assert torch.equal(graft(images), graft(kept, stop))
        assert not torch.equal(backbone.run(images, 0, stop).values, kept.values)  # which were folded, then


def test_a_graft_that_has_moved_folds_anew(backbone, recipe):
    graft = make_graft(backbone, parse_strategy("probe"), recipe, "single-label", ("a", "b"), 60).eval()
    values = Features(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        graft(values)
        found = graft.double()(Features(values.values.double()))
    assert found.dtype == torch.float64


def test_in_mixed_precision_as_many_norms_are_folded(backbone):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not norms(folded(backbone, 4))


@pytest.mark.gpu
def test_a_network_on_a_gpu_is_folded_there():
    backbone = tiny_backbone()
    backbone.network.cuda()
    found, values = folded(backbone, 4), images().to("cuda")
    assert not norms(found)
    with torch.no_grad():
        torch.testing.assert_close(found.run(values).values, backbone.run(values).values, atol=1e-3, rtol=1e-2)


def test_noise_does_not_move_the_generator_that_users_seed():
    backbone = tiny_backbone()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert folded(backbone, 4) is not backbone
    assert torch.equal(torch.rand(2), expected)


def test_stages_above_share_their_weights_with_the_network_given():
    backbone = whole(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)))
    first = Stage("first", lambda network, features: Features(network[1](network[0](features.values))), ("0", "1"))
    second = Stage("second", lambda network, features: Features(network[2](features.values)), ("2",))
    parts = Backbone("tiny:two", backbone.network, (first, second), ArrayContract(), 4)
    found = folded(parts, 1)
    assert found.network[2].weight.data_ptr() == backbone.network[2].weight.data_ptr()
    assert not norms(found)
