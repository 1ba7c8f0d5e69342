"""Weights in the layouts that others publish: each gives the features that its owner computes."""

import logging

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

from graftwork.core.errors import BackboneError
from graftwork.core.types import Features
from graftwork.imaging import load_backbone


@pytest.fixture
def save(tmp_path):
    """Puts tensors into a file and gives its path."""

    def saved(tensors, name="w.pth"):
        torch.save(tensors, tmp_path / name)
        return str(tmp_path / name)

    return saved


def unsettled(network, seed=0):
    """The network in evaluation mode, with weights, norms, scales and biases of this seed, at the scale they had."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim < 2:
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.02 + 0.02)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * tensor.std().clamp(min=0.02))
    return network.eval()


def images(size, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def behind(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def renamed(name, parts):
    """The name with each of these parts in another form."""
    for own, other in parts.items():
        name = name.replace(own, other)
    return name


PREFIXES = ["backbone.", "module.", "_orig_mod.", "encoder.", "model.", "visual.trunk.", "student.backbone.",
            "teacher.backbone.", "module._orig_mod.backbone."]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@torch.inference_mode()
def test_prefixes_of_training_programs_are_taken_off_and_what_is_left_out_is_said(prefix, save, caplog):
    network = unsettled(timm.create_model("test_vit"))
    path = save({**behind(prefix, network.state_dict()), "projector.weight": torch.zeros(2, 2)})
    with caplog.at_level(logging.INFO):
        backbone = load_backbone("timm:test_vit", weights=path)
    batch = images(160)
    expected = network.forward_head(network.forward_features(batch), pre_logits=True)
    assert torch.equal(backbone.run(Features(batch)).values, expected)
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert f"{len(backbone.network.state_dict())} tensors taken from behind '{prefix}'" in line
    assert "head.weight, head.bias, projector.weight" in line


@torch.inference_mode()
def test_the_teacher_of_a_checkpoint_of_self_distillation_is_taken(save):
    network, other = (unsettled(timm.create_model("test_vit", num_classes=0), seed) for seed in (0, 1))
    path = save({"student": behind("backbone.", other.state_dict()), "epoch": 3, "teacher": {
        **behind("backbone.", network.state_dict()), "dino_head.last_layer.weight": torch.zeros(2, 2)}})  # fmt: skip
    batch = images(160)
    assert torch.equal(load_backbone("timm:test_vit", weights=path).run(Features(batch)).values, network(batch))


def test_dinov2_in_its_own_layout_loads_as_timm_itself_loads_it(save):
    own = "vit_small_patch14_reg4_dinov2"
    source = unsettled(timm.create_model(own, num_classes=0, img_size=56)).state_dict()
    cls = source["pos_embed"].new_full((1, 1, 384), 0.3)
    published = {name: value for name, value in source.items() if name not in ("reg_token", "cls_token", "pos_embed")}
    published |= {"register_tokens": source["reg_token"], "cls_token": source["cls_token"] - cls,
                  "pos_embed": torch.cat([cls, source["pos_embed"]], 1), "mask_token": torch.zeros(1, 384)}  # fmt: skip
    backbone = load_backbone(f"timm:{own}", weights=save({"teacher": behind("backbone.", published)}), image_size=56)
    reference = timm.create_model(own, pretrained=True, num_classes=0, img_size=56,
                                  pretrained_cfg_overlay={"state_dict": dict(published)})  # fmt: skip
    for name, value in reference.state_dict().items():
        assert torch.equal(backbone.network.state_dict()[name], value), name
    torch.testing.assert_close(backbone.network.state_dict()["pos_embed"], source["pos_embed"])


def test_dinov3_in_its_own_layout_loads_as_timm_itself_loads_it(save):
    own = "vit_small_patch16_dinov3"
    source = unsettled(timm.create_model(own, num_classes=0)).state_dict()
    names = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "reg_token": "storage_tokens"}
    published = {renamed(name, names): value for name, value in source.items()}
    published |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16),
                  **{f"blocks.{number}.attn.qkv.bias_mask": torch.zeros(1152) for number in range(12)}}  # fmt: skip
    backbone = load_backbone(f"timm:{own}", weights=save(published), image_size=64)
    for name, value in source.items():
        assert torch.equal(backbone.network.state_dict()[name], value), name


@torch.inference_mode()
def test_positions_of_another_size_are_interpolated_once_to_the_wanted_size(save):
    own = "vit_small_patch14_dinov2"  # 518 pixels in timm, and these weights are of 56
    source = unsettled(timm.create_model(own, num_classes=0, img_size=56))
    backbone = load_backbone(f"timm:{own}", weights=save(source.state_dict()), image_size=56)
    assert torch.equal(backbone.network.pos_embed, source.pos_embed)
    assert torch.equal(backbone.run(Features(images(56))).values, source(images(56)))


@torch.inference_mode()
def test_radimagenets_resnet50_gives_torchvisions_features(save):
    network = unsettled(torchvision.models.resnet50())
    cut = nn.Sequential(*list(network.children())[:-1])
    path = save(behind("backbone.", cut.state_dict()))
    assert "backbone.4.0.conv1.weight" in torch.load(path)
    found = load_backbone("timm:resnet50", weights=path, image_size=64).run(Features(images(64))).values
    torch.testing.assert_close(found, cut(images(64)).flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
@pytest.mark.parametrize("classes", [1000, 14])
@torch.inference_mode()
def test_torchvisions_names_with_any_number_of_classes_give_its_features(name, classes, save):
    network = unsettled(getattr(torchvision.models, name)(num_classes=classes))
    tensors = network.state_dict()
    if name == "densenet121":  # CheXNet and old torchvision have norm.1 for norm1
        names = {f"{kind}{number}": f"{kind}.{number}" for kind in ("norm", "conv") for number in (1, 2)}
        tensors = {renamed(name, names) if "denselayer" in name else name: value for name, value in tensors.items()}
        tensors = behind("module.densenet121.", tensors)
    found = load_backbone(f"timm:{name}", weights=save(tensors), image_size=64).run(Features(images(64))).values
    trunk = [network.features, nn.ReLU()] if name == "densenet121" else list(network.children())[:-2]
    last = nn.Sequential(*trunk)(images(64))
    torch.testing.assert_close(found, last.mean((2, 3)), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_image_tower_of_an_openclip_checkpoint_is_found_among_its_text_tower(save):
    network = unsettled(timm.create_model("test_vit", num_classes=0))
    text = behind("text.transformer.", timm.create_model("test_vit2").state_dict())
    path = save({"state_dict": behind("module.", {
        **behind("visual.trunk.", network.state_dict()), "visual.head.proj.weight": torch.zeros(8, 64),
        **text, "logit_scale": torch.ones(())})})  # fmt: skip
    found = load_backbone("timm:test_vit", weights=path).run(Features(images(160))).values
    assert torch.equal(found, network(images(160)))


def test_weights_of_another_network_are_refused_with_how_many_fit_and_the_nearest_names(save):
    tensors = timm.create_model("test_vit").state_dict()
    strange = {renamed(name, {"attn.qkv": "attn.query_key_value"}): value for name, value in tensors.items()}
    with pytest.raises(BackboneError, match=r"(?s)66 of its 78 tensors are there.*nearest to blocks\.0\.attn\.qkv"
                                            r"\.weight in the file: blocks\.0\.attn\.query_key_value"):  # fmt: skip
        load_backbone("timm:test_vit", weights=save(strange))
    with pytest.raises(BackboneError, match="0 of its"):
        load_backbone("timm:resnet18", weights=save(tensors))


@pytest.mark.parametrize("extra", ["blocks.6.norm1.weight", "blocks.0.ls1.gamma", "register_tokens"])
def test_tensors_that_change_what_the_network_computes_are_not_left_out(extra, save):
    tensors = timm.create_model("test_vit").state_dict() | {extra: torch.zeros(64)}
    with pytest.raises(BackboneError, match=f"smaller or of another kind.*\n.*{extra}"):
        load_backbone("timm:test_vit", weights=save(tensors))


def xray_network():
    """A DenseNet-121 of one channel and 18 classes under torchxrayvision's names, which are torchvision's."""
    network = torchvision.models.densenet121(num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return unsettled(network)


@torch.inference_mode()
def test_torchxrayvisions_densenet_gives_its_features_of_values_from_minus_1024_to_1024(save, tmp_path):
    network = xray_network()
    tensors = network.state_dict() | {"op_threshs": torch.zeros(18)}
    backbone = load_backbone("xrv:densenet121", weights=save(tensors), image_size=64)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    read = backbone.contract.read(str(tmp_path / "x.png"))
    expected = torch.from_numpy((2 * (pixels / 255.0) - 1) * 1024).float()[None]
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-3)
    features = network.features(expected[None]).relu().mean((2, 3))
    assert 1 < features.max() < 1e5
    torch.testing.assert_close(backbone.run(Features(read[None])).values, features, rtol=1e-3, atol=1e-2)
    assert (backbone.id, backbone.options) == ("xrv:densenet121", {"image_size": 64})
    assert [stage.name for stage in backbone.stages] == ["stem", "block1", "block2", "block3", "block4", "pool"]


def test_torchxrayvision_without_a_file_says_how_to_make_one():
    with pytest.raises(BackboneError, match=r"(?s)could run code.*densenet121-res224-all.*state_dict"):
        load_backbone("xrv:densenet121")
    with pytest.raises(BackboneError, match="known: xrv:densenet121"):
        load_backbone("xrv:resnet50")


def test_swin_unetrs_self_supervised_encoder_and_its_supervised_weights_load_under_their_published_names(save):
    from monai.networks.nets import SwinUNETR

    torch.manual_seed(0)
    whole = SwinUNETR(1, 32, feature_size=48).state_dict()
    names = {".mlp.linear1.": ".mlp.fc1.", ".mlp.linear2.": ".mlp.fc2.", "swinViT.": ""}
    encoder = {renamed(name, names): value for name, value in whole.items() if name.startswith("swinViT.")}
    heads = {"rotation_head.weight": torch.zeros(4, 768), "contrastive_head.weight": torch.zeros(512, 768)}
    path = save({"epoch": 1, "state_dict": behind("module.", encoder | heads)})
    found = load_backbone("monai:swinvit-3d", weights=path, image_size=32).network.state_dict()
    assert all(torch.equal(found[name.removeprefix("swinViT.")], value) for name, value in whole.items()
               if name.startswith("swinViT."))  # fmt: skip
    suprem = behind("module.backbone.", whole) | {"module.organ_embedding": torch.zeros(32, 256)}
    segmenter = load_backbone("monai:swinunetr-3d", weights=save({"net": suprem}), image_size=64, mask_values="0,1")
    assert all(torch.equal(value, whole[name]) for name, value in segmenter.network.state_dict().items())


def test_suprems_segresnet_is_as_wide_as_its_file(save):
    from monai.networks.nets import SegResNet

    torch.manual_seed(0)
    own = SegResNet(blocks_down=[1, 2, 2, 4], blocks_up=[1, 1, 1], init_filters=16, in_channels=1, out_channels=32)
    own.eval()
    path = save({"net": behind("module.backbone.", own.state_dict()), "epoch": 3})
    segmenter = load_backbone("monai:segresnet-3d", weights=path, image_size=16, mask_values="0,1")
    assert segmenter.feature_dim == 16
    assert segmenter.new_parameters == ()
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = own.conv_final[2](segmenter.run(Features(image)).values)
        torch.testing.assert_close(found, own(image), atol=1e-4, rtol=1e-4)
    assert {name: value.shape for name, value in segmenter.build().state_dict().items()} == {
        name: value.shape for name, value in segmenter.network.state_dict().items()}  # fmt: skip


def ct_fm(dsdepth=1):
    """CT-FM's network in two dimensions, as lighter_zoo makes it of its config.json, with its norms moved."""
    from monai.networks.nets import SegResNetDS

    torch.manual_seed(0)
    return unsettled(SegResNetDS(2, 32, 1, 3, blocks_down=[1, 2, 2, 4, 4], dsdepth=dsdepth))


