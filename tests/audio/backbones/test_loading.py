from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import graftwork.core
from graftwork.audio import list_backbones, load_backbone, new_backbone, save_backbone
from graftwork.audio.backbones import bundles
from graftwork.audio.backbones.architecture import empty_network
from graftwork.audio.backbones.huggingface import architecture_from_config
from graftwork.audio.backbones.wav2vec2 import frame_stages
from graftwork.core.errors import BackboneError, DownloadError, OutputError, SettingsError, UnreadableError
from graftwork.core.model.backbone import Backbone, suited
from graftwork.core.tasks import find_task
from graftwork.core.types import Features
from tests.audio.conftest import CONFIGS, with_lively_norms


@pytest.fixture
def small_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchaudio's bundles, as small as the tests' networks; names and everything else as they are."""
    original = bundles.architecture_of

    def small(name: str) -> tuple[Any, bool]:
        import dataclasses

        architecture, normalised = original(name)
        tiny = {
            "hidden": 32,
            "layers": 2,
            "heads": 4,
            "feed_forward": 48,
            "cnn_layers": tuple((16, kernel, stride) for _, kernel, stride in architecture.cnn_layers),
        }
        return dataclasses.replace(architecture, **tiny), normalised

    monkeypatch.setattr(bundles, "architecture_of", small)


SAME = {
    "extractor_conv_bias": "cnn_bias", "encoder_embed_dim": "hidden", "encoder_num_layers": "layers",
    "encoder_num_heads": "heads", "encoder_ff_interm_features": "feed_forward",
    "encoder_pos_conv_kernel": "position_kernel", "encoder_pos_conv_groups": "position_groups",
    "encoder_layer_norm_first": "norm_first", "encoder_projection_dropout": "projection_dropout",
    "encoder_attention_dropout": "attention_dropout", "encoder_ff_interm_dropout": "activation_dropout",
    "encoder_dropout": "hidden_dropout", "encoder_layer_drop": "layer_drop",
}  # fmt: skip


@pytest.mark.parametrize("name", ["wav2vec2 group norm", "hubert layer norm"])
@torch.no_grad()
def test_the_network_is_the_one_of_torchaudio(name: str) -> None:
    """Tensor by tensor, drawn from the same seed, and in what it computes."""
    from torchaudio.models import wav2vec2_model

    architecture = architecture_from_config(CONFIGS[name], "x")
    arguments = {theirs: getattr(architecture, own) for theirs, own in SAME.items()}
    torch.manual_seed(3)
    own = empty_network(architecture)
    torch.manual_seed(3)
    theirs = wav2vec2_model(extractor_mode=f"{architecture.cnn_norm}_norm", aux_num_out=None,
                            extractor_conv_layer_config=list(architecture.cnn_layers), **arguments).eval()  # fmt: skip
    assert list(own.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in own.state_dict().items())
    stages = frame_stages(architecture.layers, norm_first=architecture.norm_first)
    clip = torch.randn(1, 4000)
    found = Features(clip)
    for stage in stages:
        found = stage.run(own, found)
    assert torch.equal(found.values, theirs(clip)[0])


def private_parts(source: str) -> list[str]:
    """What a module uses of torchaudio beside its public names: inner modules, and names that begin with _."""
    tree = ast.parse(source)
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    if not any(module.split(".")[0] == "torchaudio" for module in modules):
        return []
    public = ("torchaudio", "torchaudio.functional", "torchaudio.transforms", "torchaudio.compliance.kaldi")
    found = [module for module in modules if module.split(".")[0] == "torchaudio" and module not in public]
    found += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr)
              and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))]  # fmt: skip
    found += [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
              and (node.module or "").startswith("torchaudio") for alias in node.names
              if alias.name.startswith("_") or alias.name in ("models", "pipelines")]  # fmt: skip
    return found


def test_nothing_private_of_torchaudio_is_used() -> None:
    """So that another release of torch is one line of constraints.txt: no models of it either, only functions."""
    used = "import torchaudio\nx = torchaudio.pipelines.HUBERT_BASE._params"
    assert private_parts(used) == ["_params"]
    assert private_parts("from torchaudio.models.wav2vec2 import components") == ["torchaudio.models.wav2vec2"]
    root = Path(graftwork.core.__file__).parent.parent
    sources = [*(root / "audio").rglob("*.py"), *(root / "core").rglob("*.py")]
    assert len(sources) > 100
    for file in sources:
        assert private_parts(file.read_text(encoding="utf-8")) == [], file


def test_the_table_says_of_every_bundle_what_torchaudio_says() -> None:
    import torchaudio

    for name, bundle in bundles.BUNDLES.items():
        assert getattr(torchaudio.pipelines, name)._path == bundle.file
        architecture, normalised = bundles.architecture_of(name)
        assert normalised == getattr(torchaudio.pipelines, name)._normalize_waveform
        # What the arguments of torchaudio's functions say of it.
        said = getattr(torchaudio.pipelines, name)._params
        assert (getattr(torchaudio.pipelines, name)._model_type == "WavLM") == (architecture.family == "wavlm")
        assert said["extractor_mode"] == f"{architecture.cnn_norm}_norm"
        assert [tuple(one) for one in said["extractor_conv_layer_config"]] == list(architecture.cnn_layers)
        for theirs, own in SAME.items():
            assert said[theirs] == getattr(architecture, own), (name, own)
        with torch.device("meta"):
            network = empty_network(architecture)
        assert sum(parameter.numel() for parameter in network.parameters()) == bundle.parameters


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.parametrize(
    ("name", "normalise"),
    [
        ("WAV2VEC2_BASE", "none"),
        ("HUBERT_BASE", "none"),
        ("WAVLM_LARGE", "clip"),
        ("WAV2VEC2_XLSR_300M", "clip"),
    ],
)
def test_bundles_normalise_clips_where_torchaudio_does(name: str, normalise: str) -> None:
    backbone = load_backbone(f"torchaudio:{name}", weights="random", max_seconds=2)
    assert backbone.contract.to_json() == {
        "sample_rate_hz": 16000,
        "normalise": normalise,
        "shortest_samples": 400,
        "max_seconds": 2,
        "window_seconds": None,
        "window_overlap": 0.5,
        "trim_silence": "off",
    }
    assert backbone.weights == "random"


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.parametrize("wrapper", ["", "model."])
@pytest.mark.parametrize("name", ["WAV2VEC2_ASR_BASE_960H", "WAVLM_BASE"])
@torch.no_grad()
def test_a_file_with_the_names_of_torchaudio_fits(name: str, wrapper: str, tmp_path: Path) -> None:
    import torchaudio

    architecture, _ = bundles.architecture_of(name)
    bundle = getattr(torchaudio.pipelines, name)
    sizes = {
        "extractor_conv_layer_config": list(architecture.cnn_layers),
        "encoder_embed_dim": 32,
        "encoder_num_layers": 2,
        "encoder_num_heads": 4,
        "encoder_ff_interm_features": 48,
    }
    is_wavlm = bundle._model_type == "WavLM"
    factory = torchaudio.models.wavlm_model if is_wavlm else torchaudio.models.wav2vec2_model
    torch.manual_seed(0)
    original = factory(**{**bundle._params, **sizes}).eval()
    file = tmp_path / "weights.pth"
    torch.save({wrapper + name: value for name, value in original.state_dict().items()}, file)
    backbone = load_backbone(f"torchaudio:{name}", weights=file)
    assert backbone.weights == str(file)
    clip = torch.randn(1, 4000)
    original.aux = None
    found = backbone.run(Features(clip), stop=-1).values
    torch.testing.assert_close(found, original(clip)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small_bundles")
def test_a_file_with_the_names_of_hugging_face_fits_a_bundle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = load_backbone("torchaudio:WAVLM_BASE", weights="random")
    save_backbone(backbone, tmp_path / "saved")
    again = load_backbone("torchaudio:WAVLM_BASE", weights=tmp_path / "saved" / "model.safetensors")
    assert again.digest() == backbone.digest()


@pytest.mark.usefixtures("small_bundles")
def test_weights_that_do_not_fit_are_listed_by_tensor(tmp_path: Path) -> None:
    tensors = dict(load_backbone("torchaudio:HUBERT_BASE", weights="random").network.state_dict())
    missing = "encoder.transformer.layers.1.final_layer_norm.bias"
    del tensors[missing]
    wrong = "encoder.feature_projection.projection.weight"
    tensors[wrong] = torch.zeros(3, 16)
    tensors["encoder.transformer.layers.0.attention.q_proj.lora_A.weight"] = torch.zeros(1)
    file = tmp_path / "weights.safetensors"
    save_file(tensors, file)
    with pytest.raises(BackboneError) as caught:
        load_backbone("torchaudio:HUBERT_BASE", weights=file)
    message = str(caught.value)
    assert "3 tensors differ" in message
    assert f"{missing}: expected shape (32,), found no such tensor" in message
    assert f"{wrong}: expected shape (32, 16), found (3, 16)" in message
    assert "lora_A.weight: not part of this network" in message
    assert str(file) in message


def test_a_long_list_of_differences_is_cut(tmp_path: Path, small_bundles: None) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(BackboneError, match=r"… and \d+ more$"):
        load_backbone("torchaudio:HUBERT_BASE", weights=file)


def write_text(file: Path) -> None:
    file.write_text("not weights")


def write_pickled_module(file: Path) -> None:
    torch.save(nn.Linear(2, 2), file)


def write_list(file: Path) -> None:
    torch.save([1, 2], file)


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.safetensors", write_text, "not a complete safetensors file"),
        ("a.pt", write_text, "not a file of weights alone"),
        ("a.pt", write_pickled_module, "not a file of weights alone"),
        ("a.bin", write_list, "expected a state_dict"),
    ],
)
def test_files_that_hold_no_weights_are_refused(
    name: str, write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(UnreadableError, match=message):
        load_backbone("torchaudio:HUBERT_BASE", weights=tmp_path / name)


def test_a_missing_weights_file_is_named(tmp_path: Path, small_bundles: None) -> None:
    with pytest.raises(UnreadableError, match="no such weights file"):
        load_backbone("torchaudio:HUBERT_BASE", weights=tmp_path / "none.pt")


def test_without_a_network_the_message_names_file_source_and_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(*args: object, **options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(DownloadError) as caught:
        load_backbone("torchaudio:WAVLM_BASE_PLUS")
    for words in (
        "wavlm_base_plus.pth",
        "https://download.pytorch.org/torchaudio/models/wavlm_base_plus.pth",
        "Name or service not known",
        str(tmp_path / "checkpoints" / "wavlm_base_plus.pth"),
        "--weights FILE",
    ):
        assert words in str(caught.value)


def test_a_broken_download_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    class Answer:
        headers = {"Content-Length": "10"}  # noqa: RUF012

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *error: object) -> None:
            return None

    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **options: Answer())
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, file: Path(file).write_bytes(b"1234"))
    with pytest.raises(DownloadError, match="after 4 of 10 bytes"):
        bundles.fetch("WAVLM_BASE")
    assert list((tmp_path / "checkpoints").iterdir()) == []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, file: Path(file).write_bytes(b"1" * 10))
    assert bundles.fetch("WAVLM_BASE").read_bytes() == b"1" * 10


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("torchaudio:WAVLM_BSE", "torchaudio:WAVLM_BASE"),
        ("hubert_base", "torchaudio:HUBERT_BASE"),
        ("torchaudio:wav2vec2_base", "torchaudio:WAV2VEC2_BASE"),
        ("timm:resnet18", "torchaudio:NAME or hf:ID_OR_FOLDER"),
        ("hf:", "hf:ID_OR_FOLDER"),
    ],
)
def test_an_unknown_id_gives_the_nearest(id: str, words: str) -> None:
    with pytest.raises(BackboneError, match=re.escape(words)):
        load_backbone(id)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"one of mean, mean\+std, attentive, checkpoint, none, found 'max'"):
        new_backbone(CONFIGS["wav2vec2 group norm"], pooling="max")


def test_the_options_load_the_same_again(tmp_path: Path) -> None:
    save_backbone(new_backbone(CONFIGS["wav2vec2 group norm"]), tmp_path / "saved")
    first = load_backbone(f"hf:{tmp_path / 'saved'}", max_seconds=1.5, pooling="mean+std")
    second = load_backbone(first.id, weights=first.weights, **first.options)
    assert second.contract == first.contract
    assert second.feature_dim == first.feature_dim == 64


def test_listing_finds_by_part_of_the_id_and_knows_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "wavlm_base.pth").touch()
    rows = {row.id: row for row in list_backbones("wavlm")}
    assert list(rows) == ["torchaudio:WAVLM_BASE", "torchaudio:WAVLM_BASE_PLUS", "torchaudio:WAVLM_LARGE"]
    assert [row.here for row in rows.values()] == ["yes", "download", "download"]
    assert len(list_backbones("")) == len(bundles.BUNDLES) + 4


@torch.no_grad()
def test_a_saved_backbone_loads_again_exactly_here_and_in_transformers(
    config: dict[str, Any], tmp_path: Path, clips: list[torch.Tensor]
) -> None:
    import transformers

    backbone = with_lively_norms({**config, "do_normalize": False, "sampling_rate": 8000}, max_seconds=3)
    id = save_backbone(backbone, tmp_path / "deep" / "saved")
    again = load_backbone(id, max_seconds=3)
    assert again.digest() == backbone.digest()
    assert again.contract == backbone.contract
    batch = backbone.contract.collate(clips)
    assert torch.equal(again.run(batch).values, backbone.run(batch).values)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["saved"]

    with safe_open(tmp_path / "deep" / "saved" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # transformers 4 refuses a file without
    other = transformers.AutoModel.from_pretrained(tmp_path / "deep" / "saved").eval()
    expected = other(clips[0][None]).last_hidden_state
    torch.testing.assert_close(backbone.run(Features(clips[0][None]), stop=-1).values, expected, rtol=1e-3, atol=1e-4)


def test_saving_does_not_overwrite(base_backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match="not an empty folder"):
        save_backbone(base_backbone, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_network_that_was_changed_is_not_saved(base_backbone: Backbone, tmp_path: Path) -> None:
    base_backbone.network.encoder.transformer.layers[0].attention.q_proj = nn.Sequential(nn.Linear(32, 32))
    with pytest.raises(BackboneError, match=r"4 tensors differ .*q_proj"):
        save_backbone(base_backbone, tmp_path / "saved")


def test_new_backbones_follow_the_seed() -> None:
    def made(seed: int) -> str:
        torch.manual_seed(seed)
        return new_backbone(CONFIGS["wavlm group norm"]).digest()

    assert made(0) == made(0) != made(1)


@pytest.mark.parametrize("kernel", [10, 7])
def test_the_frames_promised_for_a_clip_are_those_that_come_out(kernel: int) -> None:
    made = new_backbone({**CONFIGS["hubert group norm"], "conv_kernel": [kernel, 3, 3, 3, 3, 2, 2]})
    assert made.frames is not None
    for samples in (made.contract.blank().numel() // 4, 719, 720, 721, 1234, 8000):
        clip = torch.randn(samples)
        assert made.frames(clip) == made.run(made.contract.collate([clip]), 0, 1).values.shape[1]


def test_clips_are_pooled_to_mean_and_deviation_unless_something_else_is_asked_for():
    short = load_backbone("tiny:wav2vec2", pooling="mean")
    backbone = load_backbone("tiny:wav2vec2")
    assert (backbone.options["pooling"], short.options["pooling"]) == ("mean+std", "mean")
    assert (backbone.feature_dim, short.feature_dim) == (384, 192)
    clip = backbone.contract.collate([torch.randn(8000, generator=torch.Generator().manual_seed(0))])
    with torch.inference_mode():
        assert torch.equal(backbone.run(clip).values[:, :192], short.run(clip).values)
        # An adapter names the pooling that it was trained with.
        assert torch.equal(load_backbone("tiny:wav2vec2", **short.options).run(clip).values, short.run(clip).values)


def test_texts_get_frames_of_the_same_network_unless_a_pooling_was_asked_for() -> None:
    backbone = load_backbone("tiny:wav2vec2")
    framed = suited(backbone, find_task("text"))
    assert (framed.stages[-1].name, framed.contract.longer) == ("frames", "refuse")
    assert framed.network is backbone.network
    assert framed.options["pooling"] == "none"
    assert suited(backbone, find_task("regression")) is backbone
    asked = load_backbone("tiny:wav2vec2", pooling="mean")
    assert suited(asked, find_task("text")) is asked
