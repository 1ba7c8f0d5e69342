"""What leaves as ONNX gives in onnxruntime what it gives here, clips of unequal length in one batch included."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graftwork.audio import load_backbone
from graftwork.audio.export.onnx import Predictor, export_onnx
from graftwork.audio.recognition.recogniser import greedy_decoder, transcribe
from graftwork.core import Examples, Manifest, Recipe, finetune
from graftwork.core.errors import SettingsError
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features
from tests.audio.backbones.test_transformers_encoders import CONFIGS as TRANSFORMERS
from tests.audio.backbones.test_transformers_encoders import extractor_of
from tests.audio.conftest import CONFIGS, with_lively_norms

RECIPE = Recipe(epochs=1, batch_size=4, device="cpu", workers=0, augment="off", compile="off")
LENGTHS = (16000, 9100, 12345, 5000, 8000, 7777)


@pytest.fixture(scope="module")
def waveforms() -> list[torch.Tensor]:
    """As they are recorded, none normalised."""
    generator = torch.Generator().manual_seed(2)
    return [0.3 * torch.randn(length, generator=generator) + 0.1 for length in LENGTHS]


def trained(backbone: Backbone, waveforms: list[torch.Tensor], folder: Path, task: str, strategy: str) -> Adapter:
    from graftwork.audio.preprocessing.contract import normalise_clip

    contract: Any = backbone.contract
    clips = tuple(normalise_clip(one) if contract.normalise == "clip" else one for one in waveforms)
    paths = []
    for row in range(len(clips)):
        (folder / f"{row}.bin").write_bytes(bytes([row]))
        paths.append(str(folder / f"{row}.bin"))
    rows = len(paths)
    classes, values = {
        "single-label": (("a", "b"), np.arange(rows) % 2),
        "ordinal": (("a", "b", "c"), np.arange(rows) % 3),
        "regression": ((), np.arange(rows) * 9.0),
        "multi-label": (("a", "b"), np.stack([np.arange(rows) % 2, np.arange(rows) // 3], 1)),
        "text": (("", "a", "b"), np.tile([1, 2, 1], (rows, 1))),
    }[task]
    manifest = Manifest("own", tuple(paths), task, "label", classes, values)
    seconds = tuple(len(clip) / 16000 for clip in clips)
    examples = Examples(manifest, contract, clips, seconds=seconds)
    return finetune(backbone, examples, strategy=strategy, recipe=RECIPE).adapter


def session_of(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def given(waveforms: list[torch.Tensor], rubbish: float = 0.0) -> dict[str, np.ndarray]:
    """What the file takes; rubbish: the value behind each clip."""
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True, padding_value=rubbish)
    return {"waveform": padded.numpy(), "lengths": np.array([len(one) for one in waveforms], dtype=np.int64)}


def expected_of(adapter: Adapter, waveforms: list[torch.Tensor], folder: Path) -> np.ndarray:
    """What `predict` gives for them."""
    from graftwork.audio.preprocessing.contract import normalise_clip

    contract: Any = adapter.backbone.contract
    clips = tuple(normalise_clip(one) if contract.normalise == "clip" else one for one in waveforms)
    paths = tuple(str(folder / f"{row}.bin") for row in range(len(clips)))
    values = np.zeros((len(paths), 2)) if adapter.task.name == "multi-label" else np.zeros(len(paths), dtype=int)
    manifest = Manifest("own", paths, adapter.task.name, "label", adapter.classes, values)
    seconds = tuple(len(clip) / 16000 for clip in clips)
    return predict_examples(adapter, Examples(manifest, contract, clips, seconds=seconds))


SHORT = {"num_hidden_layers": 1, "conv_dim": [16] * 3, "conv_kernel": [10, 3, 3], "conv_stride": [10, 4, 4]}
"""Fewer modules are traced sooner."""

LONG = [
    ("wavlm group norm", "single-label", "lora"),
    ("tiny", "single-label", "lora"),
    ("wav2vec2 group norm", "regression", "probe"),
    ("wav2vec2 layer norm", "ordinal", "partial:1"),
    ("hubert group norm", "multi-label", "layers:2"),
    ("wavlm layer norm", "single-label", "full"),
]


@pytest.mark.long
@pytest.mark.slow(reason="torch.export traces whole networks")
@pytest.mark.parametrize(("network", "task", "strategy"), LONG)
def test_onnxruntime_gives_the_predictions_of_clips_of_any_length(
    network: str, task: str, strategy: str, waveforms: list[torch.Tensor], tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    backbone = (
        load_backbone("tiny:wav2vec2")
        if network == "tiny"
        else with_lively_norms({**CONFIGS[network], **SHORT, "num_hidden_layers": 2 if strategy == "layers:2" else 1})
    )
    adapter = trained(backbone, waveforms, tmp_path, task, strategy)
    difference = export_onnx(adapter, tmp_path / "own.onnx")
    assert difference < 1e-4
    session = session_of(tmp_path / "own.onnx")
    expected = expected_of(adapter, waveforms, tmp_path).reshape(len(waveforms), -1)
    scale = float(np.abs(expected).max()) if task == "regression" else 1.0
    for rows in ([0], [3, 1], [0, 1, 2, 3, 4, 5]):
        for rubbish in (0.0, 5.0):
            (found,) = session.run(None, given([waveforms[row] for row in rows], rubbish))
            assert np.abs(found.reshape(len(rows), -1) - expected[rows]).max() < 1e-4 * scale
    about = json.loads(session.get_modelmeta().custom_metadata_map["graftwork"])
    assert about["classes"] == list(adapter.classes)
    assert about["input"] == adapter.backbone.contract.to_json()
    assert about["largest_difference"] == difference
    assert not any("lora" in name for name in Predictor(adapter).state_dict())
    assert sys.prefix.encode() not in (tmp_path / "own.onnx").read_bytes()


@pytest.mark.slow(reason="torch.export traces whole networks")
def test_onnxruntime_gives_the_logits_of_what_is_said(waveforms: list[torch.Tensor], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    backbone = with_lively_norms({**CONFIGS["hubert layer norm"], **SHORT}, pooling="none")
    adapter = trained(backbone, waveforms, tmp_path, "text", "full")
    assert export_onnx(adapter, tmp_path / "own.onnx") < 1e-4
    logits, frames = session_of(tmp_path / "own.onnx").run(None, given(waveforms, 5.0))
    decoder = greedy_decoder(adapter.classes)
    texts = decoder(Features(torch.from_numpy(logits), torch.from_numpy(frames)))
    from graftwork.audio.preprocessing.contract import normalise_clip

    assert texts == transcribe(adapter.graft, [normalise_clip(one) for one in waveforms], decoder, RECIPE)
    clips = [normalise_clip(one) for one in waveforms]
    with torch.no_grad():
        own = adapter.graft.outputs(adapter.backbone.contract.collate(clips))
    for row, length in enumerate(frames.tolist()):
        assert np.abs(logits[row, :length] - own.values[row, :length].numpy()).max() < 1e-4
    assert frames.tolist() == [backbone.frames(one) for one in waveforms]  # type: ignore[misc]


@pytest.mark.long
@pytest.mark.slow(reason="torch.export traces whole networks")
def test_onnxruntime_reads_all_stages_where_the_adapter_does(waveforms: list[torch.Tensor], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    backbone = with_lively_norms(CONFIGS["wav2vec2 group norm"])
    contract: Any = backbone.contract
    (tmp_path / "a").mkdir()
    manifest = Manifest("own", tuple(str(tmp_path / "a" / str(row)) for row in range(6)), "single-label", "label",
                        ("a", "b"), np.arange(6) % 2)  # fmt: skip
    for path in manifest.paths:
        Path(path).write_bytes(path.encode())
    examples = Examples(manifest, contract, tuple(waveforms), seconds=tuple(len(one) / 16000 for one in waveforms))
    adapter = finetune(backbone, examples, strategy="probe", recipe=replace(RECIPE, features="all")).adapter
    assert export_onnx(adapter, tmp_path / "own.onnx") < 1e-4


@pytest.mark.long
@pytest.mark.slow(reason="torch.export traces whole networks")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_encoders_of_transformers_take_waveforms_as_well(
    name: str, waveforms: list[torch.Tensor], tmp_path: Path
) -> None:
    """What makes spectra of them is in the file."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("onnxscript")
    kind, config = TRANSFORMERS[name]
    torch.manual_seed(0)
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**config))
    network.save_pretrained(tmp_path / "saved")
    extractor_of(name).save_pretrained(tmp_path / "saved")
    adapter = trained(load_backbone(f"hf:{tmp_path / 'saved'}"), waveforms, tmp_path, "regression", "probe")
    assert export_onnx(adapter, tmp_path / "own.onnx") < 1e-4
    expected = expected_of(adapter, waveforms, tmp_path).reshape(-1)
    (found,) = session_of(tmp_path / "own.onnx").run(None, given(waveforms, 5.0))
    assert np.abs(found.reshape(-1) - expected).max() < 1e-4 * np.abs(expected).max()


def test_neighbours_cannot_be_exported(waveforms: list[torch.Tensor], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    adapter = trained(with_lively_norms(CONFIGS["hubert group norm"]), waveforms, tmp_path, "single-label", "knn")
    with pytest.raises(SettingsError, match="knn: looks up its training examples"):
        export_onnx(adapter, tmp_path / "own.onnx")
