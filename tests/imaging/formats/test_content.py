"""The same scan is known under other bytes: by the audit, by splits, and in what a run has learnt from."""

import gzip

import nibabel
import numpy as np
import pytest
from PIL import Image

from graftwork.core.data.content import content_digests
from graftwork.core.example import as_examples
from graftwork.core.runs.check import check
from graftwork.core.runs.learnt_rows import find_overlap, write_learnt_rows
from graftwork.imaging import read_manifest
from graftwork.imaging.formats import content
from graftwork.imaging.formats.content import decoded_digests


@pytest.fixture
def picture(rng):
    return rng.integers(0, 255, (12, 15)).astype(np.uint8)


@pytest.fixture
def twice(tmp_path, rng, write_dicom, picture):
    """Pairs of files with the same pixels and other bytes."""
    volume = nibabel.Nifti1Image(rng.integers(0, 900, (4, 5, 6)).astype(np.int16), np.diag([-1.0, -2.0, 3.0, 1.0]))
    names = ["a.png", "b.png", "a.tif", "c.png", "a.nii", "b.nii.gz", "c.nii"]
    paths = {name: str(tmp_path / name) for name in names}
    Image.fromarray(picture).save(paths["a.png"], compress_level=1)
    Image.fromarray(picture).save(paths["b.png"], compress_level=9)
    Image.fromarray(picture).save(paths["a.tif"])
    Image.fromarray(np.stack([picture] * 3, -1)).save(paths["c.png"])
    nibabel.save(volume, paths["a.nii"])
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes(), mtime=1))
    nibabel.save(nibabel.as_closest_canonical(volume), paths["c.nii"])
    stored = picture.astype(np.uint16)
    paths["a.dcm"] = write_dicom(stored, "a.dcm")
    paths["b.dcm"] = write_dicom(stored, "b.dcm", StudyDescription="exported again")
    np.savez(tmp_path / "m.npz", train_images=picture[None], train_labels=[[0]])
    paths["m.npz"] = f"{tmp_path}/m.npz#train/0"
    return paths


def test_scans_are_the_same_whatever_bytes_hold_them(twice):
    volumes = decoded_digests(as_examples([twice[name] for name in ("a.nii", "b.nii.gz", "c.nii")]))
    slices = decoded_digests(as_examples([path for name, path in twice.items() if ".nii" not in name]))
    assert (len(set(volumes)), len(set(slices)), len({*volumes, *slices})) == (1, 1, 2)
    assert len(set(content_digests(as_examples(list(twice.values()))))) == len(twice)


def test_a_pixel_a_shape_or_a_channel_makes_another_scan(tmp_path, picture):
    other = picture.copy()
    other[3, 4] ^= 1
    colours = np.stack([picture, picture, other], -1)
    for number, values in enumerate((picture, other, picture.reshape(15, 12), picture.T, colours)):
        Image.fromarray(np.ascontiguousarray(values)).save(tmp_path / f"{number}.png")
    assert len(set(decoded_digests(as_examples([str(tmp_path / f"{number}.png") for number in range(5)])))) == 5


def test_what_cannot_be_decoded_has_the_digest_of_its_bytes(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    assert decoded_digests(as_examples([str(tmp_path / "broken.png")])) == content_digests(
        as_examples([str(tmp_path / "broken.png")])
    )


def test_a_file_written_anew_is_decoded_anew(tmp_path, picture):
    place = tmp_path / "a.png"
    found = set()
    for values in (picture, picture + 1, picture):
        Image.fromarray(values).save(place)
        found.update(decoded_digests(as_examples([str(place)])))
    assert len(found) == 2


@pytest.fixture
def table(twice, tmp_path, rng):
    """Pairs in different parts of the split, beside scans of their own."""
    rows = [("a.png", "x", "train"), ("b.png", "y", "test"), ("a.nii", "x", "train"), ("b.nii.gz", "x", "val")]
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (12, 15)).astype(np.uint8)).save(tmp_path / f"own{number}.png")
        rows.append((f"own{number}.png", "xy"[number % 2], "train"))
    (tmp_path / "m.csv").write_text("path,label,split\n" + "\n".join(",".join(row) for row in rows))
    return str(tmp_path / "m.csv")


def test_splits_keep_the_same_scans_together_and_the_audit_finds_them(table):
    manifest = read_manifest(table)
    assert manifest.shared_content() == [(0, 1), (2, 3)]
    found = check(manifest)
    assert (found.same_content, found.conflicts, len(found.leaks.identical)) == (2, 1, 2)
    units = read_manifest(table, split=None).units()
    assert (units[0], units[2]) == (units[1], units[3])
    assert len(set(units.tolist())) == 6


def test_a_run_knows_scans_again_under_other_bytes_and_by_lists_without_pixels(table, tmp_path):
    manifest = read_manifest(table, split=None)
    write_learnt_rows(tmp_path, manifest.subset([0, 2]), manifest.subset([4]))
    overlap = find_overlap(tmp_path, manifest.subset([1, 3, 4, 5]))
    assert (overlap.training, overlap.validation) == (2, 1)
    lines = [line.rsplit(",", 1)[0] for line in (tmp_path / "learnt_rows.csv").read_text().splitlines()]
    (tmp_path / "learnt_rows.csv").write_text("\n".join(lines))
    assert find_overlap(tmp_path, manifest.subset([0, 1, 4, 5])).training == 1


def test_files_of_the_same_bytes_are_decoded_once(tmp_path, picture, monkeypatch):
    for name in ("a.png", "b.png"):
        Image.fromarray(picture).save(tmp_path / name)
    Image.fromarray(picture + 1).save(tmp_path / "c.png")
    content._decoded.cache_clear()
    read, decode = [], content.read_scan
    monkeypatch.setattr(content, "read_scan", lambda example: read.append(str(example)) or decode(example))
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png", "b.png")]
    found = decoded_digests(as_examples(paths))
    assert found[0] == found[1] == found[3] != found[2]
    assert read == [paths[0], paths[2]]
