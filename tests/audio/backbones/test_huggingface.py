"""Folders in Hugging Face's layout, compared with the models and files of transformers itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graftwork.audio import load_backbone
from graftwork.audio.backbones.checkpoint_head import load_frame_head
from graftwork.audio.backbones.huggingface import MODELS, architecture_from_config, config_of
from graftwork.core.errors import BackboneError, DownloadError, MissingPackageError, SettingsError, UnreadableError
from graftwork.core.types import Features
from tests.audio.conftest import CONFIGS, LARGE, relative_difference

SEED = 0


def transformers_model(config: dict[str, Any], kind: str = "Model") -> Any:
    """transformers' own network of this shape, with random weights everywhere, norms and biases included."""
    import transformers

    name = MODELS[config["model_type"]].removesuffix("Model")
    torch.manual_seed(SEED)
    settings = {key: value for key, value in config.items() if key != "model_type"}
    made = getattr(transformers, f"{name}{kind}")(getattr(transformers, f"{name}Config")(**settings))
    for parameter in made.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    return made.eval()


@torch.no_grad()
def test_a_folder_saved_by_transformers_gives_its_hidden_states(config: dict[str, Any], tmp_path: Path) -> None:
    original = transformers_model(config)
    original.save_pretrained(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    clip = torch.randn(1, 8000, generator=torch.Generator().manual_seed(SEED))
    expected = original(clip, output_hidden_states=True)
    assert relative_difference(backbone.run(Features(clip), stop=-1).values, expected.last_hidden_state) < 1e-5
    # Between the stages too: hidden_states[i] is what layer i gave.
    for stop in (3, 4):
        found = backbone.run(Features(clip), stop=stop).values
        assert relative_difference(found, expected.hidden_states[stop - 2]) < 1e-5


@pytest.mark.parametrize("family", ["unispeech", "unispeech-sat"])
@pytest.mark.parametrize("kind", ["Model", "ForPreTraining", "ForCTC"])
@torch.no_grad()
def test_unispeech_is_a_wav2vec2(family: str, kind: str, tmp_path: Path) -> None:
    shape = "layer norm" if family == "unispeech" else "group norm"
    original = transformers_model({**CONFIGS[f"wav2vec2 {shape}"], "model_type": family}, kind)
    original.save_pretrained(tmp_path)
    clip = torch.randn(1, 4000, generator=torch.Generator().manual_seed(SEED))
    expected = original.base_model(clip).last_hidden_state
    found = load_backbone(f"hf:{tmp_path}").run(Features(clip), stop=-1).values
    assert relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_weights_in_several_files_are_those_in_one(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    original = transformers_model(CONFIGS["hubert group norm"])
    original.save_pretrained(tmp_path / "one")
    original.save_pretrained(tmp_path / "several", max_shard_size="50KB")
    index = tmp_path / "several" / "model.safetensors.index.json"
    parts = sorted(index.parent.glob("model-*.safetensors"))
    assert len(parts) > 2
    if kind == "bin":  # as transformers 4 wrote it
        for part in parts:
            torch.save(load_file(part), part.with_name(part.name.replace("safetensors", "bin")))
            part.unlink()
        index.with_name("pytorch_model.bin.index.json").write_text(index.read_text().replace(".safetensors", ".bin"))
        index.unlink()
    assert load_backbone(f"hf:{tmp_path / 'several'}").digest() == load_backbone(f"hf:{tmp_path / 'one'}").digest()
    some = next((tmp_path / "several").glob("model-*"))
    some.unlink()
    with pytest.raises(UnreadableError, match=f"{some.name}: no such weights file"):
        load_backbone(f"hf:{tmp_path / 'several'}")


@pytest.fixture
def mms(tmp_path: Path) -> tuple[Any, Path]:
    """transformers' network with adapters for English, which are in its own file as well, and for German."""
    from safetensors.torch import save_file

    original = transformers_model({**CONFIGS["wav2vec2 layer norm"], "adapter_attn_dim": 4, "vocab_size": 5}, "ForCTC")
    original.save_pretrained(tmp_path)
    own = {name: value for name, value in original.state_dict().items() if "adapter_layer" in name or "lm_head" in name}
    generator = torch.Generator().manual_seed(3)
    german = {name: torch.randn(value.shape, generator=generator) for name, value in own.items()}
    german |= {"lm_head.weight": torch.randn(7, 32), "lm_head.bias": torch.randn(7)}  # of more characters
    save_file(own, tmp_path / "adapter.eng.safetensors")
    save_file(german, tmp_path / "adapter.deu.safetensors")
    vocabularies = {"eng": {"<pad>": 0, "a": 1, "b": 2, "c": 3, "|": 4},
                    "deu": {"<pad>": 0, "a": 1, "b": 2, "c": 3, "|": 4, "ä": 5, "ß": 6}}  # fmt: skip
    (tmp_path / "vocab.json").write_text(json.dumps(vocabularies))
    return original, tmp_path


@torch.no_grad()
def test_the_language_of_mms_is_the_one_that_is_named(mms: tuple[Any, Path]) -> None:
    _, folder = mms
    import transformers

    original = transformers.Wav2Vec2ForCTC.from_pretrained(folder)
    clip = torch.randn(1, 4000, generator=torch.Generator().manual_seed(SEED))
    for language in ("eng", "deu"):
        original.load_adapter(language)
        expected = original.wav2vec2(clip).last_hidden_state
        backbone = load_backbone(f"hf:{folder}", language=language)
        assert relative_difference(backbone.run(Features(clip), stop=-1).values, expected) < 1e-5
        assert backbone.options["language"] == language
        head = load_frame_head(f"hf:{folder}", language=language)
        assert torch.equal(head.weight[0], original.lm_head.weight[0])
        assert head.classes[1:4] == ("a", "b", "c")
        assert ("ß" in head.classes) == (language == "deu")
    with pytest.raises(BackboneError, match=r"name one with --language \(here: deu, eng\)"):
        load_backbone(f"hf:{folder}")
    with pytest.raises(BackboneError, match=r"expected adapter\.fra\.safetensors .* found deu, eng"):
        load_backbone(f"hf:{folder}", language="fra")
    for file in folder.glob("adapter.*"):
        file.unlink()
    load_backbone(f"hf:{folder}")  # what was fine-tuned has its own adapters alone


def test_a_language_for_a_network_without_any_is_refused(tmp_path: Path) -> None:
    transformers_model(CONFIGS["hubert group norm"]).save_pretrained(tmp_path)
    for id in (f"hf:{tmp_path}", "torchaudio:WAV2VEC2_BASE", "tiny:wav2vec2"):
        with pytest.raises(SettingsError, match="has no adapters for single languages"):
            load_backbone(id, language="eng")


@pytest.mark.parametrize("kind", ["ForCTC", "ForSequenceClassification", "ForXVector"])
@pytest.mark.parametrize("name", ["wav2vec2 group norm", "wavlm layer norm"])
def test_heads_of_larger_models_are_left_out(name: str, kind: str, tmp_path: Path) -> None:
    original = transformers_model(CONFIGS[name], kind)
    original.save_pretrained(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    clip = torch.randn(1, 4000, generator=torch.Generator().manual_seed(SEED))
    expected = original.base_model(clip).last_hidden_state
    assert relative_difference(backbone.run(Features(clip), stop=-1).values, expected) < 1e-5


def test_pretraining_parts_are_left_out(tmp_path: Path) -> None:
    original = transformers_model({**CONFIGS["wav2vec2 layer norm"], "num_codevectors_per_group": 8}, "ForPreTraining")
    assert any(name.startswith("quantizer.") for name in original.state_dict())
    original.save_pretrained(tmp_path)
    load_backbone(f"hf:{tmp_path}")


def test_old_names_of_weight_norm_and_pytorch_bin_are_read(tmp_path: Path) -> None:
    original = transformers_model(CONFIGS["hubert group norm"])
    original.save_pretrained(tmp_path)
    new = load_backbone(f"hf:{tmp_path}").digest()
    (tmp_path / "model.safetensors").unlink()
    old_names = {
        f"hubert.{name}".replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in original.state_dict().items()
    }
    assert any(name.endswith("weight_g") for name in old_names)
    torch.save(old_names, tmp_path / "pytorch_model.bin")
    assert load_backbone(f"hf:{tmp_path}").digest() == new


def test_half_precision_checkpoints_become_single(tmp_path: Path) -> None:
    transformers_model(CONFIGS["wavlm group norm"]).half().save_pretrained(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    assert {value.dtype for value in backbone.network.state_dict().values()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in backbone.network.parameters())


@pytest.mark.parametrize("change", [{"feat_proj_layer_norm": False}, {"layer_norm_eps": 0.5}])
@torch.no_grad()
def test_rarer_settings_as_in_distilhubert(change: dict[str, Any], tmp_path: Path) -> None:
    original = transformers_model({**CONFIGS["hubert group norm"], **change})
    original.save_pretrained(tmp_path)
    clip = torch.randn(1, 4000, generator=torch.Generator().manual_seed(SEED))
    found = load_backbone(f"hf:{tmp_path}").run(Features(clip), stop=-1).values
    assert relative_difference(found, original(clip).last_hidden_state) < 1e-5


@pytest.mark.parametrize(
    ("settings", "normalise", "rate_hz"),
    [
        (None, "clip", 16000),
        ({"do_normalize": False, "sampling_rate": 8000}, "none", 8000),
        ({"do_normalize": True}, "clip", 16000),
    ],
)
def test_the_preprocessor_decides_rate_and_normalisation(
    settings: dict[str, Any] | None, normalise: str, rate_hz: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["wav2vec2 group norm"]))
    if settings is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    contract = load_backbone(f"hf:{tmp_path}", weights="random").contract.to_json()
    assert contract["normalise"] == normalise
    assert contract["sample_rate_hz"] == rate_hz


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "whisper"}, "found 'whisper'"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        ({"add_adapter": True}, "add_adapter"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"feat_extract_norm": "batch"}, "found 'batch'"),
        ({"conv_kernel": [10, 3]}, "7, 2, 7"),
    ],
)
def test_what_no_stage_can_compute_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        architecture_from_config({**LARGE, "model_type": "hubert", **change}, "hf:x")


