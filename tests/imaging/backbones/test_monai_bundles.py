"""Networks out of MONAI bundles: built as the configuration says, with the bundle's weights, and nothing else run."""

import json

import pytest
import torch
from monai.networks.nets import BasicUNet, DenseNet121, SegResNet, UNet, resnet10

from graftwork.core.errors import BackboneError, SettingsError, UnreadableError
from graftwork.core.model.backbone import MAPS
from graftwork.core.types import Features
from graftwork.imaging import load_backbone
from graftwork.imaging.backbones.monai_bundles import network_definition

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8, 16], "strides": [2, 2],
        "num_res_units": 1}  # fmt: skip
NETWORKS = {
    "UNet": (UNet, UNET),
    "SegResNet": (SegResNet, {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "init_filters": 8}),
    "BasicUNet": (BasicUNet, {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "features": [4, 4, 8, 8, 8, 4]}),
    "resnet10": (resnet10, {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 2}),
    "DenseNet121": (DenseNet121, {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}),
}


@pytest.fixture
def bundle(tmp_path):
    """Writes a bundle; returns its folder and the network whose weights it holds."""

    def write(name, size=(32, 32, 32), **changes):
        create, arguments = NETWORKS[name]
        torch.manual_seed(0)
        network = create(**arguments).eval()
        (tmp_path / "configs").mkdir()
        (tmp_path / "models").mkdir()
        definition = {"_target_": name, **arguments} | changes
        (tmp_path / "configs" / "inference.json").write_text(json.dumps({"network_def": definition, "width": 4}))
        image = {"type": "image", "num_channels": 1, "spatial_shape": list(size)}
        about = {"network_data_format": {"inputs": {"image": image}}}
        (tmp_path / "configs" / "metadata.json").write_text(json.dumps(about))
        torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
        return tmp_path, network

    return write


