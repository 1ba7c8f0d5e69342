"""Heads that checkpoints were fine-tuned with, compared with transformers' own forward."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graftwork.audio import load_backbone
from graftwork.core.errors import BackboneError
from graftwork.core.model.graft import make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features
from tests.audio.backbones.test_transformers_encoders import CONFIGS, extractor_of, read, sounds
from tests.audio.conftest import TINY

transformers = pytest.importorskip("transformers")

TDNN = {"tdnn_dim": [16, 16, 24], "tdnn_kernel": [5, 3, 1], "tdnn_dilation": [1, 2, 1], "xvector_output_dim": 12}
NETWORKS = {
    "wav2vec2": ("Wav2Vec2", {**TINY, "num_hidden_layers": 2}),
    "w2v-bert": CONFIGS["w2v-bert"],
    "whisper": CONFIGS["whisper"],
}
HEADS = [(name, kind, summed) for name in NETWORKS for kind in ("SequenceClassification", "XVector")
         for summed in (False, True) if not (name == "whisper" and kind == "XVector")]  # fmt: skip


@pytest.fixture(scope="module", params=HEADS, ids=[f"{name}, {kind}, {summed}" for name, kind, summed in HEADS])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Any, Path]:
    """transformers' own network with its head, random everywhere, and the folder that it is in."""
    name, kind, summed = request.param
    prefix, config = NETWORKS[name]
    head = "AudioClassification" if name == "whisper" else kind
    torch.manual_seed(0)
    shape = {**config, **TDNN, "use_weighted_layer_sum": summed, "classifier_proj_size": 20, "num_labels": 3}
    made = getattr(transformers, f"{prefix}For{head}")(getattr(transformers, f"{prefix}Config")(**shape)).eval()
    for path, parameter in made.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
        elif path.startswith(("projector", "tdnn")):
            nn.init.normal_(parameter, std=0.3)  # else the biases drown what the frames say
    folder = tmp_path_factory.mktemp("trained")
    made.save_pretrained(folder)
    extractor_of(name).save_pretrained(folder)
    return name, kind, made, folder


@torch.no_grad()
def test_the_vector_is_what_the_checkpoint_told_its_classes_from(
    trained: tuple[str, str, Any, Path], caplog: pytest.LogCaptureFixture
) -> None:
    name, kind, original, folder = trained
    with caplog.at_level(logging.WARNING):
        backbone = load_backbone(f"hf:{folder}", pooling="checkpoint")
    (said,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "classifier.bias, classifier.weight" in said
    (clip,) = sounds(9100)
    given = extractor_of(name)(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    if kind == "XVector":
        given.pop("attention_mask", None)  # with it, transformers forgets that the convolutions are dilated
    if name == "w2v-bert" and kind == "XVector":
        given["input_features"] = given["input_features"][:, : backbone.frames(clip)]
    found = backbone.run(read(backbone, [clip])).values
    assert found.shape == (1, backbone.feature_dim) == (1, 12 if kind == "XVector" else 20)
    if kind == "XVector":
        assert (found - original(**given).embeddings).abs().max() < 1e-5
    else:
        assert (original.classifier(found) - original(**given).logits).abs().max() < 1e-5


@torch.no_grad()
def test_a_sum_over_normalised_layers_takes_the_last_one_as_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers 5 takes it before the norm, 4 behind it."""
    shape = {**TINY, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "use_weighted_layer_sum": True}
    torch.manual_seed(0)
    original = transformers.Wav2Vec2ForSequenceClassification(transformers.Wav2Vec2Config(**shape)).eval()
    nn.init.normal_(original.layer_weights)
    original.save_pretrained(tmp_path)
    (clip,) = sounds(5000)
    found = original.wav2vec2(clip[None], output_hidden_states=True)
    layers = torch.stack([*found.hidden_states[:-1], found.last_hidden_state])
    summed = (layers * original.layer_weights.softmax(0)[:, None, None, None]).sum(0)
    with caplog.at_level(logging.WARNING):
        backbone = load_backbone(f"hf:{tmp_path}", pooling="checkpoint")
    assert any("behind its norm, as transformers 4" in record.getMessage() for record in caplog.records)
    vector = backbone.run(Features(clip[None])).values
    assert (vector - original.projector(summed).mean(1)).abs().max() < 1e-5


@torch.no_grad()
def test_the_vector_of_a_clip_is_the_same_in_a_batch_of_longer_ones(trained: tuple[str, str, Any, Path]) -> None:
    _, _, _, folder = trained
    backbone = load_backbone(f"hf:{folder}", pooling="checkpoint")
    clips = sounds(16000, 12200, 7777)
    together = backbone.run(read(backbone, clips)).values
    for row, clip in enumerate(clips):
        alone = backbone.run(read(backbone, [clip])).values[0]
        assert (together[row] - alone).abs().max() < 1e-5
    silent = torch.zeros(backbone.contract.shortest_samples)  # type: ignore[attr-defined]
    assert torch.isfinite(backbone.run(Features(silent[None])).values).all()


@pytest.mark.parametrize("strategy", ["partial:1", "lora"])
def test_the_head_is_a_stage_that_strategies_train(trained: tuple[str, str, Any, Path], strategy: str) -> None:
    _, _, _, folder = trained
    backbone = load_backbone(f"hf:{folder}", pooling="checkpoint")
    recipe = Recipe(lora_rank=2)
    graft = make_graft(backbone, parse_strategy(strategy), recipe, "single-label", ("a", "b"), 4).train()
    graft(read(backbone, sounds(9100, 5000))).square().sum().backward()
    heads = {name for name, value in graft.network.named_parameters()
             if name.startswith("checkpoint_head.") and value.grad is not None}  # fmt: skip
    assert ("checkpoint_head.projector.weight" in heads) == (strategy != "lora")
    assert backbone.build is not None
    assert (
        backbone.build().state_dict().keys()
        == load_backbone(f"hf:{folder}", pooling="checkpoint").network.state_dict().keys()
    )


def test_a_head_that_nobody_asked_for_is_named_once(
    trained: tuple[str, str, Any, Path], caplog: pytest.LogCaptureFixture
) -> None:
    _, _, _, folder = trained
    with caplog.at_level(logging.WARNING):
        load_backbone(f"hf:{folder}")
    (said,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "projector.weight" in said
    assert "--pooling checkpoint" in said


def test_a_checkpoint_without_a_head_says_so(tmp_path: Path) -> None:
    transformers.HubertModel(transformers.HubertConfig(**TINY)).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"needs a trained head \(projector\.weight\).* found nothing beside"):
        load_backbone(f"hf:{tmp_path}", pooling="checkpoint")


def test_an_x_vector_embeds_speakers_without_training(tmp_path: Path) -> None:
    from graftwork.audio import open_embedder

    torch.manual_seed(0)
    shape = {**TINY, **TDNN}
    transformers.HubertForSequenceClassification(transformers.HubertConfig(**shape)).save_pretrained(tmp_path)
    assert open_embedder(f"hf:{tmp_path}", pooling="checkpoint").backbone.feature_dim == 256