@torch.no_grad()
def test_ct_fm_as_an_encoder_and_as_a_whole_with_heads_at_every_level(save):
    own = ct_fm(dsdepth=4)
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    vector = own.encoder(image)[-1].flatten(2).mean(2)
    alone = save(own.encoder.state_dict(), "encoder.pth")
    whole = save(own.state_dict(), "whole.pth")
    for path in (alone, whole):
        encoder = load_backbone("monai:segresencoder-2d", weights=path, image_size=32)
        torch.testing.assert_close(encoder.run(Features(image)).values, vector, atol=1e-4, rtol=1e-4)
    segmenter = load_backbone("monai:segresnetds-2d", weights=whole, image_size=32, mask_values="0,1")
    maps = segmenter.run(Features(image)).values
    torch.testing.assert_close(own.up_layers[-1]["head"](maps), own(image), atol=1e-4, rtol=1e-4)


def test_a_decoder_that_a_file_lacks_begins_at_random_is_listed_and_learnt(save, caplog):
    own = ct_fm()
    path = save(own.encoder.state_dict())
    with caplog.at_level(logging.WARNING):
        segmenter = load_backbone("monai:segresnetds-2d", weights=path, image_size=32, mask_values="0,1")
    state = segmenter.network.state_dict()
    fresh = [name for name in state if name.startswith("up_layers.")]
    assert f"the file holds an encoder alone: {len(fresh)} tensors of the decoder begin at random" in caplog.text
    assert fresh[0] in caplog.text
    assert set(segmenter.new_parameters) == {name for name, _ in segmenter.network.named_parameters()
                                             if name.startswith("up_layers.")}  # fmt: skip
    assert all(torch.equal(state[f"encoder.{name}"], value) for name, value in own.encoder.state_dict().items())
    part = own.state_dict()
    del part["up_layers.2.upsample.deconv.weight"]
    with pytest.raises(BackboneError, match=r"missing from the file: up_layers.2.upsample"):
        load_backbone("monai:segresnetds-2d", weights=save(part), image_size=32, mask_values="0,1")


@pytest.mark.parametrize("id", ["xrv:densenet121", "monai:segresnet-2d"])
def test_a_whole_pickled_network_is_not_loaded_but_told_how_to_be_saved(id, tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3)), tmp_path / "whole.pt")
    with pytest.raises(
        BackboneError, match=r"(?s)could run code and are not loaded.*torch.save\(torch.load\("
    ) as found:
        load_backbone(id, weights=str(tmp_path / "whole.pt"))
    command = str(found.value).partition('python -c "')[2].rstrip('"')
    exec(command, {})
    assert set(torch.load(tmp_path / "whole.tensors.pt", weights_only=True)) == {"0.weight", "0.bias"}
