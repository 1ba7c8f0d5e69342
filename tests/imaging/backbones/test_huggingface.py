"""Image encoders of transformers: stages equal what they compute themselves, the processor is the contract."""

import json
import logging
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from graftwork.core.errors import BackboneError, DownloadError, MissingPackageError, SettingsError
from graftwork.core.model.lora import insert_lora, lora_targets
from graftwork.core.types import Features
from graftwork.imaging import load_backbone

transformers = pytest.importorskip("transformers", reason="hf: needs transformers")

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 56,
         "patch_size": 14}  # fmt: skip
FAMILIES = {
    "ViT": {}, "DeiT": {}, "Dinov2": {}, "Dinov2WithRegisters": {}, "DINOv3ViT": {}, "SiglipVision": {},
    "CLIPVision": {},
    "Swin": {"patch_size": 4, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 7},
    "ConvNext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "patch_size": 4},
    "ConvNextV2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "patch_size": 4},
}  # fmt: skip


def shaped(family):
    own = {} if family in ("Swin", "ConvNext", "ConvNextV2") else SHAPE
    return {**own, "image_size": 56, **FAMILIES[family]}


def saved(family, folder, kind="Model", **options):
    """A random encoder with its processor, as save_pretrained writes them."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**shaped(family), **options)
    network = getattr(transformers, f"{family}{kind}")(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    network.save_pretrained(folder)
    processor(folder)
    return network


def processor(folder, **changed):
    plain = {"do_resize": True, "size": {"height": 56, "width": 56}, "do_rescale": True, "rescale_factor": 1 / 255,
             "do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.2, 0.3, 0.4]} | changed  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(plain))


def images(size, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_stages_in_turn_give_the_encoders_own_pooled_output(family, tmp_path):
    network = saved(family, tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    found = backbone.run(Features(images(56))).values
    torch.testing.assert_close(found, network(images(56)).pooler_output, rtol=1e-5, atol=1e-6)
    assert found.shape == (2, backbone.feature_dim)
    blocks = {"Swin": 2, "ConvNext": 4, "ConvNextV2": 4}.get(family, 3)
    assert [stage.name for stage in backbone.stages] == [
        "embed", *(f"block{number}" for number in range(1, blocks + 1)), "pool"]  # fmt: skip
    assert backbone.contract.mean == pytest.approx((0.1, 0.2, 0.3))
    assert pickle.loads(pickle.dumps(backbone.build))().state_dict().keys() == backbone.network.state_dict().keys()


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "DeiT"])
@torch.inference_mode()
def test_another_image_size_interpolates_positions_as_transformers_does(family, tmp_path):
    network = saved(family, tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}", image_size=112)
    told = {"interpolate_pos_encoding": True} if family in ("ViT", "SiglipVision", "CLIPVision", "Swin") else {}
    expected = network(images(112), **told).pooler_output
    torch.testing.assert_close(backbone.run(Features(images(112))).values, expected, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_one_channel_sees_what_three_equal_channels_saw(tmp_path):
    network = saved("Dinov2", tmp_path)
    grey = images(56, 1)
    found = load_backbone(f"hf:{tmp_path}", channels=1).run(Features(grey)).values
    torch.testing.assert_close(found, network(grey.repeat(1, 3, 1, 1)).pooler_output, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_classifier_without_a_pooler_gives_its_class_token_and_says_what_is_left_out(tmp_path, caplog):
    network = saved("ViT", tmp_path, "ForImageClassification")
    with caplog.at_level(logging.INFO):
        backbone = load_backbone(f"hf:{tmp_path}")
    expected = network.vit(images(56)).last_hidden_state[:, 0]
    torch.testing.assert_close(backbone.run(Features(images(56))).values, expected)
    assert "left out: classifier.bias, classifier.weight" in caplog.text


@torch.inference_mode()
def test_of_two_towers_the_images_is_taken(tmp_path):
    torch.manual_seed(0)
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    network = transformers.SiglipModel(transformers.SiglipConfig(vision_config=dict(SHAPE), text_config=text)).eval()
    network.save_pretrained(tmp_path)
    processor(tmp_path)
    found = load_backbone(f"hf:{tmp_path}").run(Features(images(56))).values
    torch.testing.assert_close(found, network.vision_model(images(56)).pooler_output)


@pytest.mark.parametrize("family", ["ViT", "Dinov2", "DINOv3ViT", "SiglipVision", "Swin"])
def test_lora_finds_queries_and_values_and_everything_else_learns_too(family, tmp_path):
    saved(family, tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    targets = lora_targets(backbone, "auto")
    assert {name.rpartition(".")[2] for name in targets} == {"q_proj", "v_proj"}
    adapted, inserted = insert_lora(backbone, "auto", 2, 4.0)
    adapted.run(Features(images(56))).values.square().sum().backward()
    without = [name for name, parameter in adapted.network.named_parameters()
               if parameter.grad is None and name not in inserted]  # fmt: skip
    assert not without
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in adapted.network.named_parameters()
               if "lora_B" in name)  # fmt: skip


@pytest.mark.parametrize(("changed", "size", "mean", "std"), [
    ({"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": {"height": 56, "width": 56}}, 56, 0.1, 0.2),
    ({"size": {"shortest_edge": 112}}, 112, 0.1, 0.2),
    ({"size": 70}, 70, 0.1, 0.2),
    ({"do_normalize": False}, 56, 0.0, 1.0),
    ({"do_rescale": False}, 56, 0.1 / 255, 0.2 / 255),
    ({"rescale_factor": 1 / 127.5}, 56, 0.05, 0.1),
])  # fmt: skip
def test_the_processor_becomes_the_contract(changed, size, mean, std, tmp_path):
    saved("Dinov2", tmp_path)
    processor(tmp_path, **changed)
    contract = load_backbone(f"hf:{tmp_path}").contract
    assert contract.size == (size, size)
    assert (contract.mean[0], contract.std[0]) == pytest.approx((mean, std))


def test_a_picture_is_read_as_the_processor_reads_it(tmp_path):
    saved("Dinov2", tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, do_center_crop=False)
    expected = theirs(Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(load_backbone(f"hf:{tmp_path}").contract.read(str(tmp_path / "a.png")), expected)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    saved("Dinov2", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    deeper = {name.replace("layer.2.", "layer.3."): value.clone() for name, value in tensors.items()}
    save_file(tensors | deeper, tmp_path / "deeper.safetensors")
    with pytest.raises(BackboneError, match=r"unknown to the network: encoder\.layer\.3\."):
        load_backbone(f"hf:{tmp_path}", weights=str(tmp_path / "deeper.safetensors"))
    tensors.pop("layernorm.weight")
    tensors["embeddings.cls_token"] = torch.zeros(1, 1, 7)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match=r"(?s)missing from the file: layernorm\.weight.*embeddings\.cls_token"):
        load_backbone(f"hf:{tmp_path}")


def test_what_cannot_be_loaded_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match=r"(?s)nobody/rad-dino on the Hugging Face hub.*or a folder of such files"):
        load_backbone("hf:nobody/rad-dino@v1")
    with pytest.raises(BackboneError, match="neither a folder nor OWNER/NAME"):
        load_backbone("hf:/nowhere")
    saved("Dinov2", tmp_path)
    with pytest.raises(SettingsError, match="image size 60 is not a multiple of its patches of 14"):
        load_backbone(f"hf:{tmp_path}", image_size=60)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match=r"expected preprocessor_config\.json"):
        load_backbone(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BackboneError, match=r"expected an image encoder, a model_type of vit, .*found 'bert'"):
        load_backbone(f"hf:{tmp_path}")


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    saved("Dinov2", tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"graftwork\[transformers\]"):
        load_backbone(f"hf:{tmp_path}")
