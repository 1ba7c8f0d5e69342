"""Classes of masks by colours: tables as text and as files, pixels by hand, and what is refused with its number."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from graftwork.core.errors import SettingsError, UnreadableError
from graftwork.imaging import load_backbone, read_manifest, read_scan
from graftwork.imaging.segmentation.class_tables import class_table
from graftwork.imaging.segmentation.mask_contract import MaskContract
from graftwork.imaging.segmentation.mask_files import mask_values, read_mask

TEXT = "0,0,0:rest;255,0,0+250,10,10:tumour;0,0,255:vessel"
TABLE = class_table(TEXT)
PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [250, 10, 10]], dtype=np.uint8)
CLASS = np.array([0, 1, 2, 1])


@pytest.fixture
def drawn() -> np.ndarray:
    """(8, 9) places in PALETTE."""
    return np.random.default_rng(0).integers(0, 4, (8, 9))


def saved(pixels: np.ndarray, path: Path) -> str:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return str(path)


def scan(folder: Path) -> object:
    return read_scan(saved(np.zeros((8, 9)), folder / "image.png"))


def test_a_colour_is_its_class_in_pictures_with_and_without_a_palette(tmp_path: Path, drawn: np.ndarray) -> None:
    coloured = saved(PALETTE[drawn], tmp_path / "rgb.png")
    indexed = Image.fromarray(drawn.astype(np.uint8), mode="P")
    indexed.putpalette(PALETTE.ravel().tolist())
    indexed.save(tmp_path / "indexed.png")
    opaque = saved(np.dstack([PALETTE[drawn], np.full((8, 9), 255)]), tmp_path / "rgba.png")
    for path in (coloured, str(tmp_path / "indexed.png"), opaque):
        assert mask_values([path], table=TABLE) == [(0, 1, 2)]
        np.testing.assert_array_equal(read_mask(path, scan(tmp_path), (0, 1, 2), table=TABLE), CLASS[drawn])


def test_unknown_colours_are_refused_with_their_pixels_or_are_background(tmp_path: Path, drawn: np.ndarray) -> None:
    pixels = PALETTE[drawn]
    pixels[0, :3], pixels[7, 8] = (9, 200, 3), (1, 1, 1)
    path = saved(pixels, tmp_path / "strange.png")
    reason = r"strange.png: 4 of 72 pixels have 2 colours that --mask-colours does not name: 9,200,3 at 3; 1,1,1 at 1"
    with pytest.raises(UnreadableError, match=reason):
        mask_values([path], table=TABLE)
    expected = CLASS[drawn]
    expected[0, :3] = expected[7, 8] = 0
    found = read_mask(path, scan(tmp_path), (0, 1, 2), "background", table=TABLE)
    np.testing.assert_array_equal(found, expected)
    Image.fromarray(PALETTE[drawn]).save(tmp_path / "lossy.jpg")
    with pytest.raises(UnreadableError, match="its compression made them up: save it as PNG"):
        mask_values([tmp_path / "lossy.jpg"], table=TABLE)


def test_what_has_no_colours_of_8_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 9), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UnreadableError, match=r"deep.png: is no picture with 8 bits"):
        mask_values([tmp_path / "deep.png"], table=TABLE)
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    with pytest.raises(UnreadableError, match=r"mask.nii.gz: is no picture, and --mask-colours"):
        mask_values([tmp_path / "mask.nii.gz"], table=TABLE)


def test_tables_in_files_are_those_in_words(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text(
        "name, r, g, b\nrest,0,0,0\ntumour,255,0,0\nvessel,0,0,255\ntumour,250,10,10\n"
    )
    colours = {"rest": [0, 0, 0], "tumour": [[255, 0, 0], [250, 10, 10]], "vessel": [0, 0, 255]}
    (tmp_path / "classes.json").write_text(json.dumps(colours))
    for file in ("classes.csv", "classes.json"):
        found = class_table(str(tmp_path / file))
        assert found == TABLE
        assert found is not None
        assert found.to_json() == {"mask_colours": TEXT}  # adapters keep what the file said, not its path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,0,0:rest", "two or more classes"),
        ("0,0,0:rest;red:tumour", "expected colours and names"),
        ("0,0,0:rest;255,0:tumour", "a colour is three numbers from 0 to 255"),
        ("0,0,0:rest;256,0,0:tumour", "a colour is three numbers from 0 to 255"),
        ("0,0,0:rest;0,0,0:tumour", "is there twice"),
        ("0,0,0:rest;1,0,0:rest", "each with a name of its own"),
        ("0,0,0:rest;1,0,0", "a name is not empty"),
        ("missing.csv", "missing.csv cannot be read"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        class_table(text)


def test_damaged_files_of_colours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("class,colour\nrest,black\n")
    with pytest.raises(SettingsError, match="no column name, r, g, b"):
        class_table(str(tmp_path / "other.csv"))
    (tmp_path / "other.json").write_text('{"rest": 3}')
    with pytest.raises(SettingsError, match="expected names and colours"):
        class_table(str(tmp_path / "other.json"))


@pytest.mark.parametrize(("text", "reason"), [("liver,,spleen", "expected names of structures"),
                                              ("liver,liver:other", "a structure is there twice")])  # fmt: skip
def test_structures_that_cannot_be_meant_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        class_table(structures=text)


def test_a_backbone_keeps_the_table_and_an_adapter_reads_it_again(tmp_path: Path, drawn: np.ndarray) -> None:
    saved(np.zeros((8, 9)), tmp_path / "image.png")
    saved(PALETTE[drawn], tmp_path / "mask.png")
    (tmp_path / "cases.csv").write_text("path,mask,group\nimage.png,mask.png,a\n")
    manifest = read_manifest(tmp_path / "cases.csv", target="mask", mask_colours=TEXT)
    assert manifest.classes == ("rest", "tumour", "vessel")
    backbone = load_backbone("tiny:cnn2d", image_size=32, mask_colours=TEXT)
    again = load_backbone("tiny:cnn2d", **backbone.options)
    for one in (backbone, again):
        assert isinstance(one.contract, MaskContract)
        assert one.contract.table == TABLE
        assert one.contract.labels == ("rest", "tumour", "vessel")
        assert MaskContract.from_json(json.loads(json.dumps(one.contract.to_json()))) == one.contract
    with pytest.raises(SettingsError, match="names the classes, and so does --mask-values"):
        load_backbone("tiny:cnn2d", mask_values="0,1", mask_colours=TEXT)
    with pytest.raises(SettingsError, match="both name classes"):
        read_manifest(tmp_path / "cases.csv", target="mask", mask_colours=TEXT, mask_values="0,1")
    with pytest.raises(SettingsError, match="are of values: leave them out"):
        load_backbone("tiny:cnn2d", mask_colours=TEXT, ignore_value=255)