def test_a_config_survives_the_way_there_and_back(config: dict[str, Any]) -> None:
    architecture = architecture_from_config(config, "x")
    assert architecture_from_config(config_of(architecture), "x") == architecture


def test_the_defaults_are_those_of_transformers() -> None:
    import transformers

    for family, name in MODELS.items():
        complete = getattr(transformers, f"{name.removesuffix('Model')}Config")().to_dict()
        bare = architecture_from_config({"model_type": family}, "x")
        assert architecture_from_config(complete, "x") == bare


def test_a_folder_without_config_or_weights_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BackboneError, match=r"no config\.json, found notes\.txt"):
        load_backbone(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["wav2vec2 group norm"]))
    with pytest.raises(BackboneError, match=r"model\.safetensors or pytorch_model\.bin, found neither"):
        load_backbone(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(UnreadableError, match=r"model-1\.safetensors: no such weights file"):
        load_backbone(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')
    with pytest.raises(UnreadableError, match=r"outside of its folder"):
        load_backbone(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UnreadableError, match=r"config\.json: not a readable JSON"):
        load_backbone(f"hf:{tmp_path}")


def test_a_folder_that_does_not_exist_is_not_looked_for_on_the_hub() -> None:
    for name in ("./none", "/none/none", "a/b/c"):
        with pytest.raises(BackboneError, match="no such folder"):
            load_backbone(f"hf:{name}")


def test_without_a_network_the_message_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub's client is optional")

    def unreachable(*args: object, **options: object) -> None:
        raise hub.errors.HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr(hub, "snapshot_download", raise_not_cached)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(DownloadError, match=r"config\.json .*huggingface\.co/a/b .*Name or service .*hf:FOLDER"):
        load_backbone("hf:a/b")


def raise_not_cached(*args: object, **options: object) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    raise LocalEntryNotFoundError("not cached")


def test_a_cached_checkpoint_is_used_without_asking_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub's client is optional")
    transformers_model(CONFIGS["wav2vec2 group norm"]).save_pretrained(tmp_path)
    asked = []

    def cached(name: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append((name, revision, local_files_only))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", cached)
    load_backbone("hf:a/b")
    load_backbone("hf:a/b@v1")
    assert asked == [("a/b", None, True), ("a/b", "v1", True)]


def test_without_the_hub_client_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match="pip install huggingface_hub"):
        load_backbone("hf:a/b")
