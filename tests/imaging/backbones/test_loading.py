"""Backbones of every source: their stages equal their own forward, their weights fit entirely or not at all."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from graftwork.core.errors import BackboneError, DownloadError, SettingsError, UnreadableError
from graftwork.core.model.stage_outputs import stage_outputs
from graftwork.core.types import Features
from graftwork.imaging import (
    list_backbones,
    load_backbone,
)
from graftwork.imaging.backbones.catalogue import CATALOGUE

TIMM = [
    ("test_resnet", None, "layer4"),
    ("resnet18", 64, "layer4"),
    ("seresnext26d_32x4d", 64, "layer4"),
    ("densenet121", 64, "block4"),
    ("test_efficientnet", None, "conv_head"),
    ("mobilenetv2_100", 192, "conv_head"),
    ("mobilenetv3_small_050", 64, "block6"),
    ("test_convnext", None, "block4"),
    ("convnext_atto", 64, "block4"),
    ("test_vit", None, "block6"),
    ("test_vit3", 96, "block9"),
    ("deit_tiny_distilled_patch16_224", 64, "block12"),
    ("swin_tiny_patch4_window7_224", 96, "block4"),
    ("test_nfnet", None, "final_conv"),
    ("test_byobnet", None, "block4"),
    ("eva02_tiny_patch14_224", 56, "block12"),
    ("vit_small_patch16_dinov3", 64, "block12"),
    ("vit_small_patch16_rope_mixed_224", 64, "block12"),
    ("beit_base_patch16_224", 64, "block12"),
    ("regnety_002", 64, "s4"),
    ("maxvit_rmlp_pico_rw_256", 256, "block4"),
    ("coatnet_nano_rw_224", 64, "block4"),
    ("tiny_vit_5m_224", 224, "block4"),
    ("edgenext_xx_small", 64, "block4"),
    ("hrnet_w18_small", 64, "final_layer"),
    ("resnest14d", 64, "layer4"),
    ("convnextv2_atto", 64, "block4"),
    ("swinv2_tiny_window8_256", 256, "block4"),
    ("cait_xxs24_224", 224, "network"),
]
MONAI = [
    ("resnet10-2d", 64),
    ("resnet18-3d", 32),
    ("densenet121-2d", 64),
    ("densenet121-3d", 32),
    ("efficientnet-b0-2d", 64),
    ("efficientnet-b0-3d", 32),
]


def random_batch(backbone, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, backbone.contract.channels, *backbone.contract.size, generator=generator)


def unsettle(network):
    """Gives norms and biases values of their own: fresh ones are all ones and zeros, and would hide a skipped one."""
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.05)


@pytest.mark.parametrize(("name", "size", "last"), TIMM)
@torch.inference_mode()
def test_timm_stages_in_turn_equal_the_networks_own_features(name, size, last):
    backbone = load_backbone(f"timm:{name}", weights="random", image_size=size)
    unsettle(backbone.network)
    batch = random_batch(backbone)
    network = backbone.network
    reference = network.forward_head(network.forward_features(batch), pre_logits=True)
    found = backbone.run(Features(batch)).values
    assert torch.equal(found, reference)
    assert found.shape == (2, backbone.feature_dim)
    assert [stage.name for stage in backbone.stages][-2:] == [last, "pool"]
    channels_last = batch.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone.run(Features(channels_last)).values, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "widths"),
    [
        ("timm:resnet18", 64, (64, 64, 128, 256, 512, 512)),
        ("timm:swin_tiny_patch4_window7_224", 96, (96, 96, 192, 384, 768, 768)),
        ("timm:swinv2_tiny_window8_256", 256, (96, 96, 192, 384, 768, 768)),
        ("timm:cait_xxs24_224", 224, (192, 192)),
        ("timm:test_vit", 96, (64,) * 8),
        ("monai:resnet18-3d", 32, (64, 64, 128, 256, 512, 512)),
    ],
)
def test_stages_have_as_many_channels_as_the_network_says(name, size, widths):
    backbone = load_backbone(name, weights="random", image_size=size)
    assert tuple(output.width for output in stage_outputs(backbone)) == widths


@pytest.mark.parametrize(("name", "size"), MONAI)
@torch.inference_mode()
def test_monai_stages_in_turn_equal_the_networks_own_forward(name, size):
    backbone = load_backbone(f"monai:{name}", weights="random", image_size=size)
    unsettle(backbone.network)
    batch = random_batch(backbone)
    found = backbone.run(Features(batch)).values
    torch.testing.assert_close(found, backbone.network(batch), rtol=1e-5, atol=1e-6)
    assert found.shape == (2, backbone.feature_dim)


@pytest.mark.parametrize("dims", [2, 3])
@torch.inference_mode()
def test_monai_vit_is_the_mean_of_its_tokens(dims):
    pytest.importorskip("einops", reason="MONAI's ViT needs einops")
    backbone = load_backbone(f"monai:vit-{dims}d", weights="random", image_size=32)
    batch = random_batch(backbone)
    torch.testing.assert_close(backbone.run(Features(batch)).values, backbone.network(batch)[0].mean(dim=1))


@pytest.mark.parametrize(
    "name", ["timm:test_vit", "timm:test_efficientnet", "monai:densenet121-2d", "medicalnet:resnet18"]
)
@torch.inference_mode()
def test_stages_follow_a_copy_of_the_network_and_leave_their_input_alone(name):
    backbone = load_backbone(name, weights="random", image_size=32)
    changed = backbone.with_network(copy.deepcopy(backbone.network))
    unsettle(changed.network)
    batch = Features(random_batch(backbone))
    assert not torch.equal(changed.run(batch).values, backbone.run(batch).values)
    for index in range(len(backbone.stages)):
        before = batch.values.clone()
        following = backbone.run(batch, index, index + 1)
        assert torch.equal(batch.values, before), backbone.stages[index].name
        batch = following


def test_stages_and_build_survive_pickling():
    backbone = load_backbone("timm:test_vit", weights="random")
    stages, build = pickle.loads(pickle.dumps((backbone.stages, backbone.build)))
    batch = Features(random_batch(backbone))
    with torch.inference_mode():
        for stage in stages:
            batch = stage.run(backbone.network, batch)
    assert batch.values.shape == (2, backbone.feature_dim)
    assert not build().training


@pytest.mark.parametrize("options", [{}, {"image_size": 96}, {"channels": 1}, {"channels": 5}])
def test_build_has_the_same_tensors_with_fresh_values(options):
    backbone = load_backbone("timm:test_vit", weights="random", **options)
    fresh = backbone.build().state_dict()
    known = backbone.network.state_dict()
    assert {name: value.shape for name, value in fresh.items()} == {n: v.shape for n, v in known.items()}
    assert not torch.equal(fresh["blocks.0.attn.qkv.weight"], known["blocks.0.attn.qkv.weight"])
    assert backbone.options == options


@pytest.fixture
def saved(tmp_path):
    """A network with its classifier and its state dict in a file, as training programs leave them."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("test_vit").eval()

    def save(name, wrap=lambda tensors: tensors):
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(network.state_dict(), path)
        else:
            torch.save(wrap(network.state_dict()), path)
        return str(path)

    save.network = network
    return save


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("w.safetensors", None),
        ("w.pt", lambda tensors: tensors),
        (
            "w.pth",
            lambda tensors: {"state_dict": {f"module.{name}": value for name, value in tensors.items()}},
        ),
        ("w.ckpt", lambda tensors: {"epoch": 3, "model": dict(tensors)}),
    ],
)
@torch.inference_mode()
def test_local_weights_in_every_wrapping_give_the_saved_networks_features(saved, name, wrap):
    backbone = load_backbone("timm:test_vit", weights=saved(name, wrap))
    batch = random_batch(backbone)
    reference = saved.network.forward_head(saved.network.forward_features(batch), pre_logits=True)
    assert torch.equal(backbone.run(Features(batch)).values, reference)


