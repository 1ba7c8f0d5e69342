"""Images with their masks as a network takes them, in patches."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from graftwork.core.errors import ContractError, SettingsError
from graftwork.imaging import MaskContract
from graftwork.imaging.segmentation.mask_contract import _drawn_voxel, _resized_mask
from tests.imaging.segmentation.conftest import contract


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


def test_a_picture_in_a_task_of_volumes_is_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8)).save(tmp_path / "flat.png")
    with pytest.raises(ContractError, match=r"flat.png: is a 2D image of 9 x 9 pixels"):
        contract().read(str(tmp_path / "flat.png"))


@pytest.mark.parametrize(("fields", "said"), [
    ({"values": (1,)}, r"at least two different whole numbers, found \(1,\)"),
    ({"values": (0, 1, 1)}, r"at least two different whole numbers, found \(0, 1, 1\)"),
    ({"values": (0, -1)}, r"at least two different whole numbers, found \(0, -1\)"),
    ({"names": ("a", "b")}, "a name for each of 3 mask values"),
    ({"names": ("a", "b", "b")}, "a name of its own for every class"),
    ({"other_values": "ignore"}, "--other-values: expected refuse or background or nearest, found 'ignore'"),
    ({"other_values": "nearest"}, "--other-values nearest takes two --mask-values"),
    ({"mask_order": "file"}, "--mask-order: expected place or stored, found 'file'"),
    ({"overlap": 1.0}, "--overlap: expected at least 0 and below 1, found 1.0"),
    ({"overlap": -0.1}, "--overlap: expected at least 0 and below 1, found -0.1"),
])  # fmt: skip
def test_fields_that_contradict_each_other_are_named(fields, said):
    with pytest.raises(SettingsError, match=said):
        replace(contract(), **fields)


@pytest.mark.parametrize("fields", [
    {}, {"names": ("rest", "liver", "tumour"), "overlap": 0.25, "largest_component": True},
    {"other_values": "background", "mask_order": "stored", "spacing_mm": 1.5},
])  # fmt: skip
def test_a_contract_survives_json(fields):
    own = contract(**fields)
    assert MaskContract.from_json(json.loads(json.dumps(own.to_json()))) == own


def test_what_was_saved_before_masks_had_names_and_an_order_is_read_and_equal():
    plain = contract().to_json()
    assert "mask_order" not in plain
    del plain["names"]
    assert MaskContract.from_json(plain) == contract()


def test_json_of_something_else_is_refused():
    for plain in ({}, contract().to_json() | {"size": 3}, {"image": contract().image.to_json()}):
        with pytest.raises(SettingsError, match="not a contract of masks"):
            MaskContract.from_json(plain)


def test_classes_are_numbered_in_the_order_of_the_values_and_called_by_them_or_by_name(case):
    path = case((4, 5, 6))
    own = contract()
    _, scan = own.read_with_scan(path)
    mask = path.partition("#mask=")[2]
    stored = np.asarray(nibabel.load(mask).dataobj).T
    assert (own.truth(mask, scan) == stored).all()
    turned = replace(own, values=(2, 0, 1))
    assert (turned.truth(mask, scan) == np.array([1, 2, 0])[stored]).all()
    assert turned.labels == ("2", "0", "1")
    assert replace(own, names=("a", "b", "c")).labels == ("a", "b", "c")


def test_padding_is_taken_off_again_by_its_margins():
    own = contract((8, 8, 8))
    image = torch.rand(1, 5, 8, 11, generator=torch.Generator().manual_seed(0)) + 1
    padded = own.padded(image)
    assert padded.shape == (1, 8, 8, 11)
    assert not own.is_patch(padded)
    assert own.is_patch(padded[..., :8])
    assert own.margins(image.shape[1:]) == [0, 0, 0, 0, 1, 2]  # the last axis first
    assert torch.equal(padded[:, 1:6], image)
    assert padded[:, 0].unique().tolist() == padded[:, 6:].unique().tolist() == [float(image.min())]


def test_pictures_without_a_spacing_are_stretched_to_the_patch_and_their_masks_by_the_largest_share(tmp_path):
    classes = np.zeros((16, 16), np.uint8)
    classes[:8], classes[8:, 8:] = 1, 2
    classes[0, 0] = 0  # one pixel of four: the others decide
    Image.fromarray(classes * 100).save(tmp_path / "i.png")
    Image.fromarray(classes).save(tmp_path / "m.png")
    found = contract((8, 8)).read(f"{tmp_path / 'i.png'}#mask={tmp_path / 'm.png'}")
    expected = torch.zeros(8, 8)
    expected[:4], expected[4:, 4:] = 1, 2
    assert found.shape == (2, 8, 8)
    assert torch.equal(found[1], expected)


def test_a_patch_is_drawn_about_a_class_and_not_about_what_is_ignored():
    mask = torch.full((6, 6), -1.0)
    mask[1, 2], mask[4, 4] = 0.0, 2.0
    found = {tuple(_drawn_voxel(mask, np.random.default_rng(seed))) for seed in range(20)}
    assert found == {(1, 2), (4, 4)}
    assert len(_drawn_voxel(torch.full((6, 6), -1.0), np.random.default_rng(0))) == 2


def test_what_is_ignored_stays_so_at_another_size():
    mask = torch.zeros(8, 8)
    mask[:4], mask[4:, :4] = -1, 1
    found = _resized_mask(mask, (4, 4), 2)
    assert (found[:2] == -1).all()
    assert (found[2:, :2] == 1).all()
    assert (found[2:, 2:] == 0).all()
