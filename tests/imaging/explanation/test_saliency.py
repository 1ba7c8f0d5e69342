"""Grad-CAM against MONAI's, on planted findings, and maps in the geometry of their files."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation, ornt_transform
from PIL import Image
from torch import nn

from graftwork.core import Manifest, Recipe, Stage, finetune
from graftwork.core.errors import SettingsError
from graftwork.core.types import Features
from graftwork.imaging import ImageContract, backbone_from_module, explain, load_backbone, read_scan
from graftwork.imaging.formats.output_names import output_names
from graftwork.imaging.formats.volume_output import write_volume

RECIPE = Recipe(epochs=2, batch_size=6, device="cpu", workers=0, augment="off", compile="off")


@pytest.fixture
def pictures(tmp_path, rng):
    """Twelve pictures (48 x 64) of noise; every second has a bright square at rows 6 to 18 and columns 40 to 56."""
    paths = []
    for number in range(12):
        values = rng.uniform(0, 60, (48, 64))
        values[6:18, 40:56] += 180 * (number % 2)
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(values.astype(np.uint8)).save(paths[-1])
    return paths


@pytest.fixture
def volumes(tmp_path, rng):
    """Twelve volumes of noise, stored as LAS with voxels of 2 mm, every second with a bright cube; and the cube's mask
    in the file's own order."""
    mask = np.zeros((26, 24, 22), bool)
    mask[15:22, 3:10, 4:10] = True
    paths = []
    for number in range(12):
        values = rng.uniform(0, 1, mask.shape) + 3 * mask * (number % 2)
        paths.append(str(tmp_path / f"{number}.nii.gz"))
        image = nibabel.Nifti1Image(values.astype(np.float32), np.diag([-2.0, 2.0, 2.0, 1.0]))
        image.set_qform(None, 0)
        nibabel.save(image, paths[-1])
    return paths, mask


def graft(backbone, paths, task="single-label", strategy="probe", features="last"):
    values = np.arange(len(paths)) % 2
    if task == "multi-label":
        values = np.stack([values, 1 - values], 1).astype(float)
    elif task == "regression":
        values = values * 40.0
    classes = () if task == "regression" else ("plain", "marked")
    if task == "multi-label":
        classes = ("marked", "plain")
    manifest = Manifest("own", tuple(paths), task, "finding", classes, values)
    return finetune(backbone, manifest, strategy=strategy, recipe=replace(RECIPE, features=features)).adapter


def brightness(dims, intensity, spacing_mm=None):
    """A network whose only stage with a map gives how bright squares or cubes of four pixels are."""
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    convolution = kind(1, 1, 4, stride=4)
    nn.init.constant_(convolution.weight, 1 / 4**dims)
    nn.init.zeros_(convolution.bias)
    contract = ImageContract(dims, 1, (32,) * dims, intensity, (0.0,), (1.0,), spacing_mm)
    return backbone_from_module(nn.Sequential(convolution), [("bright", "0")], contract=contract)


class Outputs(nn.Module):
    """A graft as an ordinary network, as MONAI wants one."""

    def __init__(self, own):
        super().__init__()
        self.backbone, self.own = own.network, own

    def forward(self, values):
        return self.own(self.own.backbone.contract.collate(list(values)))


@pytest.mark.parametrize(("id", "strategy"), [("tiny:cnn2d", "lora"), ("i3d:tiny:cnn2d", "probe")])
def test_maps_are_those_of_monai(id, strategy, pictures, volumes):
    paths = (volumes[0] if "i3d" in id else pictures)[:6]
    adapter = graft(load_backbone(id, image_size=32), paths, "multi-label", strategy)
    own = explain(adapter, paths[1], output="plain", stage="layer2")
    network = Outputs(adapter.graft)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    cam = GradCAM(nn_module=network, target_layers="backbone.layer2", postprocessing=lambda values: values)
    example = adapter.backbone.contract.read(paths[1])
    network.own.frontier = 0
    expected = cam(example[None], class_idx=1)[0]
    placed = adapter.backbone.contract.onto_scan(expected.detach(), own.scan)[0].numpy()
    assert placed.max() > 0
    np.testing.assert_allclose(own.values, placed / placed.max(), atol=2e-3)


