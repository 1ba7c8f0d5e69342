"""Datasets in the Brain Imaging Data Structure as tables; names as its specification has them."""

import logging

import pytest

from graftwork import imaging
from graftwork.core.errors import ManifestError

PARTICIPANTS = (
    "participant_id\tage\tdiagnosis\nsub-01\t31\tcontrol\nsub-02\tn/a\tpatient\n03\t44\tpatient\nsub-09\t1\tx\n"
)
IMAGES = ("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-01/ses-b/anat/sub-01_ses-b_run-2_T1w.nii.gz",
          "sub-02/anat/sub-02_T1w.nii", "sub-03/anat/sub-03_T1w.nii.gz", "sub-04/anat/sub-04_T1w.nii.gz")  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    def dataset(*more):
        (tmp_path / "participants.tsv").write_text(PARTICIPANTS)
        for name in (*IMAGES, "sub-01/ses-a/anat/sub-01_ses-a_T1w.json", "derivatives/sub-01/sub-01_T1w.nii.gz", *more):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        return tmp_path

    return dataset


def test_images_have_what_the_table_says_of_their_participant(dataset, caplog):
    source = dataset()
    with caplog.at_level(logging.WARNING):
        found = imaging.read_manifest(source, target="diagnosis", columns=["session", "run", "age", "suffix"])
    assert found.paths == tuple(str(source / name) for name in IMAGES[:4])
    assert found.targets.tolist() == ["control", "control", "patient", "patient"]
    assert found.groups == ("sub-01", "sub-01", "sub-02", "03")
    assert found.columns["session"] == ("a", "b", "", "")
    assert found.columns["run"] == ("", "2", "", "")
    assert found.columns["age"] == ("31", "31", "", "44")
    assert set(found.columns["suffix"]) == {"T1w"}
    said = "4 images (T1w); 1 of subjects that participants.tsv does not have are left out; 1 participants have none"
    assert said in caplog.text


def test_the_table_itself_may_be_named(dataset):
    assert len(imaging.read_manifest(dataset() / "participants.tsv", target="diagnosis")) == 4


def test_of_several_kinds_one_has_to_be_chosen(dataset):
    source = dataset("sub-01/func/sub-01_task-rest_bold.nii.gz", "sub-02/func/sub-02_task-rest_bold.nii.gz")
    with pytest.raises(ManifestError, match=r"several kinds \(5 T1w, 2 bold\): choose, as with --files"):
        imaging.read_manifest(source, target="diagnosis")
    found = imaging.read_manifest(source, target="diagnosis", files="*_bold.nii.gz", columns=["task"])
    assert found.columns["task"] == ("rest", "rest")


def test_n_a_is_no_label_and_its_row_in_the_table_is_named(dataset):
    source = dataset()
    with pytest.raises(ManifestError, match=r"column 'age': empty.*\(participants.tsv, row 3\)"):
        imaging.read_manifest(source, target="age", task="regression")
    found = imaging.read_manifest(source, target="age", task="regression", missing_labels="drop")
    assert found.values.tolist() == [31, 31, 44]
    assert found.dropped_rows == 1
