"""The network that lies in the package: these weights, loaded as every other, and of use on speakers it never heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from graftwork import core
from graftwork.audio import (
    all_pairs,
    embed,
    evaluate_scores,
    list_backbones,
    load_adapter,
    load_backbone,
    read_manifest,
)
from graftwork.audio.backbones.packaged import ENTRIES, FOLDER
from graftwork.audio.verification.verifier import Embedder, cosine_scores, unit
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.examples import read_examples
from graftwork.core.errors import BackboneError
from graftwork.core.recipe import Recipe
from tests.audio.conftest import tone

DIGEST = "e98cd1d811af12450d599d1e0e57e98f64ca13185a5aa53531a325887a9e0cf3"


def test_the_weights_are_the_ones_the_card_speaks_of() -> None:
    backbone = load_backbone("tiny:wav2vec2")
    assert backbone.digest() == DIGEST
    assert {value.dtype for value in backbone.network.parameters()} == {torch.float32}
    assert [entry for entry in list_backbones("tiny") if entry.id == "tiny:wav2vec2"] == list(ENTRIES)
    assert ENTRIES[0].parameters == sum(value.numel() for value in backbone.network.parameters())


def test_the_package_holds_halved_weights_a_card_and_the_log() -> None:
    folder = FOLDER / "wav2vec2"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    assert "CC BY 4.0" in (folder / "README.md").read_text(encoding="utf-8")
    assert (folder / "history.csv").read_text(encoding="utf-8").startswith("update,learning_rate,train_loss")


def test_it_is_loaded_like_any_other_folder() -> None:
    tiny, same = load_backbone("tiny:wav2vec2", pooling="mean+std"), load_backbone(f"hf:{FOLDER / 'wav2vec2'}")
    assert tiny.digest() == same.digest()
    assert [stage.name for stage in tiny.stages] == [stage.name for stage in same.stages]
    assert tiny.stages[-2].name == "layer4"
    assert load_backbone("tiny:wav2vec2", weights="random").digest() != tiny.digest()
    with pytest.raises(BackboneError, match=r"tiny:hubert is unknown; in the package: tiny:wav2vec2"):
        load_backbone("tiny:hubert")
    with pytest.raises(BackboneError, match=r"'wav2vec2'; nearest: tiny:wav2vec2"):
        load_backbone("wav2vec2")


def test_an_adapter_finds_it_again(tmp_path: Path, write_sound: Callable[..., Path]) -> None:
    paths = [write_sound(f"{row}.wav", tone(0.3, hz=200 + 300 * (row % 2) + row)) for row in range(8)]
    table = tmp_path / "clips.csv"
    table.write_text("path,pitch\n" + "".join(f"{path},{'low' if row % 2 == 0 else 'high'}\n"
                                              for row, path in enumerate(paths)))  # fmt: skip
    clips = read_manifest(table, target="pitch", split=None)
    run = core.finetune(load_backbone("tiny:wav2vec2"), clips, strategy="probe")
    run.adapter.save(tmp_path / "adapter")
    again = load_adapter(tmp_path / "adapter")
    examples = read_examples(clips, again.backbone.contract)
    np.testing.assert_array_equal(core.predict_examples(again, examples), core.predict_examples(run.adapter, examples))
    assert (core.predict_examples(again, examples).argmax(1) == clips.values).all()


def test_it_tells_speakers_apart_that_it_never_heard(real_data: Path) -> None:
    table = read_manifest(real_data / "librispeech10" / "manifest.csv", target="speaker", split=None)
    chosen = [row for row in range(len(table)) if row % 10 < 4]
    clips = table.subset(chosen)
    trials = all_pairs("pairs", clips.paths, [str(name) for name in clips.targets])
    rates = {}
    for weights in (None, "random"):
        seed_everything(0)
        backbone = load_backbone("tiny:wav2vec2", weights=weights, pooling="mean+std", max_seconds=4)
        examples = read_examples(clips, backbone.contract)
        vectors = embed(Embedder(backbone, lambda values: values, "", ""), examples, Recipe())
        scores = cosine_scores(unit(vectors, vectors.mean(axis=0)), trials.first, trials.second)
        rates[weights] = evaluate_scores(scores, trials.targets, trials.sides()).eer.value
    assert rates[None] < 0.6 * rates["random"]
    assert rates[None] < 0.12