@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_a_planted_finding_is_where_the_map_is_strongest(pictures, task):
    adapter = graft(brightness(2, "window:0:255"), pictures, task)
    found = explain(adapter, pictures[1], output=None if task == "regression" else "marked")
    row, column = found.strongest
    assert found.values.shape == (48, 64)
    assert found.values.max() == 1
    assert 6 <= row < 18
    assert 40 <= column < 56
    assert found.output == ("finding" if task == "regression" else "marked")


def test_a_finding_that_an_earlier_stage_tells_is_shown_there(pictures):
    """The later stage, which says nothing of the place, has no part in the prediction."""
    bright = brightness(2, "window:0:255")
    blind = Stage("blind", lambda network, features: replace(features, values=0 * features.values))
    backbone = replace(bright, stages=(bright.stages[0], blind, *bright.stages[1:]))
    found = explain(graft(backbone, pictures, features="bright"), pictures[1], output="marked")
    row, column = found.strongest
    assert found.stage == "bright"
    assert 6 <= row < 18
    assert 40 <= column < 56


@pytest.mark.parametrize("spacing_mm", [None, 1.5])
def test_a_planted_finding_in_a_volume_is_found_in_the_file_s_own_order(volumes, tmp_path, spacing_mm):
    paths, mask = volumes
    adapter = graft(brightness(3, "window:0:4", spacing_mm), paths)
    found = explain(adapter, paths[1], output="marked")
    write_volume(tmp_path / "map.nii.gz", found.values, found.scan)
    stored = np.asarray(nibabel.load(tmp_path / "map.nii.gz").dataobj)
    assert stored.shape == mask.shape
    assert mask[np.unravel_index(stored.argmax(), stored.shape)]
    assert stored[mask].mean() > 2 * stored[~mask].mean()


@pytest.mark.parametrize(
    ("id", "strategy"), [("acs:tiny:cnn2d", "probe"), ("slices:tiny:cnn2d", "lora"), ("monai:resnet10-3d", "partial:1")]
)
def test_maps_of_every_kind_of_volume_network_have_the_scan_s_shape(volumes, id, strategy):
    torch.manual_seed(0)
    backbone = load_backbone(id, image_size=32, weights="random" if "monai" in id else None)
    adapter = graft(backbone, volumes[0][:6], strategy=strategy)
    shown = [explain(adapter, volumes[0][1], output=name) for name in ("plain", "marked")]
    assert all(one.values.shape == (22, 24, 26) for one in shown)
    assert max(one.values.max() for one in shown) == 1
    assert min(one.values.min() for one in shown) >= 0


def test_slices_are_weighted_together_as_one_volume(volumes):
    """The mean gradient over all places of all slices, by hand."""
    adapter = graft(load_backbone("slices:tiny:cnn2d", image_size=32), volumes[0][:6], "multi-label")
    own, contract = adapter.graft, adapter.backbone.contract
    found = explain(adapter, volumes[0][1], output="marked", stage="layer2")
    batch = contract.collate([contract.read(volumes[0][1])])
    maps = adapter.backbone.run(batch, 0, 3).values.detach().clone().requires_grad_()
    assert maps.shape[1] == 32
    own.head(adapter.backbone.run(Features(maps.clone()), 3).values)[0, 0].backward()
    weights = maps.grad.mean((1, 3, 4), keepdim=True)
    cam = (weights * maps).sum(2).detach()[:, None].clamp_min(0)
    cam = torch.nn.functional.interpolate(cam, size=(32, 32, 32), mode="trilinear")[0]
    expected = contract.onto_scan(cam, found.scan)[0].numpy()
    np.testing.assert_allclose(found.values, expected / expected.max(), atol=1e-4)


def test_a_transformer_is_explained_by_its_patches(pictures):
    torch.manual_seed(0)
    adapter = graft(load_backbone("timm:vit_tiny_patch16_224", weights="random", image_size=64), pictures)
    found = explain(adapter, pictures[1], output="marked")
    # Behind the last block only the class token is looked at.
    assert found.stage == "block11"
    assert found.values.max() == 1
    with pytest.raises(SettingsError, match="no map in a stage 'pool'; there are maps in embed, block1"):
        explain(adapter, pictures[1], stage="pool")


