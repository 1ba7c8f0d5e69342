"""What a checkpoint says of its input, compared with transformers' own extractor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from graftwork.audio import load_backbone
from graftwork.core.errors import BackboneError, UnreadableError
from tests.audio.conftest import CONFIGS, tone


def folder(place: Path, **files: object) -> str:
    (place / "config.json").write_text(json.dumps(CONFIGS["wavlm group norm"]))
    for name, content in files.items():
        (place / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return f"hf:{place}"


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_what_transformers_saves_is_read_as_it_reads_it(tmp_path: Path, *, normalised: bool, with_tokenizer: bool,
                                                        ) -> None:  # fmt: skip
    transformers = pytest.importorskip("transformers")
    made = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised, sampling_rate=8000)
    folder(tmp_path, vocab={"<pad>": 0, "<unk>": 1, "|": 2, "a": 3})
    if with_tokenizer:
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
        made = transformers.Wav2Vec2Processor(made, tokenizer)
    made.save_pretrained(tmp_path)
    own = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    contract = load_backbone(f"hf:{tmp_path}", weights="random").contract
    assert (contract.sample_rate_hz, contract.normalise == "clip") == (own.sampling_rate, own.do_normalize)
    samples = torch.from_numpy(tone(0.2) + 0.1)
    import soundfile

    soundfile.write(tmp_path / "a.wav", samples.numpy(), 8000, subtype="FLOAT")
    expected = own(samples.numpy(), sampling_rate=8000, return_tensors="pt").input_values[0]
    torch.testing.assert_close(contract.read(tmp_path / "a.wav"), expected, atol=1e-5, rtol=1e-5)


def test_of_two_files_that_differ_the_one_that_transformers_takes_is_used_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transformers = pytest.importorskip("transformers")
    kind = {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    source = folder(tmp_path, processor_config={"feature_extractor": kind | {"sampling_rate": 8000}},
                    preprocessor_config=kind | {"do_normalize": False})  # fmt: skip
    own = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    contract = load_backbone(source, weights="random").contract
    assert (contract.sample_rate_hz, contract.normalise) == (own.sampling_rate, "clip" if own.do_normalize else "none")
    assert "differ: the first is used" in caplog.text


def test_what_is_assumed_without_a_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_backbone(folder(tmp_path, processor_config={"processor_class": "x"}), weights="random")
    assert "16000 Hz and normalised clips are assumed" in caplog.text


@pytest.mark.parametrize("name", ["preprocessor_config", "processor_config"])
@pytest.mark.parametrize(("settings", "said"), [
    ({"sampling_rate": None}, "sampling_rate must be a whole number of Hz, found None"),
    ({"sampling_rate": "16000"}, "found '16000'"),
    ({"sampling_rate": 0.5}, "found 0.5"),
    ({"sampling_rate": 0}, "from 1000 to 384000 Hz, found 0"),
    ({"sampling_rate": True}, "found True"),
    ({"do_normalize": "false"}, "do_normalize must be true or false, found 'false'"),
    ({"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, "found 'SeamlessM4TFeatureExtractor'"),
])  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(name: str, settings: object, said: str, tmp_path: Path) -> None:
    content = {"feature_extractor": settings} if name == "processor_config" else settings
    with pytest.raises(BackboneError, match=rf"{name}\.json: .*{said}"):
        load_backbone(folder(tmp_path, **{name: content}), weights="random")


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]
)
def test_files_that_are_no_json_are_named(content: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"preprocessor_config\.json"):
        load_backbone(folder(tmp_path, preprocessor_config=content), weights="random")
    with pytest.raises(BackboneError, match=r"processor_config\.json: expected the settings"):
        load_backbone(folder(tmp_path, processor_config={"feature_extractor": 3}), weights="random")


@pytest.mark.parametrize("change", [
    {"hidden_size": "32"}, {"hidden_size": None}, {"hidden_size": 0}, {"num_hidden_layers": -1}, {"conv_dim": 3},
    {"conv_dim": ["a"] * 7}, {"conv_stride": []}, {"layer_norm_eps": "small"}, {"conv_bias": 1}, {"hidden_size": 33},
    {"num_attention_heads": 1.5}, {"attention_dropout": 2}, {"do_stable_layer_norm": "no"},
])  # fmt: skip
def test_values_that_no_network_can_have_are_named(change: dict[str, object], tmp_path: Path) -> None:
    source = folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["wavlm group norm"] | change))
    with pytest.raises(BackboneError, match=next(iter(change))):
        load_backbone(source, weights="random")


def test_a_cache_without_the_small_files_is_completed_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub's client is optional")
    folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    asked: list[object] = []

    class Entry:
        rfilename = "preprocessor_config.json"

    class Info:
        siblings = (Entry,)

    def answer(self: object, name: str, **options: object) -> type[Info]:
        asked.append(options["revision"])
        return Info

    def download(name: str, **options: object) -> str:
        if "allow_patterns" in options:
            assert options == {"revision": tmp_path.name, "allow_patterns": ["preprocessor_config.json"]}
            folder(tmp_path, preprocessor_config={"do_normalize": False})
        return str(tmp_path)

    def unreachable(self: object, *args: object, **options: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    assert load_backbone("hf:a/b", weights="random").contract.normalise == "clip"
    assert "Name or service not known" in caplog.text
    assert "normalised clips are assumed" in caplog.text
    monkeypatch.setattr(hub.HfApi, "model_info", answer)
    assert load_backbone("hf:a/b", weights="random").contract.normalise == "none"
    load_backbone("hf:a/b", weights="random")
    assert asked == [tmp_path.name]
