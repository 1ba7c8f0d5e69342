"""Masks in files: what is read, what is refused with a word, and where a written one lies."""

import gzip
import json

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from graftwork.core.example import NO_MASK, File, WithMask, parse_example
from graftwork.core.tasks.masks import IGNORED
from graftwork.imaging import ImageContract, MaskContract, read_manifest, read_scan
from graftwork.imaging.formats.output_names import mask_names, output_names
from graftwork.imaging.segmentation.mask_files import mask_values, read_mask, write_mask

AFFINE = np.array([[1.2, 0, 0, -7], [0, 0.9, 0, 4], [0, 0, 2.5, 11], [0, 0, 0, 1.0]])


@pytest.fixture
def volume(tmp_path):
    """Writes an image or mask (width, height, depth)."""

    def write(values, name, affine=AFFINE, dtype=np.float32):
        nibabel.save(nibabel.Nifti1Image(values.astype(dtype), affine), tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def stored():
    return np.random.default_rng(0).integers(0, 3, (7, 8, 9))


def turned(values, affine, axes):
    """The same voxels in another orientation of the file."""
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    return nibabel.orientations.apply_orientation(values, change), affine @ inv_ornt_aff(change, values.shape)


def test_masks_are_classes_of_the_images_voxels_whatever_the_values(volume, stored):
    values = np.array([0, 4, 17])[stored]
    scan = read_scan(volume(stored + 0.5, "image.nii.gz"))
    mask = volume(np.where(values == 17, 16.9999999, values), "mask.nii.gz")
    assert mask_values([mask]) == [(0, 4, 17)]
    assert (read_mask(mask, scan, (0, 4, 17)) == stored.T).all()


def test_a_mask_stored_in_another_orientation_than_its_image_fits(volume, stored):
    image = volume(stored + 0.5, "image.nii.gz")
    values, affine = turned(stored, AFFINE, "LPI")
    mask = volume(values, "mask.nii.gz", affine, np.uint8)
    assert (read_mask(mask, read_scan(image), (0, 1, 2)) == stored.T).all()


def test_other_values_are_background_where_somebody_says_so(volume, stored):
    scan = read_scan(volume(stored + 0.5, "image.nii.gz"))
    mask = volume(np.array([0, 4, 17])[stored], "mask.nii.gz")
    assert (read_mask(mask, scan, (0, 17), "background") == (stored.T == 2)).all()
    assert (read_mask(mask, scan, (4, 17), "background") == (stored.T == 2)).all()


def test_all_masks_that_do_not_fit_their_images_are_named_together(volume, stored):
    image = volume(stored + 0.5, "image.nii.gz")
    fine, short = volume(stored, "fine.nii.gz"), volume(stored[:-1], "short.nii.gz")
    moved = volume(stored, "moved.nii.gz", SHIFTED)
    assert mask_values([f"{image}#mask={fine}"]) == [(0, 1, 2)]
    Image.fromarray((stored[0] > 1).astype(np.uint8)).save(image.replace("image.nii.gz", "flat.png"))
    slice_ = volume(stored[0].T[:, :, None] + 0.5, "slice.nii.gz", None)
    assert mask_values([f"{slice_}#mask={image.replace('image.nii.gz', 'flat.png')}"]) == [(0, 1)]
    with pytest.raises(UnreadableError) as found:
        mask_values([f"{image}#mask={mask}" for mask in (fine, short, moved)])
    first, *named = str(found.value).splitlines()
    assert first == "2 of 3 masks, or their images, cannot be used:"
    assert "short.nii.gz: has 9 x 8 x 6 voxels" in named[0]
    assert "moved.nii.gz: lies up to 3 mm from its image" in named[1]


SHIFTED = AFFINE + np.outer([0, 1, 0, 0], [0, 0, 0, 3.0])


@pytest.mark.parametrize(("change", "affine", "reason"), [
    (lambda values: values[:-1], AFFINE, "has 9 x 8 x 6 voxels, and its image .*image.nii.gz 9 x 8 x 7"),
    (lambda values: values, SHIFTED, "lies up to 3 mm from its image"),
    (lambda values: np.where(values == 2, 7, values), AFFINE, "holds the values 7, and masks here have 0, 1, 2"),
])  # fmt: skip
def test_a_mask_that_does_not_fit_is_named_with_the_reason(volume, stored, change, affine, reason):
    scan = read_scan(volume(stored + 0.5, "image.nii.gz"))
    mask = volume(change(stored), "mask.nii.gz", affine)
    with pytest.raises(ContractError, match=f"mask.nii.gz: {reason}"):
        read_mask(mask, scan, (0, 1, 2))


@pytest.mark.parametrize("wrong", [0.4, -1.0, np.nan])
def test_what_is_no_whole_number_is_no_mask(volume, stored, wrong):
    values = stored.astype(np.float32)
    values[0, 0, 0] = wrong
    mask = volume(values, "mask.nii.gz")
    with pytest.raises(UnreadableError, match=r"mask.nii.gz: 1 of 504 values are no whole numbers"):
        mask_values([mask])


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIL", "SRA"])
def test_a_written_mask_lies_as_its_image_lies(volume, stored, axes, tmp_path):
    values, affine = turned(stored, AFFINE, axes)
    path = volume(values + 0.5, "image.nii.gz", affine)
    image = nibabel.load(path)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    nibabel.save(image, path)
    scan = read_scan(path)
    classes = (scan.values[0] - 0.5).round().astype(np.int64)
    write_mask(tmp_path / "mask.nii.gz", classes, (0, 5, 9), scan)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert (np.asarray(written.dataobj) == np.array([0, 5, 9])[values]).all()
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 2)
    assert written.get_data_dtype() == np.uint8


