"""What leaves as a MONAI bundle predicts there what it predicts here, and needs nothing else."""

import csv
import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, run, verify_metadata, verify_net_in_out
from monai.bundle.properties import MetaProperties
from monai.networks.nets import UNet

from graftwork.core import finetune, read_examples
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.inference.predict import predict_examples
from graftwork.core.types import Features
from graftwork.imaging import load_backbone, read_manifest
from graftwork.imaging.backbones.monai_bundles import write_definition
from graftwork.imaging.export.monai_bundle import export_bundle, load_network
from graftwork.imaging.export.onnx import Predictor
from tests.imaging.export.conftest import RECIPE, trained

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
                 "channel_def"],
    "properties": {
        "type": TEXT, "format": TEXT, "num_channels": WHOLE, "dtype": TEXT, "is_patch_data": {"type": "boolean"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "channel_def": {"type": "object", "patternProperties": {"^[0-9]+$": TEXT}, "additionalProperties": False},
    },
}  # fmt: skip
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
SPECIFICATION = {
    "type": "object",
    "required": ["version", "changelog", "monai_version", "pytorch_version", "numpy_version",
                 "required_packages_version", "task", "description", "authors", "copyright", "network_data_format"],
    "properties": {
        **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task"), TEXT),
        **dict.fromkeys(("description", "authors", "copyright"), TEXT),
        "changelog": {"type": "object", "additionalProperties": TEXT},
        "required_packages_version": {"type": "object", "additionalProperties": TEXT},
        "network_data_format": {"type": "object", "required": ["inputs", "outputs"],
                                "properties": {"inputs": TENSORS, "outputs": TENSORS}},
    },
}  # fmt: skip
"""The mandatory fields of the MONAI Bundle specification as a schema; MONAI's own is a download."""


