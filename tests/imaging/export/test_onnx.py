"""What leaves as ONNX gives in onnxruntime what it gives here."""

import json
import sys

import numpy as np
import pytest
import torch

from graftwork.core import Manifest, read_examples
from graftwork.core.errors import SettingsError
from graftwork.core.inference.predict import predict_examples
from graftwork.imaging.export.onnx import Predictor, export_onnx
from tests.imaging.export.conftest import trained


@pytest.mark.slow(reason="torch.export traces whole networks")
@pytest.mark.parametrize("task", ["single-label", "regression"])
def test_onnxruntime_gives_the_predictions_for_batches_of_any_size(manifest, tmp_path, task):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if task == "regression":
        manifest = Manifest("own", manifest.paths, task, "age", (), np.arange(8) * 9.0)
    adapter = trained(manifest, "lora")
    assert not any("lora" in name for name in Predictor(adapter).state_dict())
    # Merging an adapter that learnt nothing would change nothing.
    assert any(value.abs().max() > 1e-4 for name, value in adapter.graft.learnt().items() if "lora_B" in name)
    assert export_onnx(adapter, tmp_path / "own.onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "own.onnx"), providers=["CPUExecutionProvider"])
    examples = read_examples(manifest, adapter.backbone.contract)
    expected = predict_examples(adapter, examples).reshape(8, -1)
    scans = torch.stack([examples.tensor(row) for row in range(8)]).numpy()
    for rows in (slice(0, 1), slice(0, 8)):
        (found,) = session.run(None, {"scan": scans[rows]})
        np.testing.assert_allclose(found, expected[rows], rtol=1e-4, atol=1e-4)
    assert sys.prefix.encode() not in (tmp_path / "own.onnx").read_bytes()
    assert adapter.graft.head.layers[-1].weight.requires_grad
    about = json.loads(session.get_modelmeta().custom_metadata_map["graftwork"])
    assert about["classes"] == list(adapter.classes)
    assert about["input"] == adapter.backbone.contract.to_json()


@pytest.mark.slow(reason="torch.export traces whole networks")
def test_onnxruntime_reads_all_stages_where_the_adapter_does(manifest, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    adapter = trained(manifest, "probe", "all")
    assert len(adapter.record["features"]) > 2
    assert export_onnx(adapter, tmp_path / "own.onnx") < 1e-4


def test_an_onnx_file_with_other_outputs_is_not_kept(manifest, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    adapter = trained(manifest, "probe")
    monkeypatch.setattr("graftwork.core.inference.onnx_file._difference", lambda *arguments: 0.01)
    with pytest.raises(SettingsError, match=r"outputs that differ by 0\.01"):
        export_onnx(adapter, tmp_path / "own.onnx")
    assert not (tmp_path / "own.onnx").exists()
    with pytest.raises(SettingsError, match="knn: looks up its training examples"):
        export_onnx(trained(manifest, "knn"), tmp_path / "own.onnx")


@pytest.mark.slow(reason="torch.export traces whole networks")
def test_onnxruntime_gives_the_probabilities_of_every_voxel_of_a_patch(segmenter, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    adapter, _ = segmenter
    assert export_onnx(adapter, tmp_path / "masks.onnx") < 1e-4
