"""Networks of timm that somebody saved as on the hub: from a folder, and from a repository in the cache."""

import json
import pickle

import pytest
import timm
import torch
from timm.models import save_for_hf

from graftwork.core.errors import BackboneError, DownloadError
from graftwork.core.types import Features
from graftwork.imaging import load_backbone
from graftwork.imaging.backbones import hub

COMMIT = "3" * 40


@pytest.fixture
def saved(tmp_path):
    """A network of 96 pixels and two classes in timm's layout of the hub, and its folder."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", img_size=96, num_classes=2).eval()
    folder = tmp_path / "mine"
    save_for_hf(network, folder, model_args={"img_size": 96}, safe_serialization=True,
                data_config={"mean": (0.1, 0.2, 0.3), "std": (0.2, 0.2, 0.2), "input_size": (3, 96, 96)})  # fmt: skip
    return network, folder


@pytest.mark.parametrize("form", ["timm:{}", "timm:local-dir:{}"])
@torch.inference_mode()
def test_a_folder_gives_its_networks_features_and_its_contract(form, saved):
    network, folder = saved
    backbone = load_backbone(form.format(folder))
    batch = torch.randn(2, 3, 96, 96)
    expected = network.forward_head(network.forward_features(batch), pre_logits=True)
    assert torch.equal(backbone.run(Features(batch)).values, expected)
    assert (backbone.contract.size, backbone.contract.mean) == ((96, 96), (0.1, 0.2, 0.3))
    assert pickle.loads(pickle.dumps(backbone.build))().pos_embed.shape == network.pos_embed.shape
    larger = load_backbone(form.format(folder), image_size=128, channels=1)
    assert larger.run(Features(torch.randn(1, 1, 128, 128))).values.shape == (1, 64)


def test_a_repository_comes_from_the_cache_by_its_revision(saved, tmp_path, monkeypatch):
    network, folder = saved
    snapshot = tmp_path / "cache" / "models--someone--net" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    backbone = load_backbone(f"timm:hf-hub:someone/net@{COMMIT}")
    assert backbone.id == f"timm:hf-hub:someone/net@{COMMIT}"
    assert torch.equal(backbone.network.pos_embed, network.pos_embed)
    for other in ("timm:hf-hub:someone/net@other", "timm:hf-hub:someone/net"):
        with pytest.raises(DownloadError, match=r"(?s)someone/net on the Hugging Face.*HF_HUB_OFFLINE.*Go online once"):
            load_backbone(other)


@pytest.mark.parametrize(("name", "message"), [
    ("timm:nowhere/at/all", "no such folder; timm:hf-hub:OWNER/NAME"),
    ("timm:local-dir:nowhere", "no such folder"),
    ("timm:hf-hub:a/b/c", r"neither a folder nor OWNER/NAME\[@REVISION\]"),
])  # fmt: skip
def test_what_is_neither_a_folder_nor_a_repository_is_refused(name, message):
    with pytest.raises(BackboneError, match=message):
        load_backbone(name)


def test_a_folder_of_something_else_says_what_is_expected(saved):
    _, folder = saved
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"expected model\.safetensors or pytorch_model\.bin.*found config\.json"):
        load_backbone(f"timm:{folder}")
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(BackboneError, match=r"\"architecture\".*found None; hf: reads what transformers has saved"):
        load_backbone(f"timm:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(BackboneError, match=r"expected config\.json"):
        hub.repository_file(str(folder), ("config.json",), "timm:x")
