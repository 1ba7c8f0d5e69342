"""DICOM files of one patient are a group, and nothing that is kept says who it is."""

import hashlib
from pathlib import Path

import numpy as np

from graftwork import imaging
from graftwork.core.example import as_examples
from graftwork.imaging.formats.dicom.patients import patient_hashes


def test_the_hash_is_that_of_the_id_without_blanks(write_dicom, rng):
    values = rng.integers(0, 255, (4, 4)).astype(np.uint16)
    files = [write_dicom(values, "1.dcm", PatientID="P-1"), write_dicom(values, "2", PatientID="P-1 "),
             write_dicom(values, "3.dcm", PatientID="P-2"), write_dicom(values, "4.dcm", PatientID="")]  # fmt: skip
    first = f"patient-{hashlib.sha256(b'P-1').hexdigest()[:12]}"
    found = patient_hashes(as_examples([*files, f"{files[2]}|{files[0]}", "absent.dcm", "a.png", "a.npz#train/0"]))
    assert found[:2] == [first, first]
    assert found[2] not in (None, first)
    assert found[3:] == [None, found[2], None, None, None]


def test_folders_and_series_have_the_patient_of_their_files(write_dicom, rng, tmp_path):
    values = rng.integers(0, 255, (4, 4)).astype(np.uint16)
    (tmp_path / "one").mkdir()
    write_dicom(values, "one/1.dcm", PatientID="P-1", SeriesInstanceUID="1.2")
    write_dicom(values, "one/2.dcm", PatientID="P-2", SeriesInstanceUID="1.3")
    folder = str(tmp_path / "one")
    found = patient_hashes(as_examples([folder, f"{folder}#series=1.3", f"{folder}#series=9", str(tmp_path)]))
    assert found == [*patient_hashes(as_examples([f"{folder}/1.dcm", f"{folder}/2.dcm"])), None, None]


def test_slices_of_a_patient_are_never_separated_and_the_id_is_nowhere(write_dicom, rng, tmp_path, caplog):
    lines = ["path,label"]
    for number in range(24):
        values = rng.integers(0, 255, (4, 4)).astype(np.uint16)
        name = write_dicom(values, f"{number}.dcm", PatientID=f"SECRET{number // 3}")
        lines.append(f"{Path(name).name},{'xy'[number % 6 < 3]}")
    (tmp_path / "scans.csv").write_text("\n".join(lines) + "\n")
    manifest = imaging.read_manifest(tmp_path / "scans.csv")
    assert "SECRET" not in caplog.text + "".join(manifest.groups)
    for train, test in manifest.folds(4):
        assert not set(train.groups) & set(test.groups)
    assert len(set(manifest.groups)) == 8