@pytest.mark.parametrize(
    ("strategy", "features"), [("lora", "last"), ("knn", "last"), ("partial:1", "last"), ("probe", "all")]
)
def test_a_bundle_predicts_what_predict_does(manifest, tmp_path, strategy, features):
    adapter = trained(manifest, strategy, features)
    export_bundle(adapter, tmp_path / "bundle")
    files = {
        "meta_file": str(tmp_path / "bundle" / "configs" / "metadata.json"),
        "config_file": str(tmp_path / "bundle" / "configs" / "inference.json"),
    }
    own = {"bundle_root": str(tmp_path / "bundle"), "dataset_dir": str(tmp_path / "scans")}
    run(**files, **own, device="cpu", output=str(tmp_path / "found.csv"))
    with (tmp_path / "found.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == list(manifest.paths)
    expected = predict_examples(adapter, read_examples(manifest, adapter.backbone.contract))
    found = [[float(row["probability_plain"]), float(row["probability_marked"])] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [row["prediction"] for row in rows] == [adapter.classes[k] for k in expected.argmax(1)]
    verify_net_in_out("network_def", **files, bundle_root=own["bundle_root"], device="cpu")


def test_a_bundle_has_what_monai_asks_of_one_and_no_pickle(manifest, tmp_path):
    export_bundle(trained(manifest, "probe"), tmp_path / "bundle")
    names = {str(path.relative_to(tmp_path / "bundle")) for path in (tmp_path / "bundle").rglob("*") if path.is_file()}
    assert names == {"configs/metadata.json", "configs/inference.json", "docs/README.md", "models/model.safetensors",
                     "models/adapter.json"}  # fmt: skip
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    for described in MetaProperties.values():
        value = metadata
        for part in described["id"].split("::")[1:]:
            assert not described["required"] or part in value, described["id"]
            value = value.get(part, {})
    workflow = ConfigWorkflow(
        config_file=str(tmp_path / "bundle" / "configs" / "inference.json"),
        meta_file=str(tmp_path / "bundle" / "configs" / "metadata.json"),
        workflow_type="infer",
        bundle_root=str(tmp_path / "bundle"),
        dataset_dir=str(tmp_path / "scans"),
    )
    workflow.initialize()
    assert not workflow.check_properties()
    with pytest.raises(OutputError, match="is not an empty folder"):
        export_bundle(trained(manifest, "probe"), tmp_path / "bundle")


@pytest.mark.parametrize("id", ["custom:module", "slices:custom:module"])
def test_a_network_that_only_this_program_knows_leaves_in_no_bundle(manifest, tmp_path, id):
    backbone = replace(load_backbone("tiny:cnn2d", image_size=32), id=id)
    adapter = finetune(backbone, manifest, strategy="probe", recipe=RECIPE).adapter
    with pytest.raises(SettingsError, match=f"{id}: a bundle builds its network by the id"):
        export_bundle(adapter, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_monai_verifies_the_metadata_by_its_specification(manifest, tmp_path):
    export_bundle(trained(manifest, "probe"), tmp_path / "bundle")
    metadata = tmp_path / "bundle" / "configs" / "metadata.json"
    schema = tmp_path / "schema.json"  # where it is already, MONAI does not download it
    schema.write_text(json.dumps(SPECIFICATION))
    verify_metadata(meta_file=str(metadata), filepath=str(schema))
    wrong = json.loads(metadata.read_text())
    wrong["network_data_format"]["outputs"]["pred"]["num_channels"] = "two"
    metadata.write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="'two' is not of type 'integer'"):
        verify_metadata(meta_file=str(metadata), filepath=str(schema))


@pytest.mark.slow(reason="runs a bundle")
def test_a_bundle_for_masks_writes_what_the_adapter_predicts(segmenter, tmp_path, monkeypatch):
    adapter, paths = segmenter
    export_bundle(adapter, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path / "bundle")
    run(run_id="run", meta_file="configs/metadata.json", config_file="configs/inference.json",
        bundle_root=str(tmp_path / "bundle"), dataset_dir=str(tmp_path / "volumes"), output=str(tmp_path / "masks"),
        device="$torch.device('cpu')")  # fmt: skip

    def logits(patches):
        return adapter.graft.outputs(Features(patches)).values.detach()

    for number, path in enumerate(paths):
        adapter.backbone.segmenter.segment(path, logits, tmp_path / "own.nii.gz")
        own, found = nibabel.load("../own.nii.gz"), nibabel.load(f"../masks/{number}_mask.nii.gz")
        assert (np.asarray(own.dataobj) == np.asarray(found.dataobj)).all()
        assert (own.affine == found.affine).all()


@pytest.mark.slow(reason="trains and runs a segmentation network")
def test_a_network_out_of_a_bundle_leaves_in_a_bundle_that_needs_no_other(segmenter, tmp_path):
    origin = tmp_path / "origin"
    definition = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8],
                  "strides": [2], "norm": "batch"}  # fmt: skip
    write_definition(origin, definition, (16, 16, 16))
    (origin / "models").mkdir()
    torch.manual_seed(0)
    network = UNet(3, 1, 2, [4, 8], [2], norm="batch")
    torch.save(network.state_dict(), origin / "models" / "model.pt")
    backbone = load_backbone(f"bundle:{origin}", mask_values="0,1")
    adapter = finetune(backbone, read_manifest(tmp_path / "t.csv", target="mask"), recipe=RECIPE).adapter
    export_bundle(adapter, tmp_path / "bundle")
    written = b"".join(path.read_bytes() for path in (tmp_path / "bundle").rglob("*") if path.is_file())
    assert str(origin).encode() not in written
    shutil.rmtree(origin)
    shutil.move(tmp_path / "bundle", tmp_path / "elsewhere")
    patch = torch.rand(2, 1, 16, 16, 16)
    with torch.no_grad():
        found = load_network(str(tmp_path / "elsewhere" / "models")).eval()(patch)
        expected = Predictor(adapter).eval()(patch)
    torch.testing.assert_close(found, expected)
