"""The margin turns the angle of the right class, and training with it tells classes apart."""

import math
from dataclasses import replace

import pytest
import torch

from graftwork.core.errors import SettingsError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.model.heads import Head
from graftwork.core.model.margin import RISING, margin_at, with_margin
from graftwork.core.training.finetuning import finetune


def test_only_the_right_class_is_turned_and_by_the_margin():
    angles = torch.tensor([[0.3, 1.2, 2.0], [2.9, 0.1, 1.0]], dtype=torch.float64)
    targets = torch.tensor([1, 2])
    found = with_margin(30 * angles.cos(), targets, 0.2, 30.0)
    expected = 30 * angles.cos()
    expected[0, 1], expected[1, 2] = 30 * math.cos(1.4), 30 * math.cos(1.2)
    torch.testing.assert_close(found, expected)


def test_beyond_a_half_turn_the_output_goes_on_falling():
    angles = torch.linspace(2.5, 3.14, 50, dtype=torch.float64)
    found = with_margin(angles.cos()[:, None], torch.zeros(50, dtype=torch.long), 0.4, 1.0)[:, 0]
    assert bool((found.diff() < 0).all())


def test_gradients_stay_finite_where_a_vector_lies_on_its_class():
    outputs = torch.tensor([[30.0, -30.0]], requires_grad=True)
    with_margin(outputs, torch.tensor([0]), 0.2, 30.0).sum().backward()
    assert bool(outputs.grad.isfinite().all())


def test_the_margin_grows_and_stays():
    assert margin_at(0.0, 0.2) == 0.0
    assert margin_at(RISING / 2, 0.2) == pytest.approx(0.1)
    assert margin_at(0.9, 0.2) == 0.2


def test_outputs_of_the_head_are_scaled_cosines_of_its_embedding():
    torch.manual_seed(0)
    head = Head(5, 3, "aam", margin_scale=12.0).eval()
    vectors = torch.randn(4, 5)
    directions = head.layers[2].weight
    expected = 12 * torch.cosine_similarity(head.embed(vectors)[:, None], directions[None], dim=2)
    torch.testing.assert_close(head(vectors), expected)


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "lora"])
def test_an_embedding_learns_and_comes_back_from_its_folder(make_backbone, examples, recipe, strategy, tmp_path):
    options = replace(recipe, head="aam", epochs=12, learning_rate=0.01)
    backbone = make_backbone(dropout=0.0)
    run = finetune(backbone, examples, strategy=strategy, recipe=options)
    losses = [row["train_loss"] for row in run.history]
    assert losses[-1] < losses[3]  # once the margin has grown
    run.adapter.save(tmp_path / "run")
    again = load_adapter(tmp_path / "run", lambda id, **options: make_backbone(dropout=0.0))
    vectors = torch.randn(3, backbone.feature_dim)
    torch.testing.assert_close(again.graft.head.embed(vectors), run.adapter.graft.head.embed(vectors))


def test_what_is_not_a_single_label_is_refused(make_backbone, examples, recipe):
    numbers = replace(examples.manifest, task="regression", classes=(), values=torch.rand(60).numpy())
    with pytest.raises(SettingsError, match=r"head aam .* needs single labels, the task is regression"):
        finetune(make_backbone(), replace(examples, manifest=numbers), strategy="full",
                 recipe=replace(recipe, head="aam"))  # fmt: skip