@torch.inference_mode()
def test_another_image_size_interpolates_the_pretrained_position_embeddings_as_timm_does(saved):
    path = saved("w.safetensors")
    backbone = load_backbone("timm:test_vit", weights=path, image_size=96)
    reference = timm.create_model(
        "test_vit", pretrained=True, img_size=96, pretrained_cfg_overlay={"file": path}
    ).eval()
    torch.testing.assert_close(backbone.network.pos_embed, reference.pos_embed)
    batch = random_batch(backbone)
    expected = reference.forward_head(reference.forward_features(batch), pre_logits=True)
    torch.testing.assert_close(backbone.run(Features(batch)).values, expected)


@torch.inference_mode()
def test_one_channel_sees_what_three_equal_channels_saw(saved):
    path = saved("w.safetensors")
    three, one = (
        load_backbone("timm:test_vit", weights=path),
        load_backbone("timm:test_vit", weights=path, channels=1),
    )
    grey = random_batch(one)
    expected = three.run(Features(grey.repeat(1, 3, 1, 1))).values
    torch.testing.assert_close(one.run(Features(grey)).values, expected, rtol=1e-4, atol=1e-5)
    assert one.contract.mean == pytest.approx((sum(three.contract.mean) / 3,))


def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded(saved):
    def damage(tensors):
        changed = dict(tensors)
        changed["extra.weight"] = changed.pop("norm.weight")
        changed["cls_token"] = torch.zeros(1, 1, 7)
        return changed

    with pytest.raises(BackboneError) as error:
        load_backbone("timm:test_vit", weights=saved("w.pt", damage))
    for part in (
        "missing from the file: norm.weight",
        "unknown to the network: extra.weight",
        "expected (1, 1, 64), found (1, 1, 7)",
    ):
        assert part in str(error.value)


