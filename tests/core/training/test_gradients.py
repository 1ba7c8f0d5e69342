"""Batches that do not fit in the device's memory: the same gradients in pieces."""

import weakref
from dataclasses import replace

import pytest
import torch

from graftwork.core.errors import TrainingError
from graftwork.core.training.finetuning import finetune
from tests.core.conftest import on_a_small_device


def learnt(run):
    return {name: value.detach() for name, value in run.adapter.graft.learnt().items()}


def equal_bytes(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def close(one, other, atol):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_batches_that_do_not_fit_the_device_go_through_it_in_pieces(make_backbone, examples, recipe, caplog):
    backbone, tried = make_backbone(norm=False, dropout=0.0), []
    options = replace(recipe, batch_size=16, epochs=2)
    rows = examples.subset(range(48))
    whole = finetune(backbone, rows, strategy="full", recipe=options)
    pieces = finetune(on_a_small_device(backbone, 5, tried, learning=True), rows, strategy="full", recipe=options)
    close(learnt(whole), learnt(pieces), 1e-6)
    assert [row["train_loss"] for row in whole.history] == pytest.approx([row["train_loss"] for row in pieces.history])
    assert tried == [16, 8, *[4] * 4 * 2 * 3]
    assert caplog.text.count("they go through the network in") == 2
    assert "in 4 pieces from now on" in caplog.text


def test_no_graph_of_a_failed_attempt_takes_the_memory_of_the_next(make_backbone, examples, recipe, monkeypatch):
    """The memory that a backward pass ran out of is free again when the halves are tried."""
    graphs, attempts = [], []

    def backward(runtime, loss):
        assert all(graph() is None for graph in graphs)
        attempts.append(1)
        if len(attempts) == 1:
            graphs.append(weakref.ref(loss))
            raise torch.OutOfMemoryError("CUDA out of memory")
        loss.backward()

    monkeypatch.setattr("graftwork.core.compute.runtime.Runtime.backward", backward)
    finetune(make_backbone(norm=False), examples, strategy="full", recipe=replace(recipe, epochs=1))
    assert len(attempts) > 2


def test_an_example_that_does_not_fit_the_device_ends_training_with_advice(make_backbone, examples, recipe):
    backbone = on_a_small_device(make_backbone(norm=False, dropout=0.0), 0, [], learning=True)
    with pytest.raises(TrainingError, match=r"does not fit in the device's memory: lower --batch-size"):
        finetune(backbone, examples, strategy="full", recipe=recipe)
