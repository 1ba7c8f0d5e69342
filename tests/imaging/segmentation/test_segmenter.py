"""Whole scans put together again from patches, and networks that learn masks."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.backbone import MAPS
from graftwork.core.model.graft import make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.training.finetuning import finetune
from graftwork.core.types import Features
from graftwork.imaging import (
    ImageContract,
    MaskContract,
    backbone_from_module,
    load_adapter,
    load_backbone,
    read_manifest,
    read_scan,
)
from graftwork.imaging.segmentation.segmenter import PatchSegmenter
from tests.imaging.segmentation.conftest import contract


def by_value(patches):
    """A network that tells the classes of `case` by the voxel's own value."""
    return torch.cat([-(patches - 0.4 * number).abs() for number in range(3)], dim=1) * 50


@pytest.mark.parametrize("shape", [(5, 6, 7), (8, 8, 8), (19, 8, 13)])
def test_whole_scans_come_back_voxel_by_voxel_from_patches(case, shape):
    own = contract(overlap=0.5)
    scores = PatchSegmenter(own).scores(case(shape), by_value)
    assert scores[:, :3].tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_masks_are_predicted_at_the_scans_own_voxels_whatever_the_spacing_of_the_network(case):
    path = case((6, 7, 5), (2.0, 1.0, 1.5)).partition("#")[0]
    assert PatchSegmenter(contract(spacing_mm=1.0)).predict(read_scan(path), by_value).shape == (5, 7, 6)


def test_overlapping_patches_equal_the_whole_volume_where_the_network_sees_no_further_than_the_overlap(case):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1)).eval()
    path = case((20, 20, 20)).partition("#")[0]
    with torch.no_grad():
        tiled = PatchSegmenter(contract((12, 12, 12), overlap=0.75)).predict(read_scan(path), network)
        whole = PatchSegmenter(contract((20, 20, 20))).predict(read_scan(path), network)
    inside = (slice(2, -2),) * 3
    assert (tiled[inside] == whole[inside]).mean() > 0.99


def test_only_the_largest_piece_of_a_class_is_kept_on_request(case):
    path = case((10, 10, 10), rare=True).partition("#")[0]

    def two_pieces(patches):
        logits = torch.zeros(len(patches), 3, *patches.shape[2:])
        logits[:, 0] = 1
        logits[:, 1, 1:3, 1:3, 1:3] = logits[:, 1, 6, 6, 6] = 2
        return logits

    found = [PatchSegmenter(contract((10, 10, 10), largest_component=kept)).predict(read_scan(path), two_pieces)
             for kept in (False, True)]  # fmt: skip
    assert [int((classes == 1).sum()) for classes in found] == [9, 8]


class Mesh(nn.Module):
    """As MeshNet: dilated convolutions that keep the size, and three classes of its own."""

    def __init__(self):
        super().__init__()
        blocks = [nn.Sequential(nn.Conv3d(1 if not k else 4, 4, 3, padding=d, dilation=d), nn.BatchNorm3d(4), nn.ELU())
                  for k, d in enumerate((1, 2, 1))]  # fmt: skip
        self.model = nn.Sequential(*blocks, nn.Conv3d(4, 3, 1))

    def forward(self, values):
        return self.model(values)


def test_a_network_of_the_users_keeps_its_maps_where_they_are_as_large_as_the_image():
    stages = [(f"block{place}", f"model.{place}") for place in range(3)]
    with pytest.raises(BackboneError, match=r"model\.3"):
        backbone_from_module(Mesh(), stages, contract=contract())
    network = Mesh()
    network.model[3] = nn.Identity()
    backbone = backbone_from_module(network, stages, contract=contract())
    assert [stage.name for stage in backbone.stages] == ["block0", "block1", "block2", MAPS]
    assert backbone.feature_dim == 4
    assert backbone.run(Features(torch.zeros(1, 1, 8, 8, 8))).skips == ()


@pytest.fixture
def three_volumes(tmp_path):
    """A table of three small volumes with masks."""
    rng = np.random.default_rng(0)
    lines = ["path,mask"]
    for number in range(3):
        classes = rng.integers(0, 2, (16, 16, 16), dtype=np.uint8)
        values = classes + rng.normal(0, 0.1, classes.shape)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{number}.nii")
        nibabel.save(nibabel.Nifti1Image(classes, np.eye(4)), tmp_path / f"m{number}.nii")
        lines.append(f"{number}.nii,m{number}.nii")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return tmp_path / "t.csv"


def test_an_adapter_from_before_decoders_were_deeper_is_read(three_volumes, tmp_path):
    backbone = load_backbone("i3d:tiny:cnn2d", mask_values="0,1", patch_size="16")
    recipe = Recipe(epochs=1, patches=1, cache=str(tmp_path / "cache"), decoder_convolutions=1)
    made = finetune(backbone, read_manifest(three_volumes, target="mask"), recipe=recipe).adapter
    made.save(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "adapter.json").read_text())
    del record["training"]["recipe"]["decoder_convolutions"], record["sha256"]
    (tmp_path / "run" / "adapter.json").write_text(json.dumps(record))
    learnt, again = made.graft.learnt(), load_adapter(tmp_path / "run").graft.learnt()
    assert learnt.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in learnt.items())


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "gradual", "full", "lora", "bias", "norm", "scratch"])
def test_every_strategy_that_trains_learns_masks_over_what_it_leaves_frozen(strategy, three_volumes, tmp_path):
    manifest = read_manifest(three_volumes, target="mask")
    assert manifest.classes == ("0", "1")
    backbone = load_backbone("i3d:tiny:cnn2d", mask_values="0,1", patch_size="16")
    recipe = Recipe(epochs=2, patches=1, batch_size=3, cache=str(tmp_path / "cache"), lora_targets="layer3")
    run = finetune(backbone, manifest, strategy=strategy, recipe=recipe)
    learnt = run.adapter.graft.learnt()
    assert any(name.startswith("backbone.") for name in learnt) == (strategy != "probe")
    assert (run.proof.tensors == 0) == (strategy in ("gradual", "full", "scratch"))
    run.adapter.save(tmp_path / "run")
    again = load_adapter(tmp_path / "run").graft.learnt()
    assert all(torch.equal(value, again[name]) for name, value in learnt.items())


