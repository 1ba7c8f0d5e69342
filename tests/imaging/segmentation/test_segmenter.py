"""Images with masks as a network takes them, in patches, and whole scans put together again from patches."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graftwork.core.errors import BackboneError, ContractError, SettingsError
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
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.mask_contract import _drawn_voxel
from graftwork.imaging.segmentation.overlays import shown_range
from graftwork.imaging.segmentation.segmenter import PatchSegmenter


def contract(size=(8, 8, 8), **fields):
    dims = len(size)
    image = ImageContract(dims, 1, size, "window:0:1", (0.0,), (1.0,), fields.pop("spacing_mm", None))
    return MaskContract(image, (0, 1, 2), **fields)


@pytest.fixture
def case(tmp_path):
    """Writes an image of 0, 0.4 and 0.8 (width, height, depth), and the mask that each voxel tells by its value."""

    def write(shape, spacing=(1.0, 1.0, 1.0), seed=0, rare=False):
        rng = np.random.default_rng(seed)
        classes = np.zeros(shape, np.uint8) if rare else rng.integers(0, 3, shape, dtype=np.uint8)
        if rare:
            classes[0, 0, 0], classes[-1, -1, -1] = 1, 2
        affine = np.diag([*spacing, 1.0])
        nibabel.save(nibabel.Nifti1Image((classes * 0.4).astype(np.float32), affine), tmp_path / "i.nii.gz")
        nibabel.save(nibabel.Nifti1Image(classes, affine), tmp_path / "m.nii.gz")
        return f"{tmp_path / 'i.nii.gz'}#mask={tmp_path / 'm.nii.gz'}"

    return write


def by_value(patches):
    """A network that tells the classes of `case` by the voxel's own value."""
    return torch.cat([-(patches - 0.4 * number).abs() for number in range(3)], dim=1) * 50


def test_an_image_and_its_mask_are_one_tensor_as_large_as_a_patch_at_least(case):
    found = contract().read(case((6, 8, 11)))
    assert found.shape == (2, 11, 8, 8)
    assert torch.equal(found[0], found[1] * 0.4)  # both were padded alike: the image with its lowest value
    assert found[1, :, :, 0].sum() == found[1, :, :, 7].sum() == 0
    assert contract().read(case((6, 8, 11)).partition("#")[0]).shape == (1, 11, 8, 8)


def test_image_and_mask_are_resampled_to_the_spacing_together(case):
    found = contract(spacing_mm=1.0).read(case((4, 4, 4), (2.0, 2.0, 4.0), rare=True))
    assert found.shape == (2, 16, 8, 8)
    assert found[1, :4, :2, :2].eq(1).sum() >= 8
    assert set(found[1].unique().tolist()) == {0.0, 1.0, 2.0}


def test_in_a_large_mask_a_voxel_of_each_class_is_drawn_from_everywhere(monkeypatch):
    monkeypatch.setattr("graftwork.imaging.segmentation.mask_contract.LOOKED_AT", 500)
    mask = torch.zeros(20, 30, 40)
    mask[5:9, 10:14, 20:24] = 1
    places = [_drawn_voxel(mask, np.random.default_rng(seed)) for seed in range(200)]
    inside = [place for place in places if mask[tuple(place)] == 1]
    assert 60 < len(inside) < 140
    assert len({tuple(place) for place in inside}) > 40  # of 64 voxels
    assert np.ptp([place for place in places if mask[tuple(place)] == 0], axis=0).min() > 15


@pytest.mark.parametrize("changed", [False, True])
def test_patches_show_rare_classes_as_often_as_the_background(case, changed):
    own = contract()
    example = own.read(case((30, 20, 25), rare=True))
    with_class = np.zeros(3)
    for seed in range(60):
        patch = own.patch(example, np.random.default_rng(seed), changed=changed)
        assert patch.shape == (2, 8, 8, 8)
        assert set(patch[1].unique().tolist()) <= {0.0, 1.0, 2.0}
        with_class += [bool((patch[1] == number).any()) for number in range(3)]
    assert with_class[1] >= (5 if changed else 10)  # by chance one patch in thirty would show it
    assert with_class[2] >= (5 if changed else 10)


def test_a_patch_depends_on_its_generator_alone_and_leaves_the_example_as_it_was(case):
    own = contract()
    example = own.read(case((12, 10, 9)))
    before = example.clone()
    patches = [own.patch(example, np.random.default_rng(seed), changed=True) for seed in (3, 3, 4)]
    assert torch.equal(patches[0], patches[1])
    assert not torch.equal(patches[0], patches[2])
    assert torch.equal(example, before)


def test_batches_keep_masks_beside_the_image(case):
    own = contract()
    example = own.patch(own.read(case((12, 10, 9))), np.random.default_rng(0), changed=False)
    batch = own.collate([example, example])
    assert batch.values.shape == (2, 1, 8, 8, 8)
    assert batch.masks.dtype == torch.int64
    assert torch.equal(batch.masks[1], example[1].long())
    assert own.collate([example[:1]]).masks is None


@pytest.mark.parametrize("shape", [(5, 6, 7), (8, 8, 8), (19, 8, 13)])
def test_whole_scans_come_back_voxel_by_voxel_from_patches(case, shape):
    own = contract(overlap=0.5)
    scores = PatchSegmenter(own).scores(case(shape), by_value)
    assert scores.tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


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


def test_a_picture_in_a_task_of_volumes_is_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8)).save(tmp_path / "flat.png")
    with pytest.raises(ContractError, match=r"flat.png: is a 2D image of 9 x 9 pixels"):
        contract().read(str(tmp_path / "flat.png"))