def test_no_text_of_a_header_reaches_a_mask(volume, stored, tmp_path):
    path = volume(stored + 0.5, "image.nii.gz")
    image = nibabel.load(path)
    image.header["descrip"], image.header["aux_file"] = b"Erika Muster 1960", b"P-4711"
    nibabel.save(image, path)
    write_mask(tmp_path / "mask.nii.gz", stored.T, (0, 1, 2), read_scan(path))
    written = gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())
    assert b"Erika" in nibabel.load(path).header["descrip"].item()
    assert b"Erika" not in written
    assert b"4711" not in written


def test_the_mask_of_a_picture_is_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (12, 15), dtype=np.uint8)).save(tmp_path / "a.png")
    classes = rng.integers(0, 2, (12, 15))
    write_mask(tmp_path / mask_names(["a.png"])[0], classes, (0, 255), read_scan(str(tmp_path / "a.png")))
    assert (np.asarray(Image.open(tmp_path / "a_mask.png")) == classes * 255).all()
    assert (read_mask(str(tmp_path / "a_mask.png"), read_scan(str(tmp_path / "a.png")), (0, 255)) == classes).all()


def test_masks_are_called_as_their_scans_and_no_two_alike():
    paths = ["x/scan.nii.gz", "y/scan.NII", "x/scan.jpeg", "x/t1.nii.gz|x/t2.nii.gz"]
    assert mask_names(paths) == ["scan_mask.nii.gz", "scan-2_mask.nii.gz", "scan-3_mask.png", "t1_mask.nii.gz"]


def test_a_stray_label_is_named_without_taking_memory_for_it(volume, stored):
    values = stored.astype(np.float64)
    values[0, 0, 0] = 2e10
    scan = read_scan(volume(stored + 0.5, "image.nii.gz"))
    with pytest.raises(ContractError, match="holds the values 20000000000, and masks here have 0, 1, 2"):
        read_mask(volume(values, "mask.nii.gz"), scan, (0, 1, 2))


def test_an_image_named_as_a_mask_is_found_out(volume):
    image = volume(np.random.default_rng(0).permutation(504).reshape(7, 8, 9), "mask.nii.gz")
    with pytest.raises(UnreadableError, match="holds 504 different values: is it a mask"):
        mask_values([image])


def test_values_in_any_order_are_found_at_their_places(volume, stored):
    scan = read_scan(volume(stored + 0.5, "image.nii.gz"))
    mask = volume(np.array([7, 0, 3])[stored], "mask.nii.gz")
    assert (read_mask(mask, scan, (7, 0, 3)) == stored.T).all()