def test_small_images_are_explained_by_a_stage_with_cells_enough(pictures):
    adapter = graft(load_backbone("tiny:cnn2d", image_size=64), pictures)
    assert explain(adapter, pictures[1]).stage == "layer3"
    assert explain(adapter, pictures[1], stage="layer4").stage == "layer4"


def test_of_exclusive_classes_each_has_the_other_s_evidence_against_it(pictures):
    adapter = graft(load_backbone("tiny:cnn2d"), pictures)
    for_it, against = (explain(adapter, pictures[1], output=name) for name in ("marked", "plain"))
    assert for_it.prediction + against.prediction == pytest.approx(1)
    # Log-odds of two classes differ in sign alone, so no place can raise both.
    assert float((for_it.values * against.values)[8:16, 42:54].max()) < 0.05


def test_a_network_without_maps_and_outputs_that_there_are_not_are_refused(pictures):
    contract = ImageContract(2, 3, (16, 16), "auto", (0.0,) * 3, (1.0,) * 3)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 8))
    with pytest.raises(SettingsError, match="no stage with a map, only network, pool"):
        explain(graft(backbone_from_module(flat, contract=contract), pictures), pictures[0])
    adapter = graft(load_backbone("tiny:cnn2d"), pictures)
    with pytest.raises(SettingsError, match="no class 'tumour'; there are plain, marked"):
        explain(adapter, pictures[0], output="tumour")
    with pytest.raises(SettingsError, match="'finding' is a number"):
        explain(graft(load_backbone("tiny:cnn2d"), pictures, "regression"), pictures[0], output="marked")


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR", "LPI", "AIL"])
@pytest.mark.parametrize("forms", [(1, 0), (0, 2), (1, 2), (0, 0)])
def test_a_volume_is_written_voxel_by_voxel_in_the_geometry_of_its_file(tmp_path, rng, codes, forms):
    affine = np.array([[1.5, 0.1, 0, -20], [-0.1, 2.0, 0.2, 30], [0, -0.2, 3.0, 4], [0, 0, 0, 1.0]])
    canonical = nibabel.Nifti1Image(rng.normal(size=(4, 5, 6)).astype(np.float32), affine)
    image = canonical.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))
    assert "".join(aff2axcodes(image.affine)) == codes
    image.set_qform(image.affine, forms[0], strip_shears=True)
    image.set_sform(image.affine, forms[1])
    image.header["descrip"] = b"Muster^Erika"
    nibabel.save(image, tmp_path / "in.nii")
    scan = read_scan(str(tmp_path / "in.nii"))
    write_volume(tmp_path / "out.nii.gz", scan.values[0], scan)
    before, after = nibabel.load(tmp_path / "in.nii"), nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(after.get_fdata(dtype=np.float32), before.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(after.affine, before.affine)
    for way in ("get_qform", "get_sform"):
        (own, own_code), (theirs, their_code) = (getattr(one, way)(coded=True) for one in (after, before))
        assert own_code == their_code
        assert own is None or np.array_equal(own, theirs)
    assert after.header.get_zooms() == before.header.get_zooms()
    assert b"Muster" not in after.to_bytes()


@pytest.mark.parametrize("spacing_mm", [None, 1.0, 3.0])
def test_what_the_network_sees_is_laid_back_onto_the_scan(tmp_path, spacing_mm):
    values = np.zeros((31, 24, 20), np.float32)
    values[18:22, 6:9, 12:15] = 1
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 1.5, 1.0])), tmp_path / "v.nii")
    contract = ImageContract(3, 1, (32,) * 3, "window:0:1", (0.0,), (1.0,), spacing_mm=spacing_mm)
    path = str(tmp_path / "v.nii")
    scan = contract.scan(path)
    back = contract.onto_scan(contract.read(path), scan)[0].numpy()
    assert back.shape == scan.spatial_shape
    places = np.argwhere(back > 0.5 * back.max())
    np.testing.assert_allclose(places.mean(0), (13, 7, 19.5), atol=1.1)


def test_outputs_have_the_names_of_their_files_and_never_the_same_one():
    paths = ["a/x.png", "b/x.nii.gz", "c/m.npz#train/3", "d/series#series=1.2", "e/t1.nii.gz|e/t2.nii.gz", "IM01"]
    assert output_names(paths) == ["x", "x-2", "m-train-3", "series", "t1", "IM01"]