@pytest.mark.parametrize(("id", "levels"), [("tiny:cnn2d", 6), ("i3d:tiny:cnn2d", 6), ("acs:tiny:cnn2d", 6),
                                            ("slices:tiny:cnn2d", 6)])  # fmt: skip
def test_backbones_for_masks_give_the_image_and_the_last_maps_of_every_resolution(id, levels):
    torch.manual_seed(0)
    backbone = load_backbone(id, mask_values="0,1", image_size=64)
    image = torch.randn(1, *backbone.contract.blank().shape)
    with torch.no_grad():
        found = backbone.run(Features(image))
    assert torch.equal(found.skips[0], image)
    heights = [maps.shape[-1] for maps in (*found.skips, found.values)]
    assert heights == sorted(set(heights), reverse=True)
    assert len(heights) >= 4
    assert backbone.feature_dim == found.values.shape[1]
    assert all(maps.dim() == image.dim() for maps in found.skips)


def test_maps_of_slices_are_those_of_the_2d_network_slice_by_slice():
    flat, volumes = (load_backbone(f"{way}tiny:cnn2d", mask_values="0,1", image_size=32) for way in ("", "slices:"))
    image = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = volumes.run(Features(image))
        expected = flat.run(Features(image[:, :, 2]))
    for whole, slice_ in zip((*found.skips, found.values), (*expected.skips, expected.values), strict=True):
        torch.testing.assert_close(whole[:, :, 2], slice_, atol=1e-4, rtol=1e-4)


def test_what_lies_behind_the_maps_is_out_of_the_network():
    backbone = load_backbone("timm:mobilenetv3_small_050", weights="random", mask_values="0,1")
    names = [name for name, _ in backbone.network.named_parameters()]
    assert not [name for name in names if name.startswith("conv_head")]
    assert sorted(name for name, _ in backbone.build().named_parameters()) == sorted(names)


def test_a_network_of_tokens_is_refused_for_masks():
    with pytest.raises(BackboneError, match="no stage gives maps"):
        load_backbone("timm:vit_tiny_patch16_224", weights="random", mask_values="0,1")


@pytest.mark.parametrize(("options", "reason"), [
    ({"patch_size": "32"}, "--patch-size is for masks"),
    ({"mask_values": "0,x"}, "--mask-values: expected different whole numbers"),
    ({"mask_values": "0"}, "expected at least two values, the background first"),
    ({"mask_values": "0,1", "other_values": "ignore"}, "--other-values: expected refuse or background"),
    ({"mask_values": "0,1", "patch_size": "3,4"}, "expected DEPTH,HEIGHT,WIDTH"),
    ({"mask_values": "0,1", "overlap": 1.0}, "--overlap: expected at least 0 and below 1"),
    ({"mask_values": "0,1", "patch_size": "20"}, "cannot take patches of"),
])  # fmt: skip
def test_options_of_masks_that_cannot_work_are_named(options, reason):
    with pytest.raises(SettingsError, match=reason):
        load_backbone("monai:segresnet-3d", weights="random", **options)


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


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "gradual", "full", "lora", "bias", "norm", "scratch"])
def test_every_strategy_that_trains_learns_masks_over_what_it_leaves_frozen(strategy, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["path,mask"]
    for number in range(3):
        classes = rng.integers(0, 2, (16, 16, 16), dtype=np.uint8)
        values = classes + rng.normal(0, 0.1, classes.shape)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{number}.nii")
        nibabel.save(nibabel.Nifti1Image(classes, np.eye(4)), tmp_path / f"m{number}.nii")
        lines.append(f"{number}.nii,m{number}.nii")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    manifest = read_manifest(tmp_path / "t.csv", target="mask")
    assert manifest.classes == ("0", "1")
    backbone = load_backbone("i3d:tiny:cnn2d", mask_values="0,1", patch_size="16")
    recipe = Recipe(epochs=2, batch_size=3, cache=str(tmp_path / "cache"), lora_targets="layer3")
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


def test_a_real_mask_fits_its_image_and_judges_itself_as_perfect(real_data):
    folder, name = real_data / "hippocampus", "hippocampus_001.nii.gz"
    path = f"{folder / 'images' / name}#mask={folder / 'labels' / name}"
    image = ImageContract(3, 1, (40, 56, 40), "auto", (0.0,), (1.0,))
    own = MaskContract(image, (0, 1, 2))
    example = own.read(path)
    truth = example[1:].long()

    def told(patches):
        return torch.eye(3)[truth].movedim(-1, 1).float().expand(len(patches), -1, -1, -1, -1) * 50

    assert PatchSegmenter(own).scores(path, told).tolist() == [[1.0, 0.0, 0.0]] * 2


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
    still = Recipe(epochs=1, learning_rate=1e-12, batch_size=1)
    run = finetune(backbone, manifest, manifest, strategy="full", recipe=still)
    assert run.history[0]["val_loss"] == pytest.approx(run.history[0]["train_loss"], rel=1e-4)
    assert run.history[0]["val_loss"] > 1  # more than a Dice can be away from one


def test_a_lesion_is_not_drawn_white_all_over_and_pictures_in_their_full_range():
    values = np.zeros((1, 20, 20), np.float32)
    values[0, 3, 3:6] = (100, 150, 200)  # less than 1 % of the scan
    marked = values[0] > 0
    low, high = shown_range(Scan(values, "a.nii"), values[0], marked)
    assert low == 0
    assert 190 < high <= 200
    assert shown_range(Scan(values, "a.png", full_range=(0, 255)), values[0], marked) == (0, 255)


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
