"""Batches that would not fit in a CPU's memory: what they need is found before, and they go in pieces."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from graftwork.core.training import batch_memory
from graftwork.core.training.finetuning import finetune


@pytest.fixture
def with_free(monkeypatch):
    def set_free(count):
        monkeypatch.setattr(batch_memory, "free_bytes", lambda device: count)

    return set_free


def weights(run):
    return {name: value.detach() for name, value in run.adapter.graft.learnt().items()}


def test_what_a_gradient_needs_is_counted_once_and_without_weights():
    """A linear layer keeps its input, a ReLU its output, which the next layer keeps as well."""
    network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    rows = torch.randn(3, 10)
    assert batch_memory.saved_bytes(lambda: network(rows), network) == 4 * (3 * 10 + 3 * 20)


def test_a_batch_that_would_not_fit_goes_in_pieces_with_the_same_weights(make_backbone, examples, recipe, with_free,
                                                                        caplog):  # fmt: skip
    backbone, options = make_backbone(norm=False, dropout=0.0), replace(recipe, batch_size=16, epochs=2)
    whole = weights(finetune(backbone, examples, strategy="full", recipe=options))
    with_free(5_000)
    pieces = weights(finetune(backbone, examples, strategy="full", recipe=options))
    assert caplog.text.count("they go through the network in") == 1
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, atol=1e-5, rtol=0)


def test_to_measure_leaves_no_trace(backbone, examples, recipe, with_free, caplog):
    """A BatchNorm that learns and dropout included."""
    before = weights(finetune(backbone, examples, strategy="full", recipe=recipe))
    with_free(1_000_000)  # measured, and found to fit
    after = weights(finetune(backbone, examples, strategy="full", recipe=recipe))
    assert "go through the network in" not in caplog.text
    assert all(torch.equal(value, after[name]) for name, value in before.items())
