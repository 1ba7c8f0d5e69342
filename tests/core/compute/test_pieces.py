"""Whatever is computed without gradients goes through a small device in pieces, and comes out the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.activation_cache.compiled_stages import FrozenStages
from graftwork.core.compute.pieces import in_pieces
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import TrainingError
from graftwork.core.inference.predict import predict_examples
from graftwork.core.training.finetuning import finetune
from graftwork.core.types import Features
from tests.core.conftest import on_a_small_device


def test_pieces_come_in_order_with_their_lengths():
    batch = Features(torch.arange(7.0)[:, None], torch.arange(7))

    def run(piece):
        if len(piece) > 2:
            raise torch.OutOfMemoryError
        return piece

    found = in_pieces(run, batch)
    assert [len(piece) for piece in found] == [1, 2, 2, 2]
    assert torch.equal(torch.cat([piece.values for piece in found]), batch.values)
    assert torch.cat([piece.lengths for piece in found]).tolist() == list(range(7))


def test_a_frozen_pass_is_the_same_in_pieces(backbone, examples, recipe):
    options = replace(recipe, views=0, batch_size=16)
    whole = run_frozen_stages(backbone, examples, 4, start_runtime(options), options)
    tried = []
    pieces = run_frozen_stages(on_a_small_device(backbone, 5, tried), examples, 4, start_runtime(options), options)
    torch.testing.assert_close(torch.stack(list(pieces.tensors)), torch.stack(list(whole.tensors)))
    assert max(tried) > 5


def test_predictions_are_the_same_in_pieces(backbone, examples, recipe):
    run = finetune(backbone, examples, strategy="full", recipe=recipe)
    expected = predict_examples(run.adapter, examples, device="cpu")
    tried = []
    run.adapter.graft.backbone = on_a_small_device(run.adapter.graft.backbone, 3, tried)
    np.testing.assert_allclose(predict_examples(run.adapter, examples, device="cpu"), expected, atol=1e-6)
    assert tried[0] == 16


def test_after_a_batch_that_did_not_fit_compiled_code_is_given_up(backbone, recipe):
    """It would fill smaller batches up to the size that does not fit."""
    frozen_stages = FrozenStages(backbone, 0, 2, start_runtime(recipe), "on", 16, 8)

    def out_of_memory(*maps):
        raise torch.OutOfMemoryError

    frozen_stages.compiled = out_of_memory
    batch = Features(torch.randn(8, 1, 8, 8))
    found = torch.cat([piece.values for piece in in_pieces(frozen_stages, batch)])
    assert (frozen_stages.compiled, frozen_stages.mode) == (None, "off")
    with torch.no_grad():
        torch.testing.assert_close(found, backbone.run(batch, 0, 2).values)


def test_an_example_that_does_not_fit_alone_says_what_to_do():
    def run(piece):
        raise torch.OutOfMemoryError

    with pytest.raises(TrainingError, match=r"one example does not fit in the device's memory: make it smaller"):
        in_pieces(run, Features(torch.zeros(3, 1)))