def test_the_mask_of_a_flat_nifti_file_lies_as_the_file(tmp_path):
    values = np.random.default_rng(0).uniform(size=(9, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "flat.nii.gz")
    scan = read_scan(str(tmp_path / "flat.nii.gz"))
    write_mask(tmp_path / "flat_mask.nii.gz", (scan.values[0] > 0.5).astype(np.int64), (0, 1), scan)
    found = nibabel.load(tmp_path / "flat_mask.nii.gz")
    assert (np.asarray(found.dataobj) == (values > 0.5)).all()


def test_a_picture_refuses_values_that_it_cannot_hold(tmp_path):
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(SettingsError, match="holds values up to 65535"):
        write_mask(tmp_path / "m.png", np.eye(4, dtype=np.int64), (0, 70000), read_scan(str(tmp_path / "a.png")))


def test_classes_have_a_name_of_their_own_each():
    image = ImageContract(2, 1, (8, 8), "auto", (0.0,), (1.0,))
    assert MaskContract(image, (0, 4), names=("rest", "liver")).labels == ("rest", "liver")
    assert MaskContract(image, (0, 4)).labels == ("0", "4")
    with pytest.raises(SettingsError, match="a name of its own for every class"):
        MaskContract(image, (0, 4, 5), names=("rest", "liver", "liver"))
    with pytest.raises(SettingsError, match="a name for each of 2 mask values"):
        MaskContract(image, (0, 4), names=("rest",))


def test_names_of_many_files_that_are_called_alike_are_found_at_once():
    names = output_names([f"{number}/image.nii.gz" for number in range(20_000)])
    assert names[:3] == ["0_image", "1_image", "2_image"]
    assert len(set(names)) == 20_000
    names = output_names([f"{number}/a/image.nii.gz" for number in range(20_000)])
    assert names[:3] == ["image", "image-2", "image-3"]
    assert len(set(names)) == 20_000
    assert output_names(["a-2.png", "x/a.png", "y/a.png", "z/a.png"]) == ["a-2", "a", "a-3", "a-4"]


@pytest.mark.parametrize(("image", "mask", "fits"), [(6, 1, False), (3, 3, True), (1, 8, False), (1, 1, True)])
def test_a_camera_that_was_held_another_way_turns_image_and_mask_or_neither(tmp_path, image, mask, fits):
    for name, orientation in (("image", image), ("mask", mask)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / f"{name}.png", exif=exif)
    scan = read_scan(str(tmp_path / "image.png"))
    if fits:
        assert read_mask(str(tmp_path / "mask.png"), scan, (0, 1)).sum() == 8
    else:
        with pytest.raises(ContractError, match=f"EXIF orientation is {mask}, that of its image .* is {image}"):
            read_mask(str(tmp_path / "mask.png"), scan, (0, 1))


def test_masks_of_cases_that_are_called_alike_have_the_names_of_their_cases():
    assert mask_names(["x/case1/scan.nii.gz", "x/case2/scan.nii.gz"]) == [
        "case1_scan_mask.nii.gz", "case2_scan_mask.nii.gz"
    ]  # fmt: skip
    assert output_names(["case1/scan.png"]) == ["scan"]


def test_several_values_are_one_class_and_an_ignored_one_is_none(volume, tmp_path):
    values = np.arange(24).reshape(2, 3, 4) % 6
    scan = read_scan(volume(values.astype(np.float32), "image.nii.gz"))
    mask = volume(values.astype(np.uint8), "mask.nii.gz")
    found = read_mask(mask, scan, (0, 1, 4), merged=((0,), (1, 2, 3), (4,)), ignore_value=5)
    expected = np.array([0, 1, 1, 1, 2, IGNORED])[values].T
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ContractError, match="holds the values 5, and masks here have 0, 1, 4"):
        read_mask(mask, scan, (0, 1, 4), merged=((0,), (1, 2, 3), (4,)))
    other = read_mask(mask, scan, (0, 4), "background", ignore_value=5)
    np.testing.assert_array_equal(other, np.array([0, 0, 0, 0, 1, IGNORED])[values].T)


def test_several_masks_of_one_image_are_joined(tmp_path):
    """As the lesions of BUSI's pictures, one a file."""
    one, two = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint8)
    one[1:3, 1:4], two[2:5, 3:7] = 255, 255
    for name, values in (("a", one), ("a_mask", one), ("a_mask_1", two), ("other", two // 255 * 7)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    scan = read_scan(str(tmp_path / "a.png"))
    joined = f"{tmp_path / 'a_mask.png'}|{tmp_path / 'a_mask_1.png'}"
    np.testing.assert_array_equal(read_mask(joined, scan, (0, 255)), (one | two) > 0)
    assert mask_values([joined]) == [(0, 255)]
    with pytest.raises(UnreadableError, match=r"other\.png has another value than those before it at 1:"):
        mask_values([f"{tmp_path / 'a_mask.png'}|{tmp_path / 'other.png'}"])


def test_a_contract_remembers_what_is_merged_and_ignored():
    image = ImageContract(2, 1, (4, 4), "window:0:1", (0.0,), (1.0,))
    own = MaskContract(image, (0, 1), merged=((0,), (1, 2)), ignore_value=255)
    assert MaskContract.from_json(json.loads(json.dumps(own.to_json()))) == own
    assert not {"merged", "ignore_value"} & set(MaskContract(image, (0, 1)).to_json())


def test_without_a_mask_there_is_background_everywhere(volume, stored):
    image = volume(stored + 0.5, "image.nii.gz")
    example = parse_example(f"{image}#mask=")
    assert example == WithMask(File(image), NO_MASK)
    assert str(example) == f"{image}#mask="
    assert (read_mask(NO_MASK, read_scan(image), (4, 17)) == 0).all()
    assert mask_values([example, volume(stored, "mask.nii.gz")]) == [(), (0, 1, 2)]


def test_an_empty_cell_is_a_case_without_a_finding_which_is_said(volume, stored, tmp_path, caplog):
    for name in ("a", "b", "c"):
        volume(stored + ord(name), f"{name}.nii.gz")
    volume(stored, "m.nii.gz")
    volume(stored, "n.nii.gz")
    (tmp_path / "t.csv").write_text("path,mask\na.nii.gz,m.nii.gz\nb.nii.gz,\nc.nii.gz,n.nii.gz\n")
    with caplog.at_level("WARNING"):
        found = read_manifest(tmp_path / "t.csv")
    assert found.masks[1] == NO_MASK
    assert found.classes == ("0", "1", "2")
    assert "1 of 3 rows have an empty cell in 'mask' and are taken for cases without a finding" in caplog.text
    assert len(read_manifest(tmp_path / "t.csv", missing_labels="drop")) == 2
