"""Two keys agree only where the outputs do: every part that an output depends on changes the key."""

import sys
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

from graftwork.core.activation_cache import key as prefix_key
from graftwork.core.activation_cache.key import UnknownIdentityError, frozen_stage_keys
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import GraftworkError
from graftwork.core.model.backbone import Backbone, Stage, named_tensors, single_stage
from graftwork.core.model.layer_mix import insert_layer_mix
from graftwork.core.model.lora import insert_lora
from graftwork.core.types import Features
from graftwork.core.versions import version_of
from tests.core.conftest import ArrayContract, shift, tiny_backbone


class Heads(nn.Module):
    """What it computes depends on a number that is neither a tensor nor in its representation."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads
        self.linear = nn.Linear(8, 8)

    def forward(self, values):
        return self.linear(values) * self.heads


def run_all(network, features):
    return Features(network(features.values))


def key(recipe, backbone, stop=1, augment=None):
    return frozen_stage_keys(backbone, stop, start_runtime(recipe), recipe, augment)[-1]


def heads(number, wrap=False):
    torch.manual_seed(0)
    network = nn.Sequential(Heads(number)) if wrap else Heads(number)
    return Backbone("t:heads", network.eval(), single_stage(run_all, named_tensors(network)), ArrayContract(), 8)


def test_the_same_twice_is_the_same(recipe):
    assert key(recipe, tiny_backbone(), 2) == key(recipe, tiny_backbone(), 2)
    assert len({key(recipe, tiny_backbone(), stop) for stop in (1, 2, 3, 4)}) == 4


@pytest.mark.parametrize("wrap", [False, True])
def test_a_plain_attribute_counts_also_where_stages_own_tensors(recipe, wrap):
    assert key(recipe, heads(2, wrap)) == key(recipe, heads(2, wrap)) != key(recipe, heads(4, wrap))


def test_a_module_without_tensors_counts_although_no_stage_owns_it(recipe):
    def made(slope):
        torch.manual_seed(0)
        network = nn.ModuleDict({"linear": nn.Linear(8, 8), "act": nn.LeakyReLU(slope)})
        return Backbone("t:act", network, (Stage("all", run_all, ("linear",)),), ArrayContract(), 8)

    assert key(recipe, made(0.1)) != key(recipe, made(0.2))


def test_what_happens_above_does_not_count(recipe):
    """So that strategies share what lies below."""
    plain = tiny_backbone()
    adapted, _ = insert_lora(tiny_backbone(), "layer10", 2, 4.0)
    assert key(recipe, adapted, 2) == key(recipe, plain, 2)
    assert key(recipe, adapted, 3) != key(recipe, plain, 3)
    changed = tiny_backbone()
    changed.network.layer10[1].eps = 0.5
    assert key(recipe, changed, 2) == key(recipe, plain, 2)


@pytest.mark.parametrize("field", ["cache_dtype", "precision"])
def test_how_it_is_computed_and_stored_counts(recipe, field):
    other = replace(recipe, **{field: {"cache_dtype": "float16", "precision": "bf16"}[field]})
    assert key(other, tiny_backbone()) != key(recipe, tiny_backbone())


def test_the_kind_of_device_its_rounding_and_the_libraries_count(recipe, monkeypatch):
    """What a GPU made is not served to a CPU, nor what rounded products made to a run without them."""
    runtime = start_runtime(recipe)
    gpu = replace(runtime, device=torch.device("cuda"))
    keys = [frozen_stage_keys(tiny_backbone(), 1, one, recipe, None)[-1] for one in (runtime, gpu)]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32)
    keys.append(frozen_stage_keys(tiny_backbone(), 1, gpu, recipe, None)[-1])
    assert frozen_stage_keys(tiny_backbone(), 1, runtime, recipe, None)[-1] == keys[0]
    monkeypatch.setattr(
        "graftwork.core.activation_cache.key.version_of", lambda name: "0.1" if name == "nibabel" else version_of(name)
    )
    keys.append(frozen_stage_keys(tiny_backbone(), 1, gpu, recipe, None)[-1])
    monkeypatch.setattr(prefix_key, "PASS_VERSION", prefix_key.PASS_VERSION + 1)
    keys.append(frozen_stage_keys(tiny_backbone(), 1, gpu, recipe, None)[-1])
    assert len(set(keys)) == 5


def test_rounded_products_on_a_cpu_count(recipe):
    """With "medium", oneDNN may multiply in bf16."""
    plain = key(recipe, tiny_backbone())
    torch.set_float32_matmul_precision("medium")
    try:
        assert key(recipe, tiny_backbone()) != plain
    finally:
        torch.set_float32_matmul_precision("highest")
    assert key(recipe, tiny_backbone()) == plain


def test_code_of_others_counts_by_its_file_and_ours_by_its_version(tmp_path, monkeypatch, recipe):
    def made(text):
        file = tmp_path / f"{text}.py"
        file.write_text(text)
        prefix_key._digest_of_file.cache_clear()
        monkeypatch.setattr(sys.modules[__name__], "__file__", str(file))
        return key(recipe, heads(2))

    assert made("one") != made("other")
    assert prefix_key._sources("graftwork.core.model.backbone") == []


def brighten(by, example, generator):
    return example + by


@dataclass(frozen=True)
class Brighten:
    by: float

    def __call__(self, example, generator):
        return example + self.by


class Opaque:
    def __init__(self, by):
        self.by = by

    def __call__(self, example, generator):
        return example + self.by


def bound(by):
    return lambda example, generator: (lambda: example + by)()


@pytest.mark.parametrize("make", [lambda by: partial(brighten, by), Brighten, bound, lambda by: Brighten(by).__call__])
def test_random_changes_of_other_strength_have_other_keys(recipe, make):
    assert key(recipe, tiny_backbone(), 1, make(1.0)) == key(recipe, tiny_backbone(), 1, make(1.0))
    assert key(recipe, tiny_backbone(), 1, make(1.0)) != key(recipe, tiny_backbone(), 1, make(2.0))


def test_the_seed_counts_for_random_changes_alone(recipe):
    other = replace(recipe, seed=7)
    assert key(other, tiny_backbone()) == key(recipe, tiny_backbone())
    assert key(other, tiny_backbone(), 1, shift) != key(recipe, tiny_backbone(), 1, shift)


def test_an_object_that_cannot_be_told_from_another_is_refused(recipe):
    with pytest.raises(UnknownIdentityError, match="Opaque"):
        key(recipe, tiny_backbone(), 1, Opaque(1.0))
    assert not issubclass(UnknownIdentityError, GraftworkError)  # the store says it in its own words


def test_tensors_that_a_stage_has_bound_count(recipe):
    def made(value):
        weight = torch.full((3,), value)
        stem = replace(
            tiny_backbone().stages[0], run=lambda network, f: Features(network.stem(f.values) * weight.sum())
        )
        return replace(tiny_backbone(), stages=(stem, *tiny_backbone().stages[1:]))

    assert key(recipe, made(1.0)) == key(recipe, made(1.0)) != key(recipe, made(2.0))


def test_mixed_stages_are_distinguished_from_plain_ones(recipe):
    def layers():
        torch.manual_seed(0)
        network = nn.ModuleDict({name: nn.Linear(8, 8) for name in "abc"})
        stages = [Stage(name, partial(run_one, name), (name,)) for name in "abc"]
        return Backbone("t:layers", network, (*stages, Stage("pool", run_mean)), ArrayContract(), 8)

    mixed, _ = insert_layer_mix(layers(), 2, Features(torch.zeros(1, 5, 8)))
    assert key(recipe, mixed, 1) == key(recipe, layers(), 1)
    assert key(recipe, mixed, 2) != key(recipe, layers(), 2)


def run_one(name, network, features):
    return Features(network[name](features.values))


def run_mean(network, features):
    return Features(features.values.mean(1))