def test_files_that_hold_no_tensors_say_so(tmp_path, saved):
    torch.save({"state_dict": nn.Linear(2, 2)}, tmp_path / "module.pt")
    with pytest.raises(BackboneError, match="could run code and are not loaded"):
        load_backbone("timm:test_vit", weights=str(tmp_path / "module.pt"))
    (tmp_path / "cut.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(UnreadableError, match=r"cut\.safetensors: cannot be read"):
        load_backbone("timm:test_vit", weights=str(tmp_path / "cut.safetensors"))
    with pytest.raises(UnreadableError, match="no such weights file"):
        load_backbone("timm:test_vit", weights=str(tmp_path / "none.pt"))


@torch.inference_mode()
def test_medicalnet_files_with_their_prefix_load_strictly(tmp_path):
    first = load_backbone("medicalnet:resnet10", weights="random", image_size=32)
    kept = {f"module.{name}": value for name, value in first.network.state_dict().items() if "tracked" not in name}
    torch.save({"state_dict": kept}, tmp_path / "resnet_10.pth")
    second = load_backbone("medicalnet:resnet10", weights=str(tmp_path / "resnet_10.pth"), image_size=32)
    assert first.digest() == second.digest()
    assert second.contract.intensity == "zscore"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("graftwork.imaging.backbones.hub.cached_file", lambda *place: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))


@pytest.mark.parametrize("name", ["timm:mobilenetv2_100", "medicalnet:resnet18"])
def test_without_a_network_the_message_says_what_was_tried_and_how_to_go_on(offline, name):
    with pytest.raises(DownloadError, match=r"(?s)could not be downloaded.*huggingface.*no network.*--weights FILE"):
        load_backbone(name)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("timm:mobilnetv2_100", {}, BackboneError, "nearest: timm:mobilenetv2_100"),
        ("timm:resnet18.nope", {}, BackboneError, r"weights of resnet18: resnet18\.a1_in1k"),
        ("monai:resnet18", {}, BackboneError, "nearest: monai:resnet18-"),
        ("monai:resnet18-3d", {}, BackboneError, "no pretrained weights are published.*--weights FILE"),
        ("medicalnet:resnet7", {}, BackboneError, "known: medicalnet:resnet10, medicalnet:resnet18"),
        ("resnet18", {}, BackboneError, "timm:resnet18"),
        ("timm:test_vit", {"image_size": 50}, SettingsError, "not a multiple of its patches of 16"),
        ("timm:test_vit", {"image_size": 0}, SettingsError, "1 or more"),
        ("timm:test_vit", {"channels": 0}, SettingsError, "channels must be 1 or more"),
        ("timm:test_vit", {"intensity": "bright"}, SettingsError, "bright"),
        ("timm:resmlp_12_224", {"image_size": 64}, SettingsError, "224 x 224 pixels only"),
    ],
)
def test_requests_that_cannot_be_met_say_what_can(name, options, error, message):
    weights = None if error is BackboneError else "random"
    with pytest.raises(error, match=message):
        load_backbone(name, weights=weights, **options)


def test_zscore_replaces_the_pretrained_mean_and_std():
    contract = load_backbone("timm:test_vit", weights="random", intensity="zscore").contract
    assert (contract.mean, contract.std) == ((0, 0, 0), (1, 1, 1))


def test_lists_hold_the_well_known_and_for_a_text_all_that_match():
    assert [row.id for row in list_backbones("")] == [known.id for known in CATALOGUE]
    found = {row.id: row for row in list_backbones("mobilenetv2")}
    assert set(found) == {f"timm:{name}" for name in timm.list_models("*mobilenetv2*")}
    assert found["timm:mobilenetv2_100"].parameters == 2_223_872
    assert list_backbones("nothing is called this") == []


@torch.inference_mode()
def test_real_mobilenet_weights_give_timms_own_features_of_a_real_slice(real_data):
    weights = real_data.parent / "weights" / "mobilenetv2_100.timm.safetensors"
    if not weights.is_file():
        pytest.skip(f"real weights are not here: {weights}")
    backbone = load_backbone("timm:mobilenetv2_100", weights=str(weights), image_size=192)
    picture = next(iter(sorted((real_data / "brain_mri" / "yes").glob("*.*"))))
    batch = backbone.contract.collate([backbone.contract.read(str(picture))])
    reference = timm.create_model(
        "mobilenetv2_100", pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    ).eval()
    expected = reference.forward_head(reference.forward_features(batch.values), pre_logits=True)
    torch.testing.assert_close(backbone.run(batch).values, expected)