def test_a_network_whose_maps_nobody_makes_masks_of_is_refused_before_it_learns():
    vectors = load_backbone("tiny:cnn2d", image_size=32)
    masks = load_backbone("tiny:cnn2d", mask_values="0,1", image_size=32)
    assert vectors.segmenter is None
    assert masks.segmenter == PatchSegmenter(masks.contract)
    with pytest.raises(SettingsError, match=r"\(load_backbone with mask_values\); tiny:cnn2d has maps, but no"):
        make_graft(replace(masks, segmenter=None), parse_strategy("probe"), Recipe(), "mask", ("0", "1"), 2)


@pytest.mark.parametrize(("strategy", "reason"), [("knn", "not masks"), ("layers:4", "layers needs a network")])
def test_strategies_that_cannot_learn_masks_say_why(strategy, reason):
    backbone = load_backbone("tiny:cnn2d", mask_values="0,1", image_size=32)
    with pytest.raises(SettingsError, match=reason):
        make_graft(backbone, parse_strategy(strategy), Recipe(), "mask", ("0", "1"), 2)


def test_a_real_mask_fits_its_image_and_evaluates_itself_as_perfect(real_data):
    folder, name = real_data / "hippocampus", "hippocampus_001.nii.gz"
    path = f"{folder / 'images' / name}#mask={folder / 'labels' / name}"
    image = ImageContract(3, 1, (40, 56, 40), "auto", (0.0,), (1.0,))
    own = MaskContract(image, (0, 1, 2))
    example = own.read(path)
    truth = example[1:].long()

    def told(patches):
        return torch.eye(3)[truth].movedim(-1, 1).float().expand(len(patches), -1, -1, -1, -1) * 50

    assert PatchSegmenter(own).scores(path, told)[:, :3].tolist() == [[1.0, 0.0, 0.0]] * 2


def test_published_weights_of_a_mesh_network_are_a_backbone_that_strategies_adapt(real_data):
    weights = load_file(real_data.parent / "weights" / "meshnet15_brain.safetensors")
    dilations = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 12, 8, 7, 6, 5, 4, 3, 2, 1)
    blocks = [nn.Sequential(nn.Conv3d(15 if k else 1, 15, 3, padding=d, dilation=d), nn.BatchNorm3d(15), nn.ELU())
              for k, d in enumerate(dilations)]  # fmt: skip
    network = nn.Sequential()
    network.add_module("model", nn.Sequential(*blocks, nn.Conv3d(15, 3, 1)))
    network.load_state_dict(weights)
    network.model[-1] = nn.Identity()
    stages = [(f"block{k}", f"model.{k}") for k in range(19)]
    backbone = backbone_from_module(network, stages, contract=contract((16, 16, 16)), id="custom:meshnet")
    graft = make_graft(backbone, parse_strategy("partial:2"), Recipe(), "mask", ("0", "1", "2"), 2)
    assert graft.plan.frontier == 17
    assert graft(Features(torch.rand(1, 1, 16, 16, 16))).shape == (1, 3, 16, 16, 16)
    assert sum(p.numel() for p in graft.head.parameters()) == 15 * 3 + 3


class Blurred(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1))

    def forward(self, values):
        return self.model(values)


def test_the_loss_of_validation_is_the_loss_that_is_trained(case, tmp_path):
    """Over the same pieces, and with a network that training leaves as it is."""
    image, _, mask = case((8, 8, 8)).partition("#mask=")
    (tmp_path / "m.csv").write_text(f"path,mask\n{image},{mask}\n")
    manifest = read_manifest(str(tmp_path / "m.csv"), target="mask")
    backbone = backbone_from_module(Blurred(), [("block", "model.0")], contract=contract())
    still = Recipe(epochs=1, patches=1, learning_rate=1e-12, batch_size=1, augment="off")
    run = finetune(backbone, manifest, manifest, strategy="full", recipe=still)
    assert run.history[0]["val_loss"] == pytest.approx(run.history[0]["train_loss"], rel=1e-4)
    assert run.history[0]["val_loss"] > 1  # more than a Dice can be away from one


@pytest.mark.gpu
@pytest.mark.parametrize("spacing", [None, 1.5])
def test_a_scan_that_is_put_together_on_a_gpu_has_the_same_mask(case, spacing, monkeypatch):
    own = contract((12, 12, 12), overlap=0.5, spacing_mm=spacing)
    scan, devices = read_scan(case((20, 21, 22)).split("#mask=")[0]), []
    torch.manual_seed(0)
    layer = nn.Conv3d(1, 3, 3, padding=1).eval().requires_grad_(False)

    def run(patches):
        devices.append(patches.device.type)
        return layer.to(patches.device)(patches)

    here = PatchSegmenter(own).predict(scan, run)
    there = PatchSegmenter(own).predict(scan, run, torch.device("cuda"))
    assert set(devices) == {"cpu", "cuda"}
    assert (here == there).mean() > 0.999
    monkeypatch.setattr("graftwork.imaging.segmentation.segmenter.DEVICE_SHARE", 0.0)
    devices.clear()
    PatchSegmenter(own).predict(scan, run, torch.device("cuda"))
    assert set(devices) == {"cpu"}
