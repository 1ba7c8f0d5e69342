"""When weights are divided among processes: asked for, or where they do not fit. `test_sharded_processes` does it."""

from dataclasses import replace

import pytest
import torch

from graftwork.core.errors import SettingsError
from graftwork.core.model import sharding
from graftwork.core.model.graft import make_graft
from graftwork.core.model.strategies import parse_strategy
from tests.core.conftest import tiny_backbone


@pytest.fixture
def runtime(monkeypatch):
    """Two processes that agree, each with 1 kB free."""
    monkeypatch.setattr(sharding, "agreement", lambda processes: tuple)
    monkeypatch.setattr(sharding, "free_bytes", lambda device: 1000)
    return type("Two", (), {"processes": 2, "device": torch.device("cpu"), "precision": "fp32"})


@pytest.fixture
def graft_of(recipe):
    def make(strategy):
        return make_graft(tiny_backbone(), parse_strategy(strategy), recipe, "single-label", ("a", "b"), 60)

    return make


def test_what_does_not_fit_is_divided_and_that_is_said(graft_of, recipe, runtime, monkeypatch, caplog):
    graft = graft_of("full")
    assert sharding.wants_shards(graft, recipe, runtime)
    assert "are free for a process: they are divided among 2 processes" in caplog.text
    monkeypatch.setattr(sharding, "free_bytes", lambda device: sharding.training_bytes(graft))
    assert not sharding.wants_shards(graft, recipe, runtime)
    assert sharding.wants_shards(graft, replace(recipe, fsdp="on"), runtime)
    assert not sharding.wants_shards(graft, replace(recipe, fsdp="off"), runtime)


def test_training_takes_four_times_what_learns_and_once_what_is_frozen(graft_of):
    """Weight, gradient and two moments, four bytes each; running statistics and counters are buffers."""
    graft = graft_of("norm")
    learns = sum(value.numel() for value in graft.parameters() if value.requires_grad)
    frozen = sum(value.numel() for value in graft.parameters() if not value.requires_grad)
    buffers = sum(value.nbytes for value in graft.buffers())
    assert learns > 0 < frozen
    assert sharding.training_bytes(graft) == 16 * learns + 4 * frozen + buffers


def test_what_cannot_be_divided_is_begun_whole_with_a_warning(graft_of, recipe, runtime, caplog):
    assert not sharding.wants_shards(graft_of("partial:1"), recipe, runtime)
    assert "are not divided (--fsdp): partial:1 does not learn in all stages at once" in caplog.text


@pytest.mark.parametrize(("change", "precision", "said"), [
    ({"compile": "on"}, "fp32", "--compile on"), ({}, "fp16", "--precision fp16"),
])  # fmt: skip
def test_what_is_asked_for_and_cannot_be_is_refused(graft_of, recipe, runtime, change, precision, said):
    runtime.precision = precision
    with pytest.raises(SettingsError, match=f"--fsdp on: {said}"):
        sharding.wants_shards(graft_of("full"), replace(recipe, fsdp="on", **change), runtime)


def test_one_process_has_nobody_to_divide_among(graft_of, recipe, runtime):
    runtime.processes = 1
    assert not sharding.wants_shards(graft_of("full"), recipe, runtime)
    with pytest.raises(SettingsError, match="begin it with torchrun"):
        sharding.wants_shards(graft_of("full"), replace(recipe, fsdp="on"), runtime)
