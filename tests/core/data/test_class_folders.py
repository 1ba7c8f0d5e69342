"""Folders per class: every file is an example or is counted among what is left out."""

import os
import unicodedata

import pytest

from graftwork.core.data.class_folders import read_class_folders
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError


def fill(folder, *names):
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(name.encode())


def read(folder, suffixes=(".png", ".dcm")):
    found = read_manifest(folder, suffixes=suffixes)
    return [path.removeprefix(f"{folder}/") for path in found.paths], found


def test_what_is_left_out_is_counted_by_its_ending(tmp_path, caplog):
    fill(tmp_path, "a/1.png", "a/2.webp", "a/notes", "a/.DS_Store", "a/.cache/4.png", "b/1.PNG", "b/2.webp", "top.csv")
    paths, _ = read(tmp_path)
    assert paths == ["a/1.png", "b/1.PNG"]
    assert (
        "2 files are examples; left out are 2 hidden, 2 ending in .webp, 1 without an ending, 1 not in the folder of a "
        "class" in caplog.text
    )


def test_dicom_files_count_under_any_name_where_they_can_be_read(tmp_path, caplog):
    content = bytes(128) + b"DICM" + b"data"
    for name in ("a/IM0001", "a/2.IMA", "b/3.dcm", "b/DICOMDIR"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content + name.encode())
    assert read(tmp_path)[0] == ["a/2.IMA", "a/IM0001", "b/3.dcm"]
    assert "left out are 1 without an ending" in caplog.text
    fill(tmp_path, "a/1.png", "b/1.png")
    assert read(tmp_path, (".png",))[0] == ["a/1.png", "b/1.png"]


def test_masks_beside_their_scans_are_no_examples(tmp_path, caplog):
    fill(tmp_path, "a/1.png", "a/1_mask.png", "a/1_mask_1.png", "a/masks/1.png", "b/2.png", "b/2-seg.png",
         "b/with_mask.png", "b/3 mask.png")  # fmt: skip
    paths, found = read(tmp_path)
    assert paths == ["a/1.png", "b/2.png", "b/3 mask.png", "b/with_mask.png"]
    assert found.targets.tolist() == ["a", "b", "b", "b"]
    assert "left out are 4 masks of other files" in caplog.text


def test_a_folder_of_masks_is_no_class(tmp_path):
    fill(tmp_path, "images/1.png", "masks/1.png")
    with pytest.raises(ManifestError, match="'masks' would be learnt as a class"):
        read(tmp_path)


def test_folders_below_every_class_are_the_groups(tmp_path, caplog):
    fill(
        tmp_path, *(f"{label}/p{label}{number}/{one}.png" for label in "ab" for number in range(3) for one in range(2))
    )
    assert read(tmp_path)[1].groups == tuple(f"p{label}{number}" for label in "ab" for number in range(3)
                                             for _ in range(2))  # fmt: skip
    assert "these 6 are taken for the groups" in caplog.text
    fill(tmp_path, "b/alone.png")
    assert read(tmp_path)[1].groups is None
    assert "12 of 13 files lie in folders below the classes" in caplog.text


def test_two_folders_below_a_class_are_not_taken_for_its_patients(tmp_path, caplog):
    fill(tmp_path, *(f"{label}/{side}/{one}.png" for label in "ab" for side in ("left", "right") for one in range(3)))
    assert read(tmp_path)[1].groups is None
    assert "if these are patients or speakers, write a table" in caplog.text


def test_folders_beside_the_parts_and_classes_without_examples_are_named(tmp_path, caplog):
    fill(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/2.png", "extra/a/3.png", "test/c/notes.txt")
    assert read(tmp_path)[0] == ["test/a/2.png", "train/a/1.png", "train/b/1.png"]
    assert "1 in extra, which is no part" in caplog.text
    assert f"{tmp_path}/test/c: holds no file that can be read" in caplog.text


def test_one_class_in_two_forms_of_unicode_is_one(tmp_path):
    for form in ("NFC", "NFD"):
        fill(tmp_path, f"{unicodedata.normalize(form, 'québécois')}/{form}.png")
    fill(tmp_path, "other/1.png")
    assert read(tmp_path)[1].classes == ("other", "québécois")


def test_a_name_that_is_no_text_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/p\udce9.png", "a/q\udce9.png", "a/r.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ManifestError, match=r"p\\udce9\.png and 1 more: the name is not text.*convmv"):
        read_class_folders(tmp_path, [".png"])


def test_folders_called_by_many_numbers_are_classes(tmp_path):
    fill(tmp_path, *(f"{number}/1.png" for number in range(12)))
    assert read(tmp_path)[1].classes == tuple(map(str, range(12)))


def test_links_to_nowhere_and_pipes_are_counted(tmp_path, caplog):
    """A checkout of which only a part was fetched, as of git-annex, has such links."""
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.npy").write_bytes(b"x")
    (tmp_path / "a" / "2.npy").symlink_to(tmp_path / "absent.npy")
    os.mkfifo(tmp_path / "b" / "pipe.npy")
    assert len(read_class_folders(tmp_path, (".npy",))) == 4
    assert "1 links to files that are not there" in caplog.text
    assert "1 no files, but pipes or devices" in caplog.text


@pytest.mark.parametrize("behind", [" (mask)", "_label", "-roi", "_gt", ".seg", "_mask_2", "_annotation"])
def test_masks_beside_their_scans_are_known_by_many_names(tmp_path, behind):
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "one.npy").write_bytes(b"x")
        (tmp_path / label / f"one{behind}.npy").write_bytes(b"y")
        (tmp_path / label / f"other{behind}.npy").write_bytes(b"z")  # beside no scan of its name: an example
    found = read_class_folders(tmp_path, (".npy",))
    assert sorted(found["path"]) == ["a/one.npy", f"a/other{behind}.npy", "b/one.npy", f"b/other{behind}.npy"]