@pytest.mark.parametrize("name", ["UNet", "SegResNet", "BasicUNet"])
def test_segmentation_networks_give_their_last_maps_from_the_bundles_weights(bundle, name):
    folder, network = bundle(name)
    path = {"SegResNet": "conv_final.2", "BasicUNet": "final_conv"}.get(name)
    backbone = load_backbone(f"bundle:{folder}", mask_values="0,1")
    assert backbone.stages[-1].name == MAPS
    assert len(backbone.stages) > 4
    assert backbone.contract.size == (32, 32, 32)
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        found = backbone.run(Features(image)).values
        assert found.shape[1] == backbone.feature_dim
        made = found if path is None else network.get_submodule(path)(found)
        torch.testing.assert_close(made, network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet10", "DenseNet121"])
def test_classification_networks_give_the_vector_before_their_last_layer(bundle, name):
    folder, network = bundle(name)
    backbone = load_backbone(f"bundle:{folder}", image_size=48)
    image = torch.randn(1, 1, 48, 48, 48)
    classify = network.fc if name == "resnet10" else network.class_layers.out
    with torch.no_grad():
        torch.testing.assert_close(classify(backbone.run(Features(image)).values), network(image), atol=1e-4, rtol=1e-4)
    assert backbone.build() is not None


def test_references_are_put_in_their_place_and_expressions_are_not_run(bundle, tmp_path):
    folder, _ = bundle("UNet", in_channels="@width")
    assert network_definition(folder)["in_channels"] == 4
    text = (folder / "configs" / "inference.json").read_text()
    (folder / "configs" / "inference.json").write_text(text.replace('"@width"', "\"$__import__('os').mkdir('ran')\""))
    with pytest.raises(BackboneError, match=r"network_def\.in_channels: .* would have to be computed"):
        network_definition(folder)


@pytest.mark.parametrize(("target", "reason"), [("os.system", "only networks of monai.networks.nets"),
                                                ("subprocess.UNet", "only networks of monai.networks.nets"),
                                                ("monai.networks.nets.Nothing", "only networks of")])  # fmt: skip
def test_other_code_than_monais_networks_is_not_run(bundle, target, reason):
    folder, _ = bundle("UNet", _target_=target)
    with pytest.raises(BackboneError, match=reason):
        load_backbone(f"bundle:{folder}", mask_values="0,1")


def test_what_is_no_bundle_or_does_not_fit_is_named(bundle, tmp_path):
    with pytest.raises(BackboneError, match="is no MONAI bundle"):
        load_backbone(f"bundle:{tmp_path}")
    folder, _ = bundle("UNet", channels=[4, 8, 32])
    with pytest.raises(BackboneError, match="does not fit the network"):
        load_backbone(f"bundle:{folder}", mask_values="0,1")
    with pytest.raises(SettingsError, match="takes 1, found 3"):
        load_backbone(f"bundle:{folder}", mask_values="0,1", channels=3, weights="random")
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(BackboneError, match=r"no model.safetensors or model.pt"):
        load_backbone(f"bundle:{folder}", mask_values="0,1")


def test_damaged_configurations_are_named(bundle):
    folder, _ = bundle("UNet", norm={"name": "$__import__('os').mkdir('ran')"})
    with pytest.raises(BackboneError, match=r"network_def\.norm\.name: .* would have to be computed"):
        network_definition(folder)
    file = folder / "configs" / "inference.json"
    for text, reason in (
        ('{"network_def": {"_target_": "UNet", "spatial_dims": "@a"}, "a": "@a"}', "would have to be"),
        ("[1, 2]", "expected entries by name"),
        ('{"network_def": ', "cannot be read as"),
    ):
        file.write_text(text)
        with pytest.raises((BackboneError, UnreadableError), match=reason):
            network_definition(folder)


@pytest.mark.parametrize(("changes", "said"), [
    ({"pretrained": True}, r"network_def\.pretrained: would load True"),
    ({"pretrained": "/home/x/weights.pt"}, r"would load '/home/x/weights\.pt'"),
    ({"pretrained_url": "https://example.org/w.pt"}, "would load"),
    ({"norm": ["batch", {"path": "/etc/passwd"}]}, r"norm\[1\]\.path: '/etc/passwd' names a file or an address"),
    ({"act": "https://example.org/w"}, "names a file or an address"),
    ({"act": "weights.pth"}, "names a file or an address"),
    ({"act": "..\\weights"}, "names a file or an address"),
])  # fmt: skip
def test_a_bundle_names_no_file_and_no_download_for_its_network(bundle, monkeypatch, changes, said):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    folder, _ = bundle("DenseNet121", **changes)
    with pytest.raises(BackboneError, match=said):
        load_backbone(f"bundle:{folder}")


def test_classes_that_fetch_weights_unless_told_not_to_are_told(bundle, monkeypatch):
    monkeypatch.setattr("monai.networks.nets.efficientnet._load_state_dict", lambda *_: pytest.fail("a download"))
    folder, _ = bundle("UNet")
    definition = {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "spatial_dims": 2, "in_channels": 3}
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": definition}))
    assert load_backbone(f"bundle:{folder}", weights="random", image_size=32).contract.channels == 3


@pytest.mark.parametrize(("file", "content", "error"), [
    ("inference", b"\xff\xfe\x00", UnreadableError),
    ("inference", b"[" * 100_000, UnreadableError),
    ("inference", b"", UnreadableError),
    ("inference", b'{"network_def": {"_target_": 5}}', BackboneError),
    ("inference", b'{"network_def": {"_target_": "UNet", "spatial_dims": {"a": 1}}}', BackboneError),
    ("inference", b'{"network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, '
                  b'"channels": [4, 8], "strides": ["x"]}}', BackboneError),
    ("inference", b'{"network_def": {"_target_": "drop_connect"}}', BackboneError),
    ("metadata", b"[" * 100_000, UnreadableError),
])  # fmt: skip
def test_a_malformed_configuration_is_named(bundle, file, content, error):
    folder, _ = bundle("UNet")
    (folder / "configs" / f"{file}.json").write_bytes(content)
    with pytest.raises(error, match=file if error is UnreadableError else "UNet|5|drop_connect"):
        load_backbone(f"bundle:{folder}")


@pytest.mark.parametrize("about", ["[]", "3", '{"network_data_format": []}', '{"network_data_format": {"inputs": [1]}}',
                                   '{"network_data_format": {"inputs": {"image": {"spatial_shape": 5}}}}'])  # fmt: skip
def test_metadata_of_another_form_leaves_the_size_to_the_network(bundle, about):
    folder, _ = bundle("UNet")
    (folder / "configs" / "metadata.json").write_text(about)
    assert load_backbone(f"bundle:{folder}").contract.size == (96, 96, 96)
