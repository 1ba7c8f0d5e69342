"""Masks as annotation tools write them: palettes are classes, and what compression or smoothing made up is none."""

import io

import numpy as np
import pytest
from PIL import Image

from graftwork.core.errors import SettingsError, UnreadableError
from graftwork.imaging import load_backbone, read_manifest
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.segmentation.mask_files import mask_values, read_mask


@pytest.fixture
def truth():
    """(height, width) of three classes, away from the border."""
    found = np.zeros((40, 48), np.uint8)
    found[8:30, 6:26] = 1
    found[14:20, 10:18] = 2
    return found


@pytest.fixture
def scan(tmp_path, truth, rng):
    Image.fromarray((60 * truth + rng.integers(0, 20, truth.shape)).astype(np.uint8)).save(tmp_path / "image.png")
    return read_scan(str(tmp_path / "image.png"))


@pytest.mark.parametrize("colours", [[0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 0, 0, 127, 127, 127, 255, 255, 255]])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_the_mask_of_a_palette_is_its_numbers_not_its_colours(tmp_path, truth, scan, colours, ending):
    picture = Image.fromarray(truth, mode="P")
    picture.putpalette(colours + [0] * (768 - len(colours)))
    path = str(tmp_path / f"mask.{ending}")
    picture.save(path)
    np.testing.assert_array_equal(read_mask(path, scan, (0, 1, 2)), np.asarray(Image.open(path)))
    assert mask_values([f"{scan.path}#mask={path}"]) == [(0, 1, 2)]


def jpeg(picture, place):
    picture.save(place.with_suffix(".jpg"), quality=80)
    return str(place.with_suffix(".jpg"))


def jpeg_in_tiff(picture, place):
    picture.save(place.with_suffix(".tif"), compression="jpeg")
    return str(place.with_suffix(".tif"))


def jpeg_as_png(picture, place):
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=60)
    Image.open(content).save(place.with_suffix(".png"))
    return str(place.with_suffix(".png"))


def smoothed(picture, place):
    size = picture.size
    picture.resize((size[0] - 1, size[1] - 1), Image.BILINEAR).resize(size, Image.BILINEAR).save(
        place.with_suffix(".png")
    )
    return str(place.with_suffix(".png"))


@pytest.mark.parametrize("save", [jpeg, jpeg_in_tiff, jpeg_as_png, smoothed])
def test_values_that_compression_or_smoothing_made_up_are_refused_or_taken_for_the_nearer(tmp_path, truth, scan, save):
    path = save(Image.fromarray((truth > 0).astype(np.uint8) * 255), tmp_path / "mask")
    with pytest.raises(UnreadableError, match="--mask-values 0,255 --other-values nearest"):
        mask_values([path])
    assert len(mask_values([path], other_values="nearest")[0]) > 4
    expected = np.asarray(Image.open(path)).astype(int) >= 128
    np.testing.assert_array_equal(read_mask(path, scan, (0, 255), "nearest") == 1, expected)
    assert abs(int(expected.sum()) - int((truth > 0).sum())) < 50


@pytest.mark.parametrize("others", ["refuse", "background"])
def test_a_jpeg_is_no_mask_even_where_its_values_are_named(tmp_path, truth, scan, others):
    path = jpeg(Image.fromarray((truth > 0).astype(np.uint8) * 255), tmp_path / "mask")
    with pytest.raises(UnreadableError, match=r"mask\.jpg: holds \d+ values \(0, 1, .* by its lossy compression"):
        read_mask(path, scan, (0, 255), others)


def test_a_photograph_is_no_mask(tmp_path, rng):
    ramp = np.linspace(0, 200, 64)[None] * np.linspace(0.3, 1, 64)[:, None] + rng.normal(0, 3, (64, 64))
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    with pytest.raises(UnreadableError, match=r"photo\.png and its like: \d+ of \d+ values .* lie between others only"):
        mask_values([str(tmp_path / "photo.png")])


def test_many_classes_thin_ones_and_landmarks_of_one_voxel_are_classes(tmp_path, rng):
    regions = np.kron(rng.permutation(48).reshape(6, 8), np.ones((6, 6))).astype(np.uint8)
    landmarks = np.zeros((30, 30), np.uint8)
    landmarks[4::5, 4::5] = np.arange(1, 37).reshape(6, 6)[:5, :5].repeat(2, 0)[:6, :].repeat(2, 1)[:, :6]
    rings = np.zeros((30, 30), np.uint8)
    for number in range(1, 4):
        rings[3 * number : -3 * number, 3 * number : -3 * number] = number
    rings[12:-12, 12:-12] = 9
    for name, mask in (("regions", regions), ("landmarks", landmarks), ("rings", rings)):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
        assert mask_values([str(tmp_path / f"{name}.png")]) == [tuple(np.unique(mask).tolist())]


def test_nearest_is_for_two_values(tmp_path):
    with pytest.raises(SettingsError, match="--other-values nearest takes two --mask-values"):
        load_backbone("tiny:cnn2d", image_size=32, mask_values="0,1,2", other_values="nearest")


def test_one_class_saved_as_1_and_as_255_is_asked_about(tmp_path, truth):
    rows = ["path,mask"]
    for number in range(4):
        Image.fromarray(truth * 60 + number).save(tmp_path / f"{number}.png")
        Image.fromarray((truth > 0).astype(np.uint8) * (1, 255)[number % 2]).save(tmp_path / f"m{number}.png")
        rows.append(f"{number}.png,m{number}.png")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    with pytest.raises(SettingsError, match=r"some masks hold 1 and others 255.*--mask-values 0,1,255"):
        read_manifest(str(tmp_path / "m.csv"), target="mask")
    assert read_manifest(str(tmp_path / "m.csv"), target="mask", mask_values="0,1,255").classes == ("0", "1", "255")


def test_palettes_that_number_colours_otherwise_are_refused(tmp_path, truth):
    black, red, green = (0, 0, 0), (128, 0, 0), (0, 128, 0)
    for name, colours in (("a", (black, red, green)), ("b", (black, green, red)), ("c", (red, black, green))):
        picture = Image.fromarray(
            np.array([colours.index(one) for one in (black, red, green)], np.uint8)[truth], mode="P"
        )
        picture.putpalette([part for colour in colours for part in colour] + [0] * 759)
        picture.save(tmp_path / f"{name}.png")
    same = [str(tmp_path / "a.png")] * 2
    assert mask_values(same) == [(0, 1, 2)] * 2
    for name in ("b", "c"):
        with pytest.raises(UnreadableError, match=rf"{name}\.png: its palette has \(.*\) as \d, and .*a\.png"):
            mask_values([*same, str(tmp_path / f"{name}.png")])
