"""A run knows the rows that it has learnt from again, whatever their files are called."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import AdapterError
from graftwork.core.example import Text
from graftwork.core.files import write_json
from graftwork.core.runs.learnt_rows import NAME, Overlap, find_overlap, write_learnt_rows


@pytest.fixture
def manifest(table):
    return read_manifest(str(table), target="label", suffixes=(".npy",))


@pytest.fixture
def folder(manifest, tmp_path):
    """Learnt from rows 0 to 11, groups p0 to p3; the epoch chosen by rows 12 to 17, groups p4 and p5."""
    write_learnt_rows(tmp_path, manifest.subset(range(12)), manifest.subset(range(12, 18)))
    return tmp_path


def test_the_list_names_every_row_with_its_part_and_group(folder, manifest):
    table = pd.read_csv(folder / NAME)
    assert list(table.columns) == ["path", "row", "part", "group", "content"]
    assert list(table["path"]) == list(manifest.paths[:18])
    assert list(table["part"]) == ["train"] * 12 + ["val"] * 6
    assert list(table["row"]) == list(manifest.rows[:18])
    assert table["content"].str.fullmatch("[0-9a-f]{64}").all()


@pytest.mark.parametrize(("rows", "found"), [
    (range(18, 60), Overlap(42, 0, 0, 0, ())),
    (range(9, 30), Overlap(21, 3, 6, 0, ())),
])  # fmt: skip
def test_rows_are_counted_by_what_is_in_their_files(folder, manifest, rows, found):
    assert find_overlap(folder, manifest.subset(rows)) == found


def test_a_copy_under_another_name_is_known_again(folder, manifest, tmp_path):
    copy = tmp_path / "renamed.npy"
    shutil.copy(manifest.paths[3], copy)
    one = replace(manifest.subset([20]), examples=(str(copy),), groups=("someone",))
    assert find_overlap(folder, one).training == 1


def test_new_rows_of_groups_that_were_learnt_from_are_counted_and_named(folder, manifest):
    rows = replace(manifest.subset([0, 18, 19, 20]), groups=("p0", "p1", "p1", "p4"))
    overlap = find_overlap(folder, rows)
    assert overlap == Overlap(4, 1, 0, 2, ("p1",))  # p4 only chose the epoch
    assert overlap.caution == (
        "1 of 4 rows hold what the run learnt from: numbers on them say little of new rows; 2 of 4 rows have names of "
        "groups that it learnt from (p1): if these are the same patients or speakers, only other rows say what new "
        "ones can expect"
    )


@pytest.mark.parametrize(("learnt", "new"), [("Jose\u0301", "José"), ("1", "1.0"), ("7", "007")])
def test_groups_are_known_in_another_spelling(tmp_path, manifest, learnt, new):
    write_learnt_rows(tmp_path, replace(manifest.subset([0]), groups=(learnt,)), None)
    assert find_overlap(tmp_path, replace(manifest.subset([18]), groups=(new,))).known_groups == (new,)


def test_a_validation_row_is_not_counted_again_for_its_group(folder, manifest):
    assert find_overlap(folder, replace(manifest.subset([12]), groups=("p0",))) == Overlap(1, 0, 1, 0, ())


def test_windows_and_masks_are_counted_as_their_files(tmp_path, manifest):
    first, second = manifest.paths[:2]
    windows = replace(manifest.subset([0, 1, 2]),
                      examples=(f"{first}#t=0.000,1.000", f"{first}#t=1.000,2.000",
                                f"{second}#mask=any.npy"))  # fmt: skip
    write_learnt_rows(tmp_path, windows, None)
    assert list(pd.read_csv(tmp_path / NAME)["path"]) == [first, second]
    assert find_overlap(tmp_path, manifest.subset([0, 1, 2])).training == 2
    assert find_overlap(tmp_path, windows) == Overlap(2, 2, 0, 0, ())


def test_many_groups_are_named_in_part():
    caution = Overlap(9, 0, 0, 7, tuple("abcdefg")).caution
    assert "7 of 9 rows have names of groups that it learnt from (a, b, c, d, e and 2 more)" in caution


def test_what_is_new_in_every_way_needs_no_caution():
    assert Overlap(9, 0, 0, 0, ()).caution is None


@pytest.mark.parametrize("grouped", ["run", "evaluated"])
def test_groups_are_not_counted_where_one_side_has_none(manifest, tmp_path, grouped):
    without = replace(manifest, groups=None)
    run, evaluated = (manifest, without) if grouped == "run" else (without, manifest)
    write_learnt_rows(tmp_path, run.subset(range(12)), None)
    assert find_overlap(tmp_path, evaluated.subset(range(11, 14))) == Overlap(3, 1, 0, None, None)


def test_rows_of_an_archive_are_known_again_in_another_archive(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (6, 28, 28), dtype=np.uint8)
    labels = np.arange(6)[:, None] % 2
    np.savez(tmp_path / "one.npz", train_images=images, train_labels=labels)
    np.savez(tmp_path / "other.npz", train_images=images[::-1][:3], train_labels=labels[:3])
    one, other = (read_manifest(tmp_path / f"{name}.npz") for name in ("one", "other"))
    write_learnt_rows(tmp_path, one.subset([0, 1, 2, 3]), None)
    assert find_overlap(tmp_path, other) == Overlap(3, 1, 0, None, None)


def test_a_folder_without_the_list_says_nothing(folder, manifest):
    (folder / NAME).unlink()
    assert find_overlap(folder, manifest) is None


def test_a_list_that_cannot_be_read_is_refused(folder, manifest):
    (folder / NAME).write_text("path,row\nx,1\n")
    with pytest.raises(AdapterError, match=f"{NAME}: cannot be read .*delete it to evaluate without it"):
        find_overlap(folder, manifest)


def test_a_list_that_was_cut_is_refused(manifest, tmp_path):
    """Otherwise the rows that it lost would count as new."""
    write_json(tmp_path / "run.json", {"state": "finished", "learnt_rows": write_learnt_rows(tmp_path, manifest, None)})
    lines = (tmp_path / NAME).read_text().splitlines(keepends=True)
    assert find_overlap(tmp_path, manifest).training == len(manifest)
    for cut in ("".join(lines[:30]), "".join(lines)[:-7], lines[0]):
        (tmp_path / NAME).write_text(cut)
        with pytest.raises(AdapterError, match=r"learnt_rows\.csv: cannot be read .it was changed or cut"):
            find_overlap(tmp_path, manifest)


def sentences(*texts):
    labels = np.arange(len(texts)) % 2
    return Manifest("table", tuple(map(Text, texts)), "single-label", "label", ("bad", "good"), labels)


def test_sentences_are_known_again_by_their_digests_and_stand_nowhere(tmp_path):
    write_learnt_rows(tmp_path, sentences("a fine film", "a private letter"), None)
    assert "letter" not in (tmp_path / NAME).read_text(encoding="utf-8")
    assert list(pd.read_csv(tmp_path / NAME, keep_default_na=False)["path"]) == ["", ""]
    found = find_overlap(tmp_path, sentences("another film", "a private letter", "a third"))
    assert (found.rows, found.training, found.validation) == (3, 1, 0)
